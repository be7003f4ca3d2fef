# SPDX-License-Identifier: Apache-2.0
"""The weight loader: from a stream to the memories of weights and parameters, each word in its place, at its time."""

from collections.abc import Sequence
from dataclasses import dataclass

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from tepal.hdl.memories.streamed import BEAT
from tepal.hdl.primitives import bits_for, delay

from .descriptor_table import DescriptorTable
from .instance_name import InstanceName

__all__ = ["LoadDescriptor", "WeightLoader"]


@dataclass(frozen=True)
class LoadDescriptor:
    """A passage: words of one memory, one after the other.

    Parameters
    ----------
    memory
        Its number.
    base, last_word
        First word, and how many follow it.
    wait
        How many more passes must have ended than for the passage before.
    complete
        It is a portion's last one.
    """

    memory: int
    base: int
    last_word: int
    wait: int
    complete: int


class WeightLoader(wiring.Component):
    """Loads passage after passage, round and round, as soon as the passes have ended that read what lay there.

    It takes a beat in each cycle, but for one before each passage.

    Parameters
    ----------
    table
        Of :class:`LoadDescriptor`.
    beats, depths
        Of each memory: beats of a word, and number of words.
    prologue
        (Memory, words from its first one on) that are loaded once before all passages.
    ended, passes
        How many passes count as ended at first; how many a frame has.

    Members
    -------
    data, valid, ready
        The stream.
    ended : In(1)
        A pass ends in this cycle: it reads none of the memories any more.
    claim : In(1)
        A pass begins that a portion was loaded for.
    begun : Out(1)
        The prologue is in its memories.
    complete : Out(1)
        A portion's last beat is taken.
    there : Out(1)
        The portion for the next such pass is in the memories.
    enable : Out(beats) for each memory
        Which beat of the word at ``address`` is ``written``.
    address, written : Out
        Common to all memories.
    """

    NAME = InstanceName("weight_loader", "weight loader", "weight loader")

    LATENCY = 1
    """Cycles from the one in which a portion's last beat is taken to the first one in which it is ``there``."""

    SETUP = 1
    """Cycles before each passage in which no beat is taken."""

    def __init__(self, table: DescriptorTable, beats: Sequence[int], depths: Sequence[int], *,
                 prologue: Sequence[tuple[int, int]], ended: int, passes: int):
        self.table, self.beats, self.depths = table, beats, depths
        self.prologue, self.before, self.passes = prologue, ended, passes
        super().__init__({
            "data": In(BEAT), "valid": In(1), "ready": Out(1), "ended": In(1), "claim": In(1),
            "begun": Out(1), "complete": Out(1), "there": Out(1),
            **{f"enable_{number}": Out(count) for number, count in enumerate(beats)},
            "address": Out(bits_for(max(depths))), "written": Out(BEAT)})

    def elaborate(self, platform):
        m = Module()
        advance, go, last = Signal(), Signal(), Signal()
        row, _, _ = self.table.follow(m, advance, name="passage", rom="passage_descriptors")
        begin, *others = self.prologue or [(0, 1)]
        memory = Signal(range(len(self.beats)), init=begin[0])
        part, parts = Signal(range(max(self.beats))), Array(count - 1 for count in self.beats)
        word = Signal(range(max(self.depths)))
        left = Signal(range(max(self.depths)), init=begin[1] - 1)
        loading, first = (Signal(init=len(self.prologue) > 0) for _ in range(2))
        taken, part_last = self.valid & self.ready, part == parts[memory]
        m.d.comb += [self.ready.eq(loading), last.eq(taken & part_last & (left == 0)), advance.eq(last & ~first)]
        with m.If(go):
            m.d.sync += [loading.eq(1), memory.eq(row.memory), word.eq(row.base), left.eq(row.last_word)]
        with m.If(taken):
            m.d.sync += part.eq(part + 1)
            with m.If(part_last):
                m.d.sync += [part.eq(0), word.eq(word + 1), left.eq(left - 1)]
        with m.If(last):
            m.d.sync += [loading.eq(0), first.eq(0)]
        before = begin
        for following in others:
            # Memories of the prologue are different ones.
            with m.If(last & first & (memory == before[0])):
                m.d.sync += [loading.eq(1), first.eq(1), memory.eq(following[0]), word.eq(0), left.eq(following[1] - 1)]
            before = following
        # Its last word is written in the cycle after the one in which it is taken.
        m.d.comb += self.begun.eq(delay(m, ~first, 1, name="begun"))
        m.d.sync += [self.address.eq(word), self.written.eq(self.data)]
        for number, count in enumerate(self.beats):
            m.d.sync += getattr(self, f"enable_{number}").eq(Mux(taken & (memory == number), 1 << part, 0)[:count])
        self._count_passes(m, go, loading, row.wait)
        m.d.comb += self.complete.eq(advance & row.complete)
        self._count_portions(m)
        return m

    def _count_passes(self, m: Module, go, loading, wait):
        """``go`` where the passes have ended that the next passage waits for."""
        ended = Signal(range(max(self.before, self.passes) + self.passes + 1), init=self.before)
        m.d.comb += go.eq(~loading & (ended >= wait))
        m.d.sync += ended.eq(ended + self.ended - Mux(go, wait, 0))

    def _count_portions(self, m: Module):
        """``there`` where more portions are complete than passes have claimed."""
        count = Signal(range(len(self.table) + 1))
        m.d.comb += self.there.eq(count != 0)
        m.d.sync += count.eq(count + self.complete - self.claim)
