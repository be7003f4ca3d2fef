# SPDX-License-Identifier: Apache-2.0
"""Weights from any memory that is behind an AXI4 port."""

from amaranth import *
from amaranth.lib import fifo, wiring
from amaranth.lib.wiring import In, Out

from .image_check import ImageCheck, WeightError
from .weight_image import BEAT_BYTES, BLOCK, WeightImage

__all__ = ["AxiReader", "axi_ports"]


def axi_ports(address_bits: int) -> dict[str, wiring.Member]:
    """The port of an AXI4 master that only reads, 64 bits in a beat."""
    return {
        "m_axi_araddr": Out(address_bits), "m_axi_arlen": Out(8), "m_axi_arsize": Out(3, init=3),
        "m_axi_arburst": Out(2, init=1), "m_axi_arvalid": Out(1), "m_axi_arready": In(1),
        "m_axi_rdata": In(8 * BEAT_BYTES), "m_axi_rresp": In(2), "m_axi_rlast": In(1), "m_axi_rvalid": In(1),
        "m_axi_rready": Out(1, init=1),
    }


class AxiReader(wiring.Component):
    """Reads an image of weights, checks it, and streams its prologue once and its frame again and again.

    It is a master of AXI4 that only reads: bursts of type INCR of up to 16 beats of 64 bits, none of which crosses a
    multiple of 128 bytes, all of one id.  A burst is asked for only if the FIFO has room for all of it, so that no beat
    ever waits for the engine: ``m_axi_rready`` is always high.  The memory must be reset with the reader: what it still
    owes to an earlier read would be taken for the answer to a new one.

    First the whole image is read.  If it is another than ``image``, or if the memory ever answers with anything but
    OKAY, ``error`` tells so and nothing more is read; the beats that came before such an answer are still handed on,
    and none after it.

    **Cycles** are counted from the first one after reset in which ``start`` is high, number 0.  In cycle 1 the first
    burst is decided upon.  Each of the others is in the first cycle behind that in which the memory has accepted the
    address before, or does, and in which there is room for 16 beats.  Its address is there a cycle later.  A burst
    takes its room when it is decided upon, and a beat gives its room back in the cycle after the one in which it
    leaves.  A beat that comes in cycle n is at ``data`` in cycle n + :attr:`PIPELINE` at the earliest, and in the cycle
    after the one in which the beat before it left.  While the image is checked, each beat leaves as soon as it is
    there; when the last one leaves in cycle n, the first burst of the stream is decided upon in cycle n +
    :attr:`JUDGEMENT`.

    :func:`tepal.sim.arrivals.arrivals` computes what follows of this for a memory that accepts every address at once
    and gives a beat every so many cycles.  From one that gives a beat in every cycle a beat leaves in every cycle if,
    with 4 ``bursts``, its first beat comes up to 45 cycles after the address.

    Parameters
    ----------
    image
        What the memory should hold.
    address_bits
        Of ``m_axi_araddr``.
    bursts
        How many the FIFO has room for, and so how many may be outstanding.

    Members
    -------
    base : In(address_bits)
        Where the image begins: a multiple of 128, which must not change.
    start : In(1), 1 if not connected
        The memory can be read.  It is looked at until it is high.
    data : Out(64), valid : Out(1), ready : In(1)
        The stream.
    running : Out(1)
        The image was right, and the memory has answered all that it was asked.
    error : Out(:class:`~tepal.hdl.memories.image_check.WeightError`)
        Stays until a reset.
    m_axi_ar*, m_axi_r*
        ``m_axi_rlast`` is there for the port to be whole; nothing depends on it.
    """

    BURST = BLOCK // BEAT_BYTES
    """Beats of a burst, but for the last one of the prologue or frame, which leaves out the padding."""

    BURSTS = 4

    ADDRESS_BITS = 32

    PIPELINE = 2
    JUDGEMENT = 1 + ImageCheck.LATENCY

    def __init__(self, image: WeightImage, *, address_bits: int = ADDRESS_BITS, bursts: int = BURSTS):
        self.image, self.bursts = image, bursts
        self.fifo = fifo.SyncFIFOBuffered(width=8 * BEAT_BYTES, depth=self.BURST * bursts)
        self.room = Signal(range(self.fifo.depth + 1), init=self.fifo.depth)
        """Beats that the FIFO has room for, less those that were asked for and have not come."""
        super().__init__({
            "base": In(address_bits), "start": In(1, init=1),
            "data": Out(8 * BEAT_BYTES), "valid": Out(1), "ready": In(1), "running": Out(1), "error": Out(WeightError),
            **axi_ports(address_bits),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.fifo, m.submodules.check = self.fifo, ImageCheck(self.image)
        streaming = Signal()
        asked = self._ask(m, streaming)
        self._take(m, streaming, m.submodules.check)
        m.d.sync += self.room.eq(self.room - asked + (self.fifo.r_rdy & self.fifo.r_en))
        return m

    def _ask(self, m: Module, streaming):
        """Asks for burst after burst; beats of the one that is decided in this cycle."""
        header, last = 1, self.image.beats // self.BURST - 1
        frame = self.image.first_frame_beat // self.BURST
        place, length, asks, reading = Signal(range(last + 1)), Signal(range(self.BURST + 1)), Signal(), Signal()
        # Padding is read when the image is checked, and not afterwards.
        m.d.comb += [
            length.eq(self.BURST),
            asks.eq(reading & (self.room >= self.BURST) & (~self.m_axi_arvalid | self.m_axi_arready)
                    & (self.error == WeightError.NONE))]
        with m.If(streaming):
            with m.If(place == last):
                m.d.comb += length.eq((self.image.frame_beats - 1) % self.BURST + 1)
            with m.Elif(place == frame - 1):
                m.d.comb += length.eq((self.image.prologue_beats - 1) % self.BURST + 1)
        with m.If(self.m_axi_arready):
            m.d.sync += self.m_axi_arvalid.eq(0)
        with m.If(asks):
            m.d.sync += [self.m_axi_arvalid.eq(1), self.m_axi_arlen.eq(length - 1), place.eq(place + 1),
                         self.m_axi_araddr.eq(Cat(C(0, 7), self.base[7:] + place))]
            with m.If(place == last):
                m.d.sync += place.eq(frame)
        with m.FSM(name="state"):
            with m.State("WAIT"), m.If(self.start):
                m.next = "CHECK"
            with m.State("CHECK"):
                m.d.comb += reading.eq(1)
                with m.If(asks & (place == last)):
                    m.next = "JUDGE"
            with m.State("JUDGE"):
                m.d.sync += place.eq(header)
                with m.If(m.submodules.check.right):
                    m.next = "STREAM"
            with m.State("STREAM"):
                m.d.comb += [reading.eq(1), streaming.eq(1)]
        return Mux(asks, length, 0)

    def _take(self, m: Module, streaming, check):
        """From the memory into the FIFO, and out of it to the check or the engine."""
        good = self.m_axi_rresp == 0
        m.d.comb += [
            self.fifo.w_data.eq(self.m_axi_rdata),
            self.fifo.w_en.eq(self.m_axi_rvalid & good & (self.error == WeightError.NONE)),
            self.fifo.r_en.eq(Mux(streaming, self.ready, 1)),
            check.beat.eq(self.fifo.r_data), check.valid.eq(self.fifo.r_rdy & ~streaming),
            self.data.eq(self.fifo.r_data), self.valid.eq(self.fifo.r_rdy & streaming),
            self.running.eq(streaming & (self.error == WeightError.NONE)),
        ]
        with m.If(self.error == WeightError.NONE):
            m.d.sync += self.error.eq(check.error)
            with m.If(self.m_axi_rvalid & ~good):
                m.d.sync += self.error.eq(WeightError.MEMORY)
