# SPDX-License-Identifier: Apache-2.0
"""``tepal simulate``: the generated Verilog against the golden model and the cycle model, or as a board to talk to."""

import json
import os
import tempfile
import time
from pathlib import Path

import numpy as np
from rich.markup import escape
from tepal.boards.flow import yosys
from tepal.boards.flow.build import require_memory
from tepal.boards.flow.folder import write_files
from tepal.boards.flow.generate import generate
from tepal.boards.flow.shortage import require_fit
from tepal.hdl import Schedule, export_component
from tepal.hdl.streamed import SdramAccelerator
from tepal.quant import NetworkError
from tepal.sim import Build, CycleModel, require_tools, simulate
from tepal.sim.occupancy import utilisation
from tepal.sim.simulate import require_place

from .arguments import add_model_arguments, path
from .console import bar, err, out, step, warn
from .exit_codes import MISMATCH
from .files import check_folder, read_names
from .frames import INPUT_HELP, add_preprocessing_arguments, read_input
from .scheduling import load
from .simulated_board import check_serve_arguments, serve, workplace
from .tables import layer_rows, layer_table, told_outputs

__all__ = ["add_arguments", "run"]


def add_arguments(parser) -> None:
    """What ``tepal simulate`` takes."""
    add_model_arguments(parser)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--input", type=path, metavar="X",
                        help=f"{INPUT_HELP}; arrays are int8, or real numbers as the float model takes them")
    source.add_argument("--serve", action="store_true", help="simulate the whole board, serial line included, on a "
                        "port of this computer, for tepal run")
    parser.add_argument("--debug", action="store_true", help="with --serve: build the debug tap in, for tepal run "
                        "--compare")
    parser.add_argument("--frames", type=int, metavar="N", help="use the first N images (default: all)")
    parser.add_argument("--stalls", type=int, metavar="SEED", help="make both streams wait at random; bytes are "
                        "compared, cycles are not")
    parser.add_argument("--waves", type=path, metavar="F.fst", help="record every signal")
    parser.add_argument("--classes", type=path, metavar="FILE", help="names of the classes, one a line")
    parser.add_argument("--keep", type=path, metavar="DIR", help="keep Verilog, simulator and logs there")
    add_preprocessing_arguments(parser)


