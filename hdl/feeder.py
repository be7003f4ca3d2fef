"""The tile buffer and the feeder that sends its contents into the systolic array."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .descriptors import DescriptorTable
from .primitives import Ram, bits_for, delay

__all__ = ["Feeder", "TileBuffer"]


class TileBuffer(wiring.Component):
    """Two tiles of ``rows`` pixels: one is filled, word by word, while the array reads the other.

    One memory per row of the array.  Pixel i belongs to row ``rows`` - 1 - i, for sums leave the array last row
    first.  The read address is passed from row to row, a cycle later each: the skew that the array wants.

    Parameters
    ----------
    rows, lanes, words
        Pixels of a tile, bytes of a word, words of a pixel.

    Members
    -------
    write, write_half, write_word, pixel, data : In
        One word of one pixel.
    half, word, lane, first, last : In
        Byte to read for row 0, and flags that go with it.
    x, first_out, last_out : Out per row
        Row r's byte and its flags, 2 + r cycles later.
    """

    LATENCY = 2

    def __init__(self, rows: int, lanes: int, words: int):
        self.rows, self.lanes, self.words = rows, lanes, words
        super().__init__({
            "write": In(1), "write_half": In(1), "write_word": In(bits_for(words)), "pixel": In(bits_for(rows)),
            "data": In(8 * lanes),
            "half": In(1), "word": In(bits_for(words)), "lane": In(bits_for(lanes)), "first": In(1), "last": In(1),
            "x": Out(signed(8)).array(rows), "first_out": Out(1).array(rows), "last_out": Out(1).array(rows),
        })

    def elaborate(self, platform):
        m = Module()
        first, last, place = self.first, self.last, Cat(self.lane, self.word, self.half)
        for row in range(self.rows):
            if row:
                first = delay(m, first, 1, name=f"first_of_{row}")
                last = delay(m, last, 1, name=f"last_of_{row}")
                place = delay(m, place, 1, name=f"place_{row}")
            lane, address = place[:len(self.lane)], place[len(self.lane):]
            m.submodules[f"bank_{row}"] = bank = Ram(8 * self.lanes, 2 << bits_for(self.words))
            m.d.comb += [
                bank.write_address.eq(Cat(self.write_word, self.write_half)), bank.write_data.eq(self.data),
                bank.write_enable.eq(self.write & (self.pixel == self.rows - 1 - row)),
                bank.read_address.eq(address),
                self.first_out[row].eq(delay(m, first, 2, name=f"first_{row}")),
                self.last_out[row].eq(delay(m, last, 2, name=f"last_{row}")),
            ]
            lane = delay(m, lane, 1, name=f"lane_{row}")
            m.d.sync += self.x[row].eq(bank.read_data.word_select(lane, 8))
        return m


class Feeder(wiring.Component):
    """Sends each finished tile through the array once for every block of output channels.

    A block takes its descriptor's period; operands come at the period's end, so that sums are finished one
    period apart whatever their length.

    Members
    -------
    tile_end : In(1)
        The last word of a tile is being written; feeding begins in the next cycle.
    half, word, lane, first, last : Out
        To the tile buffer.
    advance, rewind, commit, restart : Out(1)
        To the weights, which show the word that goes with this cycle's byte.
    begins, number : Out
        First cycle of a network block's first tile, and that block (for tracing).
    """

    def __init__(self, table: DescriptorTable, lanes: int, words: int):
        self.table, self.lanes = table, lanes
        super().__init__({
            "tile_end": In(1), "half": Out(1), "word": Out(bits_for(words)), "lane": Out(bits_for(lanes)),
            "first": Out(1), "last": Out(1),
            "advance": Out(1), "rewind": Out(1), "commit": Out(1), "restart": Out(1),
            "begins": Out(1), "number": Out(bits_for(len(table))),
        })

    def elaborate(self, platform):
        m = Module()
        following = Signal()
        d, _, number = self.table.follow(m, following, name="descriptor")
        running = Signal()
        cycle = Signal.like(d.last_cycle)
        group = Signal.like(d.last_group)
        block, tile = Signal.like(d.last_block), Signal.like(d.last_tile)
        last_group = group == d.last_group
        last_lane = self.lane == Mux(last_group, d.last_lane, self.lanes - 1)
        last_cycle, last_block, last_tile = cycle == d.last_cycle, block == d.last_block, tile == d.last_tile

        m.d.comb += [
            self.advance.eq(running & (cycle >= d.idle)),
            self.first.eq(running & (cycle == d.idle)),
            self.last.eq(running & last_cycle),
            self.rewind.eq(last_cycle & last_block),
            self.commit.eq(last_cycle & last_block & last_tile),
            self.restart.eq(self.commit & (number == len(self.table) - 1)),
            self.begins.eq(running & (cycle == 0) & (block == 0) & (tile == 0)), self.number.eq(number),
        ]
        with m.If(running):
            m.d.sync += cycle.eq(cycle + 1)
            with m.If(self.advance):
                m.d.sync += self.lane.eq(self.lane + 1)
                with m.If(last_lane):
                    m.d.sync += [self.lane.eq(0), self.word.eq(self.word + 1),
                                 group.eq(Mux(last_group, 0, group + 1))]
            with m.If(last_cycle):
                m.d.sync += [cycle.eq(0), self.lane.eq(0), self.word.eq(0), group.eq(0), block.eq(block + 1)]
                with m.If(last_block):
                    m.d.sync += [block.eq(0), running.eq(0), tile.eq(tile + 1), self.half.eq(~self.half)]
                    with m.If(last_tile):
                        m.d.sync += tile.eq(0)
                        m.d.comb += following.eq(1)
        with m.If(self.tile_end):
            m.d.sync += running.eq(1)
        return m
