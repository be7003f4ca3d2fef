# SPDX-License-Identifier: Apache-2.0
"""MobileNet with and without residual connections, at equal cycles: trains on CIFAR-10, quantises, draws.

    python benchmarks/residual.py --data cifar-10-batches-py     # an hour: writes benchmarks/residual.json
    python benchmarks/residual.py --data cifar.npz --kinds plain --seeds 2 3     # some of it
    python benchmarks/residual.py --draw                         # docs/residual.md and docs/residual.svg

Needs torch, onnx and Pillow.  All networks have a stem of stride 2 and nine blocks, three at each of 12, 6 and 3 pixels
across; the recipe is that of examples/cifar10, shorter.  What has been trained already is left as it is, and every
training is written down when it is over.
"""

import argparse
import json
import os
import sys
import time
from dataclasses import replace
from functools import partial
from itertools import product
from math import ceil, floor
from pathlib import Path
from statistics import mean, stdev

import numpy as np
from tepal.boards.flow.fit import default_engine
from tepal.boards.parts.ecp5 import LOADED_85F
from tepal.boards.registry import get_board
from tepal.hdl import Schedule
from tepal.quant import Architecture, MobileNet, MobileNetV2, Network, quantize
from tepal.sim import CycleModel, accuracy

ROOT = Path(__file__).resolve().parent.parent
FORMS = ("float", "int8")

RESULTS, TABLE, FIGURE = ROOT / "benchmarks/residual.json", ROOT / "docs/residual.md", ROOT / "docs/residual.svg"

BOARD = get_board("ulx3s-85f")
ENGINE = LOADED_85F[0]
"""One of its engines, an array of 16 x 16: the networks were made for equal cycles on it."""

SIZE = 24
"""Pixels across."""

EPOCHS, BATCH, RATE, SEEDS = 4, 128, 0.1, (1, 2, 3)
CALIBRATION = 256
"""Training images that the quantiser sees."""

_SEPARABLE = partial(MobileNet, 0.42, SIZE, 10, stem_stride=2, blocks=(
    (64, 1), (128, 1), (128, 1), (256, 2), (256, 1), (256, 1), (512, 2), (512, 1), (512, 1)))

KINDS: dict[str, Architecture] = {
    "plain": _SEPARABLE(),
    "residual": _SEPARABLE(residual=True),
    "inverted residual": MobileNetV2(1.0, SIZE, 10, stem_channels=16, last_channels=256, activation="relu",
                                     bottlenecks=((1, 16, 1, 1), (4, 16, 2, 1), (4, 32, 3, 2), (4, 64, 3, 2))),
}
"""Widths are chosen so that all take as many cycles, within 3 %."""


def cycles(architecture: Architecture) -> int:
    """From frame to frame on :data:`ENGINE`."""
    network = architecture.network()
    engine = default_engine(replace(BOARD, config=ENGINE, others=()), network)
    return CycleModel(Schedule(network, engine)).interval_cycles


def train(kind: str, seed: int, split: dict[str, tuple[np.ndarray, np.ndarray]]) -> dict:
    """Accuracies, in percent, of one network on the test images."""
    import torch
    from train import fit  # pyright: ignore[reportMissingImports]

    torch.set_num_threads(1)
    torch.manual_seed(seed)
    architecture = KINDS[kind]
    begun = time.process_time()
    module = architecture.torch().to(memory_format=torch.channels_last)
    fit(module, *(torch.from_numpy(array) for array in split["train"]), epochs=EPOCHS, batch=BATCH, rate=RATE,
        seed=seed)
    trained = architecture.trained(module.eval())
    chosen = np.random.default_rng(seed).choice(len(split["train"][0]), CALIBRATION, replace=False)
    integer: Network = quantize(trained, split["train"][0][chosen]).network
    return {"kind": kind, "seed": seed, "epochs": EPOCHS, "batch": BATCH, "rate": RATE,
            **{form: round(100 * accuracy(network, *split["test"]), 2)
               for form, network in zip(FORMS, (trained, integer), strict=True)},
            "seconds": round(time.process_time() - begun)}


# ---- results ----

def recorded() -> list[dict]:
    """What has been trained."""
    return json.loads(RESULTS.read_text())["runs"] if RESULTS.exists() else []


def record(*made: dict) -> dict:
    """Write what was ``made`` down, beside what others have written meanwhile, and all that there is then; the
    networks' sizes and cycles are counted anew."""
    runs = {(run["kind"], run["seed"]): run for run in [*recorded(), *made]}
    results = {
        "board": BOARD.name,
        "networks": {kind: {"name": architecture.name, "macs": architecture.macs, "weights": architecture.weights,
                            "cycles": cycles(architecture)} for kind, architecture in KINDS.items()},
        "runs": sorted(runs.values(), key=lambda run: ([*KINDS].index(run["kind"]), run["seed"]))}
    written = RESULTS.with_suffix(f".{os.getpid()}")
    written.write_text(json.dumps(results, indent=1) + "\n")
    written.replace(RESULTS)
    return results


