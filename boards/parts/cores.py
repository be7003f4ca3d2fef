# SPDX-License-Identifier: Apache-2.0
"""How yosys makes a netlist of a generated core alone, for parts of each kind that the board ``generic`` may stand for,
and what logic its cells take."""

from collections.abc import Mapping

from . import ecp5, gowin, ice40
from .part import Core

__all__ = ["CYCLONE_V", "ECP5", "GOWIN", "ICE40", "NEXUS", "XILINX_7"]


class _AsBuilt(Core):
    """Of a family that Tepal builds for too: cells count as they do there."""

    def __init__(self, synthesis: str, family, registers: float = 1):
        super().__init__(synthesis, registers=registers)
        self.family = family

    def logic(self, netlist):
        return self.family.logic(netlist)


class _ByType(Core):
    """Cells take so much ``logic`` by their type; those whose type begins with one of ``flipflops`` are such."""

    def __init__(self, synthesis: str, logic: Mapping[str, float], flipflops: tuple[str, ...], *,
                 lut: str = "LUT4", registers: int = 1, before: str = ""):
        super().__init__(synthesis, lut, registers, before)
        self.cells, self.flipflops = logic, flipflops

    def logic(self, netlist):
        for name, cell in netlist["cells"].items():
            kind = cell["type"]
            if luts := self.cells.get(kind, 0):
                yield name, luts, 0
            elif kind.startswith(self.flipflops):
                yield name, 0, 1


class _Xilinx7(_ByType):
    """A carry chain takes its sums from LUTs: one for each bit that no LUT makes is passed through one."""

    def logic(self, netlist):
        yield from super().logic(netlist)
        cells = netlist["cells"]
        made = {bit for cell in cells.values() if cell["type"] in self.cells
                for port, direction in cell["port_directions"].items() if direction == "output"
                for bit in cell["connections"][port]}
        for name, cell in cells.items():
            if cell["type"] == "CARRY4":
                yield name, sum(isinstance(bit, int) and bit not in made for bit in cell["connections"]["S"]), 0


ECP5 = _AsBuilt("synth_ecp5", ecp5.ECP5_85F.family)
ICE40 = _AsBuilt("synth_ice40 -device u -dsp", ice40.ICE40UP5K.family)
GOWIN = _AsBuilt("synth_gowin -family gw2a -noiopads", gowin.GW2AR_18C.family, registers=0.75)
"""One in four LUTs has no flip-flop beside it."""

NEXUS = _ByType(
    "synth_nexus", {"LUT4": 1, "INV": 1, "WIDEFN9": 2, "CCU2": 2, "DPR16X4": 6}, ("FD1P3",))
"""A small memory takes four LUTs, and the two of the slice from which it is written, as an ECP5's does."""

XILINX_7 = _Xilinx7(
    "synth_xilinx -family xc7 -flatten -noiopad -noclkbuf",
    {**{f"LUT{inputs}": 1 for inputs in range(1, 7)}, "LUT6_2": 1, "INV": 1, "SRL16E": 1, "SRLC32E": 1, "RAM32X1S": 1,
     "RAM64X1S": 1, "RAM32X1D": 2, "RAM64X1D": 2, "RAM128X1S": 2, "RAM128X1D": 4, "RAM32M": 4, "RAM64M": 4},
    ("FDRE", "FDSE", "FDCE", "FDPE", "LDCE", "LDPE"), lut="LUT", registers=2,
    before='setattr -set rom_style "block" *_rom*/m:*; ')
"""LUTs of six inputs, of which none is shared by two functions.  There are two flip-flops to each.

ROMs lie in blocks, as they are counted: left alone, yosys puts those into LUTs that leave most of their blocks
empty."""

CYCLONE_V = _ByType(
    "synth_intel_alm -family cyclonev",
    {"MISTRAL_ALUT6": 1, "MISTRAL_ALUT5": 1, "MISTRAL_ALUT4": 0.5, "MISTRAL_ALUT3": 0.5, "MISTRAL_ALUT2": 0.5,
     "MISTRAL_ALUT_ARITH": 0.5, "MISTRAL_NOT": 0.5, "MISTRAL_BUF": 0.5, "MISTRAL_MLAB": 0.5},
    ("MISTRAL_FF",), lut="ALM", registers=4)
"""Adaptive logic modules: two functions of up to four inputs, two bits of a sum, or two bits of a memory of 32 words
take one, and so does a function of five or six.  There are four flip-flops to each."""
