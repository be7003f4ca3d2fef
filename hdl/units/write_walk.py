# SPDX-License-Identifier: Apache-2.0
"""Where the drain writes: which chunk of which pixel comes next, and the pixel's place in the banks."""

from amaranth import *

from .arithmetic import modular_sum
from .descriptor_table import DescriptorTable

__all__ = ["ChunkWalk", "PixelWalk"]


class ChunkWalk:
    """The chunk of channels that is written, and its word and part of a word.  A column group's chunks are written for
    every pixel of a tile, then those of the next column group.  Methods are statements for ``m.d.sync``.

    Parameters
    ----------
    most
        Chunks that are ever counted.
    parts
        Chunks of a word.
    address_bits
        Width of ``group``, the word's place among those of its pixel.
    banks
        Where a chunk is two words, in neighbouring columns of so many: ``turn`` counts by how many columns the first
        one lies further on than the pixel's first word.
    """

    def __init__(self, most: int, parts: int, address_bits: int, banks: int | None = None):
        chunk_base, chunk = Signal(range(most + 1)), Signal(range(most + 1))
        group_base, group = Signal(address_bits), Signal(address_bits)
        part_base, part = Signal(range(max(2, parts))), Signal(range(max(2, parts)))
        self.chunk, self.group, self.part = chunk, group, part
        self._chunk_base, self._group_base, self._part_base = chunk_base, group_base, part_base
        self.turn = self._turn_base = self._next_turn = None
        if banks:
            self.turn, self._turn_base = Signal(range(banks), name="turn"), Signal(range(banks), name="turn_base")
            self._next_turn = Array([(turn + 2) % banks for turn in range(banks)])[self.turn]
        self._next_part = Mux(self.part == parts - 1, 0, self.part + 1)
        self._next_group = Mux(self.part == parts - 1, self.group + 1, self.group)

    def advance(self):
        """To the next chunk."""
        return [self.chunk.eq(self.chunk + 1), self.part.eq(self._next_part), self.group.eq(self._next_group),
                *self._turns(self.turn, self._next_turn)]

    def rewind(self):
        """To the column group's first chunk, for the next pixel."""
        return [self.chunk.eq(self._chunk_base), self.group.eq(self._group_base), self.part.eq(self._part_base),
                *self._turns(self.turn, self._turn_base)]

    def commit(self):
        """To the next column group's first chunk."""
        return [self._chunk_base.eq(self.chunk + 1), self.chunk.eq(self.chunk + 1),
                self._group_base.eq(self._next_group), self.group.eq(self._next_group),
                self._part_base.eq(self._next_part), self.part.eq(self._next_part),
                *self._turns(self._turn_base, self._next_turn), *self._turns(self.turn, self._next_turn)]

    def restart(self, turn=0):
        """To a pixel's first chunk, with this ``turn``."""
        return [self._chunk_base.eq(0), self.chunk.eq(0), self._group_base.eq(0), self.group.eq(0),
                self._part_base.eq(0), self.part.eq(0), *self._turns(self._turn_base, turn),
                *self._turns(self.turn, turn)]

    def _turns(self, counter, value) -> list:
        return [] if counter is None else [counter.eq(value)]


class PixelWalk:
    """The place of the pixel that is written, a bank's row and column and what either adds to an address; and the place
    of the pixel after it.  A tile's pixels are walked once per column group, from the first one and the second, which
    are remembered.  Methods are statements for ``m.d.sync``.

    Parameters
    ----------
    table
        Of :class:`~tepal.hdl.units.drain.DrainDescriptor`.
    current, upcoming
        Descriptors of this pass and the one that follows.
    banks
        Rows and columns of banks.
    address_bits, column_bits
        Widths of an address, and of what a column adds to one.
    """

    def __init__(self, m: Module, table: DescriptorTable, current, upcoming, banks: tuple[int, int],
                 address_bits: int, column_bits: int):
        self._descriptor, self._banks = current, banks
        shapes = {"row": range(max(2, banks[0])), "row_address": address_bits,
                  "column": range(max(2, banks[1])), "column_address": column_bits}
        next_shapes = shapes | {"out_column": current.last_out_column.shape()}
        # A map of a single pixel has no second place: its fields are never used, and need only fit.
        second = {name: table.rows[0][f"second_{name}"] % (1 << Shape.cast(shape).width)
                  for name, shape in next_shapes.items()}
        origin = dict.fromkeys(shapes, 0)
        self._upcoming_origin = origin | ({"row": upcoming.first_row} if "first_row" in table else {})
        self._upcoming_second = {name: getattr(upcoming, f"second_{name}") for name in next_shapes}
        self.pixel, self._tile = (self._places(name, shapes, origin) for name in ("pixel", "tile"))
        self._next, self._second = (self._places(name, next_shapes, second) for name in ("next", "second"))
        self._after = self._after_next(m)

    @staticmethod
    def _places(name: str, shapes, init) -> dict[str, Signal]:
        return {field: Signal(shape, name=f"{name}_{field}", init=init[field]) for field, shape in shapes.items()}

    def _after_next(self, m: Module) -> dict[str, Value]:
        """The place after the next pixel's."""
        d, ahead = self._descriptor, self._next

        def stepped(name: str, banks: int):
            total, wrapped = modular_sum(m, ahead[name], getattr(d, f"{name}_remainder"), banks, name=f"after_{name}")
            return total, ahead[f"{name}_address"] + Mux(wrapped, getattr(d, f"{name}_wrapped_address"),
                                                         getattr(d, f"{name}_address"))

        row_end = ahead["out_column"] == d.last_out_column
        row, column = stepped("row", self._banks[0]), stepped("column", self._banks[1])
        return {"row": Mux(row_end, row[0], ahead["row"]), "row_address": Mux(row_end, row[1], ahead["row_address"]),
                "column": Mux(row_end, 0, column[0]), "column_address": Mux(row_end, 0, column[1]),
                "out_column": Mux(row_end, 0, ahead["out_column"] + 1)}

    def _go_to(self, place, following):
        return ([self.pixel[name].eq(place[name]) for name in self.pixel]
                + [self._next[name].eq(following[name]) for name in self._next])

    def _begin_tile(self, place, following):
        return self._go_to(place, following) + [self._tile[name].eq(place[name]) for name in self._tile] + [
            self._second[name].eq(following[name]) for name in self._second]

    def advance(self):
        """To the next pixel."""
        return self._go_to(self._next, self._after)

    def rewind(self):
        """To the tile's first pixel, for the next column group."""
        return self._go_to(self._tile, self._second)

    def commit(self):
        """To the next tile's first pixel, which is the next one."""
        return self._begin_tile(self._next, self._after)

    def restart(self):
        """To the first pixel of the pass that follows."""
        return self._begin_tile(self._upcoming_origin, self._upcoming_second)
