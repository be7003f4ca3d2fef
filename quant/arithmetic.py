# SPDX-License-Identifier: Apache-2.0
"""The fixed-point arithmetic of the TensorFlow Lite family, in NumPy integers.

Source of the rules: gemmlowp's ``fixedpoint.h`` and TensorFlow Lite's ``kernels/internal/common.h``."""

from enum import Enum

import numpy as np

__all__ = [
    "Rounding",
    "accumulator_range",
    "fit_single_rounding",
    "high_multiply",
    "multiply_by_quantized_multiplier",
    "quantize_multiplier",
    "round_half_away_divide",
    "rounding_shift_right",
]


class Rounding(Enum):
    """How ``acc * multiplier * 2 ** (shift - 31)`` is rounded to an integer.

    ``DOUBLE`` rounds twice (a saturating rounding doubling high multiply, then a rounding right shift,
    half away from zero); ``SINGLE`` rounds once, half up.  LiteRT's reference kernels use ``DOUBLE``, except
    that they scale FULLY_CONNECTED in float64: :func:`fit_single_rounding` finds the multiplier with which
    ``SINGLE`` gives the same integers."""

    DOUBLE = "double"
    SINGLE = "single"


def multiply_by_quantized_multiplier(acc, multiplier, shift, rounding: Rounding) -> np.ndarray:
    """``acc * multiplier * 2 ** (shift - 31)`` rounded to int64.

    Parameters
    ----------
    acc
        Integer array, int32 range; broadcast against ``multiplier`` and ``shift`` (last axis: channel).
    multiplier
        Integers from 0.  Of convolutions 0 or 2**30 … 2**31 - 1, of MEAN also less (it is divided by the
        number of pixels), of FULLY_CONNECTED also more where exactness asks for it.
    shift
        Integers, -31 … 30; positive shifts left before the multiplication.
    """
    acc = np.asarray(acc, np.int64)
    multiplier = np.asarray(multiplier, np.int64)
    shift = np.asarray(shift, np.int64)
    if rounding is Rounding.SINGLE:
        total = 31 - shift
        return (acc * multiplier + (np.int64(1) << (total - 1))) >> total
    left, right = np.maximum(shift, 0), np.maximum(-shift, 0)
    return rounding_shift_right(high_multiply(acc << left, multiplier), right)


def high_multiply(a, b) -> np.ndarray:
    """``a * b / 2 ** 31`` rounded half up, for int64 arrays of int32 values.

    SaturatingRoundingDoublingHighMul, whose one saturating case (both -2**31) never comes up here."""
    return (a * b + (1 << 30)) >> 31


def rounding_shift_right(values, shift) -> np.ndarray:
    """``values / 2 ** shift`` rounded half away from zero, int64 (RoundingDivideByPOT)."""
    # Half is added before the shift rounds down: of negative values a little less, so that their halves go down too.
    rounded = ((np.int64(1) << shift) >> 1) - ((values < 0) & (shift > 0))
    rounded += values
    rounded >>= shift
    return rounded


