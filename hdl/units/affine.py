# SPDX-License-Identifier: Apache-2.0
"""Narrow requantisers, each proved equal to the exact rule at every reachable accumulator.

TensorFlow Lite's rule (31-bit multiplier, two roundings, zero point, clamp) is, for one channel, a monotone
step function of the accumulator with at most 255 steps.  So is what the hardware computes::

    high   = (acc * multiplier + offset) >> fraction
    result = clamp(((high + half - negative) >> right) + zero_point)

with ``half = 2 ** right >> 1``, and ``negative`` one where ``high`` is below zero and the rule rounds half away
from zero.  Two step functions are equal on a range if and only if they step at the same places, so the
smallest fraction for which a multiplier and an offset exist is found by looking at the steps alone.  Bias and input
zero point disappear into the offset.  What was found, and later every parameter word made of it, is evaluated on both
sides of every step and at both ends (:meth:`ExactRule.check`), which proves it whatever the way that led to it.
"""

from dataclasses import dataclass, replace

import numpy as np
from tepal.quant import Average, Requantise, Rounding

__all__ = ["Affine", "ExactRule", "find_affine", "wide_sum"]

_WIDEST = 34
"""Fraction bits to try at most: what the exact rules may have, and a little more."""

_WIDEST_ONE_SHIFT = 44
"""The same where the second rounding's shift is among them."""

_FAR = np.iinfo(np.int64).max
"""Stands for no bound."""


def wide_sum(acc: np.ndarray, multiplier: np.ndarray, offset: np.ndarray) -> np.ndarray:
    """``acc * multiplier + offset`` of integer arrays: int64, or Python's integers where those could overflow.

    The hardware's sums are as wide as they need be, far beyond the clamp too."""
    reach = (float(np.abs(acc).max(initial=0)) * float(np.abs(multiplier).max(initial=0))
             + float(np.abs(offset).max(initial=0)))
    kind = np.int64 if reach < 1 << 62 else object
    return np.asarray(acc).astype(kind) * np.asarray(multiplier).astype(kind) + np.asarray(offset).astype(kind)


@dataclass(frozen=True, eq=False)
class ExactRule:
    """What the requantisers of one layer have to compute: ``requantise(acc + constant)`` on ``low … high``.

    ``constant``, ``low`` and ``high`` as for :func:`find_affine`; ``steps`` int64 (levels, channels), the accumulators
    at which the result changes."""

    requantise: Requantise | Average
    constant: np.ndarray
    low: np.ndarray
    high: np.ndarray
    steps: np.ndarray

    def check(self, function) -> None:
        """Prove that ``function`` of an integer array of accumulators, last axis the channel, is the same everywhere.

        ``function`` must not decrease, as the rule does not.  Both are evaluated at both ends and on both sides of
        every step.  Where they agree at two neighbouring points, and the value is the same at both, they agree on all
        that lies between; so nothing is taken on trust, ``steps`` neither: wrong ones fail here.

        Raises
        ------
        ArithmeticError
            They differ; names the channel and an accumulator.
        """
        points = np.clip(np.concatenate([self.low[None], self.steps - 1, self.steps, self.high[None]]),
                         self.low, self.high)
        points.sort(axis=0)
        wanted, got = self.requantise(points + self.constant), function(points)
        wrong = wanted != got
        # A step of the function that is looked at from one side alone.
        wrong[1:] |= (got[1:] != got[:-1]) & (points[1:] - points[:-1] > 1)
        if wrong.any():
            channel = int(np.flatnonzero(wrong.any(axis=0))[0])
            point = points[wrong[:, channel].argmax(), channel]
            raise ArithmeticError(f"channel {channel} has a requantiser that is not exact up to accumulator {point}: "
                                  "a fault of Tepal's, please report it")


