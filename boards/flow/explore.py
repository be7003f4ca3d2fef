"""The search for an engine: cycles from the exact model, logic from the calibrated one, and the Pareto front of both.

Every engine for which the part has multipliers is a candidate, a hundred thousand of them.  All get a bound that their
cycles can't fall below, and the logic of all their parts but the memories, in a few array operations.  Then, least
logic first, those whose bounds do not prove that a smaller engine is as fast are scheduled: a millisecond each."""

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from math import prod
from types import SimpleNamespace

import numpy as np
from tepal.boards.board import Board
from tepal.boards.parts.part import MemoryKind
from tepal.hdl import EngineConfig, Formats, Schedule
from tepal.hdl.plan.lower import Block, fold
from tepal.quant import Network, NetworkError
from tepal.sim import CycleModel

from .fit import Fit, default_engine, fit, memory_kind
from .lut_estimate import estimate, features
from .smaller import advice, capacity, largest

__all__ = ["CLOSE", "OPTIONS", "Point", "candidates", "explore", "least_blocks", "least_cycles", "options"]

CLOSE = 0.01
"""An engine that is faster than a smaller one by no more than this share is left out."""

OPTIONS = ("rows", "columns", "lanes", "requantisers", "packing", "copy_lanes")
"""What is searched over; the rest is the board's."""

_MOST_LANES = 64


@dataclass(frozen=True)
class Point:
    """An engine, its cycles (as :class:`~tepal.sim.CycleModel` has them), and what it takes of the board."""

    config: EngineConfig
    compute_cycles: int
    interval_cycles: int
    fit: Fit

    @classmethod
    def of(cls, network: Network, config: EngineConfig, board: Board, formats: Formats) -> "Point":
        return cls.of_schedule(Schedule(network, config, formats), board)

    @classmethod
    def of_schedule(cls, schedule: Schedule, board: Board) -> "Point":
        model = CycleModel(schedule)
        return cls(schedule.config, model.compute_cycles, model.interval_cycles, fit(schedule, board))

    @property
    def logic(self) -> int:
        """LUTs, estimated."""
        return self.fit.used["LUT4"]


def options(config: EngineConfig) -> str:
    """The command line that asks for ``config`` on a board of its kind."""
    return " ".join(f"--{name.replace('_', '-')} {getattr(config, name)}" for name in OPTIONS)


