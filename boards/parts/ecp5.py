# SPDX-License-Identifier: Apache-2.0
"""Lattice ECP5: parts, PLL, and the way from a netlist to a bitstream."""

# Amaranth gives components their ports at run time.
# pyright: reportAttributeAccessIssue=false, reportGeneralTypeIssues=false, reportArgumentType=false

import re
from dataclasses import replace
from fractions import Fraction

from amaranth import ClockSignal, Const, Elaboratable, Instance, Module, Signal
from amaranth.lib import io
from amaranth.lib.cdc import ResetSynchronizer
from tepal.hdl import EngineConfig

from .clocks import MHZ, within
from .ecp5_netlist import (
    UNCONNECTED,
    Sites,
    absorb_output_registers,
    drop_unread_carries,
    place_memories,
    place_multipliers,
)
from .part import Family, MemoryKind, Part, Pin, Pll

__all__ = ["DENSE_85F", "ECP5_5G_45F", "ECP5_5G_85F", "ECP5_12F", "ECP5_25F", "ECP5_45F", "ECP5_85F", "ENGINE_12F",
           "ENGINE_25F", "ENGINE_45F", "ENGINE_85F", "LOADED_85F", "ECP5Clocks", "parameters", "plls"]

# ECP5 and ECP5-5G Family Data Sheet (FPGA-DS-02012), sysCLOCK PLL Timing.
_INPUT = (8 * MHZ, 400 * MHZ)
_PHASE_DETECTOR = (10 * MHZ, 400 * MHZ)
_VCO = (400 * MHZ, 800 * MHZ)
_OUTPUT = (3_125_000, 400 * MHZ)
_DIVIDER = 128


def plls(oscillator: int) -> list[Pll]:
    """Every frequency that an EHXPLLL makes of ``oscillator`` (Hz) within the data sheet's limits.

    The feedback is CLKOS3, undivided and within the PLL: the VCO runs at oscillator / CLKI_DIV * CLKFB_DIV, and CLKOP
    at that / CLKOP_DIV.  Of the settings that make one frequency, the one with the fastest phase detector is taken:
    it has the least jitter."""
    found: dict[Fraction, Pll] = {}
    for input_divider in range(1, _DIVIDER + 1):
        detector = Fraction(oscillator, input_divider)
        if not within(oscillator, _INPUT) or not within(detector, _PHASE_DETECTOR):
            continue
        for feedback in range(1, _DIVIDER + 1):
            vco = detector * feedback
            if not within(vco, _VCO):
                continue
            for output in range(1, _DIVIDER + 1):
                frequency = vco / output
                if within(frequency, _OUTPUT):
                    found.setdefault(frequency, Pll(frequency, parameters(input_divider, feedback, output)))
    return [found[frequency] for frequency in sorted(found)]


def parameters(input_divider: int, feedback: int, output: int) -> dict[str, int]:
    """EHXPLLL's parameters.  A coarse phase of one less than the divider is no shift."""
    return {"CLKI_DIV": input_divider, "CLKFB_DIV": feedback, "CLKOP_DIV": output, "CLKOP_CPHASE": output - 1}


RESTART = Pin("program")
"""The resource of the pin that makes a part load its configuration again."""


