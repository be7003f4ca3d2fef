# SPDX-License-Identifier: Apache-2.0
"""Large single-port memories that come up blank: iCE40 UltraPlus' SB_SPRAM256KA, or what a tool makes of the twin."""

from amaranth import *
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out
from amaranth.vendor import SiliconBluePlatform
from tepal.hdl.primitives import VerilogExport, bits_for, delay

__all__ = ["LoadedRom", "RegionRam", "SinglePortRam"]

_WORD = 16
"""Bits of a word of the vendor's block."""

_DEPTH = 16384
"""Words of the vendor's block."""


class SinglePortRam(wiring.Component):
    """Memory with one port: in each cycle a write or a read, whose data comes a cycle later.

    Parameters
    ----------
    width, depth
        Bits of a word, number of words.
    granularity
        Bits that one bit of ``write_enable`` stands for: divides ``width``; a multiple of 4, or ``width``.
    """

    def __init__(self, width: int, depth: int, granularity: int | None = None):
        self.width, self.depth, self.granularity = width, depth, granularity or width
        super().__init__({"address": In(bits_for(depth)), "write_data": In(width),
                          "write_enable": In(width // self.granularity), "read_data": Out(width)})

    def elaborate(self, platform):
        m = Module()
        if isinstance(platform, SiliconBluePlatform):
            self._blocks(m)
        elif isinstance(platform, VerilogExport):
            m.submodules.memory = Instance(
                "tepal_single_port_ram", p_WIDTH=self.width, p_DEPTH=self.depth, p_GRANULARITY=self.granularity,
                p_ADDRESS_BITS=len(self.address), i_clk=ClockSignal(), i_address=self.address,
                i_write_data=self.write_data, i_write_enable=self.write_enable, o_read_data=self.read_data)
        else:
            m.submodules.memory = contents = memory.Memory(shape=unsigned(self.width), depth=self.depth, init=[])
            write, read = contents.write_port(granularity=self.granularity), contents.read_port()
            m.d.comb += [write.addr.eq(self.address), read.addr.eq(self.address), write.en.eq(self.write_enable),
                         write.data.eq(self.write_data), read.en.eq(self.write_enable == 0),
                         self.read_data.eq(read.data)]
        return m

    def _blocks(self, m: Module):
        rows = -(-self.depth // _DEPTH)
        columns = -(-self.width // _WORD)
        writing = self.write_enable != 0
        nibbles = Cat(enable.replicate(-(-self.granularity // 4)) for enable in self.write_enable)
        chosen = Signal(range(max(2, rows)))
        row = self.address[_DEPTH.bit_length() - 1:]
        m.d.sync += chosen.eq(row)
        outputs = []
        for index in range(rows):
            here = row == index if rows > 1 else 1
            words = []
            for column in range(columns):
                word = Signal(_WORD, name=f"word_{index}_{column}")
                m.submodules[f"block_{index}_{column}"] = Instance(
                    "SB_SPRAM256KA", i_CLOCK=ClockSignal(), i_ADDRESS=Cat(self.address, C(0, 14))[:14],
                    i_DATAIN=Cat(self.write_data, C(0, _WORD))[_WORD * column:_WORD * (column + 1)],
                    i_MASKWREN=Cat(nibbles, C(0, 4))[4 * column:4 * (column + 1)],
                    i_WREN=writing & here, i_CHIPSELECT=1, i_STANDBY=0, i_SLEEP=0, i_POWEROFF=1, o_DATAOUT=word)
                words.append(word)
            outputs.append(Cat(*words)[:self.width])
        m.d.comb += self.read_data.eq(Array(outputs)[chosen] if rows > 1 else outputs[0])


class RegionRam(wiring.Component):
    """Several :class:`SinglePortRam` as one memory with a write and a read port, which are never in the same one at
    once.

    Parameters
    ----------
    width, depth, granularity
        As of a :class:`~tepal.hdl.memories.block.Ram`.
    base
        Words of each region but the last, a power of two; ``depth`` if there is but one.
    registers
        Cycles from address to data are one and these.
    regions
        How many there are at most: the last one has what lies beyond the others.
    """

    def __init__(self, width: int, depth: int, base: int, granularity: int | None = None, registers: int = 0,
                 regions: int = 2):
        self.width, self.depth, self.base, self.granularity = width, depth, base, granularity or width
        self.registers, self.regions = registers, regions if depth > base else 1
        super().__init__({
            "write_address": In(bits_for(depth)), "write_data": In(width),
            "write_enable": In(width // self.granularity),
            "read_address": In(bits_for(depth)), "read_data": Out(width),
        })

    def elaborate(self, platform):
        m = Module()
        last = self.regions - 1
        last_depth = self.depth - last * self.base
        if last and last_depth > self.base:
            # Its addresses do not begin at zero then, but go round.
            last_depth = 1 << bits_for(last_depth)
        outputs = []
        for region, depth in enumerate([self.base] * last + [last_depth]):
            m.submodules[f"region_{region}"] = ram = SinglePortRam(self.width, depth, self.granularity)
            here = (self._region(self.write_address) == region) if last else 1
            enable = Mux(here, self.write_enable, 0)
            m.d.comb += [ram.write_data.eq(self.write_data), ram.write_enable.eq(enable),
                         ram.address.eq(Mux(enable.any(), self.write_address, self.read_address))]
            outputs.append(ram.read_data)
        read = Signal(range(max(2, self.regions)), name="upper" if self.regions <= 2 else "region")
        if last:
            m.d.sync += read.eq(self._region(self.read_address))
        chosen = Array(outputs)[read] if last > 1 else Mux(read, outputs[-1], outputs[0])
        m.d.comb += self.read_data.eq(delay(m, chosen, self.registers, name="read"))
        return m

    def _region(self, address):
        """The region of a word."""
        above = address[self.base.bit_length() - 1:]
        return above.any() if self.regions == 2 else Mux(above < self.regions - 1, above, self.regions - 1)


class LoadedRom(wiring.Component):
    """A ROM whose contents come from outside, 16 bits at a time, lowest first.

    Members
    -------
    address, data
        As of a :class:`~tepal.hdl.memories.block.Rom`.
    load : In(1), load_first : In(1), load_data : In(16)
        Write the next 16 bits; ``load_first`` beside it: the lowest of word 0.  At most every other cycle;
        ``load_data`` holds for the cycle after ``load`` too.
    advance : Out(1)
        These 16 bits are the lowest of a word, whose ``address`` must be there in the next cycle.
    """

    def __init__(self, width: int, depth: int, registers: int = 0):
        self.width, self.depth, self.registers = width, depth, registers
        self.parts = -(-width // _WORD)
        super().__init__({"address": In(bits_for(depth)), "data": Out(width), "load": In(1), "load_first": In(1),
                          "load_data": In(_WORD), "advance": Out(1)})

    @staticmethod
    def contents(width: int, words: list[int]) -> bytes:
        """``words`` in the order in which they are loaded."""
        return b"".join(word.to_bytes(-(-width // _WORD) * _WORD // 8, "little") for word in words)

    def elaborate(self, platform):
        m = Module()
        m.submodules.memory = ram = SinglePortRam(_WORD * self.parts, self.depth, _WORD)
        part, written = Signal(self.parts, init=1), Signal(self.parts)
        now = Mux(self.load_first, 1, part)
        m.d.comb += [ram.address.eq(self.address), self.advance.eq(self.load & now[0]),
                     self.data.eq(delay(m, ram.read_data, self.registers, name="read")),
                     ram.write_data.eq(self.load_data.replicate(self.parts)), ram.write_enable.eq(written)]
        m.d.sync += written.eq(Mux(self.load, now, 0))
        with m.If(self.load):
            m.d.sync += part.eq(Cat(now[-1], now)[:self.parts])
        return m
