# SPDX-License-Identifier: Apache-2.0
"""How cost grows with the network's width and with the array: measures, then draws.

    python benchmarks/growth.py                # some minutes: writes benchmarks/growth.json
    python benchmarks/growth.py --simulate     # half an hour: the Verilog of each, too
    python benchmarks/growth.py --build        # two hours: a bitstream of each that fits
    python benchmarks/growth.py --build 0 4    # of two of them
    python benchmarks/growth.py --draw         # docs/growth.svg and docs/growth.md; needs matplotlib

Networks have random weights: CIFAR's MobileNet of width α, 32 x 32 pixels.  They run on one engine, whether or not
they fit, and that of width 0.5 on arrays of all sizes.  Seconds of the processor are those of each step in this process
and those that it starts; one frame is simulated, and placed and routed from one seed.  What is not measured anew stays
as it was, unless cycles or counted resources have changed.
"""

import argparse
import json
import os
import tempfile
from dataclasses import replace
from math import gcd
from pathlib import Path

import numpy as np
from tepal.boards.flow.build import build
from tepal.boards.flow.fit import default_engine, fit
from tepal.boards.flow.folder import write_files
from tepal.boards.flow.generate import generate
from tepal.boards.parts.ecp5 import LOADED_85F
from tepal.boards.registry import get_board
from tepal.hdl import Schedule
from tepal.quant import CIFAR_BLOCKS, MobileNet
from tepal.sim import Build, CycleModel, simulate

ROOT = Path(__file__).resolve().parent.parent
RESULTS, FIGURE = ROOT / "benchmarks/growth.json", ROOT / "docs/growth.svg"

BOARD = get_board("ulx3s-85f")
ALPHAS = (0.25, 0.5, 0.75, 1.0)
BASE = LOADED_85F[0]
"""Of the board's engines one that takes one operand of each sum at a time."""

OWN = (BASE.rows, BASE.columns, BASE.packing)
ARRAYS = ((4, 4, 1), (4, 8, 1), (8, 8, 1), (9, 16, 1), OWN, (18, 16, 2))
"""Rows, columns and packing; the widths are measured on one of them, and the last is the largest of which the part has
multipliers and the network has uses."""

ESTIMATED = ("LUT4", "FF")
"""Resources that are not counted; a better estimate of them changes nothing else."""

POINTS = list(dict.fromkeys([*((alpha, *OWN) for alpha in ALPHAS), *((0.5, *array) for array in ARRAYS)]))


def measure(alpha: float, rows: int, columns: int, packing: int, *, simulated: bool, built: bool) -> dict:
    """One point: cycles, resources, seconds; and MHz, if it is built."""
    network = MobileNet(alpha, 32, classes=10, stem_stride=1, blocks=CIFAR_BLOCKS).network()
    usual = default_engine(replace(BOARD, config=BASE, others=()), network)
    config = replace(usual, rows=rows, columns=columns, packing=packing,
                     requantisers=gcd(columns, BASE.lanes), copy_lanes=BASE.copy_lanes)
    seconds = {}

    def timed(name, job, *arguments):
        before = os.times()
        result = job(*arguments)
        # Of the processor, its children's too: other work may keep it busy.
        seconds[name] = round(sum(os.times()[:4]) - sum(before[:4]), 2)
        return result

    def estimate():
        schedule = Schedule(network, config)
        return schedule, CycleModel(schedule).in_memory_cycles, fit(schedule, BOARD)

    schedule, cycles, needs = timed("estimate", estimate)
    files = timed("generate", generate, schedule, BOARD.name)
    if simulated:
        with tempfile.TemporaryDirectory() as folder:
            write_files(files, Path(folder))
            simulator = timed("compile", Build, Path(folder).resolve())
            images = np.random.default_rng(0).integers(-128, 128, (1, *network.input_shape), np.int8)
            report = timed("simulate", simulate, simulator, schedule, images)
        assert report.ok
        assert report.cycle_errors == []
    reached = timed("build", build, schedule, BOARD).report["fmax_mhz"] if built and needs.ok else None
    return {"alpha": alpha, "rows": rows, "columns": columns, "packing": packing, "macs": network.macs,
            "weights": network.parameters, "in_memory_cycles": cycles, "used": needs.used,
            "available": needs.available, "fits": needs.ok, "mhz": reached, "seconds": seconds}


def merged(point: dict, before: dict | None) -> dict:
    """A point with what was measured ``before``, where it is still the same one."""
    def identity(of: dict) -> tuple:
        return of["in_memory_cycles"], {kind: used for kind, used in of["used"].items() if kind not in ESTIMATED}

    if before is None or identity(point) != identity(before):
        return point
    return point | {"mhz": point["mhz"] or before["mhz"], "seconds": before["seconds"] | point["seconds"]}


