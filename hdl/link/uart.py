# SPDX-License-Identifier: Apache-2.0
"""A serial line of eight data bits, no parity and one stop bit, at any rate up to a quarter of the clock."""

from fractions import Fraction

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out
from tepal.hdl.config import ConfigError
from tepal.hdl.primitives import stream_of

__all__ = ["LINE_BITS", "BitTimer", "UartReceiver", "UartTransmitter", "bit_time"]

LINE_BITS = 10
"""Bits that a byte takes on the line: start, eight, stop."""


def bit_time(clock: int, baud: int) -> Fraction:
    """Clock cycles of a bit.

    Raises
    ------
    ConfigError
        Less than four: such a bit can't be sampled in its middle.
    """
    if baud < 1 or clock < 4 * baud:
        raise ConfigError(f"a serial line of {baud:,} baud needs a clock of {4 * baud:,} Hz or more, not {clock:,} Hz")
    return Fraction(clock, baud)


class BitTimer(wiring.Component):
    """Says when a bit is over.  A bit need not be a whole number of cycles: what is left of one is counted to the
    next, so that the rate is exact, and an edge at most a cycle late.

    Parameters
    ----------
    cycles
        Clock cycles of a bit.

    Members
    -------
    run : In(1)
        Time passes.  Else it stands in the middle of a bit with ``half``, and at the beginning of one without.
    half : In(1)
    over : Out(1)
        This is the bit's last cycle.
    """

    def __init__(self, cycles: Fraction):
        self.cycles = cycles
        super().__init__({"run": In(1), "half": In(1), "over": Out(1)})

    def elaborate(self, platform):
        m = Module()
        step, whole = self.cycles.denominator, self.cycles.numerator
        passed = Signal(range(whole + step))
        after = passed + step
        m.d.comb += self.over.eq(self.run & (after >= whole))
        with m.If(self.over):
            m.d.sync += passed.eq(after - whole)
        with m.Elif(self.run):
            m.d.sync += passed.eq(after)
        with m.Else():
            m.d.sync += passed.eq(Mux(self.half, (whole + step) // 2, 0))
        return m


class UartReceiver(wiring.Component):
    """Bytes from a line.  Every bit is sampled once, in its middle; a start bit that is gone by then was none, and
    a byte without a stop bit is dropped.

    Parameters
    ----------
    cycles
        Clock cycles of a bit (:func:`bit_time`).

    Members
    -------
    rx : In(1)
        The line, asynchronous.
    o : Out(stream of 8, which can't wait)
    """

    rx: In(1, init=1)
    o: Out(stream_of(8, always_ready=True))

    def __init__(self, cycles: Fraction):
        self.cycles = cycles
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        line = Signal(init=1)
        m.submodules.synchronizer = FFSynchronizer(self.rx, line, init=1)
        m.submodules.timer = timer = BitTimer(self.cycles)
        bits = Signal(range(LINE_BITS))
        shift = Signal(8)
        m.d.comb += [timer.half.eq(1), self.o.payload.eq(shift)]
        with m.FSM(name="state"):
            with m.State("IDLE"), m.If(~line):
                m.d.sync += bits.eq(0)
                m.next = "BITS"
            with m.State("BITS"):
                m.d.comb += timer.run.eq(1)
                with m.If(timer.over):
                    m.d.sync += bits.eq(bits + 1)
                    with m.If(bits == LINE_BITS - 1):
                        m.d.comb += self.o.valid.eq(line)
                        m.next = "IDLE"
                        with m.If(~line):
                            m.next = "BREAK"
                    with m.Else():
                        m.d.sync += shift.eq(Cat(shift[1:], line))
                        with m.If((bits == 0) & line):
                            m.next = "IDLE"
            with m.State("BREAK"), m.If(line):
                # The next start bit is at the next falling edge.
                m.next = "IDLE"
        return m


class UartTransmitter(wiring.Component):
    """Bytes to a line, without a pause between them if there is none on ``i``.

    Parameters
    ----------
    cycles
        Clock cycles of a bit (:func:`bit_time`).

    Members
    -------
    i : In(stream of 8)
    tx : Out(1)
        The line, from a register.
    """

    i: In(stream_of(8))
    tx: Out(1, init=1)

    def __init__(self, cycles: Fraction):
        self.cycles = cycles
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        m.submodules.timer = timer = BitTimer(self.cycles)
        left, shift = Signal(range(LINE_BITS + 1)), Signal(LINE_BITS - 1, init=-1)
        m.d.comb += [timer.run.eq(left != 0), self.i.ready.eq((left == 0) | (timer.over & (left == 1)))]
        with m.If(self.i.ready & self.i.valid):
            m.d.sync += [self.tx.eq(0), shift.eq(Cat(self.i.payload, C(1, 1))), left.eq(LINE_BITS)]
        with m.Elif(timer.over):
            m.d.sync += [self.tx.eq(shift[0]), shift.eq(Cat(shift[1:], C(1, 1))), left.eq(left - 1)]
        return m
