# SPDX-License-Identifier: Apache-2.0
"""The search for an engine: cycles from the exact model, logic from the calibrated one, and the Pareto front of both.

Every engine for which the part has multipliers is a candidate, a hundred thousand of them.  All get a bound that their
cycles can't fall below, and the logic of all their parts but the memories, in a few array operations.  Then, least
logic first, those whose bounds do not prove that a smaller engine is as fast are scheduled: a millisecond each."""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import lcm

import numpy as np
from tepal.boards.board import Board
from tepal.hdl import EngineConfig, Formats, Schedule
from tepal.hdl.config import RARE
from tepal.quant import Network, NetworkError
from tepal.sim import CycleModel

from .bounds import OPTIONS, Engines, least_blocks, least_cycles, unrolled
from .fit import Fit, capacity, default_engine, fit
from .lut_estimate import KINDS, estimate, features
from .smaller import advice, largest

__all__ = ["CLOSE", "Point", "candidates", "explore", "options"]

CLOSE = 0.01
"""An engine that is faster than a smaller one by no more than this share is left out."""

_MOST_LANES = 64


@dataclass(frozen=True)
class Point:
    """An engine, its cycles (as :class:`~tepal.sim.CycleModel` has them), and what it takes of the board."""

    config: EngineConfig
    in_memory_cycles: int
    last_byte_cycles: int
    interval_cycles: int
    fit: Fit

    @classmethod
    def of(cls, network: Network, config: EngineConfig, board: Board, formats: Formats) -> "Point":
        return cls.of_schedule(Schedule(network, config, formats), board)

    @classmethod
    def of_schedule(cls, schedule: Schedule, board: Board) -> "Point":
        model = CycleModel(schedule)
        return cls(schedule.config, model.in_memory_cycles, model.last_byte_cycles, model.interval_cycles,
                   fit(schedule, board))

    @property
    def logic(self) -> int:
        """LUTs, estimated."""
        return next(self.fit.used[kind] for kind in KINDS if kind in self.fit.used)


def options(config: EngineConfig, usual: EngineConfig) -> str:
    """The command line that asks for ``config`` where a network gets the engine ``usual`` by default."""
    names = *OPTIONS, *(name for name in RARE if getattr(config, name) != getattr(usual, name))
    return " ".join(f"--{name.replace('_', '-')} {getattr(config, name)}" for name in names)


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
    for work in (passes[0], *unrolled(formats, most)):
        row_bytes = work.window.input_shape[2]
        copies |= {(work.pixels_per_window, -(-row_bytes // parts)) for parts in range(1, row_bytes + 1)}
    found = []
    for lanes in range(1, min(channels, _MOST_LANES) + 1):
        for requantisers in (*(count for count in range(1, lanes + 1) if lanes % count == 0),
                             *([2 * lanes] if config.takes_two_words else [])):
            if config.requantiser_cycles > 1 and requantisers > 1:
                continue
            step = lcm(requantisers, config.columns_abreast)
            columns = np.arange(step, min(most, width + step - 1) + 1, step)
            rows = np.arange(config.packing, min(most, pixels + config.packing - 1) + 1, config.packing)
            rows, columns = np.meshgrid(rows, columns, indexing="ij")
            hard = columns - config.logic_columns
            few = (rows * hard * config.operands <= most) & (hard >= 0)
            for count, copy_lanes in sorted(copies):
                if copy_lanes == 1 or copy_lanes > lanes:
                    fits = few if count == 1 else few & (columns == count * passes[0].output_shape[2])
                    found.append(np.stack(np.broadcast_arrays(rows[fits], columns[fits], lanes, requantisers,
                                                              copy_lanes)))
    names = [name for name in OPTIONS if name != "packing"]
    return Engines(config, **dict(zip(names, np.concatenate(found, axis=1), strict=True)))


def explore(network: Network, board: Board, formats: Formats | None = None, *,
            bases: Sequence[EngineConfig] | None = None, fixed: Mapping[str, int] | None = None,
            limits: Mapping[str, int] | None = None, progress=lambda what, done, total: None) -> list[Point]:
    """The engines that fit ``board`` and that no smaller one matches, smallest first.

    Each point has fewer LUTs, or fewer cycles with the image in memory, than each other one.  An engine that fits
    and is not among them has at least as many LUTs as one of them, and not :data:`CLOSE` fewer cycles.  All maps are
    stored whole: no pass runs in bands.

    Parameters
    ----------
    bases
        What is not searched over, in any of these (default: the board's engine, and the same without what is
        :data:`~tepal.hdl.config.RARE`).
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
    formats, limits = formats or Formats(network), limits or {}
    if bases is None:
        usual = default_engine(board, network, formats)
        bases = [usual, usual.plain]
    bases = [*dict.fromkeys(replace(base, activation_words=None, input_rows=None) for base in bases)]
    schedule = Schedule(network, bases[0], formats)
    known = fit(schedule, board)
    lut, _ = board.part.logic_kinds
    if lut not in known.used:
        raise NetworkError(f"the logic that engines take of {board.part.name} has not been measured: name another "
                           "board")
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
    for number, base in enumerate(bases):
        shared = replace(base, rows=board.part.packing, packing=board.part.packing)
        packed = board.part.packing if formats.matrix_weight_bits <= shared.widest_weight else 1
        # Multipliers of logic stand beside shared ones alone.
        for packing in range(2 if base.logic_columns else 1, packed + 1):
            engines = candidates(replace(base, rows=packing, packing=packing), formats, most)
            logic = estimate(board, features(engines, formats))[lut]
            memories = least_blocks(engines, formats, board)
            few = np.logical_and.reduce([memories[kind] <= limit for kind, limit in kinds.items()])
            pool.append(np.stack(np.broadcast_arrays(np.where(few, logic, np.inf), least_cycles(engines, formats),
                                                     number, *(getattr(engines, name) for name in OPTIONS))))
    table = np.concatenate(pool, axis=1)
    possible = table[0] <= min(board.part.logic, limits.get(lut, np.inf))
    for name, value in (fixed or {}).items():
        possible &= table[3 + OPTIONS.index(name)] == value
    table = table[:, possible]
    table = table[:, np.lexsort((table[1], table[0]))].T.tolist()
    front: list[Point] = []

    def matched(logic: float, cycles: float) -> bool:
        """Whether a point of the front is no larger, and faster or about as fast."""
        index = bisect_right(front, logic, key=lambda point: point.logic)
        return index > 0 and cycles >= (1 - CLOSE) * front[index - 1].in_memory_cycles

    for done, (least_logic, least, number, *engine) in enumerate(table):
        if done % 1000 == 0:
            progress("Engines", done, len(table))
        if matched(least_logic, least):
            continue
        config = replace(bases[int(number)], **dict(zip(OPTIONS, map(int, engine), strict=True)))
        point = Point.of(network, config, board, formats)
        if not point.fit.within(limits) or matched(point.logic, point.in_memory_cycles):
            continue
        front = [other for other in front
                 if other.logic < point.logic or other.in_memory_cycles < point.in_memory_cycles]
        front.insert(bisect_right(front, point.logic, key=lambda point: point.logic), point)
    progress("Engines", len(table), len(table))
    if not front:
        asked = [*(f"{value} {name.replace('_', ' ')}" for name, value in (fixed or {}).items()),
                 *(f"at most {count:,} {kind}" for kind, count in limits.items())]
        told = f" that {board.name} has room for runs this network"
        raise NetworkError(f"no engine with {' and '.join(asked)}{told}" if asked else
                           f"no engine{told}; {advice(largest(schedule, board))}")
    return front
