# SPDX-License-Identifier: Apache-2.0
"""Fits the logic that engines take, part by part, to netlists of small ones: ``boards/flow/lut_estimate.json``.

    python benchmarks/calibrate.py                 # all families, an hour on one core
    python benchmarks/calibrate.py --board icebreaker
    python benchmarks/calibrate.py --part XC7A35T   # generated cores for parts of this kind, some minutes
    python benchmarks/calibrate.py --scheduler local:4   # four engines at a time, on Dask's workers
    python benchmarks/calibrate.py --missing       # engines that were added here
    python benchmarks/calibrate.py --refit         # other features, the same netlists' counts

An engine is synthesised as ``tepal build`` does it, on a whole board, and its cells are counted by the parts that their
names tell, as nextpnr will pack them; for parts of the board ``generic``, the core that ``tepal generate`` writes is
synthesised alone, by yosys's own command for its family.  Each part's coefficients are then fitted on their own, none
below zero.  To be run again when the hardware, or yosys, changes.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from fractions import Fraction
from functools import partial
from math import inf
from pathlib import Path

import numpy as np
from tepal.boards.board import Board
from tepal.boards.flow.build import require_platform, synthesise
from tepal.boards.flow.design import BoardDesign, prepare
from tepal.boards.flow.fit import default_engine
from tepal.boards.flow.folder import write_files
from tepal.boards.flow.generate import generate
from tepal.boards.flow.lut_estimate import LOGIC, count, features
from tepal.boards.flow.tools import Command, find
from tepal.boards.parts.part import Core
from tepal.boards.registry import get_board
from tepal.cli.arguments import SERIAL
from tepal.cli.scheduling import with_part
from tepal.hdl import TOP, EngineConfig, Schedule
from tepal.quant import Convolution, Network, Requantise, read_model
from tepal.quant.layer import NO_PADDING
from tepal.quant.ops.add import Add
from tepal.quant.ops.max_pool import MaxPool
from tepal.scheduler import workers

ROOT = Path(__file__).resolve().parent.parent

DIGITS = "examples/digits/digits.tflite"
SMALL, LARGE_24, LARGE_32, LARGE = (f"examples/cifar10/models/{name}_int8.onnx" for name in (
    "small_0.25_32", "large_0.25_24", "large_0.25_32", "large_0.50_32"))

POOLED = " with a max pool"
RESIDUAL = " with a residual"
"""Behind a model's name: these are put into it."""

