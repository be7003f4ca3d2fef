# SPDX-License-Identifier: Apache-2.0
"""Gowin LittleBee and Arora: parts, PLL, and the way from a netlist to a bitstream."""

# Amaranth gives components their ports at run time.
# pyright: reportAttributeAccessIssue=false, reportGeneralTypeIssues=false, reportArgumentType=false

import json
from dataclasses import dataclass
from fractions import Fraction

from amaranth import ClockSignal, Const, Elaboratable, Instance, Module, Signal
from amaranth.lib import io
from amaranth.lib.cdc import ResetSynchronizer
from tepal.hdl import EngineConfig

from .clocks import MHZ, is_pressed, within
from .part import Family, MemoryKind, Part, Pin, Pll

__all__ = ["ENGINE_9K", "ENGINE_20K", "GW1NR_9C", "GW1N_9C_PLL", "GW2AR_18C", "GW2A_18C_PLL", "GowinClocks",
           "PllLimits", "plls"]

_DIVIDER = 64
"""IDIV and FBDIV are 1 to this."""

_VCO_DIVIDERS = (2, 4, 8, *range(16, 129, 16))
_OUTPUT_DIVIDERS = range(2, 129, 2)


@dataclass(frozen=True)
class PllLimits:
    """What an rPLL may run at, in Hz: (least, most) of its phase detector and its input, its VCO, and CLKOUT."""

    detector: tuple[int, int]
    vco: tuple[int, int]
    output: tuple[int, int]


# GW1NR series of FPGA Products Data Sheet (DS117), grade C6/I5; GW2AR series (DS226), grade C8/I7: PLL Switching
# Characteristics.
GW1N_9C_PLL = PllLimits((3 * MHZ, 400 * MHZ), (400 * MHZ, 1200 * MHZ), (3_125_000, 600 * MHZ))
GW2A_18C_PLL = PllLimits((3 * MHZ, 500 * MHZ), (500 * MHZ, 1250 * MHZ), (3_906_250, 625 * MHZ))


def plls(oscillator: int, limits: PllLimits) -> list[Pll]:
    """Every frequency that CLKOUTD of an rPLL makes of ``oscillator`` (Hz) within ``limits``.

    CLKOUT is oscillator / IDIV * FBDIV, the VCO runs at ODIV times that, and CLKOUTD divides CLKOUT by an even number
    (Gowin Clock User Guide, UG286).  Of the settings that make one frequency, the one with the fastest phase detector
    is taken, and of these the one with the fastest VCO."""
    found: dict[Fraction, Pll] = {}
    for divider in range(1, _DIVIDER + 1):
        detector = Fraction(oscillator, divider)
        if not within(oscillator, limits.detector) or not within(detector, limits.detector):
            continue
        for feedback in range(1, _DIVIDER + 1):
            output = detector * feedback
            vco = next((ratio for ratio in reversed(_VCO_DIVIDERS) if within(output * ratio, limits.vco)), None)
            if vco is None or not within(output, limits.output):
                continue
            for last in _OUTPUT_DIVIDERS:
                if (frequency := output / last) not in found:
                    found[frequency] = Pll(frequency, {"IDIV_SEL": divider - 1, "FBDIV_SEL": feedback - 1,
                                                       "ODIV_SEL": vco, "DYN_SDIV_SEL": last})
    return [found[frequency] for frequency in sorted(found)]


