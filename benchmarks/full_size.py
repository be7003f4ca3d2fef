# SPDX-License-Identifier: Apache-2.0
"""Networks of the paper's size, whole, with weights from the SDRAM of a ULX3S: every byte and every cycle of the
simulated Verilog beside the model of the memory; keeps what was found, and writes ``docs/full_size.md``.

    python benchmarks/full_size.py MODEL.tflite                 # a network whose file there is
    python benchmarks/full_size.py BODY.tflite+HEAD.tflite      # one that is published as two files
    python benchmarks/full_size.py v1-0.5-160 v2-0.35-160       # architectures, with random weights
    python benchmarks/full_size.py ssd-0.25-300-21              # a detector of so many classes, likewise
    python benchmarks/full_size.py --build FOLDER body.tflite+head.tflite  # place and route instead
    python benchmarks/full_size.py --as NAME --routed REPORT    # the clock of a network that has been simulated
    python benchmarks/full_size.py --scheduled                  # what the cycle model says of the paper's networks
    python benchmarks/full_size.py --tables                     # only write the tables again

``--frames N`` pictures of ``--pictures FOLDER`` go through each, by turns; ``--as NAME`` is what the table calls it,
and ``--engine rows=9,packing=1`` the engine in place of the one that Tepal finds.  ``REPORT`` is the ``report.json``
that ``tepal build`` writes, of the same network on the same engine; ``--build`` writes what ``tepal build`` does, and
takes two files, too.
"""

import argparse
import json
import re
import shlex
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image
from tepal.boards.flow import yosys
from tepal.boards.flow.build import REPORT, build
from tepal.boards.flow.external_memory import with_weights_outside
from tepal.boards.flow.fit import default_engine, fit
from tepal.boards.flow.folder import write_files
from tepal.boards.flow.shortage import require_fit
from tepal.boards.flow.variant import Forms, choose
from tepal.boards.registry import get_board
from tepal.hdl import Schedule, export_component
from tepal.hdl.streamed import SdramAccelerator
from tepal.quant import SSD, MobileNet, MobileNetV2, Network, read_model
from tepal.sim import Build, CycleModel, simulate

ROOT = Path(__file__).resolve().parent.parent
RESULTS, PAGE = ROOT / "benchmarks/full_size.json", ROOT / "docs/full_size.md"
SCHEDULED = ROOT / "benchmarks/full_size_scheduled.json"
PAPER = ("v1-1.0-224", "v1-0.75-224", "v1-0.5-224", "v1-0.25-224", "v1-1.0-192", "v1-1.0-160", "v1-1.0-128",
         "v1-0.5-160", "v1-0.25-128", "v2-0.35-96", "v2-0.35-160", "v2-1.0-224", "ssd-0.25-300-21")
"""Networks that need weights from outside, of the papers' families."""
BOARD = "ulx3s-85f"
FAMILY = {"v1": MobileNet, "v2": MobileNetV2}


def network_of(given: str) -> Network:
    """Of a file, of two, or of an architecture: ``v1`` or ``v2``, its width and its pixels, or ``ssd``, those of its
    MobileNetV1 and its classes."""
    if made := re.fullmatch(r"(v[12])-([0-9.]+)-(\d+)", given):
        return FAMILY[made[1]](float(made[2]), int(made[3])).network()
    if made := re.fullmatch(r"ssd-([0-9.]+)-(\d+)-(\d+)", given):
        return SSD(MobileNet(float(made[1]), int(made[2])), int(made[3])).network()
    networks = [read_model(Path(file)) for file in given.split("+")]
    assert all(isinstance(network, Network) for network in networks), "quantise it first"
    return networks[0] if len(networks) == 1 else networks[0].followed_by(networks[1])


def pictures(folder: Path, shape: Sequence[int], count: int) -> np.ndarray:
    """int8: the pixels less 128 of the first pictures in ``folder``, round and round."""
    files = sorted(path for path in folder.iterdir() if path.suffix != ".txt")
    made = []
    for number in range(count):
        with Image.open(files[number % len(files)]) as picture:
            made.append(np.asarray(picture.convert("RGB").resize((shape[1], shape[0]))))
    return (np.stack(made) ^ 128).view(np.int8)


def engine_of(text: str) -> dict[str, int]:
    """Members of an :class:`~tepal.hdl.EngineConfig`, ``NAME=NUMBER`` and commas between them."""
    return {name: int(number) for name, _, number in (each.partition("=") for each in text.split(","))}


def schedule_of(network: Network, given: dict[str, int]) -> Schedule:
    """On an engine of which so much is ``given``, with weights from outside; ends the script if it does not fit, or
    needs none."""
    board = get_board(BOARD)
    schedule, _ = choose(Forms(network), board, lambda *asked: replace(default_engine(board, *asked), **given))
    if not fit(schedule, board).ok and not given:
        outside = with_weights_outside(schedule.network, schedule.formats, board)
        schedule = outside or schedule
    require_fit(schedule, board)
    if schedule.loads is None:
        sys.exit("all weights fit on the chip: take tepal simulate, or tepal build")
    return schedule


