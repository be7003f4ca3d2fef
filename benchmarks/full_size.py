# SPDX-License-Identifier: Apache-2.0
"""Networks of the paper's size, whole, with weights from the SDRAM of a ULX3S: every byte and every cycle of the
simulated Verilog beside the model of the memory; keeps what was found, and writes ``docs/full_size.md``.

    python benchmarks/full_size.py MODEL.tflite                 # a network whose file there is
    python benchmarks/full_size.py BODY.tflite+HEAD.tflite      # one that is published as two files
    python benchmarks/full_size.py v1-0.5-160 v2-0.35-160       # architectures, with random weights
    python benchmarks/full_size.py --tables                     # only write the table again

``--frames N`` pictures of ``--pictures FOLDER`` go through each, by turns; ``--as NAME`` is what the table calls it.
"""

import argparse
import json
import re
import shlex
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image
from tepal.boards.flow import yosys
from tepal.boards.flow.external_memory import with_weights_outside
from tepal.boards.flow.fit import default_engine, fit
from tepal.boards.flow.folder import write_files
from tepal.boards.flow.shortage import require_fit
from tepal.boards.flow.variant import Forms, choose
from tepal.boards.registry import get_board
from tepal.hdl import export_component
from tepal.hdl.streamed import SdramAccelerator
from tepal.quant import MobileNet, MobileNetV2, Network, read_model
from tepal.sim import Build, CycleModel, simulate

ROOT = Path(__file__).resolve().parent.parent
RESULTS, PAGE = ROOT / "benchmarks/full_size.json", ROOT / "docs/full_size.md"
BOARD = "ulx3s-85f"
FAMILY = {"v1": MobileNet, "v2": MobileNetV2}


def network_of(given: str) -> Network:
    """Of a file, of two, or of an architecture: ``v1`` or ``v2``, its width and its pixels."""
    if made := re.fullmatch(r"(v[12])-([0-9.]+)-(\d+)", given):
        return FAMILY[made[1]](float(made[2]), int(made[3])).network()
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


def measure(network: Network, images: np.ndarray) -> dict:
    """What the simulation says; ends the script if the network does not fit."""
    board = get_board(BOARD)
    schedule, _ = choose(Forms(network), board, partial(default_engine, board))
    if not fit(schedule, board).ok:
        outside = with_weights_outside(schedule.network, schedule.formats, board)
        schedule = outside or schedule
    require_fit(schedule, board)
    assert board.memory
    if schedule.loads is None:
        sys.exit("all weights fit on the chip: take tepal simulate")
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


def page(results: dict) -> str:
    """The text of ``docs/full_size.md``."""
    rows = []
    for name, found in results.items():
        engine, interval = found["engine"], found["interval_cycles"]
        rows.append([
            name, f"{engine['rows']} x {engine['columns']}", f"{found['used']['DP16KD']}",
            f"{found['weight_bytes'] / 1e6:.2f}", f"{found['mismatches']} of {found['compared']:,}",
            str(found["events_off"]), f"{interval:,}" if interval else "one frame",
            f"{found['predicted_interval_cycles']:,}",
            f"{found['clock_mhz'] * 1e6 / interval:.1f}" if interval else "",
        ])
    header = ["network", "array", "DP16KD of 208", "MB of weights a frame", "bytes that differ", "events off",
              "cycles from frame to frame", "with an even stream of weights", "frames/s at 100 MHz"]
    table = "\n".join(f"| {' | '.join(cells)} |" for cells in [header, ["---"] * len(header), *rows])
    commands = "\n".join(f"    {found['command']}" for found in results.values())
    return f"""# Networks of full size

Networks whose weights do not fit on the chip, on the engine that Tepal finds for them on a ULX3S-85F, with weights
from the board's SDRAM: the whole of each in simulation, the Verilog of engine and SDRAM controller beside a model of
the chip that ends the simulation where one of its rules is broken. All that every layer writes is compared with the
golden model, and each event with the cycle that the cycle model has for it, given when weights came. Frames a second
are the simulated cycles from frame to frame at 100 MHz, the fastest clock that the SDRAM is read at; whether a design
reaches it is for place and route to say. `v1` and `v2` are architectures with random weights.

{table}

By these commands, with the models where they lie:

{commands}
"""


def read_results() -> dict:
    return json.loads(RESULTS.read_text()) if RESULTS.exists() else {}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", metavar="NETWORK")
    parser.add_argument("--as", dest="name", metavar="NAME", help="what the table calls it; for one network")
    parser.add_argument("--pictures", type=Path, metavar="FOLDER", help="pictures to take")
    parser.add_argument("--frames", type=int, default=2, metavar="N", help="how many (default: 2)")
    parser.add_argument("--tables", action="store_true", help="only write the table")
    arguments = parser.parse_args()
    if not arguments.tables and (not arguments.networks or arguments.pictures is None):
        parser.error("which networks, and --pictures? (--tables writes the table alone)")
    if arguments.name and len(arguments.networks) != 1:
        parser.error("--as names one network")
    for given in [] if arguments.tables else arguments.networks:
        network = network_of(given)
        name = arguments.name or (given if given.startswith("v") else network.name)
        files = "+".join(Path(file).name for file in given.split("+"))
        found = measure(network, pictures(arguments.pictures, network.input_shape, arguments.frames))
        found["command"] = shlex.join(["python", "benchmarks/full_size.py", files,
                                       *(["--as", name] if arguments.name else []),
                                       "--frames", str(arguments.frames), "--pictures", "FOLDER"])
        print(json.dumps({name: found}))
        # Read again: another run may have been writing meanwhile.
        RESULTS.write_text(json.dumps(read_results() | {name: found}, indent=1) + "\n")
    PAGE.write_text(page(read_results()))


if __name__ == "__main__":
    main()
