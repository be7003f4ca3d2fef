"""How much logic an engine takes, before synthesis: a sum over its parts, with measured coefficients.

Each part of a design is counted by a few features, such as the bits of all sums in the array.  What one of a feature
takes was fitted, part by part, to the netlists of small engines: ``benchmarks/calibrate.py`` makes
``lut_estimate.json``."""

import json
import re
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from tepal.boards.board import Board
from tepal.boards.parts.part import Family
from tepal.hdl import Formats, MemoryUse, Schedule
from tepal.hdl.memories.block import PART
from tepal.hdl.units.input_layout import InputLayout, least_word

from .timing import describe_cell

__all__ = ["KINDS", "LOGIC", "MARGIN", "count", "estimate", "features", "logic", "table"]

KINDS = ("LUT4", "FF")
"""What is estimated.  On an iCE40 a flip-flop that no LUT feeds takes a LUT's place, and counts as one."""

MARGIN = 0.1
"""By how much an estimate may lie above what a part has before a design is refused.  All engines that were measured
lie within it."""

LOGIC = Path(__file__).with_name("lut_estimate.json")
"""The coefficients, by family."""

_PARTS = [(re.compile(pattern), part) for pattern, part in (
    (r"systolic array", "systolic array"),
    (r"array's requantiser \d+|depthwise requantiser \d+", "requantisers"),
    (r"drain, requantiser|accelerator, depthwise requantiser", "serial requantisers"),
    (r"depthwise engine", "depthwise engine"),
    (r"depthwise requantiser parameters(?!, rom)", "lanes' parameters"),
    (r"window generator", "window generator"),
    (r"drain(?!, rom)|array's requantiser parameters", "drain"),
    (r"tile buffer", "tile buffer"),
    (r"image loader", "image loader"),
    (r"depthwise weights|array's weights|activation memory|input memory|output memory|.*\brom\b", "memories"),
)]
"""A design's parts by the beginning of what :func:`~tepal.boards.flow.timing.describe_cell` says of their cells."""

_REST = "all else"
"""Sequencer, feeder, streamer, and the way to the host."""


def features(config: Any, formats: Formats, layout: InputLayout | None = None,
             memories: Iterable[MemoryUse] = ()) -> dict[str, dict[str, Any]]:
    """Part to feature to count, for a network with these ``formats``, and the image in this ``layout`` (None: it is not
    folded).

    ``config`` is an :class:`~tepal.hdl.EngineConfig`, or has arrays in place of its integers: so are the counts then.
    Without the schedule's ``memories``, those parts are missing."""
    lane_format = formats.depthwise.format(config.lane_cycles)
    sums = formats.matrix(config.packing)
    column_format = sums.format(config.requantiser_cycles)
    elements, products = config.rows * config.columns, config.lanes * config.taps
    units = {"requantisers": [], "serial requantisers": []}
    for count, cycles, fmt in ((config.requantisers, config.requantiser_cycles, column_format),
                               (config.lanes, config.lane_cycles, lane_format)):
        kind, count = ("requantisers", count) if cycles == 1 else ("serial requantisers", 1)
        units[kind].append((count, count * fmt.multiplier * fmt.accumulator))
    # Unless the schedule has said how wide the input memory's words are: as narrow as they may be.
    word_bytes = layout.word_bytes if layout else least_word(formats.layout, config.tile_lanes)
    column_bits = column_format.accumulator + column_format.width
    return {
        "systolic array": {"elements": elements, "bits of sums": elements * sums.accumulator,
                           "packed multipliers": elements // 2 * (config.packing - 1),
                           "delayed weights": config.columns * (config.columns - 1) // 2},
        **{kind: {"units": sum(count for count, _ in counts), "bits of products": sum(bits for _, bits in counts)}
           for kind, counts in units.items() if counts},
        "depthwise engine": {"products": products, "bits of sums": config.lanes * formats.depthwise.accumulator},
        "lanes' parameters": {"bits": config.lanes * lane_format.width, "fixed": 1},
        "window generator": {"products": products, "taps": config.taps},
        "drain": {"bits to choose from": (config.columns - config.requantisers) * column_bits,
                  "bits of columns": config.columns * column_format.width,
                  "bits of requantisers": config.requantisers * column_bits,
                  "delayed results": config.columns * (config.requantisers - 1) // 2,
                  "blocks": len(formats.passes), "fixed": 1},
        "tile buffer": {"bytes to choose from": config.rows * _choices(config.tile_lanes), "rows": config.rows},
        "image loader": {"bytes to choose from": (config.input_bytes - 1) * word_bytes, "bytes": word_bytes,
                         "fixed": 1},
        _REST: {"blocks": len(formats.passes), "bytes of a word": config.tile_lanes, "fixed": 1},
        **({"memories": _memories(memories)} if memories else {}),
    }


def _choices(count: Any) -> Any:
    """Inputs of a tree of two-way choices between ``count`` things."""
    return np.where(np.equal(count, 1), 0, 2 ** np.ceil(np.log2(count)))


def _memories(memories: Iterable[MemoryUse]) -> dict[str, int]:
    """Beside the blocks: a register behind each one's word, and the choice between the parts of deep ones."""
    widths = [(use.count * use.width, -(-use.depth // PART)) for use in memories if use.role != "tile_buffer"]
    return {"bits": sum(width for width, _ in widths),
            "bits to choose from": sum(width * int(_choices(parts)) for width, parts in widths)}


@cache
def table() -> dict[str, dict]:
    """The family's place-and-route tool to what was fitted; see ``benchmarks/calibrate.py``."""
    return json.loads(LOGIC.read_text(encoding="utf-8"))


def estimate(board: Board, counts: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """:data:`KINDS` to how many the parts take that ``counts`` holds; nothing where the board's family, or a feature,
    was never measured."""
    family = board.part.family and table().get(board.part.family.place_and_route)
    if not family:
        return {}
    each = family["each"]
    if any(feature not in each.get(part, {}) for part, found in counts.items() for feature in found):
        return {}
    return {kind: sum(count * each[part][feature][i] for part, found in counts.items()
                      for feature, count in found.items()) for i, kind in enumerate(KINDS)}


def logic(schedule: Schedule, board: Board) -> dict[str, int]:
    """:data:`KINDS` to how many ``schedule``'s design takes on ``board``, estimated; empty where nothing is known."""
    found = estimate(board, features(schedule.config, schedule.formats, schedule.layout, schedule.memories))
    return {kind: round(count) for kind, count in found.items()}


def count(netlist: dict, family: Family) -> dict[str, list[int]]:
    """Part to :data:`KINDS`, in order, of a netlist's cells."""
    found: dict[str, list[int]] = {}
    for name, luts, flipflops in family.logic(netlist):
        told = describe_cell(name)
        part = next((part for pattern, part in _PARTS if pattern.match(told)), _REST)
        sums = found.setdefault(part, [0, 0])
        sums[0] += luts
        sums[1] += flipflops
    return found
