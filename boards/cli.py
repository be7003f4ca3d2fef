"""The ``tepal`` command."""

import argparse
import contextlib
import json
import os
import shutil
import sys
import tempfile
from dataclasses import asdict, replace
from math import gcd
from pathlib import Path

import numpy as np
from rich.markup import escape
from rich.table import Column, Table
from tepal.hdl import TOP, ConfigError, Formats, Schedule
from tepal.quant import Convolution, FloatNetwork, Network, NetworkError, read_model, simplify
from tepal.sim import Build, CycleModel, SimulationError, golden, require_tools, simulate

from .board import BOARDS, Board, default_engine, fit, get_board, require_fit
from .build import STEPS, build, require_platform
from .console import MISMATCH, Steps, err, out, step
from .explore import add_explore_arguments, run_explore
from .family import add_family_arguments, run_family
from .files import check_folder, choose_frames, read_images, read_names
from .generate import generate, write_files
from .host import HostError
from .logic import KINDS
from .program import add_program_arguments, run_program
from .quantise import add_evaluate_arguments, add_quantize_arguments, run_evaluate, run_quantize
from .run import add_run_arguments, run_on_device
from .serve import check_serve_arguments, serve
from .tools import ToolError

__all__ = ["main"]

BAD_INPUT = 2
"""Exit code: the input or the machine can't be worked with; one sentence on stderr says why."""

TOO_SLOW = 3
"""Exit code: the design was built and does not reach its clock."""

@contextlib.contextmanager
def _workplace(keep: Path | None):
    """``keep``, or a temporary folder, left behind only with the log of a simulator that failed."""
    if any(character.isspace() for character in str((keep or Path(tempfile.gettempdir())).resolve())):
        raise SimulationError("make can't build in a folder whose path has a space in it: "
                              "choose another with --keep, or another TMPDIR")
    if keep is not None:
        check_folder(keep)
        yield keep
        return
    directory = Path(tempfile.mkdtemp(prefix="tepal-"))
    failed = False
    try:
        yield directory
    except SimulationError:
        failed = True
        raise
    finally:
        # What is worth keeping of a failure is its log.
        for path in directory.iterdir() if failed else ():
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
        if not failed:
            shutil.rmtree(directory, ignore_errors=True)


def _path(text: str) -> Path:
    """An empty one is a mistake, such as an unset variable of the shell, and not the current folder."""
    if not text:
        raise argparse.ArgumentTypeError("an empty path")
    return Path(text)


def _size(text: str) -> tuple[int, int]:
    rows, _, columns = text.partition("x")
    if not (rows.isdigit() and columns.isdigit()):
        raise argparse.ArgumentTypeError(f"{text!r} is not a size like 3x3")
    return int(rows), int(columns)


