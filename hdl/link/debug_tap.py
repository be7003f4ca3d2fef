# SPDX-License-Identifier: Apache-2.0
"""The debug tap: what one stage of one pass writes during an inference, kept until the host takes it.

The engine can't wait while the slow line takes a layer, and nothing of it needs to: everything that it does is the same
each time, so a host that wants more words than the tap has room for sends the image again and skips those that it has.
That leaves the engine and its timing as they are, shows depthwise results too, which no memory ever holds, and takes
one memory, where stopping the engine after a pass and reading its memories back would take a way out of each of them.
"""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from tepal.hdl.accelerator import written_layout
from tepal.hdl.config import EngineConfig
from tepal.hdl.memories.block import Ram
from tepal.hdl.primitives import delay, stream_of

from .protocol import Stage, Traced

__all__ = ["TRACED", "TRACE_REQUEST", "Tracer"]

TRACE_REQUEST = data.StructLayout({"tag": 32, "wish": data.StructLayout({"block": 16, "stage": 8, "skip": 32})})
"""A TRACE: its tag and :class:`~tepal.hdl.link.protocol.Trace`."""

TRACED = data.StructLayout({"tag": 32, "byte": 8, "last": 1})
"""The tag and one byte of the payload of a TRACED."""


class Tracer(wiring.Component):
    """Keeps words that a stage of a pass writes, and hands them over.

    One memory of ``WORDS`` words of ``config.written_bytes``; no multipliers.  A word is kept one cycle after it was
    written; an answer takes a cycle a byte, and one more for each word.

    Parameters
    ----------
    config
        The engine, of which answers tell.

    Members
    -------
    written : In(written_layout)
        From the accelerator.
    idle : In(1)
        The accelerator works on nothing.  No request is taken before.
    i : In(stream of TRACE_REQUEST)
        What to keep next; taken when the answer has gone.
    o : Out(stream of TRACED)
        What was kept.
    """

    WORDS = 512

    def __init__(self, config: EngineConfig):
        self.config = config
        super().__init__({"written": In(written_layout(config.written_bytes)), "idle": In(1),
                          "i": In(stream_of(TRACE_REQUEST)), "o": Out(stream_of(TRACED))})

    def elaborate(self, platform):
        m = Module()
        lanes = self.config.written_bytes
        m.submodules.memory = memory = Ram(8 * lanes, self.WORDS)
        tag, wish = Signal(32), Signal.like(self.i.p.wish)
        count = Signal(range(self.WORDS + 1))

        word = Mux(wish.stage == Stage.MATRIX, self.written.matrix.as_value(), self.written.depthwise.as_value())
        word = data.View(self.written.shape()["matrix"].shape, word)
        m.d.comb += [memory.write_address.eq(count), memory.write_data.eq(delay(m, word.data, 1, name="word"))]
        with m.If(delay(m, word.valid & (word.block == wish.block), 1, name="meant")):
            with m.If(wish.skip != 0):
                m.d.sync += wish.skip.eq(wish.skip - 1)
            with m.Elif(count != self.WORDS):
                m.d.comb += memory.write_enable.eq(1)
                m.d.sync += count.eq(count + 1)

        # What an answer says of the engine is always the same: all that follows the tag in an answer without words.
        constant = Traced(0, self.config, b"").pack()[len(tag) // 8:]
        head = Array([*(tag.word_select(place, 8) for place in range(len(tag) // 8)),
                      *(Const(byte, 8) for byte in constant)])
        place, position, lane = Signal(range(len(head))), Signal(range(self.WORDS)), Signal(range(lanes))
        taken = self.o.valid & self.o.ready
        m.d.comb += [self.o.p.tag.eq(self.i.p.tag), memory.read_address.eq(position),
                     self.i.ready.eq(taken & self.o.p.last)]
        with m.FSM(name="state"):
            with m.State("KEEP"):
                m.d.sync += [place.eq(0), position.eq(0), lane.eq(0)]
                with m.If(self.i.valid & self.idle):
                    m.next = "HEAD"
            with m.State("HEAD"):
                ends = place == len(head) - 1
                m.d.comb += [self.o.valid.eq(1), self.o.p.byte.eq(head[place]), self.o.p.last.eq(ends & (count == 0))]
                with m.If(taken):
                    m.d.sync += place.eq(place + 1)
                    with m.If(self.o.p.last):
                        m.next = "KEEP"
                    with m.Elif(ends):
                        m.next = "FETCH"
            with m.State("FETCH"):
                m.next = "WORD"
            with m.State("WORD"):
                # The address stays until the word is taken, so the memory goes on showing it.
                ends = lane == lanes - 1
                m.d.comb += [self.o.valid.eq(1), self.o.p.byte.eq(memory.read_data.word_select(lane, 8)),
                             self.o.p.last.eq(ends & (position + 1 == count))]
                with m.If(taken):
                    m.d.sync += lane.eq(lane + 1)
                    with m.If(ends):
                        m.d.sync += [lane.eq(0), position.eq(position + 1)]
                        m.next = "FETCH"
                    with m.If(self.o.p.last):
                        m.next = "KEEP"
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [tag.eq(self.i.p.tag), wish.eq(self.i.p.wish), count.eq(0)]
        return m