ENGINES = {
    "ulx3s-85f": (
        (SMALL, {"rows": 2, "columns": 4, "lanes": 2, "requantisers": 2, "input_bytes": 1, "copy_lanes": 1}),
        (DIGITS, {"rows": 3, "columns": 8, "lanes": 8, "requantisers": 8, "input_bytes": 1, "copy_lanes": 1}),
        (LARGE_24, {"rows": 6, "columns": 4, "lanes": 4, "requantisers": 1, "input_bytes": 2, "copy_lanes": 1}),
        (LARGE_32, {"rows": 2, "columns": 16, "requantisers": 4}),
        (LARGE, {"rows": 4, "columns": 8, "lanes": 4, "requantisers": 4}),
        (SMALL, {"rows": 4, "columns": 4, "lanes": 2, "requantisers": 1, "packing": 2}),
        (DIGITS, {"rows": 8, "columns": 8, "lanes": 4, "requantisers": 4, "input_bytes": 1, "packing": 2,
                  "copy_lanes": 9}),
        (LARGE, {"rows": 16, "requantisers": 8, "packing": 2}),
        (DIGITS, {"rows": 2, "columns": 8, "lanes": 4, "requantisers": 4, "input_bytes": 1, "packing": 2,
                  "operands": 4, "copy_lanes": 9}),
        (SMALL, {"rows": 4, "columns": 4, "lanes": 2, "requantisers": 1, "packing": 2, "operands": 2,
                 "logic_columns": 2}),
        (SMALL, {"rows": 2, "columns": 4, "lanes": 2, "requantisers": 2, "operands": 4}),
        # Of the widest sums as many as of a lane's narrow ones, and fewer.
        (LARGE, {"rows": 2, "columns": 8, "lanes": 4, "requantisers": 4, "requantiser_multiplier": 18}),
        (DIGITS, {"rows": 2, "columns": 4, "lanes": 8, "requantisers": 1, "input_bytes": 1, "copy_lanes": 1,
                  "requantiser_multiplier": 18}),
        (DIGITS, {"rows": 2, "columns": 8, "lanes": 4, "requantisers": 8, "input_bytes": 1, "packing": 2,
                  "operands": 4, "logic_columns": 2, "columns_abreast": 4, "requantiser_multiplier": 18,
                  "copy_lanes": 9}),
        (DIGITS + POOLED, {"rows": 3, "columns": 8, "lanes": 8, "requantisers": 8, "input_bytes": 1, "copy_lanes": 1}),
        (SMALL + POOLED, {"rows": 2, "columns": 4, "lanes": 2, "requantisers": 2, "input_bytes": 1, "copy_lanes": 1}),
        (DIGITS + RESIDUAL, {"rows": 3, "columns": 8, "requantisers": 8, "input_bytes": 1, "copy_lanes": 1}),
        (DIGITS + RESIDUAL, {"rows": 2, "columns": 4, "lanes": 2, "requantisers": 2, "input_bytes": 1,
                             "copy_lanes": 9}),
        # Serial requantisers, of all and of the lanes alone.
        (SMALL, {"rows": 2, "columns": 4, "lanes": 1, "input_bytes": 1, "copy_lanes": 1, **SERIAL}),
        (LARGE_24, {"rows": 3, "columns": 4, "lanes": 4, "window": (1, 2), "input_bytes": 2, "copy_lanes": 1,
                    **SERIAL}),
        (DIGITS, {"rows": 2, "columns": 8, "lanes": 16, "window": (1, 1), "requantisers": 8, "lane_cycles": 4,
                  "input_bytes": 1, "packing": 2, "operands": 4, "columns_abreast": 4, "requantiser_multiplier": 18,
                  "copy_lanes": 9}),
    ),
    "icebreaker": (
        (SMALL, {}),
        (DIGITS, {"rows": 2, "columns": 2, "lanes": 1}),
        (DIGITS, {"rows": 2, "columns": 4, "lanes": 4}),
        (SMALL, {"rows": 2, "columns": 8, "lanes": 2}),
        (SMALL, {"rows": 1, "columns": 2, "lanes": 4}),
        # More blocks than those have, which only the netlist must hold, and not the part.
        (LARGE_24, {"rows": 5, "columns": 3}),
        (LARGE, {"rows": 3, "columns": 4, "lanes": 3}),
        (DIGITS + POOLED, {"rows": 2, "columns": 4, "lanes": 4}),
        (SMALL + POOLED, {"rows": 1, "columns": 2, "lanes": 2}),
        (DIGITS + RESIDUAL, {"rows": 2, "columns": 4, "lanes": 4}),
    ),
}
"""For each family one board, and engines in place of its own: between them, every feature varies."""

CORES = ("LFD2NX-40", "XC7A35T", "5CEBA4", "LFE5U-85F", "iCE40UP5K", "GW2AR-18C")
"""A part of each family whose cores are synthesised alone."""

CORE_ENGINES = (
    (DIGITS, {"rows": 1, "columns": 1, "lanes": 1, "window": (1, 1)}),
    (SMALL, {"rows": 2, "columns": 4, "lanes": 1, **SERIAL}),
    (LARGE_24, {"rows": 2, "columns": 4, "lanes": 2, "window": (1, 2), "input_bytes": 2, "requantiser_multiplier": 18}),
    (DIGITS, {"rows": 4, "columns": 8, "lanes": 2, "window": (1, 1), "requantisers": 2, "requantiser_multiplier": 18}),
    (LARGE, {"rows": 3, "columns": 4, "lanes": 2, "window": (1, 1), "input_bytes": 4, **SERIAL}),
    (SMALL, {"rows": 2, "columns": 4, "lanes": 2, "window": (2, 1), "operands": 2, "columns_abreast": 2,
             "requantiser_multiplier": 18}),
    (DIGITS + POOLED, {"rows": 1, "columns": 2, "lanes": 3, "window": (1, 3), **SERIAL}),
    (SMALL + RESIDUAL, {"rows": 2, "columns": 4, "lanes": 2, "window": (2, 1), "requantisers": 2, "copy_lanes": 9}),
)
"""Engines of :data:`CORES`."""


