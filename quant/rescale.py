"""From the scales of a layer's tensors to an integer layer: what the ONNX importer and the quantiser share."""

from math import prod
from typing import Any

import numpy as np

from .arithmetic import Rounding, accumulator_range, quantize_multiplier
from .network import AveragePool, Convolution, Depthwise, NetworkError, Requantise

__all__ = ["Meaning", "check_accumulator", "pool_of_scales", "quantised_clamp", "requantise_of_scales",
           "weighted_of_scales"]

Meaning = tuple[float, int]
"""Scale (a float32 number) and zero point of int8 values."""


def weighted_of_scales(label: str, geometry: dict[str, Any], weights: np.ndarray, weight_scales: np.ndarray,
                       bias: np.ndarray, source: Meaning, result: Meaning, minimum: float,
                       maximum: float) -> Convolution | Depthwise:
    """The layer of int8 ``weights``: depthwise if they have three dimensions.

    Parameters
    ----------
    label
        How a message names the layer.
    geometry
        Fields of :class:`~.network.Geometry`.
    weights, weight_scales, bias
        As in the layers; the bias counts in steps of the source's scale times the weights'.
    source, result
        What the layer's int8 inputs and outputs mean.
    minimum, maximum
        The activation's real bounds, or infinite.

    Raises
    ------
    NetworkError
        An image can make the accumulator of a channel overflow.
    """
    requantise = requantise_of_scales(source[0], weight_scales, *result,
                                      *quantised_clamp(minimum, maximum, *result))
    depthwise = weights.ndim == 3
    by_channel = weights.transpose(2, 0, 1) if depthwise else weights
    check_accumulator(label, by_channel, bias, source[1], requantise)
    kind = Depthwise if depthwise else Convolution
    return kind(**geometry, input_zero_point=source[1], output_scale=result[0], weights=weights, bias=bias,
                requantise=requantise, weight_scales=weight_scales)


def pool_of_scales(label: str, geometry: dict[str, Any], window: tuple[int, int], source: Meaning, result: Meaning,
                   minimum: float, maximum: float) -> AveragePool:
    """The average over ``window``; everything else as in :func:`weighted_of_scales`."""
    count, channels = prod(window), geometry["output_shape"][2]
    requantise = requantise_of_scales(source[0], np.full(channels, 1 / count), *result,
                                      *quantised_clamp(minimum, maximum, *result))
    check_accumulator(label, np.ones((1, count), np.int8), [0], source[1], requantise)
    return AveragePool(**geometry, input_zero_point=source[1], output_scale=result[0], window=window,
                       bias=np.full(channels, -count * source[1]), requantise=requantise)


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
