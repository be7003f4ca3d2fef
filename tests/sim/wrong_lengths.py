# SPDX-License-Identifier: Apache-2.0
"""A cocotb test: frames as ``TEPAL_BENCH`` says, right and wrong ones, then a reset within an answer, then a frame."""

import json
import os
from pathlib import Path

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge
from tepal.sim.axi_stream import Sink, Source, Stalls


@cocotb.test(timeout_time=10, timeout_unit="ms")
async def wrong_lengths(dut):
    job = json.loads(Path(os.environ["TEPAL_BENCH"]).read_text())
    frames, seed = job["frames"], job["stalls"]
    source, sink = Source(dut, "s_axis", Stalls(seed, "input")), Sink(dut, "m_axis", Stalls(seed, "output"))
    Clock(dut.clk, 10, unit="ns", impl="gpi").start()

    async def reset():
        dut.rst.value = 1
        await FallingEdge(dut.clk)
        valid = bool(dut.m_axis_tvalid.value)
        await FallingEdge(dut.clk)
        dut.rst.value = 0
        return valid

    async def send():
        for frame in frames:
            await source.send(frame)

    in_reset = [await reset()]
    errors = [int(dut.frame_error.value)]
    sender = cocotb.start_soon(send())
    packets = [(await sink.packet()).hex() for _ in range(job["answers"])]
    await sender
    errors.append(int(dut.frame_error.value))
    await source.send(frames[0])
    begun = bytes([(await sink.beat())[0] for _ in range(job["cut"])]).hex()
    in_reset.append(await reset())
    errors.append(int(dut.frame_error.value))
    ended = (await sink.packet()).hex()
    await source.send(frames[0])
    packets.append((await sink.packet()).hex())
    Path(os.environ["TEPAL_BENCH"]).with_name("answers.json").write_text(json.dumps(
        {"packets": packets, "errors": errors, "begun": begun, "ended": ended, "in_reset": in_reset}))