def accuracies(results: dict, kind: str, form: str) -> list[float]:
    """Of each seed, in percent."""
    return [run[form] for run in results["runs"] if run["kind"] == kind]


def told(values: list[float]) -> str:
    """Mean and, of more than one, the standard deviation of a sample."""
    if not values:
        return "not trained"
    return f"{mean(values):.2f}" + (f" ± {stdev(values):.2f}" if len(values) > 1 else "")


def page(results: dict) -> str:
    """``docs/residual.md``."""
    rows = [[kind, f"{network['macs']:,}", f"{network['weights']:,}", f"{network['cycles']:,}",
             *(told(accuracies(results, kind, form)) for form in FORMS),
             ", ".join(f"{value:.2f}" for value in accuracies(results, kind, "int8"))]
            for kind, network in results["networks"].items()]
    header = ["blocks", "multiply-adds", "weights", "cycles a frame", "float, %", "int8, %", "int8 of each seed, %"]
    table = "\n".join(f"| {' | '.join(cells)} |" for cells in [header, ["---"] * len(header), *rows])
    return f"""# Residual connections, at equal cycles

Three networks of nine blocks on CIFAR-10, {SIZE} x {SIZE} pixels, of such widths that all take as many cycles on
`{results["board"]}`'s 16 x 16 array, within 3 %: MobileNetV1 as it is, the same with each block's input added to its
output where both have one shape, and MobileNetV2's inverted residuals. All are trained by the same recipe,
{EPOCHS} epochs, and from the same seeds; so few epochs tell how well each learns in that time, not where it ends.
Accuracy is that over
the 10,000 test images, with the standard deviation over the seeds; int8 is the golden model's. Written by
`benchmarks/residual.py`.

![Accuracy of the three kinds of blocks, a point for each seed](residual.svg)

{table}
"""


def drawing(results: dict) -> str:
    """``docs/residual.svg``: a column for each kind, a point for each seed, a line at the mean."""
    left, top, height, step = 60, 20, 240, 170
    values = [run[form] for run in results["runs"] for form in FORMS]
    low, high = floor(min(values)) - 1, ceil(max(values)) + 1
    width = left + step * len(KINDS) + 10

    def y(value: float) -> float:
        return round(top + height * (high - value) / (high - low), 1)

    def text(x: float, at: float, words: str, anchor: str = "middle") -> str:
        return f'<text x="{x}" y="{at}" text-anchor="{anchor}">{words}</text>'

    shapes = [f'<rect width="{width}" height="{top + height + 60}" fill="white"/>']
    for value in range(low, high + 1, max(1, (high - low) // 8)):
        shapes += [f'<path d="M{left} {y(value)}H{width - 10}" stroke="#ddd"/>',
                   text(left - 6, y(value) + 4, f"{value} %", "end")]
    for number, (kind, network) in enumerate(results["networks"].items()):
        middle = left + step * (number + 0.5)
        shapes += [text(middle, top + height + 20, kind),
                   text(middle, top + height + 36, f"{network['cycles']:,} cycles a frame")]
        for offset, form, fill in ((-30, "float", "white"), (30, "int8", "#1f77b4")):
            found = accuracies(results, kind, form)
            if found:
                shapes += [f'<path d="M{middle + offset - 18} {y(mean(found))}h36" stroke="#1f77b4"/>',
                           text(middle + offset, y(max(found)) - 9, form)]
            shapes += [f'<circle cx="{middle + offset}" cy="{y(value)}" r="4" fill="{fill}" stroke="#1f77b4"/>'
                       for value in found]
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {top + height + 60}" '
            'font-family="sans-serif" font-size="12">\n' + "\n".join(shapes) + "\n</svg>\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="cifar-10-batches-py, or an .npz of JPEG bytes")
    parser.add_argument("--kinds", nargs="+", choices=[*KINDS], default=[*KINDS])
    parser.add_argument("--seeds", nargs="+", type=int, default=SEEDS)
    parser.add_argument("--draw", action="store_true", help="write the page and the drawing of what has been recorded")
    arguments = parser.parse_args()
    if arguments.data:
        sys.path.insert(0, str(ROOT / "examples/cifar10"))
        from data import load, normalise, resize  # pyright: ignore[reportMissingImports]

        split = {name: (normalise(resize(images, SIZE)), labels)
                 for name, (images, labels) in load(arguments.data).items()}
        for seed, kind in product(arguments.seeds, arguments.kinds):
            if not any((run["kind"], run["seed"]) == (kind, seed) for run in recorded()):
                run = train(kind, seed, split)
                record(run)
                print(json.dumps(run), flush=True)
    if arguments.draw:
        results = record()
        TABLE.write_text(page(results))
        FIGURE.write_text(drawing(results))


if __name__ == "__main__":
    main()
