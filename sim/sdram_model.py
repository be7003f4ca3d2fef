# SPDX-License-Identifier: Apache-2.0
# Amaranth gives components their ports at run time.
# pyright: reportAttributeAccessIssue=false, reportGeneralTypeIssues=false, reportWildcardImportFromLibrary=false
"""An SDR SDRAM as its pins show it, which checks every command that it gets.

It is made as hardware is, so that it runs in Amaranth's simulator, goes with a design into Verilog for any other
(:func:`~tepal.hdl.export_component`), and is what a proof is about."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from tepal.hdl.memories.sdram import BURST, SdramPins
from tepal.hdl.memories.sdram_timing import SdramTiming
from tepal.hdl.memories.single_port import SinglePortRam
from tepal.hdl.primitives import bits_for, delay

__all__ = ["RULES", "SdramModel", "SdramRules"]

RULES = ("start", "mode", "command", "bank", "activate_to_column", "precharge", "active", "row_cycle", "refresh_cycle",
         "banks_apart", "write_recovery", "mode_cycle", "refresh_interval", "burst", "bus")
"""What can be broken.

``start``: a command within the pause after power-up; REFRESH or mode register before all banks were precharged;
ACTIVATE before the mode register was set or before the first refreshes were done.  ``mode``: the mode register is set
to something else than :attr:`SdramTiming.mode`.  ``command``: one that the model does not know, as auto precharge,
burst terminate, self refresh and a low clock enable are, or data that is masked where it is read.  ``bank``: ACTIVATE
of a bank that is open, READ or WRITE in one that is not, REFRESH or mode register while any is.  ``burst``: a burst is
cut off.  ``bus``: both sides drive the data at once or without a cycle between them, or nobody does during a WRITE.
The others are the times of :class:`SdramTiming`.  A bank is open for 120 µs at most (tRAS) since it is closed for each
refresh."""


class _Rules:
    """Collects what breaks rules in a module."""

    def __init__(self, m: Module, broken):
        self.m, self.broken = m, broken

    def forbid(self, rule: str, condition):
        with self.m.If(condition):
            self.m.d.sync += self.broken[RULES.index(rule)].eq(1)


class SdramRules(wiring.Component):
    """Whether commands keep an SDRAM's protocol.

    Parameters
    ----------
    timing
        The memory's.

    Members
    -------
    pins : In(:class:`SdramPins`)
        As the memory sees them at the edge that ends the cycle.
    broken : Out(len(RULES))
        A bit for each of :data:`RULES`; it stays.
    reading, writing : Out(1)
        A word of a burst is read or written in this cycle.
    bank, row, column : Out
        Its address.
    """

    def __init__(self, timing: SdramTiming):
        self.timing = timing
        self.closed, self.programmed = Signal(name="closed"), Signal(name="programmed")
        self.refreshes = Signal(range(timing.first_refreshes + 1), name="refreshes")
        self.age = Signal(range(timing.refresh_interval + 1), name="age")
        self.opened = [Signal(name=f"open_{number}") for number in range(timing.banks)]
        super().__init__({
            "pins": In(SdramPins(timing)), "broken": Out(len(RULES)), "reading": Out(1), "writing": Out(1),
            "bank": Out(bits_for(timing.banks)), "row": Out(bits_for(timing.rows)),
            "column": Out(bits_for(timing.columns))})

    def elaborate(self, platform):
        m = Module()
        pins, timing, rules = self.pins, self.timing, _Rules(m, self.broken)
        command = Signal(3)
        m.d.comb += command.eq(Mux(pins.cs, Cat(pins.we, pins.cas, pins.ras), 0))
        activate, precharge, refresh, mode, read, write, unknown = (
            Signal(name=name) for name in ("activate", "precharge", "refresh", "mode", "read", "write", "unknown"))
        every = pins.a[10]
        m.d.comb += [activate.eq(command == 0b100), precharge.eq(command == 0b101), refresh.eq(command == 0b110),
                     mode.eq(command == 0b111), read.eq(command == 0b010), write.eq(command == 0b011),
                     unknown.eq((command == 0b001) | ((read | write) & every) | ~pins.clk_en)]
        column_command = read | write
        rules.forbid("command", unknown)

        def since(event, limit: int, name: str):
            """Cycles from the last ``event`` to this one; ``limit`` if they are more, or if there was none."""
            cycles = Signal(range(limit + 1), init=limit, name=name)
            with m.If(event):
                m.d.sync += cycles.eq(min(1, limit))
            with m.Elif(cycles < limit):
                m.d.sync += cycles.eq(cycles + 1)
            return cycles

        # Power-up: pause, PRECHARGE of all banks, refreshes, mode register.
        pause = Signal(range(timing.pause + 1))
        with m.If(pause < timing.pause):
            m.d.sync += pause.eq(pause + 1)
        closed, programmed, refreshes = self.closed, self.programmed, self.refreshes
        with m.If(precharge & every):
            m.d.sync += closed.eq(1)
        with m.If(mode):
            m.d.sync += programmed.eq(1)
        with m.If(refresh & (refreshes < timing.first_refreshes)):
            m.d.sync += refreshes.eq(refreshes + 1)
        rules.forbid("start", (command != 0) & (pause < timing.pause))
        rules.forbid("start", (refresh | mode) & ~closed)
        rules.forbid("start", (activate | column_command)
                     & ~(programmed & (refreshes >= timing.first_refreshes)))
        rules.forbid("mode", mode & ((pins.a != timing.mode) | (pins.ba != 0)))

        # Since the first refresh there is one every so often.
        age = self.age
        with m.If(refresh):
            m.d.sync += age.eq(1)
        with m.Elif(refreshes != 0):
            with m.If(age >= timing.refresh_interval):
                rules.forbid("refresh_interval", 1)
            with m.Else():
                m.d.sync += age.eq(age + 1)

        # Bursts: the word of a burst in this cycle, beginning in the cycle of the command.
        inside, reading_on = Signal(range(BURST)), Signal()
        bank, column = Signal.like(self.bank), Signal.like(self.column)
        with m.If(column_command):
            m.d.sync += [inside.eq(1), reading_on.eq(read), bank.eq(pins.ba), column.eq(pins.a + 1)]
        with m.Elif(inside != 0):
            m.d.sync += [inside.eq(inside + 1), column.eq(column + 1)]
        m.d.comb += [
            self.reading.eq(Mux(column_command, read, (inside != 0) & reading_on)),
            self.writing.eq(Mux(column_command, write, (inside != 0) & ~reading_on)),
            self.bank.eq(Mux(column_command, pins.ba, bank)), self.column.eq(Mux(column_command, pins.a, column))]
        # They do not wrap around at a block of four.
        rules.forbid("burst", column_command & ((inside != 0) | (pins.a[:2] != 0)))
        rules.forbid("bus", self.writing & ~pins.dq_oe)
        # The memory lets go of the data after the cycle of its last word.
        driven = delay(m, self.reading, timing.cas_latency, name="driven")
        rules.forbid("bus", pins.dq_oe & (driven | delay(m, driven, 1, name="let_go")))
        rules.forbid("command", delay(m, self.reading, timing.cas_latency - 2, name="masked")
                     & (pins.dqm != 0))

        since_refresh = since(refresh, timing.refresh_cycle, "since_refresh")
        since_mode = since(mode, timing.mode_cycle, "since_mode")
        since_activate = since(activate, timing.banks_apart, "since_activate")
        rules.forbid("refresh_cycle", (command != 0) & (since_refresh < timing.refresh_cycle))
        rules.forbid("mode_cycle", (command != 0) & (since_mode < timing.mode_cycle))
        rules.forbid("banks_apart", activate & (since_activate < timing.banks_apart))

        rows = []
        for number, is_open in enumerate(self.opened):
            here = pins.ba == number
            opens, closes = activate & here, precharge & (here | every)
            row = Signal(bits_for(timing.rows), name=f"row_{number}")
            with m.If(opens):
                m.d.sync += [is_open.eq(1), row.eq(pins.a)]
            with m.Elif(closes):
                m.d.sync += is_open.eq(0)
            rows.append(row)
            longest = max(timing.activate_to_column, timing.active, timing.row_cycle)
            since_open = since(opens, longest, f"since_open_{number}")
            since_close = since(closes, timing.precharge, f"since_close_{number}")
            since_write = since(self.writing & (self.bank == number), timing.write_recovery, f"since_write_{number}")
            rules.forbid("bank", (opens & is_open) | (column_command & here & ~is_open) | ((refresh | mode) & is_open))
            rules.forbid("activate_to_column", column_command & here & (since_open < timing.activate_to_column))
            rules.forbid("active", closes & is_open & (since_open < timing.active))
            rules.forbid("row_cycle", (opens | refresh) & (since_open < timing.row_cycle))
            rules.forbid("precharge", (opens | refresh | mode) & (since_close < timing.precharge))
            rules.forbid("write_recovery", closes & is_open & (since_write < timing.write_recovery))
            # A burst ends before its bank is closed.
            rules.forbid("burst", closes & (inside != 0) & (bank == number))
        m.d.comb += self.row.eq(Array(rows)[self.bank])
        return m


class SdramModel(wiring.Component):
    """An SDRAM: :class:`SdramRules` and the words.

    Words that nobody has written are anything.  Times within a cycle are not modelled: a word is at ``pins.dq_i`` in
    the cycle that the edge ends for which the memory puts it out; in all others there is something else.

    Members
    -------
    pins : In(:class:`SdramPins`)
    broken : Out(len(RULES))
    error : Out(1)
        Any of these.
    """

    def __init__(self, timing: SdramTiming):
        self.timing = timing
        super().__init__({"pins": In(SdramPins(timing)), "broken": Out(len(RULES)), "error": Out(1)})

    def elaborate(self, platform):
        m = Module()
        timing, pins = self.timing, self.pins
        m.submodules.rules = rules = SdramRules(timing)
        for name in pins.signature.members:
            if name != "dq_i":
                m.d.comb += getattr(rules.pins, name).eq(getattr(pins, name))
        m.submodules.cells = cells = SinglePortRam(16, timing.rows * timing.banks * timing.columns, 8)
        m.d.comb += [
            self.broken.eq(rules.broken), self.error.eq(rules.broken.any()),
            cells.address.eq(Cat(rules.column, rules.bank, rules.row)), cells.write_data.eq(pins.dq_o),
            cells.write_enable.eq(Mux(rules.writing, ~pins.dqm, 0)),
        ]
        driven = delay(m, rules.reading, timing.cas_latency, name="driven")
        word = delay(m, cells.read_data, timing.cas_latency - 1, name="word")
        m.d.comb += pins.dq_i.eq(Mux(driven, word, ~word))
        return m
