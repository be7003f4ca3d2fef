# SPDX-License-Identifier: Apache-2.0
"""Bands: passes in turn for some rows at a time, so that the maps between them are never stored whole.

A band is no new hardware, it is passes.  Each pass of a group that hands its map to the next one is divided: for each
band of rows of the last pass's map, the passes before it make the rows that its windows cover, into maps of just those
rows.  Rows that two bands cover are made twice.  All that keeps one pass apart from another keeps parts apart, too.

An inverted residual is such a group: the 1x1 convolution that expands, and the depthwise layer with the one that
projects.  So is the front of a network for large images, whose maps are the largest.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice, pairwise
from math import inf

from tepal.hdl.config import EngineConfig
from tepal.quant import NetworkError

from .passes import Pass, Window
from .places import FeatureMap, lifetimes, place_activations
from .tiling import Latencies, Tiling
from .timeline import read_after_write

__all__ = ["Group", "added_together", "aligned", "banded", "choose", "covered", "lasts"]


def _ceil(a: int, b: int) -> int:
    return -(-a // b)


@dataclass(frozen=True)
class Group:
    """Passes ``first`` to ``last``, both counted, in bands of ``rows`` rows of the last one's map.

    Each but the last one is read by the next one alone, as windows."""

    first: int
    last: int
    rows: int


def covered(window: Window, rows: range) -> range:
    """Rows of the map that is read which the windows of these output ``rows`` cover; one row where they cover nothing
    but what lies beyond its edges."""
    first = rows.start * window.stride[0] + window.origin[0]
    last = (rows.stop - 1) * window.stride[0] + window.origin[0] + window.kernel[0] - 1
    height = window.input_shape[0]
    first = min(max(first, 0), height - 1)
    return range(first, max(first, min(last, height - 1)) + 1)


def _part(work: Pass, rows: range, given: range) -> Pass:
    """What makes ``rows`` of the output of ``work`` from the rows ``given`` of what it reads."""
    window = work.window
    origin = rows.start * window.stride[0] + window.origin[0] - given.start, window.origin[1]
    return replace(work, first_row=rows.start, window=replace(
        window, input_shape=(len(given), *window.input_shape[1:]), output_size=(len(rows), window.output_size[1]),
        origin=origin))


def _rows(passes: Sequence[Pass], group: Group) -> Iterator[list[range]]:
    """For each band, the rows of its map that each pass of ``group`` makes."""
    works = passes[group.first:group.last + 1]
    height = works[-1].window.output_size[0]
    for top in range(0, height, group.rows):
        made = [range(top, min(top + group.rows, height))]
        for work in reversed(works[1:]):
            made.insert(0, covered(work.window, made[0]))
        yield made


def _parts(passes: Sequence[Pass], group: Group, made: Sequence[range]) -> list[Pass]:
    """The part of each pass of ``group`` in the band in which they make these rows.  The first one reads a map that is
    whole."""
    works = passes[group.first:group.last + 1]
    given = [range(works[0].window.input_shape[0]), *made]
    return [_part(*each) for each in zip(works, made, given, strict=False)]


def banded(passes: Sequence[Pass], groups: Sequence[Group]) -> tuple[tuple[Pass, ...], tuple[int, ...]]:
    """(``passes`` with those of ``groups`` in bands, the number of the pass that each is or is a part of).

    ``groups`` are in order and have no pass in common."""
    begins = {group.first: group for group in groups}
    made: list[Pass] = []
    wholes: list[int] = []
    number_of: dict[int | None, int | None] = {None: None}
    number = 0
    while number < len(passes):
        group = begins.get(number)
        if group is None:
            number_of[number] = len(made)
            made.append(passes[number].renumbered(number_of))
            wholes.append(number)
            number += 1
            continue
        begun = None
        for made_rows in _rows(passes, group):
            for whole, part in enumerate(_parts(passes, group, made_rows), group.first):
                if whole > group.first:
                    number_of[whole - 1] = len(made) - 1
                continues = begun if whole == group.last else None
                made.append(replace(part.renumbered(number_of), continues=continues))
                wholes.append(whole)
            begun = len(made) - 1 if begun is None else begun
        number_of[group.last] = begun
        number = group.last + 1
    return tuple(made), tuple(wholes)


# -- which passes, and how many rows -----------------------------------------------------------------------


def lasts(passes: Sequence[Pass], first: int) -> Iterator[int]:
    """Last passes that a group of several may have which begins with ``first``: the map of each other one is read by
    the next one alone, and nowhere else."""
    for last in range(first + 1, len(passes)):
        before, readers = passes[last - 1], [work for work in passes if work.source == last - 1]
        if readers != [passes[last]] or before.in_order or before.output is not None:
            return
        yield last


def aligned(passes: Sequence[Pass], groups: Sequence[Group]) -> tuple[Group, ...]:
    """``groups`` with passes whose maps are added, and those that add them, in bands of the same rows, as many as the
    lowest have: all write in the same order then."""
    ends = {group.last: group for group in groups}
    for numbers in added_together(passes):
        rows = min((ends[number].rows for number in numbers if number in ends), default=None)
        if rows is not None:
            ends |= {number: Group(ends[number].first if number in ends else number, number, rows)
                     for number in numbers}
    return tuple(ends[last] for last in sorted(ends))


def added_together(passes: Sequence[Pass]) -> list[set[int]]:
    """Sets of passes of which each adds another one's map, or has its own added, or both."""
    sets: list[set[int]] = []
    for number, work in enumerate(passes):
        if work.other is not None:
            found = {number, work.other}.union(*(each for each in sets if each & {number, work.other}))
            sets = [each for each in sets if not each & found] + [found]
    return sets