def scheduled(given: str) -> dict:
    """What the cycle model says of an architecture, its weights coming as the board's SDRAM sends them."""
    board, schedule = get_board(BOARD), schedule_of(network_of(given), {})
    model = CycleModel(schedule, board.beat_cycles)
    assert board.memory
    return {"engine": schedule.config.told(), "used": fit(schedule, board).used, "weight_bytes": schedule.weight_bytes,
            "interval_cycles": model.interval_cycles, "waiting": sum(model.waits().values()),
            "clock_mhz": board.memory.fastest}


def measure(schedule: Schedule, images: np.ndarray) -> dict:
    """What the simulation says."""
    board = get_board(BOARD)
    assert board.memory
    with tempfile.TemporaryDirectory() as folder:
        timing = board.memory.timing
        write_files(export_component(SdramAccelerator(schedule, timing), yosys.to_verilog).files(), Path(folder),
                    also=Build.FILES)
        build = Build(Path(folder).resolve(), schedule, sdram=timing)
        begun = time.time()
        report = simulate(build, schedule, images)
        seconds = time.time() - begun
    model, config = CycleModel(schedule, board.beat_cycles), schedule.config
    return {
        "engine": {name: value for name, value in config.told().items() if value is not None},
        "used": fit(schedule, board).used, "weight_bytes": schedule.weight_bytes, "frames": len(images),
        "compared": report.compared, "mismatches": report.mismatches, "events_off": len(report.cycle_errors),
        "problems": report.problems, "last_byte_cycles": report.last_byte_cycles,
        "interval_cycles": report.interval_cycles, "predicted_interval_cycles": model.interval_cycles,
        "clock_mhz": board.memory.fastest,
        "seconds": round(seconds),
    }


def routed(found: dict, report: dict) -> dict:
    """What place and route says of a network that was simulated; ends the script if the ``report`` is of another
    design, one whose frames take other cycles."""
    cycles = found["predicted_interval_cycles"]
    if (report["board"], report["interval_cycles"]) != (BOARD, cycles):
        sys.exit(f"the report is of a design for {report['board']} with {report['interval_cycles']:,} cycles from "
                 f"frame to frame, and what was simulated is one for {BOARD} with {cycles:,}: build what was simulated")
    path = report["critical_path"]
    return {**{name: report[name] for name in ("fmax_mhz", "clock_mhz", "passed", "used", "available", "tools")},
            "seeds": len(report["seeds"]), "slowest": path and {name: path[name] for name in ("from", "to")}}


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [header, ["---"] * len(header), *rows])


def shape(engine: dict) -> str:
    """Of the array, for people."""
    return " x ".join(str(engine[name]) for name in ("rows", "columns", "operands") if name in engine)


def routed_page(results: dict) -> str:
    """What was placed and routed of it."""
    rows, memory = [], get_board(BOARD).memory
    assert memory
    slowest = memory.slowest
    for name, found in results.items():
        if built := found.get("routed"):
            engine = found["engine"]
            rows.append([
                name, shape(engine), f"{found['interval_cycles']:,}",
                *(f"{built['used'][kind]:,}" for kind in ("lut", "ff", "dsp", "bram")), f"{built['fmax_mhz']:.2f}",
                f"{built['clock_mhz']:.2f}", "yes" if built["clock_mhz"] >= slowest else "no",
                f"{built['clock_mhz'] * 1e6 / found['interval_cycles']:.1f}"])
    if not rows:
        return ""
    header = ["network", "array", "cycles from frame to frame", "LUT4", "FF", "MULT18X18D", "DP16KD",
              "MHz after routing", "clock of the PLL", "as fast as the SDRAM needs", "frames/s at that clock"]
    return f"""
## Placed and routed

The whole design of the board, engine, SDRAM controller and serial line, by `tepal build`: the clock of the slowest path
after routing, the PLL's fastest setting that is 2 % below it, and the simulated cycles at that setting. The SDRAM needs
{slowest:g} MHz or more: `tepal build` refuses a slower design.

{table(header, rows)}
"""


def scheduled_page(found: dict[str, dict]) -> str:
    """What the cycle model says of the papers' networks, simulated or not."""
    rows = []
    for name, told in found.items():
        cycles = told["interval_cycles"]
        rows.append([name, shape(told["engine"]), str(told["used"]["DP16KD"]), f"{told['weight_bytes'] / 1e6:.2f}",
                     f"{cycles:,}", f"{told['waiting'] / cycles:.0%}", f"{told['clock_mhz'] * 1e6 / cycles:.1f}"])
    header = ["network", "array", "DP16KD of 208", "MB of weights a frame", "cycles from frame to frame",
              "waiting for weights", "frames/s at 100 MHz"]
    return f"""
## By the cycle model

The networks of the papers whose weights do not fit on the chip, on the engines that Tepal finds, with weights that come
as evenly as the SDRAM sends them: scheduled in seconds. Those in the first table were simulated whole, too.

{table(header, rows)}

The paper's network without separable convolutions has 29 MB of weights, for which the flash memory has no room. A
detector of 91 classes for 300 x 300 pixels has 182 KB of results, for which there are too few memory blocks.
"""


