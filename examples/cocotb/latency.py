# SPDX-License-Identifier: Apache-2.0
"""A bench of one's own around a generated core: is an answer there in the cycle that Tepal predicts?

    python latency.py FOLDER [--simulator icarus]

FOLDER is what ``tepal generate … --bench`` wrote; its stream source and sink are used here too."""

import argparse
import json
import os
import sys
from pathlib import Path

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge
from cocotb.utils import get_sim_time

PERIOD_NS = 10


@cocotb.test()
async def latency(dut):
    """From the last beat to the first byte of the answer, each when it is taken."""
    from axi_stream import Sink, Source

    core = json.loads(os.environ["CORE"])
    source, sink = Source(dut, "s_axis"), Sink(dut, "m_axis")
    dut.rst.value = 1
    Clock(dut.clk, PERIOD_NS, unit="ns").start()
    for _ in range(4):
        await FallingEdge(dut.clk)
    dut.rst.value = 0
    # Any image will do: no cycle depends on what it shows.
    await source.send([0] * core["ports"]["s_axis"]["beats_per_frame"])
    sent = get_sim_time("ns")
    await sink.beat()
    cycles = round((get_sim_time("ns") - sent) / PERIOD_NS)
    dut._log.info("%d cycles, %d predicted", cycles, core["cycles"]["last_byte_cycles"])
    assert cycles == core["cycles"]["last_byte_cycles"]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="what tepal generate --bench wrote")
    parser.add_argument("--simulator", choices=("verilator", "icarus"), default="verilator")
    arguments = parser.parse_args()
    folder = arguments.folder.resolve()
    sys.path.insert(0, str(folder))
    import simulators

    (bench,) = folder.glob("test_*.py")
    text = bench.with_name(bench.stem.removeprefix("test_")).with_suffix(".json").read_text(encoding="utf-8")
    if "load" in json.loads(text)["ports"]:
        sys.exit("latency.py: this core's weights are to be loaded first: load_weights in its own bench shows how")
    simulators.run(json.loads(text), folder, arguments.simulator, Path(__file__).stem,
                   {"CORE": text, "PYTHONPATH": os.pathsep.join([str(folder), str(Path(__file__).parent)])})
