# SPDX-License-Identifier: Apache-2.0
"""The search for an engine: cycles from the exact model, logic from the calibrated one, and the Pareto front of both.

Every engine for which the part has multipliers is a candidate, a hundred thousand of them.  All get a bound that their
cycles can't fall below, and the logic of all their parts but the memories, in a few array operations.  Then, least
logic first, those whose bounds do not prove that a smaller engine is as fast are scheduled: a millisecond each."""

from bisect import bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
from tepal.boards.board import Board
from tepal.boards.parts.part import MemoryKind
from tepal.hdl import EngineConfig, Formats, Schedule
from tepal.hdl.plan.passes import Pass, unroll
from tepal.hdl.plan.places import FeatureMap, Lifetime, colour, lifetimes, skip_lifetimes, skip_words
from tepal.hdl.plan.schedule import may_unroll
from tepal.hdl.plan.tiling import Latencies, Tiling
from tepal.hdl.plan.timeline import last_pixels
from tepal.quant import Network, NetworkError
from tepal.sim import CycleModel

from .fit import Fit, default_engine, fit, memory_kind
from .lut_estimate import estimate, features
from .smaller import advice, capacity, largest

__all__ = ["CLOSE", "OPTIONS", "Engines", "Point", "candidates", "explore", "least_blocks", "least_cycles", "options"]

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


class Engines:
    """Many engines at once: an :class:`~tepal.hdl.EngineConfig` with arrays (engines,) in place of some integers.

    Tilings, bounds and estimates take one in place of a configuration, and give arrays then."""

    def __init__(self, config: EngineConfig, **arrays: np.ndarray):
        vars(self).update(vars(config) | arrays)

    taps, turns, drain_step = EngineConfig.taps, EngineConfig.turns, EngineConfig.drain_step
    rows: Any
    columns: Any
    lanes: Any
    requantisers: Any
    packing: Any
    copy_lanes: Any
    window: tuple[int, int]
    requantiser_cycles: int
    lane_cycles: int
    single_port: bool

    @property
    def tile_lanes(self) -> np.ndarray:
        return np.maximum(self.lanes, self.copy_lanes)


def candidates(config: EngineConfig, formats: Formats, most: int) -> Engines:
    """``config`` with arrays (engines,) for all of :data:`OPTIONS` but packing: engines of at most ``most``
    multipliers, and none larger than the network can use."""
    passes = formats.passes
    pixels = max(work.windows for work in passes)
    width = max(work.matrix.weights.shape[0] for work in passes)
    channels = max(work.window.input_shape[2] for work in passes)
    most *= config.packing
    # As many bytes of the first window's rows as make one more, or one less, cycle of each; wider ones if unrolled.
    copies = {(1, 1)}
    for work in (passes[0], *_unrolled(formats, most)):
        row_bytes = work.window.input_shape[2]
        copies |= {(work.pixels_per_window, _ceil(row_bytes, parts)) for parts in range(1, row_bytes + 1)}
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
                    fits = few if count == 1 else few & (columns == count * passes[0].output_shape[2])
                    found.append(np.stack(np.broadcast_arrays(rows[fits], columns[fits], lanes, requantisers,
                                                              copy_lanes)))
    names = [name for name in OPTIONS if name != "packing"]
    return Engines(config, **dict(zip(names, np.concatenate(found, axis=1), strict=True)))


