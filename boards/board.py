"""What a board's FPGA has to offer, and whether a schedule fits."""

from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from math import gcd

from tepal.hdl import EngineConfig, MemoryUse, Schedule
from tepal.quant import Network, NetworkError

__all__ = ["BOARDS", "Board", "Fit", "MemoryKind", "fit", "get_board", "require_fit"]


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
class Board:
    """A board as a resource description.

    ``multipliers`` counts int8 products a cycle, ``multiplier`` names the primitive and ``products`` says how
    many of them one computes.  ``config`` is the engine built for it by default.  ``roles`` names the memory
    kind of a memory by its role where it is not the first one of ``memories``."""

    name: str
    part: str
    multiplier: str
    primitives: int | None
    products: int
    memories: tuple[MemoryKind, ...]
    config: EngineConfig
    roles: dict[str, str] = field(default_factory=dict)

    def engine(self, network: Network) -> EngineConfig:
        """The default engine for ``network``: its input stream no wider than divides an image row."""
        _, width, channels = network.input_shape
        return replace(self.config, input_bytes=gcd(self.config.input_bytes, width * channels))


@dataclass(frozen=True)
class Fit:
    """Resources of a schedule on a board: ``used`` and ``available`` per kind (None: unlimited)."""

    used: dict[str, int]
    available: dict[str, int | None]

    @property
    def ok(self) -> bool:
        return all(limit is None or self.used[kind] <= limit for kind, limit in self.available.items())


_DP16KD = MemoryKind("DP16KD", 208, ((16384, 1), (8192, 2), (4096, 4), (2048, 9), (1024, 18), (512, 36)))
_ICE40_EBR = MemoryKind("SB_RAM40_4K", 30, ((2048, 2), (1024, 4), (512, 8), (256, 16)))
_ICE40_SPRAM = MemoryKind("SB_SPRAM256KA", 4, ((16384, 16),))

BOARDS = {board.name: board for board in (
    Board("ulx3s-85f", "LFE5U-85F", "MULT18X18D", 156, 1, (_DP16KD,),
          EngineConfig(rows=9, columns=16, lanes=8, window=(3, 3), requantisers=8, input_bytes=4, spread=1,
                       copy_lanes=9)),
    # Activations and the array's weights in the large single-port memories (two regions are never read and
    # written at once), all else in the small ones.
    Board("icebreaker", "iCE40UP5K", "SB_MAC16", 8, 2, (_ICE40_EBR, _ICE40_SPRAM),
          EngineConfig(rows=4, columns=4, lanes=2, window=(1, 1), requantisers=1, input_bytes=1),
          {"activations": "SB_SPRAM256KA", "matrix_weights": "SB_SPRAM256KA"}),
    Board("generic", "any FPGA", "multiplier", None, 1, (),
          EngineConfig(rows=4, columns=8, lanes=4, window=(3, 3), requantisers=4, input_bytes=1)),
)}
"""Every board by name."""


def get_board(name: str) -> Board:
    """The board called ``name``; NetworkError with the nearest names if there is none."""
    if name in BOARDS:
        return BOARDS[name]
    near = get_close_matches(name, BOARDS, n=3, cutoff=0.4) or list(BOARDS)
    raise NetworkError(f"there is no board {name!r}; did you mean {' or '.join(near)}? (known: {', '.join(BOARDS)})")


def _blocks(board: Board, use: MemoryUse) -> tuple[str, int]:
    kind = next((k for k in board.memories if k.name == board.roles.get(use.role)), board.memories[0])
    if kind.name == "SB_SPRAM256KA" and use.regions > 1:
        # One port: each region in blocks of its own.
        return kind.name, use.count * sum(kind.blocks(depth, use.width) for depth in use.region_depths)
    return kind.name, use.count * kind.blocks(use.depth, use.width)


def fit(schedule: Schedule, board: Board) -> Fit:
    """What ``schedule`` takes of ``board``."""
    used = {board.multiplier: -(-schedule.config.multipliers // board.products)}
    available: dict[str, int | None] = {board.multiplier: board.primitives}
    for kind in board.memories:
        used[kind.name], available[kind.name] = 0, kind.count
    if not board.memories:
        used["memory bits"] = sum(use.count * use.depth * use.width for use in schedule.memories)
        available["memory bits"] = None
        return Fit(used, available)
    for use in schedule.memories:
        kind, blocks = _blocks(board, use)
        used[kind] += blocks
    return Fit(used, available)


def require_fit(schedule: Schedule, board: Board) -> Fit:
    """:func:`fit`, or NetworkError saying which resource, by how much, and what would fit."""
    result = fit(schedule, board)
    for kind, limit in result.available.items():
        used = result.used[kind]
        if limit is None or used <= limit:
            continue
        message = (f"the network does not fit {board.name}: it needs {used} {kind} and {board.part} has {limit} "
                   f"({used - limit} too many)")
        if kind == board.multiplier:
            raise NetworkError(f"{message}; choose rows x columns of at most {limit * board.products}")
        largest = max((use for use in schedule.memories if _blocks(board, use)[0] == kind),
                      key=lambda use: _blocks(board, use)[1])
        weights = schedule.network.parameters
        raise NetworkError(
            f"{message}, {_blocks(board, largest)[1]} of them for {largest.role.replace('_', ' ')}; "
            f"it has {weights:,} bytes of weights, and a width multiplier of about "
            f"{(limit / used) ** 0.5:.2f} times this one, or a smaller image, would fit")
    return result
