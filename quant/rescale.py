# SPDX-License-Identifier: Apache-2.0
"""From sums to int8: the fixed-point rule of the TensorFlow Lite family, and how it follows from real scales."""

from dataclasses import dataclass, replace

import numpy as np

from .arithmetic import Rounding, accumulator_range, multiply_by_quantized_multiplier, quantize_multiplier
from .errors import NetworkError
from .layer import frozen

__all__ = ["Requantise", "check_accumulator", "overflows", "quantised_clamp", "requantise_of_scales"]


@dataclass(frozen=True, eq=False)
class Requantise:
    """int32 accumulator to int8, by TensorFlow Lite's fixed-point rule.

    ``clamp(multiply_by_quantized_multiplier(acc, multiplier, shift) + zero_point, minimum, maximum)``

    Parameters
    ----------
    multiplier, shift
        int64 and int32, one per output channel; the real factor is ``multiplier * 2 ** (shift - 31)``.
    zero_point
        Of the output.
    minimum, maximum
        Clamp of the fused activation, within -128 … 127.
    rounding
        Which of the two rules of the TensorFlow Lite family (see :class:`Rounding`).
    """

    multiplier: np.ndarray
    shift: np.ndarray
    zero_point: int
    minimum: int = -128
    maximum: int = 127
    rounding: Rounding = Rounding.DOUBLE

    def __post_init__(self):
        object.__setattr__(self, "multiplier", frozen(self.multiplier, np.int64))
        object.__setattr__(self, "shift", frozen(self.shift, np.int32))

    @property
    def factor(self) -> np.ndarray:
        """Real multiplier per channel, float64 (exact)."""
        return np.ldexp(self.multiplier.astype(np.float64), self.shift - 31)

    def __call__(self, acc: np.ndarray) -> np.ndarray:
        """int8 of an integer accumulator array whose last axis is the output channel.

        Monotone (not decreasing) in ``acc`` for every channel."""
        scaled = multiply_by_quantized_multiplier(acc, self.multiplier, self.shift, self.rounding)
        return np.clip(scaled + self.zero_point, self.minimum, self.maximum).astype(np.int8)

    def select(self, keep) -> "Requantise":
        """The rule of the channels ``keep``, an index of their array."""
        return replace(self, multiplier=self.multiplier[keep], shift=self.shift[keep])

    def first(self, channels: int, count: int) -> "Requantise":
        """The rule of the first ``count`` of ``channels``."""
        multiplier, shift = (values if len(values) == channels else np.broadcast_to(values, channels)
                             for values in (self.multiplier, self.shift))
        return replace(self, multiplier=multiplier[:count], shift=shift[:count])


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
        Of the output, as in :class:`Requantise`.

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


def overflows(low, high, shift) -> np.ndarray:
    """Whether an accumulator of ``low … high`` that is shifted to the left leaves int32."""
    widest = np.maximum(-np.asarray(low, np.int64), np.asarray(high, np.int64) + 1)
    return (np.asarray(shift) > 30) | (widest > (1 << 31) >> np.clip(shift, 0, 30))


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
