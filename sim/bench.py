"""The cocotb test bench: sends images, takes results, and stalls both sides if asked to.

Runs inside the simulator, told what to do by the JSON file that ``TEPAL_BENCH`` names; the bytes that it
took go to ``taken.npy`` beside that file."""

import json
import os
import random
from pathlib import Path

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, RisingEdge

PERIOD_NS = 10
STALL_PROBABILITY = 0.5


class Stalls:
    """Random waiting: runs of busy and idle cycles, so that both short and long ones come up."""

    def __init__(self, seed: int | None, side: str):
        self.random = None if seed is None else random.Random(f"{seed} {side}")
        self.left, self.stalled = 0, False

    def __bool__(self):
        if self.random is None:
            return False
        if not self.left:
            self.stalled = self.random.random() < STALL_PROBABILITY
            self.left = self.random.choice((1, 1, 2, 3, 20))
        self.left -= 1
        return self.stalled


async def send(dut, beats: np.ndarray, beats_per_frame: int, stalls: Stalls):
    """Offer every beat; between two clock edges nothing of the accelerator's answer changes."""
    position = 0
    while position < len(beats):
        if stalls:
            dut.s_axis_tvalid.value = 0
            await FallingEdge(dut.clk)
            continue
        dut.s_axis_tvalid.value = 1
        dut.s_axis_tdata.value = int.from_bytes(beats[position].tobytes(), "little")
        dut.s_axis_tlast.value = int((position + 1) % beats_per_frame == 0)
        while not dut.s_axis_tready.value:
            await RisingEdge(dut.s_axis_tready)
            await FallingEdge(dut.clk)
        await FallingEdge(dut.clk)
        position += 1
    dut.s_axis_tvalid.value = 0


async def receive(dut, count: int, stalls: Stalls) -> list[int]:
    """Take ``count`` bytes, each as tlast << 8 | byte."""
    taken = []
    while len(taken) < count:
        ready = not stalls
        dut.m_axis_tready.value = int(ready)
        if ready and not dut.m_axis_tvalid.value and stalls.random is None:
            await RisingEdge(dut.m_axis_tvalid)
            await FallingEdge(dut.clk)
        if ready and dut.m_axis_tvalid.value:
            taken.append(int(dut.m_axis_tlast.value) << 8 | int(dut.m_axis_tdata.value))
        await FallingEdge(dut.clk)
    return taken


async def load(dut, weights: np.ndarray, stalls: Stalls):
    """Give weights to an accelerator whose memories come up blank."""
    for position, word in enumerate(weights.tolist()):
        while stalls:
            await FallingEdge(dut.clk)
        dut.load_tdata.value = word
        dut.load_tfirst.value = int(position == 0)
        dut.load_tvalid.value = 1
        await FallingEdge(dut.clk)
        dut.load_tvalid.value = 0
        await FallingEdge(dut.clk)
    dut.run.value = 1


@cocotb.test(timeout_time=int(os.environ.get("TEPAL_TIMEOUT_CYCLES", "1000000")) * PERIOD_NS, timeout_unit="ns")
async def frames(dut):
    order = Path(os.environ["TEPAL_BENCH"])
    job = json.loads(order.read_text())
    beats = np.load(order.parent / "beats.npy")
    dut.s_axis_tvalid.value = 0
    dut.s_axis_tlast.value = 0
    dut.m_axis_tready.value = 0
    if job["weights"]:
        dut.load_tvalid.value = 0
        dut.run.value = 0
    dut.rst.value = 1
    Clock(dut.clk, PERIOD_NS, unit="ns", impl="gpi").start()
    for _ in range(4):
        await FallingEdge(dut.clk)
    dut.rst.value = 0
    if job["weights"]:
        await load(dut, np.load(order.parent / "weights.npy"), Stalls(job["stalls"], "weights"))
    sender = cocotb.start_soon(send(dut, beats, job["beats_per_frame"], Stalls(job["stalls"], "input")))
    taken = await receive(dut, job["bytes"], Stalls(job["stalls"], "output"))
    await sender
    np.save(order.parent / "taken.npy", np.array(taken, np.uint16))
    for _ in range(4):
        await FallingEdge(dut.clk)
