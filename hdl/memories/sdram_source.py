# SPDX-License-Identifier: Apache-2.0
"""Weights out of an SDRAM as a stream without an end: what is needed once, then all of a frame's, over and over."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from tepal.hdl.primitives import stream_of

from .sdram import Access
from .sdram_timing import SdramTiming

__all__ = ["SdramSource"]


class SdramSource(wiring.Component):
    """Asks for some words of a memory once, and then for others again and again.

    An access is as long as a frame, so that a row is opened in vain only where one begins, which takes five slots of an
    :class:`~tepal.hdl.memories.sdram.SdramController`.

    Parameters
    ----------
    timing
        The memory's.
    prologue, frame
        64-bit words of the memory: those that come once, which may be none, and those that follow without an end.

    Members
    -------
    access : Out(stream of :class:`~tepal.hdl.memories.sdram.Access`), read : In(stream of 64)
        The memory's side.
    stream : Out(stream of 64)
    """

    def __init__(self, timing: SdramTiming, prologue: range, frame: range):
        self.timing, self.prologue, self.frame = timing, prologue, frame
        super().__init__({"access": Out(stream_of(Access(timing))), "read": In(stream_of(64)),
                          "stream": Out(stream_of(64))})

    def elaborate(self, platform):
        m = Module()
        begun, asked = Signal(init=not self.prologue), self.access.payload
        m.d.comb += [self.access.valid.eq(1),
                     asked.address.eq(Mux(begun, self.frame.start, self.prologue.start)),
                     asked.words.eq(Mux(begun, len(self.frame), len(self.prologue)))]
        with m.If(self.access.ready):
            m.d.sync += begun.eq(1)
        wiring.connect(m, wiring.flipped(self.read), wiring.flipped(self.stream))
        return m
