# SPDX-License-Identifier: Apache-2.0
"""Lattice iCE40 UltraPlus: part, PLL, and the way from a netlist to a bitstream."""

# Amaranth gives components their ports at run time.
# pyright: reportAttributeAccessIssue=false, reportGeneralTypeIssues=false, reportArgumentType=false

import json
from collections import Counter
from dataclasses import replace
from fractions import Fraction

from amaranth import ClockDomain, ClockSignal, Const, Elaboratable, Instance, Module, Signal
from amaranth.lib import io
from amaranth.lib.cdc import ResetSynchronizer
from tepal.hdl import EngineConfig

from .clocks import MHZ, is_pressed, within
from .part import Family, MemoryKind, Part, Pin, Pll

__all__ = ["ENGINE_UP5K", "FIVE_ROWS_UP5K", "ICE40UP5K", "ROLES_UP5K", "ICE40Clocks", "parameters", "plls"]

# iCE40 UltraPlus Family Data Sheet (FPGA-DS-02008), sysCLOCK PLL Timing.
_INPUT = (10 * MHZ, 133 * MHZ)
_PHASE_DETECTOR = (10 * MHZ, 133 * MHZ)
_VCO = (533 * MHZ, 1066 * MHZ)
_OUTPUT = (16 * MHZ, 275 * MHZ)

_FILTERS = ((17, 1), (26, 2), (44, 3), (66, 4), (101, 5))
"""FILTER_RANGE by the phase detector's frequency: below so many MHz, this one; else 6."""


def plls(oscillator: int) -> list[Pll]:
    """Every frequency that an SB_PLL40 with simple feedback makes of ``oscillator`` (Hz) within the data sheet's
    limits: oscillator / (DIVR + 1) * (DIVF + 1) / 2 ** DIVQ.  Of the settings that make one frequency, the one with the
    fastest phase detector is taken."""
    found: dict[Fraction, Pll] = {}
    for reference in range(16):
        detector = Fraction(oscillator, reference + 1)
        if not within(oscillator, _INPUT) or not within(detector, _PHASE_DETECTOR):
            continue
        for feedback in range(128):
            vco = detector * (feedback + 1)
            if not within(vco, _VCO):
                continue
            for output in range(1, 7):
                frequency = vco / 2 ** output
                if within(frequency, _OUTPUT):
                    found.setdefault(frequency, Pll(frequency, parameters(detector, reference, feedback, output)))
    return [found[frequency] for frequency in sorted(found)]


def parameters(detector: Fraction, reference: int, feedback: int, output: int) -> dict[str, int]:
    """SB_PLL40's parameters."""
    filtering = next((code for below, code in _FILTERS if detector < below * MHZ), 6)
    return {"DIVR": reference, "DIVF": feedback, "DIVQ": output, "FILTER_RANGE": filtering}


_WIDTHS = {"DIVR": 4, "DIVF": 7, "DIVQ": 3, "FILTER_RANGE": 3}

_PLL_PADS = {("iCE40UP5K", "SG48"): "35"}
"""The pin from which the PLL of a part in its package can be fed directly."""


class ICE40Clocks(Elaboratable):
    """Clock and reset of the domains ``line``, at the oscillator's frequency, and ``sync``, at the PLL's.

    Both leave reset when the PLL is steady, the board's button is not pressed, and the block memories work: they read
    as zero for some 3 µs after configuration.

    Parameters
    ----------
    button
        Of the board, if it has one.
    pll
        What the PLL is set to; it may be set to something else after place and route.
    """

    WAIT = 255
    """Cycles of the oscillator until the memories work: 21 µs at 12 MHz."""

    def __init__(self, button: Pin | None, pll: Pll):
        self.button, self.pll = button, pll

    def elaborate(self, platform):
        m = Module()
        m.domains.start = ClockDomain("start", reset_less=True, local=True)
        pins = platform.lookup(platform.default_clk).ios[0].names
        oscillator = platform.request(platform.default_clk, dir="-")
        locked = Signal()
        if pins == [_PLL_PADS[platform.device, platform.package]]:
            # The one whose first output is the oscillator itself: the pin can't be read otherwise.
            kind, source, line = ("SB_PLL40_2_PAD", {"io_PACKAGEPIN": oscillator.io},
                                  {"o_PLLOUTGLOBALA": ClockSignal("line")})
        else:
            m.submodules.oscillator = pin = io.Buffer("i", oscillator)
            m.submodules.line = Instance("SB_GB", i_USER_SIGNAL_TO_GLOBAL_BUFFER=pin.i,
                                         o_GLOBAL_BUFFER_OUTPUT=ClockSignal("line"))
            kind, source, line = "SB_PLL40_2F_CORE", {"p_PLLOUT_SELECT_PORTA": "GENCLK", "i_REFERENCECLK": pin.i}, {}
        m.submodules.pll = Instance(
            kind, p_FEEDBACK_PATH="SIMPLE", p_PLLOUT_SELECT_PORTB="GENCLK",
            **{f"p_{name}": Const(value, _WIDTHS[name]) for name, value in self.pll.parameters.items()},
            **source, i_RESETB=Const(1), i_BYPASS=Const(0), o_LOCK=locked, **line,
            o_PLLOUTGLOBALB=ClockSignal("sync"))
        waited = Signal(range(self.WAIT + 1))
        m.d.comb += ClockSignal("start").eq(ClockSignal("line"))
        with m.If(waited != self.WAIT):
            m.d.start += waited.eq(waited + 1)
        pressed = is_pressed(m, platform, self.button)
        # Both, or neither: bytes that cross from one domain to the other count on that.
        for domain in ("line", "sync"):
            m.submodules[f"{domain}_reset"] = ResetSynchronizer(~(locked & (waited == self.WAIT)) | pressed,
                                                                domain=domain)
        return m