@dataclass(frozen=True, eq=False)
class Affine:
    """Parameters of the requantisers of one layer.

    ``multiplier``, ``offset``, ``right`` and ``slack`` are int64 (channels,), ``fraction`` is that or an integer; the
    others hold for the layer.  An offset may be up to ``slack`` larger.  ``exact`` is what they have to compute."""

    multiplier: np.ndarray
    offset: np.ndarray
    right: np.ndarray
    slack: np.ndarray
    fraction: int | np.ndarray
    away_from_zero: bool
    zero_point: int
    minimum: int
    maximum: int
    exact: ExactRule

    def __call__(self, acc: np.ndarray) -> np.ndarray:
        """int8 of an integer array of raw accumulators, last axis the channel: what the hardware does."""
        high = wide_sum(acc, self.multiplier, self.offset) >> self.fraction
        half = (1 << self.right) >> 1
        negative = (high < 0) & (self.right > 0) & self.away_from_zero
        return np.clip(((high + half - negative) >> self.right) + self.zero_point,
                       self.minimum, self.maximum).astype(np.int8)

    @property
    def uniform(self) -> bool:
        """Whether all channels have the same parameters."""
        return all((values == values[0]).all() for values in (self.multiplier, self.offset, self.right, self.slack))

    def widen(self, fraction: int | np.ndarray) -> "Affine":
        """The same function with more fraction bits, an integer or one for each channel, so that a whole network can
        share their number."""
        more = fraction - self.fraction
        return replace(self, fraction=fraction, multiplier=self.multiplier << more, offset=self.offset << more,
                       slack=((self.slack + 1) << more) - 1)


def _steps(rule, low, high, levels, guess):
    """Smallest accumulator in ``low … high + 1`` at which ``rule`` reaches each level, (levels, channels).

    ``guess`` (levels, channels) float64 is where the steps should be; a bad one costs time alone."""
    guess = np.clip(guess, low, high).astype(np.int64)
    under, over = np.maximum(guess - 3, low), np.minimum(guess + 3, high)
    below = np.where(rule(under) < levels[:, None], under, low - 1)
    reached = np.where(rule(over) >= levels[:, None], over, high + 1)
    while np.any(reached - below > 1):
        middle = (below + reached) >> 1
        hit = rule(middle) >= levels[:, None]
        inside = reached - below > 1
        reached = np.where(inside & hit, middle, reached)
        below = np.where(inside & ~hit, middle, below)
    return reached


def find_affine(requantise: Requantise | Average, constant: np.ndarray, low: np.ndarray, high: np.ndarray, *,
                one_shift: bool = False) -> Affine:
    """The narrowest hardware requantiser equal to ``requantise(acc + constant)`` on ``low … high``.

    Parameters
    ----------
    requantise
        The exact rule.
    constant
        int64 (channels,), bias and zero points.
    low, high
        int64 (channels,), the reachable raw accumulators, both ends included.
    one_shift
        Where no result shows which way the second rounding goes, do without its shift: ``right`` is zero.

    Raises
    ------
    ArithmeticError
        No fraction that 64-bit integers can hold is exact, or what was found does not stand
        :meth:`ExactRule.check`; names the channel.
    """
    low, high = np.asarray(low, np.int64), np.asarray(high, np.int64)
    search = _Search(requantise, constant, low, high, one_shift=one_shift)
    fraction, (multiplier, offset, slack) = search.narrowest()
    exact = ExactRule(requantise, constant, low, high, search.at)
    affine = Affine(multiplier, offset, search.right, slack, fraction, search.away_from_zero, search.zero_point,
                    requantise.minimum, requantise.maximum, exact)
    # Nothing decreases with the offset: between the smallest and the largest one all are right if these two are.
    exact.check(affine)
    exact.check(replace(affine, offset=offset + slack))
    return affine


def _second_shift(requantise: Requantise | Average, factor: np.ndarray, *,
                  one_shift: bool) -> tuple[np.ndarray, bool]:
    """(right shift of each channel after the fraction's, whether halves of negative values go away from zero there).

    The place of that rounding is part of a rule that rounds away from zero; elsewhere it is ours to choose."""
    away_from_zero = getattr(requantise, "rounding", None) is Rounding.DOUBLE
    if one_shift and getattr(requantise, "zero_point", 0) <= requantise.minimum:
        # Values that round differently towards zero and away from it are below the clamp.
        away_from_zero = False
    if one_shift and not away_from_zero:
        right = np.zeros(len(factor), np.int64)
    elif away_from_zero:
        right = np.maximum(-requantise.shift.astype(np.int64), 0)
    else:
        right = np.maximum(-np.frexp(factor)[1].astype(np.int64), 0)
    return right, away_from_zero