class ECP5Clocks(Elaboratable):
    """The domains ``line``, at the oscillator's frequency, and ``sync``, at the PLL's.

    ``sync`` has no reset: one register would have to reach tens of thousands all over the part within a cycle.  Its
    clock stands until the PLL is steady, and registers begin with the values that configuration gave them.  ``line``
    is held in reset for as long.  The board's button makes the part load its configuration again.

    Parameters
    ----------
    button
        Of the board, if it has one.
    pll
        What the PLL is set to; it may be set to something else after place and route.
    """

    def __init__(self, button: Pin | None, pll: Pll):
        self.button, self.pll = button, pll

    def elaborate(self, platform):
        m = Module()
        m.submodules.oscillator = oscillator = io.Buffer("i", platform.request(platform.default_clk, dir="-"))
        locked, feedback, running = Signal(), Signal(), Signal()
        m.d.comb += ClockSignal("line").eq(oscillator.i)
        m.submodules.pll = Instance(
            "EHXPLLL",
            # Of the analogue part, what is used everywhere; no more is published.
            a_ICP_CURRENT="6", a_LPF_RESISTOR="16", a_MFG_ENABLE_FILTEROPAMP="1", a_MFG_GMCREF_SEL="2",
            **{f"p_{name}": value for name, value in self.pll.parameters.items()},
            p_CLKOP_ENABLE="ENABLED", p_CLKOP_FPHASE=0, p_CLKOS_ENABLE="DISABLED", p_CLKOS2_ENABLE="DISABLED",
            p_CLKOS3_ENABLE="ENABLED", p_CLKOS3_DIV=1, p_CLKOS3_CPHASE=0, p_CLKOS3_FPHASE=0,
            p_FEEDBK_PATH="INT_OS3",
            i_CLKI=ClockSignal("line"), i_CLKFB=feedback, i_RST=Const(0), i_STDBY=Const(0),
            o_CLKINTFB=feedback, o_CLKOP=running, o_LOCK=locked)
        m.submodules.gate = Instance("DCCA", i_CLKI=running, i_CE=locked, o_CLKO=ClockSignal("sync"))
        m.submodules.line_reset = ResetSynchronizer(~locked, domain="line")
        if self.button is not None:
            m.submodules.button = button = io.Buffer("i", platform.request(self.button.resource, self.button.number,
                                                                           dir="-"))
            m.submodules.program = program = io.Buffer("o", platform.request(RESTART.resource, dir="-"))
            m.d.comb += program.o.eq(button.i)
        return m


class _ECP5(Family):
    place_and_route, packer = "nextpnr-ecp5", "ecppack"
    output, reset, restart = ("DCCA", "CLKO"), False, RESTART
    constraints, routed, bitstream = "lpf", "config", "bit"
    # A TRELLIS_DPR16X4's.
    small_words = 16

    def plls(self, oscillator):
        return plls(oscillator)

    def clocks(self, button, pll):
        return ECP5Clocks(button, pll)

    def flash_clock(self, level):
        return Instance("USRMCLK", i_USRMCLKI=level, i_USRMCLKTS=Const(0))

    def constraint(self, net, frequency):
        return f'FREQUENCY NET "{net}" {frequency:.0f} HZ;'

    def synthesis(self, top):
        # Equal elements of the array are made once.
        return [f"synth_ecp5 -noflatten -nodsp -top {top}", "flatten", "opt_clean -purge"]

    def finish(self, module, platform, config):
        absorb_output_registers(module)
        if config.logic_columns:
            # Such engines fill a part; the logic of others is estimated with the cells that carries take.
            drop_unread_carries(module)
        if place_multipliers(module, config, _SITES[platform.device]):
            place_memories(module, config, _SITES[platform.device])

    def logic(self, netlist):
        def net(cell, port):
            return next(iter(cell["connections"].get(port, ())), None)

        cells = netlist["cells"]
        chain = [cell for cell in cells.values() if cell["type"] == "CCU2C"]
        entered, left = ({net(cell, port) for cell in chain} for port in ("CIN", "COUT"))
        for name, cell in cells.items():
            kind = cell["type"]
            luts = {"LUT4": 1, "CCU2C": 2, "TRELLIS_DPR16X4": 6}.get(kind, 0)
            if kind == "CCU2C":
                # nextpnr lengthens a chain by a cell where something enters it, and where something may leave it.
                luts += 2 * (net(cell, "CIN") not in left)
                luts += 2 * (net(cell, "COUT") not in (None, UNCONNECTED) and net(cell, "COUT") not in entered)
            if luts or kind == "TRELLIS_FF":
                yield name, luts, int(kind == "TRELLIS_FF")

    def arguments(self, platform, design, constraints, routed):
        return [platform._nextpnr_device_options[platform.device],
                "--package", platform._nextpnr_package_options[platform.package].upper(), "--speed", platform.speed,
                # Of nextpnr's routers the one that is faster where much of the part is in use.
                "--router", "router2",
                "--json", design, "--lpf", constraints, "--textcfg", routed]

    def retune(self, directory, name, pll, platform, run):
        path = directory / f"{name}.{self.routed}"
        path.write_text(retuned(path.read_text(encoding="utf-8"), pll), encoding="utf-8")

    def pack(self, routed, bitstream):
        return ["--compress", "--input", routed, "--bit", bitstream]

    def resources(self, report, cells):
        names = {"lut": "TRELLIS_COMB", "ff": "TRELLIS_FF", "dsp": "MULT18X18D", "bram": "DP16KD"}
        return {side: {name: report[kind][side] for name, kind in names.items()} for side in ("used", "available")}


