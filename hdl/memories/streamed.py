# SPDX-License-Identifier: Apache-2.0
"""Memories of weights that are loaded, a beat of a stream at a time, while others of their words are read."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from tepal.hdl.primitives import bits_for, relayed

from .block import Ram

__all__ = ["BEAT", "NARROW_BEAT", "ScatteredRam", "StreamedRom", "beats_of", "narrow_beat"]

BEAT = 64
"""Bits of a beat of the stream.  A word is a whole number of beats, the lowest bits first."""

NARROW_BEAT = 36
"""Bits of a beat that count where its memory is to be a single block of an ECP5, whose widest words have so many."""


def beats_of(width: int, beat: int = BEAT) -> int:
    """Beats of a word of ``width`` bits, of so many that count."""
    return -(-width // beat)


def narrow_beat(width: int) -> int:
    """Bits that count of the beats of few words of ``width`` bits: as few as make for fewer memory blocks."""
    blocks = width // BEAT * beats_of(BEAT, NARROW_BEAT) + beats_of(width % BEAT, NARROW_BEAT)
    return NARROW_BEAT if beats_of(width, NARROW_BEAT) < blocks else BEAT


class ScatteredRam(wiring.Component):
    """A :class:`~tepal.hdl.memories.block.Ram` whose blocks lie all over the part.

    Its words are cut into slices, each of which is told what to read and write by registers of its own, a cycle later.

    Parameters
    ----------
    width, depth, granularity, registers
        As of a Ram.

    Members
    -------
    write_address, write_data, write_enable, read_address, read_data
        As a Ram has them.
    """

    SLICE = 32
    """Bits of a slice, where words are a multiple of it: half the width of usual words, which takes as many blocks."""

    LATENCY = 1
    """Cycles by which all is later than in a Ram."""

    def __init__(self, width: int, depth: int, granularity: int | None = None, registers: int = 0):
        self.width, self.depth, self.granularity, self.registers = width, depth, granularity or width, registers
        super().__init__({
            "write_address": In(bits_for(depth)), "write_data": In(width),
            "write_enable": In(width // self.granularity),
            "read_address": In(bits_for(depth)), "read_data": Out(width)})

    def elaborate(self, platform):
        m = Module()
        width = self.SLICE if self.width % self.SLICE == 0 else self.width
        granularity = min(width, self.granularity)
        data = []
        for number, first in enumerate(range(0, self.width, width)):
            m.submodules[f"slice_{number}"] = part = Ram(width, self.depth, granularity, self.registers)
            enable = self.write_enable[first // self.granularity:][:len(part.write_enable)]
            write = Cat(enable, self.write_address, self.write_data[first:first + width])
            m.d.comb += [Cat(part.write_enable, part.write_address, part.write_data).eq(
                             relayed(m, write, self.LATENCY, name=f"write_{number}")),
                         part.read_address.eq(relayed(m, self.read_address, self.LATENCY, name=f"read_{number}"))]
            data.append(part.read_data)
        m.d.comb += self.read_data.eq(Cat(data))
        return m


class StreamedRom(wiring.Component):
    """Reads as a :class:`~tepal.hdl.memories.block.Rom` does, and is written by a stream.

    Parameters
    ----------
    width, depth
        Bits of a word, number of words.
    registers, relays
        Cycles from address to data are one and these.
    late
        Cycles by which a word is written later: through registers that :attr:`NEIGHBOURS` beats share, and in the last
        of these cycles through registers of each beat's own memory.
    beat
        Bits that come in a beat.
    logic
        As of a :class:`~tepal.hdl.memories.block.Ram`.  What such a memory is made of lies all over the part: one of
        the ``registers`` holds each beat's address then, in place of its data.

    Members
    -------
    address, data
        As a ROM has them.
    write_address, write_data, write_enable
        Which beats of which word are written.
    """

    NEIGHBOURS = 4
    """Beats whose memories lie near each other, so that the same registers lead to all of them."""

    def __init__(self, width: int, depth: int, registers: int = 0, relays: int = 0, *, late: int = 0,
                 beat: int = BEAT, logic: bool = False):
        self.logic = logic
        self.width, self.depth, self.registers, self.relays = width, depth, registers, relays
        self.late, self.beat = late, beat
        super().__init__({
            "address": In(bits_for(depth)), "data": Out(width),
            "write_address": In(bits_for(depth)), "write_data": In(beat), "write_enable": In(-(-width // beat)),
        })

    def elaborate(self, platform):
        m = Module()
        parts, own = [], int(self.logic and self.registers > 0)
        for first in range(0, len(self.write_enable), self.NEIGHBOURS):
            enables = self.write_enable[first:first + self.NEIGHBOURS]
            near = relayed(m, Cat(self.write_address, self.write_data, enables), self.late - 1, name=f"near_{first}")
            word, enables = near[:-len(enables)], near[-len(enables):]
            for beat in range(first, first + len(enables)):
                # A memory for each beat: none has more bits than there are.
                width = min(self.beat, self.width - beat * self.beat)
                m.submodules[f"beat_{beat}"] = part = Ram(width, self.depth, registers=self.registers - own,
                                                             logic=self.logic)
                write = Cat(enables[beat - first], word[:len(self.write_address) + width])
                m.d.comb += [Cat(part.write_enable, part.write_address, part.write_data).eq(
                                 relayed(m, write, min(self.late, 1), name=f"write_{beat}")),
                             part.read_address.eq(relayed(m, self.address, self.relays + own, name=f"read_{beat}"))]
                parts.append(part.read_data)
        m.d.comb += self.data.eq(Cat(parts))
        return m
