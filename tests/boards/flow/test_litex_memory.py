# SPDX-License-Identifier: Apache-2.0
"""The example of a LiteX system with weights in LiteDRAM: its programs find a DDR3's delays, and classify pictures in a
simulation with LiteDRAM's own model of a memory."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tepal.boards.flow.folder import write_files
from tepal.boards.flow.generate import generate
from tepal.boards.registry import BOARDS
from tepal.hdl import EngineConfig, Schedule
from tepal.quant import read_tflite
from tepal.sim import golden
from tepal.sim.simulators import simulator_environment, verilator_runner
from tflite_writer import Chain

EXAMPLE = Path(__file__).parents[3] / "examples/litex"


@pytest.fixture(scope="module")
def program():
    """The example's weights.py."""
    spec = importlib.util.spec_from_file_location("weights", EXAMPLE / "weights.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Trained:
    """A memory of two bytes whose data come back right at the delays ``good`` says, as (bitslip, delay) of each byte;
    registers and memory as the program sees them."""

    def __init__(self, good):
        self.good, self.at, self.chosen, self.words = good, [[0, 0], [0, 0]], 0, {}
        self.regs = self.mems = self.main_ram = self
        self.base = 0x40000000

    def __getattr__(self, name):
        if not name.startswith("phy_"):
            raise AttributeError(name)
        actions = {
            "phy_dly_sel": self.choose,
            "phy_rdly_dq_rst": lambda _: self.each(1, lambda _: 0),
            "phy_rdly_dq_inc": lambda _: self.each(1, lambda delay: (delay + 1) % 8),
            "phy_rdly_dq_bitslip_rst": lambda _: self.each(0, lambda _: 0),
            "phy_rdly_dq_bitslip": lambda _: self.each(0, lambda slip: (slip + 1) % 4),
        }
        return type("Register", (), {"write": staticmethod(actions[name])})

    def choose(self, mask):
        self.chosen = mask

    def each(self, what, change):
        for byte in range(2):
            if self.chosen >> byte & 1:
                self.at[byte][what] = change(self.at[byte][what])

    def write(self, address, words):
        self.words |= {address + 4 * number: word for number, word in enumerate(words)}

    def read(self, address, length):
        wrong = sum(0xFF << 8 * lane for lane in range(4) if tuple(self.at[lane % 2]) not in self.good[lane % 2])
        return [self.words[address + 4 * number] ^ wrong for number in range(length)]


def test_delays_are_in_the_middle_of_the_longest_run(program):
    """Each byte has its own, and a shorter run at another bitslip is left alone."""
    board = Trained([{(1, 2), (1, 3), (1, 4), (3, 0), (3, 7)}, {(0, 0), (0, 1), (2, 4), (2, 5), (2, 6), (2, 7)}])
    program.train(board, {"bytes": 2, "delays": 8, "bitslips": 4})
    assert board.at == [[1, 3], [2, 6]]
    assert board.chosen == 0


def test_a_byte_that_never_comes_back_is_told(program):
    with pytest.raises(SystemExit, match="byte 1 of the memory's data comes back wrong at every delay"):
        program.train(Trained([{(0, 3)}, set()]), {"bytes": 2, "delays": 8, "bitslips": 4})


@pytest.fixture(scope="module")
def cores(tmp_path_factory):
    """Two networks with their weights outside: (description, images, classes) of each."""
    made = []
    for name, seed in ("digits", 3), ("other", 5):
        folder, rng = tmp_path_factory.mktemp(name), np.random.default_rng(seed)
        chain = Chain(6, 6, 1).convolution(rng.integers(-99, 99, (6, 3, 3, 1), np.int8), stride=(2, 2))
        chain = chain.depthwise(rng.integers(-99, 99, (3, 3, 6), np.int8)).mean()
        model = folder / "model.tflite"
        model.write_bytes(chain.fully_connected(rng.integers(-99, 99, (5, 6), np.int8)).write())
        network = read_tflite(model)
        images = rng.integers(-128, 128, (40, *network.input_shape), np.int8)
        classes = golden.run(network, images).reshape(len(images), -1).argmax(axis=1)
        # A design that is stuck would fail on one of them.
        chosen = [0, int(np.flatnonzero(classes != classes[0])[0])]
        engine = EngineConfig(2, 4, 2, (1, 3), requantisers=2, input_bytes=1, weight_words=32)
        write_files(generate(Schedule(network, engine), BOARDS["generic"], name), folder / "core")
        np.save(folder / "images.npy", images[chosen])
        made.append((folder / "core" / f"{name}.json", folder / "images.npy", classes[chosen].tolist()))
    return made


@pytest.fixture(scope="module")
def system(cores, tmp_path_factory):
    """(folder of the simulated system, its compiled simulation)."""
    folder = tmp_path_factory.mktemp("memory")
    done = subprocess.run([sys.executable, EXAMPLE / "memory.py", *(core[0] for core in cores), "--board", "simulation",
                           "-o", folder], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    pins = folder / "pins.vlt"
    pins.write_text('`verilator_config\npublic_flat_rw -module "memory" -var "sys_*"\n'
                    'public_flat_rw -module "memory" -var "bridge_*"\n')
    runner = verilator_runner()(folder)
    with simulator_environment(folder):
        runner.build(sources=[pins, folder / "gateware/memory.v", *(core[0].with_suffix(".v") for core in cores)],
                     hdl_toplevel="memory", build_dir=folder / "sim",
                     build_args=["-Wno-fatal", "-Wno-lint", "-Wno-style", "-Wno-MULTIDRIVEN", "-O3"])
    return folder, runner


def simulate(system, cores, tmp_path) -> dict:
    """What came of the example's programs."""
    folder, runner = system
    told = tmp_path / "told.json"
    with simulator_environment(folder):
        runner.test(hdl_toplevel="memory", test_module="litex_memory_bench", build_dir=folder / "sim",
                    test_dir=folder / "gateware", results_xml=str(tmp_path / "results.xml"),
                    extra_env={"SYSTEM": str(folder), "EXAMPLE": str(EXAMPLE), "TOLD": str(told),
                               "DESCRIPTIONS": json.dumps([str(core[0]) for core in cores]),
                               "IMAGES": json.dumps([str(core[1]) for core in cores]),
                               "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])})
    return json.loads(told.read_text())


@pytest.mark.slow
@pytest.mark.rtl
def test_pictures_are_classified_with_weights_from_litedram(system, cores, tmp_path):
    """Two networks in one memory, each with weights of its own."""
    assert simulate(system, cores, tmp_path) == {"classes": [core[2] for core in cores]}


@pytest.mark.slow
@pytest.mark.rtl
def test_damaged_weights_are_refused(system, cores, tmp_path):
    """A bit that is wrong in the file is told by the core, not found by reading back."""
    weights = cores[0][0].with_name("digits_weights.bin")
    image = weights.read_bytes()
    weights.write_bytes(image[:200] + bytes([image[200] ^ 4]) + image[201:])
    try:
        told = simulate(system, cores, tmp_path)
    finally:
        weights.write_bytes(image)
    assert told == {"refused": "weights.py: digits refuses its weights: they are damaged"}


@pytest.mark.parametrize("board", ["ulx3s", "ecpix5", "orangecrab"])
def test_systems_are_made_for_boards(cores, board, tmp_path):
    """Verilog, constraints and scripts; a DDR3's commands, and how many delays it has."""
    done = subprocess.run([sys.executable, EXAMPLE / "memory.py", cores[0][0], "--board", board, "-o", tmp_path],
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "gateware/memory.v").read_text()
    settings = json.loads((tmp_path / "memory.json").read_text())
    assert ("DQSBUFM" in text) == (settings["training"] is not None) == (board != "ulx3s")
    assert len(settings["commands"]) == 7
    assert "LOCATE COMP" in (tmp_path / "gateware/memory.lpf").read_text()


def test_cores_are_given_to_the_system_that_is_for_them(cores, tmp_path):
    """Weights inside, or outside: each of the two systems names the other."""
    inside = json.loads(cores[0][0].read_text())
    del inside["ports"]["m_axi"]
    (tmp_path / "inside.json").write_text(json.dumps(inside))
    for system, description, about in (
            ("soc", cores[0][0], "has its weights outside: memory.py is for such"),
            ("memory", tmp_path / "inside.json", "has its weights inside: soc.py is for such")):
        board = ["--board", "simulation"] if system == "memory" else []
        done = subprocess.run([sys.executable, EXAMPLE / f"{system}.py", description, *board, "-o", tmp_path / system],
                              capture_output=True, text=True)
        assert done.returncode == 1
        assert done.stderr.splitlines()[-1] == f"{system}.py: {description}: this core {about}"
