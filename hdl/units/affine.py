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
from functools import cached_property

import numpy as np
from tepal.quant import Average, Requantise, Rounding

__all__ = ["Affine", "ExactRule", "find_affine", "wide_sum"]

_WIDEST = 34
"""Fraction bits to try at most: what the exact rules may have, and a little more."""

_WIDEST_ONE_SHIFT = 44
"""The same where the second rounding's shift is among them."""

_FAR = np.iinfo(np.int64).max
"""Stands for no bound."""

_AT_A_TIME = 1 << 13
"""Values of an array that are worked on at a time: as many as fit a cache with all that is made of them."""

_SIDE_BY_SIDE = 128
"""Channels that are looked at before the next ones are."""

_NEAR = (0, 1, -1)
"""How far multipliers may be from the nearest one."""

_FEW = 16
"""So many channels that are hardly exact are looked at first."""


def wide_sum(acc: np.ndarray, multiplier: np.ndarray, offset: np.ndarray) -> np.ndarray:
    """``acc * multiplier + offset`` of integer arrays: int64, or Python's integers where those could overflow.

    The hardware's sums are as wide as they need be, far beyond the clamp too."""
    reach = (float(np.abs(acc).max(initial=0)) * float(np.abs(multiplier).max(initial=0))
             + float(np.abs(offset).max(initial=0)))
    kind = np.int64 if reach < 1 << 62 else object
    acc, multiplier, offset = (np.asarray(each).astype(kind, copy=False) for each in (acc, multiplier, offset))
    return acc * multiplier + offset


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

    def check(self, function, largest=None) -> None:
        """Prove that ``function`` of an integer array of accumulators, last axis the channel, is the same everywhere;
        and, if there is a ``largest`` function, which is nowhere less, each one that lies between the two.

        Functions must not decrease, as the rule does not.  Between two steps the rule is the same at both ends, no
        function is less than the smallest one is at the first accumulator, and none is more than the largest one at the
        last.  Nothing is taken on trust, ``steps`` neither: wrong ones fail here, since any numbers cut the whole range
        into intervals, some of them empty.

        Raises
        ------
        ArithmeticError
            They differ; names the channel and an accumulator.
        """
        (begins, ends), (at_begin, at_end) = self.intervals, self.results
        wrong_begin, wrong_end = at_begin != _by_rows(function, begins), at_end != _by_rows(largest or function, ends)
        # A step of the rule, and so of the function, between the two.
        wrong_end |= (at_begin != at_end) & (begins < ends)
        wrong = np.concatenate([wrong_begin, wrong_end])
        if wrong.any():
            channel = int(np.flatnonzero(wrong.any(axis=0))[0])
            point = np.concatenate([begins, ends])[wrong[:, channel].argmax(), channel]
            raise ArithmeticError(f"channel {channel} has a requantiser that is not exact up to accumulator {point}: "
                                  "a fault of Tepal's, please report it")

    @property
    def intervals(self) -> tuple[np.ndarray, np.ndarray]:
        """(first accumulators, last accumulators), each (levels + 1, channels): from ``low`` to the first step, from
        each step to the next one, and on to ``high``.  An empty interval has its last accumulator before its first, or
        at it, at the end of the range."""
        begins, ends = np.empty((2, len(self.steps) + 1, len(self.low)), np.int64)
        begins[0], ends[-1] = self.low, self.high
        np.clip(self.steps, self.low, self.high, out=begins[1:])
        np.subtract(self.steps, 1, out=ends[:-1])
        np.clip(ends[:-1], self.low, self.high, out=ends[:-1])
        return begins, ends

    @cached_property
    def results(self) -> tuple[np.ndarray, np.ndarray]:
        """int8: the rule's at the first accumulators of the intervals, and at the last."""
        at_begin, at_end = (_by_rows(lambda acc: self.requantise(acc + self.constant), each) for each in self.intervals)
        return at_begin, at_end

    def moved(self, constant: np.ndarray) -> "ExactRule":
        """The same results, of accumulators that have been added to so that ``constant`` is all that is left to add."""
        more = self.constant - constant
        moved = replace(self, constant=constant, low=self.low + more, high=self.high + more, steps=self.steps + more)
        vars(moved)["results"] = self.results
        return moved


def _by_rows(function, points: np.ndarray) -> np.ndarray:
    """``function`` of an array (rows, channels), a few rows at a time: what it computes on the way stays in a cache."""
    rows = _rows(points)
    return np.concatenate([function(points[first:first + rows]) for first in range(0, len(points), rows)])


