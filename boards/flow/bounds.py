# SPDX-License-Identifier: Apache-2.0
"""Bounds of the cycles and memory blocks that engines take: for many of them at once, long before any is scheduled."""

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np
from tepal.boards.board import Board
from tepal.boards.parts.part import MemoryKind
from tepal.hdl import EngineConfig, Formats
from tepal.hdl.plan.passes import Pass, unroll
from tepal.hdl.plan.places import FeatureMap, Lifetime, colour, lifetimes, outputs, skip_lifetimes, skip_words
from tepal.hdl.plan.schedule import may_unroll
from tepal.hdl.plan.tiling import Latencies, Tiling, copied, largest
from tepal.hdl.plan.timeline import last_pixels
from tepal.hdl.units.elementwise import ElementwiseUnit
from tepal.hdl.units.tile_buffer import TileBuffer

from .fit import is_small, memory_kind

__all__ = ["OPTIONS", "Engines", "least_blocks", "least_cycles", "unrolled"]

OPTIONS = ("rows", "columns", "lanes", "requantisers", "packing", "copy_lanes")
"""What is searched over; the rest is the board's."""


def _ceil(a, b):
    return -(-a // b)


class Engines:
    """Many engines at once: an :class:`~tepal.hdl.EngineConfig` with arrays (engines,) in place of some integers.

    Tilings, bounds and estimates take one in place of a configuration, and give arrays then."""

    def __init__(self, config: "EngineConfig | Engines", **arrays: np.ndarray):
        vars(self).update(vars(config) | arrays)

    taps, turns, drain_step = EngineConfig.taps, EngineConfig.turns, EngineConfig.drain_step
    rows: Any
    columns: Any
    lanes: Any
    requantisers: Any
    packing: Any
    operands: int
    logic_columns: int
    columns_abreast: int
    requantiser_multiplier: int
    copy_lanes: Any
    window: tuple[int, int]
    requantiser_cycles: int
    lane_cycles: int
    single_port: bool
    weight_words: int | None

    @property
    def tile_lanes(self) -> np.ndarray:
        return np.maximum(self.lanes, self.copy_lanes)


def least_cycles(engines: Engines, formats: Formats) -> np.ndarray:
    """A bound that ``in_memory_cycles`` can't fall below, (engines,): the timeline without latencies, but that of a
    value in the requantiser."""
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

    def of_first(work: Pass) -> Tiling:
        return Tiling(work, Engines(engines, copy_lanes=copied(work, engines.copy_lanes)), latency)

    first, others = of_first(formats.passes[0]), [Tiling(work, engines, latency) for work in formats.passes[1:]]
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
    for work in unrolled(formats, int(engines.columns.max(initial=0))):
        wide = of_first(work)
        better = may_unroll(formats.passes[0], work.pixels_per_window, engines) & (wide.busy < first.busy)
        least = np.where(better, total(wide), least)
    return least


def least_blocks(engines: Engines | EngineConfig, formats: Formats, board: Board) -> dict[str, np.ndarray]:
    """Kind of ``board``'s memory to blocks, (engines,), that the image, the tile buffer, activations, outputs, weights
    and elementwise tables take at least; integers, if ``engines`` is a configuration."""
    def blocks(kind: MemoryKind, depth, width) -> np.ndarray:
        return np.minimum.reduce([_ceil(depth, words) * _ceil(width, bits) for words, bits in kind.shapes])

    def tile_blocks(tiling: Tiling) -> np.ndarray:
        """In as many rows as a pass has windows in a tile, as many as its pixels need."""
        depth = TileBuffer.TILES * 2 ** np.ceil(np.log2(tiling.words)).astype(int)
        return tiling.tile_windows * blocks(memory_kind(board, "tile_buffer"), depth, 8 * engines.lanes)

    tilings = [Tiling(work, engines, Latencies()) for work in formats.passes]
    passes = formats.passes
    regions = _regions(lifetimes(passes), lambda number: FeatureMap(
        passes[number].output_shape, engines.window, engines.lanes).depth)
    skips = _regions(skip_lifetimes(passes), lambda number: skip_words(passes[number], engines), in_place=True)
    # Pools are left out, and what filters all channels alike: words that are the same are stored once.
    filters = [tiling for tiling in tilings if tiling.work.reduction is not None
               and (tiling.work.reduction.weights != tiling.work.reduction.weights[:, :, :1]).any()]
    elementwise = formats.elementwise(1)
    layout = formats.layout
    # Windows side by side in a word store what they have in common once.
    image_bytes = layout.shape[0] * layout.columns * min(layout.stride, layout.kernel) * layout.shape[2]
    written = np.maximum(engines.lanes, engines.requantisers)
    outputs_depth = sum(FeatureMap(passes[number].output_shape, (1, 1), written).depth
                        for number in outputs(passes))
    # What comes from outside comes in turn: of weights there is room for some, and of tables for a pass's beside those
    # that stay.
    stored = engines.weight_words is None
    needs = [
        ("output", 1, outputs_depth, 8 * written),
        *(("activations", engines.taps, depth, 8 * engines.lanes)
          for depth in (regions if engines.single_port else [sum(regions)])),
        *(("skip", 1, depth, 8 * engines.requantisers) for depth in ([sum(skips)] if skips else [])),
        *((("matrix_weights", 1, sum(tiling.column_groups * tiling.sum_cycles for tiling in tilings),
            formats.matrix_weight_bits * engines.columns * engines.operands),
           ("depthwise_weights", 1, sum(tiling.groups * prod(tiling.chunks) for tiling in filters),
            formats.depthwise_weight_bits * engines.taps * engines.lanes)) if stored else ()),
        *(("elementwise_tables", engines.requantisers,
           ElementwiseUnit.TABLE_WORDS * (len(tables) if stored else 2), width)
          for tables, width in (zip(elementwise.tables, elementwise.widths, strict=True) if elementwise else ())),
    ]
    least = {kind.name: np.zeros_like(engines.lanes) for kind in board.part.memories}
    for role, count, depth, width in needs:
        kind = memory_kind(board, role)
        least[kind.name] = least[kind.name] + np.where(is_small(board, role, depth), 0,
                                                       count * blocks(kind, depth, width))
    # How wide the words of the input memory are depends on the engine, so this counts bits alone.
    kind = memory_kind(board, "input")
    least[kind.name] = least[kind.name] + _ceil(8 * image_bytes, max(words * bits for words, bits in kind.shapes))
    # The first pass may be unrolled: other tiles, other words.
    kind = memory_kind(board, "tile_buffer")
    least[kind.name] = least[kind.name] + largest(0, *map(tile_blocks, tilings[1:]))
    return least


def _regions(lives: dict[int, Lifetime], depth: Callable[[int], Any], *,
             in_place: bool = False) -> list[np.ndarray]:
    """Words in each region of a memory."""
    depths: dict[int, np.ndarray] = {}
    for number, region in zip(lives, colour([*lives.values()], in_place=in_place), strict=True):
        depths[region] = np.maximum(depth(number), depths.get(region, 0))
    return [*depths.values()]


def unrolled(formats: Formats, most: int) -> list[Pass]:
    """The first pass, unrolled in all ways in which it may fill up to ``most`` columns."""
    _, width, channels = formats.passes[0].output_shape
    return [unroll(formats.layout, formats.passes[0], count)[1]
            for count in range(2, min(width, most // channels) + 1) if width % count == 0]