def round_half_away_divide(total, count: int) -> np.ndarray:
    """``total / count`` rounded to int64, half away from zero."""
    total = np.asarray(total, np.int64)
    return np.sign(total) * ((np.abs(total) + count // 2) // count)


def quantize_multiplier(real) -> tuple[np.ndarray, np.ndarray]:
    """``(multiplier, shift)`` nearest to the positive float64 ``real``: TensorFlow Lite's QuantizeMultiplier.

    Both int64 in the shape of ``real``; factors below about 2**-32 become 0."""
    fraction, shift = np.frexp(np.asarray(real, np.float64))
    # At most 53 significant bits with 22 of them behind the point: adding a half is exact.
    multiplier = np.floor(np.ldexp(fraction, 31) + 0.5).astype(np.int64)
    carry = multiplier == 1 << 31
    multiplier, shift = np.where(carry, 1 << 30, multiplier), shift + carry
    vanishing = shift < -31
    return np.where(vanishing, 0, multiplier), np.where(vanishing, 0, shift).astype(np.int64)


def fit_single_rounding(real, low, high, minimum: int, maximum: int):
    """``(multiplier, shift, fits)`` whose ``SINGLE`` rounding equals float64 scaling, clamped.

    LiteRT's reference FULLY_CONNECTED computes ``round(acc * real)`` in float64, half away from zero.  The
    nearest 31-bit multiplier rounds ties of negative accumulators the other way, and 31 bits are not always
    enough for large sums.  Both rules are monotone step functions, so they are equal on ``low … high`` if
    they are at both sides of every step and at the ends: the shortest multiplier that is, is taken.

    Parameters
    ----------
    real
        float64 (channels,), positive.
    low, high
        int64 (channels,), the accumulators that can occur.
    minimum, maximum
        Clamp of the rounded value, before any zero point is added.

    Returns
    -------
    multiplier, shift
        int64 (channels,).
    fits
        bool (channels,): whether a multiplier was found whose products fit int64.
    """
    columns = [np.asarray(array) for array in (real, low, high)]
    # Some 1,500 points a channel: in blocks, so that memory stays bounded.
    blocks = zip(*(np.split(column, range(256, len(column), 256)) for column in columns), strict=True)
    parts = [_fit_block(*block, minimum=minimum, maximum=maximum) for block in blocks]
    return tuple(np.concatenate(part) for part in zip(*parts, strict=True))


def _fit_block(real, low, high, minimum: int, maximum: int):
    ends = np.stack([low, high], axis=1)
    # The last accumulator before each step and the first after it, for both rules.  Usually these are the floor of the
    # middle between two results and the next integer; one further down where the middle is an integer (a tie rounds
    # up), one further up where float64 took a negative tie (which rounds down) for a little less.
    middles = np.clip((np.arange(minimum, maximum + 2) - 0.5) / real[:, None], ends[:, :1], ends[:, 1:])
    points = (np.floor(middles).astype(np.int64)[..., None] + np.arange(-1, 3)).reshape(len(real), -1)
    points = np.concatenate([np.clip(points, ends[:, :1], ends[:, 1:]), ends], axis=1)
    scaled = points * real[:, None]
    size = np.floor(np.abs(scaled))
    size += np.abs(scaled) - size >= 0.5
    wanted = np.clip(np.copysign(size, scaled), minimum, maximum)

    chosen, exponent = quantize_multiplier(real)
    shift, fits = exponent.copy(), np.zeros(len(real), bool)
    room = np.minimum(31 - np.frexp(np.abs(ends).max(axis=1))[1], 31 + exponent)
    for more in range(31):
        for change in (0, 1, -1):
            pending = np.flatnonzero(~fits & (room >= more))
            multiplier = np.floor(np.ldexp(real, 31 + more - exponent)[pending] + 0.5)
            multiplier = multiplier.astype(np.int64) + change
            got = multiply_by_quantized_multiplier(points[pending], multiplier[:, None],
                                                   exponent[pending, None] - more, Rounding.SINGLE)
            equal = (np.clip(got, minimum, maximum) == wanted[pending]).all(axis=1) & (multiplier >= 0)
            found = pending[equal]
            chosen[found], shift[found], fits[found] = multiplier[equal], exponent[found] - more, True
    return chosen, shift, fits


def accumulator_range(weights, bias, zero_point: int) -> tuple[np.ndarray, np.ndarray]:
    """Smallest and largest ``bias + sum(weights * (x - zero_point))`` over all int8 ``x``, int64.

    ``weights`` int8 with the output channel first, ``bias`` int32 (channels,).  Padding is ``x`` equal to
    ``zero_point`` and partial sums lie between the bias and an end, so both are covered."""
    weights = np.asarray(weights, np.int64).reshape(len(bias), -1)
    bias = np.asarray(bias, np.int64)
    positive = np.maximum(weights, 0).sum(axis=1)
    negative = np.minimum(weights, 0).sum(axis=1)
    below, above = -128 - zero_point, 127 - zero_point
    return bias + positive * below + negative * above, bias + positive * above + negative * below
