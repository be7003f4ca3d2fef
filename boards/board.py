# SPDX-License-Identifier: Apache-2.0
"""A board: the FPGA that it carries, what lies around it, and how a bitstream gets onto it."""

import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from tepal.hdl import EngineConfig
from tepal.hdl.memories.sdram import word_count, word_cycles
from tepal.hdl.memories.sdram_timing import SdramChip, SdramTiming
from tepal.quant import Network
from tepal.quant.ops.depthwise import Depthwise

from .parts.part import Part, Pin
from .programmer import Programmer

__all__ = ["Board", "Flash", "Sdram", "describe", "tell"]


@dataclass(frozen=True)
class Flash:
    """A flash memory that a design reads its weights from: an SPI resource of the platform's, and where in it, in
    bytes, they begin: behind the bitstream, at a multiple of what is erased at a time.

    ``size`` is that of the memory, in bytes.  ``idle`` are parts of the resource that are never selected."""

    pins: Pin
    offset: int
    size: int = 16 << 20
    idle: tuple[str, ...] = ()

    @property
    def room(self) -> int:
        """Bytes for weights, behind the bitstream."""
        return self.size - self.offset


@dataclass(frozen=True)
class Sdram:
    """An SDR SDRAM of 16 bits: a resource of the platform's; the chip, whose times are those of the slowest that such a
    board carries; and the clocks in MHz, the slowest and the fastest, at which
    :class:`~tepal.hdl.memories.sdram_pads.SdramPads` take what it answers at the right time."""

    pins: Pin
    chip: SdramChip
    slowest: float
    fastest: float

    @property
    def timing(self) -> SdramTiming:
        """Its times at any of these clocks."""
        return SdramTiming.between(self.chip, round(self.slowest * 1e6), round(self.fastest * 1e6))

    @property
    def room(self) -> int:
        """Bytes."""
        return 8 * word_count(self.timing)


@dataclass(frozen=True)
class Board:
    """A board.

    ``config`` is the engine built for it by default, and ``others`` are those for networks that leave no room for it or
    that are faster on them, the smallest last (:func:`tepal.boards.flow.fit.default_engine`); ``dense`` are those for
    networks without depthwise convolutions.  ``roles`` names the kind of a memory by its role where it is not the first
    one of the part's.  The rest is for building: ``platform`` is
    Amaranth's (its resource ``uart`` is the line to the host, at ``baud`` bits a second), ``oscillator`` in Hz.
    ``lights`` tells which light shows ``ready``, ``busy``, ``error`` and ``result0`` to ``result3``; ``button`` begins
    anew; ``high`` are pins to hold high.  ``target`` is the clock in MHz to ask of the tools, a little above what is
    hoped for, and ``lowest`` the one below which a result counts as failed.  ``flash`` is where engines that load their
    weights have them from, ``memory`` what holds weights for which there is no room on the chip, filled from ``flash``.
    ``programmer`` is how a bitstream gets onto it, None where that can't be done from here.  ``buffer``
    is how many bytes can wait behind the receiver.  ``notes`` are things that a user must know."""

    name: str
    part: Part
    config: EngineConfig
    others: tuple[EngineConfig, ...] = ()
    dense: tuple[EngineConfig, ...] = ()
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
    memory: Sdram | None = None
    programmer: Programmer | None = None
    buffer: int = 2048
    notes: str = ""

    @property
    def engines(self) -> tuple[EngineConfig, ...]:
        """All that a network gets one of by default."""
        return self.config, *self.dense, *self.others

    def engines_for(self, network: Network) -> tuple[EngineConfig, ...]:
        """Those of them that may be the best one for ``network``."""
        if any(isinstance(layer, Depthwise) for layer in network.layers):
            return self.config, *self.others
        return self.engines

    @property
    def speed_grade(self) -> str | None:
        """Of the part that the board carries, at which nextpnr reckons with its delays; None where there is only one,
        or no platform says."""
        return getattr(self.platform, "speed", None)

    @property
    def fpga(self) -> str:
        """The part, and its speed grade where it has one, for people."""
        return self.part.name + (f", grade {self.speed_grade}" if self.speed_grade else "")

    @property
    def beat_cycles(self) -> Fraction:
        """Cycles that a beat of weights from outside takes on average: out of the board's ``memory``; or one, out of
        any that is as fast as an engine."""
        return word_cycles(self.memory.timing) if self.memory else Fraction(1)


def describe(*boards: Board) -> str:
    """What ``boards`` offer, for people."""
    lines = []
    for board in boards:
        part, config = board.part, board.config
        memories = ", ".join(f"{kind.count} {kind.name}" for kind in part.memories)
        clocks = [pll.frequency for pll in part.family.plls(board.oscillator)] if part.family else []
        lines += [f"{board.name}: {board.fpga}, {part.primitives} {part.multiplier}, {memories}, "
                  f"{part.logic:,} logic cells",
                  f"  engine: {config.shape} array, {config.lanes} lanes",
                  f"  clock: {board.oscillator / 1e6:g} MHz, by PLL to {len(clocks)} frequencies up to "
                  f"{float(clocks[-1]) / 1e6:g} MHz",
                  f"  serial line: {board.baud:,} baud"]
        if sdram := board.memory:
            lines.append(f"  memory for weights: SDRAM of {8 * word_count(sdram.timing) >> 20} MiB, at clocks of "
                         f"{sdram.slowest:g} to {sdram.fastest:g} MHz")
        lines += [f"  note: {board.notes}"] if board.notes else []
    return "\n".join([*lines, f"Build with: tepal build MODEL --board {boards[0].name} -o DIR"])


def tell(*boards: Board) -> None:
    """Print what ``boards`` offer: ``python -m`` a board's module."""
    # A reader that goes, as head does, ends the program without a word.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    print(describe(*boards))
