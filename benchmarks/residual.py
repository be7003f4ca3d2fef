# SPDX-License-Identifier: Apache-2.0
"""MobileNet with and without residual connections, at equal cycles: trains on CIFAR-10, quantises, draws.

    python benchmarks/residual.py --data cifar-10-batches-py     # an hour: writes benchmarks/residual.json
    python benchmarks/residual.py --data cifar.npz --kinds plain --seeds 2 3     # some of it
    python benchmarks/residual.py --draw                         # docs/residual.md and docs/residual.svg

Needs torch, onnx and Pillow.  All networks have a stem of stride 2 and nine blocks, three at each of 16, 8 and 4 pixels
across; the recipe is that of examples/cifar10, shorter.  What has been trained already is left as it is, and every
training is written down when it is over.
"""

import argparse
import json
import sys
import time
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
from tepal.boards.flow.fit import default_engine
from tepal.boards.registry import get_board
from tepal.hdl import Schedule
from tepal.quant import Architecture, MobileNet, MobileNetV2, Network, quantize
from tepal.quant.ops.add import Add
from tepal.sim import CycleModel, accuracy

ROOT = Path(__file__).resolve().parent.parent
RESULTS, TABLE, FIGURE = ROOT / "benchmarks/residual.json", ROOT / "docs/residual.md", ROOT / "docs/residual.svg"

BOARD = get_board("ulx3s-85f")
EPOCHS, BATCH, RATE, SEEDS = 5, 128, 0.1, (1, 2, 3)
CALIBRATION = 256
"""Training images that the quantiser sees."""

_SEPARABLE = partial(MobileNet, 0.44, 32, 10, stem_stride=2, blocks=(
    (64, 1), (128, 1), (128, 1), (256, 2), (256, 1), (256, 1), (512, 2), (512, 1), (512, 1)))

KINDS: dict[str, Architecture] = {
    "plain": _SEPARABLE(),
    "residual": _SEPARABLE(residual=True),
    "inverted residual": MobileNetV2(1.0, 32, 10, stem_channels=16, last_channels=256, activation="relu", bottlenecks=(
        (1, 16, 1, 1), (4, 16, 2, 1), (4, 32, 3, 2), (4, 64, 3, 2))),
}
"""Widths are chosen so that all take as many cycles, within 3 %."""


def cycles(architecture: Architecture) -> int:
    """From frame to frame on ``BOARD``.  Sums cost none: they are made of what leaves the array, as it leaves."""
    network = architecture.network()
    chain = replace(network, layers=tuple(replace(layer, inputs=()) for layer in network.layers
                                          if not isinstance(layer, Add)))
    return CycleModel(Schedule(chain, default_engine(BOARD, chain))).interval_cycles


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
               for form, network in (("float", trained), ("int8", integer))},
            "seconds": round(time.process_time() - begun)}


def recorded() -> list[dict]:
    """What has been trained."""
    return json.loads(RESULTS.read_text())["runs"] if RESULTS.exists() else []


def record(run: dict) -> None:
    """Write ``run`` down beside what others have written meanwhile."""
    runs = {(each["kind"], each["seed"]): each for each in [*recorded(), run]}
    networks = {kind: {"name": architecture.name, "macs": architecture.macs, "weights": architecture.weights,
                       "cycles": cycles(architecture)} for kind, architecture in KINDS.items()}
    order = sorted(runs.values(), key=lambda each: ([*KINDS].index(each["kind"]), each["seed"]))
    partial_file = RESULTS.with_suffix(f".{run['kind'].replace(' ', '_')}.{run['seed']}")
    partial_file.write_text(json.dumps({"board": BOARD.name, "networks": networks, "runs": order}, indent=1) + "\n")
    partial_file.replace(RESULTS)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="cifar-10-batches-py, or an .npz of JPEG bytes")
    parser.add_argument("--kinds", nargs="+", choices=[*KINDS], default=[*KINDS])
    parser.add_argument("--seeds", nargs="+", type=int, default=SEEDS)
    parser.add_argument("--draw", action="store_true", help="draw what has been recorded")
    arguments = parser.parse_args()
    if arguments.data:
        sys.path.insert(0, str(ROOT / "examples/cifar10"))
        from data import load, normalise  # pyright: ignore[reportMissingImports]

        split = {name: (normalise(images), labels) for name, (images, labels) in load(arguments.data).items()}
        for seed, kind in product(arguments.seeds, arguments.kinds):
            if not any((run["kind"], run["seed"]) == (kind, seed) for run in recorded()):
                run = train(kind, seed, split)
                record(run)
                print(json.dumps(run), flush=True)


if __name__ == "__main__":
    main()
