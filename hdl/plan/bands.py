# SPDX-License-Identifier: Apache-2.0
"""Bands: passes in turn for some rows at a time, so that the maps between them are never stored whole.

A band is no new hardware, it is passes.  Each pass of a group that hands its map to the next one is divided: for each
band of rows of the last pass's map, the passes before it make the rows that its windows cover, into maps of just those
rows.  Rows that two bands cover are made twice.  All that keeps one pass apart from another keeps parts apart, too.

An inverted residual is such a group: the 1x1 convolution that expands, and the depthwise layer with the one that
projects.  So is the front of a network for large images, whose maps are the largest.

Where there is no room even for bands of a row, rows are kept instead: each map between two passes is a ring of few rows
(:class:`~tepal.hdl.plan.places.FeatureMap`), every row of it is made once, just before it is needed, over one that has
been read.  That is no hardware either: rows of a part lie in one lap of a ring, and its windows begin in one and end in
one, so that a part finds all of them by the same differences of addresses.

Where that is not enough either, maps lie upon each other (:func:`~tepal.hdl.plan.places.pack`): a pass in two bands
reads all of its input for the first one alone, and writes the second one over rows that it needs no more.  The first
rows of what it reads are free first if bands begin with the first rows, and the last ones if they begin with the last;
so a chain of such passes goes down and up in turn, and its maps move up and down in the memory.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import islice, pairwise
from math import inf

from tepal.hdl.config import EngineConfig
from tepal.quant import NetworkError

from .passes import Pass, covered
from .places import FeatureMap, Lifetime, lifetimes, pack, place_activations, strips
from .tiling import Latencies, Tiling
from .timeline import read_after_write

__all__ = ["Group", "added_together", "aligned", "banded", "choose", "chosen", "has_what_it_adds", "last_strip",
           "lasts", "may_lie_upon", "order_of_parts"]


def _ceil(a: int, b: int) -> int:
    return -(-a // b)


@dataclass(frozen=True)
class Group:
    """Passes ``first`` to ``last``, both counted, in bands of ``rows`` rows of the last one's map.

    Each but the last one is read as windows by the next one alone, and only with ``kept`` added.  ``kept`` are rows of
    each one's map but the last one's that are stored at a time: then parts of all passes take turns, and ``rows`` are
    those of the last one's at most.

    Before row ``ahead`` of the last one's map all others make as many rows as there is room for; else none before it is
    needed.

    Bands begin with the first rows; with ``upward`` they begin with the last ones, and the topmost band, which comes
    last, has so many rows."""

    first: int
    last: int
    rows: int
    kept: tuple[int, ...] = ()
    ahead: int | None = None
    upward: int = 0


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
    bands = [range(*each) for each in pairwise([0, *range(group.upward or group.rows, height, group.rows), height])]
    for band in reversed(bands) if group.upward else bands:
        made = [band]
        for work in reversed(works[1:]):
            made.insert(0, covered(work.window, made[0]))
        yield made


def _parts(passes: Sequence[Pass], group: Group, made: Sequence[range]) -> list[Pass]:
    """The part of each pass of ``group`` in the band in which they make these rows.  The first one reads a map that is
    whole."""
    works = passes[group.first:group.last + 1]
    given = [range(works[0].window.input_shape[0]), *made]
    return [_part(*each) for each in zip(works, made, given, strict=False)]


def _turns(passes: Sequence[Pass], group: Group) -> Iterator[tuple[int, range]]:
    """(number of a pass of a ``group`` that keeps rows, rows of its map), in order: what is needed next, as many rows
    as there is room for."""
    works, rings = passes[group.first:group.last + 1], (*group.kept, None)
    made = [0] * len(works)

    def piece(number: int, end: int) -> range:
        """Rows of a map, from the first one that is still to be made on: parts of one lap whose windows lie in one
        too, or all begin in one and end in the next."""
        window, begin = works[number].window, made[number]
        source, target = rings[number - 1] if number else None, rings[number]

        def laps(row: int) -> tuple[int, ...]:
            covers = covered(window, range(row, row + 1))
            return (row // target if target else 0,
                    *((covers.start // source, (covers.stop - 1) // source) if source else ()))

        rows = range(begin, begin + 1)
        while rows.stop < end and laps(rows.stop) == laps(begin) and (
                not source or len(covered(window, range(begin, rows.stop + 1))) <= source):
            rows = range(begin, rows.stop + 1)
        return rows

    def make(number: int, end: int) -> Iterator[tuple[int, range]]:
        while made[number] < end:
            # What is added is written in the order in which it is read: a row at a time.
            most = 1 if works[number].in_order else group.rows if number == len(works) - 1 else end
            rows = piece(number, min(end, made[number] + most))
            if number == len(works) - 1 and group.ahead is not None and rows.stop > group.ahead:
                yield from go_ahead()
            if number:
                yield from make(number - 1, covered(works[number].window, rows).stop)
            yield group.first + number, rows
            made[number] = rows.stop

    def go_ahead() -> Iterator[tuple[int, range]]:
        before = None
        while made != before:
            before = [*made]
            for number, ring in enumerate(group.kept):
                # Over the first row that the next pass still needs nothing is written.
                window, begin = works[number + 1].window, made[number + 1]
                if begin < ends[number + 1]:
                    yield from make(number, min(ends[number], covered(window, range(begin, begin + 1)).start + ring))

    ends = [works[-1].window.output_size[0]]
    for work in reversed(works[1:]):
        ends.insert(0, covered(work.window, range(ends[0])).stop)
    return make(len(works) - 1, ends[-1])


def has_what_it_adds(passes: Sequence[Pass], group: Group) -> bool:
    """Whether each row that a ``group`` that keeps rows adds has been made by then, and all rows that others add: only
    rows that windows cover are made."""
    made = dict.fromkeys(range(group.first, group.last + 1), 0)
    for number, rows in _turns(passes, group):
        other = passes[number].other
        if other is not None and made.get(other, rows.stop) < rows.stop:
            return False
        made[number] = rows.stop
    return all(end == passes[number].window.output_size[0] for number, end in made.items() if passes[number].added)


def _parts_with_kept(passes: Sequence[Pass], group: Group) -> Iterator[tuple[int, Pass]]:
    """(number of a pass of a ``group`` that keeps rows, a part of it), in order."""
    kept = dict(enumerate(group.kept, group.first))
    for number, rows in _turns(passes, group):
        window = passes[number].window
        yield number, replace(passes[number], first_row=rows.start, kept=kept.get(number), window=replace(
            window, output_size=(len(rows), window.output_size[1]),
            origin=(rows.start * window.stride[0] + window.origin[0], window.origin[1])))


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
        if group.kept:
            for whole, part in _parts_with_kept(passes, group):
                begun = number_of.get(whole)
                number_of.setdefault(whole, len(made))
                made.append(replace(part.renumbered(number_of), continues=begun))
                wholes.append(whole)
        else:
            begun = None
            for made_rows in _rows(passes, group):
                for whole, part in enumerate(_parts(passes, group, made_rows), group.first):
                    if whole > group.first:
                        number_of[whole - 1] = len(made) - 1
                    # Each but the last one writes a map for the band alone.
                    kind = {"continues": begun} if whole == group.last else {"map_row": part.first_row}
                    made.append(replace(part.renumbered(number_of), **kind))
                    wholes.append(whole)
                begun = len(made) - 1 if begun is None else begun
            number_of[group.last] = begun
        number = group.last + 1
    return tuple(made), tuple(wholes)


def order_of_parts(passes: Sequence[Pass], groups: Sequence[Group]) -> list[int]:
    """The numbers that :func:`banded` gives, without the parts."""
    order = [*range(len(passes))]
    for group in reversed(groups):
        order[group.first:group.last + 1] = [number for number, _ in _turns(passes, group)] if group.kept else [
            number for _ in _rows(passes, group) for number in range(group.first, group.last + 1)]
    return order


# -- which passes, and how many rows -----------------------------------------------------------------------


def lasts(passes: Sequence[Pass], first: int, *, keep: bool = False) -> Iterator[int]:
    """Last passes that a group of several may have which begins with ``first``: the map of each other one is read as
    windows by the next one alone, and is no output.  Only where rows are kept may it be added, or have a map added."""
    for last in range(first + 1, len(passes)):
        before, readers = passes[last - 1], [work for work in passes if work.source == last - 1]
        if readers != [passes[last]] or before.output is not None or (before.in_order and not keep):
            return
        yield last


def aligned(passes: Sequence[Pass], groups: Sequence[Group]) -> tuple[Group, ...]:
    """``groups`` with passes whose maps are added, and those that add them, in bands of the same rows, as many as the
    lowest have: all write in the same order then.  Of passes in a group that keeps rows that is a row each."""
    ends = {group.last: group for group in groups}
    keeping = {number for group in groups if group.kept for number in range(group.first, group.last + 1)}
    for numbers in added_together(passes):
        rows = min((1 if number in keeping else ends[number].rows for number in numbers
                    if number in keeping | ends.keys()), default=None)
        if rows is not None:
            ends |= {number: replace(ends.get(number, Group(number, number, rows)), rows=rows, upward=0)
                     for number in numbers - keeping}
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
    fewest cycles, as nearly as they can be told without a timeline.  Rows are kept where there is none otherwise, and
    maps lie upon each other where there still is none.

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
    for keep, upon in ((False, False), (True, False), (True, True)):
        room = words
        while (groups := choice.groups(room, keep=keep, upon=upon)) is not None:
            depths = {each: sum(place_activations(banded(passes, each)[0], config)[1])
                      for each in ([_in_turn(passes, groups, config, upward) for upward in (True, False)]
                                   if upon else [groups])}
            groups = min(depths, key=depths.__getitem__)
            if depths[groups] <= words:
                return groups
            # Maps of different sizes leave gaps between them.
            room -= depths[groups] - words
    return None


def may_lie_upon(work: Pass) -> bool:
    """Whether a pass may write its map over rows of the one that it reads, in bands of any order."""
    return work.source is not None and work.banked and work.output is None and not work.in_order


def last_strip(passes: Sequence[Pass], group: Group, config: EngineConfig) -> int:
    """Row with which the last row of banks of the last map of ``group`` begins."""
    return (_ceil(passes[group.last].window.output_size[0], config.window[0]) - 1) * config.window[0]


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
        self._room, self._keep, self._upon = 0, False, False
        self._lives = lifetimes(passes)
        self._depths = [self._depth(work, work.window.output_size[0]) * work.banked for work in passes]
        self._needed, self._upon_each_other = cache(self._words_apart), cache(self._words_upon_each_other)

    def groups(self, room: int, *, keep: bool, upon: bool) -> tuple[Group, ...] | None:
        """In order, for ``room`` words; None if there are none.  Rows are kept, and maps lie upon each other, only if
        they may."""
        self._room, self._keep, self._upon = room, keep, upon
        short = [self._lasting(number, number) > room for number in range(len(self.passes))]
        # From each pass on: (cycles, the group with which it begins, or None for a pass that runs whole).
        best: list[tuple[float, Group | None]] = [(0, None)]
        for first in reversed(range(len(self.passes))):
            options: list[tuple[float, Group | None]] = []
            if not short[first]:
                options.append((self._cycles([self.passes[first]]) + best[0][0], None))
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
        return aligned(self.passes, groups)

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
        for made in _rows(self.passes, group):
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

    def _kept_cycles(self, group: Group) -> float:
        total, before = 0, (group.first, 0)
        for number, part in _parts_with_kept(self.passes, group):
            tiling = Tiling(part, self.config, self._latency)
            # What reads a part just made waits for its last row.
            total += tiling.tiles * tiling.slot + (before[1] if number == before[0] + 1 else 0)
            before = number, max(0, tiling.last_written - tiling.slot)
        return total

    def _group_cycles(self, group: Group) -> float:
        """Cycles of all bands: those between the first one and the last one take as many as each other, nearly."""
        if group.kept:
            return self._kept_cycles(group)
        bands = list(_rows(self.passes, group))
        if group.first == group.last:
            tilings = [Tiling(part, self.config, self._latency) for band in bands
                       for part in _parts(self.passes, group, band)]
            return sum(tiling.tiles * tiling.slot for tiling in tilings)
        shown = [bands[0], *bands[len(bands) // 2:][:1] * (len(bands) - 2), bands[-1]]
        found = {id(band): self._cycles(_parts(self.passes, group, band)) for band in shown}
        return sum(found[id(band)] for band in shown)

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
