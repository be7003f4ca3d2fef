# SPDX-License-Identifier: Apache-2.0
"""Weights from an SPI flash memory, for engines whose own memories come up blank.

In the flash memory, from an offset of the board's, lies an image: :data:`HEADER`, which tells people and programs what
it is, and the weights in the order in which they are loaded.  The design holds the CRC of all of it.  So damage, a
missing image, another network's and one made for another engine are all noticed alike.
"""

import struct

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.crc import catalog
from amaranth.lib.wiring import In, Out
from tepal.quant import DIGEST_BYTES

__all__ = ["CRC", "HEADER", "MAGIC", "FlashLoader"]

MAGIC = b"TEPALWTS"

HEADER = struct.Struct(f"<{len(MAGIC)}sI{DIGEST_BYTES}s")
"""Magic, bytes of weights, identity of the network (:func:`tepal.quant.digest`)."""

CRC = catalog.CRC32_BZIP2
"""Taken bit by bit, in the order in which they leave the memory: highest first."""

_READ, _WAKE = 0x03, 0xAB
_COMMAND = 32
"""Bits of the command to read and its address."""


class FlashLoader(wiring.Component):
    """Fetches an image from a flash memory once after reset, and hands its weights on.

    The memory, which the FPGA's own start may have left asleep, is woken and read at half the clock's rate: four cycles
    for two bits.  If the CRC is another than ``image``'s, that is done again, up to :attr:`ATTEMPTS` times in all.

    Parameters
    ----------
    image
        From :func:`~tepal.hdl.plan.flash_image.flash_image`.
    offset
        Of the image in the memory, in bytes, up to 2 ** 24.
    header
        Bytes that the image begins with and that are not handed on.

    Members
    -------
    cs, clk, copi : Out(1), cipo : In(1)
        The memory's pins, mode 0; ``cs`` is high while it is selected.
    load_tdata, load_tvalid, load_tfirst : Out
        Weights, as an :class:`~tepal.hdl.accelerator.Accelerator` takes them.
    run : Out(1)
        All are there and right.
    failed : Out(1)
        They are not, and will not be.
    """

    ATTEMPTS = 4

    REST = 2048
    """Cycles before each command: 40 µs at 50 MHz.  A W25Q128 wakes in 3 µs, the slowest we know of in 30."""

    def __init__(self, image: bytes, offset: int, header: int = HEADER.size):
        self.image, self.offset, self.header = image, offset, header
        super().__init__({
            "cs": Out(1), "clk": Out(1), "copi": Out(1), "cipo": In(1),
            "load_tdata": Out(16), "load_tvalid": Out(1), "load_tfirst": Out(1), "run": Out(1), "failed": Out(1),
        })

    @classmethod
    def cycles(cls, image: bytes) -> int:
        """From reset to ``run``, at the first attempt."""
        return 2 * cls.REST + 2 * (8 + _COMMAND + 8 * len(image)) + 2

    def elaborate(self, platform):
        m = Module()
        m.submodules.checker = crc = CRC(data_width=1).create()
        expected = CRC(data_width=8).compute(self.image)
        first, bits = _COMMAND + 8 * self.header, _COMMAND + 8 * len(self.image)
        assert first == 1 << first.bit_length() - 1
        place = Signal(range(max(bits, self.REST)))
        awake, within, attempt = Signal(), Signal(), Signal(range(self.ATTEMPTS))
        word = Signal(16, reset_less=True)
        command = Mux(awake, Const(_READ << 24 | self.offset, _COMMAND)[::-1].bit_select(place[:5], 1),
                      Const(_WAKE, 8)[::-1].bit_select(place[:3], 1))
        m.d.comb += [
            self.copi.eq(command), crc.start.eq(~within), crc.valid.eq(within & self.clk), crc.data.eq(self.cipo),
            # The byte that came first is the higher one here, and the lower one of what is loaded.
            self.load_tdata.eq(Cat(word[8:], word[:8])),
        ]
        # A place lasts two cycles, and what is to be known of it in the second one is found in the first; so is what
        # must be known of a rest's last cycle, and of the CRC.
        ends, full, begins, addressed, rested, right = Signal(), Signal(), Signal(), Signal(), Signal(), Signal()
        m.d.sync += [
            self.load_tvalid.eq(0), ends.eq(place == Mux(awake, bits - 1, 7)), addressed.eq(place == _COMMAND - 1),
            full.eq((place[:4] == 15) & (place >= first)), begins.eq(place == first + 15),
            rested.eq(place == self.REST - 2), right.eq(crc.crc == expected),
        ]
        with m.FSM(name="state"):
            with m.State("REST"):
                m.d.sync += place.eq(place + 1)
                with m.If(rested):
                    m.d.sync += [place.eq(0), self.cs.eq(1)]
                    m.next = "SHIFT"
            with m.State("SHIFT"):
                m.d.sync += self.clk.eq(~self.clk)
                with m.If(self.clk):
                    # What the memory put out at the last falling edge is taken at this one, a whole period later.
                    m.d.sync += [word.eq(Cat(self.cipo, word)), place.eq(place + 1),
                                 self.load_tvalid.eq(full), self.load_tfirst.eq(begins)]
                    with m.If(awake & addressed):
                        m.d.sync += within.eq(1)
                    with m.If(ends):
                        m.d.sync += [place.eq(0), self.cs.eq(0), within.eq(0), awake.eq(~awake)]
                        m.next = "REST"
                        with m.If(awake):
                            m.next = "CHECK"
            with m.State("CHECK"):
                # The CRC begins anew at the end of this cycle.
                m.next = "DECIDE"
            with m.State("DECIDE"):
                m.d.sync += attempt.eq(attempt + 1)
                m.next = "REST"
                with m.If(right):
                    m.next = "LOADED"
                with m.Elif(attempt == self.ATTEMPTS - 1):
                    m.next = "FAILED"
            with m.State("LOADED"):
                m.d.comb += self.run.eq(1)
            with m.State("FAILED"):
                m.d.comb += self.failed.eq(1)
        return m
