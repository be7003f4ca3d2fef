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

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from tepal.quant import Average, Requantise, Rounding

__all__ = ["Affine", "ExactRule", "Sums", "find_affine", "find_affines", "wide_sum"]

_WIDEST = 34
"""Fraction bits to try at most: what the exact rules may have, and a little more."""

_WIDEST_ONE_SHIFT = 44
"""The same where the second rounding's shift is among them."""

_FAR = np.iinfo(np.int64).max
"""Stands for no bound."""

_AT_A_TIME = 1 << 15
"""Values of an array that are worked on at a time: as many as fit a cache with what is made of them."""

_NEAR = (0, 1, -1)
"""How far multipliers may be from the nearest one."""

_FEW = 8
"""So many channels of a layer that are hardly exact are looked at first."""

_EVERY = 8
"""Which channels those are is told by one in so many of their steps."""


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

    ``constant``, ``low`` and ``high`` as in :class:`Sums`; ``steps`` int64 (levels, channels), the accumulators
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
        wrong_begin, wrong_end = np.empty((2, *self.results[0].shape), bool)
        for rows, begins, ends in self._intervals():
            at_begin, at_end = (each[rows] for each in self.results)
            np.not_equal(at_begin, function(begins), out=wrong_begin[rows])
            np.not_equal(at_end, (largest or function)(ends), out=wrong_end[rows])
            # A step of the rule, and so of the function, between the two.
            wrong_end[rows] |= (at_begin != at_end) & (begins < ends)
        wrong = np.concatenate([wrong_begin, wrong_end])
        if wrong.any():
            channel = int(np.flatnonzero(wrong.any(axis=0))[0])
            _, begins, ends = zip(*self._intervals(), strict=True)
            point = np.concatenate([*begins, *ends])[wrong[:, channel].argmax(), channel]
            raise ArithmeticError(f"channel {channel} has a requantiser that is not exact up to accumulator {point}: "
                                  "a fault of Tepal's, please report it")

    def _intervals(self) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
        """(rows of all of them, first accumulators, last accumulators), of a few intervals at a time, so that what is
        computed of them stays in a cache: from ``low`` to the first step, from each step to the next one, and on to
        ``high``.  An empty interval has its last accumulator before its first, or at it, at the end of the range."""
        levels, channels = self.steps.shape
        some = max(1, _AT_A_TIME // channels)
        for first in range(0, levels + 1, some):
            begins, ends = self.steps[max(0, first - 1):first + some - 1], self.steps[first:first + some] - 1
            if first == 0:
                begins = np.concatenate([self.low[None], begins])
            if first + some > levels:
                ends = np.concatenate([ends, self.high[None]])
            yield slice(first, first + some), np.clip(begins, self.low, self.high), np.clip(ends, self.low, self.high)

    @cached_property
    def results(self) -> tuple[np.ndarray, np.ndarray]:
        """int8 (levels + 1, channels): the rule's at the first accumulators of the intervals, and at the last."""
        return tuple(np.concatenate(each) for each in zip(*(
            [self.requantise(ends + self.constant) for ends in pair] for _, *pair in self._intervals()), strict=True))

    def moved(self, constant: np.ndarray) -> "ExactRule":
        """The same results, of accumulators that have been added to so that ``constant`` is all that is left to add."""
        more = self.constant - constant
        moved = replace(self, constant=constant, low=self.low + more, high=self.high + more, steps=self.steps + more)
        vars(moved)["results"] = self.results
        return moved


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


@dataclass(frozen=True, eq=False)
class Sums:
    """The sums of one layer, and what is to be made of them.

    Attributes
    ----------
    requantise
        The exact rule.
    constant
        int64 (channels,), bias and zero points.
    low, high
        int64 (channels,), the reachable raw accumulators, both ends included.
    exact
        What an earlier search for the same rule, constant and range has made of them (:attr:`Affine.exact`).
    name
        What a message calls the layer, if anything.
    """

    requantise: Requantise | Average
    constant: np.ndarray
    low: np.ndarray
    high: np.ndarray
    exact: ExactRule | None = None
    name: str = ""

    @contextmanager
    def named(self):
        """Errors in here name the layer."""
        try:
            yield
        except ArithmeticError as error:
            raise ArithmeticError(f"{self.name}: {error}" if self.name else str(error)) from error


def find_affine(requantise: Requantise | Average, constant: np.ndarray, low: np.ndarray, high: np.ndarray, *,
                one_shift: bool = False, exact: ExactRule | None = None) -> Affine:
    """:func:`find_affines` of one layer: of :class:`Sums` of these."""
    return find_affines([Sums(requantise, constant, low, high, exact)], one_shift=one_shift)[0]


def find_affines(wanted: Sequence[Sums], *, one_shift: bool = False) -> list[Affine]:
    """For each layer the narrowest hardware requantiser equal to ``requantise(acc + constant)`` on ``low … high``.

    Most of the time goes into many short steps, so they are taken for all layers side by side.

    Parameters
    ----------
    wanted
        The layers.
    one_shift
        Where no result shows which way the second rounding goes, do without its shift: ``right`` is zero.

    Raises
    ------
    ArithmeticError
        No fraction that 64-bit integers can hold is exact, or what was found does not stand
        :meth:`ExactRule.check`; names the layer and the channel.
    """
    searches = [_Search(sums, one_shift=one_shift) for sums in wanted]
    pending = searches
    while pending:
        _bisect([search for search in pending if search.suspects.size])
        pending = [search for search in pending if not search.settle()]
    return [search.proved() for search in searches]


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


@dataclass(frozen=True, eq=False)
class _Lines:
    """Channels, of one layer or of several, that each need a line: one is exact if it has reached the ``start`` of each
    of the ``levels`` at the accumulator ``at`` which the rule steps to it, and not before.

    Attributes
    ----------
    levels
        int64 (levels, channels), or (levels, 1) where all have the same.
    at, start
        int64 (levels, channels).
    first, last
        int64 (channels,), the results at both ends of the range.
    slope
        float64 (channels,), what the line's should be.
    """

    levels: np.ndarray
    at: np.ndarray
    start: np.ndarray
    first: np.ndarray
    last: np.ndarray
    slope: np.ndarray

    @classmethod
    def join(cls, several: "Sequence[_Lines]") -> "_Lines":
        """All of them side by side: where there are fewer levels than elsewhere, the last one once more."""
        most = max(len(lines.at) for lines in several)

        def wide(name: str) -> np.ndarray:
            return np.concatenate([
                np.broadcast_to(getattr(lines, name), lines.at.shape)[np.minimum(np.arange(most), len(lines.at) - 1)]
                for lines in several], axis=1)

        return cls(*map(wide, ("levels", "at", "start")), *(
            np.concatenate([getattr(lines, name) for lines in several]) for name in ("first", "last", "slope")))

    def take(self, channels: np.ndarray) -> "_Lines":
        """Some channels of one layer."""
        return _Lines(self.levels, self.at[:, channels], self.start[:, channels], self.first[channels],
                      self.last[channels], self.slope[channels])

    def thinned(self, every: int) -> "_Lines":
        """The same channels, of whose levels one in so many is left."""
        return replace(self, levels=self.levels[::every], at=self.at[::every], start=self.start[::every])

    def bounds(self, multiplier: np.ndarray, bits: np.ndarray, channels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Least and largest offset, each like ``multiplier``, ``bits`` and ``channels``, with which a line of that
        slope and so many bits of fraction is exact at all steps; there is none where the least is beyond the
        largest."""
        first, last = self.first[channels], self.last[channels]
        least, most = np.full(len(multiplier), -_FAR), np.full(len(multiplier), _FAR)
        where = slice(None) if len(channels) == len(self.first) else channels
        rows = max(1, _AT_A_TIME // len(multiplier))
        for begin in range(0, len(self.at), rows):
            each = slice(begin, begin + rows)
            numbers = self.levels[each, where if self.levels.shape[1] > 1 else slice(None)]
            lacking = self.start[each, where] << bits
            lacking -= self.at[each, where] * multiplier
            # At a step the value must have reached its level; just below it, it must not have.  The clamp does not help
            # beyond the levels that there are.
            before = lacking
            if (numbers[0] <= first).any():
                before = lacking.copy()
                np.copyto(before, _FAR, where=numbers <= first)
            if (numbers[-1] > last).any():
                lacking = lacking.copy()
                np.copyto(lacking, -_FAR, where=numbers > last)
            np.maximum(least, lacking.max(axis=0), out=least)
            np.minimum(most, before.min(axis=0), out=most)
        most[most < _FAR] += (multiplier - 1)[most < _FAR]
        return least, most

    def attempt(self, bits: np.ndarray, channels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """(multiplier, offset, slack, numbers of those of ``channels`` that are not exact) with ``bits`` of fraction,
        one number for each channel: where there are any, the first three hold for the other ones of ``channels``."""
        nearest = np.rint(np.ldexp(self.slope, bits)).astype(np.int64)
        multiplier, offset, slack = np.zeros((3, len(bits)), np.int64)
        left = channels
        for near in _NEAR:
            if not left.size:
                break
            candidate = nearest[left] + near
            least, most = self.bounds(candidate, bits[left], left)
            usable = (candidate > 0) & (least <= most)
            found, least, most = left[usable], least[usable], most[usable]
            multiplier[found] = candidate[usable]
            offset[found] = np.where(least == -_FAR, most, least)
            slack[found] = np.where((least == -_FAR) | (most == _FAR), 0, most - least)
            left = left[~usable]
        return multiplier, offset, slack, left


class _Search:
    """Looks for the multipliers and offsets of one layer, with the fewest ``bits`` of fraction that are exact.

    Between ``narrow`` and ``widest`` it is looked for with the ``suspects`` alone: channels with the least slack are
    those that show soonest that fewer bits are not enough.  The others are asked at the end."""

    def __init__(self, sums: Sums, *, one_shift: bool):
        self.sums = sums
        requantise, constant = sums.requantise, sums.constant
        low, high = np.asarray(sums.low, np.int64), np.asarray(sums.high, np.int64)

        def rule(acc):
            return requantise(acc + constant).astype(np.int64)

        self.zero_point = getattr(requantise, "zero_point", 0)
        self.factor = factor = np.broadcast_to(requantise.factor, len(low))
        self.right, self.away_from_zero = _second_shift(requantise, factor, one_shift=one_shift)
        first, last = rule(low[None])[0], rule(high[None])[0]
        self.fixed = fixed = first == last
        # A channel of one result may have any shift: that of another one costs nothing.
        self.right[fixed] = 0 if np.all(fixed) else self.right[~fixed].min()

        # The clamp has always reached its lowest level, and never goes beyond its highest.
        self.levels = levels = np.arange(requantise.minimum + 1, requantise.maximum + 1, dtype=np.int64)[:, None]
        self.exact = sums.exact or self._exact(requantise, constant, low, high, rule)
        self.lines = _Lines(levels, self.exact.steps, _start(levels - self.zero_point, self.right, self.away_from_zero),
                            first, last, np.ldexp(factor, self.right))

        # 64-bit integers hold a step's place only so far; constant channels have none.
        self.widest = min(_WIDEST_ONE_SHIFT if one_shift else _WIDEST, 62 - 9 - int(self.right.max(initial=0)))
        self.narrow = self.bits = 0
        self.channels = np.flatnonzero(~fixed)
        _, _, slack, left = self._attempt(self.lines.thinned(_EVERY), self.widest)
        slack[left] = -1
        self.suspects = self.channels[np.argsort(slack[self.channels], kind="stable")[:_FEW]]

    def _attempt(self, lines: _Lines, bits: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        return lines.attempt(np.full(len(self.right), bits), self.channels)

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

    def settle(self) -> bool:
        """Whether all channels are exact with ``bits`` of fraction, as the suspects are: then it is done.  Else there
        are more suspects.  Raises ArithmeticError if there can't be more bits."""
        self.multiplier, self.offset, self.slack, left = self._attempt(self.lines, self.bits)
        if left.size and self.bits == self.widest:
            with self.sums.named():
                raise ArithmeticError(f"channel {left[0]} has no exact requantiser of {self.widest} bits or fewer")
        self.suspects, self.narrow = np.union1d(self.suspects, left), self.bits + 1
        return not left.size

    def proved(self) -> Affine:
        """What was found; raises ArithmeticError if it is not right."""
        offset = np.where(self.fixed, (self.lines.first - self.zero_point) << self.right << self.bits, self.offset)
        slack = np.where(self.fixed, (1 << self.bits) - 1, self.slack)
        affine = Affine(self.multiplier, offset, self.right, slack, self.bits, self.away_from_zero, self.zero_point,
                        self.sums.requantise.minimum, self.sums.requantise.maximum, self.exact)
        # Nothing decreases with the offset: between the smallest and the largest one all are right if these two are.
        with self.sums.named():
            self.exact.check(affine, replace(affine, offset=offset + slack))
        return affine


def _bisect(searches: "Sequence[_Search]") -> None:
    """Give each search the fewest ``bits`` of fraction with which its suspects are exact."""
    if not searches:
        return
    lines = _Lines.join([search.lines.take(search.suspects) for search in searches])
    owner = np.repeat(np.arange(len(searches)), [search.suspects.size for search in searches])
    narrow, wide = (np.array([getattr(search, name) for search in searches]) for name in ("narrow", "widest"))
    while (unknown := narrow < wide).any():
        middle = (narrow + wide) // 2
        *_, left = lines.attempt(middle[owner], np.flatnonzero(unknown[owner]))
        failing = np.isin(np.arange(len(searches)), owner[left])
        narrow = np.where(unknown & failing, middle + 1, narrow)
        wide = np.where(unknown & ~failing, middle, wide)
    for search, bits in zip(searches, wide, strict=True):
        search.bits = int(bits)


def _start(relative: np.ndarray, right: np.ndarray, away_from_zero: bool) -> np.ndarray:
    """The least integer that ``right`` shifts, with rounding, to each of ``relative`` integers or more."""
    start = relative << right
    start -= (1 << right) >> 1
    if away_from_zero:
        start += (relative <= 0) & (right > 0)
    return start