def draw(points: list[dict]) -> None:
    """Cycles, resources and seconds, against the width and against the array."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    # The same bytes every time: no date, and ids that follow from a fixed salt.
    plt.rcParams.update({"svg.hashsalt": "tepal", "font.family": "sans-serif", "svg.fonttype": "none"})
    figure, axes = plt.subplots(2, 3, figsize=(11, 6), layout="constrained")
    for line, mine, label, across in (
            (axes[0], widths(points), f"width multiplier α, {OWN[0]} x {OWN[1]} array", lambda point: point["alpha"]),
            (axes[1], arrays(points), "products a cycle of the array, α 0.5",
             lambda point: point["rows"] * point["columns"])):
        x = [across(point) for point in mine]
        line[0].plot(x, [point["in_memory_cycles"] for point in mine], "o-", label="cycles")
        line[0].set_ylabel("cycles from image to answer")
        for kind, limit in mine[0]["available"].items():
            line[1].plot(x, [100 * point["used"][kind] / limit for point in mine], "o-", label=kind)
        line[1].axhline(100, color="black", linewidth=0.8)
        line[1].set_ylabel(f"% of {BOARD.part.name}")
        for name in steps(points):
            line[2].plot(x, [point["seconds"].get(name, np.nan) for point in mine], "o-", label=name)
        line[2].set_ylabel("seconds")
        line[2].set_yscale("log")
        line[0].set_ylim(bottom=0)
        for axis in line:
            axis.set_xlabel(label)
            axis.grid(alpha=0.3)
        line[1].legend(fontsize=8)
        line[2].legend(fontsize=8)
    figure.savefig(FIGURE, metadata={"Date": None})


def key(point: dict) -> tuple:
    return tuple(point[name] for name in ("alpha", "rows", "columns", "packing"))


def steps(points: list[dict]) -> list[str]:
    """What seconds were measured of, at any point."""
    return list(dict.fromkeys(name for point in points for name in point["seconds"]))


def widths(points: list[dict]) -> list[dict]:
    return [point for point in points if key(point)[1:] == OWN]


def arrays(points: list[dict]) -> list[dict]:
    return sorted((point for point in points if point["alpha"] == 0.5), key=lambda p: p["rows"] * p["columns"])


def table(points: list[dict]) -> str:
    kinds, names = list(points[0]["available"]), steps(points)
    header = ["α", "array", "MACs", "weights", "cycles", *kinds, "MHz", *(f"{name}, s" for name in names)]

    def seconds(point: dict, name: str) -> str:
        if name == "build" and not point["fits"]:
            return "does not fit"
        return f"{point['seconds'][name]:.1f}" if name in point["seconds"] else "not measured"

    rows = [[f"{point['alpha']:g}", f"{point['rows']} x {point['columns']}" + " packed" * (point["packing"] > 1),
             f"{point['macs']:,}",
             f"{point['weights']:,}", f"{point['in_memory_cycles']:,}",
             *(f"{point['used'][kind]:,}" + (" (too many)" if point["used"][kind] > limit else "")
               for kind, limit in point["available"].items()),
             f"{point['mhz']:.2f}" if point["mhz"] else "", *(seconds(point, name) for name in names)]
            for point in points]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [header, ["---"] * len(header), *rows])


def page(points: list[dict]) -> str:
    """``docs/growth.md``."""
    return f"""# How cost grows

CIFAR's MobileNet of random weights, 32 x 32 pixels, on `{BOARD.name}`'s engine that takes one operand of each sum at a
time, with {BASE.lanes} depthwise lanes. Cycles are {
"those of the simulated Verilog" if all("simulate" in point["seconds"] for point in points) else
"the cycle model's"}; LUT4 and FF are estimated, the other resources counted; MHz are what nextpnr reached after
routing, from one seed; seconds are the processor's.
Written by `benchmarks/growth.py`.

![Cycles, resources and seconds, against the width and against the array](growth.svg)

With the width α of the network, the array as it is:

{table(widths(points))}

With the array, α as it is:

{table(arrays(points))}
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("points", nargs="*", type=int, metavar="N",
                        help=f"measure these of the {len(POINTS)} points, counted from 0 (default: all)")
    parser.add_argument("--simulate", action="store_true", help="simulate too, and compare")
    parser.add_argument("--build", action="store_true", help="make bitstreams too")
    parser.add_argument("--draw", action="store_true", help="draw what was measured before")
    arguments = parser.parse_args()
    if unknown := set(arguments.points) - set(range(len(POINTS))):
        parser.error(f"there is no point {min(unknown)}")
    if arguments.draw:
        points = json.loads(RESULTS.read_text())
        draw(points)
        FIGURE.with_suffix(".md").write_text(page(points))
        return
    for number in arguments.points or range(len(POINTS)):
        job = POINTS[number]
        point = measure(*job, simulated=arguments.simulate, built=arguments.build)
        print(point, flush=True)
        # Others may have been written meanwhile.
        known = {key(other): other for other in (json.loads(RESULTS.read_text()) if RESULTS.exists() else [])}
        known[job] = merged(point, known.get(job))
        RESULTS.write_text(json.dumps([known[job] for job in POINTS if job in known], indent=1) + "\n")


if __name__ == "__main__":
    main()