class GowinClocks(Elaboratable):
    """Clock and reset of the domains ``line``, at the oscillator's frequency, and ``sync``, at the PLL's.

    Both leave reset when the PLL is steady and the board's button is not pressed.

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
        locked = Signal()
        static = {f"p_DYN_{name}": "false" for name in ("IDIV_SEL", "FBDIV_SEL", "ODIV_SEL", "DA_EN")}
        unused = {"RESET": 1, "RESET_P": 1, "CLKFB": 1, "FBDSEL": 6, "IDSEL": 6, "ODSEL": 6, "PSDA": 4, "DUTYDA": 4,
                  "FDLY": 4}
        m.submodules.pll = Instance(
            "rPLL", p_DEVICE=platform.family, p_FCLKIN=f"{platform.default_clk_frequency / MHZ:g}",
            p_CLKFB_SEL="internal", **static, **{f"p_{name}": value for name, value in self.pll.parameters.items()},
            **{f"i_{name}": Const(0, width) for name, width in unused.items()},
            i_CLKIN=oscillator.i, o_LOCK=locked, o_CLKOUTD=ClockSignal("sync"))
        m.d.comb += ClockSignal("line").eq(oscillator.i)
        pressed = is_pressed(m, platform, self.button)
        # Both, or neither: bytes that cross from one domain to the other count on that.
        for domain in ("line", "sync"):
            m.submodules[f"{domain}_reset"] = ResetSynchronizer(~locked | pressed, domain=domain)
        return m


class _Gowin(Family):
    """``chip`` is what nextpnr and gowin_pack call the silicon, ``cells`` what yosys calls its kind."""

    place_and_route, packer = "nextpnr-himbaechel-gowin", "gowin_pack"
    output, reset = ("rPLL", "CLKOUTD"), True
    constraints, routed, bitstream = "cst", "routed.json", "fs"

    def __init__(self, chip: str, cells: str, limits: PllLimits):
        self.chip, self.cells, self.limits = chip, cells, limits

    def plls(self, oscillator):
        return plls(oscillator, self.limits)

    def clocks(self, button, pll):
        return GowinClocks(button, pll)

    def constraint(self, net, frequency):
        # Pins alone stand in this file; see ``arguments``.
        return f"// {net} at {frequency:.0f} Hz"

    def synthesis(self, top):
        return [f"synth_gowin -family {self.cells} -top {top} -setundef"]

    def logic(self, netlist):
        luts = {f"LUT{inputs}": 1 for inputs in range(1, 5)} | {"ALU": 1, "RAM16SDP4": 4}
        for name, cell in netlist["cells"].items():
            kind = cell["type"]
            if kind in luts or kind.startswith("DFF"):
                yield name, luts.get(kind, 0), int(kind.startswith("DFF"))

    def arguments(self, platform, design, constraints, routed):
        # Of each clock more is asked than it reaches, for the file of constraints has no word for clocks: then paths
        # are urgent by how slow they are.
        return ["--device", platform.part, "--vopt", f"family={self.chip}", "--vopt", f"cst={constraints}",
                "--freq", "100", "--json", design, "--write", routed]

    def retune(self, directory, name, pll, platform, run):
        path = directory / f"{name}.{self.routed}"
        design = json.loads(path.read_text(encoding="utf-8"))
        cell, = (cell for module in design["modules"].values() for cell in module["cells"].values()
                 if cell["type"] == "rPLL")
        cell["parameters"] |= {parameter: f"{value:032b}" for parameter, value in pll.parameters.items()}
        path.write_text(json.dumps(design), encoding="utf-8")

    def pack(self, routed, bitstream):
        return ["-d", self.chip, "-o", bitstream, "--sspi_as_gpio", "--mspi_as_gpio", routed]

    def resources(self, report, cells):
        names = {"lut": "LUT4", "ff": "DFF", "dsp": "MULT9X9", "bram": "BSRAM"}
        return {side: {name: report[kind][side] for name, kind in names.items()} for side in ("used", "available")}


_SHAPES = ((16384, 1), (8192, 2), (4096, 4), (2048, 9), (1024, 18), (512, 36))

# 100 MHz is no measured limit of memories and multipliers, but a bound for safety.
GW1NR_9C = Part("GW1NR-9C", "MULT9X9", 40, 1, (MemoryKind("BSRAM", 26, _SHAPES),), 8640, 100.0,
                _Gowin("GW1N-9C", "gw1n", GW1N_9C_PLL), widest=(18, 2))
GW2AR_18C = Part("GW2AR-18C", "MULT9X9", 96, 1, (MemoryKind("BSRAM", 46, _SHAPES),), 20_736, 100.0,
                 _Gowin("GW2A-18C", "gw2a", GW2A_18C_PLL), widest=(18, 2))

ENGINE_9K = EngineConfig(rows=4, columns=4, lanes=1, window=(1, 1), requantisers=1, input_bytes=1,
                         requantiser_cycles=3, lane_cycles=4)
"""An engine for 40 multipliers and 8,640 LUTs."""

ENGINE_20K = EngineConfig(rows=4, columns=8, lanes=2, window=(3, 3), requantisers=2, input_bytes=4)
"""An engine for 96 multipliers and 20,000 LUTs."""
