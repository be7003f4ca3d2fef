# SPDX-License-Identifier: Apache-2.0
"""Accuracy against multiply-adds and against frames per second, as a table and as an SVG.

    python tradeoff.py models/*_int8.onnx --data build/cifar10 -o tradeoff

Needs matplotlib.  Accuracy is the golden model's over all test images (`prepare.py` makes them); cycles are the cycle
model's, which the simulated Verilog equals.
"""

import argparse
from pathlib import Path

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator
from tepal.boards.flow.fit import default_engine
from tepal.boards.registry import get_board
from tepal.hdl import Schedule
from tepal.quant import Network, read_model
from tepal.sim import CycleModel, accuracy


def plot(points: list[tuple], board: str, clock: float, path: Path) -> None:
    """Two panels: accuracy against multiply-adds, and against frames per second."""
    # The same bytes every time: no date, and ids that follow from a fixed salt.
    plt.rcParams.update({"svg.hashsalt": "tepal", "font.family": "sans-serif", "svg.fonttype": "none"})
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), sharey=True, layout="constrained")
    for body, marker in (("large", "o"), ("small", "s")):
        mine = [point for point in points if point[0] == body]
        for axis, across in ((axes[0], [point[3] / 1e6 for point in mine]),
                             (axes[1], [clock * 1e6 / point[5] for point in mine])):
            axis.scatter(across, [100 * point[6] for point in mine], marker=marker, label=f"{body} body")
            for x, point in zip(across, mine, strict=True):
                axis.annotate(f"α {point[1]:g}, {point[2]}²", (x, 100 * point[6]), textcoords="offset points",
                              xytext=(6, -10), fontsize=8)
    for axis, label in zip(axes, ("million multiply-adds a frame", f"frames per second on {board} at {clock:g} MHz"),
                           strict=True):
        axis.set_xscale("log")
        axis.set_xlabel(label)
        axis.grid(alpha=0.3)
        axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
        axis.xaxis.set_minor_locator(NullLocator())
        low, high = axis.get_xlim()
        axis.set_xlim(low * 0.8, high * 2)
        axis.margins(y=0.12)
    axes[0].set_ylabel("int8 top-1 on CIFAR-10, %")
    axes[0].legend(loc="lower right")
    figure.savefig(path, metadata={"Date": None})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=Path, nargs="+", help="quantised .onnx files, <body>_<alpha>_<pixels>_int8.onnx")
    parser.add_argument("--data", type=Path, required=True, help="folder that prepare.py wrote")
    parser.add_argument("--board", default="ulx3s-85f")
    parser.add_argument("--clock", type=float, default=100, help="MHz to turn cycles into frames (default: 100)")
    parser.add_argument("-o", "--output", type=Path, required=True, help="writes OUTPUT.md and OUTPUT.svg")
    arguments = parser.parse_args()
    board = get_board(arguments.board)
    points = []
    for path in arguments.models:
        network = read_model(path)
        assert isinstance(network, Network)
        with np.load(arguments.data / f"test_{network.input_shape[0]}.npz") as file:
            share = accuracy(network, file["images"], file["labels"])
        body, alpha, _ = path.stem.removesuffix("_int8").rsplit("_", 2)
        cycles = CycleModel(Schedule(network, default_engine(board, network))).interval_cycles
        points.append((body, float(alpha), network.input_shape[0], network.macs, network.parameters, cycles, share))
        print(points[-1], flush=True)
    points.sort(key=lambda point: point[3])
    rows = [f"| {body} | {alpha} | {size} | {macs / 1e6:.2f} M | {weights:,} | {cycles:,} | "
            f"{arguments.clock * 1e6 / cycles:,.0f} | {share:.2%} |"
            for body, alpha, size, macs, weights, cycles, share in points]
    heading = ["| body | α | pixels | multiply-adds | weights | cycles a frame | "
               f"frames/s at {arguments.clock:g} MHz | int8 top-1 |", "|---|---|---|---|---|---|---|---|"]
    arguments.output.with_suffix(".md").write_text("\n".join([*heading, *rows]) + "\n")

    plot(points, board.name, arguments.clock, arguments.output.with_suffix(".svg"))


if __name__ == "__main__":
    main()