def page(results: dict, modelled: dict[str, dict]) -> str:
    """The text of ``docs/full_size.md``."""
    rows = []
    for name, found in results.items():
        engine, interval = found["engine"], found["interval_cycles"]
        rows.append([
            name, shape(engine), f"{found['used']['DP16KD']}",
            f"{found['weight_bytes'] / 1e6:.2f}", f"{found['mismatches']} of {found['compared']:,}",
            str(found["events_off"]), f"{interval:,}" if interval else "one frame",
            f"{found['predicted_interval_cycles']:,}",
            f"{found['clock_mhz'] * 1e6 / interval:.1f}" if interval else "",
        ])
    header = ["network", "array", "DP16KD of 208", "MB of weights a frame", "bytes that differ", "events off",
              "cycles from frame to frame", "with an even stream of weights", "frames/s at 100 MHz"]
    commands = "\n".join(f"    {found['command']}" for found in results.values())
    return f"""# Networks of full size

Networks whose weights do not fit on the chip, on the engine that Tepal finds for them on a ULX3S-85F, or the one that
`--engine` in the command asks for, with weights from the board's SDRAM: the whole of each in simulation, the Verilog of
engine and SDRAM controller beside a model of the chip that ends the simulation where one of its rules is broken. All
that every layer writes is compared with the golden model, and each event with the cycle that the cycle model has for
it, given when weights came. Frames a second are the simulated cycles from frame to frame at 100 MHz, the fastest clock
that the SDRAM is read at; whether a design reaches it is for place and route to say. `v1` and `v2` are architectures
with random weights, and `ssd` is a detector on MobileNetV1: its width, its pixels, and its classes with the background.

{table(header, rows)}
{routed_page(results)}{scheduled_page(modelled)}
By these commands, with the models where they lie:

    python benchmarks/full_size.py --scheduled
{commands}
"""


def read_results(file: Path = RESULTS) -> dict:
    return json.loads(file.read_text()) if file.exists() else {}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", metavar="NETWORK")
    parser.add_argument("--as", dest="name", metavar="NAME", help="what the table calls it; for one network")
    parser.add_argument("--pictures", type=Path, metavar="FOLDER", help="pictures to take")
    parser.add_argument("--frames", type=int, default=2, metavar="N", help="how many (default: 2)")
    parser.add_argument("--engine", type=engine_of, default={}, metavar="NAME=N,NAME=N",
                        help="an engine in place of the one that is found")
    parser.add_argument("--build", type=Path, metavar="FOLDER",
                        help="place and route one network into this folder, and simulate nothing")
    parser.add_argument("--routed", type=Path, metavar="REPORT",
                        help="report.json of tepal build, of the network that --as names")
    parser.add_argument("--scheduled", action="store_true", help="schedule the papers' networks, and simulate nothing")
    parser.add_argument("--tables", action="store_true", help="only write the tables")
    arguments = parser.parse_args()
    if arguments.build:
        if len(arguments.networks) != 1:
            parser.error("--build takes one network")
        result = build(schedule_of(network_of(arguments.networks[0]), arguments.engine), get_board(BOARD))
        write_files(result.files, arguments.build)
        print(result.files[REPORT])
        sys.exit(not result.passed)
    if arguments.scheduled:
        SCHEDULED.write_text(json.dumps({name: scheduled(name) for name in PAPER}, indent=1) + "\n")
    elif arguments.routed:
        results = read_results()
        if arguments.name not in results:
            parser.error(f"--as must be one of those that were simulated: {', '.join(results)}")
        found = results[arguments.name]
        found["routed"] = routed(found, json.loads(arguments.routed.read_text()))
        RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    elif not arguments.tables and (not arguments.networks or arguments.pictures is None):
        parser.error("which networks, and --pictures? (--tables writes the table alone)")
    if arguments.name and not arguments.routed and len(arguments.networks) != 1:
        parser.error("--as names one network")
    for given in [] if arguments.tables or arguments.scheduled or arguments.routed else arguments.networks:
        network = network_of(given)
        name = arguments.name or (given if given.startswith(("v", "ssd-")) else network.name)
        files = "+".join(Path(file).name for file in given.split("+"))
        found = measure(schedule_of(network, arguments.engine),
                        pictures(arguments.pictures, network.input_shape, arguments.frames))
        engine = ",".join(f"{name}={number}" for name, number in arguments.engine.items())
        found["command"] = shlex.join(["python", "benchmarks/full_size.py", files,
                                       *(["--as", name] if arguments.name else []),
                                       *(["--engine", engine] if engine else []),
                                       "--frames", str(arguments.frames), "--pictures", "FOLDER"])
        print(json.dumps({name: found}))
        # Read again: another run may have been writing meanwhile.
        RESULTS.write_text(json.dumps(read_results() | {name: found}, indent=1) + "\n")
    PAGE.write_text(page(read_results(), read_results(SCHEDULED)))


if __name__ == "__main__":
    main()
