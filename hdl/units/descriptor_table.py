# SPDX-License-Identifier: Apache-2.0
"""Tables of descriptors: each field is as wide as its largest value, decided before synthesis; and what counts by
them."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass
from functools import cached_property
from typing import Any

import numpy as np
from amaranth import *
from amaranth.lib import data
from tepal.hdl.memories.block import Rom
from tepal.hdl.primitives import bits_for, delay

__all__ = ["Coordinate", "Countdown", "DescriptorTable", "Difference"]


@dataclass(frozen=True)
class Coordinate:
    """A row or a column of a banked feature map: ``value`` itself; ``remainder``, its bank; and ``address``, what the
    whole part of value / banks adds to an address there."""

    value: int
    remainder: int
    address: int


@dataclass(frozen=True)
class Difference(Coordinate):
    """A difference of two coordinates; ``wrapped_address`` is its address where the sum of two remainders is too large
    for one."""

    wrapped_address: int


def _flat(descriptor: Any, prefix: str = "") -> dict[str, int]:
    """Field name to value; those of a member that is a dataclass itself begin with its name."""
    found = {}
    for field in fields(descriptor):
        value, name = getattr(descriptor, field.name), prefix + field.name
        found |= _flat(value, f"{name}_") if is_dataclass(value) else {} if value is None else {name: int(value)}
    return found


class DescriptorTable:
    """The descriptors of one unit: a layout just wide enough, and their values.

    Parameters
    ----------
    descriptors
        One for each pass, in order: instances of the dataclass of integers that the unit declares.  A member that is
        None in all of them takes no bits.
    spacing
        Least cycles from one pass's turn to the next one's, at least 2; the first one comes no earlier than in that
        cycle after a reset.  What is left of them goes to registers behind the table if it is a memory.
    frugal
        Such a memory is made of LUTs if its words have no more than :data:`NARROW` bits.
    """

    NARROW = 6
    """Bits of a word that take a few hundred LUTs for a thousand rows, and would leave two thirds of a memory block
    empty."""

    MOST_ROWS = 64
    """Rows of a table of LUTs, of which a bit takes four then; a larger one is a memory."""

    SUFFIX = "_descriptors"
    """Of the name of such a memory."""

    _STAGES = 3
    """Registers behind a memory, at most: its own, one among the LUTs of kinds, which may be far away, and one behind
    those."""

    def __init__(self, descriptors: Sequence[Any], spacing: int = 2, *, frugal: bool = False):
        self.rows = [_flat(descriptor) for descriptor in descriptors]
        self.spacing, self.frugal = spacing, frugal
        layout = {}
        for name in self.rows[0]:
            values = [row[name] for row in self.rows]
            low, high = min(values), max(values)
            width = max(high.bit_length(), (~low).bit_length() if low < 0 else 0, 1)
            layout[name] = signed(width + 1) if low < 0 else unsigned(width)
        self.layout = data.StructLayout(layout)

    def __len__(self):
        return len(self.rows)

    def __contains__(self, field: str):
        return field in self.rows[0]

    @property
    def in_memory(self) -> bool:
        """Whether it is a memory."""
        return len(self.rows) > self.MOST_ROWS and self.stored.size > 0

    @property
    def in_logic(self) -> bool:
        """Whether that memory is made of LUTs."""
        return self.frugal and self.stored.size <= self.NARROW

    @cached_property
    def kinds(self) -> tuple[dict[str, int], ...]:
        """Rows of those fields alone that have no more than :data:`MOST_ROWS` values together, each once: parts of a
        pass differ in few fields.  Of a table in memory they are LUTs, and there a row has the number of its own."""
        # Each column's values by their numbers; a pair of such numbers is a number, too.
        columns = {name: np.unique([row[name] for row in self.rows], return_inverse=True)[1].ravel()
                   for name, _ in self.layout}
        left = [name for name, column in columns.items() if column.any()]
        chosen: list[str] = []
        numbers = np.zeros(len(self.rows), int)
        while left:
            each = {name: numbers * (columns[name].max() + 1) + columns[name] for name in left}
            best = min(left, key=lambda name: np.unique(each[name]).size)
            pairs = each[best].tolist()
            values = {value: number for number, value in enumerate(dict.fromkeys(pairs))}
            if len(values) > self.MOST_ROWS:
                break
            numbers = np.array([values[value] for value in pairs])
            chosen.append(left.pop(left.index(best)))
        return tuple(dict(each) for each in dict.fromkeys(tuple((name, row[name]) for name in chosen)
                                                          for row in self.rows))

    @property
    def stored(self) -> data.StructLayout:
        """A word of that memory: the number of its kind, and the fields that kinds leave out, but those that are the
        same in all rows."""
        kind = {"kind": unsigned(bits_for(len(self.kinds)))} if len(self.kinds) > 1 else {}
        return data.StructLayout(kind | {
            name: field.shape for name, field in self.layout
            if name not in self.kinds[0] and len({row[name] for row in self.rows}) > 1})

    def follow(self, m: Module, advance, *, name: str, rom: str, before: bool = False):
        """(current descriptor, the one that follows, number of the current one): the next one follows ``advance``,
        round and round.  At first it is the first one's turn; with ``before``, only after an ``advance``.  ``rom`` is
        what it is called, but for :data:`SUFFIX`, if it is a memory.

        The one that follows is there two cycles after an ``advance``: a table of LUTs is read then, a memory long
        before, when the row before is still the one that follows."""
        count = len(self.rows)
        first = -1 % count if before else 0
        number = Signal(range(max(2, count)), name=f"{name}_number", init=first)
        ahead = Signal.like(number, name=f"{name}_ahead", init=(first + 1) % count)
        current = Signal(self.layout, name=name, init=self.rows[first])
        upcoming = Signal(self.layout, name=f"{name}_upcoming", init=self.rows[(first + 1) % count])
        if self.in_memory:
            beyond = Signal.like(number, name=f"{name}_beyond", init=(first + 2) % count)
            with m.If(advance):
                m.d.sync += beyond.eq(Mux(beyond == count - 1, 0, beyond + 1))
            moved, row = delay(m, advance, 1, name=f"{name}_moved"), self._read(m, beyond, rom)
            with m.If(moved):
                m.d.sync += upcoming.eq(row)
        else:
            table = Array([self.layout.const(row) for row in self.rows])
            m.d.sync += upcoming.eq(table[ahead])
        with m.If(advance):
            m.d.sync += [current.eq(upcoming), number.eq(ahead),
                         ahead.eq(Mux(ahead == count - 1, 0, ahead + 1))]
        return current, upcoming, number

    def _read(self, m: Module, number, rom: str):
        """The row ``number`` out of a memory: ``spacing`` cycles later, or sooner if there are no more registers."""
        kinds = {tuple(kind.items()): number for number, kind in enumerate(self.kinds)}
        words = []
        for row in self.rows:
            kind = kinds[tuple((field, row[field]) for field in self.kinds[0])]
            words.append(self.stored.const({field: row.get(field, kind) for field, _ in self.stored})
                         .as_value().value)
        name, stages = rom + self.SUFFIX, min(self.spacing - 1, self._STAGES)
        m.submodules[name] = memory = Rom(name, self.stored.size, words, registers=1, logic=self.in_logic)
        m.d.comb += memory.address.eq(number)
        word = data.View(self.stored, delay(m, memory.data, min(stages - 1, 1), name=f"{name}_word"))
        # What is the same in all rows is in any of them.
        table = Array([self.layout.const(self.rows[0] | kind) for kind in self.kinds])
        kind = data.View(self.layout, table[word["kind"]] if len(kinds) > 1 else table[0])
        row = Signal(self.layout, name=f"{name}_row")
        m.d.comb += [row[field].eq(word[field] if field in self.stored.members else kind[field])
                     for field in self.rows[0]]
        return delay(m, row.as_value(), max(0, stages - 2), name=f"{name}_row")


class Countdown:
    """A counter that falls: ``last`` is set while nothing is left to count.

    Its methods are statements for ``m.d.sync``.  That it has come to zero is known from a register.

    Parameters
    ----------
    name, shape
        Of the signal that says how many steps are ``left``.
    most
        Steps that it is ever started with; without any there is no counter.
    init
        Steps to count at first.
    """

    def __init__(self, name: str, shape, most: int = 1, init: int = 0):
        self.counts = most > 0
        self.left = Signal(shape, name=f"{name}_left", init=init) if self.counts else Const(0, shape)
        self.last = Signal(name=f"last_{name}", init=init == 0) if self.counts else Const(1, 1)

    @classmethod
    def of(cls, table: DescriptorTable, field: str, init: int = 0) -> "Countdown":
        """One that is started with a field of descriptors."""
        return cls(field.removeprefix("last_"), table.layout[field].shape, max(row[field] for row in table.rows), init)

    def start(self, full):
        """Count ``full`` steps more from now on."""
        return [self.left.eq(full), self.last.eq(full == 0)] if self.counts else []

    def step(self):
        return [self.left.eq(self.left - 1), self.last.eq(self.left == 1)] if self.counts else []
