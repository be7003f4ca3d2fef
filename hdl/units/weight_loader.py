# SPDX-License-Identifier: Apache-2.0
"""The weight loader: from a stream to the memories of what comes from outside, each word in its place, at its time."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

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
    offset
        What was added to its weights; None where nothing is added to any.
    """

    memory: int
    base: int
    last_word: int
    wait: int
    complete: int
    offset: int | None


class _State:
    """Registers of a loader.

    Attributes
    ----------
    first, loading
        The prologue is not all taken; a passage's beats are taken.
    memory, word, part, left
        Where the next beat goes, and how many words follow that one.
    ended
        Passes that have ended and that no passage has waited for.
    count
        Portions that are complete and that no pass has claimed.
    offset
        What was added to the passage's weights.
    """

    def __init__(self, table: DescriptorTable, beats: Sequence[int], depths: Sequence[int],
                 prologue: Sequence[tuple[int, int]], ended: int, passes: int):
        memory, words = prologue[0] if prologue else (0, 1)
        self.memory = Signal(range(len(beats)), init=memory)
        self.part = Signal(range(max(beats)))
        self.word = Signal(range(max(depths)))
        self.left = Signal(range(max(depths)), init=words - 1)
        self.loading = Signal(init=len(prologue) > 0)
        self.first = Signal(init=len(prologue) > 0)
        self.ended = Signal(range(max(ended, passes) + passes + 1), init=ended)
        self.count = Signal(range(len(table) + 1))
        self.offset = Signal(table.layout["offset"].shape if "offset" in table else 0, reset_less=True)


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
        Pairs of a memory and how many words, from the first one on, are loaded into it once before all passages; no
        memory comes twice.
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
    offset : Out
        Where descriptors have one, that of what is ``written``.
    """

    NAME = InstanceName("weight_loader", "weight loader")

    LATENCY = 1
    """Cycles from the one in which a portion's last beat is taken to the first one in which it is ``there``."""

    SETUP = 1
    """Cycles before each passage in which no beat is taken."""

    def __init__(self, table: DescriptorTable, beats: Sequence[int], depths: Sequence[int], *,
                 prologue: Sequence[tuple[int, int]], ended: int, passes: int):
        self.table, self.beats, self.depths, self.prologue = table, beats, depths, prologue
        self.state = _State(table, beats, depths, prologue, ended, passes)
        super().__init__({
            "data": In(BEAT), "valid": In(1), "ready": Out(1), "ended": In(1), "claim": In(1),
            "begun": Out(1), "complete": Out(1), "there": Out(1),
            **{f"enable_{number}": Out(count) for number, count in enumerate(beats)},
            "address": Out(bits_for(max(depths))), "written": Out(BEAT),
            **({"offset": Out(self.state.offset.shape())} if "offset" in table else {})})

    def elaborate(self, platform):
        m = Module()
        advance, go, last = Signal(), Signal(), Signal()
        row, _, _ = self.table.follow(m, advance, name="passage", rom="passage")
        state = self.state
        memory, part, word, left, loading, first = (state.memory, state.part, state.word, state.left, state.loading,
                                                    state.first)
        parts = Array(count - 1 for count in self.beats)
        taken, part_last = self.valid & self.ready, part == parts[memory]
        m.d.comb += [self.ready.eq(loading), last.eq(taken & part_last & (left == 0)), advance.eq(last & ~first)]
        with m.If(go):
            m.d.sync += [loading.eq(1), memory.eq(row.memory), word.eq(row.base), left.eq(row.last_word)]
        if "offset" in self.table:
            # A beat is written in the cycle after the one in which it is taken; the next passage begins later.
            m.d.comb += self.offset.eq(state.offset)
            with m.If(go):
                m.d.sync += state.offset.eq(row.offset)
        with m.If(taken):
            m.d.sync += part.eq(part + 1)
            with m.If(part_last):
                m.d.sync += [part.eq(0), word.eq(word + 1), left.eq(left - 1)]
        with m.If(last):
            m.d.sync += [loading.eq(0), first.eq(0)]
        for (before, _), (following, words) in pairwise(self.prologue):
            with m.If(last & first & (memory == before)):
                m.d.sync += [loading.eq(1), first.eq(1), memory.eq(following), word.eq(0), left.eq(words - 1)]
        # Its last word is written in the cycle after the one in which it is taken.
        m.d.comb += self.begun.eq(delay(m, ~first, 1, name="begun"))
        m.d.sync += [self.address.eq(word), self.written.eq(self.data)]
        for number, count in enumerate(self.beats):
            m.d.sync += getattr(self, f"enable_{number}").eq(Mux(taken & (memory == number), 1 << part, 0)[:count])
        m.d.comb += [go.eq(~loading & (state.ended >= row.wait)), self.complete.eq(advance & row.complete),
                     self.there.eq(state.count != 0)]
        m.d.sync += [state.ended.eq(state.ended + self.ended - Mux(go, row.wait, 0)),
                     state.count.eq(state.count + self.complete - self.claim)]
        return m
