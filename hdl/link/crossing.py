# SPDX-License-Identifier: Apache-2.0
"""From one clock to another."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out
from tepal.hdl.primitives import stream_of

__all__ = ["Crossing"]


class Crossing(wiring.Component):
    """A stream from one clock domain to another, of any two frequencies.

    An item waits in a register until the other side has taken it; each side tells the other by changing one bit.  One
    takes at most four cycles of ``reader`` and four of ``writer``: far less than a byte on a serial line, and without
    a memory.  Both domains must be reset together.

    Parameters
    ----------
    writer, reader
        Names of the domains of ``i`` and of ``o``.
    shape
        Of an item.

    Members
    -------
    i : In(stream of shape)
    o : Out(stream of shape)
    """

    def __init__(self, writer: str, reader: str, shape):
        self.writer, self.reader = writer, reader
        super().__init__({"i": In(stream_of(shape)), "o": Out(stream_of(shape))})

    def elaborate(self, platform):
        m = Module()
        held = Signal.like(self.i.payload)
        sent, sent_seen, taken, taken_seen = Signal(), Signal(), Signal(), Signal()
        m.submodules.forth = FFSynchronizer(sent, sent_seen, o_domain=self.reader)
        m.submodules.back = FFSynchronizer(taken, taken_seen, o_domain=self.writer)
        # Known from a register, for who waits for it may be far away.
        free = Signal(init=1)
        m.d[self.writer] += free.eq(sent == taken_seen)
        m.d.comb += [self.i.ready.eq(free),
                     self.o.valid.eq(sent_seen != taken), self.o.payload.eq(held)]
        with m.If(self.i.valid & self.i.ready):
            # The item is there two cycles before anybody looks at it.
            m.d[self.writer] += [held.eq(self.i.payload), sent.eq(~sent), free.eq(0)]
        with m.If(self.o.valid & self.o.ready):
            m.d[self.reader] += taken.eq(sent_seen)
        return m