def load(model: str) -> Network:
    network = read_model(ROOT / model.removesuffix(POOLED).removesuffix(RESIDUAL))
    assert isinstance(network, Network)
    return pooled(network) if model.endswith(POOLED) else residual(network) if model.endswith(RESIDUAL) else network


def pooled(network: Network) -> Network:
    """``network`` with a max pool that changes nothing behind its first layer: its windows are single pixels."""
    first = network.layers[0]
    pool = MaxPool.of_scales(first.geometry(first.index) | {
        "input_shape": first.output_shape, "stride": (1, 1), "padding": NO_PADDING}, (1, 1),
        *2 * [(first.output_scale, first.output_zero_point)], -inf, inf)
    return replace(network, layers=(first, pool, *network.layers[1:]))


def residual(network: Network) -> Network:
    """``network`` whose first layer's map is copied, and half of it added to half of its copy."""
    first, channels = network.layers[0], network.layers[0].output_shape[2]
    geometry = first.geometry(first.index) | {"input_shape": first.output_shape, "stride": (1, 1),
                                              "padding": NO_PADDING, "inputs": ()}
    meaning = first.output_scale, first.output_zero_point
    copy = Convolution(**geometry, input_zero_point=meaning[1], output_scale=meaning[0], bias=np.zeros(channels),
                       weights=np.eye(channels, dtype=np.int8)[:, None, None],
                       requantise=Requantise(np.full(channels, 1 << 30), np.ones(channels), meaning[1]))
    half = meaning[0] / 2, meaning[1]
    added = Add.of_scales(geometry | {"inputs": (0, 1)}, half, half, meaning, -inf, inf)
    return replace(network, layers=(first, copy, added, *network.layers[1:]))


def board_of(name: str) -> Board:
    """The board of this name; that of a part's is the generic one with it."""
    return with_part("generic", name) if name in CORES else get_board(name)


def engine_of(board: Board, network: Network, changes: dict) -> EngineConfig:
    """The board's own engine, changed; a core's is what it is said to be."""
    if board.part.core:
        hard = min(changes.get("requantiser_multiplier", 0), board.part.widest[0])
        return EngineConfig(**changes | {"requantiser_multiplier": hard})
    # Rows of a smaller array share no multipliers, if nothing else is said, and take one operand at a time.  Frames
    # wait for their whole image: to count rows that arrive takes little logic.
    usual = replace(default_engine(board, network), input_rows=None)
    return replace(usual.plain, **{"packing": 1} | changes) if changes else usual


def config_of(engine: dict) -> EngineConfig:
    """The configuration of an engine whose logic was counted."""
    return EngineConfig(**engine["engine"] | {"window": tuple(engine["engine"]["window"])})


def measure(board: Board, known: Sequence[dict], job: tuple[str, dict]) -> dict:
    """The logic by parts of one of :data:`ENGINES`; what is ``known`` of it already, if anything is."""
    model, changes = job
    network = load(model)
    config = engine_of(board, network, changes)
    for engine in known:
        if (engine["model"], config_of(engine)) == (model, config):
            return engine
    begun, schedule = time.monotonic(), Schedule(network, config)
    yosys, core = find("yosys"), board.part.core
    with tempfile.TemporaryDirectory() as folder:
        counted = (count(core_netlist(schedule, board, core, yosys, Path(folder)), core) if core else
                   count(board_netlist(schedule, board, yosys, Path(folder)), require_platform(board)))
    kinds = board.part.logic_kinds
    print(f"{core.name if core else board.name}: {config.rows} x {config.columns}, {config.lanes} lanes of {model}: "
          f"{', '.join(f'{sum(part[i] for part in counted.values()):,} {kind}' for i, kind in enumerate(kinds))} "
          f"({time.monotonic() - begun:.0f} s)", flush=True)
    return {"model": model, "engine": asdict(config), "yosys": yosys.version, "counted": counted}


def board_netlist(schedule: Schedule, board: Board, yosys: Command, folder: Path) -> dict:
    """Of the whole design for a board."""
    family = require_platform(board)
    prepared = prepare(BoardDesign(board, schedule, family.plls(board.oscillator)[0],
                                   Fraction(board.lowest) * 1_000_000), board, family)
    return synthesise(prepared, board, schedule.config, yosys, folder)