def _rows(points: np.ndarray) -> int:
    """How many rows of an array (rows, channels) are worked on at a time."""
    return max(1, _AT_A_TIME // points.shape[1])


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
        high = wide_sum(acc, self.multiplier, self.offset)
        high >>= self.fraction
        if self.right.any():
            negative = (high < 0) & (self.right > 0) if self.away_from_zero else 0
            high += (1 << self.right) >> 1
            high -= negative
            high >>= self.right
        high += self.zero_point
        return np.clip(high, self.minimum, self.maximum).astype(np.int8)

    @property
    def uniform(self) -> bool:
        """Whether all channels have the same parameters."""
        return all((values == values[0]).all() for values in (self.multiplier, self.offset, self.right, self.slack))

    def moved(self, constant: np.ndarray) -> "Affine":
        """The same results, of accumulators that have been added to so that the exact rule has only ``constant`` left
        to add."""
        more = self.exact.constant - constant
        return replace(self, offset=self.offset - self.multiplier * more, exact=self.exact.moved(constant))

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
                one_shift: bool = False, exact: ExactRule | None = None) -> Affine:
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
    exact
        What an earlier search for the same rule, constant and range has made of them (:attr:`Affine.exact`).

    Raises
    ------
    ArithmeticError
        No fraction that 64-bit integers can hold is exact, or what was found does not stand
        :meth:`ExactRule.check`; names the channel.
    """
    low, high = np.asarray(low, np.int64), np.asarray(high, np.int64)
    search = _Search(requantise, constant, low, high, one_shift=one_shift, exact=exact)
    fraction, (multiplier, offset, slack) = search.narrowest()
    affine = Affine(multiplier, offset, search.right, slack, fraction, search.away_from_zero, search.zero_point,
                    requantise.minimum, requantise.maximum, search.exact)
    # Nothing decreases with the offset: between the smallest and the largest one all are right if these two are.
    search.exact.check(affine, replace(affine, offset=offset + slack))
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
                 one_shift: bool, exact: ExactRule | None = None):
        def rule(acc):
            return requantise(acc + constant).astype(np.int64)

        self.one_shift, self.zero_point = one_shift, getattr(requantise, "zero_point", 0)
        self.factor = factor = np.broadcast_to(requantise.factor, len(low))
        self.right, self.away_from_zero = _second_shift(requantise, factor, one_shift=one_shift)
        self.first, self.last = rule(low[None])[0], rule(high[None])[0]
        self.fixed = fixed = self.first == self.last
        # A channel of one result may have any shift: that of another one costs nothing.
        self.right[fixed] = 0 if np.all(fixed) else self.right[~fixed].min()

        # The clamp has always reached its lowest level, and never goes beyond its highest.
        self.levels = levels = np.arange(requantise.minimum + 1, requantise.maximum + 1, dtype=np.int64)[:, None]
        relative = levels - self.zero_point
        self.exact = exact or self._exact(requantise, constant, low, high, rule)
        self.at, self.start = self.exact.steps, _start(relative, self.right, self.away_from_zero)
        self.every_level = bool((self.first == requantise.minimum).all() and (self.last == requantise.maximum).all())

    def _exact(self, requantise: Requantise | Average, constant: np.ndarray, low: np.ndarray, high: np.ndarray,
               rule) -> ExactRule:
        """The rule with its steps."""
        shift, away = _second_shift(requantise, self.factor, one_shift=False)
        relative = self.levels - self.zero_point
        # Where the rule rounds twice, its steps are those of the first rounding; elsewhere there is but one.
        middle = _start(relative, shift, away) if away else relative
        factor = np.ldexp(self.factor, shift) if away else self.factor
        # Where the factor is zero, the steps are infinitely far away.
        with np.errstate(divide="ignore"):
            guess = (middle - 0.5) / factor
        np.ceil(guess, out=guess)
        guess -= constant
        exact = ExactRule(requantise, constant, low, high, np.clip(guess, low, high + 1, out=guess).astype(np.int64))
        return exact if self._are_steps(exact) else replace(exact, steps=_steps(rule, low, high, self.levels[:, 0],
                                                                                guess))

    def _are_steps(self, exact: ExactRule) -> bool:
        """Whether the rule reaches each level where it is said to, and not before."""
        at_begin, at_end = exact.results
        steps, low, high, levels = exact.steps, exact.low, exact.high, self.levels.astype(np.int8)
        return bool(((at_begin[1:] >= levels) | (steps > high)).all()
                    and ((at_end[:-1] < levels) | (steps <= low)).all())

    def _bounds(self, multiplier: np.ndarray, bits: int, channels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Least and largest offset, each like ``multiplier`` and ``channels``, with which a line of that slope and
        ``bits`` of fraction is exact at all steps; there is none where the least is beyond the largest."""
        first, last = self.first[channels], self.last[channels]
        least, most = np.full(len(multiplier), -_FAR), np.full(len(multiplier), _FAR)
        side_by_side = channels[-1] - channels[0] + 1 == channels.size
        where = slice(channels[0], channels[-1] + 1) if side_by_side else channels
        rows = max(1, _AT_A_TIME // len(multiplier))
        for begin in range(0, len(self.at), rows):
            each = slice(begin, begin + rows)
            numbers, lacking = self.levels[each], self.start[each, where] << bits
            lacking -= self.at[each, where] * multiplier
            # At a step the value must have reached its level; just below it, it must not have.  The clamp does not help
            # beyond the levels that there are.
            before = lacking
            if not self.every_level:
                before = lacking.copy()
                lacking[numbers > last] = -_FAR
                before[numbers <= first] = _FAR
            np.maximum(least, lacking.max(axis=0), out=least)
            np.minimum(most, before.min(axis=0), out=most)
        most[most < _FAR] += (multiplier - 1)[most < _FAR]
        return least, most

    def attempt(self, bits: int,
                channels: np.ndarray | None = None) -> tuple[tuple[np.ndarray, np.ndarray, np.ndarray], np.ndarray]:
        """((multiplier, offset, slack), numbers of channels for which they are not exact) with ``bits`` of fraction: of
        ``channels`` alone, in rising order, if there are any.  It ends at the first few channels that are not exact."""
        nearest = self._nearest(bits)
        multiplier = np.zeros(len(self.right), np.int64)
        offset = (self.first - self.zero_point) << self.right << bits
        slack = np.full(len(self.right), (1 << bits) - 1)
        wanted = left = np.flatnonzero(~self.fixed) if channels is None else channels[~self.fixed[channels]]
        for begin in range(0, wanted.size, _SIDE_BY_SIDE):
            left = wanted[begin:begin + _SIDE_BY_SIDE]
            for near in _NEAR:
                candidate = nearest[left] + near
                least, most = self._bounds(candidate, bits, left)
                usable = (candidate > 0) & (least <= most)
                found, least, most = left[usable], least[usable], most[usable]
                multiplier[found] = candidate[usable]
                offset[found] = np.where(least == -_FAR, most, least)
                slack[found] = np.where((least == -_FAR) | (most == _FAR), 0, most - least)
                left = left[~usable]
                if not left.size:
                    break
            if left.size:
                break
        return (multiplier, offset, slack), left

    def _nearest(self, bits: int) -> np.ndarray:
        """The multipliers of ``bits`` of fraction that are nearest to the rule's factors."""
        return np.rint(np.ldexp(self.factor, bits + self.right)).astype(np.int64)

    def narrowest(self) -> tuple[int, tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """(fewest bits of fraction with which all channels are exact, their multiplier, offset and slack), by
        bisection; raises ArithmeticError."""
        # 64-bit integers hold a step's place only so far; constant channels have none.
        widest = min(_WIDEST_ONE_SHIFT if self.one_shift else _WIDEST, 62 - 9 - int(self.right.max(initial=0)))
        # Channels that are hardly exact, or not, with one fraction are those that show soonest that another one fails:
        # once there are some, they speak for all, which are asked at the end.
        suspects = np.arange(0)
        while True:
            narrow, wide = 0, widest
            while narrow < wide:
                middle = (narrow + wide) // 2
                parameters, left = self.attempt(middle, suspects if suspects.size else None)
                if left.size:
                    narrow, suspects = middle + 1, np.union1d(suspects, left)
                else:
                    wide = middle
                    if not suspects.size:
                        suspects = np.sort(np.argsort(parameters[2], kind="stable")[:_FEW])
            found, left = self.attempt(wide)
            if not left.size:
                return wide, found
            if wide == widest:
                raise ArithmeticError(f"channel {left[0]} has no exact requantiser of {widest} bits or fewer")
            suspects = np.union1d(suspects, left)


def _start(relative: np.ndarray, right: np.ndarray, away_from_zero: bool) -> np.ndarray:
    """The least integer that ``right`` shifts, with rounding, to each of ``relative`` integers or more."""
    start = relative << right
    start -= (1 << right) >> 1
    if away_from_zero:
        start += (relative <= 0) & (right > 0)
    return start
