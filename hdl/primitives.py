"""Memories and small multipliers, and the two ways in which they appear: Amaranth's own for its simulator, and
instances of the Verilog modules in ``primitives.v`` for export, where contents come from ``.hex`` files by
``$readmemh``.

(Amaranth writes a memory's contents into Verilog row by row, which synthesis tools read in quadratic time.)
"""

from amaranth import *
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["LogicMultiplier", "Ram", "ReplayRom", "Rom", "VerilogExport", "bits_for", "delay", "delay_events",
           "pipelined_sum", "stream_of"]


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


def pipelined_sum(m: Module, terms, *, name: str):
    """Sum of signed values by a tree of registered adders: (signal, latency in cycles)."""
    latency = 0
    while len(terms) > 1:
        sums = []
        for i in range(0, len(terms), 2):
            value = terms[i] + terms[i + 1] if i + 1 < len(terms) else terms[i]
            register = Signal(value.shape(), name=f"{name}_l{latency}_{i // 2}", reset_less=True)
            m.d.sync += register.eq(value)
            sums.append(register)
        terms, latency = sums, latency + 1
    return terms[0], latency


class LogicMultiplier(wiring.Component):
    """``product = a * b`` of signed values, combinational, made of logic in synthesis.

    A part's multipliers belong to the systolic array; tools would spend them on any other product too."""

    def __init__(self, a: int, b: int):
        super().__init__({"a": In(signed(a)), "b": In(signed(b)), "product": Out(signed(a + b))})

    def elaborate(self, platform):
        m = Module()
        if isinstance(platform, VerilogExport):
            m.submodules.multiplier = Instance(
                "tepal_logic_multiplier", p_A=len(self.a), p_B=len(self.b),
                i_a=self.a, i_b=self.b, o_product=self.product)
        else:
            m.d.comb += self.product.eq(self.a * self.b)
        return m


class Rom(wiring.Component):
    """Read-only memory, one port, one cycle from address to data.

    Parameters
    ----------
    name
        Of the ``.hex`` file in the export.
    width
        Bits of a word.
    words
        Contents, unsigned integers; at least one.
    """

    def __init__(self, name: str, width: int, words: list[int]):
        self.name, self.width, self.words = name, width, words
        super().__init__({"address": In(bits_for(len(words))), "data": Out(width)})

    def elaborate(self, platform):
        m = Module()
        if isinstance(platform, VerilogExport):
            platform.roms[f"{self.name}.hex"] = (self.width, self.words)
            m.submodules.memory = Instance(
                "tepal_rom", p_WIDTH=self.width, p_DEPTH=len(self.words), p_ADDRESS_BITS=len(self.address),
                p_FILE=f"{self.name}.hex", i_clk=ClockSignal(), i_address=self.address, o_data=self.data)
        else:
            m.submodules.memory = contents = memory.Memory(
                shape=unsigned(self.width), depth=len(self.words), init=self.words)
            port = contents.read_port()
            m.d.comb += [port.addr.eq(self.address), self.data.eq(port.data)]
        return m


class Ram(wiring.Component):
    """Memory with one write and one read port; one cycle from read address to data.

    A read of the word that is being written gives anything: the schedule never does it.

    Parameters
    ----------
    width, depth
        Bits of a word, number of words.
    granularity
        Bits that one bit of ``write_enable`` stands for; divides ``width``.
    """

    def __init__(self, width: int, depth: int, granularity: int | None = None):
        self.width, self.depth, self.granularity = width, depth, granularity or width
        super().__init__({
            "write_address": In(bits_for(depth)),
            "write_data": In(width),
            "write_enable": In(width // self.granularity),
            "read_address": In(bits_for(depth)),
            "read_data": Out(width),
        })

    def elaborate(self, platform):
        m = Module()
        if isinstance(platform, VerilogExport):
            m.submodules.memory = Instance(
                "tepal_ram", p_WIDTH=self.width, p_DEPTH=self.depth, p_GRANULARITY=self.granularity,
                p_ADDRESS_BITS=len(self.read_address), i_clk=ClockSignal(),
                i_write_address=self.write_address, i_write_data=self.write_data,
                i_write_enable=self.write_enable, i_read_address=self.read_address, o_read_data=self.read_data)
        else:
            # Nobody reads the word that is being written: no logic need see to what comes of it.
            m.submodules.memory = contents = memory.Memory(
                shape=unsigned(self.width), depth=self.depth, init=[], attrs={"no_rw_check": 1})
            write = contents.write_port(granularity=self.granularity)
            read = contents.read_port()
            m.d.comb += [
                write.addr.eq(self.write_address), write.data.eq(self.write_data),
                write.en.eq(self.write_enable), read.addr.eq(self.read_address),
                self.read_data.eq(read.data),
            ]
        return m


class ReplayRom(wiring.Component):
    """A ROM read front to back, a passage at a time, each passage as often as it is wanted.

    ``data`` always shows the current word.  With ``advance`` the next cycle shows the word behind it, or,
    with one of these beside it: ``rewind``, the passage's first word again; ``commit``, the word behind it,
    where a new passage begins; ``restart``, the very first word.

    One layer's weights are a passage, replayed for every tile.  ``rom`` may be given where it is no plain one."""

    def __init__(self, name: str, width: int, words: list[int], rom=None):
        self.rom = rom or Rom(name, width, words)
        super().__init__({"advance": In(1), "rewind": In(1), "commit": In(1), "restart": In(1),
                          "data": Out(width)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.rom = rom = self.rom
        here, first, after = (Signal.like(rom.address, name=name) for name in ("here", "first", "after"))
        m.d.comb += [after.eq(here + 1), rom.address.eq(here), self.data.eq(rom.data)]
        with m.If(self.advance):
            with m.If(self.restart):
                m.d.comb += rom.address.eq(0)
                m.d.sync += first.eq(0)
            with m.Elif(self.commit):
                m.d.comb += rom.address.eq(after)
                m.d.sync += first.eq(after)
            with m.Elif(self.rewind):
                m.d.comb += rom.address.eq(first)
            with m.Else():
                m.d.comb += rom.address.eq(after)
        m.d.sync += here.eq(rom.address)
        return m
