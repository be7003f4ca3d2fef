"""Memories and multipliers, and the ways in which they appear.

Memories are Amaranth's own for its simulator and for a board's build, and instances of the Verilog modules in
``primitives.v`` for export, where contents come from ``.hex`` files by ``$readmemh``.  (Amaranth writes a memory's
contents into Verilog row by row, which synthesis tools read in quadratic time.)  Multipliers and adders are plain
expressions, and a vendor's cells where the platform is a part that has them.
"""

from typing import Any

from amaranth import *
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["LogicMultiplier", "Ram", "Relay", "ReplayRom", "Rom", "VerilogExport", "bits_for", "delay",
           "delay_events", "gated_sum", "is_ecp5", "modular_sum", "part_depths", "pipelined_sum", "stream_of"]


class VerilogExport:
    """Stands in place of a platform where Verilog is made; collects ROM contents by file name.

    ``roms`` maps a file name to (width in bits, list of words)."""

    def __init__(self):
        self.roms: dict[str, tuple[int, list[int]]] = {}


def bits_for(count: int) -> int:
    """Bits of an index into ``count`` things, at least one."""
    return max(1, (count - 1).bit_length())


def stream_of(shape, **options) -> stream.Signature:
    """A stream of ``shape``.  (Type checkers don't see that integers and layouts are shapes to Amaranth.)"""
    return stream.Signature(shape, **options)


def delay_events(m: Module, event, value, cycles: int, spacing: int, *, name: str):
    """(``event``, ``value``) of ``cycles`` ago, the latter only where there is an event.

    Events are at least ``spacing`` cycles apart: a register holds each for so long, instead of one for every cycle."""
    held = 0
    value = Value.cast(value)
    while held < cycles:
        register = Signal(value.shape(), name=f"{name}_{held}", reset_less=True)
        with m.If(event):
            m.d.sync += register.eq(value)
        value = register
        step = min(spacing, cycles - held)
        event = delay(m, event, step, name=f"{name}_event_{held}")
        held += step
    return event, value


def delay(m: Module, signal, cycles: int, *, name: str):
    """``signal`` as it was ``cycles`` clock cycles ago.

    A single bit is taken for control and cleared by a reset, so that no event from before it arrives after it;
    anything wider is data and needs none."""
    for i in range(cycles):
        register = Signal.like(signal, name=f"{name}_d{i + 1}", reset_less=len(signal) > 1)
        m.d.sync += register.eq(signal)
        signal = register
    return signal


def is_ecp5(platform) -> bool:
    """Whether the design is being made for a Lattice ECP5, whose primitives are worth naming."""
    return getattr(platform, "device", "").startswith("LFE5")


def _carry_chain(m: Module, table: int, bits):
    """Bits of an ECP5 carry chain of cells CCU2C, two bits a cell.

    ``bits`` are (A, B, C, D) from the lowest; ``table`` is their truth table, whose value is the sum without
    carry, and with C and D at zero the carry that a bit without propagation makes."""
    bits = list(bits)
    sums = Signal(len(bits) + len(bits) % 2)
    zero = (Const(0, 1),) * 4
    carry = Const(0, 1)
    for i in range(0, len(bits), 2):
        low, high = bits[i], bits[i + 1] if i + 1 < len(bits) else zero
        leaving = Signal()
        ports: dict[str, Any] = {f"i_{name}{half}": bit for half, four in enumerate((low, high))
                                 for name, bit in zip("ABCD", four, strict=True)}
        ports |= {f"p_INIT{half}": Const(table, 16) for half in range(2)}
        m.submodules += Instance("CCU2C", **ports, p_INJECT1_0="NO", p_INJECT1_1="NO", i_CIN=carry,
                                 o_S0=sums[i], o_S1=sums[i + 1], o_COUT=leaving)
        carry = leaving
    return sums[:len(bits)]


def _row_pair(m: Module, platform, a, pair):
    """``a * pair`` of a signed value and two bits, as one carry chain: two rows of a multiplication."""
    if not is_ecp5(platform):
        return (Mux(pair[0], a, 0) + (Mux(pair[1], a, 0) << 1))[:len(a) + 2].as_signed()
    wide = Cat(a, a[-1].replicate(2))
    return _carry_chain(m, 0x7888, ((wide[i], pair[0], wide[i - 1] if i else Const(0, 1), pair[1])
                                    for i in range(len(wide)))).as_signed()


def gated_sum(m: Module, platform, a, keep, b):
    """``(a if keep else 0) + b`` of signed values, as wide as ``a``: an accumulator's sum, one cell a bit where the
    part has such."""
    if not is_ecp5(platform):
        # In this form the choice and the adder share a LUT.
        return Mux(keep, a + b, b)[:len(a)].as_signed()
    wide = Cat(b, b[-1].replicate(max(0, len(a) - len(b))))
    return _carry_chain(m, 0x7878, ((a[i], keep, wide[i], Const(0, 1)) for i in range(len(a)))).as_signed()


def modular_sum(m: Module, a, b, modulus: int, *, name: str):
    """((a + b) mod ``modulus``, whether it wrapped) of two remainders, as tables: adders have a long way."""
    total, wrapped = Signal(range(max(2, modulus)), name=f"{name}_remainder"), Signal(name=f"{name}_wrapped")
    with m.Switch(Cat(a, b)):
        for i in range(min(modulus, 1 << len(a))):
            for j in range(min(modulus, 1 << len(b))):
                with m.Case(i | j << len(a)):
                    m.d.comb += [total.eq((i + j) % modulus), wrapped.eq(i + j >= modulus)]
    return total, wrapped


