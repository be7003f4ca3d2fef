# SPDX-License-Identifier: Apache-2.0
"""Functions of each result, and sums of each with a value of another map, between the requantisers and memory."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from tepal.hdl.memories.block import Ram, Rom
from tepal.hdl.memories.streamed import BEAT, ScatteredRam
from tepal.hdl.primitives import Relay, bits_for, delay

from .instance_name import InstanceName

__all__ = ["ElementwiseFormat", "ElementwiseUnit"]


@dataclass(frozen=True, eq=False)
class ElementwiseFormat:
    """Tables that the lanes of an elementwise unit share; decided before synthesis.

    ``tables`` are, for each operand, the distinct ones, integers (256,) of the values from -128 on; there is one
    operand where no pass adds another map.  ``shift`` bits of a sum are dropped; ``modes`` are the distinct (minimum,
    maximum).  ``skip_words`` is the depth of the memory that the second operand comes from."""

    tables: tuple[tuple[np.ndarray, ...], ...]
    shift: int
    modes: tuple[tuple[int, int], ...]
    skip_words: int

    @property
    def operands(self) -> int:
        return len(self.tables)

    @property
    def widths(self) -> tuple[int, ...]:
        """Bits of a word of each operand's tables."""
        return tuple(max(max(int(t.max()).bit_length(), int(~t.min()).bit_length()) for t in tables) + 1
                     for tables in self.tables)

    @property
    def begins(self) -> tuple[int, ...]:
        """First bit of each operand in a word of all operands: none lies in two beats."""
        together = sum(self.widths) <= BEAT
        return tuple(operand * (self.widths[0] if together else BEAT) for operand in range(self.operands))

    @property
    def word_bits(self) -> int:
        """Bits of a word of all operands."""
        return self.begins[-1] + self.widths[-1]

    def contents(self, operand: int, table: np.ndarray) -> list[int]:
        """Words of a table of an operand, by the value's eight bits as a natural number."""
        mask = (1 << self.widths[operand]) - 1
        return [int(value) & mask for value in np.roll(table, -128)]

    def words(self, operand: int) -> list[int]:
        """Contents of an operand's memory of all its tables."""
        return [word for table in self.tables[operand] for word in self.contents(operand, table)]

    def number(self, operand: int, table: np.ndarray) -> int:
        """Which of an operand's tables it is."""
        return next(i for i, each in enumerate(self.tables[operand]) if (each == table).all())


