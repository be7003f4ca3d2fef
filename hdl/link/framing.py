# SPDX-License-Identifier: Apache-2.0
"""Framing of the host link's packets: COBS and CRC-32, as stages between the serial line and the rest.

Between the stages packets are streams of symbols: a packet's bytes, and after them an end."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from tepal.hdl.memories.block import Ram
from tepal.hdl.primitives import stream_of

from .protocol import CRC

__all__ = ["ARRIVED", "SYMBOL", "CobsDecoder", "CobsEncoder", "CrcAppender", "CrcChecker"]

SYMBOL = data.StructLayout({"byte": 8, "end": 1})
"""A byte of a packet, or its end."""

ARRIVED = data.StructLayout({"byte": 8, "end": 1, "damaged": 1})
"""A symbol from the line; ``damaged`` counts at an end."""


class CobsDecoder(wiring.Component):
    """COBS from the line to symbols.  Combinational, a byte a cycle; empty packets vanish.

    Members
    -------
    i : In(stream of 8)
    o : Out(stream of ARRIVED)
        ``damaged`` at an end: the packet stopped within a block.
    """

    i: In(stream_of(8))
    o: Out(stream_of(ARRIVED))

    def elaborate(self, platform):
        m = Module()
        left = Signal(8)  # bytes of the block that are still to come
        begun = Signal()  # within a packet
        zero = Signal()  # a zero stands between this block and the next
        byte, emit = self.i.payload, Signal()
        m.d.comb += [self.o.valid.eq(self.i.valid & emit), self.i.ready.eq(self.o.ready | ~emit)]
        taken = self.i.valid & self.i.ready
        with m.If(byte == 0):
            m.d.comb += [emit.eq(begun), self.o.p.end.eq(1), self.o.p.damaged.eq(left != 0)]
            with m.If(taken):
                m.d.sync += [left.eq(0), begun.eq(0), zero.eq(0)]
        with m.Elif(left == 0):
            m.d.comb += emit.eq(zero)
            with m.If(taken):
                m.d.sync += [left.eq(byte - 1), begun.eq(1), zero.eq(byte != 0xFF)]
        with m.Else():
            m.d.comb += [emit.eq(1), self.o.p.byte.eq(byte)]
            with m.If(taken):
                m.d.sync += left.eq(left - 1)
        return m


class CobsEncoder(wiring.Component):
    """Symbols to COBS on the line, a zero byte after each packet.

    A block is gathered in a memory before its length can be sent: two to three cycles a byte.

    Members
    -------
    i : In(stream of SYMBOL)
    o : Out(stream of 8)
    """

    BLOCK = 254
    """Most bytes of a block."""

    i: In(stream_of(SYMBOL))
    o: Out(stream_of(8))

    def elaborate(self, platform):
        m = Module()
        # Of LUTs where a part has memories of them: whole blocks are what large networks have too few of.
        m.submodules.block = block = Ram(8, self.BLOCK, logic=True)
        count, place = Signal(8), Signal(8)
        last = Signal()  # the packet's last block
        whole = Signal()  # the block before was a full one, with no zero after it
        m.d.comb += [block.write_address.eq(count), block.write_data.eq(self.i.p.byte), block.read_address.eq(place)]
        with m.FSM(name="state"):
            with m.State("GATHER"):
                m.d.comb += self.i.ready.eq(1)
                m.d.sync += place.eq(0)
                with m.If(self.i.valid):
                    m.d.sync += last.eq(self.i.p.end)
                    with m.If(self.i.p.end & whole & (count == 0)):
                        m.next = "DELIMITER"
                    with m.Elif(self.i.p.end | (self.i.p.byte == 0)):
                        m.d.sync += whole.eq(0)
                        m.next = "LENGTH"
                    with m.Else():
                        m.d.comb += block.write_enable.eq(1)
                        m.d.sync += count.eq(count + 1)
                        with m.If(count == self.BLOCK - 1):
                            m.d.sync += whole.eq(1)
                            m.next = "LENGTH"
            with m.State("LENGTH"):
                m.d.comb += [self.o.valid.eq(1), self.o.payload.eq(count + 1)]
                with m.If(self.o.ready):
                    m.next = "FETCH"
            with m.State("FETCH"):
                with m.If(place != count):
                    m.next = "SEND"
                with m.Else():
                    m.d.sync += count.eq(0)
                    m.next = "GATHER"
                    with m.If(last):
                        m.next = "DELIMITER"
            with m.State("SEND"):
                # The address stays until the byte is taken, so the memory goes on showing it.
                m.d.comb += [self.o.valid.eq(1), self.o.payload.eq(block.read_data)]
                with m.If(self.o.ready):
                    m.d.sync += place.eq(place + 1)
                    m.next = "FETCH"
            with m.State("DELIMITER"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    m.d.sync += whole.eq(0)
                    m.next = "GATHER"
        return m


class _Crc(wiring.Component):
    """The CRC of bytes, a bit a cycle: on a serial line a byte takes longer.

    Members
    -------
    start, valid, data : In
        A byte, and whether it is the first one.
    ready : Out(1)
        The byte may be given, and those before are in ``crc`` and ``match``.
    crc : Out(32), match : Out(1)
    """

    start: In(1)
    valid: In(1)
    data: In(8)
    ready: Out(1)
    crc: Out(CRC.algorithm.crc_width)
    match: Out(1)

    def elaborate(self, platform):
        m = Module()
        m.submodules.unit = crc = CRC.algorithm(data_width=1).create()
        # A one behind the byte's bits moves down with them.
        shift = Signal(9, init=1)
        m.d.comb += [self.crc.eq(crc.crc), self.match.eq(crc.match_detected), self.ready.eq(shift == 1),
                     crc.start.eq(self.ready & self.start), crc.valid.eq(~self.ready), crc.data.eq(shift[0])]
        with m.If(~self.ready):
            m.d.sync += shift.eq(shift[1:])
        with m.Elif(self.valid):
            m.d.sync += shift.eq(Cat(self.data, 1))
        return m


class CrcChecker(wiring.Component):
    """Takes the CRC off the end of each packet.  A byte leaves when the fourth one after it comes.  A symbol
    takes nine cycles.

    Members
    -------
    i, o : In, Out(stream of ARRIVED)
        ``damaged`` at an end of ``o``: the CRC is wrong or not there, or ``damaged`` at that of ``i``.
    """

    i: In(stream_of(ARRIVED))
    o: Out(stream_of(ARRIVED))

    def elaborate(self, platform):
        m = Module()
        m.submodules.processor = crc = _Crc()
        size = CRC.algorithm.crc_width // 8
        held, count, emit = Signal(8 * size), Signal(range(size + 1)), Signal()
        m.d.comb += [
            emit.eq(self.i.p.end | (count == size)),
            self.o.valid.eq(self.i.valid & crc.ready & emit), self.i.ready.eq(crc.ready & (self.o.ready | ~emit)),
            self.o.p.byte.eq(held[:8]), self.o.p.end.eq(self.i.p.end),
            self.o.p.damaged.eq(self.i.p.damaged | (count != size) | ~crc.match),
            crc.data.eq(self.i.p.byte), crc.start.eq(count == 0),
        ]
        with m.If(self.i.valid & self.i.ready):
            with m.If(self.i.p.end):
                m.d.sync += count.eq(0)
            with m.Else():
                m.d.comb += crc.valid.eq(1)
                m.d.sync += held.eq(Cat(held[8:], self.i.p.byte))
                with m.If(count != size):
                    m.d.sync += count.eq(count + 1)
        return m


class CrcAppender(wiring.Component):
    """Puts the CRC after each packet's bytes.  A symbol takes nine cycles.

    Members
    -------
    i, o : In, Out(stream of SYMBOL)
    """

    i: In(stream_of(SYMBOL))
    o: Out(stream_of(SYMBOL))

    def elaborate(self, platform):
        m = Module()
        m.submodules.processor = crc = _Crc()
        size = CRC.algorithm.crc_width // 8
        place, first = Signal(range(size + 1)), Signal(init=1)
        crc_byte = self.i.p.end & (place != size)
        taken = self.o.valid & self.o.ready
        m.d.comb += [
            self.o.valid.eq(self.i.valid & crc.ready), self.i.ready.eq(self.o.ready & crc.ready & ~crc_byte),
            self.o.p.byte.eq(Mux(self.i.p.end, crc.crc.word_select(place[:2], 8), self.i.p.byte)),
            self.o.p.end.eq(self.i.p.end & ~crc_byte),
            crc.data.eq(self.i.p.byte), crc.start.eq(first), crc.valid.eq(taken & ~self.i.p.end),
        ]
        with m.If(taken):
            m.d.sync += first.eq(self.o.p.end)
            with m.If(self.i.p.end):
                m.d.sync += place.eq(Mux(crc_byte, place + 1, 0))
        return m