def pipelined_sum(m: Module, terms, *, name: str):
    """Sum of signed values, each shifted left, by a tree of registered adders: (signal, latency in cycles).

    ``terms`` are (value, shift) with shifts that don't fall."""
    latency = 0
    while len(terms) > 1:
        sums = []
        for i in range(0, len(terms), 2):
            value, low = terms[i]
            if i + 1 < len(terms):
                # What lies below the higher term's lowest bit needs no adder.
                other, high = terms[i + 1]
                value = Cat(value[:high - low], (value >> (high - low)) + other).as_signed()
            register = Signal(value.shape(), name=f"{name}_l{latency}_{i // 2}", reset_less=True)
            m.d.sync += register.eq(value)
            sums.append((register, low))
        terms, latency = sums, latency + 1
    value, low = terms[0]
    return Cat(C(0, low), value).as_signed() if low else value, latency


class LogicMultiplier(wiring.Component):
    """``product = a * b`` of a signed and an unsigned value, made of logic, pipelined.

    A part's multipliers belong to the systolic array; tools would spend them on any other product too.  Two bits
    of ``b`` make a row, a carry chain; the rows are added by a tree.  A row and its sum with another would be two carry
    chains in a cycle, so rows have registers of their own.

    Members
    -------
    a : In(signed(a)), b : In(b)
    product : Out(signed(a + b))
        ``latency(b)`` cycles later.
    """

    def __init__(self, a: int, b: int):
        super().__init__({"a": In(signed(a)), "b": In(b), "product": Out(signed(a + b))})

    @staticmethod
    def rows(m: Module, platform, a, b):
        """Partial products of the cycle before, as :func:`pipelined_sum` takes them."""
        return [(delay(m, _row_pair(m, platform, a, Cat(b[low:low + 2], C(0, 1))[:2]), 1, name=f"row_{low}"), low)
                for low in range(0, len(b), 2)]

    @staticmethod
    def latency(b: int) -> int:
        """Cycles from the operands to the product: registers of its own, for operands come from afar, rows, tree."""
        return 2 + (-(-b // 2) - 1).bit_length()

    def elaborate(self, platform):
        m = Module()
        a, b = (delay(m, value, 1, name=name) for name, value in (("a", self.a), ("b", self.b)))
        total, _ = pipelined_sum(m, self.rows(m, platform, a.as_signed(), b), name="product")
        m.d.comb += self.product.eq(total)
        return m


PART = 2048
"""Words of an ECP5's memory block where they are a byte wide; no other part's blocks have more."""

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


class Relay(wiring.Component):
    """A word a cycle later, in a module of its own: equal registers of one module are made once."""

    def __init__(self, width: int):
        super().__init__({"word": In(width), "late": Out(width)})

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.late.eq(delay(m, self.word, 1, name="late"))
        return m


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
    """

    def __init__(self, name: str, width: int, words: list[int], registers: int = 0, relays: int = 0):
        self.name, self.width, self.words, self.registers, self.relays = name, width, words, registers, relays
        super().__init__({"address": In(bits_for(len(words))), "data": Out(width)})

    def elaborate(self, platform):
        m = Module()
        parts = []
        if isinstance(platform, VerilogExport):
            # One file, whatever tool will read it.
            platform.roms[f"{self.name}.hex"] = (self.width, self.words)
            parts.append(Signal(self.width, name="word"))
            m.submodules.memory = Instance(
                "tepal_rom", p_WIDTH=self.width, p_DEPTH=len(self.words), p_ADDRESS_BITS=len(self.address),
                p_FILE=f"{self.name}.hex", i_clk=ClockSignal(), o_data=parts[0],
                i_address=delay(m, self.address, self.relays, name="relayed"))
        depths = part_depths(self.width, len(self.words), self.registers)
        for i, depth in enumerate(depths if not parts else ()):
            first = sum(depths[:i])
            m.submodules[f"part_{i}"] = contents = memory.Memory(
                shape=unsigned(self.width), depth=depth, init=self.words[first:first + depth])
            port = contents.read_port()
            address = self.address[:bits_for(depth)]
            for number in range(self.relays):
                m.submodules[f"relay_{i}_{number}"] = relay = Relay(len(address))
                m.d.comb += relay.word.eq(address)
                address = relay.late
            m.d.comb += port.addr.eq(address)
            parts.append(port.data)
        address = delay(m, self.address, self.relays, name="address")
        m.d.comb += self.data.eq(_joined(m, parts, depths, address, self.registers))
        return m


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
    """

    def __init__(self, width: int, depth: int, granularity: int | None = None, registers: int = 0):
        self.width, self.depth, self.granularity, self.registers = width, depth, granularity or width, registers
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
            if platform is None:
                m.submodules[f"part_{i}"] = contents = memory.Memory(
                    shape=unsigned(self.width), depth=depth, init=[])
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
    passage's first word again; ``commit``, the word behind it, where a new passage begins; ``restart``, the
    very first word.  ``data`` is :meth:`latency` cycles behind.

    One layer's weights are a passage, replayed for every tile.  ``rom`` may be given where it is no plain one: which
    word is current is then unknown until a ``restart``."""

    def __init__(self, name: str, width: int, words: list[int], registers: int = 0, relays: int = 0, rom=None):
        self.rom, self.begins = rom or Rom(name, width, words, registers, relays), rom is None
        super().__init__({"advance": In(1), "rewind": In(1), "commit": In(1), "restart": In(1),
                          "data": Out(width)})

    @staticmethod
    def latency(registers: int, relays: int = 0) -> int:
        """Cycles by which ``data`` is behind the current word; ``registers`` and ``relays`` as in :class:`Rom`."""
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
                m.d.sync += first.eq(after)
            with m.Elif(self.rewind):
                m.d.sync += here.eq(first)
        return m
