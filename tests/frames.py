"""Runs a whole accelerator in Amaranth's own simulator."""

import numpy as np
from amaranth.sim import Simulator
from tepal.hdl import Accelerator, Schedule
from tepal.hdl.answer import Trailer
from tepal.hdl.plan import rom_contents as images
from tepal.sim import CycleModel

__all__ = ["run_frames"]


def run_frames(schedule: Schedule, pictures: np.ndarray) -> tuple[list[int], list[int], list[int]]:
    """Send int8 ``pictures`` back to back, weights first where they are loaded: (bytes taken, cycles in which they were
    offered, cycles in which beats were taken), in three times the cycles that it should take, at most."""
    dut, config, model = Accelerator(schedule), schedule.config, CycleModel(schedule)
    beats = pictures.reshape(-1).view(np.uint8).reshape(-1, config.input_bytes)
    weights = np.frombuffer(images.loaded_weights(schedule), "<u2")
    wanted = len(pictures) * (schedule.network.outputs + Trailer.BYTES)
    taken, offered, sent = [], [], []

    async def bench(ctx):
        ctx.set(dut.m_axis_tready, 1)
        for index, part in enumerate(weights.tolist() if config.single_port else []):
            ctx.set(dut.load_tdata, part)
            ctx.set(dut.load_tfirst, index == 0)
            ctx.set(dut.load_tvalid, 1)
            await ctx.tick()
            ctx.set(dut.load_tvalid, 0)
            await ctx.tick()
        if config.single_port:
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
                if len(taken) == wanted:
                    return

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return taken, offered, sent