class ElementwiseUnit(wiring.Component):
    """``clamp((first[x1] + second[x2]) >> shift, minimum, maximum)`` in each of several lanes, a value a cycle in each.

    x1 is the lane's result; x2 comes from the skip memory, which holds maps chunk by chunk in the order in which they
    are written, and may be overwritten by what is made of it.

    Parameters
    ----------
    fmt, lanes
        Its tables, and values at once.
    pipelined
        Whether memories have a register at their outputs.
    roms
        Memories that the tables of each operand are read from, one for each lane, as deep as each other; by default
        ROMs of all tables.

    Members
    -------
    results : In(signed(8)) per lane
    table : In per operand
        Which table is the pass's, in the order in which they lie in the memory.
    mode : In
        Which minimum and maximum.
    read_address : In
        Word of the skip memory whose values are added to these results; only with two operands, as the next three.
    write_enable : In(1), write_address : In, write_data : In(8 * lanes)
        Write port of the skip memory.
    out : Out(signed(8)) per lane
        :meth:`latency` cycles after ``results``.
    """

    TABLE_WORDS = 256
    """Of a table: one for each value of a byte."""

    TABLE = InstanceName("table_{}_{}", "elementwise unit, table {} of lane {}", "memories")
    SKIP = InstanceName("skip_memory", "skip memory", "memories")
    NAME = InstanceName("elementwise", "elementwise unit", "elementwise unit", (TABLE, SKIP))

    def __init__(self, fmt: ElementwiseFormat, lanes: int, *, pipelined: bool, roms: Sequence[Sequence] | None = None):
        self.format, self.lanes, self.pipelined = fmt, lanes, pipelined
        self.spread = bool(roms) and pipelined
        self.roms = roms or [[Rom(f"elementwise_{operand}", fmt.widths[operand], fmt.words(operand), int(pipelined))
                              for _ in range(lanes)] for operand in range(fmt.operands)]
        super().__init__({
            "results": In(signed(8)).array(lanes), "mode": In(bits_for(len(fmt.modes))),
            **{f"table_{i}": In(max(1, len(each[0].address) - 8)) for i, each in enumerate(self.roms)},
            "out": Out(signed(8)).array(lanes),
            **({"read_address": In(bits_for(fmt.skip_words)), "write_enable": In(1),
                "write_address": In(bits_for(fmt.skip_words)), "write_data": In(8 * lanes)}
               if fmt.operands > 1 else {}),
        })

    @staticmethod
    def latency(fmt: ElementwiseFormat, pipelined: bool, scattered: bool = False) -> int:
        """Cycles from a result to what is made of it; one to read the skip memory and one to read tables, each with
        its register, one for the sum and one for the clamp.  Where memories are ``scattered``, the way to the skip
        memory takes one more, and that from there to tables."""
        return fmt.operands * (1 + pipelined) + 2 + (ScatteredRam.LATENCY + 1 if scattered and fmt.operands > 1 else 0)

    @staticmethod
    def features(engine: Any, fmt: ElementwiseFormat) -> dict[str, Any]:
        """Features for the LUT estimate; ``engine`` is a configuration, or has arrays in place of its integers."""
        return {"bits of words": engine.requantisers * sum(fmt.widths)}

    def elaborate(self, platform):
        m = Module()
        fmt, registers = self.format, int(self.pipelined)
        values, tables, at = [[result.as_unsigned() for result in self.results]], [self.table_0], 0
        if fmt.operands > 1:
            kind = ScatteredRam if self.spread else Ram
            m.submodules[self.SKIP()] = skip = kind(8 * self.lanes, fmt.skip_words, registers=registers)
            m.d.comb += [skip.read_address.eq(self.read_address), skip.write_enable.eq(self.write_enable),
                         skip.write_address.eq(self.write_address), skip.write_data.eq(self.write_data)]
            at = 1 + registers + (ScatteredRam.LATENCY + 1) * self.spread
            values = [[delay(m, value, at, name=f"result_{lane}") for lane, value in enumerate(values[0])],
                      [delay(m, skip.read_data.word_select(lane, 8), int(self.spread), name=f"added_{lane}")
                       for lane in range(self.lanes)]]
            tables = [delay(m, table, at - self.spread, name=f"table_{i}")
                      for i, table in enumerate((self.table_0, self.table_1))]
        bounds = self._bounds(m, at + 1 + registers + 1)
        for lane in range(self.lanes):
            least, most = bounds[lane]
            total = Const(0, 1)
            for operand in range(fmt.operands):
                m.submodules[self.TABLE(operand, lane)] = rom = self.roms[operand][lane]
                table = tables[operand]
                if self.spread and fmt.operands > 1:
                    m.submodules[f"number_{operand}_{lane}"] = relay = Relay(len(table))
                    m.d.comb += relay.word.eq(table)
                    table = relay.late
                m.d.comb += rom.address.eq(Cat(values[operand][lane], table))
                total = total + rom.data.as_signed()
            kept = Signal(signed(max(8, len(total) - fmt.shift)), name=f"sum_{lane}", reset_less=True)
            clamped = Signal(signed(8), name=f"clamped_{lane}", reset_less=True)
            m.d.sync += [kept.eq(total >> fmt.shift),
                         clamped.eq(Mux(kept < least, least, Mux(kept > most, most, kept)))]
            m.d.comb += self.out[lane].eq(clamped)
        return m

    def _bounds(self, m: Module, late: int) -> list:
        """Each lane's minimum and maximum, so many cycles after the ``mode``.  Where there are several modes and the
        clock is to be fast, each lane has the bounds in registers of its own, for lanes lie far from each other."""
        modes = [[Const(bound, signed(8)) for bound in bounds] for bounds in self.format.modes]
        if len(modes) == 1:
            return modes * self.lanes
        mode = delay(m, self.mode, late - self.pipelined, name="mode")
        bounds = [Array(each)[mode] for each in zip(*modes, strict=True)]
        if not self.pipelined:
            return [bounds] * self.lanes
        found = []
        for lane in range(self.lanes):
            m.submodules[f"bounds_{lane}"] = relay = Relay(16)
            m.d.comb += relay.word.eq(Cat(*bounds))
            found.append([relay.late[:8].as_signed(), relay.late[8:].as_signed()])
        return found
