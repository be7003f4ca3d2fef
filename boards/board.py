"""The boards, and whether a schedule fits one."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from math import gcd

from tepal.hdl import EngineConfig, Formats, MemoryUse, Schedule
from tepal.quant import Network, NetworkError
from tepal.quant.scale import Scaled
from tepal.sim import CycleModel

from .ecpix5 import ECPIX5_85F
from .icebreaker import ICEBREAKER
from .logic import KINDS, MARGIN, logic
from .orangecrab import ORANGECRAB_85F
from .part import Board, MemoryKind, Part
from .ulx3s import ULX3S_25F, ULX3S_45F, ULX3S_85F

__all__ = ["BOARDS", "Board", "Fit", "blocks", "default_engine", "describe", "fit", "get_board", "memory_kind",
           "require_fit", "shortage"]


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


def memory_kind(board: Board, role: str) -> MemoryKind:
    """What a memory of this role is made of on ``board``."""
    return next((kind for kind in board.part.memories if kind.name == board.roles.get(role)), board.part.memories[0])


def blocks(board: Board, use: MemoryUse) -> tuple[str, int]:
    """Which kind of ``board``'s memory blocks a memory takes, and how many."""
    kind = memory_kind(board, use.role)
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
        kind, count = blocks(board, use)
        used[kind] += count
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


def shortage(schedule: Schedule, board: Board, smaller: Sequence[Scaled] | None = None) -> str | None:
    """What ``board`` has too little of for ``schedule``, by how much, and what would fit; None if it fits.

    ``smaller`` are versions of the network that fit, if they are known; else they are searched for, which may take
    seconds (:func:`~tepal.boards.smaller.largest`)."""
    result = fit(schedule, board)
    for kind in result.over:
        used, limit = result.used[kind], result.available[kind]
        assert limit is not None
        if kind in KINDS:
            return (f"by estimate it needs {used:,} {kind}, and {board.part.name} has {limit:,}; choose fewer --lanes, "
                    "--requantisers, --rows or --columns (tepal explore lists engines that fit)")
        message = f"it needs {used} {kind} and {board.part.name} has {limit} ({used - limit} too many)"
        if kind == board.part.multiplier:
            return f"{message}; choose rows x columns of at most {limit * board.part.products}"
        roles: Counter[str] = Counter()
        for use in schedule.memories:
            if blocks(board, use)[0] == kind:
                roles[use.role] += blocks(board, use)[1]
        (role, count), = roles.most_common(1)
        # It needs what is defined here, and is needed where nothing fits alone.
        from .smaller import advice, largest

        return (f"{message}, {count} of them for {role.replace('_', ' ')}; "
                f"{advice(largest(schedule, board) if smaller is None else smaller)}")
    return None


def require_fit(schedule: Schedule, board: Board, smaller: Sequence[Scaled] | None = None) -> Fit:
    """:func:`fit`, or NetworkError with the :func:`shortage`."""
    result = fit(schedule, board)
    if told := shortage(schedule, board, smaller):
        what = "engine" if result.over[0] in KINDS else "network"
        raise NetworkError(f"the {what} does not fit {board.name}: {told}")
    return result
