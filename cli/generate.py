# SPDX-License-Identifier: Apache-2.0
"""``tepal generate``: Verilog, ROMs, a FuseSoC core and a JSON description."""

import json

import numpy as np
from tepal.boards.flow.bench import SEED, bench_files, random_images
from tepal.boards.flow.folder import write_files
from tepal.boards.flow.generate import generate
from tepal.boards.flow.shortage import require_fit
from tepal.hdl import Schedule
from tepal.hdl.names import name_from, require_name
from tepal.quant import NetworkError

from .arguments import add_model_arguments, add_output_argument, path
from .console import err, out, step, warn
from .files import check_folder
from .frames import INPUT_HELP, add_preprocessing_arguments, preprocessed, read_input
from .scheduling import load, require_weights_on_chip

__all__ = ["add_arguments", "run"]


def add_arguments(parser) -> None:
    """What ``tepal generate`` takes."""
    add_model_arguments(parser)
    add_output_argument(parser)
    parser.add_argument("--name", help="of the top module and the FuseSoC core; all other modules and files begin with "
                        "it (default: MODEL's file name)")
    parser.add_argument("--bench", action="store_true", help="write a cocotb bench as well: frames, the answers to "
                        "them, and a test that runs as it is in Verilator and in Icarus")
    parser.add_argument("--input", type=path, metavar="X", help=f"frames for the bench: {INPUT_HELP} (default: random "
                        "ones)")
    parser.add_argument("--frames", type=int, metavar="N", help="use the first N of them (default: all)")
    add_preprocessing_arguments(parser)


def run(arguments) -> int:
    """Schedule, generate, write."""
    name = name_from(arguments.model.stem) if arguments.name is None else arguments.name
    require_name(name)
    for option in "input", "frames":
        if getattr(arguments, option) is not None and not arguments.bench:
            raise NetworkError(f"--{option} goes with --bench: Verilog is the same for all images")
    if arguments.frames is not None and arguments.input is None:
        raise NetworkError("--frames goes with --input: without it, the bench sends random numbers")
    board, schedule = load(arguments)
    # What pixels mean changes nothing but the description, and what a bench is given.
    schedule = Schedule(preprocessed(schedule.network, arguments), schedule.config, schedule.formats)
    with step("Counting what the board has room for"):
        require_fit(schedule, board)
    check_folder(arguments.output)
    if arguments.bench:
        require_weights_on_chip(schedule, "tepal generate --bench")
    images = _images(arguments, schedule) if arguments.bench else None
    with step("Making Verilog"):
        files = generate(schedule, board, name)
    if images is not None:
        with step("Computing answers"):
            files |= bench_files(schedule, images, name)
    write_files(files, arguments.output)
    report = {"directory": str(arguments.output), "top": name, "files": {n: len(t) for n, t in sorted(files.items())}}
    if arguments.json:
        print(json.dumps(report))
    else:
        out.print(f"Wrote {arguments.output}: {', '.join(sorted(files))}", markup=False)
        if arguments.bench:
            out.print(f"Simulate it with: python {arguments.output / f'test_{name}.py'}", markup=False)
    return 0


def _images(arguments, schedule) -> np.ndarray:
    """What the bench sends."""
    if arguments.input is None:
        images = random_images(schedule)
        err.print(f"The bench sends {len(images)} random frames (seed {SEED}).")
        return images
    frames = read_input(arguments, schedule.network)
    for sentence in frames.warnings:
        warn(sentence)
    return frames.images