class _Search:
    """Looks for each channel's multiplier and offset, by the accumulators ``at`` which the rule steps to each level.

    Multiplier and offset are exact if the line that they make has reached a level's ``start`` at its step, and not
    before."""

    def __init__(self, requantise: Requantise | Average, constant: np.ndarray, low: np.ndarray, high: np.ndarray, *,
                 one_shift: bool):
        def rule(acc):
            return requantise(acc + constant).astype(np.int64)

        self.one_shift, self.zero_point = one_shift, getattr(requantise, "zero_point", 0)
        self.factor = factor = np.broadcast_to(requantise.factor, len(low))
        self.right, self.away_from_zero = _second_shift(requantise, factor, one_shift=one_shift)
        self.first, last = rule(low[None])[0], rule(high[None])[0]
        self.fixed = fixed = self.first == last
        # A channel of one result may have any shift: that of another one costs nothing.
        self.right[fixed] = 0 if np.all(fixed) else self.right[~fixed].min()

        levels = np.arange(-129, 130, dtype=np.int64)[:, None]
        with np.errstate(divide="ignore", invalid="ignore"):
            guess = np.nan_to_num((levels - self.zero_point - 0.5) / factor - constant)
        # Levels beyond the clamp are never or always reached, wherever the line would meet them.
        guess = np.where(levels <= requantise.minimum, low, guess)
        guess = np.where(levels > requantise.maximum, high, guess)
        self.at = _steps(rule, low, high, levels[:, 0], guess)
        # At a step the value must have reached its level (the clamp does it for the lowest); just below it,
        # it must not have (and may, above the highest: the clamp takes it back).
        self.must = (levels <= last) & (levels > requantise.minimum)
        self.must_not = (levels > self.first) & (levels <= requantise.maximum)
        relative = levels - self.zero_point
        self.start = ((relative << self.right) - ((1 << self.right) >> 1)
                      + ((relative <= 0) & (self.right > 0) & self.away_from_zero))

    def attempt(self, bits: int) -> tuple[tuple[np.ndarray, np.ndarray, np.ndarray], np.ndarray]:
        """((multiplier, offset, slack), whether they are exact) of every channel with ``bits`` of fraction."""
        multiplier = np.zeros(len(self.right), np.int64)
        offset = (self.first - self.zero_point) << self.right << bits
        slack = np.full(len(self.right), (1 << bits) - 1)
        found = self.fixed.copy()
        for near in (0, 1, -1):
            candidate = np.rint(np.ldexp(self.factor, bits + self.right)).astype(np.int64) + near
            goal = self.start << bits
            least = np.where(self.must, goal - self.at * candidate, -_FAR).max(axis=0)
            most = np.where(self.must_not, goal - (self.at - 1) * candidate - 1, _FAR).min(axis=0)
            usable = ~found & (candidate > 0) & (least <= most)
            multiplier[usable] = candidate[usable]
            offset[usable] = np.where(least == -_FAR, most, least)[usable]
            slack[usable] = np.where((least == -_FAR) | (most == _FAR), 0, most - least)[usable]
            found |= usable
        return (multiplier, offset, slack), found

    def narrowest(self) -> tuple[int, tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """(fewest bits of fraction with which all channels are exact, their multiplier, offset and slack), by
        bisection; raises ArithmeticError."""
        # 64-bit integers hold a step's place only so far; constant channels have none.
        widest = min(_WIDEST_ONE_SHIFT if self.one_shift else _WIDEST, 62 - 9 - int(self.right.max(initial=0)))
        narrow, wide = 0, widest
        found, exact = self.attempt(widest)
        if not np.all(exact):
            raise ArithmeticError(
                f"channel {np.flatnonzero(~exact)[0]} has no exact requantiser of {widest} bits or fewer")
        while narrow < wide:
            middle = (narrow + wide) // 2
            parameters, exact = self.attempt(middle)
            if np.all(exact):
                wide, found = middle, parameters
            else:
                narrow = middle + 1
        return wide, found
