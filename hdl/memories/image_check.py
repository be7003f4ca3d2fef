# SPDX-License-Identifier: Apache-2.0
"""Whether what an external memory holds is the image of weights that a design was made with."""

import zlib

from amaranth import *
from amaranth.lib import enum, wiring
from amaranth.lib.wiring import In, Out

from .weight_image import BEAT_BYTES, BLOCK, WeightImage

__all__ = ["ImageCheck", "WeightError"]


class WeightError(enum.Enum, shape=2):
    """What keeps an engine from its weights."""

    NONE = 0
    OTHER_IMAGE = 1
    """The header is another: there is no image, or it is another network's, engine's or version's."""
    DAMAGED = 2
    """The header is right, and what lies behind it is not."""
    MEMORY = 3
    """The memory answered with an error."""


class ImageCheck(wiring.Component):
    """Watches all beats of an image go by, one in a cycle at most, and tells whether they are ``image``'s.

    The header and the whole are told by their CRC-32: any change of up to 32 bits in a row is noticed, and of all
    others all but one in 2 ** 32.  The verdict is there two cycles after the beat that it depends on, and stays.

    Parameters
    ----------
    image
        What the memory should hold.

    Members
    -------
    beat : In(64), valid : In(1)
        The image, padding too.
    right : Out(1)
        All beats have gone by, and they were right.
    error : Out(:class:`WeightError`)
        They are not: ``OTHER_IMAGE`` after the header, ``DAMAGED`` after the last beat.
    """

    LATENCY = 2
    """Cycles from a beat to the verdict."""

    def __init__(self, image: WeightImage):
        self.image = image
        super().__init__({"beat": In(8 * BEAT_BYTES), "valid": In(1), "right": Out(1), "error": Out(WeightError)})

    def elaborate(self, platform):
        m = Module()
        # What zlib calls the CRC is the complement of this.
        register, summed = Signal(32, init=~0), Signal(32 + 8 * BEAT_BYTES)
        count, header, whole = Signal(range(self.image.beats)), Signal(), Signal()
        m.d.sync += [header.eq(self.valid & (count == BLOCK // BEAT_BYTES - 1)),
                     whole.eq(self.valid & (count == self.image.beats - 1))]
        m.d.comb += summed.eq(Cat(register, self.beat))
        with m.If(self.valid):
            m.d.sync += [count.eq(count + 1), register.eq(Cat((summed & chosen).xor() for chosen in _next_bits()))]
        equal = ~register == Mux(whole, Const(self.image.crc, 32), Const(self.image.header_crc, 32))
        with m.If(self.error == WeightError.NONE):
            with m.If(header & ~equal):
                m.d.sync += self.error.eq(WeightError.OTHER_IMAGE)
            with m.If(whole):
                m.d.sync += self.right.eq(equal)
                with m.If(~equal):
                    m.d.sync += self.error.eq(WeightError.DAMAGED)
        return m


def _next_bits() -> list[int]:
    """For each bit of the register, after a beat: of which bits of register and beat (bit 32 and up) it is the sum."""
    def step(bits: int) -> int:
        register, beat = bits & 0xFFFF_FFFF, bits >> 32
        return ~zlib.crc32(beat.to_bytes(BEAT_BYTES, "little"), register ^ 0xFFFF_FFFF)

    # A CRC is linear: what a single bit does tells all.
    effects = [step(1 << bit) for bit in range(32 + 8 * BEAT_BYTES)]
    return [sum((effect >> bit & 1) << place for place, effect in enumerate(effects)) for bit in range(32)]
