# SPDX-License-Identifier: Apache-2.0
"""The tile buffer, between the depthwise engine and the systolic array."""

from collections.abc import Sequence
from typing import Any

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from tepal.hdl.config import EngineConfig
from tepal.hdl.memories.block import Ram
from tepal.hdl.primitives import bits_for, choices, delay

from .instance_name import InstanceName

__all__ = ["TileBuffer"]


class TileBuffer(wiring.Component):
    """:attr:`TILES` tiles of ``rows`` pixels: one is filled, word by word, while the array reads another.

    With two, filling would wait for the array and the array for filling; memory blocks have room for more.

    One memory per row of the array that any tile has a pixel for, as deep as those tiles need.  Pixel i belongs to
    row ``rows`` - 1 - i, for sums leave the array last row first.  What is written, and the read address, are passed
    down the rows with the skew that the array wants.

    Parameters
    ----------
    config
        Shape of the engine: words are of ``config.tile_lanes`` bytes, and ``config.together`` rows are read in the same
        cycle.  If it is not pipelined, memories have no register at their output, and a byte of their words is chosen
        in one cycle.
    row_words
        Words of a pixel, for each row.  A row without any delivers zeros.

    Members
    -------
    write, write_part, write_word, pixel, data : In
        One word of one pixel.  Row 0 may be read from the next cycle on, row r r // ``config.together`` cycles later.
    part, word, lane, first, last : In
        Byte to read for row 0, and flags that go with it; of several ``config.operands``, which so many bytes.
    x, first_out, last_out : Out per row
        Row r's byte, or bytes, and their flags, :meth:`latency` + r // ``config.together`` cycles later.
    """

    BANK = InstanceName("bank_{}")
    NAME = InstanceName("tile_buffer", "tile buffer", "tile buffer", (BANK,))

    TILES = 4

    def __init__(self, config: EngineConfig, row_words: Sequence[int]):
        self.config, self.row_words = config, row_words
        rows, lanes, word = config.rows, config.tile_lanes, bits_for(max(row_words))
        super().__init__({
            "write": In(1), "write_part": In(range(self.TILES)), "write_word": In(word),
            "pixel": In(bits_for(rows)), "data": In(8 * lanes),
            "part": In(range(self.TILES)), "word": In(word), "lane": In(bits_for(-(-lanes // config.operands))),
            "first": In(1), "last": In(1),
            "x": Out(signed(8) if config.operands == 1 else 8 * config.operands).array(rows),
            "first_out": Out(1).array(rows), "last_out": Out(1).array(rows),
        })

    @classmethod
    def depth(cls, words: int) -> int:
        """Depth of the memory of a row whose pixels take so many words."""
        return cls.TILES << bits_for(words)

    @staticmethod
    def latency(pipelined: bool) -> int:
        """Cycles from an address to row 0's byte."""
        return 2 + 2 * pipelined

    @staticmethod
    def entry(config: EngineConfig) -> int:
        """Cycles before ``write`` in which a word gets near, and is chosen."""
        return 2 * config.pipelined + config.scattered

    @staticmethod
    def features(engine: Any) -> dict[str, Any]:
        """Features for the LUT estimate."""
        several = -(-engine.tile_lanes // engine.operands)
        return {"bytes to choose from": engine.rows * engine.operands * choices(several), "rows": engine.rows}

    def _bank(self, m: Module, row: int, address, written):
        """What a row's memory reads at ``address``, a word's place, and the statements that connect it; ``written`` are
        a word and its place."""
        m.submodules[self.BANK(row)] = bank = Ram(8 * self.config.tile_lanes, self.depth(self.row_words[row]),
                                                  registers=int(self.config.pipelined))
        if surplus := len(address) - len(bank.read_address):
            # Words that it has no room for are of tiles without a pixel for this row.
            part = len(self.part)
            word = len(address) - part - surplus
            address = Cat(address[:word], address[-part:])
            written = Cat(written[:len(self.data) + word], written[-part:])
        return bank.read_data, [
            Cat(bank.write_data, bank.write_address).eq(written),
            bank.write_enable.eq(delay(m, self.write & (self.pixel == self.config.rows - 1 - row),
                                       row // self.config.together, name=f"write_{row}")),
            bank.read_address.eq(address),
        ]

    def elaborate(self, platform):
        m = Module()
        latency, together = self.latency(self.config.pipelined), self.config.together
        width = 8 * self.config.operands
        first, last, place = self.first, self.last, Cat(self.lane, self.word, self.part)
        written = Cat(self.data, self.write_word, self.write_part)
        for row in range(self.config.rows):
            if row and row % together == 0:
                first = delay(m, first, 1, name=f"first_of_{row}")
                last = delay(m, last, 1, name=f"last_of_{row}")
                place = delay(m, place, 1, name=f"place_{row}")
                written = delay(m, written, 1, name=f"written_{row}")
            data, connections = (self._bank(m, row, place[len(self.lane):], written) if self.row_words[row]
                                 else (None, []))
            m.d.comb += [
                *connections,
                self.first_out[row].eq(delay(m, first, latency, name=f"first_{row}")),
                self.last_out[row].eq(delay(m, last, latency, name=f"last_{row}")),
            ]
            if data is None:
                continue
            lane, late = place[:len(self.lane)], latency - 1
            if self.config.pipelined:
                # The byte is chosen in two cycles: first one of each four.
                some = Signal(-(-len(data) // (4 * width)) * width, name=f"some_{row}", reset_less=True)
                early = delay(m, lane, latency - 2, name=f"early_lane_{row}")
                m.d.sync += some.eq(Cat(data[first:first + 4 * width].word_select(early[:2], width)
                                        for first in range(0, len(data), 4 * width)))
                data, lane, late = some, early[2:], 1
            if len(data) > width:
                data = data.word_select(delay(m, lane, late, name=f"lane_{row}"), width)
            m.d.sync += self.x[row].eq(data)
        return m
