# SPDX-License-Identifier: Apache-2.0
"""How much logic an engine takes, before synthesis: a sum over its parts, with measured coefficients.

Each part of a design is counted by a few features, such as the bits of all sums in the array, which its unit declares.
What one of a feature takes was fitted, part by part, to the netlists of small engines: ``benchmarks/calibrate.py``
makes ``lut_estimate.json``."""

import json
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from tepal.boards.board import Board
from tepal.boards.parts.part import Core, Family
from tepal.hdl import Formats, MemoryUse, Schedule
from tepal.hdl.accelerator import MemoryNames
from tepal.hdl.memories.block import memory_features
from tepal.hdl.units.depthwise import DepthwiseEngine
from tepal.hdl.units.drain import Drain
from tepal.hdl.units.elementwise import ElementwiseUnit
from tepal.hdl.units.input_layout import InputLayout, least_word
from tepal.hdl.units.lane_requantisers import LaneParameters, LaneRequantisers
from tepal.hdl.units.loader import InputLoader
from tepal.hdl.units.requantiser import Requantiser
from tepal.hdl.units.systolic import SystolicArray
from tepal.hdl.units.tile_buffer import TileBuffer
from tepal.hdl.units.window import WindowGenerator

from .timing import part_of

__all__ = ["KINDS", "LOGIC", "MARGIN", "count", "estimate", "features", "logic", "table"]

KINDS = ("LUT4", "LUT", "ALM", "FF")
"""What is estimated: of each part its logic, under the name that it has there
(:attr:`~tepal.boards.parts.part.Part.logic_kinds`), and its flip-flops.  On an iCE40 a flip-flop that no LUT feeds
takes a LUT's place, and counts as one."""

MARGIN = 0.1
"""By how much an estimate may lie above what a part has before a design is refused.  All engines that were measured
lie within it."""

LOGIC = Path(__file__).with_name("lut_estimate.json")
"""The coefficients, by family: of whole boards by the tool that places and routes for them, of generated cores alone by
the command of yosys that synthesises them.  Either are of logic and of flip-flops."""

_REST = "all else"
"""Sequencer, feeder, streamer, and the way to the host."""


def features(config: Any, formats: Formats, layout: InputLayout | None = None,
             memories: Iterable[MemoryUse] = ()) -> dict[str, dict[str, Any]]:
    """Part to feature to count, for a network with these ``formats``, and the image in this ``layout`` (None: the
    first pass is not unrolled).

    ``config`` is an :class:`~tepal.hdl.EngineConfig`, or has arrays in place of its integers: so are the counts then.
    Without the schedule's ``memories``, those parts are missing."""
    lane_format = formats.depthwise.format(config.lane_cycles, config.requantiser_multiplier)
    sums = formats.matrix(config.packing)
    column_format = sums.format(config.requantiser_cycles, config.requantiser_multiplier)
    # There are as many pipelined requantisers as lanes, or as results in a cycle; a serial one is alone.
    requantisers = {name.part: [] for name in (Drain.REQUANTISER, Drain.SERIAL)}
    for count, cycles, fmt in ((config.requantisers, config.requantiser_cycles, column_format),
                               (config.lanes, config.lane_cycles, lane_format)):
        name, count = (Drain.REQUANTISER, count) if cycles == 1 else (Drain.SERIAL, 1)
        requantisers[name.part].append((count, fmt))
    # Words of the input memory are as narrow as they may be, unless the schedule has said how wide they are.
    word_bytes = layout.word_bytes if layout else least_word(formats.layout, config.tile_lanes)
    elementwise = formats.elementwise(1)
    return {
        SystolicArray.NAME.part: SystolicArray.features(config, sums.accumulator),
        **{part: Requantiser.features(used) for part, used in requantisers.items() if used},
        DepthwiseEngine.NAME.part: DepthwiseEngine.features(config, formats.depthwise.accumulator,
                                                            formats.reduction_kinds),
        LaneRequantisers.PARAMETERS.part: LaneParameters.features(config, lane_format),
        WindowGenerator.NAME.part: WindowGenerator.features(config),
        Drain.NAME.part: Drain.features(config, column_format, len(formats.passes)),
        **({ElementwiseUnit.NAME.part: ElementwiseUnit.features(config, elementwise)} if elementwise else {}),
        TileBuffer.NAME.part: TileBuffer.features(config),
        InputLoader.NAME.part: InputLoader.features(config, word_bytes),
        _REST: {"blocks": len(formats.passes), "bytes of a word": config.tile_lanes, "fixed": 1},
        **({MemoryNames.INPUT.part: memory_features(
            (use.count * use.width, use.depth) for use in memories if use.role != "tile_buffer")} if memories else {}),
    }


@cache
def table() -> dict[str, dict]:
    """:attr:`~tepal.boards.parts.part.Part.measured_as` to what was fitted; see ``benchmarks/calibrate.py``."""
    return json.loads(LOGIC.read_text(encoding="utf-8"))


def estimate(board: Board, counts: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Which of :data:`KINDS` the board's part has to how many the parts take that ``counts`` holds; nothing where the
    part's family, or a feature, was never measured."""
    family = table().get(board.part.measured_as or "")
    if not family:
        return {}
    each = family["each"]
    if any(feature not in each.get(part, {}) for part, found in counts.items() for feature in found):
        return {}
    return {kind: sum(count * each[part][feature][i] for part, found in counts.items()
                      for feature, count in found.items()) for i, kind in enumerate(board.part.logic_kinds)}


def logic(schedule: Schedule, board: Board) -> dict[str, int]:
    """Which of :data:`KINDS` the board's part has to how many ``schedule``'s design takes of it, estimated; empty where
    nothing is known."""
    found = estimate(board, features(schedule.config, schedule.formats, schedule.layout, schedule.memories))
    return {kind: round(count) for kind, count in found.items()}


def count(netlist: dict, family: Family | Core) -> dict[str, list[float]]:
    """Part to logic and flip-flops of a netlist's cells: of a whole board's design, or of a core alone."""
    found: dict[str, list[float]] = {}
    for name, luts, flipflops in family.logic(netlist):
        sums = found.setdefault(part_of(name, alone=isinstance(family, Core)) or _REST, [0, 0])
        sums[0] += luts
        sums[1] += flipflops
    return found
