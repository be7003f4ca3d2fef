# SPDX-License-Identifier: Apache-2.0
"""The streamer: a frame's results, and their trailer, out of the output memory."""

from collections.abc import Sequence
from itertools import accumulate
from math import prod

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from tepal.hdl.answer import BEGUN_FRAME, FRAME, Status, Trailer
from tepal.hdl.primitives import bits_for, delay

from .instance_name import InstanceName

__all__ = ["OutputStreamer"]


class OutputStreamer(wiring.Component):
    """Sends a frame's results: every int8 of every output in order, then a :class:`Trailer`: the index of the largest
    as two bytes, low first (ties go to the first), the frame's number and a :class:`Status`.  ``last`` marks the last
    byte.

    Nothing is valid during reset.  A reset within an answer, after its first byte, leaves whoever took that byte
    waiting for ``last``: so before anything else a byte with ``last`` follows, :attr:`Status.CUT_OFF`.

    Parameters
    ----------
    shapes, lanes
        Of each output; bytes of a memory word.
    closes
        Send that byte; not needed where whoever takes the answers is reset as well.
    begun
        What a frame turns out to be may be known only after ``claim``, and there may be no answer to it.
    pipelined
        A register holds each word, which a memory block may take in; or else its bytes come out of the memory's output
        itself.

    Members
    -------
    claim : In(1)
        The first pass that writes results begins.
    frame : In(FRAME)
        Whose answer it will be; taken with ``claim``.  With ``begun`` it is a :data:`BEGUN_FRAME`, taken when it is
        ``known``, before ``done``.
    done : In(1)
        The frame's last result is being written.
    address : Out, word : In
        To the output memory's read port.
    data, last, valid : Out, ready : In
        The stream.
    free : Out(1)
        The output memory may be claimed.
    """

    NAME = InstanceName("streamer", "result streamer")

    FETCH = 2
    """Cycles to fetch a word."""

    COMPARE = 1
    """Cycles from the last result to the index of the largest."""

    def __init__(self, shapes: Sequence[tuple[int, int, int]], lanes: int, *, closes: bool = True,
                 begun: bool = False, pipelined: bool = True):
        self.shapes, self.lanes, self.closes, self.begun = tuple(shapes), lanes, closes, begun
        self.pipelined = pipelined
        self.groups = [-(-shape[2] // lanes) for shape in shapes]
        # First word behind each output.
        self.ends = [*accumulate(height * width * groups
                                 for (height, width, _), groups in zip(shapes, self.groups, strict=True))]
        self.depth, self.bytes = self.ends[-1], sum(map(prod, shapes))
        super().__init__({
            "claim": In(1), "frame": In(BEGUN_FRAME if begun else FRAME), "done": In(1),
            **({"known": In(1)} if begun else {}),
            "address": Out(bits_for(self.depth)), "word": In(8 * lanes),
            "data": Out(8), "last": Out(1), "valid": Out(1), "ready": In(1), "free": Out(1),
        })

    @classmethod
    def timing(cls, shapes: Sequence[tuple[int, int, int]], lanes: int) -> tuple[int, int]:
        """(cycles from ``done`` to the first byte, from the first byte to the last one), never made to wait."""
        words = sum(height * width * -(-channels // lanes) for height, width, channels in shapes)
        return 1 + cls.FETCH, (words - 1) * cls.FETCH + sum(map(prod, shapes)) + cls.COMPARE + Trailer.BYTES - 1

    def elaborate(self, platform):
        m = Module()
        output = Signal(range(len(self.shapes))) if len(self.shapes) > 1 else None

        def of_output(values):
            """The value of the output that is being sent."""
            return values[0] if output is None else Array(values)[output]

        last_lanes = of_output([(shape[2] - 1) % self.lanes + 1 for shape in self.shapes])
        group = Signal(range(max(2, *self.groups)))
        # Lanes of the word that were taken from it, the one that is offered too.
        lane = Signal(range(self.lanes + 1))
        # It stays as long as the address does.  One that moved on byte by byte would have to reach all of its bits, far
        # apart, from here within a cycle.
        word = delay(m, self.word, 1, name="word") if self.pipelined else self.word
        index, best_index = Signal(bits_for(self.bytes)), Signal(bits_for(self.bytes))
        frame, offered, claimed = Signal(BEGUN_FRAME if self.begun else FRAME, reset_less=True), Signal(), Signal()
        # Whether an answer has begun whose last byte is not taken yet.  Nothing else outlives a reset.
        open_ = Signal(name="open", reset_less=True)
        # In the cycle of a reset nothing is valid, so that no receiver takes a byte that is sent again.
        m.d.comb += [self.valid.eq(offered & ~ResetSignal(allow_reset_less=True)), self.free.eq(~claimed & ~open_)]
        if self.closes:
            with m.If(self.valid & self.ready):
                m.d.sync += open_.eq(~self.last)
        best = Signal(signed(8))
        value, taken = Signal(signed(8), reset_less=True), Signal()
        # Results are compared in the cycle after they were taken: the receiver's ``ready`` arrives late in a cycle.
        compared, compared_index = delay(m, value, 1, name="compared"), delay(m, index, 1, name="compared_index")
        with m.If(delay(m, taken, 1, name="compares") & ((compared_index == 0) | (compared > best))):
            m.d.sync += [best.eq(compared), best_index.eq(compared_index)]
        last_group = group == of_output([groups - 1 for groups in self.groups])
        with m.If(self.claim):
            m.d.sync += [claimed.eq(1), *([] if self.begun else [frame.eq(self.frame)])]
        if self.begun:
            with m.If(self.known):
                m.d.sync += frame.eq(self.frame)
        with m.FSM(name="state"):
            with m.State("IDLE"):
                m.d.sync += [index.eq(0), self.address.eq(0), group.eq(0)]
                if output is not None:
                    m.d.sync += output.eq(0)
                with m.If(self.done & ~frame.cut_short if self.begun else self.done):
                    m.next = "ADDRESS"
                if self.closes:
                    with m.If(open_):
                        m.next = "CLOSE"
            if self.closes:
                with m.State("CLOSE"):
                    m.d.comb += [offered.eq(1), self.data.eq(Status.CUT_OFF.value), self.last.eq(1)]
                    with m.If(self.ready):
                        m.next = "IDLE"
            with m.State("ADDRESS"):
                m.next = "FETCH"
            with m.State("FETCH"):
                m.d.sync += [value.eq(self.word[:8]), lane.eq(1)]
                m.next = "RESULTS"
            with m.State("RESULTS"):
                m.d.comb += [offered.eq(1), self.data.eq(value)]
                with m.If(self.ready):
                    m.d.comb += taken.eq(1)
                    m.d.sync += [value.eq(word.word_select(lane, 8)), lane.eq(lane + 1), index.eq(index + 1)]
                    with m.If(lane == Mux(last_group, last_lanes, self.lanes)):
                        m.d.sync += [self.address.eq(self.address + 1), group.eq(Mux(last_group, 0, group + 1))]
                        if output is not None:
                            with m.If(self.address == of_output([end - 1 for end in self.ends])):
                                m.d.sync += output.eq(output + 1)
                        m.next = "ADDRESS"
                        with m.If(self.address == self.depth - 1):
                            m.next = "COMPARE"
            with m.State("COMPARE"):
                m.next = "LOW"
            index_bytes = Cat(best_index, C(0, 16))
            trailer = {"LOW": index_bytes[:8], "HIGH": index_bytes[8:16], "NUMBER": frame.number,
                       "STATUS": Cat(frame.too_long, frame.abandoned)}
            for (state, byte), following in zip(trailer.items(), [*trailer, "IDLE"][1:], strict=True):
                with m.State(state):
                    m.d.comb += [offered.eq(1), self.data.eq(byte), self.last.eq(following == "IDLE")]
                    with m.If(self.ready):
                        m.next = following
        with m.If(self.valid & self.last & self.ready):
            m.d.sync += claimed.eq(0)
        if self.begun:
            with m.If(self.done & frame.cut_short):
                m.d.sync += claimed.eq(0)
        return m
