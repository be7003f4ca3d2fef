# SPDX-License-Identifier: Apache-2.0
"""Fits the logic that engines take, part by part, to netlists of small ones: ``boards/flow/lut_estimate.json``.

    python benchmarks/calibrate.py                 # both families, some twenty minutes on one core
    python benchmarks/calibrate.py --board icebreaker
    python benchmarks/calibrate.py --scheduler local:4   # four engines at a time, on Dask's workers
    python benchmarks/calibrate.py --missing       # engines that were added here
    python benchmarks/calibrate.py --refit         # other features, the same netlists' counts

An engine is synthesised as ``tepal build`` does it, on a whole board, and its cells are counted by the parts that their
names tell, as nextpnr will pack them.  Each part's coefficients are then fitted on their own, none below zero.  To be
run again when the hardware, or yosys, changes.
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
from tepal.boards.flow.lut_estimate import KINDS, LOGIC, count, features
from tepal.boards.flow.tools import find
from tepal.boards.registry import get_board
from tepal.hdl import EngineConfig, Schedule
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
        (DIGITS, {"rows": 8, "columns": 8, "lanes": 4, "requantisers": 4, "input_bytes": 1, "packing": 2}),
        (LARGE, {}),
        (DIGITS, {"rows": 2, "columns": 8, "lanes": 4, "requantisers": 4, "input_bytes": 1, "packing": 2,
                  "operands": 4}),
        (SMALL, {"rows": 4, "columns": 4, "lanes": 2, "requantisers": 1, "packing": 2, "operands": 2,
                 "logic_columns": 2}),
        (SMALL, {"rows": 2, "columns": 4, "lanes": 2, "requantisers": 2, "operands": 4}),
        # Of the widest sums as many as of a lane's narrow ones, and fewer.
        (LARGE, {"rows": 2, "columns": 8, "lanes": 4, "requantisers": 4, "requantiser_multiplier": 18}),
        (DIGITS, {"rows": 2, "columns": 4, "lanes": 8, "requantisers": 1, "input_bytes": 1, "copy_lanes": 1,
                  "requantiser_multiplier": 18}),
        (DIGITS, {"rows": 2, "columns": 8, "lanes": 4, "requantisers": 8, "input_bytes": 1, "packing": 2,
                  "operands": 4, "logic_columns": 2, "columns_abreast": 4, "requantiser_multiplier": 18}),
        (DIGITS + POOLED, {"rows": 3, "columns": 8, "lanes": 8, "requantisers": 8, "input_bytes": 1, "copy_lanes": 1}),
        (SMALL + POOLED, {"rows": 2, "columns": 4, "lanes": 2, "requantisers": 2, "input_bytes": 1, "copy_lanes": 1}),
        (DIGITS + RESIDUAL, {"rows": 3, "columns": 8, "requantisers": 8, "input_bytes": 1, "copy_lanes": 1}),
        (DIGITS + RESIDUAL, {"rows": 2, "columns": 4, "lanes": 2, "requantisers": 2, "input_bytes": 1}),
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


def engine_of(board: Board, network: Network, changes: dict) -> EngineConfig:
    """The board's own engine, changed."""
    # Rows of a smaller array share no multipliers, if nothing else is said.  Frames wait for their whole image:
    # to count rows that arrive takes little logic.
    return replace(default_engine(board, network), input_rows=None, **({"packing": 1} | changes if changes else {}))


def config_of(engine: dict) -> EngineConfig:
    """The configuration of an engine whose logic was counted."""
    return EngineConfig(**engine["engine"] | {"window": tuple(engine["engine"]["window"])})


def measure(board: Board, known: Sequence[dict], job: tuple[str, dict]) -> dict:
    """The logic by parts of one of :data:`ENGINES`; what is ``known`` of it already, if anything is."""
    model, changes = job
    family, network = require_platform(board), load(model)
    config = engine_of(board, network, changes)
    for engine in known:
        if (engine["model"], config_of(engine)) == (model, config):
            return engine
    begun, schedule = time.monotonic(), Schedule(network, config)
    prepared = prepare(BoardDesign(board, schedule, family.plls(board.oscillator)[0],
                                   Fraction(board.lowest) * 1_000_000), board, family)
    yosys = find("yosys")
    with tempfile.TemporaryDirectory() as folder:
        counted = count(synthesise(prepared, board, config, yosys, Path(folder)), family)
    print(f"{board.name}: {config.rows} x {config.columns}, {config.lanes} lanes of {model}: "
          f"{', '.join(f'{sum(part[i] for part in counted.values()):,} {kind}' for i, kind in enumerate(KINDS))} "
          f"({time.monotonic() - begun:.0f} s)", flush=True)
    return {"model": model, "engine": asdict(config), "yosys": yosys.version, "counted": counted}


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
    """Part to feature to what one takes of each of :data:`~tepal.boards.flow.lut_estimate.KINDS`."""
    rows = []
    for engine in engines:
        schedule = Schedule(load(engine["model"]), config_of(engine))
        rows.append(features(schedule.config, schedule.formats, schedule.layout, schedule.memories))
    each = {}
    for part in {part: None for row in rows for part in row}:
        names = list({name: None for row in rows for name in row.get(part, {})})
        counts = np.array([[row.get(part, {}).get(name, 0) for name in names] for row in rows], float)
        found = np.array([engine["counted"].get(part, [0] * len(KINDS)) for engine in engines], float)
        solution = np.array([least_squares(counts, found[:, i]) for i in range(len(KINDS))])
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
    parser.add_argument("--missing", action="store_true",
                        help="measure only those engines of which lut_estimate.json has no counts")
    parser.add_argument("--refit", action="store_true", help="take the counts that lut_estimate.json holds")
    parser.add_argument("--scheduler", metavar="ADDRESS|local:N", help="spread the engines over Dask's workers, which "
                        "see this checkout")
    arguments = parser.parse_args()
    table = json.loads(LOGIC.read_text()) if LOGIC.is_file() else {}
    for name in arguments.board or ENGINES:
        board = get_board(name)
        family = require_platform(board).place_and_route
        if arguments.refit:
            engines = table[family]["engines"]
        else:
            known = table[family]["engines"] if arguments.missing else ()
            with workers(arguments.scheduler) as each:
                engines = each.map(partial(measure, board, known), ENGINES[name], partial(progress, name))
        for engine in engines:
            engine.pop("off", None)
        table[family] = {"each": fit(engines), "engines": engines}
        for engine in engines:
            sums = [[sum(part[i] for part in engine[key].values()) for i in range(len(KINDS))]
                    for key in ("counted", "off")]
            told = ", ".join(f"{counted:,} {kind} counted, {off / counted:+.1%} estimated"
                             for kind, counted, off in zip(KINDS, *sums, strict=True))
            print(f"{name}: {engine['engine']['rows']} x {engine['engine']['columns']} of {engine['model']}: {told}")
        LOGIC.write_text(json.dumps(table, indent=1) + "\n")


if __name__ == "__main__":
    main()
