"""The accelerator as a whole, in Amaranth's own simulator: small engines, and a reset at any moment, however short."""

from dataclasses import replace

import numpy as np
import pytest
from amaranth import Module, ResetInserter, Signal
from amaranth.sim import Simulator
from networks import random_case, wide_case
from tepal.hdl import Accelerator, Schedule, images
from tepal.sim import CycleModel, golden


@pytest.mark.parametrize(("requantiser_cycles", "lane_cycles", "single_port", "pipelined"), [
    (3, 4, True, False), (4, 3, True, True), (5, 1, False, False), (1, 3, True, True), (1, 1, False, False)])
@pytest.mark.parametrize("seed", [0, 1])
def test_small_engine(seed, requantiser_cycles, lane_cycles, single_port, pipelined):
    """Serial requantisers, memories with one port whose weights come from outside, and few registers: the golden
    model's bytes, at the cycle model's cycles."""
    network, config, pictures = random_case(seed, 2)
    check(network, replace(config, requantisers=1, requantiser_cycles=requantiser_cycles, lane_cycles=lane_cycles,
                           single_port=single_port, pipelined=pipelined), pictures)


@pytest.mark.parametrize("seed", range(24))
def test_wide_input(seed):
    """Vectors, images under a single window, pixels of many channels."""
    network, config, pictures = wide_case(seed, 2)
    if seed % 6 == 0:
        config = replace(config, requantisers=1, requantiser_cycles=4, lane_cycles=3, single_port=True)
    check(network, config, pictures)


def check(network, config, pictures):
    """Two frames without a pause: the golden model's bytes, at the cycle model's cycles."""
    schedule = Schedule(network, config)
    single_port = config.single_port
    dut, model = Accelerator(schedule), CycleModel(schedule)
    beats = pictures.reshape(-1).view(np.uint8).reshape(-1, config.input_bytes)
    weights = np.frombuffer(images.loaded_weights(schedule), "<u2")
    taken, sent, offered = [], [], []

    async def bench(ctx):
        ctx.set(dut.m_axis_tready, 1)
        for index, part in enumerate(weights.tolist() if single_port else []):
            ctx.set(dut.load_tdata, part)
            ctx.set(dut.load_tfirst, index == 0)
            ctx.set(dut.load_tvalid, 1)
            await ctx.tick()
            ctx.set(dut.load_tvalid, 0)
            await ctx.tick()
        if single_port:
            ctx.set(dut.run, 1)
            await ctx.tick()
        for cycle in range(3 * model.cycles + 100):
            more = len(sent) < len(beats)
            ctx.set(dut.s_axis_tvalid, more)
            if more:
                ctx.set(dut.s_axis_tdata, int.from_bytes(beats[len(sent)].tobytes(), "little"))
            _, _, ready, valid, data = await ctx.tick().sample(dut.s_axis_tready, dut.m_axis_tvalid, dut.m_axis_tdata)
            if more and ready:
                sent.append(cycle)
            if valid:
                taken.append(data)
                offered.append(cycle)

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    expected = golden.run(network, pictures).reshape(2, -1)
    results = np.array(taken, np.uint8).reshape(2, -1)[:, :-2].view(np.int8)
    assert (results == expected).all()
    per_frame = len(taken) // 2
    assert offered[0] - sent[len(beats) // 2 - 1] == model.compute_cycles
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
