# SPDX-License-Identifier: Apache-2.0
"""Memories of weights that are loaded, a beat of a stream at a time, while others of their words are read."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from tepal.hdl.primitives import bits_for, delay

from .block import Ram

__all__ = ["BEAT", "StreamedRom", "beats_of"]

BEAT = 64
"""Bits of a beat of the stream.  A word is a whole number of beats, the lowest bits first."""


def beats_of(width: int) -> int:
    """Beats of a word of ``width`` bits."""
    return -(-width // BEAT)


class StreamedRom(wiring.Component):
    """Reads as a :class:`~tepal.hdl.memories.block.Rom` does, and is written by a stream.

    Parameters
    ----------
    width, depth
        Bits of a word, number of words.
    registers, relays
        Cycles from address to data are one and these.
    beat
        Bits that come in a beat.

    Members
    -------
    address, data
        As a ROM has them.
    write_address, write_data, write_enable
        Which beats of which word are written.
    """

    def __init__(self, width: int, depth: int, registers: int = 0, relays: int = 0, *, beat: int = BEAT):
        self.width, self.depth, self.registers, self.relays, self.beat = width, depth, registers, relays, beat
        super().__init__({
            "address": In(bits_for(depth)), "data": Out(width),
            "write_address": In(bits_for(depth)), "write_data": In(beat), "write_enable": In(-(-width // beat)),
        })

    def elaborate(self, platform):
        m = Module()
        address, parts = delay(m, self.address, self.relays, name="address"), []
        for beat in range(len(self.write_enable)):
            # A memory for each beat: none has more bits than there are.
            width = min(self.beat, self.width - beat * self.beat)
            m.submodules[f"beat_{beat}"] = part = Ram(width, self.depth, registers=self.registers)
            m.d.comb += [part.write_address.eq(self.write_address), part.write_data.eq(self.write_data[:width]),
                         part.write_enable.eq(self.write_enable[beat]), part.read_address.eq(address)]
            parts.append(part.read_data)
        m.d.comb += self.data.eq(Cat(parts))
        return m
