"""From the scales of a quantised layer to its integer rule: what importers and the quantiser share."""

import numpy as np

from .arithmetic import Rounding, accumulator_range, quantize_multiplier
from .network import NetworkError, Requantise

__all__ = ["check_accumulator", "quantised_clamp", "requantise_of_scales"]


def requantise_of_scales(input_scale: float, weight_scales, output_scale: float, zero_point: int,
                         minimum: int = -128, maximum: int = 127) -> Requantise:
    """The rule of a layer whose sums count in steps of ``input_scale * weight_scales``.

    Parameters
    ----------
    input_scale, output_scale
        float32 numbers: what one step of the layer's input and output means.
    weight_scales
        Array (channels,): float32 numbers, or ``1 / count`` as float64 of a mean over ``count`` values.
    zero_point, minimum, maximum
        Of the output, as in :class:`~.network.Requantise`.

    Returns
    -------
    One multiplier for each channel, the nearest 31-bit one to the factor in float64; rounded once.
    """
    real = np.float64(input_scale) * np.asarray(weight_scales, np.float64) / np.float64(output_scale)
    return Requantise(*quantize_multiplier(real), zero_point, minimum, maximum, Rounding.SINGLE)


def quantised_clamp(minimum: float, maximum: float, scale: float, zero_point: int) -> tuple[int, int]:
    """The int8 clamp that equals clamping real values to ``minimum`` … ``maximum`` (infinite: no bound) before they
    are quantised: ``round(real / scale) + zero_point`` in float32, half to even, like ONNX's QuantizeLinear."""
    with np.errstate(over="ignore"):
        steps = np.rint(np.array([minimum, maximum], np.float32) / np.float32(scale))
    low, high = np.clip(steps + zero_point, -128, 127)
    return int(low), int(high)


def check_accumulator(layer: str, weights, bias, zero_point: int, requantise: Requantise) -> None:
    """That no sum of a layer leaves its 32-bit accumulator, and no factor the range of the shifts.

    Parameters
    ----------
    layer
        How a message names the layer.
    weights, bias, zero_point
        As in :func:`~.arithmetic.accumulator_range`; of an average pool all weights are 1 and the bias is what is
        added to the sum of ``x - zero_point``.

    Raises
    ------
    NetworkError
        An image can make the accumulator of a channel overflow.
    """
    low, high = accumulator_range(weights, bias, zero_point)
    if (overflowing := (requantise.shift > 30) | (low < -1 << 31) | (high >= 1 << 31)).any():
        raise NetworkError(f"{layer} can overflow its 32-bit accumulator in channel {np.argmax(overflowing)}; "
                           "quantise it again with less extreme scales")
