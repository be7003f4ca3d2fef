# SPDX-License-Identifier: Apache-2.0
"""``tepal report``: one HTML page that shows a network on a board."""

import json
from pathlib import Path
from typing import Any

from tepal.boards.flow.build import REPORT
from tepal.boards.flow.fit import fit
from tepal.boards.flow.routed import Clock
from tepal.boards.flow.shortage import require_fit
from tepal.processes import write_whole
from tepal.quant import NetworkError
from tepal.report import Given, page
from tepal.report.given import BUILD, LOSSES, SIMULATION, read_json
from tepal.report.page import sections
from tepal.sim import CycleModel, accuracy
from tepal.sim.ranges import measure_ranges

from .arguments import add_model_arguments, mhz, path
from .console import bar, out, step, warn
from .files import check_file, classes_of, read_labelled
from .frames import INPUT_HELP, add_preprocessing_arguments, preprocessed, read_input, taken
from .scheduling import clock_for, load

__all__ = ["add_arguments", "run"]


def add_arguments(parser) -> None:
    """What ``tepal report`` takes."""
    add_model_arguments(parser)
    parser.add_argument("-o", "--output", type=path, required=True, metavar="OUT.html", help="page to write")
    parser.add_argument("--clock", type=mhz, metavar="MHZ", help="clock to turn cycles into time (default: the "
                        "build's, or else the one recorded for the board, if any is)")
    found = parser.add_argument_group("what is known besides")
    found.add_argument("--build", type=path, metavar="DIR", help="folder that tepal build wrote, of the same engine: "
                       "resources after routing, seeds, slowest path")
    found.add_argument("--simulation", type=path, metavar="F.json", help="what tepal simulate --json printed: first "
                       "difference, cycles")
    found.add_argument("--losses", type=path, metavar="F.json", help="what tepal quantize --json printed: range, SQNR "
                       "and saturation of each layer, accuracy")
    found.add_argument("--input", type=path, metavar="X", help=f"{INPUT_HELP}: the values that each layer gives on it")
    found.add_argument("--frames", type=int, metavar="N", help="use the first N images of --input (default: all)")
    found.add_argument("--evaluate", type=path, metavar="TEST.npz",
                       help="'images' and 'labels' to measure the accuracy of the int8 network on")
    add_preprocessing_arguments(parser)


def run(arguments) -> int:
    """Schedule, read and measure what is given, write the page."""
    _check(arguments)
    board, schedule = load(arguments)
    with step("Counting cycles"):
        model = CycleModel(schedule, board.beat_cycles)
    given = _given(arguments, model, board.name)
    clock = clock_for(schedule, board, arguments.clock)
    if given.build is not None and arguments.clock is None:
        clock = Clock(given.build["clock_mhz"], f"{given.build['clock_mhz']:.2f} MHz, the clock of the build")
    with step("Drawing"):
        found = sections(model, board, given)
        text = page(model, board, arguments.model.name, clock, given, found)
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        write_whole(arguments.output.resolve(), text.encode("utf-8", "backslashreplace"))
    if arguments.json:
        print(json.dumps({
            "model": str(arguments.model), "board": board.name, "path": str(arguments.output),
            "sections": [section.name for section in found], "fits": fit(schedule, board).ok,
            "passes": len(schedule.passes), "layers": len(schedule.network.layers), "cycles": model.cycles,
            "in_memory_cycles": model.in_memory_cycles, "last_byte_cycles": model.last_byte_cycles,
            "interval_cycles": model.interval_cycles}))
    else:
        out.print(f"Wrote {arguments.output}: open it in a browser.", markup=False)
    require_fit(schedule, board)
    return 0


def _check(arguments) -> None:
    """Raise NetworkError for what can be told before any work is done."""
    sources = (arguments.model, arguments.simulation, arguments.losses, arguments.input, arguments.evaluate)
    check_file(arguments.output, sources)
    if arguments.output.suffix.lower() not in (".html", ".htm"):
        raise NetworkError(f"{arguments.output}: the page is HTML, so give it a name that ends in .html")
    if arguments.frames is not None and arguments.input is None:
        raise NetworkError("--frames goes with --input: it is how many of its images are used")


def _given(arguments, model: CycleModel, board: str) -> Given:
    schedule = model.schedule
    network = preprocessed(schedule.network, arguments)
    build = simulation = losses = None
    if arguments.build is not None:
        build = _same(model, board, arguments.build / REPORT, BUILD, "tepal build", "in_memory_cycles")
    if arguments.simulation is not None:
        simulation = _same(model, board, arguments.simulation, SIMULATION, "tepal simulate --json",
                           "predicted_in_memory_cycles")
    accuracies: dict[str, tuple[float, int | None]] = {}
    if arguments.losses is not None:
        losses = read_json(arguments.losses, LOSSES, "tepal quantize --json")
        if not {each["name"] for each in losses["layers"]} & {each.name for each in network.layers}:
            raise NetworkError(f"{arguments.losses} is of another network: it has none of the layers of {network.name}")
        accuracies = {f"{kind}, by tepal quantize": (share, None) for kind, share in (losses["accuracy"] or {}).items()}
    ranges, frames = [], 0
    if arguments.input is not None:
        images = read_input(arguments, network)
        for sentence in images.warnings:
            warn(sentence)
        with bar() as progress:
            ranges, frames = measure_ranges(network, images.images, progress=progress), len(images.images)
    if arguments.evaluate is not None:
        accuracies["int8, golden model"] = _accuracy(arguments.evaluate, network)
    return Given(build, simulation, losses, ranges, frames, accuracies)


def _same(model: CycleModel, board: str, file: Path, form: dict, command: str, cycles: str) -> dict[str, Any]:
    """What is in ``file``; NetworkError if it is of another board or another engine."""
    found = read_json(file, form, command)
    if found["board"] != board:
        raise NetworkError(f"{file} is of the board {found['board']}: give --board {found['board']}")
    if found[cycles] != model.in_memory_cycles:
        raise NetworkError(f"{file} is of another network or engine, which takes {found[cycles]:,} cycles with the "
                           f"image in memory, and this one {model.in_memory_cycles:,}: give the model and the engine's "
                           "options of that command")
    return found


def _accuracy(file: Path, network) -> tuple[float, int]:
    images, labels = read_labelled(file, classes_of(network))
    frames = taken(images, network, file)
    for sentence in frames.warnings:
        warn(sentence)
    with bar() as progress:
        return accuracy(network, frames.images, labels, progress=progress), len(labels)
