# SPDX-License-Identifier: Apache-2.0
"""What changes from 10² to 10⁵ multipliers: the cycle model of one engine, and on paper what several of them need.

    python benchmarks/scale.py             # some minutes: writes benchmarks/scale.json and the tables in docs/scale.md
    python benchmarks/scale.py --scheduler local:2     # the same on two processes
    python benchmarks/scale.py --tables    # only write the tables again

For each network and each number of multipliers, all shapes of an engine are scheduled whose sides are powers of two,
and the one with the fewest cycles from frame to frame is kept.  Nothing is placed or routed: there is no clock here.
"""

import argparse
import json
import re
from dataclasses import asdict, dataclass
from functools import partial
from itertools import chain, product
from math import gcd
from pathlib import Path

from tepal.hdl import EngineConfig, Formats, Schedule
from tepal.quant import MobileNet
from tepal.scheduler import workers
from tepal.sim import CycleModel

ROOT = Path(__file__).resolve().parent.parent
RESULTS, PAGE = ROOT / "benchmarks/scale.json", ROOT / "docs/scale.md"

NETWORKS = {"MobileNetV1 0.25-96": MobileNet(0.25, 96), "MobileNetV1 1.0-224": MobileNet(1.0, 224)}
BUDGETS = (100, 300, 1_000, 3_000, 10_000, 30_000, 100_000)
"""Multipliers: the array's rows times columns, and nine for each lane."""

ROWS, COLUMNS, LANES = ([1 << power for power in range(most)] for most in (10, 12, 11))
TAPS = 9
INPUT_BYTES = 96
"""A stream that is wide enough to bound nothing: it divides the image's rows of both networks."""

HBM = 256
"""GB/s of a stack of HBM2: 1,024 data pins of 2 Gb/s each (JESD235A)."""

MHZ = 100
"""For which bandwidth is told; at another clock it is as much more."""


@dataclass(frozen=True)
class Shape:
    """Of an engine."""

    rows: int
    columns: int
    lanes: int

    @property
    def multipliers(self) -> int:
        return self.rows * self.columns + TAPS * self.lanes

    def config(self) -> EngineConfig:
        return EngineConfig(rows=self.rows, columns=self.columns, lanes=self.lanes, copy_lanes=self.lanes,
                            requantisers=gcd(self.columns, self.lanes), input_bytes=INPUT_BYTES)


def measure(job: tuple[str, int]) -> list[dict]:
    """Of a network and a number of lanes: every engine with them that has no more multipliers than the largest
    budget."""
    name, lanes = job
    network = NETWORKS[name].network()
    formats, found = Formats(network), []
    for shape in (Shape(rows, columns, lanes) for rows, columns in product(ROWS, COLUMNS)):
        if shape.multipliers <= max(BUDGETS):
            model = CycleModel(Schedule(network, shape.config(), formats))
            found.append({"network": name, **asdict(shape), "multipliers": shape.multipliers,
                          "interval_cycles": model.interval_cycles, "in_memory_cycles": model.in_memory_cycles,
                          "macs": network.macs, "weight_bytes": network.parameters})
    return found


def fastest(engines: list[dict]) -> list[dict]:
    """For each network and budget the engine with the fewest cycles from frame to frame, and of those as fast the
    smallest."""
    return [{"budget": budget, **min(
        (engine for engine in engines if engine["network"] == name and engine["multipliers"] <= budget),
        key=lambda engine: (engine["interval_cycles"], engine["multipliers"], engine["in_memory_cycles"]))}
        for name, budget in product(NETWORKS, BUDGETS)]


def row_of(points: list[dict], name: str) -> list[dict]:
    return [point for point in points if point["network"] == name]


def table(rows: list[list[str]]) -> str:
    rows = [rows[0], ["---", *["---:"] * (len(rows[0]) - 1)], *rows[1:]]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def one_engine(points: list[dict], name: str) -> str:
    """What the cycle model says of the fastest engine of each size."""
    rows = [["multipliers at most", "array", "lanes", "multipliers", "cycles from frame to frame",
             "cycles in memory", "MACs a cycle", "of all multipliers"]]
    for point in row_of(points, name):
        rate = point["macs"] / point["interval_cycles"]
        rows.append([f"{point['budget']:,}", f"{point['rows']:,} x {point['columns']:,}", f"{point['lanes']:,}",
                     f"{point['multipliers']:,}", f"{point['interval_cycles']:,}", f"{point['in_memory_cycles']:,}",
                     f"{rate:,.1f}", f"{rate / point['multipliers']:.1%}"])
    return table(rows)


def several(points: list[dict], name: str) -> list[tuple[int, dict, int]]:
    """For each budget: the engine of which as many as have room give the most frames, and how many these are."""
    points = row_of(points, name)
    found = []
    for budget in (point["budget"] for point in points):
        count, best = max(((budget // point["multipliers"], point) for point in points if point["budget"] <= budget),
                          key=lambda each: each[0] / each[1]["interval_cycles"])
        found.append((budget, best, count))
    return found


def side_by_side(points: list[dict], name: str) -> str:
    """Several engines, each with frames of its own: arithmetic on the cycles of one."""
    rows = [["multipliers at most", "engines", "multipliers of each", "frames in 10⁶ cycles", "times one engine's",
             "cycles in memory", "MB of weights on the chips", "GB/s of weights, each its own",
             "GB/s of weights, shared", "stacks of HBM2, each its own"]]
    alone = {point["budget"]: point for point in row_of(points, name)}
    for budget, point, count in several(points, name):
        frames = count * 1e6 / point["interval_cycles"]
        shared = point["weight_bytes"] / point["interval_cycles"] * MHZ / 1e3
        rows.append([f"{budget:,}", f"{count:,}", f"{point['multipliers']:,}", f"{frames:,.1f}",
                     f"{frames * alone[budget]['interval_cycles'] / 1e6:.2f}", f"{point['in_memory_cycles']:,}",
                     f"{count * point['weight_bytes'] / 1e6:,.1f}", f"{count * shared:,.2f}",
                     f"{shared:,.2f}", f"{count * shared / HBM:.3f}"])
    return table(rows)


TABLES = {"one engine": one_engine, "side by side": side_by_side}


def page(text: str, points: list[dict]) -> str:
    """``docs/scale.md`` with the tables between its marks written anew."""
    def made(mark: re.Match) -> str:
        return f"<!-- scale: {mark[1]}, {mark[2]} -->\n{TABLES[mark[1]](points, mark[2])}\n<!-- end -->"

    return re.sub(r"<!-- scale: ([\w ]+), ([^>]+) -->\n.*?<!-- end -->", made, text, flags=re.S)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", action="store_true", help="write the tables of what was found before")
    parser.add_argument("--scheduler", metavar="ADDRESS|local:N", help="spread the sizes over Dask's workers")
    arguments = parser.parse_args()
    if not arguments.tables:
        with workers(arguments.scheduler) as each:
            found = each.map(measure, list(product(NETWORKS, LANES)), partial(print, flush=True))
        points = fastest(list(chain.from_iterable(found)))
        RESULTS.write_text(json.dumps(points, indent=1) + "\n")
    PAGE.write_text(page(PAGE.read_text(), json.loads(RESULTS.read_text())))


if __name__ == "__main__":
    main()
