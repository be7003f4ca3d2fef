# SPDX-License-Identifier: Apache-2.0
"""The image by rows, for engines whose input memory holds some of them at a time.

The pass that reads the image is divided into parts of rows, each a pass like any other, which go on writing the map of
the first one.  A part begins when the last row that it reads has arrived, and when it ends, those rows are freed that
no part behind it reads: others take their places.  Which rows those are is fixed in advance.  Rows arrive in order and
are freed in order, so that nothing is overwritten before it has been read; and no part waits for a row that has no room
until this part itself, or one behind it, has ended: :func:`row_plan` sees to it.

Where that pass leads a group that runs in bands (:mod:`~tepal.hdl.plan.bands`), its part in each band is divided.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from tepal.hdl.units.input_layout import InputLayout
from tepal.quant import NetworkError

from .bands import Group, aligned, banded
from .passes import Pass, covered

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


def by_rows(passes: Sequence[Pass], groups: Sequence[Group],
            layout: InputLayout) -> tuple[tuple[Pass, ...], tuple[int, ...]]:
    """(``passes`` with those of ``groups`` in bands, and what reads the image in parts of rows that fit into its
    ``layout``; the number of the pass that each is or is a part of).

    Parts are as high as can be while the rows of the next one arrive.

    Raises
    ------
    NetworkError
        As :func:`row_plan`.
    """
    made, wholes = banded(passes, groups)
    if layout.ring is None:
        return made, wholes
    most = _most_rows([made[number] for number in _reading(made)], layout)
    if not passes[0].in_order:
        return _cut(made, wholes, most)
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


def _pieces(work: Pass, most: int) -> list[Pass]:
    """``work`` in pieces of at most so many rows of its output, about equal ones, each with a map of its own."""
    height, window = work.window.output_size[0], work.window
    count = _ceil(height, most)
    ends = [height * piece // count for piece in range(count + 1)]
    return [replace(work, first_row=work.first_row + begin, window=replace(
        window, output_size=(end - begin, window.output_size[1]),
        origin=(window.origin[0] + begin * window.stride[0], window.origin[1]))) for begin, end in pairwise(ends)]


def _cut(passes: Sequence[Pass], wholes: Sequence[int], most: int) -> tuple[tuple[Pass, ...], tuple[int, ...]]:
    """(``passes`` with those that read the image in pieces of at most so many rows, as ``wholes``)."""
    made: list[Pass] = []
    parts_of: list[int] = []
    number_of: dict[int | None, int | None] = {None: None}
    for number, (work, whole) in enumerate(zip(passes, wholes, strict=True)):
        number_of[number] = first = len(made)
        work = work.renumbered(number_of)
        pieces = _pieces(work, most) if work.source is None else [work]
        if work.continues is None:
            pieces[1:] = [replace(piece, continues=first, map_row=work.first_row) for piece in pieces[1:]]
        made += pieces
        parts_of += [whole] * len(pieces)
    return tuple(made), tuple(parts_of)
