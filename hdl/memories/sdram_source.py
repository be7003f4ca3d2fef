# SPDX-License-Identifier: Apache-2.0
"""Weights out of an SDRAM as a stream without an end: all of a frame's, over and over."""

from amaranth import *
from amaranth.lib import fifo, wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out
from tepal.hdl.primitives import stream_of

from .sdram import Access
from .sdram_timing import SdramTiming

__all__ = ["SdramSource"]


class SdramSource(wiring.Component):
    """Asks for words ``base`` to ``base + words - 1`` of a memory, again and again, and hands them on to the clock of
    who needs them.

    Parameters
    ----------
    timing
        The memory's.
    base, words
        The first 64-bit word of a frame, and how many there are.
    writer, reader
        Names of the clock domains of the memory, and of ``stream`` and ``restart``; they may be the same.  Both must be
        reset together.
    depth
        Words that wait between the two, a power of two.
    chunk
        Words asked for at a time: where the stream begins anew, as many are read at most before it does; and a bank is
        opened between two of them, which takes five slots.

    Members
    -------
    access : Out(stream of :class:`~tepal.hdl.memories.sdram.Access`), read : In(stream of 64)
        The memory's side, of domain ``writer``.
    stream : Out(stream of 64)
    restart : In(1)
        What comes from the next cycle on begins with the first word.  In this cycle no word is there.
    """

    def __init__(self, timing: SdramTiming, base: int, words: int, *, writer: str = "sync", reader: str = "sync",
                 depth: int = 16, chunk: int = 2048):
        self.timing, self.base, self.words = timing, base, words
        self.writer, self.reader, self.depth, self.chunk = writer, reader, depth, min(chunk, words)
        super().__init__({"access": Out(stream_of(Access(timing))), "read": In(stream_of(64)),
                          "stream": Out(stream_of(64)), "restart": In(1)})

    def elaborate(self, platform):
        m = Module()
        write, read = m.d[self.writer], m.d[self.reader]
        # Each word carries a bit that tells after which restart it was asked for: an even or an odd one.
        queue = (fifo.SyncFIFOBuffered(width=65, depth=self.depth) if self.writer == self.reader else
                 fifo.AsyncFIFOBuffered(width=65, depth=self.depth, w_domain="write", r_domain="read"))
        m.submodules.queue = DomainRenamer(
            {"sync": self.writer, "write": self.writer, "read": self.reader})(queue)

        wanted, begun = Signal(), Signal()
        here = queue.r_data[64] == wanted
        m.d.comb += [
            self.stream.payload.eq(queue.r_data[:64]), self.stream.valid.eq(queue.r_rdy & here & ~self.restart),
            queue.r_en.eq(Mux(here, self.stream.ready & ~self.restart, 1)),
        ]
        # Before a word has been taken the stream stands at its first one already, and the memory may not have heard of
        # the last restart yet.
        with m.If(self.restart & begun):
            read += [wanted.eq(~wanted), begun.eq(0)]
        with m.Elif(self.stream.valid & self.stream.ready):
            read += begun.eq(1)

        asked_for, present = Signal(), Signal()
        m.submodules.heard = FFSynchronizer(wanted, asked_for, o_domain=self.writer)
        left, coming = Signal(range(self.words + 1), init=self.words), Signal(range(2 * self.chunk + 1))
        address = Signal.like(self.access.payload.address, init=self.base)
        asking, size = Signal(), Signal(range(self.chunk + 1))
        fresh = asked_for == present
        asks = asking & self.access.ready
        m.d.comb += [
            self.access.valid.eq(asking), self.access.payload.address.eq(address), self.access.payload.words.eq(size),
            queue.w_data.eq(Cat(self.read.payload, present)), queue.w_en.eq(self.read.valid & fresh),
            self.read.ready.eq(queue.w_rdy | ~fresh),
        ]
        write += coming.eq(coming + Mux(asks, size, 0) - (self.read.valid & self.read.ready))
        with m.If(asks):
            write += [asking.eq(0), left.eq(left - size), address.eq(address + size)]
        with m.Elif(~asking):
            with m.If(~fresh & (coming == 0)):
                write += [present.eq(asked_for), left.eq(self.words), address.eq(self.base)]
            with m.Elif(left == 0):
                write += [left.eq(self.words), address.eq(self.base)]
            with m.Elif(fresh & (coming <= self.chunk)):
                # So few are on their way that one more chunk can be counted.
                write += [asking.eq(1), size.eq(Mux(left < self.chunk, left, self.chunk))]
        return m
