# SPDX-License-Identifier: Apache-2.0
"""The feeder, which sends the tile buffer's contents into the systolic array."""

from dataclasses import dataclass

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from tepal.hdl.config import EngineConfig
from tepal.hdl.primitives import bits_for

from .descriptor_table import Countdown, DescriptorTable
from .instance_name import InstanceName
from .tile_buffer import TileBuffer
from .widths import Widths

__all__ = ["Feeder", "FeederDescriptor"]


@dataclass(frozen=True)
class FeederDescriptor:
    """How a pass's tiles are fed.  Counters are described by their last value.

    Parameters
    ----------
    last_tile, last_block
        Of the pass's tiles, and of its column groups: as many output channels as the array has columns.
    idle, last_cycle
        Cycles of a period before a sum's first operands, and the period's cycles.
    last_group, full_lane, last_lane
        Of a pixel's channel groups, of the cycles in which a group's channels are taken, and of the last group's.
    ends_frame
        The pass is the frame's last one.
    next_weights
        First word of the next pass's weights; None where each pass's follow those before.
    """

    last_tile: int
    last_block: int
    idle: int
    last_cycle: int
    last_group: int
    full_lane: int
    last_lane: int
    ends_frame: int
    next_weights: int | None = None


class Feeder(wiring.Component):
    """Sends each finished tile through the array once for every column group.

    That takes its descriptor's period; operands come at the period's end, so that sums are finished one
    period apart whatever their length.

    Parameters
    ----------
    config, widths
        Shape of the engine, and widths of what the units hand to each other.
    table
        Of :class:`FeederDescriptor`.

    Members
    -------
    tile_end : In(1)
        The last word of a tile is being written; feeding begins in the next cycle.
    part, word, lane, first, last : Out
        To the tile buffer.
    advance, rewind, commit, restart : Out(1)
        To the weights, which show the word that goes with this cycle's byte.
    next_weights : Out
        Where they go on with ``commit``; only where ``table`` has it.
    begins, number : Out
        First cycle of a pass's first tile, and that pass (for tracing).
    """

    NAME = InstanceName("feeder", "feeder")

    def __init__(self, config: EngineConfig, widths: Widths, table: DescriptorTable):
        self.table = table
        super().__init__({
            "tile_end": In(1), "part": Out(range(TileBuffer.TILES)), "word": Out(widths.tile_word),
            "lane": Out(bits_for(-(-config.tile_lanes // config.operands))),
            "first": Out(1), "last": Out(1),
            "advance": Out(1), "rewind": Out(1), "commit": Out(1), "restart": Out(1),
            "begins": Out(1), "number": Out(bits_for(len(table))),
            **({"next_weights": Out(table.layout["next_weights"].shape)} if "next_weights" in table else {}),
        })

    def elaborate(self, platform):
        m = Module()
        following = Signal()
        d, upcoming, number = self.table.follow(m, following, name="descriptor", rom="feeder")
        running = Signal()
        # Cycles of a sum before its first byte, and its cycles.
        begin = self.table.rows[0]
        idle, cycle, column_group, tile = (Countdown.of(self.table, name, begin[name])
                                           for name in ("idle", "last_cycle", "last_block", "last_tile"))
        group = Signal.like(d.last_group)
        # Nothing of this sum, and nothing of this pass has been fed yet.
        fresh_sum, fresh = Signal(init=1), Signal(init=1)
        last_group = group == d.last_group
        last_lane = self.lane == Mux(last_group, d.last_lane, d.full_lane)

        m.d.comb += [
            self.advance.eq(running & idle.last),
            self.first.eq(self.advance & fresh_sum),
            self.last.eq(running & cycle.last),
            self.rewind.eq(cycle.last & column_group.last),
            self.commit.eq(self.rewind & tile.last),
            self.restart.eq(self.commit & d.ends_frame),
            self.begins.eq(running & fresh), self.number.eq(number),
        ]
        if "next_weights" in self.table:
            m.d.comb += self.next_weights.eq(d.next_weights)
        with m.If(running):
            m.d.sync += [*cycle.step(), fresh.eq(0)]
            with m.If(idle.last):
                m.d.sync += [self.lane.eq(self.lane + 1), fresh_sum.eq(0)]
                with m.If(last_lane):
                    m.d.sync += [self.lane.eq(0), self.word.eq(self.word + 1),
                                 group.eq(Mux(last_group, 0, group + 1))]
            with m.Else():
                m.d.sync += idle.step()
            with m.If(cycle.last):
                m.d.sync += [*idle.start(d.idle), *cycle.start(d.last_cycle), *column_group.step(), fresh_sum.eq(1),
                             self.lane.eq(0), self.word.eq(0), group.eq(0)]
                with m.If(column_group.last):
                    m.d.sync += [*column_group.start(d.last_block), running.eq(0), *tile.step(),
                                 self.part.eq(self.part + 1)]
                    with m.If(tile.last):
                        m.d.sync += [counter.start(upcoming[name]) for counter, name in (
                            (idle, "idle"), (cycle, "last_cycle"), (column_group, "last_block"), (tile, "last_tile"))]
                        m.d.sync += fresh.eq(1)
                        m.d.comb += following.eq(1)
        with m.If(self.tile_end):
            m.d.sync += running.eq(1)
        return m
