# SPDX-License-Identifier: Apache-2.0
"""What goes onto a board: an accelerator, the serial line to its host, and lights."""

# Amaranth gives components their ports at run time.
# pyright: reportAttributeAccessIssue=false

from fractions import Fraction
from math import prod

from amaranth import DomainRenamer, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out
from tepal.hdl import Schedule
from tepal.hdl.accelerator import LOAD
from tepal.hdl.answer import Trailer
from tepal.hdl.link.packets import LinkedAccelerator
from tepal.hdl.link.protocol import Packet
from tepal.hdl.link.uart import LINE_BITS, UartReceiver, UartTransmitter
from tepal.hdl.memories.block import Ram
from tepal.hdl.memories.flash import FlashLoader
from tepal.hdl.memories.sdram import SdramPins, word_cycles
from tepal.hdl.memories.sdram_pads import READ_DELAY
from tepal.hdl.memories.sdram_timing import SdramTiming
from tepal.hdl.memories.sdram_weights import SdramWeights
from tepal.hdl.plan.flash_image import flash_image
from tepal.hdl.primitives import stream_of
from tepal.hdl.streamed import image_of
from tepal.sim import CycleModel

__all__ = ["BUFFER", "MOST", "Top", "credit"]

BUFFER = 2048
"""Bytes that can wait behind the receiver: one memory block of an ECP5."""

MOST = 8
"""Images sent ahead beyond which nothing is gained."""