def _ceil(a, b):
    return -(-a // b)


def candidates(config: EngineConfig, formats: Formats, most: int) -> SimpleNamespace:
    """``config`` with arrays (candidates,) for all of :data:`OPTIONS` but packing: engines of at most ``most``
    multipliers, and none larger than the network can use."""
    pixels = max(block.windows for block in formats.blocks)
    width = max(block.matrix.weights.shape[0] for block in formats.blocks)
    channels = max(block.window.input_shape[2] for block in formats.blocks)
    most *= config.packing
    # As many bytes of the first window's rows as make one more, or one less, cycle of each; wider ones if it is folded.
    copies = {(1, 1)}
    for block in (formats.blocks[0], *_folded(formats, most)):
        row_bytes = block.window.input_shape[2]
        copies |= {(block.fold, _ceil(row_bytes, parts)) for parts in range(1, row_bytes + 1)}
    found = []
    for lanes in range(1, min(channels, _MOST_LANES) + 1):
        for requantisers in (count for count in range(1, lanes + 1) if lanes % count == 0):
            if config.requantiser_cycles > 1 and requantisers > 1:
                continue
            columns = np.arange(requantisers, min(most, width + requantisers - 1) + 1, requantisers)
            rows = np.arange(config.packing, min(most, pixels + config.packing - 1) + 1, config.packing)
            rows, columns = np.meshgrid(rows, columns, indexing="ij")
            few = rows * columns <= most
            for count, copy_lanes in sorted(copies):
                if copy_lanes == 1 or copy_lanes > lanes:
                    fits = few if count == 1 else few & (columns == count * formats.blocks[0].output_shape[2])
                    found.append(np.stack(np.broadcast_arrays(rows[fits], columns[fits], lanes, requantisers,
                                                              copy_lanes)))
    names = [name for name in OPTIONS if name != "packing"]
    grid = SimpleNamespace(**dict(zip(names, np.concatenate(found, axis=1), strict=True)))
    for name in ("packing", "window", "taps", "input_bytes", "requantiser_cycles", "lane_cycles",
                 "single_port"):
        setattr(grid, name, getattr(config, name))
    grid.tile_lanes = np.maximum(grid.lanes, grid.copy_lanes)
    grid.drain_step = grid.columns // grid.requantisers * grid.requantiser_cycles
    return grid


def _folded(formats: Formats, most: int) -> list[Block]:
    """The first block, folded in all ways in which it may fill up to ``most`` columns."""
    _, width, channels = formats.blocks[0].output_shape
    return [fold(formats.layout, formats.blocks[0], count)[1]
            for count in range(2, min(width, most // channels) + 1) if width % count == 0]


def least_cycles(grid: SimpleNamespace, formats: Formats) -> np.ndarray:
    """A bound that ``compute_cycles`` can't fall below, (candidates,): the schedule without latencies."""
    serial = grid.lanes * grid.lane_cycles if grid.lane_cycles > 1 else 1

    def shape(block: Block, lanes: np.ndarray) -> tuple:
        out_channels, inner = block.matrix.weights.shape
        tile = _ceil(block.windows, _ceil(block.windows, grid.rows))
        tiles = _ceil(block.windows, tile)
        groups = _ceil(block.window.input_shape[2], lanes)
        chunks = prod(block.window.kernel)
        if block.reduction is not None:
            down, across = (_ceil(*pair) for pair in zip(block.window.kernel, grid.window, strict=True))
            chunks = np.maximum(down, _ceil(serial, across)) * across
        steps = groups * tile * chunks
        blocks = _ceil(out_channels, grid.columns)
        fed = blocks * np.maximum(np.maximum(inner, grid.rows * grid.drain_step), np.where(blocks > 1, grid.columns, 1))
        return tiles, steps, fed, np.maximum(steps, fed), tile * grid.drain_step

    first, *others = formats.blocks
    shapes = [shape(first, grid.tile_lanes), *(shape(block, grid.lanes) for block in others)]
    for block in _folded(formats, int(grid.columns.max(initial=0))):
        # As the schedule has it: where it fits the columns and is faster.
        folded, plain = shape(block, grid.tile_lanes), shapes[0]
        better = ((grid.columns == len(block.matrix.weights)) & (block.output_shape[2] % grid.requantisers == 0)
                  & (grid.requantiser_cycles == 1) & (folded[0] * folded[3] < plain[0] * plain[3]))
        shapes[0] = tuple(np.where(better, *pair) for pair in zip(folded, plain, strict=True))
    total = 0
    for (tiles, steps, fed, slot, drained), (next_tiles, _, _, next_slot, _) in pairwise(shapes):
        # The next block's last tile reads what this one's last tile wrote.
        written = steps + fed + drained - (next_tiles - 1) * next_slot
        total = total + (tiles - 1) * slot + np.maximum(steps, written)
    tiles, steps, fed, slot, _ = shapes[-1]
    return total + (tiles - 1) * slot + steps + fed


def least_blocks(grid: SimpleNamespace, formats: Formats, board: Board) -> dict[str, np.ndarray]:
    """Kind of ``board``'s memory to blocks, (candidates,), that activations and weights take at least."""
    def blocks(kind: MemoryKind, depth, width) -> np.ndarray:
        return np.minimum.reduce([_ceil(depth, words) * _ceil(width, bits) for words, bits in kind.shapes])

    def words(block: Block) -> np.ndarray:
        height, width, channels = block.output_shape
        return _ceil(height, grid.window[0]) * _ceil(width, grid.window[1]) * _ceil(channels, grid.lanes)

    def largest(maps: list) -> np.ndarray:
        return np.maximum.reduce([np.zeros_like(grid.lanes), *maps])

    inner = [words(block) for block in formats.blocks[:-1]]
    # Pools are left out, and what filters all channels alike: words that are the same are stored once.
    filters = [block for block in formats.blocks if block.reduction is not None
               and (block.reduction.weights != block.reduction.weights[:, :, :1]).any()]
    regions = largest(inner[0::2]), largest(inner[1::2])
    needs = [
        *(("activations", grid.taps, depth, 8 * grid.lanes)
          for depth in (regions if grid.single_port else [sum(regions)])),
        ("matrix_weights", 1, sum(_ceil(out, grid.columns) * depth for out, depth in (
            block.matrix.weights.shape for block in formats.blocks)), 8 * grid.columns),
        ("depthwise_weights", 1, sum(_ceil(block.window.input_shape[2], grid.lanes)
                                     * prod(_ceil(*pair) for pair in zip(block.window.kernel, grid.window, strict=True))
                                     for block in filters), 8 * grid.taps * grid.lanes),
    ]
    least = {kind.name: np.zeros_like(grid.lanes) for kind in board.part.memories}
    for role, count, depth, width in needs:
        kind = memory_kind(board, role)
        least[kind.name] = least[kind.name] + count * blocks(kind, depth, width)
    return least


def explore(network: Network, board: Board, formats: Formats | None = None, *, base: EngineConfig | None = None,
            fixed: Mapping[str, int] | None = None, limits: Mapping[str, int] | None = None,
            progress=lambda what, done, total: None) -> list[Point]:
    """The engines that fit ``board`` and that no smaller one matches, smallest first.

    Each point has fewer LUTs, or fewer cycles from image to answer, than each other one.  An engine that fits and is
    not among them has at least as many LUTs as one of them, and not :data:`CLOSE` fewer cycles.

    Parameters
    ----------
    base
        What is not searched over (default: the board's engine).
    fixed
        One of :data:`OPTIONS` to the only value to look at.
    limits
        Kind of resource, as :class:`~tepal.boards.board.Fit` names it, to how many may be used.
    progress
        Told ``(what, done, total)``.

    Raises
    ------
    NetworkError
        Nothing is known of the part's logic, there is no such kind, or no engine fits: at once where the weights alone
        are too many.
    """
    if board.part.logic is None:
        raise NetworkError(f"{board.name} has no limits to look for engines within: name a board that has")
    formats, base, limits = formats or Formats(network), base or default_engine(board, network, formats), limits or {}
    schedule = Schedule(network, base, formats)
    known = fit(schedule, board)
    if "LUT4" not in known.used:
        raise NetworkError(f"the logic that engines take has not been measured for {board.name}: name another board")
    room = capacity(board.part)
    if 8 * network.parameters > room:
        raise NetworkError(f"no engine makes the network fit {board.name}: its weights alone are "
                           f"{network.parameters:,} bytes and all memories of {board.part.name} hold {room // 8:,}; "
                           f"{advice(largest(schedule, board))}")
    if unknown := limits.keys() - known.available.keys():
        raise NetworkError(f"{board.name} has no {min(unknown)} to limit; it has {', '.join(known.available)}")
    multipliers = board.part.primitives or 0
    most = min(multipliers, limits.get(board.part.multiplier, multipliers)) * board.part.products
    kinds = {kind.name: min(kind.count, limits.get(kind.name, kind.count)) for kind in board.part.memories}
    pool = []
    for packing in range(1, board.part.packing + 1):
        grid = candidates(replace(base, rows=packing, packing=packing), formats, most)
        logic = estimate(board, features(grid, formats))["LUT4"]
        memories = least_blocks(grid, formats, board)
        logic = np.where(np.logical_and.reduce([memories[kind] <= limit for kind, limit in kinds.items()]), logic,
                         np.inf)
        pool.append(np.stack(np.broadcast_arrays(logic, least_cycles(grid, formats),
                                                 *(getattr(grid, name) for name in OPTIONS))))
    table = np.concatenate(pool, axis=1)
    possible = table[0] <= min(board.part.logic, limits.get("LUT4", np.inf))
    for name, value in (fixed or {}).items():
        possible &= table[2 + OPTIONS.index(name)] == value
    table = table[:, possible]
    table = table[:, np.lexsort((table[1], table[0]))].T.tolist()
    front: list[Point] = []

    def matched(logic: float, cycles: float) -> bool:
        """Whether a point of the front is no larger, and faster or about as fast."""
        index = bisect_right(front, logic, key=lambda point: point.logic)
        return index > 0 and cycles >= (1 - CLOSE) * front[index - 1].compute_cycles

    for done, (least_logic, least, *engine) in enumerate(table):
        if done % 1000 == 0:
            progress("Engines", done, len(table))
        if matched(least_logic, least):
            continue
        point = Point.of(network, replace(base, **dict(zip(OPTIONS, map(int, engine), strict=True))), board, formats)
        if not point.fit.within(limits) or matched(point.logic, point.compute_cycles):
            continue
        front = [other for other in front if other.logic < point.logic or other.compute_cycles < point.compute_cycles]
        front.insert(bisect_right(front, point.logic, key=lambda point: point.logic), point)
    if not front:
        asked = [*(f"{value} {name.replace('_', ' ')}" for name, value in (fixed or {}).items()),
                 *(f"at most {count:,} {kind}" for kind, count in limits.items())]
        told = f" that {board.name} has room for runs this network"
        raise NetworkError(f"no engine with {' and '.join(asked)}{told}" if asked else
                           f"no engine{told}; {advice(largest(schedule, board))}")
    return front
