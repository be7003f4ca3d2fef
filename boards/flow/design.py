# SPDX-License-Identifier: Apache-2.0
"""A board's design with its pins and clocks, ready for synthesis."""

# Amaranth gives components their ports at run time.
# pyright: reportAttributeAccessIssue=false, reportGeneralTypeIssues=false, reportArgumentType=false

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from amaranth import ClockDomain, Elaboratable, Module
from amaranth.lib import io, wiring
from tepal.boards.board import Board
from tepal.boards.parts.part import Family, Pin, Pll
from tepal.hdl import TOP, Schedule
from tepal.hdl.export import merge_equal_modules
from tepal.hdl.link.uart import bit_time
from tepal.hdl.memories.sdram_pads import SdramPads

from .top import Top

__all__ = ["BoardDesign", "Prepared", "prepare"]


class BoardDesign(Elaboratable):
    """A :class:`~tepal.boards.flow.top.Top` on a board's pins.

    The serial line runs at the oscillator's clock, so that its rate does not depend on what the PLL is set to.

    Parameters
    ----------
    board
        One with a platform.
    schedule
        The network on an engine.
    pll
        What the PLL is set to, for the time being.
    slowest
        Frequency in Hz below which the PLL will not be set.
    debug, test_memory
        Build the debug tap in; test the memory of weights whenever the design starts.
    """

    def __init__(self, board: Board, schedule: Schedule, pll: Pll, slowest: Fraction, *, debug: bool = False,
                 test_memory: bool = False):
        self.board, self.schedule, self.pll, self.slowest = board, schedule, pll, slowest
        self.debug, self.test_memory = debug, test_memory

    def elaborate(self, platform):
        m = Module()
        board, family = self.board, self.board.part.family
        assert family is not None
        m.domains.line, m.domains.sync = ClockDomain("line"), ClockDomain("sync", reset_less=not family.reset)
        m.submodules.clocks = family.clocks(board.button, self.pll)
        sdram = board.memory if self.schedule.loads else None
        flash = board.flash if self.schedule.config.single_port or sdram else None
        top = Top(self.schedule, bit_time(board.oscillator, board.baud), board.buffer, line="line",
                  slowest=Fraction(self.slowest, board.oscillator), offset=flash.offset if flash else 0,
                  sdram=sdram.timing if sdram else None, test_memory=self.test_memory, debug=self.debug)
        m.submodules.top = top
        # Amaranth must not make pins for the whole of a resource: only for what is used.
        requested = {}

        def port(pin: Pin):
            key = pin.resource, pin.number
            if key not in requested:
                requested[key] = platform.request(*key, dir="-")
            return getattr(requested[key], pin.part) if pin.part else requested[key]

        m.submodules.rx = rx = io.Buffer("i", port(Pin("uart", 0, "rx")))
        m.submodules.tx = tx = io.Buffer("o", port(Pin("uart", 0, "tx")))
        m.d.comb += [top.rx.eq(rx.i), tx.o.eq(top.tx)]
        for name, pin in board.lights.items():
            m.submodules[f"light_{name}"] = light = io.Buffer("o", port(pin))
            m.d.comb += light.o.eq(top.result[int(name[-1])] if name.startswith("result") else getattr(top, name))
        if flash:
            clock = family.flash_clock(top.flash_clk)
            for name in ("cs", "clk", "copi", "cipo") if clock is None else ("cs", "copi", "cipo"):
                pin = port(replace(flash.pins, part=name))
                m.submodules[f"flash_{name}"] = buffer = io.Buffer("i" if name == "cipo" else "o", pin)
                m.d.comb += (top.flash_cipo.eq(buffer.i) if name == "cipo"
                             else buffer.o.eq(getattr(top, f"flash_{name}")))
            if clock is not None:
                m.submodules.flash_clk = clock
            for name in flash.idle:
                m.submodules[f"flash_{name}"] = idle = io.Buffer("o", port(replace(flash.pins, part=name)))
                m.d.comb += idle.o.eq(0)
        if sdram:
            m.submodules.sdram = pads = SdramPads(sdram.timing, port(sdram.pins))
            wiring.connect(m, top.sdram_pins, pads.pins)
        for pin in board.high:
            m.submodules[f"high_{pin.resource}_{pin.part}"] = high = io.Buffer("o", port(pin))
            m.d.comb += high.o.eq(1)
        return m


@dataclass(frozen=True)
class Prepared:
    """What the tools take: RTLIL, the constraint file's text, and Amaranth's platform."""

    rtlil: str
    constraints: str
    platform: Any


def prepare(design: Elaboratable, board: Board, family: Family) -> Prepared:
    """Elaborate ``design`` for ``board``."""
    platform = board.platform()
    plan = platform.prepare(design, TOP, emit_src=False, debug_verilog=False)
    constraints = plan.files[f"{TOP}.{family.constraints}"]
    return Prepared(merge_equal_modules(plan.files[f"{TOP}.il"]), "".join(
        line + "\n" for line in constraints.splitlines() if not line.startswith(("#", "//"))), platform)
