# SPDX-License-Identifier: Apache-2.0
"""Memories in a part's memory blocks.

They are Amaranth's own for its simulator and for a board's build, and instances of the Verilog modules in
``primitives.v`` for export, where contents come from ``.hex`` files by ``$readmemh``.  (Amaranth writes a memory's
contents into Verilog row by row, which synthesis tools read in quadratic time.)
"""

from collections.abc import Iterable

from amaranth import *
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out
from amaranth.vendor import SiliconBluePlatform
from tepal.hdl.primitives import Relay, VerilogExport, bits_for, choices, delay

__all__ = ["PART", "Ram", "ReplayRom", "Rom", "memory_features", "part_depths"]

PART = 2048
"""Words of an ECP5's memory block where they are a byte wide; no other part's blocks have more."""

SHALLOW = 51
"""Most words of a memory that yosys makes of LUTs, as was seen of those that were counted, rather than leave more than
nine tenths of its blocks empty."""

_BLOCKS = {PART: 9, 1024: 18, 512: 36}
"""Bits of an ECP5's memory block by its words."""


def part_depths(width: int, depth: int, registers: int) -> list[int]:
    """Words of each part of a memory.

    With ``registers`` the blocks of a part lie side by side, so that a register behind each is one behind the part:
    those parts that take the fewest blocks, and as few as do.  Larger ones come first."""
    if not registers:
        return [min(PART, depth - first) for first in range(0, depth, PART)]
    units = -(-depth // 512)
    choices = [(a, b, max(0, units - 4 * a - 2 * b)) for a in range(units // 4 + 2) for b in range(units // 2 + 2)]

    def cost(choice):
        return sum(n * -(-width // bits) for n, bits in zip(choice, _BLOCKS.values(), strict=True)), sum(choice)

    sizes = [size for size, n in zip(_BLOCKS, min(choices, key=cost), strict=True) for _ in range(n)]
    return [min(size, depth - sum(sizes[:i])) for i, size in enumerate(sizes)]


def memory_features(memories: Iterable[tuple[int, int]]) -> dict[str, int]:
    """Features for the LUT estimate of ``memories``, pairs of bits of a word and number of words.  Beside its blocks a
    memory takes a register behind each one's word, and the choice between its parts if it is deep."""
    memories = [*memories]
    widths = [(width, -(-depth // PART)) for width, depth in memories]
    return {"bits": sum(width for width, _ in widths),
            "bits of shallow ones": sum(width for width, depth in memories if depth <= SHALLOW),
            "bits to choose from": sum(width * int(choices(parts)) for width, parts in widths)}


def _part_of(depths: list[int], address):
    """The number of the part in which a word is: parts begin at multiples of the smallest before the last."""
    unit = min(depths[:-1])
    numbers = [i for i, depth in enumerate(depths) for _ in range(-(-depth // unit))]
    place = address[bits_for(unit):]
    return place if numbers == list(range(len(depths))) else Array(numbers)[place]


def _joined(m: Module, parts: list, depths: list[int], address, registers: int):
    """The word out of several parts of a memory, ``registers`` cycles after it was read."""
    parts = [delay(m, part, registers, name=f"part_{i}") for i, part in enumerate(parts)]
    if not parts[1:]:
        return parts[0]
    return Array(parts)[delay(m, _part_of(depths, address), 1 + registers, name="part")]


class Rom(wiring.Component):
    """Read-only memory, one port.

    Parameters
    ----------
    name
        Of the ``.hex`` file in the export.
    width
        Bits of a word.
    words
        Contents, unsigned integers; at least one.
    registers
        Cycles from address to data are one and these.  A register fits into a memory block; with one, words may
        come from several blocks in time.
    relays
        Cycles more, in which the address gets to each part of a large memory by registers of its own.
    slices
        Parts of equal width into which words are cut, to each of which the address comes by such registers, too: where
        few wide words are made of LUTs, these lie all over the part.
    logic
        Make it of LUTs.
    """

    def __init__(self, name: str, width: int, words: list[int], registers: int = 0, relays: int = 0, slices: int = 1,
                 *, logic: bool = False):
        self.name, self.width, self.words, self.registers, self.relays = name, width, words, registers, relays
        self.slices, self.logic = slices, logic
        super().__init__({"address": In(bits_for(len(words))), "data": Out(width)})

    def elaborate(self, platform):
        m = Module()
        parts = []
        if isinstance(platform, VerilogExport):
            # The file holds all words: into how many blocks they go is for the tool to decide that reads it.
            platform.roms[f"{self.name}.hex"] = (self.width, self.words)
            parts.append(Signal(self.width, name="word"))
            m.submodules.memory = Instance(
                "tepal_rom", p_WIDTH=self.width, p_DEPTH=len(self.words), p_ADDRESS_BITS=len(self.address),
                p_FILE=f"{self.name}.hex", i_clk=ClockSignal(), o_data=parts[0],
                i_address=delay(m, self.address, self.relays, name="relayed"))
        depths = part_depths(self.width, len(self.words), self.registers)
        for i, depth in enumerate(depths if not parts else ()):
            first = sum(depths[:i])
            words = self.words[first:first + depth]
            parts.append(Cat(self._read(m, f"{i}_{number}" if self.slices > 1 else f"{i}", words, number)
                             for number in range(self.slices)))
        address = delay(m, self.address, self.relays, name="address")
        m.d.comb += self.data.eq(_joined(m, parts, depths, address, self.registers))
        return m

    def _read(self, m: Module, name: str, words: list[int], number: int):
        """Slice ``number`` of the one of these ``words`` that is read."""
        width = self.width // self.slices
        m.submodules[f"part_{name}"] = contents = memory.Memory(
            shape=unsigned(width), depth=len(words),
            init=[word >> width * number & (1 << width) - 1 for word in words] if self.slices > 1 else words,
            attrs={"ram_style": "logic"} if self.logic else {})
        port = contents.read_port()
        address = self.address[:bits_for(len(words))]
        for stage in range(self.relays):
            m.submodules[f"relay_{name}_{stage}"] = relay = Relay(len(address))
            m.d.comb += relay.word.eq(address)
            address = relay.late
        m.d.comb += port.addr.eq(address)
        return port.data


class Ram(wiring.Component):
    """Memory with one write and one read port.

    A read of the word that is being written gives anything: the schedule never does it.

    Parameters
    ----------
    width, depth
        Bits of a word, number of words.
    granularity
        Bits that one bit of ``write_enable`` stands for; divides ``width``.
    registers
        As in :class:`Rom`.
    logic
        Make it of LUTs, where the part has memories of LUTs.
    """

    def __init__(self, width: int, depth: int, granularity: int | None = None, registers: int = 0, *,
                 logic: bool = False):
        self.width, self.depth, self.granularity, self.registers = width, depth, granularity or width, registers
        self.logic = logic
        super().__init__({
            "write_address": In(bits_for(depth)),
            "write_data": In(width),
            "write_enable": In(width // self.granularity),
            "read_address": In(bits_for(depth)),
            "read_data": Out(width),
        })

    def elaborate(self, platform):
        m = Module()
        parts, depths = [], part_depths(self.width, self.depth, self.registers)
        for i, depth in enumerate(depths):
            bits = bits_for(depth)
            here = _part_of(depths, self.write_address) == i if depths[1:] else 1
            enable = Mux(here, self.write_enable, 0)
            write, read = self.write_address[:bits], self.read_address[:bits]
            if platform is None or (self.logic and not isinstance(platform, SiliconBluePlatform)):
                m.submodules[f"part_{i}"] = contents = memory.Memory(
                    shape=unsigned(self.width), depth=depth, init=[],
                    attrs={"ram_style": "distributed"} if self.logic else {})
                write_port, read_port = contents.write_port(granularity=self.granularity), contents.read_port()
                m.d.comb += [write_port.addr.eq(write), write_port.data.eq(self.write_data),
                             write_port.en.eq(enable), read_port.addr.eq(read)]
                data = read_port.data
            else:
                data = Signal(self.width, name=f"word_{i}")
                m.submodules += Instance(
                    "tepal_ram", p_WIDTH=self.width, p_DEPTH=depth, p_GRANULARITY=self.granularity,
                    p_ADDRESS_BITS=bits, i_clk=ClockSignal(), i_write_address=write, i_write_data=self.write_data,
                    i_write_enable=enable, i_read_address=read, o_read_data=data)
            parts.append(data)
        m.d.comb += self.read_data.eq(_joined(m, parts, depths, self.read_address, self.registers))
        return m


class ReplayRom(wiring.Component):
    """A ROM read front to back, a passage at a time, each passage as often as it is wanted.

    With ``advance`` the next word becomes the current one, or, with one of these beside it: ``rewind``, the
    passage's first word again; ``commit``, the word after it, where a new passage begins; ``restart``, the
    very first word.  ``data`` follows :meth:`latency` cycles later.

    One layer's weights are a passage, replayed for every tile.  With ``jumps`` a new passage begins anywhere: at the
    word ``base``, another input, beside ``commit``.  ``rom`` may be given where it is no plain one; unless it
    ``begins`` with its first word, which word is current is unknown until a ``restart``."""

    def __init__(self, name: str, width: int, words: list[int], registers: int = 0, relays: int = 0, rom=None, *,
                 jumps: bool = False, begins: bool = True):
        self.rom, self.begins, self.jumps = rom or Rom(name, width, words, registers, relays), begins, jumps
        super().__init__({"advance": In(1), "rewind": In(1), "commit": In(1), "restart": In(1),
                          "data": Out(width), **({"base": In(len(self.rom.address))} if jumps else {})})

    @staticmethod
    def latency(registers: int, relays: int = 0) -> int:
        """Cycles from a word's turn to its ``data``; ``registers`` and ``relays`` as in :class:`Rom`."""
        return 1 + registers + relays

    def elaborate(self, platform):
        m = Module()
        m.submodules.rom = rom = self.rom
        # The address is a register of its own: memories are far away.
        here, first, after = (Signal.like(rom.address, name=name, reset_less=not self.begins)
                              for name in ("here", "first", "after"))
        m.d.comb += [after.eq(here + 1), rom.address.eq(here), self.data.eq(rom.data)]
        with m.If(self.advance):
            m.d.sync += here.eq(after)
            with m.If(self.restart):
                m.d.sync += [here.eq(0), first.eq(0)]
            with m.Elif(self.commit):
                m.d.sync += [here.eq(self.base), first.eq(self.base)] if self.jumps else [first.eq(after)]
            with m.Elif(self.rewind):
                m.d.sync += here.eq(first)
        return m