class _ICE40(Family):
    place_and_route, packer = "nextpnr-ice40", "icepack"
    output, reset = ("SB_PLL40_2_PAD|SB_PLL40_2F_CORE", "PLLOUTGLOBALB"), True
    constraints, routed, bitstream = "pcf", "asc", "bin"

    def plls(self, oscillator):
        return plls(oscillator)

    def clocks(self, button, pll):
        return ICE40Clocks(button, pll)

    def constraint(self, net, frequency):
        return f"set_frequency {net} {frequency / 1e6:.3f}"

    def synthesis(self, top):
        # Flip-flops come up as zeros: those that are to begin as ones would get inverters.  But every design is reset
        # when it begins (see ICE40Clocks), and what no reset reaches begins as zeros, or has settled when it ends.
        # The eight cells of a tile share a clock enable: one that few flip-flops have keeps places from others.
        return ["setattr -unset init w:*", f"synth_ice40 -top {top} -dffe_min_ce_use 3"]

    def logic(self, netlist):
        cells = netlist["cells"]
        readers = Counter(bit for cell in cells.values() for port, bits in cell["connections"].items()
                          if cell["port_directions"][port] == "input" for bit in bits)
        tables = [cell["connections"] for cell in cells.values() if cell["type"] == "SB_LUT4"]
        # A flip-flop lies in the place of the LUT that feeds it alone, a carry in that of the LUT with the same inputs.
        alone = {table["O"][0] for table in tables if readers[table["O"][0]] == 1}
        inputs = {tuple(table[port][0] for port in ("I1", "I2", "I3")) for table in tables}
        for name, cell in cells.items():
            kind, nets = cell["type"], cell["connections"]
            if kind == "SB_LUT4" or (kind == "SB_CARRY"
                                     and tuple(nets[port][0] for port in ("I0", "I1", "CI")) not in inputs):
                yield name, 1, 0
            elif kind.startswith("SB_DFF"):
                yield name, int(nets["D"][0] not in alone), 1

    def _device(self, platform):
        return [platform._nextpnr_device_options[platform.device], "--package", platform.package.lower()]

    def arguments(self, platform, design, constraints, routed):
        # The routed design is kept as a netlist too: ``retune`` loads it.
        return [*self._device(platform), "--json", design, "--pcf", constraints, "--asc", routed,
                "--write", f"{routed}.json"]

    def retune(self, directory, name, pll, platform, run):
        path = directory / f"{name}.{self.routed}.json"
        design = json.loads(path.read_text(encoding="utf-8"))
        cells = [cell for module in design["modules"].values() for cell in module["cells"].values()
                 if cell["type"] == "ICESTORM_PLL"]
        for parameter, value in pll.parameters.items():
            cells[0]["parameters"][parameter] = f"{value:0{_WIDTHS[parameter]}b}"
        path.write_text(json.dumps(design))
        run([*self._device(platform), "--json", path.name, "--no-pack", "--no-place", "--no-route",
             "--asc", f"{name}.{self.routed}"])

    def pack(self, routed, bitstream):
        return [routed, bitstream]

    def resources(self, report, cells):
        flipflops = sum(count for kind, count in cells.items() if kind.startswith("SB_DFF"))
        names = {"lut": "ICESTORM_LC", "dsp": "ICESTORM_DSP", "bram": "ICESTORM_RAM", "spram": "ICESTORM_SPRAM"}
        used, available = ({name: report[kind][side] for name, kind in names.items()} for side in ("used", "available"))
        return {"used": used | {"ff": flipflops}, "available": available | {"ff": available["lut"]}}


_EBR = MemoryKind("SB_RAM40_4K", 30, ((2048, 2), (1024, 4), (512, 8), (256, 16)))
_SPRAM = MemoryKind("SB_SPRAM256KA", 4, ((16384, 16),))

# 50 MHz is no measured limit of its memories and multipliers, for which no source was found, but a bound for safety:
# designs close at 23 to 29 MHz.
ICE40UP5K = Part("iCE40UP5K", "SB_MAC16", 8, 2, (_EBR, _SPRAM), 5280, 50.0, _ICE40(),
                 widest=(16, 1))

ENGINE_UP5K = EngineConfig(rows=4, columns=4, lanes=2, window=(1, 1), requantisers=1, input_bytes=1,
                           requantiser_cycles=3, lane_cycles=4, single_port=True, pipelined=False)
"""An engine for 8 multipliers and 5,280 LUTs."""

FIVE_ROWS_UP5K = replace(ENGINE_UP5K, rows=5, columns=3)
"""One for images of a multiple of five pixels, or nearly."""

ROLES_UP5K = {"activations": _SPRAM.name, "matrix_weights": _SPRAM.name}
"""Activations and the array's weights are in the large single-port memories (two regions are never read and written at
once), all else in the small ones."""
