"""The boards, and whether a schedule fits one."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from math import gcd

from tepal.hdl import EngineConfig, Formats, MemoryUse, Schedule
from tepal.quant import Network, NetworkError
from tepal.sim import CycleModel

from .ecpix5 import ECPIX5_85F
from .icebreaker import ICEBREAKER
from .logic import KINDS, MARGIN, logic
from .orangecrab import ORANGECRAB_85F
from .part import Board, Part
from .ulx3s import ULX3S_25F, ULX3S_45F, ULX3S_85F

__all__ = ["BOARDS", "Board", "Fit", "default_engine", "describe", "fit", "get_board", "require_fit"]


@dataclass(frozen=True)
class Fit:
    """Resources of a schedule on a board: ``used`` and ``available`` per kind (None: unlimited).

    Multipliers and memory blocks are counted, and :data:`~tepal.boards.logic.KINDS` estimated."""

    used: dict[str, int]
    available: dict[str, int | None]

    @property
    def over(self) -> list[str]:
        """The kinds of which there are too few; for sure, where they are estimated."""
        return [kind for kind, limit in self.available.items()
                if limit is not None and self.used[kind] > limit * (1 + MARGIN if kind in KINDS else 1)]

    @property
    def ok(self) -> bool:
        return not self.over

    def within(self, limits: Mapping[str, int]) -> bool:
        """Whether there is enough of all, and no more is used than ``limits``; estimates are taken at their word."""
        return all(self.used[kind] <= limit for most in (self.available, limits) for kind, limit in most.items()
                   if limit is not None)


_GENERIC = Board("generic", Part("any FPGA"),
                 EngineConfig(rows=4, columns=8, lanes=4, window=(3, 3), requantisers=4, input_bytes=1))

BOARDS = {board.name: board for board in (
    ULX3S_85F, ULX3S_45F, ULX3S_25F, ORANGECRAB_85F, ECPIX5_85F, ICEBREAKER, _GENERIC)}
"""Every board by name."""


def get_board(name: str) -> Board:
    """The board called ``name``; NetworkError with the nearest names if there is none."""
    if name in BOARDS:
        return BOARDS[name]
    near = get_close_matches(name.lower(), BOARDS, n=3, cutoff=0.4)
    guess = f"; did you mean {' or '.join(near)}?" if near else ""
    raise NetworkError(f"there is no board {name!r}{guess} (known: {', '.join(BOARDS)})")


def describe(*boards: Board) -> str:
    """What ``boards`` offer, for people."""
    lines = []
    for board in boards:
        part, config = board.part, board.config
        memories = ", ".join(f"{kind.count} {kind.name}" for kind in part.memories)
        clocks = [pll.frequency for pll in part.family.plls(board.oscillator)] if part.family else []
        lines += [f"{board.name}: {part.name}, {part.primitives} {part.multiplier}, {memories}, "
                  f"{part.logic:,} logic cells",
                  f"  engine: {config.rows} x {config.columns} array, {config.lanes} lanes",
                  f"  clock: {board.oscillator / 1e6:g} MHz, by PLL to {len(clocks)} frequencies up to "
                  f"{float(clocks[-1]) / 1e6:g} MHz",
                  f"  serial line: {board.baud:,} baud"]
        lines += [f"  note: {board.notes}"] if board.notes else []
    return "\n".join([*lines, f"Build with: tepal build MODEL --board {boards[0].name} -o DIR"])


def _blocks(board: Board, use: MemoryUse) -> tuple[str, int]:
    kind = next((k for k in board.part.memories if k.name == board.roles.get(use.role)), board.part.memories[0])
    if kind.name == "SB_SPRAM256KA" and use.regions > 1:
        # One port: each region in blocks of its own.
        return kind.name, use.count * sum(kind.blocks(depth, use.width) for depth in use.region_depths)
    return kind.name, use.count * kind.blocks(use.depth, use.width)


def fit(schedule: Schedule, board: Board) -> Fit:
    """What ``schedule`` takes of ``board``."""
    used = {board.part.multiplier: -(-schedule.config.multipliers // board.part.products)}
    available: dict[str, int | None] = {board.part.multiplier: board.part.primitives}
    for kind in board.part.memories:
        used[kind.name], available[kind.name] = 0, kind.count
    if not board.part.memories:
        used["memory bits"] = sum(use.count * use.depth * use.width for use in schedule.memories)
        available["memory bits"] = None
        return Fit(used, available)
    for use in schedule.memories:
        kind, blocks = _blocks(board, use)
        used[kind] += blocks
    for kind, count in logic(schedule, board).items():
        used[kind], available[kind] = count, board.part.logic
    return Fit(used, available)


def default_engine(board: Board, network: Network, formats: Formats | None = None) -> EngineConfig:
    """The engine for ``network`` by default: of the board's the one that takes the fewest cycles and fits, or else the
    smallest one; its input stream no wider than divides an image row.  ``formats`` are the network's, if there are any
    already."""
    _, width, channels = network.input_shape
    configs = [replace(config, input_bytes=gcd(config.input_bytes, width * channels))
               for config in (board.config, *board.others)]
    if not board.others:
        return configs[0]
    formats = formats or Formats(network)
    schedules = [(config, Schedule(network, config, formats)) for config in configs]
    fitting = [(config, schedule) for config, schedule in schedules if fit(schedule, board).ok]
    return min(fitting or schedules[-1:], key=lambda pair: CycleModel(pair[1]).compute_cycles)[0]


def require_fit(schedule: Schedule, board: Board) -> Fit:
    """:func:`fit`, or NetworkError saying which resource, by how much, and what would fit."""
    result = fit(schedule, board)
    for kind in result.over:
        used, limit = result.used[kind], result.available[kind]
        assert limit is not None
        if kind in KINDS:
            raise NetworkError(f"the engine does not fit {board.name}: by estimate it needs {used:,} {kind}, and "
                               f"{board.part.name} has {limit:,}; choose fewer --lanes, --requantisers, --rows or "
                               "--columns (tepal explore lists engines that fit)")
        message = (f"the network does not fit {board.name}: it needs {used} {kind} and {board.part.name} has {limit} "
                   f"({used - limit} too many)")
        if kind == board.part.multiplier:
            raise NetworkError(f"{message}; choose rows x columns of at most {limit * board.part.products}")
        largest = max((use for use in schedule.memories if _blocks(board, use)[0] == kind),
                      key=lambda use: _blocks(board, use)[1])
        weights = schedule.network.parameters
        raise NetworkError(
            f"{message}, {_blocks(board, largest)[1]} of them for {largest.role.replace('_', ' ')}; "
            f"it has {weights:,} bytes of weights, and a width multiplier of about "
            f"{(limit / used) ** 0.5:.2f} times this one, or a smaller image, would fit")
    return result
