"""What goes onto a board: an accelerator, the serial line to its host, and lights."""

# Amaranth gives components their ports at run time.
# pyright: reportAttributeAccessIssue=false

from fractions import Fraction
from math import prod

from amaranth import DomainRenamer, Module
from amaranth.lib import fifo, wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out
from tepal.hdl import Schedule
from tepal.hdl.accelerator import LOAD
from tepal.hdl.flash import FlashLoader, flash_image
from tepal.hdl.link import LinkedAccelerator
from tepal.hdl.ports import OutputStreamer
from tepal.hdl.protocol import Packet
from tepal.hdl.uart import LINE_BITS, UartReceiver, UartTransmitter
from tepal.sim import CycleModel

__all__ = ["BUFFER", "MOST", "Top", "window"]

BUFFER = 2048
"""Bytes that can wait behind the receiver: one memory block of an ECP5."""

MOST = 8
"""Requests under way beyond which nothing is gained."""


def window(schedule: Schedule, byte_cycles: Fraction | int, buffer: int) -> int:
    """How many images a host may send ahead of their results, so that none is ever lost for want of room.

    If the engine and the way back both keep pace with the line, bytes wait only while an image that is complete has
    not yet been taken out of the input memory: any number may follow each other.  Else all but the first may have to
    wait whole."""
    network, cycles = schedule.network, CycleModel(schedule)
    request = Packet.line_bytes(prod(network.input_shape))
    result = Packet.line_bytes(network.outputs + OutputStreamer.TRAILER)
    keeps_pace = max(cycles.interval_cycles, result * byte_cycles) <= request * byte_cycles
    if keeps_pace and cycles.compute_cycles <= buffer * byte_cycles:
        return MOST
    return min(MOST, 1 + buffer // request)


class Top(wiring.Component):
    """An accelerator that talks to its host over two wires (see :mod:`tepal.hdl.protocol`).

    Parameters
    ----------
    schedule
        The network on an engine.
    bit
        Clock cycles of a bit on the line (:func:`tepal.hdl.uart.bit_time`): eight data bits, no parity, one stop bit.
    buffer
        Bytes that can wait behind the receiver.
    line
        Clock domain of the line, whose cycles ``bit`` counts, and of the packets: the accelerator is in ``sync``.
    slowest
        Least cycles of ``sync`` to one of ``line``.
    offset
        Of the weights in the flash memory, in bytes; with ``config.single_port`` alone.
    debug
        Build the debug tap in, which costs a memory and some logic (see :class:`tepal.hdl.trace.Tracer`).

    Members
    -------
    rx, tx : In(1), Out(1)
        The line.
    ready : Out(1)
        The design runs, and has its weights.
    busy : Out(1)
        A result is outstanding.
    error : Out(1)
        The last request was refused, or the weights can't be loaded.
    result : Out(4)
        Class of the last result, its lowest bits.
    flash_cs, flash_clk, flash_copi : Out(1), flash_cipo : In(1)
        With ``config.single_port`` alone: the flash memory (:class:`tepal.hdl.flash.FlashLoader`).
    """

    def __init__(self, schedule: Schedule, bit: Fraction, buffer: int = BUFFER, *, line: str = "sync",
                 slowest: Fraction | int = 1, offset: int = 0, debug: bool = False):
        self.schedule, self.bit, self.buffer, self.line, self.debug = schedule, bit, buffer, line, debug
        self.offset = offset
        self.window = window(schedule, LINE_BITS * bit * slowest, buffer)
        super().__init__({
            "rx": In(1, init=1), "tx": Out(1, init=1), "ready": Out(1), "busy": Out(1), "error": Out(1),
            "result": Out(4),
            **({"flash_cs": Out(1), "flash_clk": Out(1), "flash_copi": Out(1), "flash_cipo": In(1)}
               if schedule.config.single_port else {}),
        })

    def elaborate(self, platform):
        m = Module()
        line = DomainRenamer(self.line)
        receiver, transmitter = UartReceiver(self.bit), UartTransmitter(self.bit)
        buffer = fifo.SyncFIFOBuffered(width=8, depth=self.buffer + 1)
        m.submodules.receiver, m.submodules.transmitter = line(receiver), line(transmitter)
        m.submodules.buffer = line(buffer)
        m.submodules.link = link = LinkedAccelerator(self.schedule, self.window, debug=self.debug, line=self.line)
        wiring.connect(m, link.o, transmitter.i)
        m.d.comb += [
            receiver.rx.eq(self.rx), self.tx.eq(transmitter.tx),
            buffer.w_data.eq(receiver.o.payload), buffer.w_en.eq(receiver.o.valid),
            link.overrun.eq(receiver.o.valid & ~buffer.w_rdy),
            link.i.payload.eq(buffer.r_data), link.i.valid.eq(buffer.r_rdy), buffer.r_en.eq(link.i.ready),
            self.busy.eq(link.busy), self.result.eq(link.result),
        ]
        if not self.schedule.config.single_port:
            m.d.comb += [self.ready.eq(1), self.error.eq(link.fault)]
            return m
        m.submodules.loader = loader = FlashLoader(flash_image(self.schedule), self.offset)
        m.submodules.unloaded = FFSynchronizer(loader.failed, link.unloaded, o_domain=self.line)
        m.d.comb += [
            self.flash_cs.eq(loader.cs), self.flash_clk.eq(loader.clk), self.flash_copi.eq(loader.copi),
            loader.cipo.eq(self.flash_cipo),
            *(getattr(link, name).eq(getattr(loader, name)) for name in LOAD),
            self.ready.eq(loader.run), self.error.eq(link.fault | loader.failed),
        ]
        return m
