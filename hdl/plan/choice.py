# SPDX-License-Identifier: Apache-2.0
"""Which passes run in bands, and of how many rows, so that all maps find room."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from itertools import islice, pairwise
from math import inf

from tepal.hdl.config import EngineConfig
from tepal.hdl.memories.streamed import BEAT, beats_of
from tepal.quant import NetworkError

from .bands import (
    Group,
    aligned,
    banded,
    has_what_it_adds,
    last_strip,
    lasts,
    may_lie_upon,
    parts_of,
    parts_with_kept,
    rows_of,
)
from .passes import Pass
from .places import FeatureMap, Lifetime, lifetimes, pack, place_activations, strips
from .slices import loaded_words
from .tiling import Latencies, Tiling
from .timeline import read_after_write

__all__ = ["BEAT_CYCLES", "choose", "chosen"]

BEAT_CYCLES = BEAT // 16
"""Cycles in which a beat of weights comes from outside, from a memory of 16 bits: what bands are chosen for."""

_TOO_MANY = 1 << 40
"""More words than any network has."""


def _ceil(a: int, b: int) -> int:
    return -(-a // b)


def choose(passes: Sequence[Pass], config: EngineConfig, latency: Latencies) -> tuple[Group, ...]:
    """The groups with which all maps fit into ``config.activation_words`` words of each bank; none without that number.

    Of all ways to cut the passes into groups, each in the highest bands for which there is room, the one with the
    fewest cycles, as nearly as they can be told without a timeline.  Rows are kept where there is none otherwise, and
    maps lie upon each other where there still is none.  Where weights come from outside, again for each part of a pass
    whose weights can't stay, that takes cycles too (:data:`BEAT_CYCLES`), and rows are kept, and maps lie upon each
    other, wherever that takes fewer; but not where maps are added, which lie in a memory that is not counted here and
    are the larger the smaller groups are.

    Raises
    ------
    NetworkError
        There is no such way; the message says how many words there must be at least.
    """
    choice = _Choice(passes, config, latency)
    groups = _chosen(choice)
    if groups is None:
        words = config.activation_words or 0
        least = max(words + 1, choice.least)
        raise NetworkError(f"the activations do not fit into {words} words of each bank of memory, not even where "
                           f"passes run in bands of a row: choose activation_words of {least} or more")
    return groups


def chosen(passes: Sequence[Pass], config: EngineConfig, latency: Latencies) -> tuple[Group, ...] | None:
    """The same groups; None, and sooner, where :func:`choose` raises an error."""
    return _chosen(_Choice(passes, config, latency))


def _chosen(choice: "_Choice") -> tuple[Group, ...] | None:
    passes, config = choice.passes, choice.config
    words = config.activation_words
    if words is None:
        return ()
    best, fewest = None, inf
    for keep, upon in ((False, False), (True, False), (True, True)):
        room = words
        while (found := choice.groups(room, keep=keep, upon=upon)) is not None and found[0] < fewest:
            cycles, groups = found
            depths = {each: sum(place_activations(banded(passes, each)[0], config)[1])
                      for each in ([_in_turn(passes, groups, config, upward) for upward in (True, False)]
                                   if upon else [groups])}
            groups = min(depths, key=depths.__getitem__)
            if depths[groups] <= words:
                best, fewest = groups, cycles
                break
            # Maps of different sizes leave gaps between them.
            room -= depths[groups] - words
        if best is not None and not choice.counts_loading:
            break
    return best


def _upward(passes: Sequence[Pass], group: Group, config: EngineConfig) -> Group:
    """A ``group`` in bands of whole rows of banks, with the last rows first."""
    height, banks = passes[group.last].window.output_size[0], config.window[0]
    return replace(group, upward=_ceil(height, banks) * banks - (_ceil(height, group.rows) - 1) * group.rows)


def _in_turn(passes: Sequence[Pass], groups: Sequence[Group], config: EngineConfig, upward: bool) -> tuple[Group, ...]:
    """``groups`` with passes that write over what they read going down and up in turn, the first one ``upward`` or
    not."""
    made = []
    for group in groups:
        if group.first == group.last and may_lie_upon(passes[group.last]):
            made.append(_upward(passes, group, config) if upward else group)
            upward = not upward
        else:
            made.append(group)
    return tuple(made)


class _Choice:
    """The best cut into groups that need no more than some words of each bank at any time, if gaps are left out."""

    LONGEST = 8
    """Passes of a group: each makes more rows again than the one after it."""

    def __init__(self, passes: Sequence[Pass], config: EngineConfig, latency: Latencies):
        self.passes, self.config, self._latency = passes, config, latency
        self.counts_loading = config.weight_words is not None and all(work.other is None for work in passes)
        self._room, self._keep, self._upon = 0, False, False
        self._lives = lifetimes(passes)
        self._depths = [self._depth(work, work.window.output_size[0]) * work.banked for work in passes]
        self._of_groups: dict[Group, float] = {}
        self._needed, self._upon_each_other = cache(self._words_apart), cache(self._words_upon_each_other)

    def groups(self, room: int, *, keep: bool, upon: bool) -> tuple[float, tuple[Group, ...]] | None:
        """(cycles, groups in order) for ``room`` words; None if there are none.  Rows are kept, and maps lie upon each
        other, only if they may."""
        self._room, self._keep, self._upon = room, keep, upon
        short = [self._lasting(number, number) > room for number in range(len(self.passes))]
        # From each pass on: (cycles, the group with which it begins, or None for a pass that runs whole).
        best: list[tuple[float, Group | None]] = [(0, None)]
        for first in reversed(range(len(self.passes))):
            options: list[tuple[float, Group | None]] = []
            if not short[first]:
                options.append((max(self._cycles([self.passes[first]]), self._loading([first])) + best[0][0], None))
            elif self._upon and (group := self._over_its_source(first)):
                options.append((self._group_cycles(group) + best[0][0], group))
            able = set(lasts(self.passes, first))
            for last in islice(lasts(self.passes, first, keep=self._keep), self.LONGEST - 1):
                if any(short[first:last + 1]):
                    groups = self._highest(first, last) if last in able else None, self._keeping(first, last)
                    options += [(self._group_cycles(group) + best[last - first][0], group)
                                for group in groups if group]
            best.insert(0, min(options, key=lambda option: option[0], default=(inf, None)))
        if best[0][0] == inf:
            return None
        groups, number = [], 0
        while number < len(self.passes):
            group = best[number][1]
            groups += [group] if group else []
            number = group.last + 1 if group else number + 1
        return best[0][0], aligned(self.passes, groups)

    def _depth(self, work: Pass, rows: int) -> int:
        return FeatureMap((rows, *work.output_shape[1:]), self.config.window, self.config.lanes).depth

    def _lasting(self, first: int, last: int) -> int:
        """Words of maps that are whole while passes ``first`` to ``last`` run in bands."""
        return self._depths[last] + sum(depth for number, depth in enumerate(self._depths[:first])
                                        if depth and self._lives[number].read >= first)

    def _words_apart(self, group: Group) -> int:
        """Words that are taken while ``group`` runs, at most."""
        works = self.passes[group.first:group.last]
        most = 0
        for made in rows_of(self.passes, group):
            # Of the maps in between, one is read while the next one is written.
            depths = [0, *(self._depth(work, len(rows)) for work, rows in zip(works, made, strict=False)), 0]
            most = max(most, *(sum(pair) for pair in pairwise(depths)))
        return most + self._lasting(group.first, group.last)

    def _highest(self, first: int, last: int) -> Group | None:
        """The passes in the highest bands for which there is room: as few as can be, of about as many rows each."""
        height = self.passes[last].window.output_size[0]
        rows = bisect_left(range(1, height), True, key=lambda rows: self._needed(Group(first, last, rows)) > self._room)
        return Group(first, last, _ceil(height, _ceil(height, rows))) if rows else None

    def _keeping(self, first: int, last: int) -> Group | None:
        """The passes with rows kept, if there is room."""
        if not self._keep:
            return None
        rows = sum(self._depth(work, 1) for work in self.passes[first:last])
        if (room := self._room - self._lasting(first, last) - rows) >= 0:
            return self._rings(first, last, room)
        # When the first rows of the last map are made there are rings of all others, if not yet all of its own rows.
        if not self._upon or room + self._depths[last] < 0 or not (group := self._rings_beneath(first, last)):
            return None
        return group if self._upon_each_other(group) <= self._room else None

    def _rings_beneath(self, first: int, last: int) -> Group | None:
        """The passes with as few rows kept as can be, whose rings are read no more when the last map's last row of
        banks is made."""
        group = self._rings(first, last, 0)
        group = group and replace(group, ahead=last_strip(self.passes, group, self.config))
        return group if group and has_what_it_adds(self.passes, group) else None

    def _words_upon_each_other(self, group: Group) -> int:
        """Words that are taken while ``group`` runs, at most, where rows lie in the place of those that were read."""
        made, wholes = banded(self.passes, [group])
        runs = Lifetime(wholes.index(group.first), len(wholes) - 1 - wholes[::-1].index(group.last))
        living = [pieces for pieces in strips(made, self.config).values()
                  if any(strip.life.meets(runs) for strip in pieces)]
        return max((base + pieces[-1].end for base, pieces in zip(pack(living), living, strict=True)), default=0)

    def _bands_over_its_source(self, number: int) -> dict[int, int]:
        """For bands of a pass of so many rows, words that it needs if it writes over what it has read; rows are whole
        rows of banks."""
        banks, height = self.config.window[0], self.passes[number].window.output_size[0]
        if not may_lie_upon(self.passes[number]):
            return {}
        return {rows: self._upon_each_other(_upward(self.passes, Group(number, number, rows), self.config))
                for rows in range(banks, height, banks)}

    def _over_its_source(self, number: int) -> Group | None:
        """The pass in bands that lie upon what it has read, if there is room: few ones, about equally high."""
        height = self.passes[number].window.output_size[0]
        able = [rows for rows, words in self._bands_over_its_source(number).items() if words <= self._room]
        if not able:
            return None
        return Group(number, number, min(rows for rows in able if _ceil(height, rows) == _ceil(height, max(able))))

    def _rings(self, first: int, last: int, room: int) -> Group | None:
        """The passes with one row of banks of each map kept, which windows lie in two of at most, and further ones in
        ``room`` words: as evenly as can be, the first maps' rather than the last one's."""
        banks, works = self.config.window[0], self.passes[first:last]
        if any(work.window.kernel[0] > banks for work in self.passes[first + 1:last + 1]):
            return None
        heights = [_ceil(work.window.output_size[0], banks) for work in works]
        pitches, counts = [self._depth(work, 1) for work in works], [1] * len(works)
        for count in range(2, max(heights) + 1):
            for number, (height, pitch) in enumerate(zip(heights, pitches, strict=True)):
                if counts[number] == count - 1 < height and pitch <= room:
                    counts[number], room = count, room - pitch
        group = Group(first, last, self.passes[last].window.output_size[0], tuple(count * banks for count in counts))
        return group if has_what_it_adds(self.passes, group) else None

    def _kept_cycles(self, group: Group) -> tuple[float, float]:
        """(cycles of all parts, cycles in which weights come)."""
        total, before, wholes = 0, (group.first, 0), []
        for number, part in parts_with_kept(self.passes, group):
            tiling = Tiling(part, self.config, self._latency)
            wholes.append(number)
            # What reads a part just made waits for its last row.
            total += tiling.tiles * tiling.slot + (before[1] if number == before[0] + 1 else 0)
            before = number, max(0, tiling.last_written - tiling.slot)
        return total, self._loading(wholes)

    def _group_cycles(self, group: Group) -> float:
        """Cycles of all bands, or those in which their weights come, if these are more."""
        if (found := self._of_groups.get(group)) is None:
            found = self._of_groups[group] = max(self._kept_cycles(group) if group.kept else self._banded_cycles(group))
        return found

    def _loading(self, wholes: Sequence[int]) -> float:
        """Cycles in which weights come for parts of passes, whose numbers these are, in order."""
        if not self.counts_loading:
            return 0
        words = loaded_words({whole: self.passes[whole] for whole in {*wholes}}, wholes, self.config)
        # What has no room at all is for slices to tell.
        return min(words, _TOO_MANY) * beats_of(8 * self.config.columns * self.config.operands) * BEAT_CYCLES

    def _banded_cycles(self, group: Group) -> tuple[float, float]:
        """(cycles of all bands, of which those between the first one and the last one take as many as each other,
        nearly; cycles in which weights come)."""
        bands = list(rows_of(self.passes, group))
        loading = self._loading([*range(group.first, group.last + 1)] * len(bands))
        if group.first == group.last:
            tilings = [Tiling(part, self.config, self._latency) for band in bands
                       for part in parts_of(self.passes, group, band)]
            return sum(tiling.tiles * tiling.slot for tiling in tilings), loading
        shown = [bands[0], *bands[len(bands) // 2:][:1] * (len(bands) - 2), bands[-1]]
        found = {id(band): self._cycles(parts_of(self.passes, group, band)) for band in shown}
        return sum(found[id(band)] for band in shown), loading

    def _cycles(self, works: Sequence[Pass]) -> float:
        """Cycles from the first step of ``works`` to that of the pass behind them, each of which reads the map of the
        one before."""
        tilings = [Tiling(work, self.config, self._latency) for work in works]
        total = tilings[-1].tiles * tilings[-1].slot
        for tiling, following in pairwise(tilings):
            lead = read_after_write(tiling, 0, following)
            total += max(lead, tiling.to_last_tile + tiling.steps)
        return total

    def _least(self, first: int, last: int) -> float:
        """Words that the passes need as a group, at least."""
        if first == last:
            return min([self._lasting(first, first), *self._bands_over_its_source(first).values()])
        in_bands = self._needed(Group(first, last, 1)) if last in lasts(self.passes, first) else inf
        rings = self._rings_beneath(first, last)
        return min(in_bands, inf if rings is None else self._upon_each_other(rings))

    @property
    def least(self) -> int:
        """Words with which there would be groups: as few as those with bands of a row need at least."""
        best: list[float] = [0]
        for first in reversed(range(len(self.passes))):
            best.insert(0, min([max(self._least(first, first), best[0]),
                                *(max(self._least(first, last), best[last - first])
                                  for last in islice(lasts(self.passes, first, keep=True), self.LONGEST - 1))]))
        return int(best[0])
