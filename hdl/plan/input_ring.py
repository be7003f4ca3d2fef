# SPDX-License-Identifier: Apache-2.0
"""The image by rows, for engines whose input memory holds some of them at a time.

The pass that reads the image is divided into parts of rows, each a pass like any other, which go on writing the map of
the first one.  A part begins when the last row that it reads has arrived, and when it ends, those rows are freed that
no part behind it reads: others take their places.  Which rows those are is fixed in advance.  Rows arrive in order and
are freed in order, so that nothing is overwritten before it has been read; and no part waits for a row that has no room
until this part itself, or one behind it, has ended: :func:`row_plan` sees to it.

Where that pass leads a group that runs in bands (:mod:`~tepal.hdl.plan.bands`), its part in each band is divided.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from tepal.hdl.config import EngineConfig
from tepal.hdl.units.input_layout import InputLayout
from tepal.hdl.units.loader import InputLoader
from tepal.quant import NetworkError

from .bands import Group, aligned, banded
from .passes import Pass, covered
from .tiling import Latencies, Tiling

__all__ = ["RowPlan", "by_rows", "in_ring", "row_plan"]


def _ceil(a: int, b: int) -> int:
    return -(-a // b)


def in_ring(layout: InputLayout, rows: int | None) -> InputLayout:
    """``layout`` with at most so many rows at a time; as it is without a number."""
    if rows is None:
        return layout
    return replace(layout, ring=layout.shape[0] if rows >= layout.shape[0] else 1 << (rows.bit_length() - 1))


@dataclass(frozen=True)
class RowPlan:
    """What passes wait for and free, in each frame.

    Attributes
    ----------
    claims : tuple of int
        For each pass, how many more rows must have arrived than for those before it.
    frees : tuple of int
        For each pass, how many rows, or places that an image leaves empty, are free when it ends.
    last : int
        The last pass that reads the image.  When it begins, all of the image has arrived.
    ahead : int
        Rows that are freed before they need have arrived, at most, for nothing reads them.
    """

    claims: tuple[int, ...]
    frees: tuple[int, ...]
    last: int
    ahead: int


def _needed(parts: Sequence[Pass], height: int) -> tuple[list[int], list[int]]:
    """For each of the passes that read an image of so many rows: (how many rows have been freed when it begins, how
    many must have arrived)."""
    read = [covered(work.window, range(work.window.output_size[0])) for work in parts]
    freed, arrived = [height], [0]
    for rows in reversed(read):
        freed.insert(0, min(rows.start, freed[0]))
    for rows in read:
        arrived.append(max(rows.stop, arrived[-1]))
    return [0, *freed[1:-1]], [*arrived[1:-1], height]


def _reading(passes: Sequence[Pass]) -> list[int]:
    return [number for number, work in enumerate(passes) if work.source is None]


def row_plan(passes: Sequence[Pass], layout: InputLayout) -> RowPlan | None:
    """What ``passes`` do with the rows of an image in this ``layout``; None if they wait for whole images.

    Raises
    ------
    NetworkError
        A pass needs more rows at once than there is room for.
    """
    if layout.ring is None:
        return None
    readers, height = _reading(passes), layout.shape[0]
    freed, arrived = _needed([passes[number] for number in readers], height)
    _require_room(freed, arrived, layout)
    claims, frees = [0] * len(passes), [0] * len(passes)
    for number, (before, after), (kept, free) in zip(readers, pairwise([0, *arrived]),
                                                     pairwise([*freed, height + layout.beyond]), strict=True):
        claims[number], frees[number] = after - before, free - kept
    ahead = max([0, *(after - there for after, there in zip(freed[1:], arrived, strict=False))])
    return RowPlan(tuple(claims), tuple(frees), readers[-1], ahead)


def _require_room(freed: Sequence[int], arrived: Sequence[int], layout: InputLayout) -> None:
    most, height = max(end - begin for begin, end in zip(freed, arrived, strict=True)), layout.shape[0]
    if most > layout.rows:
        least = min(height, 1 << (most - 1).bit_length())
        raise NetworkError(f"the first layer needs {most} rows of the image at once, and the input memory holds "
                           f"{layout.rows}: choose input_rows of {least} or more")


def by_rows(passes: Sequence[Pass], groups: Sequence[Group], layout: InputLayout,
            config: EngineConfig) -> tuple[tuple[Pass, ...], tuple[int, ...]]:
    """(``passes`` with those of ``groups`` in bands, and what reads the image in parts of rows that fit into its
    ``layout``; the number of the pass that each is or is a part of).

    Where the image does not fit as a whole, parts are as high as can be while the rows of the next one arrive.  Where
    it does, they are for the engine ``config`` what :func:`_arriving` finds; bands, or what is added, stay as they are.

    Raises
    ------
    NetworkError
        As :func:`row_plan`.
    """
    made, wholes = banded(passes, groups)
    if layout.ring is None:
        return made, wholes
    if layout.ring == layout.shape[0] and not passes[0].in_order:
        reading = _reading(made)
        return _cut(made, wholes, {reading[0]: _arriving(passes[0], layout, config)} if len(reading) == 1 else {})
    most = _most_rows([made[number] for number in _reading(made)], layout)
    if not passes[0].in_order:
        return _cut(made, wholes, {number: _even(made[number], most) for number in _reading(made)})
    # Those that add its map are divided alike.
    rows = min([most, *(group.rows for group in groups if group.first == 0)])
    others = [group for group in groups if group.first]
    return banded(passes, aligned(passes, [Group(0, 0, min(rows, passes[0].window.output_size[0])), *others]))


def _most_rows(parts: Sequence[Pass], layout: InputLayout) -> int:
    """Rows of its output that a pass makes at a time, at most."""
    for rows in reversed(range(1, max(work.window.output_size[0] for work in parts) + 1)):
        freed, arrived = _needed([piece for work in parts for piece in _pieces(work, rows)], layout.shape[0])
        # Those of the next one have room as well.
        if max(end - begin for begin, end in zip(freed, [*arrived[1:], arrived[-1]], strict=True)) <= layout.rows:
            return rows
    freed, arrived = _needed([piece for work in parts for piece in _pieces(work, 1)], layout.shape[0])
    _require_room(freed, arrived, layout)
    return 1


def _even(work: Pass, most: int) -> list[int]:
    """Where pieces of ``work`` of at most so many rows of its output end, about equal ones."""
    height = work.window.output_size[0]
    count = _ceil(height, most)
    return [height * piece // count for piece in range(1, count + 1)]


def _arriving(work: Pass, layout: InputLayout, config: EngineConfig) -> list[int]:
    """Where pieces of ``work`` end, in rows of its output, that begin as the rows of the image arrive, a beat in every
    cycle: those with which it ends soonest, of all that take no cycle more together than the whole when all rows are
    there.  A piece more is worth it for :data:`_WORTH` cycles.

    Where rows come more slowly than they are computed, pieces are small at the end, and larger the earlier they are:
    each is computed while the rows of the next one arrive."""
    height = work.window.output_size[0]
    period = sum(InputLoader.row_timing(layout, config.input_bytes)) + 1
    read = [0, *(covered(work.window, range(end)).stop for end in range(1, height)), layout.shape[0]]
    tilings = [Tiling(_piece(work, 0, rows), config, Latencies()) for rows in range(1, height + 1)]
    takes = [0, *(tiling.tiles * tiling.slot for tiling in tilings)]
    # For each row, by the cycles in which the pieces above it are computed and how many they are: when the last of them
    # ends, and where each does.
    best: list[dict[tuple[int, int], tuple[int, tuple[int, ...]]]] = [{(0, 0): (0, ())}, *({} for _ in range(height))]
    for begin, states in enumerate(best):
        for (computed, count), (time, ends) in states.items():
            for end in range(begin + 1, height + 1) if count < _MOST else ():
                key = computed + takes[end - begin], count + 1
                if key[0] + takes[height - end] <= takes[height]:
                    found = max(time, period * read[end]) + takes[end - begin], (*ends, end)
                    best[end][key] = min(found, best[end].get(key, found))
    return [*min((time + _WORTH * count, ends) for (_, count), (time, ends) in best[height].items())[1]]


_WORTH, _MOST = 8, 8
"""Cycles for which a pass more, and what the descriptors of all units take for it, are worth it; and pieces that are
never more than so many: each is several times as high as the one behind it."""


def _piece(work: Pass, begin: int, end: int) -> Pass:
    """Rows of the output of ``work``, with a map of their own."""
    window = work.window
    return replace(work, first_row=work.first_row + begin, window=replace(
        window, output_size=(end - begin, window.output_size[1]),
        origin=(window.origin[0] + begin * window.stride[0], window.origin[1])))


def _pieces(work: Pass, most: int) -> list[Pass]:
    """``work`` in pieces of at most so many rows of its output."""
    return [_piece(work, begin, end) for begin, end in pairwise([0, *_even(work, most)])]


def _cut(passes: Sequence[Pass], wholes: Sequence[int],
         ends: Mapping[int, Sequence[int]]) -> tuple[tuple[Pass, ...], tuple[int, ...]]:
    """(``passes`` with some in pieces that end at these rows of their output, as ``wholes``)."""
    made: list[Pass] = []
    parts_of: list[int] = []
    number_of: dict[int | None, int | None] = {None: None}
    for number, (work, whole) in enumerate(zip(passes, wholes, strict=True)):
        number_of[number] = first = len(made)
        work = work.renumbered(number_of)
        pieces = [_piece(work, *rows) for rows in pairwise([0, *ends[number]])] if number in ends else [work]
        if work.continues is None:
            pieces[1:] = [replace(piece, continues=first, map_row=work.first_row) for piece in pieces[1:]]
        made += pieces
        parts_of += [whole] * len(pieces)
    return tuple(made), tuple(parts_of)