def _count(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= 100:
        raise argparse.ArgumentTypeError(f"{text!r} is not 1 to 100")
    return int(text)


def _mhz(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 10_000:
        raise argparse.ArgumentTypeError(f"{text!r} is no frequency in MHz")
    return value


class _Parser(argparse.ArgumentParser):
    """Mistakes on the command line are told in one sentence, like all others."""

    def error(self, message):
        self.exit(BAD_INPUT, f"{self.prog}: {message}; see '{self.prog} --help'\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="tepal", description="Turn a MobileNet-class network into an "
                                     "FPGA accelerator, and prove that it computes the right bytes.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name, run, text, *, model=True):
        sub = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        sub.set_defaults(run=run)
        sub.add_argument("--json", action="store_true", help="one JSON object on stdout, all else on stderr")
        if model:
            sub.add_argument("model", type=_path, metavar="MODEL", help="int8 .tflite or .onnx file")
            sub.add_argument("--board", required=True, metavar="B", help=f"one of {', '.join(BOARDS)}")
            sub.add_argument("--simplify", action="store_true", help="remove channels that never change the answer")
            engine = sub.add_argument_group("engine", "in place of the board's default")
            engine.add_argument("--rows", type=int, metavar="P", help="pixels in a tile")
            engine.add_argument("--columns", type=int, metavar="C", help="output channels in a block")
            engine.add_argument("--lanes", type=int, metavar="L", help="channels of the depthwise engine")
            engine.add_argument("--window", type=_size, metavar="RxC", help="taps read at once, such as 3x3")
            engine.add_argument("--requantisers", type=int, metavar="R", help="results a cycle; divides C and L")
            engine.add_argument("--packing", type=int, metavar="N", help="rows of the array that share a multiplier, 1 "
                                "or 2 (default: the board's, if that divides P)")
            engine.add_argument("--copy-lanes", type=int, metavar="N", help="bytes of the first convolution's windows "
                                "copied at once, if more than L")
            engine.add_argument("--input-bytes", type=int, metavar="N", help="width of the input stream")
        return sub

    command("boards", _boards, "list the boards and their resources", model=False)
    sub = command("quantize", run_quantize, "turn a float model into an int8 one", model=False)
    add_quantize_arguments(sub, _path)
    sub = command("evaluate", run_evaluate, "measure a model's accuracy with the golden model", model=False)
    add_evaluate_arguments(sub, _path)
    sub = command("family", run_family, "count MobileNets of any size beside the paper's tables, and their cycles",
                  model=False)
    add_family_arguments(sub)
    sub = command("explore", _explore, "search for engines: the fewest cycles for every number of LUTs")
    add_explore_arguments(sub, _count, _mhz)
    command("estimate", _estimate, "say whether a network fits a board, and the cycles of every layer")
    sub = command("generate", _generate, "write Verilog, ROMs, a FuseSoC core and a JSON description")
    sub.add_argument("-o", "--output", type=_path, required=True, metavar="DIR", help="folder to write to")
    sub = command("simulate", _simulate, "simulate the generated Verilog and compare every byte and every cycle")
    source = sub.add_mutually_exclusive_group(required=True)
    source.add_argument("--input", type=_path, metavar="X.npy",
                        help="images (.npy, or .npz with 'images'): int8, or real numbers as the float model takes "
                             "them")
    source.add_argument("--serve", action="store_true", help="simulate the whole board, serial line included, on a "
                        "port of this computer, for tepal run")
    sub.add_argument("--debug", action="store_true", help="with --serve: build the debug tap in, for tepal run "
                     "--compare")
    sub.add_argument("--frames", type=int, metavar="N", help="use the first N images (default: all)")
    sub.add_argument("--stalls", type=int, metavar="SEED", help="make both streams wait at random; bytes are "
                     "compared, cycles are not")
    sub.add_argument("--waves", type=_path, metavar="F.fst", help="record every signal")
    sub.add_argument("--classes", type=_path, metavar="FILE", help="names of the classes, one a line")
    sub.add_argument("--keep", type=_path, metavar="DIR", help="keep Verilog, simulator and logs there")
    sub = command("build", _build, "make a bitstream: synthesis, place and route, clock, report")
    sub.add_argument("-o", "--output", type=_path, required=True, metavar="DIR", help="folder to write to")
    sub.add_argument("--debug", action="store_true", help="build the debug tap in, for tepal run --compare")
    sub.add_argument("--seeds", type=_count, default=1, metavar="N",
                     help="place and route from N seeds and keep the fastest (default: %(default)s)")
    sub.add_argument("--clock", type=_mhz, metavar="MHZ",
                     help="the clock to reach and to set (default: the highest that is reached)")
    sub = command("run", run_on_device, "classify images on a board that is connected to a serial port", model=False)
    add_run_arguments(sub, _path)
    sub = command("program", run_program, "write a bitstream, and what belongs to it, onto a board", model=False)
    add_program_arguments(sub, _path)
    return parser


def _chosen(arguments) -> dict:
    """The engine's parameters that the command line gives."""
    return {name: value for name in ("rows", "columns", "lanes", "window", "requantisers", "packing", "copy_lanes",
                              "input_bytes")
            if (value := getattr(arguments, name)) is not None}


def _engine(arguments, board: Board, network: Network, formats: Formats):
    chosen = _chosen(arguments)
    config = default_engine(board, network, formats)
    if board.name == "generic" and not {"rows", "columns", "lanes"} <= chosen.keys():
        raise ConfigError("the generic board has no engine of its own: give at least --rows, --columns and --lanes")
    if chosen.keys() & {"columns", "lanes"} and "requantisers" not in chosen and config.requantiser_cycles == 1:
        columns, lanes = chosen.get("columns", config.columns), chosen.get("lanes", config.lanes)
        chosen["requantisers"] = gcd(columns, lanes)
    if "rows" in chosen and "packing" not in chosen:
        chosen["packing"] = gcd(chosen["rows"], config.packing)
    if board.part.primitives is not None and chosen.get("packing", 1) > board.part.packing:
        raise ConfigError(f"packing ({chosen['packing']}) must be 1 on {board.name}: rows can't share a "
                          f"{board.part.multiplier}")
    return replace(config, **chosen)


def _read(arguments) -> tuple[Board, Network]:
    board = get_board(arguments.board)
    with step(f"Reading {escape(str(arguments.model))}"):
        network = read_model(arguments.model)
    if isinstance(network, FloatNetwork):
        raise NetworkError(f"{arguments.model} is a float model: quantise it first, with tepal quantize")
    if arguments.simplify:
        simplified = simplify(network)
        network = simplified.network
        err.print(f"{simplified}.")
    return board, network


def _load(arguments) -> tuple[Board, Schedule]:
    board, network = _read(arguments)
    with step("Scheduling"):
        formats = Formats(network)
        return board, Schedule(network, _engine(arguments, board, network, formats), formats)


def _boards(arguments) -> int:
    boards = [{"name": board.name, "part": board.part.name, "multiplier": board.part.multiplier,
               "multipliers": board.part.primitives,
               "memories": {kind.name: kind.count for kind in board.part.memories},
               "engine": {"rows": board.config.rows, "columns": board.config.columns, "lanes": board.config.lanes}}
              for board in BOARDS.values()]
    if arguments.json:
        print(json.dumps({"boards": boards}))
        return 0
    table = Table(Column("board", no_wrap=True), "part", "multipliers", "memories", "engine")
    for board in boards:
        engine = board["engine"]
        table.add_row(board["name"], board["part"], f"{board['multipliers'] or 'any'} {board['multiplier']}",
                      ", ".join(f"{count} {name}" for name, count in board["memories"].items()) or "any",
                      f"{engine['rows']} x {engine['columns']} array, {engine['lanes']} lanes")
    out.print(table)
    return 0


def _layer_rows(schedule: Schedule, model: CycleModel) -> list[dict]:
    layers = schedule.network.layers
    return [{"index": layers[item.layer].index, "name": layers[item.layer].name,
             "kind": type(layers[item.layer]).__name__, "shape": list(layers[item.layer].output_shape),
             "block": item.block, "start": item.start, "end": item.end, "cycles": item.cycles, "macs": item.macs,
             "utilisation": round(item.utilisation, 4)} for item in model.layers()]


def _bar(share: float, width: int = 12) -> str:
    full = round(min(max(share, 0), 1) * width)
    return "█" * full + "·" * (width - full)


def _layer_table(rows: list[dict]) -> Table:
    table = Table("op", "layer", "output", "start", "end", "cycles", Column("array in use", no_wrap=True))
    for row in rows:
        shape = "x".join(map(str, row["shape"]))
        table.add_row(str(row["index"]), row["kind"], shape, f"{row['start']:,}", f"{row['end']:,}",
                      f"{row['cycles']:,}",
                      f"{_bar(row['utilisation'])} {row['utilisation']:6.1%}" if row["kind"] == "Convolution" else "")
    return table


def _utilisation(schedule: Schedule, cycles: int) -> float:
    """Share of the array's products in use; the depthwise layers' products are made elsewhere, of logic."""
    macs = sum(layer.macs for layer in schedule.network.layers if isinstance(layer, Convolution))
    return macs / cycles / schedule.config.products


def _estimate(arguments) -> int:
    board, schedule = _load(arguments)
    model, result = CycleModel(schedule), fit(schedule, board)
    rows = _layer_rows(schedule, model)
    config = schedule.config
    report = {
        "model": str(arguments.model), "board": board.name, "fits": result.ok,
        "used": result.used, "available": result.available,
        "estimated": [kind for kind in KINDS if kind in result.used],
        "memories": [{"role": use.role, "count": use.count, "depth": use.depth, "width": use.width}
                     for use in schedule.memories],
        "engine": asdict(config) | {"multipliers": config.multipliers, "products": config.products},
        "macs": schedule.network.macs, "parameters": schedule.network.parameters,
        "cycles": model.cycles, "compute_cycles": model.compute_cycles, "interval_cycles": model.interval_cycles,
        "utilisation": round(_utilisation(schedule, model.compute_cycles), 4), "layers": rows,
    }
    if arguments.json:
        print(json.dumps(report))
    else:
        out.print(_layer_table(rows))
        table = Table("resource", "used", "available", "", title=f"{board.name} ({board.part.name})")
        for kind, used in result.used.items():
            limit = result.available[kind]
            table.add_row(f"{kind} (estimated)" if kind in report["estimated"] else kind, f"{used:,}",
                          f"{limit:,}" if limit else "any", _bar(used / limit) if limit else "")
        out.print(table)
        rows_, columns_ = config.window
        out.print(f"Engine: {config.rows} x {config.columns} array, {config.lanes} depthwise lanes of {rows_} x "
                  f"{columns_} taps, {config.requantisers} requantisers, {config.input_bytes}-byte input beats.")
        out.print(f"{schedule.network.macs:,} multiply-accumulates in {model.compute_cycles:,} cycles on "
                  f"{config.products} products a cycle: {report['utilisation']:.1%} in use. "
                  f"{model.cycles:,} cycles with the image streaming in; a frame every {model.interval_cycles:,}.")
    require_fit(schedule, board)
    if not arguments.json:
        out.print(f"[bold green]The network fits {board.name}.[/]")
    return 0


def _explore(arguments) -> int:
    return run_explore(arguments, *_read(arguments), _chosen(arguments))


def _generate(arguments) -> int:
    board, schedule = _load(arguments)
    require_fit(schedule, board)
    check_folder(arguments.output)
    with step("Making Verilog"):
        files = generate(schedule, board.name)
    write_files(files, arguments.output)
    report = {"directory": str(arguments.output), "top": TOP, "files": {n: len(t) for n, t in sorted(files.items())}}
    if arguments.json:
        print(json.dumps(report))
    else:
        out.print(f"Wrote {arguments.output}: {', '.join(sorted(files))}", markup=False)
    return 0


def _build(arguments) -> int:
    board = get_board(arguments.board)
    require_platform(board)
    board, schedule = _load(arguments)
    require_fit(schedule, board)
    check_folder(arguments.output)
    result = build(schedule, board, count=arguments.seeds, wanted=arguments.clock, debug=arguments.debug,
                   step=Steps(STEPS))
    write_files(result.files, arguments.output)
    report = {"model": str(arguments.model), "directory": str(arguments.output), "files": sorted(result.files),
              **result.report}
    if arguments.json:
        print(json.dumps(report))
    else:
        _show_build(report)
    if report["problem"]:
        err.print(f"tepal: {report['problem']}", style="red", markup=False)
    return 0 if result.passed else TOO_SLOW


def _show_build(report: dict) -> None:
    table = Table("resource", "used", "available", "", title=f"{report['board']} ({report['part']})")
    for kind, used in report["used"].items():
        limit = report["available"][kind]
        table.add_row(kind, f"{used:,}", f"{limit:,}", _bar(used / limit))
    out.print(table)
    out.print(", ".join(f"{name} {tool['version']} ({tool['from']})" for name, tool in report["tools"].items()))
    for run in report["seeds"]:
        told = f"{run['fmax_mhz']:.2f} MHz" if run["fmax_mhz"] else run["problem"]
        out.print(f"seed {run['seed']}: {told}" + (" (kept)" if run["seed"] == report["best_seed"] else ""),
                  markup=False)
    if len(report["seeds"]) > 1:
        out.print(f"{report['spread_mhz']:.2f} MHz from the slowest to the fastest.")
    if path := report["critical_path"]:
        out.print(f"Slowest path: {path['from']} to {path['to']}, {path['ns']:.2f} ns, {path['routing_ns']:.2f} of "
                  "them in wires.", markup=False)
    out.print(f"[bold]{report['clock_mhz']:.3f} MHz[/]: {report['latency_ms']:.3f} ms from image to answer, "
              f"{report['frames_per_second']:,.0f} frames a second; {report['line_frames_per_second']:,.0f} over the "
              f"serial line at {report['baud']:,} baud.")
    out.print(f"Wrote {report['directory']}: {', '.join(report['files'])}", markup=False)
    if report["notes"]:
        out.print(f"Note: {report['notes']}.", markup=False)


def _picture(image: np.ndarray) -> str:
    """An int8 image as two rows of pixels a line, in shades of grey; wide ones thinned out."""
    grey = image.astype(float).mean(axis=2)
    grey = grey[::max(1, grey.shape[0] // 32), ::max(1, grey.shape[1] // 64)]
    low, high = grey.min(), grey.max()
    shades = " ░▒▓█"
    level = ((grey - low) / max(high - low, 1) * (len(shades) - 1)).round().astype(int)
    return "\n".join("".join(shades[v] * 2 for v in row) for row in level)


def _simulate(arguments) -> int:
    board, schedule = _load(arguments)
    require_fit(schedule, board)
    if arguments.serve:
        check_serve_arguments(arguments)
        require_tools()
        with _workplace(arguments.keep) as directory:
            return serve(arguments, schedule, directory)
    if arguments.debug:
        raise NetworkError("--debug goes with --serve: without it, every layer is compared anyway")
    network = schedule.network
    images = network.quantise_input(read_images(arguments.input)[0], str(arguments.input))
    images = choose_frames(images, arguments.frames, arguments.input)
    names = read_names(arguments.classes)
    if arguments.waves is not None and (arguments.waves.is_dir()
                                        or not os.access(arguments.waves.resolve().parent, os.W_OK)):
        raise NetworkError(f"{arguments.waves} can't be written: there is no such folder, or it is read-only")
    require_tools(waves=arguments.waves is not None)
    with _workplace(arguments.keep) as directory:
        with step("Making Verilog") as making:
            write_files(generate(schedule, board.name), directory)
        with step("Building the simulator (a minute or two)") as building:
            build = Build(directory.resolve(), waves=arguments.waves is not None)
        with step(f"Simulating {len(images)} frames") as simulating:
            report = simulate(build, schedule, images, stalls=arguments.stalls, waves=arguments.waves)
    model = CycleModel(schedule)
    result = {
        "model": str(arguments.model), "board": board.name, "frames": len(images), "stalls": arguments.stalls,
        "cycles": report.cycles, "compute_cycles": report.compute_cycles,
        "interval_cycles": report.interval_cycles, "predicted_cycles": model.cycles,
        "predicted_compute_cycles": model.compute_cycles, "predicted_interval_cycles": model.interval_cycles,
        "mismatches": report.mismatches, "compared": report.compared, "cycle_errors": report.cycle_errors,
        "problems": report.problems,
        "first_mismatch": report.first_mismatch.describe(network) if report.first_mismatch else None,
        "outputs": report.outputs.tolist(), "classes": report.classes, "layers": report.layers,
        "utilisation": round(_utilisation(schedule, model.compute_cycles), 4),
        "waves": str(arguments.waves) if arguments.waves else None,
        "seconds": {"verilog": round(making.seconds, 2), "simulator": round(building.seconds, 2),
                    "simulation": round(simulating.seconds, 2)},
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

    out.print(_picture(images[0]))
    scores = report.outputs[0]
    if network.softmax is not None:
        scores = (golden.softmax(network.softmax, report.outputs[:1])[0].astype(float) + 128) / 256
        out.print(f"[bold]{name(report.classes[0])}[/], with {scores[report.classes[0]]:.0%}")
    else:
        out.print(f"[bold]{name(report.classes[0])}[/], with a score of {scores[report.classes[0]]}")
    if len(images) > 1:
        out.print("then " + ", ".join(name(index) for index in report.classes[1:21])
                  + (" …" if len(images) > 21 else ""))
    out.print(_layer_table(_layer_rows(schedule, model)))
    if report.compute_cycles is not None:
        out.print(f"{report.compute_cycles:,} cycles from image to answer ({model.compute_cycles:,} predicted), "
                  f"{report.cycles:,} with the image streaming in ({model.cycles:,})"
                  + (f", a frame every {report.interval_cycles:,} ({model.interval_cycles:,})"
                     if report.interval_cycles else "") + ".")
        out.print(f"{_utilisation(schedule, report.compute_cycles):.1%} of {schedule.config.products} "
                  "products a cycle in use.")
    style = "bold green" if report.ok else "bold red"
    out.print(f"[{style}]{report.compared - report.mismatches:,} of {report.compared:,} bytes equal[/] over "
              f"{len(images)} frames and every layer"
              + ("; both streams stalled at random." if arguments.stalls is not None else
                 f"; {len(report.cycle_errors)} events off their predicted cycle."))


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    arguments = _parser().parse_args(argv)
    try:
        return arguments.run(arguments)
    except (NetworkError, ConfigError, HostError, SimulationError, ToolError, ArithmeticError) as error:
        err.print(f"tepal: {error}", style="red", markup=False)
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        err.print(f"tepal: {error.strerror or error}{where}", style="red", markup=False)
    except KeyboardInterrupt:
        err.print("tepal: interrupted", style="red")
    return BAD_INPUT


if __name__ == "__main__":
    sys.exit(main())
