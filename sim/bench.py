# SPDX-License-Identifier: Apache-2.0
"""The cocotb test bench: sends images, takes results, and stalls both sides if asked to.

Runs inside the simulator, told what to do by the JSON file that ``TEPAL_BENCH`` names; the bytes that it
took go to ``taken.npy`` beside that file."""

import json
import os
from pathlib import Path

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, Timer
from tepal.sim.axi_stream import Sink, Source, Stalls, load_weights

PERIOD_NS = 10
TELL_NS = 2_000 * PERIOD_NS
"""How often it is told how far the simulation is: often enough for slow engines, which take a second for it."""


async def tell(file: Path):
    """Writes how many cycles have passed, for whoever waits."""
    passed = 0
    while True:
        await Timer(TELL_NS, unit="ns")
        passed += TELL_NS // PERIOD_NS
        file.write_text(str(passed))


async def send(source: Source, beats: np.ndarray, beats_per_frame: int):
    for start in range(0, len(beats), beats_per_frame):
        await source.send(int.from_bytes(beat.tobytes(), "little") for beat in beats[start:start + beats_per_frame])


@cocotb.test(timeout_time=int(os.environ.get("TEPAL_TIMEOUT_CYCLES", "1000000")) * PERIOD_NS, timeout_unit="ns")
async def frames(dut):
    order = Path(os.environ["TEPAL_BENCH"])
    job = json.loads(order.read_text())
    beats = np.load(order.parent / "beats.npy")
    source = Source(dut, "s_axis", Stalls(job["stalls"], "input"))
    sink = Sink(dut, "m_axis", Stalls(job["stalls"], "output"))
    if job["weights"]:
        dut.load_tvalid.value = 0
        dut.run.value = 0
    dut.rst.value = 1
    Clock(dut.clk, PERIOD_NS, unit="ns", impl="gpi").start()
    cocotb.start_soon(tell(order.parent / "cycles.txt"))
    for _ in range(4):
        await FallingEdge(dut.clk)
    dut.rst.value = 0
    if job["weights"]:
        await load_weights(dut, np.load(order.parent / "weights.npy").tolist(), Stalls(job["stalls"], "weights"))
    sender = cocotb.start_soon(send(source, beats, job["beats_per_frame"]))
    taken = []
    while len(taken) < job["bytes"]:
        byte, last = await sink.beat()
        taken.append(last << 8 | byte)
    await sender
    np.save(order.parent / "taken.npy", np.array(taken, np.uint16))
    for _ in range(4):
        await FallingEdge(dut.clk)