def choose(passes: Sequence[Pass], config: EngineConfig, latency: Latencies) -> tuple[Group, ...]:
    """The groups with which all maps fit into ``config.activation_words`` words of each bank; none without that number.

    Of all ways to cut the passes into groups, each in the highest bands for which there is room, the one with the
    fewest cycles, as nearly as they can be told without a timeline.

    Raises
    ------
    NetworkError
        There is no such way; the message says how many words there must be at least.
    """
    words = config.activation_words
    if words is None:
        return ()
    room = words
    while (groups := _Choice(passes, config, latency, room).groups) is not None:
        depth = sum(place_activations(banded(passes, groups)[0], config)[1])
        if depth <= words:
            return groups
        # Maps of different sizes leave gaps between them.
        room -= depth - words
    least = max(words + 1, _Choice(passes, config, latency, words).least)
    raise NetworkError(f"the activations do not fit into {words} words of each bank of memory, not even where passes "
                       f"run in bands of a row: choose activation_words of {least} or more")


class _Choice:
    """The best cut into groups that need no more than ``room`` words of each bank at any time, if gaps are left out.

    Attributes
    ----------
    groups : tuple of Group, or None
        In order; None if there are none.
    """

    LONGEST = 8
    """Passes of a group: each makes more rows again than the one after it."""

    def __init__(self, passes: Sequence[Pass], config: EngineConfig, latency: Latencies, room: int):
        self._passes, self._config, self._latency, self._room = passes, config, latency, room
        self._lives = lifetimes(passes)
        self._depths = [self._depth(work, work.window.output_size[0]) * work.banked for work in passes]
        self._short = [self._lasting(number, number) > room for number in range(len(passes))]
        self.groups = self._cut()

    def _cut(self) -> tuple[Group, ...] | None:
        # From each pass on: (cycles, the group with which it begins, or None for a pass that runs whole).
        best: list[tuple[float, Group | None]] = [(0, None)]
        for first in reversed(range(len(self._passes))):
            options: list[tuple[float, Group | None]] = []
            if not self._short[first]:
                options.append((self._cycles([self._passes[first]]) + best[0][0], None))
            for last in islice(lasts(self._passes, first), self.LONGEST - 1):
                if any(self._short[first:last + 1]) and (group := self._highest(first, last)):
                    options.append((self._group_cycles(group) + best[last - first][0], group))
            best.insert(0, min(options, key=lambda option: option[0], default=(inf, None)))
        if best[0][0] == inf:
            return None
        groups, number = [], 0
        while number < len(self._passes):
            group = best[number][1]
            groups += [group] if group else []
            number = group.last + 1 if group else number + 1
        return aligned(self._passes, groups)

    def _depth(self, work: Pass, rows: int) -> int:
        return FeatureMap((rows, *work.output_shape[1:]), self._config.window, self._config.lanes).depth

    def _lasting(self, first: int, last: int) -> int:
        """Words of maps that are whole while passes ``first`` to ``last`` run in bands."""
        return self._depths[last] + sum(depth for number, depth in enumerate(self._depths[:first])
                                        if depth and self._lives[number].read >= first)

    def _needed(self, group: Group) -> int:
        """Words that are taken while ``group`` runs, at most."""
        works = self._passes[group.first:group.last]
        most = 0
        for made in _rows(self._passes, group):
            # Of the maps in between, one is read while the next one is written.
            depths = [0, *(self._depth(work, len(rows)) for work, rows in zip(works, made, strict=False)), 0]
            most = max(most, *(sum(pair) for pair in pairwise(depths)))
        return most + self._lasting(group.first, group.last)

    def _highest(self, first: int, last: int) -> Group | None:
        """The passes in the highest bands for which there is room: as few as can be, of about as many rows each."""
        height = self._passes[last].window.output_size[0]
        rows = bisect_left(range(1, height), True, key=lambda rows: self._needed(Group(first, last, rows)) > self._room)
        return Group(first, last, _ceil(height, _ceil(height, rows))) if rows else None

    def _group_cycles(self, group: Group) -> float:
        """Cycles of all bands: those between the first one and the last one take as many as each other, nearly."""
        bands = list(_rows(self._passes, group))
        shown = [bands[0], *bands[len(bands) // 2:][:1] * (len(bands) - 2), bands[-1]]
        found = {id(band): self._cycles(_parts(self._passes, group, band)) for band in shown}
        return sum(found[id(band)] for band in shown)

    def _cycles(self, works: Sequence[Pass]) -> float:
        """Cycles from the first step of ``works`` to that of the pass behind them, each of which reads the map of the
        one before."""
        tilings = [Tiling(work, self._config, self._latency) for work in works]
        total = tilings[-1].tiles * tilings[-1].slot
        for tiling, following in pairwise(tilings):
            lead = read_after_write(tiling, 0, following)
            total += max(lead, tiling.to_last_tile + tiling.steps)
        return total

    @property
    def least(self) -> int:
        """Words with which there would be groups: as few as those with bands of a row need at least."""
        best = [0]
        for first in reversed(range(len(self._passes))):
            best.insert(0, min([max(self._lasting(first, first), best[0]),
                                *(max(self._needed(Group(first, last, 1)), best[last - first])
                                  for last in islice(lasts(self._passes, first), self.LONGEST - 1))]))
        return best[0]