def retuned(config: str, pll: Pll) -> str:
    """nextpnr's text configuration with the PLL's words replaced: what it would have written for ``pll``."""
    for name, value in pll.parameters.items():
        # Dividers are stored less one, phases as they are.
        stored = value - 1 if name.endswith("_DIV") else value
        config, count = re.subn(rf"^(word: {name}) [01]{{7}}$", rf"\1 {stored:07b}", config, flags=re.M)
        if count != 1:
            raise ValueError(f"{count} words {name} in the configuration, not one")
    return config


_SITES_25F = Sites((13,), (25, 37), (4, 13, 22, 33, 42, 51, 60))
_SITES_45F = Sites((22, 46), (10, 34, 58), (4, 13, 22, 31, 42, 51, 60, 69, 78))
_SITES_85F = Sites((10, 34, 58), (22, 46, 70, 82), (4, 13, 22, 31, 40, 49, 58, 69, 78, 87, 96, 105, 114))
_SITES = {
    # The same silicon as a 25F, of which Lattice promises half the LUTs.
    "LFE5U-12F": _SITES_25F,
    "LFE5U-25F": _SITES_25F,
    "LFE5U-45F": _SITES_45F,
    "LFE5UM5G-45F": _SITES_45F,
    "LFE5U-85F": _SITES_85F,
    "LFE5UM5G-85F": _SITES_85F,
}

_SHAPES = ((16384, 1), (8192, 2), (4096, 4), (2048, 9), (1024, 18), (512, 36))

# ECP5 and ECP5-5G Family Data Sheet (FPGA-DS-02012), Register-to-Register Performance: block memory at speed grade -6.
# Faster grades allow more; what is common to all is enough.
ECP5_85F = Part("LFE5U-85F", "MULT18X18D", 156, 1, (MemoryKind("DP16KD", 208, _SHAPES),), 83_640, 212.0, _ECP5(), 2)
ECP5_45F = replace(ECP5_85F, name="LFE5U-45F", primitives=72, memories=(MemoryKind("DP16KD", 108, _SHAPES),),
                   logic=43_848)
ECP5_25F = replace(ECP5_85F, name="LFE5U-25F", primitives=28, memories=(MemoryKind("DP16KD", 56, _SHAPES),),
                   logic=24_288)
# The data sheet's table of the family, Selection Guide.
ECP5_12F = replace(ECP5_25F, name="LFE5U-12F", memories=(MemoryKind("DP16KD", 32, _SHAPES),), logic=12_144)
ECP5_5G_85F = replace(ECP5_85F, name="LFE5UM5G-85F")
ECP5_5G_45F = replace(ECP5_45F, name="LFE5UM5G-45F")

ENGINE_85F = EngineConfig(rows=4, columns=16, lanes=8, window=(3, 3), requantisers=16, input_bytes=4, spread=2,
                          packing=2, copy_lanes=15, operands=4, columns_abreast=4, requantiser_multiplier=18)
"""An engine for 156 multipliers and 84,000 LUTs."""

DENSE_85F = replace(ENGINE_85F, lanes=16, window=(1, 1), lane_cycles=4)
"""One for networks without depthwise convolutions: the windows of all others are copied sixteen channels at a time."""

_NARROW_85F = EngineConfig(rows=9, columns=16, lanes=8, window=(3, 3), requantisers=8, input_bytes=4, spread=2,
                           copy_lanes=9)
LOADED_85F = replace(_NARROW_85F, rows=16, packing=2, copy_lanes=15), _NARROW_85F
"""Two for networks that need most of the memory, as those with weights from outside do: of a sum they take one operand
at a time, so that their weights lie in memories that are a quarter as wide."""

ENGINE_45F = EngineConfig(rows=8, columns=16, lanes=4, window=(3, 3), requantisers=4, input_bytes=4, spread=2,
                          packing=2, copy_lanes=9)
"""An engine for 72 multipliers and 44,000 LUTs."""

ENGINE_25F = replace(ENGINE_45F, rows=6, columns=8, lanes=2, requantisers=2, copy_lanes=15)
"""An engine for 28 multipliers and 24,000 LUTs."""

ENGINE_12F = replace(ENGINE_25F, rows=4, lanes=1, requantisers=1)
"""An engine for 12,000 LUTs."""
