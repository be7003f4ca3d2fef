# SPDX-License-Identifier: Apache-2.0
"""Generated Verilog in a simulator that knows X, in each language that it may take the text for.

Verilator has two states, and one language for all.  In Icarus what depends on the order of things at time zero, or on
a value that was never set, shows as X in the answer."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from networks import fast
from tepal.boards.flow.folder import write_files
from tepal.boards.flow.generate import generate
from tepal.boards.registry import BOARDS
from tepal.hdl import EngineConfig, Schedule
from tepal.hdl.answer import pack_answer
from tepal.hdl.plan.rom_contents import loaded_weights
from tepal.quant import read_tflite
from tepal.sim import CycleModel, golden
from tflite_writer import Chain

BENCH = Path(__file__).with_name("four_state.v")
ENGINES = {"small": EngineConfig(4, 4, 2, (1, 3), requantisers=2, input_bytes=4, packing=2),
           "icebreaker": BOARDS["icebreaker"].config}

pytestmark = [pytest.mark.rtl, pytest.mark.skipif(shutil.which("iverilog") is None,
                                                  reason="iverilog isn't installed (apt-get install iverilog)")]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Name of an engine to (folder, options of iverilog, beats that the core must answer), each made once."""
    rng = np.random.default_rng(7)
    folder = tmp_path_factory.mktemp("four_state")
    model = folder / "model.tflite"
    chain = Chain(6, 6, 2).convolution(rng.integers(-99, 99, (5, 3, 3, 2), np.int8), stride=(2, 2))
    chain = chain.depthwise(rng.integers(-99, 99, (3, 3, 5), np.int8)).mean()
    model.write_bytes(chain.fully_connected(rng.integers(-99, 99, (4, 5), np.int8)).write())
    network = read_tflite(model)
    images = rng.integers(-128, 128, (2, *network.input_shape), np.int8)
    expected = []
    for number, logits in enumerate(golden.run(network, images).reshape(len(images), -1)):
        answer = pack_answer(logits, number)
        expected += [f"{int(place == len(answer) - 1)} {byte:08b}" for place, byte in enumerate(answer)]
    assert len(set(expected)) > 4
    done = {}

    def made(name: str):
        if name not in done:
            schedule = Schedule(network, ENGINES[name])
            write_files(generate(schedule, BOARDS["generic"]), folder / name)
            beats = np.ascontiguousarray(images).reshape(-1, schedule.config.input_bytes)
            _hex(folder / name / "beats.hex", beats)
            words = np.zeros((0, 2), np.int8)
            if schedule.config.single_port:
                words = np.frombuffer(loaded_weights(schedule), np.int8).reshape(-1, 2)
                _hex(folder / name / "weights.hex", words)
            parameters = {"WIDTH": 8 * schedule.config.input_bytes, "BEATS": len(beats), "FRAME": len(beats) // 2,
                          "BYTES": len(expected), "WORDS": len(words),
                          "LIMIT": 2 * len(words) + 5 * CycleModel(schedule).cycles}
            done[name] = folder / name, ["-DNAME=tepal", *(["-DLOAD"] if len(words) else []),
                                         *(f"-Pbench.{name}={value}" for name, value in parameters.items())], expected
        return done[name]
    return made


def _hex(path: Path, words: np.ndarray) -> None:
    """Write rows of bytes, the first one lowest, for ``$readmemh``."""
    path.write_text("".join(f"{row[::-1].tobytes().hex()}\n" for row in words))


@pytest.mark.parametrize("language", fast(["2005", "2012", "2005-sv", "2009"], 2))
@pytest.mark.parametrize("name", ENGINES)
def test_same_bytes_in_every_language(made, name, language):
    folder, options, expected = made(name)
    for reset in 1, 0:
        subprocess.run(["iverilog", f"-g{language}", "-s", "bench", f"-Pbench.RESET={reset}", "-o", "bench", *options,
                        BENCH, "tepal.v"], cwd=folder, check=True)
        answer = subprocess.run(["vvp", "-n", "bench"], cwd=folder, check=True, capture_output=True, text=True).stdout
        assert answer.splitlines() == expected, f"reset: {reset}"
