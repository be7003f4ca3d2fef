"""An FPGA, and a board that carries one: what they offer, and how they are clocked."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

from amaranth.hdl import Elaboratable
from tepal.hdl import EngineConfig

from .programmer import Programmer

__all__ = ["Board", "Family", "Flash", "MemoryKind", "Part", "Pin", "Pll"]


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
class Pll:
    """One setting of a PLL: its output in Hz, exactly, and the primitive's parameters that make it."""

    frequency: Fraction
    parameters: Mapping[str, int]


class Family(ABC):
    """How FPGAs of one kind are clocked, synthesised, placed, routed and packed: :mod:`tepal.boards.ecp5` and
    :mod:`tepal.boards.ice40`."""

    place_and_route: str
    """Name of the tool in :data:`tepal.boards.tools.TOOLS`; ``packer`` likewise."""
    packer: str
    constraints: str
    """Suffix of the constraint file; ``routed`` that of nextpnr's result, ``bitstream`` that of the packer's."""
    routed: str
    bitstream: str
    output: tuple[str, str]
    """Type and port of the cell that drives the clock of the domain ``sync``."""
    reset: bool
    """Whether ``sync`` has a reset."""

    @abstractmethod
    def plls(self, oscillator: int) -> list[Pll]:
        """Every setting that the data sheet allows at this oscillator (Hz), slowest first, each frequency once."""

    @abstractmethod
    def clocks(self, board: "Board", pll: Pll) -> Elaboratable:
        """Drives the domains ``line`` (oscillator) and ``sync`` (PLL); nothing happens in either until the PLL is
        steady."""

    @abstractmethod
    def constraint(self, net: str, frequency: float) -> str:
        """A line of the constraint file: what ``net`` should reach, in Hz, whatever the PLL is set to."""

    @abstractmethod
    def synthesis(self, top: str) -> list[str]:
        """Commands of yosys from RTLIL that is read to a netlist that nextpnr takes."""

    def finish(self, module: dict, board: "Board", config: EngineConfig) -> None:  # noqa: B027
        """Change the netlist that synthesis made (a module of yosys' JSON), where place and route is the better for
        it."""

    @abstractmethod
    def logic(self, netlist: dict) -> Iterator[tuple[str, int, int]]:
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


@dataclass(frozen=True)
class Part:
    """An FPGA.

    ``primitives`` counts its multipliers, ``multiplier`` names them and ``products`` says how many int8 products a
    cycle one computes; ``packing`` rows of the array may share one.  ``limit`` is the clock in MHz that its memories
    and multipliers allow: nextpnr does not check these.  A part without ``family`` can't be built for, one without
    ``primitives`` has any number."""

    name: str
    multiplier: str = "multiplier"
    primitives: int | None = None
    products: int = 1
    memories: tuple[MemoryKind, ...] = ()
    logic: int | None = None
    limit: float | None = None
    family: Family | None = None
    packing: int = 1


@dataclass(frozen=True)
class Pin:
    """One of a platform's resources, or a part of it."""

    resource: str
    number: int = 0
    part: str | None = None


@dataclass(frozen=True)
class Flash:
    """A flash memory that a design reads its weights from: an SPI resource of the platform's, and where in it, in
    bytes, they begin: behind the bitstream, at a multiple of what is erased at a time."""

    pins: Pin
    offset: int


@dataclass(frozen=True)
class Board:
    """A board.

    ``config`` is the engine built for it by default, and ``others`` are those for networks that leave no room for it or
    that are faster on them, the smallest last (:func:`tepal.boards.board.default_engine`).  ``roles`` names the memory
    kind of a memory by its role where it is not the first one of the part's.  The rest is for building: ``platform`` is
    Amaranth's (its resource ``uart`` is the line to the host, at ``baud`` bits a second), ``oscillator`` in Hz.
    ``lights`` tells which light shows ``ready``, ``busy``, ``error`` and ``result0`` to ``result3``; ``button`` begins
    anew; ``high`` are pins to hold high.  ``target`` is the clock in MHz to ask of the tools, a little above what is
    hoped for, and ``lowest`` the one below which a result counts as failed.  ``flash`` is for boards whose engine loads
    its weights.  ``programmer`` is how a bitstream gets onto it, None where that can't be done from here.  ``buffer``
    is how many bytes can wait behind the receiver.  ``notes`` are things that a user must know."""

    name: str
    part: Part
    config: EngineConfig
    others: tuple[EngineConfig, ...] = ()
    roles: Mapping[str, str] = field(default_factory=dict)
    platform: Any = None
    oscillator: int = 0
    baud: int = 0
    lights: Mapping[str, Pin] = field(default_factory=dict)
    button: Pin | None = None
    high: tuple[Pin, ...] = ()
    target: float = 0.0
    lowest: float = 0.0
    flash: Flash | None = None
    programmer: Programmer | None = None
    buffer: int = 2048
    notes: str = ""