def _picture(image: np.ndarray) -> str:
    """An int8 image as two rows of pixels a line, in shades of grey, thinned out to the width of the terminal."""
    grey = image.astype(float).mean(axis=2)
    grey = grey[::-(-grey.shape[0] // 48), ::-(-grey.shape[1] // min(out.width // 2, 48))]
    low, high = grey.min(), grey.max()
    shades = " ░▒▓█"
    level = ((grey - low) / max(high - low, 1) * (len(shades) - 1)).round().astype(int)
    return "\n".join("".join(shades[v] * 2 for v in row) for row in level)


def run(arguments) -> int:
    """Generate, build the simulator, simulate, compare."""
    require_place(arguments.keep or Path(tempfile.gettempdir()))
    if arguments.keep is not None:
        check_folder(arguments.keep)
    board, schedule = load(arguments)
    with step("Counting what the board has room for"):
        require_fit(schedule, board)
    if arguments.serve:
        require_memory(schedule, board)
        check_serve_arguments(arguments)
        require_tools()
        with workplace(arguments.keep) as directory:
            return serve(arguments, board, schedule, directory)
    if arguments.debug:
        raise NetworkError("--debug goes with --serve: without it, every layer is compared anyway")
    network = schedule.network
    frames = read_input(arguments, network)
    images = frames.images
    names = read_names(arguments.classes)
    if arguments.waves is not None and (arguments.waves.is_dir()
                                        or not os.access(arguments.waves.resolve().parent, os.W_OK)):
        raise NetworkError(f"{arguments.waves} can't be written: there is no such folder, or it is read-only")
    require_tools(waves=arguments.waves is not None)
    for sentence in frames.warnings:
        warn(sentence)
    sdram = board.memory.timing if schedule.loads and board.memory else None
    with workplace(arguments.keep) as directory:
        with step("Making Verilog") as making:
            files = (export_component(SdramAccelerator(schedule, sdram), yosys.to_verilog).files() if sdram else
                     generate(schedule, board))
            write_files(files, directory, also=Build.FILES)
        with step("Building the simulator (a minute or two)") as building:
            build = Build(directory.resolve(), schedule, sdram=sdram, waves=arguments.waves is not None)
        begun = time.monotonic()
        with bar() as progress:
            report = simulate(build, schedule, images, stalls=arguments.stalls, waves=arguments.waves,
                              progress=progress)
        simulating = time.monotonic() - begun
    model = CycleModel(schedule, board.beat_cycles)
    result = {
        "model": str(arguments.model), "board": board.name, "frames": len(images), "stalls": arguments.stalls,
        **frames.report,
        "cycles": report.cycles, "in_memory_cycles": report.in_memory_cycles,
        "last_byte_cycles": report.last_byte_cycles, "interval_cycles": report.interval_cycles,
        "predicted_cycles": model.cycles, "predicted_in_memory_cycles": model.in_memory_cycles,
        "predicted_last_byte_cycles": model.last_byte_cycles, "predicted_interval_cycles": model.interval_cycles,
        "mismatches": report.mismatches, "compared": report.compared, "cycle_errors": report.cycle_errors,
        "problems": report.problems,
        "first_mismatch": report.first_mismatch.describe(network) if report.first_mismatch else None,
        "outputs": report.outputs.tolist(), "classes": report.classes, "layers": report.layers,
        "utilisation": round(utilisation(schedule, model.in_memory_cycles), 4),
        "waves": str(arguments.waves) if arguments.waves else None,
        "seconds": {"verilog": round(making.seconds, 2), "simulator": round(building.seconds, 2),
                    "simulation": round(simulating, 2)},
    }
    if arguments.json:
        print(json.dumps(result))
    else:
        _show(arguments, schedule, model, images, report, names)
    if report.first_mismatch:
        err.print(report.first_mismatch.describe(network), style="bold red", markup=False)
    for line in [*report.problems, *report.cycle_errors[:5]]:
        err.print(line, style="bold red", markup=False)
    return 0 if report.ok else MISMATCH


def _show(arguments, schedule: Schedule, model: CycleModel, images, report, names) -> None:
    network = schedule.network

    def name(index: int) -> str:
        return escape(names[index]) if index < len(names) and names[index] else f"class {index}"

    if out.is_terminal:
        out.print(_picture(images[0]), markup=False)
    scores = report.outputs[0]
    if len(network.output_layers) > 1:
        for line in told_outputs(network, report.outputs[:1]):
            out.print(line)
    elif network.softmax is not None:
        scores = (network.softmax(report.outputs[:1])[0].astype(float) + 128) / 256
        out.print(f"[bold]{name(report.classes[0])}[/], with {scores[report.classes[0]]:.0%}")
    else:
        out.print(f"[bold]{name(report.classes[0])}[/], with a score of {scores[report.classes[0]]}")
    if len(images) > 1 and len(network.output_layers) == 1:
        out.print("then " + ", ".join(name(index) for index in report.classes[1:21])
                  + (" …" if len(images) > 21 else ""))
    out.print(layer_table(layer_rows(schedule, model)))
    if report.cycles is not None:
        in_memory = "not seen" if report.in_memory_cycles is None else f"{report.in_memory_cycles:,}"
        out.print(f"Cycles in memory: {in_memory} ({model.in_memory_cycles:,} predicted); from the last byte: "
                  f"{report.last_byte_cycles:,} ({model.last_byte_cycles:,}); from the first: {report.cycles:,} "
                  f"({model.cycles:,})"
                  + (f"; a frame every {report.interval_cycles:,} ({model.interval_cycles:,})"
                     if report.interval_cycles else "") + ".")
        out.print(f"{utilisation(schedule, model.in_memory_cycles):.1%} of {schedule.config.products} "
                  "products a cycle in use.")
    style = "bold green" if report.ok else "bold red"
    out.print(f"[{style}]{report.compared - report.mismatches:,} of {report.compared:,} bytes equal[/] over "
              f"{len(images)} frames and every layer"
              + ("; both streams stalled at random." if arguments.stalls is not None else
                 f"; {len(report.cycle_errors)} events off their predicted cycle."))