def credit(schedule: Schedule, byte_cycles: Fraction | int, buffer: int, beat_cycles: Fraction | int = 1) -> int:
    """How many images a host may send ahead of their results: so few that there is always room for their bytes.  A beat
    of weights from outside takes ``beat_cycles``.

    If the engine and the way back both keep pace with the line, bytes wait only while an image that is complete has
    not yet been taken out of the input memory: any number may follow each other.  Else all but the first may have to
    wait whole."""
    network, cycles = schedule.network, CycleModel(schedule, beat_cycles)
    request = Packet.line_bytes(prod(network.input_shape))
    result = Packet.line_bytes(network.result_bytes + Trailer.BYTES)
    keeps_pace = max(cycles.interval_cycles, result * byte_cycles) <= request * byte_cycles
    if keeps_pace and cycles.in_memory_cycles <= buffer * byte_cycles:
        return MOST
    return min(MOST, 1 + buffer // request)


class _Buffer(wiring.Component):
    """A queue of bytes in a memory block.  Nobody reads what is being written, which tools can't see of an ordinary
    queue and build logic for.

    Parameters
    ----------
    depth
        Bytes that have room, a power of two.

    Members
    -------
    i, o : In, Out(stream of 8)
        A byte leaves two cycles after it came at the earliest.
    """

    i: In(stream_of(8))
    o: Out(stream_of(8))

    def __init__(self, depth: int):
        self.depth = depth
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        m.submodules.memory = memory = Ram(8, self.depth)
        # With a bit more than an address: full and empty look different.
        written, taken, after = (Signal(range(2 * self.depth), name=name) for name in ("written", "taken", "after"))
        m.d.comb += [
            self.i.ready.eq((written ^ taken) != self.depth),
            memory.write_address.eq(written), memory.write_data.eq(self.i.payload),
            memory.write_enable.eq(self.i.valid & self.i.ready),
            after.eq(taken + (self.o.valid & self.o.ready)), memory.read_address.eq(after),
            self.o.payload.eq(memory.read_data),
        ]
        m.d.sync += [written.eq(written + memory.write_enable), taken.eq(after), self.o.valid.eq(after != written)]
        return m


class Top(wiring.Component):
    """An accelerator that talks to its host over two wires (see :mod:`tepal.hdl.link.protocol`).

    Parameters
    ----------
    schedule
        The network on an engine.
    bit
        Clock cycles of a bit on the line (:func:`tepal.hdl.link.uart.bit_time`): eight data bits, no parity, one
        stop bit.
    buffer
        Bytes that can wait behind the receiver, a power of two.
    line
        Clock domain of the line, whose cycles ``bit`` counts, and of the packets: the accelerator is in ``sync``.
    slowest
        Least cycles of ``sync`` to one of ``line``.
    offset
        Of the weights in the flash memory, in bytes; with ``config.single_port`` or ``config.weight_words`` alone.
    sdram
        Times of the memory of weights; with ``config.weight_words`` alone.
    test_memory
        Test the memory of weights before they are brought there.
    debug
        Build the debug tap in, which costs a memory and some logic (see :class:`tepal.hdl.link.debug_tap.Tracer`).

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
        With ``config.single_port`` or ``config.weight_words`` alone: the flash memory
        (:class:`tepal.hdl.memories.flash.FlashLoader`).
    sdram_pins : Out(:class:`~tepal.hdl.memories.sdram.SdramPins`)
        With ``config.weight_words`` alone: the memory of weights, behind
        :class:`~tepal.hdl.memories.sdram_pads.SdramPads`.
    """

    def __init__(self, schedule: Schedule, bit: Fraction, buffer: int = BUFFER, *, line: str = "sync",
                 slowest: Fraction | int = 1, offset: int = 0, sdram: SdramTiming | None = None,
                 test_memory: bool = False, debug: bool = False):
        self.schedule, self.bit, self.buffer, self.line, self.debug = schedule, bit, buffer, line, debug
        self.offset, self.sdram, self.test_memory = offset, sdram, test_memory
        beat = 1 if sdram is None else word_cycles(sdram)
        self.credit = credit(schedule, LINE_BITS * bit * slowest, buffer, beat)
        flash = {"flash_cs": Out(1), "flash_clk": Out(1), "flash_copi": Out(1), "flash_cipo": In(1)}
        super().__init__({
            "rx": In(1, init=1), "tx": Out(1, init=1), "ready": Out(1), "busy": Out(1), "error": Out(1),
            "result": Out(4),
            **(flash if schedule.config.single_port or sdram else {}),
            **({"sdram_pins": Out(SdramPins(sdram))} if sdram else {}),
        })

    def elaborate(self, platform):
        m = Module()
        line = DomainRenamer(self.line)
        receiver, transmitter = UartReceiver(self.bit), UartTransmitter(self.bit)
        buffer = _Buffer(self.buffer)
        m.submodules.receiver, m.submodules.transmitter = line(receiver), line(transmitter)
        m.submodules.buffer = line(buffer)
        m.submodules.link = link = LinkedAccelerator(self.schedule, self.credit, debug=self.debug, line=self.line)
        wiring.connect(m, link.o, transmitter.i)
        m.d.comb += [
            receiver.rx.eq(self.rx), self.tx.eq(transmitter.tx),
            buffer.i.payload.eq(receiver.o.payload), buffer.i.valid.eq(receiver.o.valid),
            link.overrun.eq(receiver.o.valid & ~buffer.i.ready),
            self.busy.eq(link.busy), self.result.eq(link.result),
        ]
        wiring.connect(m, buffer.o, link.i)
        if not link.outside:
            m.d.comb += [self.ready.eq(1), self.error.eq(link.fault)]
            return m
        loader = self._from_flash(m, link) if self.sdram is None else self._from_sdram(m, link)
        m.submodules.unloaded = FFSynchronizer(loader.failed, link.unloaded, o_domain=self.line)
        m.d.comb += [self.ready.eq(loader.run), self.error.eq(link.fault | loader.failed)]
        return m

    def _from_flash(self, m: Module, link: LinkedAccelerator) -> FlashLoader:
        """Fills the accelerator's own memories."""
        m.submodules.loader = loader = FlashLoader(flash_image(self.schedule), self.offset)
        m.d.comb += [
            self.flash_cs.eq(loader.cs), self.flash_clk.eq(loader.clk), self.flash_copi.eq(loader.copi),
            loader.cipo.eq(self.flash_cipo),
            *(getattr(link, name).eq(getattr(loader, name)) for name in LOAD),
        ]
        return loader

    def _from_sdram(self, m: Module, link: LinkedAccelerator) -> SdramWeights:
        """Fills the memory outside, and streams from there."""
        assert self.sdram
        m.submodules.weights = weights = SdramWeights(self.sdram, image_of(self.schedule), self.offset, READ_DELAY,
                                                      test=self.test_memory)
        wiring.connect(m, weights.pins, wiring.flipped(self.sdram_pins))
        m.d.comb += [
            *(getattr(self, f"flash_{name}").eq(getattr(weights, f"flash_{name}")) for name in ("cs", "clk", "copi")),
            weights.flash_cipo.eq(self.flash_cipo),
            link.s_axis_weights_tdata.eq(weights.stream.payload), link.s_axis_weights_tvalid.eq(weights.stream.valid),
            weights.stream.ready.eq(link.s_axis_weights_tready),
        ]
        return weights