def _unrolled(formats: Formats, most: int) -> list[Pass]:
    """The first pass, unrolled in all ways in which it may fill up to ``most`` columns."""
    _, width, channels = formats.passes[0].output_shape
    return [unroll(formats.layout, formats.passes[0], count)[1]
            for count in range(2, min(width, most // channels) + 1) if width % count == 0]


def least_cycles(engines: Engines, formats: Formats) -> np.ndarray:
    """A bound that ``compute_cycles`` can't fall below, (engines,): the timeline without latencies, but that of a value
    in the requantiser."""
    latency = Latencies(drain=engines.requantiser_cycles)

    def stepped(tiling: Tiling) -> np.ndarray:
        """Cycles from a pass's first step to that of the next."""
        return tiling.to_last_tile + tiling.steps

    def written(tiling: Tiling, following: Tiling) -> np.ndarray:
        """Cycles from a pass's first step to that of one that reads its map, whose last tile waits for the last pixel
        it reads."""
        tile = last_pixels(following.work.window)[-1] // tiling.tile_pixels
        return tile * tiling.slot + tiling.last_written + 1 - following.to_last_tile

    def tail(tiling: Tiling) -> np.ndarray:
        """Cycles from the last pass's first step to its last tile's first results."""
        return tiling.to_last_tile + tiling.steps + tiling.column_groups * tiling.period

    first, *others = (Tiling(work, engines, latency) for work in formats.passes)
    # From each pass but the first to the next one, and to those that read its map.
    steps = [stepped(tiling) for tiling in others[:-1]]
    waits = [written(others[tiling.work.source - 1], tiling) if tiling.work.source else None for tiling in others]

    def total(first: Tiling) -> np.ndarray:
        starts = [np.zeros_like(engines.rows)]
        for tiling, wait, step in zip(others, waits, (stepped(first), *steps), strict=False):
            wait = written(first, tiling) if wait is None else wait
            starts.append(np.maximum(starts[-1] + step, starts[tiling.work.source or 0] + wait))
        return starts[-1] + tail(others[-1] if others else first)

    least = total(first)
    for work in _unrolled(formats, int(engines.columns.max(initial=0))):
        unrolled = Tiling(work, engines, latency)
        better = may_unroll(formats.passes[0], work.pixels_per_window, engines) & (unrolled.busy < first.busy)
        least = np.where(better, total(unrolled), least)
    return least


def least_blocks(engines: Engines, formats: Formats, board: Board) -> dict[str, np.ndarray]:
    """Kind of ``board``'s memory to blocks, (engines,), that activations and weights take at least."""
    def blocks(kind: MemoryKind, depth, width) -> np.ndarray:
        return np.minimum.reduce([_ceil(depth, words) * _ceil(width, bits) for words, bits in kind.shapes])

    tilings = [Tiling(work, engines, Latencies()) for work in formats.passes]
    passes = formats.passes
    regions = _regions(lifetimes(passes), lambda number: FeatureMap(
        passes[number].output_shape, engines.window, engines.lanes).depth)
    skips = _regions(skip_lifetimes(passes), lambda number: skip_words(passes[number], engines), in_place=True)
    # Pools are left out, and what filters all channels alike: words that are the same are stored once.
    filters = [tiling for tiling in tilings if tiling.work.reduction is not None
               and (tiling.work.reduction.weights != tiling.work.reduction.weights[:, :, :1]).any()]
    needs = [
        *(("activations", engines.taps, depth, 8 * engines.lanes)
          for depth in (regions if engines.single_port else [sum(regions)])),
        *(("skip", 1, depth, 8 * engines.requantisers) for depth in ([sum(skips)] if skips else [])),
        ("matrix_weights", 1, sum(tiling.column_groups * tiling.inner for tiling in tilings),
         formats.matrix_weight_bits * engines.columns),
        ("depthwise_weights", 1, sum(tiling.groups * prod(tiling.chunks) for tiling in filters),
         formats.depthwise_weight_bits * engines.taps * engines.lanes),
    ]
    least = {kind.name: np.zeros_like(engines.lanes) for kind in board.part.memories}
    for role, count, depth, width in needs:
        kind = memory_kind(board, role)
        least[kind.name] = least[kind.name] + count * blocks(kind, depth, width)
    return least


def _regions(lives: dict[int, Lifetime], depth: Callable[[int], Any], *,
             in_place: bool = False) -> list[np.ndarray]:
    """Words in each region of a memory."""
    depths: dict[int, np.ndarray] = {}
    for number, region in zip(lives, colour([*lives.values()], in_place=in_place), strict=True):
        depths[region] = np.maximum(depth(number), depths.get(region, 0))
    return [*depths.values()]


def explore(network: Network, board: Board, formats: Formats | None = None, *, base: EngineConfig | None = None,
            fixed: Mapping[str, int] | None = None, limits: Mapping[str, int] | None = None,
            progress=lambda what, done, total: None) -> list[Point]:
    """The engines that fit ``board`` and that no smaller one matches, smallest first.

    Each point has fewer LUTs, or fewer cycles from image to answer, than each other one.  An engine that fits and is
    not among them has at least as many LUTs as one of them, and not :data:`CLOSE` fewer cycles.  All maps are stored
    whole: no pass runs in bands.

    Parameters
    ----------
    base
        What is not searched over (default: the board's engine).
    fixed
        One of :data:`OPTIONS` to the only value to look at.
    limits
        Kind of resource, as :class:`~tepal.boards.flow.fit.Fit` names it, to how many may be used.
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
    base = replace(base, activation_words=None)
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
    for packing in range(1, (board.part.packing if formats.matrix_weight_bits == 8 else 1) + 1):
        engines = candidates(replace(base, rows=packing, packing=packing), formats, most)
        logic = estimate(board, features(engines, formats))["LUT4"]
        memories = least_blocks(engines, formats, board)
        logic = np.where(np.logical_and.reduce([memories[kind] <= limit for kind, limit in kinds.items()]), logic,
                         np.inf)
        pool.append(np.stack(np.broadcast_arrays(logic, least_cycles(engines, formats),
                                                 *(getattr(engines, name) for name in OPTIONS))))
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
