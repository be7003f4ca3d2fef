"""The accelerator as a whole, in Amaranth's own simulator: small engines, and a reset at any moment, however short."""

from dataclasses import replace

import numpy as np
import pytest
from amaranth import Module, ResetInserter, Signal
from amaranth.sim import Simulator
from frames import run_frames
from networks import random_case
from tepal.hdl import Accelerator, Schedule
from tepal.sim import CycleModel, golden


@pytest.mark.parametrize(("requantiser_cycles", "lane_cycles", "single_port", "pipelined"), [
    (3, 4, True, False), (4, 3, True, True), (5, 1, False, False), (1, 3, True, True), (1, 1, False, False)])
@pytest.mark.parametrize("seed", [0, 1])
def test_small_engine(seed, requantiser_cycles, lane_cycles, single_port, pipelined):
    """Serial requantisers, memories with one port whose weights come from outside, and few registers: the golden
    model's bytes, at the cycle model's cycles."""
    network, config, pictures = random_case(seed, 2)
    schedule = Schedule(network, replace(config, requantisers=1, requantiser_cycles=requantiser_cycles,
                                         lane_cycles=lane_cycles, single_port=single_port, pipelined=pipelined))
    taken, offered, sent = run_frames(schedule, pictures)
    model = CycleModel(schedule)
    expected = golden.run(network, pictures).reshape(2, -1)
    results = np.array(taken, np.uint8).reshape(2, -1)[:, :-2].view(np.int8)
    assert (results == expected).all()
    per_frame = len(taken) // 2
    assert offered[0] - sent[len(sent) // 2 - 1] == model.compute_cycles
    assert offered[per_frame] - offered[0] == model.frames(2)[1].first_byte - model.frames(2)[0].first_byte


@pytest.mark.parametrize("seed", [9, 17, 33])
@pytest.mark.parametrize("part", [0.3, 0.6, 0.9])
def test_reset_within_a_frame(seed, part):
    """One cycle of reset, and the next frame is right: nothing of the first one arrives after it."""
    network, config, images = random_case(seed, 2)
    schedule = Schedule(network, config)
    dut, reset = Accelerator(schedule), Signal()
    moment = int(CycleModel(schedule).cycles * part)
    frames = images.reshape(2, -1).view(np.uint8).reshape(2, -1, config.input_bytes)
    taken = []

    async def bench(ctx):
        frame = beat = 0
        ctx.set(dut.m_axis_tready, 1)
        for cycle in range(moment + 3 * CycleModel(schedule).cycles + 100):
            ctx.set(reset, cycle == moment)
            if cycle == moment:
                frame, beat = 1, 0
                taken.clear()
            offered = cycle != moment and beat < len(frames[frame])
            ctx.set(dut.s_axis_tvalid, offered)
            if offered:
                ctx.set(dut.s_axis_tdata, int.from_bytes(frames[frame][beat].tobytes(), "little"))
            _, _, ready, valid, data, last = await ctx.tick().sample(
                dut.s_axis_tready, dut.m_axis_tvalid, dut.m_axis_tdata, dut.m_axis_tlast)
            beat += offered and ready
            if valid and cycle > moment:
                taken.append(data)
                if last:
                    return

    m = Module()
    m.submodules.dut = ResetInserter(reset)(dut)
    simulator = Simulator(m)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    assert taken[:-2] == golden.run(network, images[1:])[0].view(np.uint8).tolist()
