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

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from tepal.hdl.config import EngineConfig

from .passes import Pass, covered

__all__ = ["Group", "added_together", "aligned", "banded", "has_what_it_adds", "last_strip", "lasts", "may_lie_upon",
           "order_of_parts", "parts_of", "parts_with_kept", "rows_of"]


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

    def kept_of(self, number: int) -> int | None:
        """Rows of a pass's map that are stored at a time; None of all."""
        return self.kept[number - self.first] if number - self.first < len(self.kept) else None


def _part(work: Pass, rows: range, given: range) -> Pass:
    """What makes ``rows`` of the output of ``work`` from the rows ``given`` of what it reads."""
    window = work.window
    origin = rows.start * window.stride[0] + window.origin[0] - given.start, window.origin[1]
    return replace(work, first_row=rows.start, window=replace(
        window, input_shape=(len(given), *window.input_shape[1:]), output_size=(len(rows), window.output_size[1]),
        origin=origin))


def rows_of(passes: Sequence[Pass], group: Group) -> Iterator[list[range]]:
    """For each band, the rows of its map that each pass of ``group`` makes."""
    works = passes[group.first:group.last + 1]
    height = works[-1].window.output_size[0]
    bands = [range(*each) for each in pairwise([0, *range(group.upward or group.rows, height, group.rows), height])]
    for band in reversed(bands) if group.upward else bands:
        made = [band]
        for work in reversed(works[1:]):
            made.insert(0, covered(work.window, made[0]))
        yield made


def parts_of(passes: Sequence[Pass], group: Group, made: Sequence[range]) -> list[Pass]:
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
    if not any(work.added or work.other is not None for work in passes[group.first:group.last + 1]):
        return True
    made = dict.fromkeys(range(group.first, group.last + 1), 0)
    for number, rows in _turns(passes, group):
        other = passes[number].other
        if other is not None and made.get(other, rows.stop) < rows.stop:
            return False
        made[number] = rows.stop
    return all(end == passes[number].window.output_size[0] for number, end in made.items() if passes[number].added)


def parts_with_kept(passes: Sequence[Pass], group: Group) -> Iterator[tuple[int, Pass]]:
    """(number of a pass of a ``group`` that keeps rows, a part of it), in order."""
    for number, rows in _turns(passes, group):
        yield number, _part_with_kept(passes[number], rows, group.kept_of(number))


def _part_with_kept(work: Pass, rows: range, kept: int | None) -> Pass:
    """What makes ``rows`` of the output of ``work``, of which so many are ``kept``."""
    window = work.window
    return replace(work, first_row=rows.start, kept=kept, window=replace(
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
            works: dict[int, Pass] = {}
            for whole, rows in _turns(passes, group):
                if whole not in works:
                    works[whole] = passes[whole].renumbered(number_of)
                made.append(_part_with_kept(works[whole], rows, group.kept_of(whole)))
                wholes.append(whole)
                if whole not in number_of:
                    number_of[whole] = len(made) - 1
                    works[whole] = replace(works[whole], continues=number_of[whole])
        else:
            begun = None
            for made_rows in rows_of(passes, group):
                for whole, part in enumerate(parts_of(passes, group, made_rows), group.first):
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
            number for _ in rows_of(passes, group) for number in range(group.first, group.last + 1)]
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


def may_lie_upon(work: Pass) -> bool:
    """Whether a pass may write its map over rows of the one that it reads, in bands of any order."""
    return work.source is not None and work.banked and work.output is None and not work.in_order


def last_strip(passes: Sequence[Pass], group: Group, config: EngineConfig) -> int:
    """Row with which the last row of banks of the last map of ``group`` begins."""
    return (_ceil(passes[group.last].window.output_size[0], config.window[0]) - 1) * config.window[0]
