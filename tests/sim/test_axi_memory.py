# SPDX-License-Identifier: Apache-2.0
"""The memory inside a simulator, with a reader in front of it, against its twin in Python: every beat in the same
cycle, in Verilator and in Icarus."""

import os
import re
import shutil
import subprocess
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from axi import image_of, run_reader
from networks import fast
from tepal.boards.flow import yosys
from tepal.boards.flow.folder import write_files
from tepal.hdl.export import export_component
from tepal.hdl.memories.axi_reader import AxiReader
from tepal.hdl.memories.image_check import WeightError
from tepal.sim import axi_memory
from tepal.sim.arrivals import arrivals
from tepal.sim.axi_memory import AxiMemory
from tepal.sim.simulators import verilator_environment

BASE = 0x80
IMAGE = image_of(21, 300)
SOURCES = [Path(__file__).with_name("axi_bench.v"), Path(axi_memory.__file__).with_suffix(".v")]

DRIVER = """
#include "Vbench.h"
#include "verilated.h"
int main(int argc, char** argv) {
    VerilatedContext context;
    context.commandArgs(argc, argv);
    Vbench bench(&context);
    while (!context.gotFinish()) {
        bench.clk = !bench.clk;
        bench.eval();
    }
}
"""

pytestmark = pytest.mark.rtl


@pytest.fixture(scope="module", params=["icarus", pytest.param("verilator", marks=pytest.mark.slow)])
def simulate(request, tmp_path_factory):
    """Function that runs the bench with plusargs, and gives what it printed, split."""
    folder = tmp_path_factory.mktemp(request.param)
    write_files(export_component(AxiReader(IMAGE), yosys.to_verilog, "reader").files(), folder)
    sources = [*SOURCES, folder / "reader.v"]
    environment = verilator_environment()
    if request.param == "icarus":
        if shutil.which("iverilog") is None:
            pytest.skip("iverilog isn't installed (apt-get install iverilog)")
        build = ["iverilog", "-g2012", "-s", "bench", f"-Pbench.WORDS={IMAGE.beats}", "-o", "bench", *sources]
        run = ["vvp", "bench"]
    else:
        (folder / "driver.cpp").write_text(DRIVER)
        build = ["verilator", "--cc", "--exe", "--build", "-Wno-fatal", "-Wno-lint", "-Wno-style", "--top-module",
                 "bench", f"-GWORDS={IMAGE.beats}", "-CFLAGS", "-O0", "-MAKEFLAGS", "CFG_CXXFLAGS_PCH_I=-include",
                 "-o", "bench", *sources, "driver.cpp"]
        run = ["obj_dir/bench"]
    done = subprocess.run(build, cwd=folder, env=environment, capture_output=True, text=True)
    assert not done.returncode, done.stderr[-3000:]

    def simulate(contents: bytes, **plusargs: int) -> list[list[str]]:
        rows = np.frombuffer(contents, "<u8")
        (folder / "memory.hex").write_text("".join(f"{word:016x}\n" for word in rows))
        options = [f"+{name}={value}" for name, value in plusargs.items()]
        ran = subprocess.run([*run, "+memory=memory.hex", *options], cwd=folder, env=os.environ, capture_output=True,
                             text=True)
        assert not ran.returncode, ran.stdout[-2000:] + ran.stderr[-2000:]
        return [line.split() for line in ran.stdout.splitlines() if re.match(r"\d+ \d+ \w+$|error", line)]
    return simulate


CASES = [
    # Latency, interval, seed, refresh, share.
    (30, 1, 0, 782, 200),
    (5, 1, 7, 0, 256),
    (30, 1, 0, 0, 256),
    (40, 4, 0, 0, 256),
    (1, 1, 1, 100, 30),
    (17, 2, 99, 333, 128),
]


@pytest.mark.parametrize(("latency", "interval", "seed", "refresh", "share"), fast(CASES, 3))
def test_same_as_in_python(simulate, latency, interval, seed, refresh, share):
    beats = 700
    *rows, end = simulate(IMAGE.data, beats=beats, share=share, memory_latency=latency, memory_interval=interval,
                          memory_seed=seed, memory_refresh=refresh)
    memory = AxiMemory(IMAGE.data, BASE, latency=latency, interval=interval, seed=seed, refresh=refresh)
    run = run_reader(AxiReader(IMAGE), memory, beats=beats, base=BASE,
                     ready=lambda cycle: (cycle + 1) * 2654435761 % 2 ** 32 >> 24 < share)
    assert [int(beat, 16) for _, _, beat in rows] == run.beats
    assert [int(there) for there, _, _ in rows] == run.there
    assert [int(taken) for _, taken, _ in rows] == run.taken
    assert end == ["error", "0", "running", "1", "rready", "1"]
    frame = np.frombuffer(IMAGE.frame, "<u8").tolist()
    expected = np.frombuffer(IMAGE.prologue, "<u8").tolist() + beats // len(frame) * frame + frame
    assert run.beats == expected[:beats]
    if not seed and not refresh and share == 256:
        predicted = arrivals(IMAGE.prologue_beats, IMAGE.frame_beats, latency, interval)
        assert run.taken == list(islice(predicted, beats))


WRONG = {
    WeightError.OTHER_IMAGE: (IMAGE.data[:30] + b"X" + IMAGE.data[31:], {}),
    WeightError.DAMAGED: (IMAGE.data[:-1] + b"X", {}),
    WeightError.MEMORY: (IMAGE.data, {"memory_error": 20}),
}


@pytest.mark.parametrize("error", WRONG)
def test_refused(simulate, error):
    contents, options = WRONG[error]
    assert simulate(contents, memory_latency=9, **options) == [
        ["error", str(error.value), "running", "0", "rready", "1"]]


@pytest.mark.parametrize(("steps", "complaint"), [
    ([(0, 15, 1, 1), (128, 15, 1, 1)], "changed before it was accepted"),
    ([(0, 15, 1, 1), (0, 7, 1, 1)], "changed before it was accepted"),
    ([(0, 15, 1, 1), (0, 15, 0, 1)], "changed before it was accepted"),
    ([(4096 - 64, 15, 1, 1)] * 100, "crosses a multiple of 4 KiB"),
])
def test_rules(steps, complaint):
    memory = AxiMemory(IMAGE.data, seed=1)
    assert not memory.arready

    def all_steps():
        for step in steps:
            memory.step(*step)

    with pytest.raises(AssertionError, match=complaint):
        all_steps()
