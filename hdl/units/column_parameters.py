# SPDX-License-Identifier: Apache-2.0
"""The requantiser parameters of the array's columns, where each requantiser is a pipeline."""

from dataclasses import dataclass

from amaranth import *
from tepal.hdl.memories.block import ReplayRom
from tepal.hdl.primitives import Relay, delay

from .descriptor_table import DescriptorTable
from .instance_name import InstanceName
from .requantiser import RequantiserFormat

__all__ = ["ColumnParameters", "ParameterDescriptor"]


@dataclass(frozen=True)
class ParameterDescriptor:
    """How often a pass's parameters are used: the last one of its tiles, and of its column groups; and where the next
    pass's begin, None where each pass's follow the ones before."""

    last_tile: int
    last_block: int
    next_parameters: int | None = None


class ColumnParameters:
    """Each column's parameter word, from a ROM that gives those of ``abreast`` columns in a cycle.

    The first columns' words are there together, the next ones' a cycle later.  A pass of several
    column groups loads a group's words with each of its sums; a pass of a single one loads them with its first tile's
    sums, and keeps them.

    Parameters
    ----------
    table
        Of :class:`ParameterDescriptor`.
    fmt, words
        Format of a column's word, and the ROM's words, of ``abreast`` columns each, for every column group.
    columns, abreast
        Columns of the array, and those that are given their words in the same cycle.
    rom
        Where they are, if not in a ROM of their own: with one register.
    """

    LATENCY = ReplayRom.latency(1) + 2
    """Cycles from the one after ``fetches`` to the first columns' parameters."""

    NEIGHBOURS = 4
    """Columns whose words come by the same register: those next to each other, or, where several are given theirs at
    once, those that take the same part of what the ROM gives."""

    ROM = InstanceName("rom", part="memories")
    RELAY = InstanceName("copy_{}")
    WORD = InstanceName("parameters_{}", "array's requantiser parameters")

    def __init__(self, table: DescriptorTable, fmt: RequantiserFormat, words: list[int], columns: int, abreast: int = 1,
                 rom=None):
        self.table, self.format, self.words, self.rom = table, fmt, words, rom
        self.columns, self.abreast = columns, abreast

    @staticmethod
    def loading(engine):
        """Cycles in which a column group's words are loaded, and words of the ROM that they take; ``engine`` is a
        configuration, or has arrays in place of its integers."""
        return engine.columns // engine.columns_abreast

    def add_to(self, m: Module, fetches) -> list:
        """Each column's word, from memories and registers that are added to ``m``; ``fetches`` comes once for each
        column group, when the array captures its sums or a fixed number of cycles before."""
        load, moves = self._loads(m, fetches)
        m.submodules[self.ROM()] = rom = ReplayRom("matrix_parameters", self.format.width * self.abreast, self.words,
                                                   registers=1, rom=self.rom, jumps="next_parameters" in self.table)
        return self._words(m, rom, load, *self._count_columns(m, load, moves))

    def _loads(self, m: Module, fetches):
        """(whether a column group's words are loaded from now on; what the ROM does after them: rewind, commit,
        restart, known from now on and done when the words are in, and the base of what follows)."""
        following = Signal()
        d, _, number = self.table.follow(m, following, name="parameter_descriptor", rom="column")
        tile, block = Signal.like(d.last_tile), Signal.like(d.last_block)
        last_block, last_tile = block == d.last_block, tile == d.last_tile
        single = d.last_block == 0
        load = Signal()
        m.d.comb += load.eq(fetches & (~single | (tile == 0)))
        commit = last_block & (last_tile | single)
        moves = Cat(last_block & ~commit, commit, commit & (number == len(self.table) - 1),
                    d.next_parameters if "next_parameters" in self.table else ())
        with m.If(fetches):
            m.d.sync += block.eq(Mux(last_block, 0, block + 1))
            with m.If(last_block):
                m.d.sync += tile.eq(Mux(last_tile, 0, tile + 1))
                m.d.comb += following.eq(last_tile)
        return load, moves

    def _count_columns(self, m: Module, load, replay):
        """(whether the ROM advances; what it does instead at the last column)."""
        last = self.columns // self.abreast
        column = Signal(range(last + 1), init=last)
        latched = Signal.like(replay, name="replay")
        ending = Signal()
        advance, moves = Signal(), Signal.like(replay, name="moves")
        with m.If(load):
            m.d.sync += [column.eq(1), latched.eq(replay)]
            m.d.comb += [advance.eq(1), ending.eq(last == 1)]
        with m.Elif(column != last):
            m.d.sync += column.eq(column + 1)
            m.d.comb += [advance.eq(1), ending.eq(column == last - 1)]
        with m.If(ending):
            m.d.comb += moves.eq(Mux(load, replay, latched))
        return advance, moves

    def _words(self, m: Module, rom: ReplayRom, load, advance, moves) -> list:
        m.d.comb += [rom.advance.eq(delay(m, advance, 1, name="advance")),
                     Cat(rom.rewind, rom.commit, rom.restart, rom.base if rom.jumps else ()).eq(
                         delay(m, moves, 1, name="moves"))]
        parameters, copies = [], {}
        arrives = delay(m, load, self.LATENCY, name="load")
        for index in range(self.columns):
            turn, part = divmod(index, self.abreast)
            if index and part == 0:
                arrives = delay(m, arrives, 1, name=f"arrives_{turn}")
            if turn % self.NEIGHBOURS == 0:
                m.submodules[self.RELAY(index)] = copies[part] = copy = Relay(self.format.width)
                m.d.comb += copy.word.eq(rom.data.word_select(part, self.format.width))
            word = Signal(self.format.layout, name=self.WORD(index), reset_less=True)
            with m.If(arrives):
                m.d.sync += word.eq(copies[part].late)
            parameters.append(word)
        return parameters
