# SPDX-License-Identifier: Apache-2.0
"""An FPGA: what it offers, how it is clocked, and how its family's tools are called."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from amaranth.hdl import Elaboratable, Instance, Value
from tepal.hdl import EngineConfig

__all__ = ["Core", "Family", "MemoryKind", "Part", "Pin", "Pll"]


@dataclass(frozen=True)
class MemoryKind:
    """Blocks of on-chip memory: how many, and the (words, bits) shapes that one can take."""

    name: str
    count: int
    shapes: tuple[tuple[int, int], ...]

    def blocks(self, depth: int, width: int) -> int:
        """Blocks that a memory of ``depth`` words of ``width`` bits takes, all in one shape."""
        return min(-(-depth // words) * -(-width // bits) for words, bits in self.shapes)


@dataclass(frozen=True)
class Pin:
    """One of a platform's resources, or a part of it."""

    resource: str
    number: int = 0
    part: str | None = None


@dataclass(frozen=True)
class Pll:
    """One setting of a PLL: its output in Hz, exactly, and the primitive's parameters that make it."""

    frequency: Fraction
    parameters: Mapping[str, int]


class Family(ABC):
    """How FPGAs of one kind are clocked, synthesised, placed, routed and packed: :mod:`tepal.boards.parts.ecp5`,
    :mod:`tepal.boards.parts.gowin` and :mod:`tepal.boards.parts.ice40`."""

    place_and_route: str
    """Name of the tool in :data:`tepal.boards.flow.tools.TOOLS`; ``packer`` likewise."""
    packer: str
    constraints: str
    """Suffix of the constraint file; ``routed`` that of nextpnr's result, ``bitstream`` that of the packer's."""
    routed: str
    bitstream: str
    output: tuple[str, str]
    """Type, or types with ``|`` between them, and port of the cell that drives the clock of the domain ``sync``."""
    reset: bool
    """Whether ``sync`` has a reset."""
    small_words: int = 0
    """Words of a memory, at most, of which synthesis makes LUTs or flip-flops and not blocks."""
    restart: Pin | None = None
    """The resource that a board's button drives, which configures the part anew; None where the button is a reset."""

    @abstractmethod
    def plls(self, oscillator: int) -> list[Pll]:
        """Every setting that the data sheet allows at this oscillator (Hz), slowest first, each frequency once."""

    @abstractmethod
    def clocks(self, button: Pin | None, pll: Pll) -> Elaboratable:
        """Drives the domains ``line`` (oscillator) and ``sync`` (PLL); nothing happens in either until the PLL is
        steady, nor while ``button`` is pressed."""

    def flash_clock(self, level: Value) -> Instance | None:
        """Drives with ``level`` the clock of the flash memory from which the part has its configuration, once it has
        it; None if that is a pin like any other."""
        return None

    @abstractmethod
    def constraint(self, net: str, frequency: float) -> str:
        """A line of the constraint file: what ``net`` should reach, in Hz, whatever the PLL is set to."""

    @abstractmethod
    def synthesis(self, top: str) -> list[str]:
        """Commands of yosys from RTLIL that is read to a netlist that nextpnr takes."""

    def finish(self, module: dict, platform: Any, config: EngineConfig) -> None:  # noqa: B027
        """Change the netlist that synthesis made (a module of yosys' JSON) for ``platform``, where place and route is
        the better for it."""

    @abstractmethod
    def logic(self, netlist: dict) -> Iterator[tuple[str, float, int]]:
        """(cell's name, LUTs that it will take, flip-flops) of a netlist of yosys."""

    @abstractmethod
    def arguments(self, platform: Any, design: str, constraints: str, routed: str) -> list[str]:
        """nextpnr's arguments."""

    @abstractmethod
    def retune(self, directory: Path, name: str, pll: Pll, platform: Any, run: Callable[[list[str]], object]) -> None:
        """Change the PLL of the routed design ``name`` in ``directory``, and nothing else.  ``run(arguments)`` runs
        nextpnr there."""

    @abstractmethod
    def pack(self, routed: str, bitstream: str) -> list[str]:
        """The packer's arguments."""

    @abstractmethod
    def resources(self, report: Mapping[str, Mapping[str, int]], cells: Mapping[str, int]) -> dict[str, dict[str, int]]:
        """``used`` and ``available`` of each of ``lut``, ``ff``, ``dsp``, ``bram`` and what else there is, from
        nextpnr's utilisation and the number of cells of each type in the netlist."""


class Core(ABC):
    """How yosys makes a netlist of a generated core alone, without a board around it: :mod:`tepal.boards.parts.cores`.

    Parameters
    ----------
    synthesis
        yosys's command and its options.
    before
        What yosys does first, with a semicolon behind it.
    lut
        What the logic of a part is counted in.
    registers
        Flip-flops beside each of them.
    """

    def __init__(self, synthesis: str, lut: str = "LUT4", registers: float = 1, before: str = ""):
        self.synthesis, self.lut, self.registers, self.before = synthesis, lut, registers, before

    @property
    def name(self) -> str:
        """yosys's command."""
        return self.synthesis.split()[0]

    @abstractmethod
    def logic(self, netlist: dict) -> Iterator[tuple[str, float, int]]:
        """As :meth:`Family.logic`."""


@dataclass(frozen=True)
class Part:
    """An FPGA.

    ``primitives`` counts its multipliers, ``multiplier`` names them and ``products`` says how many int8 products a
    cycle one computes; ``packing`` rows of the array may share one.  ``widest`` is the bits of either factor of its
    widest multiplier, and how many of ``primitives`` that takes.  ``limit`` is the clock in MHz that its memories and
    multipliers allow: nextpnr does not check these.  A part without ``family`` can't be built for, one without
    ``primitives`` has any number.  ``core`` is how the logic of one that can't be built for was measured; ``logic`` is
    how many it has of what that counts in, or of LUTs."""

    name: str
    multiplier: str = "multiplier"
    primitives: int | None = None
    products: int = 1
    memories: tuple[MemoryKind, ...] = ()
    logic: int | None = None
    limit: float | None = None
    family: Family | None = None
    packing: int = 1
    widest: tuple[int, int] = (18, 1)
    core: Core | None = None

    @property
    def logic_kinds(self) -> dict[str, int | None]:
        """What its logic is counted in, and its flip-flops, each with how many there are."""
        lut, registers = (self.core.lut, self.core.registers) if self.core else ("LUT4", 1)
        return {lut: self.logic, "FF": None if self.logic is None else int(self.logic * registers)}

    @property
    def measured_as(self) -> str | None:
        """Under which name the logic that engines take of it was measured, if it was."""
        return self.family.place_and_route if self.family else self.core.name if self.core else None
