# SPDX-License-Identifier: Apache-2.0
"""Common parts that the board ``generic`` may stand for: what they have, counted as yosys fills it.

The generated Verilog names no vendor's cells: multipliers and memory blocks are inferred.  So two rows of an array
share no multiplier here, and an iCE40's computes one product.  Memories that yosys puts into LUTs, the smallest and
on Xilinx' parts ROMs that leave most of their blocks empty, are counted as blocks all the same: a design takes as many
blocks as are counted, or fewer.  Logic is estimated from netlists that yosys made of such Verilog, where its family was
measured.

What a part has is what its tools call available: nextpnr-nexus for Nexus, Vivado for Xilinx' parts, Quartus for
Cyclone V (of the 557 M10K in a 5CSEBA6's data sheet it gives 553).  Its logic is LUTs of four inputs; on Xilinx' parts
those of six, and on Cyclone V adaptive logic modules, as :mod:`.cores` counts them.  Parts of bundled boards are told
of beside their families."""

from dataclasses import replace
from difflib import get_close_matches
from types import MappingProxyType

from tepal.quant import NetworkError

from . import ecp5, gowin, ice40
from .cores import CYCLONE_V, ECP5, GOWIN, ICE40, NEXUS, XILINX_7
from .part import Core, MemoryKind, Part

__all__ = ["PARTS", "get_part"]

_SHAPES = ((16384, 1), (8192, 2), (4096, 4), (2048, 9), (1024, 18), (512, 36))
_M10K = ((8192, 1), (4096, 2), (2048, 5), (1024, 10), (512, 20), (256, 40))


def _nexus(name: str, luts: int, multipliers: int, blocks: int) -> Part:
    """The large memories, LRAM, are left out: yosys does not use them by itself."""
    return Part(name, "MULT18X18", multipliers, memories=(MemoryKind("EBR", blocks, _SHAPES),), logic=luts,
                core=NEXUS)


def _xilinx(name: str, luts: int, multipliers: int, blocks: int) -> Part:
    """``blocks`` of 36 Kbit, each of which is two RAMB18."""
    return Part(name, "DSP48E1", multipliers, memories=(MemoryKind("RAMB18", 2 * blocks, _SHAPES),), logic=luts,
                core=XILINX_7)


def _cyclone(name: str, modules: int, multipliers: int, blocks: int) -> Part:
    """A DSP block multiplies three pairs of nine bits."""
    return Part(name, "DSP block", multipliers, 3, (MemoryKind("M10K", blocks, _M10K),), modules,
                core=CYCLONE_V)


def _known(core: Core, *parts: Part) -> list[Part]:
    """Parts of bundled boards without what only the boards' own designs make use of."""
    return [replace(part, family=None, packing=1, products=1, memories=part.memories[:1], core=core) for part in parts]


PARTS = MappingProxyType({part.name: part for part in (
    *_known(ECP5, ecp5.ECP5_12F, ecp5.ECP5_25F, ecp5.ECP5_45F, ecp5.ECP5_85F), *_known(ICE40, ice40.ICE40UP5K),
    *_known(GOWIN, gowin.GW1NR_9C, gowin.GW2AR_18C),
    _nexus("LIFCL-17", 13_824, 24, 24), _nexus("LIFCL-40", 32_256, 56, 84), _nexus("LFD2NX-40", 32_256, 56, 84),
    _xilinx("XC7A35T", 20_800, 90, 50), _xilinx("XC7A100T", 63_400, 240, 135), _xilinx("XC7A200T", 134_600, 740, 365),
    _xilinx("XC7Z010", 17_600, 80, 60), _xilinx("XC7Z020", 53_200, 220, 140),
    _cyclone("5CEBA4", 18_480, 66, 308), _cyclone("5CEBA9", 113_560, 342, 1_220),
    _cyclone("5CSEBA6", 41_910, 112, 553))})
"""Every part by name."""


def get_part(name: str) -> Part:
    """The part called ``name``, in letters of either case.

    Raises
    ------
    NetworkError
        There is none, with the nearest names.

    Examples
    --------
    >>> get_part("xc7a35t").primitives
    90
    """
    by_name = {part.lower(): part for part in PARTS}
    if name.lower() in by_name:
        return PARTS[by_name[name.lower()]]
    near = [by_name[each] for each in get_close_matches(name.lower(), by_name, n=3, cutoff=0.5)]
    guess = f"; did you mean {' or '.join(near)}?" if near else ""
    raise NetworkError(f"there is no part {name!r}{guess} (known: {', '.join(PARTS)})")