def core_netlist(schedule: Schedule, board: Board, core: Core, yosys: Command, folder: Path) -> dict:
    """Of the generated core alone, whose cells are called by what they drive."""
    write_files(generate(schedule, board), folder)
    yosys.run(["-q", "-p", f"read_verilog {TOP}.v; hierarchy -check -top {TOP}; {core.before}"
               f"{core.synthesis} -top {TOP}; autoname; write_json netlist.json"], folder)
    return json.loads((folder / "netlist.json").read_text(encoding="utf-8"))["modules"][TOP]


def least_squares(counts: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Coefficients (features,), none below zero: ``counts`` (engines, features) to what was ``found`` (engines,)."""
    kept = counts.any(axis=0)
    while True:
        # What matters is how far off an estimate is in relation to what it is of.
        scale = 1 / np.maximum(found, 1)[:, None]
        solution = np.zeros(counts.shape[1])
        solution[kept] = np.linalg.lstsq(counts[:, kept] * scale, found * scale[:, 0], rcond=None)[0]
        if (solution >= 0).all():
            return solution
        kept[solution.argmin()] = False


def fit(engines: list[dict]) -> dict[str, dict[str, list[float]]]:
    """Part to feature to what one takes of logic and of flip-flops."""
    rows = []
    for engine in engines:
        schedule = Schedule(load(engine["model"]), config_of(engine))
        rows.append(features(schedule.config, schedule.formats, schedule.layout, schedule.memories))
    each = {}
    for part in {part: None for row in rows for part in row}:
        names = list({name: None for row in rows for name in row.get(part, {})})
        counts = np.array([[row.get(part, {}).get(name, 0) for name in names] for row in rows], float)
        found = np.array([engine["counted"].get(part, [0, 0]) for engine in engines], float)
        solution = np.array([least_squares(counts, found[:, i]) for i in range(2)])
        each[part] = {name: [round(value, 3) for value in solution[:, i]] for i, name in enumerate(names)}
        for engine, off in zip(engines, counts @ solution.T - found, strict=True):
            if part in engine["counted"]:
                engine.setdefault("off", {})[part] = [round(value) for value in off]
    return each


def progress(board: str, done: int, total: int) -> None:
    """How many engines of a family are counted."""
    print(f"{board}: {done} of {total} engines", file=sys.stderr, flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--board", choices=ENGINES, action="append", help="a family's board (default: all)")
    parser.add_argument("--part", choices=CORES, action="append", help="a part of a family whose cores are measured "
                        "alone (default: all)")
    parser.add_argument("--missing", action="store_true",
                        help="measure only those engines of which lut_estimate.json has no counts")
    parser.add_argument("--refit", action="store_true", help="take the counts that lut_estimate.json holds")
    parser.add_argument("--scheduler", metavar="ADDRESS|local:N", help="spread the engines over Dask's workers, which "
                        "see this checkout")
    arguments = parser.parse_args()
    table = json.loads(LOGIC.read_text()) if LOGIC.is_file() else {}
    everything = (*ENGINES, *CORES)
    for name in [*(arguments.board or ()), *(arguments.part or ())] or everything:
        board = board_of(name)
        family = board.part.measured_as
        assert family
        if arguments.refit:
            engines = table[family]["engines"]
        else:
            known = table.get(family, {"engines": ()})["engines"] if arguments.missing else ()
            with workers(arguments.scheduler) as each:
                engines = each.map(partial(measure, board, known), ENGINES.get(name, CORE_ENGINES),
                                   partial(progress, name))
        for engine in engines:
            engine.pop("off", None)
        table[family] = {"each": fit(engines), "engines": engines}
        for engine in engines:
            sums = [[sum(part[i] for part in engine[key].values()) for i in range(2)]
                    for key in ("counted", "off")]
            told = ", ".join(f"{counted:,} {kind} counted, {off / counted:+.1%} estimated"
                             for kind, counted, off in zip(board.part.logic_kinds, *sums, strict=True))
            print(f"{name}: {engine['engine']['rows']} x {engine['engine']['columns']} of {engine['model']}: {told}")
        LOGIC.write_text(json.dumps(table, indent=1) + "\n")


if __name__ == "__main__":
    main()
