# SPDX-License-Identifier: Apache-2.0
"""A reader of weights with a memory behind it, in Amaranth's simulator."""

from dataclasses import dataclass, field

import numpy as np
from amaranth.sim import Simulator
from tepal.hdl.memories.axi_reader import AxiReader
from tepal.hdl.memories.image_check import WeightError
from tepal.hdl.memories.weight_image import WeightImage, weight_image
from tepal.sim.axi_memory import AxiMemory

__all__ = ["ReaderRun", "image_of", "run_reader"]

IDENTITY = bytes(range(100, 116))


def image_of(prologue: int, frame: int, *, identity: bytes = IDENTITY, seed: int = 3) -> WeightImage:
    """An image of random beats: so many of each part."""
    random = np.random.default_rng(seed)
    return weight_image(identity, random.bytes(8 * prologue), random.bytes(8 * frame))


@dataclass
class ReaderRun:
    """What a reader handed on, and in which cycles each beat was first there and was taken."""

    beats: list[int] = field(default_factory=list)
    there: list[int] = field(default_factory=list)
    taken: list[int] = field(default_factory=list)
    error: WeightError = WeightError.NONE
    running: bool = False


def run_reader(reader: AxiReader, memory: AxiMemory, *, beats: int, cycles: int = 100_000, base: int = 0,
               ready=lambda cycle: True, start: int = 0) -> ReaderRun:
    """Run until so many ``beats`` were taken, or ``error`` was there for 200 cycles, or all ``cycles`` are over.

    ``ready(cycle)`` tells whether a beat can be taken in a cycle; cycle 0 is that in which ``start`` rises, ``start``
    cycles after the reset."""
    run = ReaderRun()

    async def bench(ctx):
        ctx.set(reader.base, base)
        held, alarm = None, 200
        for cycle in range(-start, cycles):
            ctx.set(reader.start, int(cycle >= 0))
            for name in "arready", "rvalid", "rdata", "rresp", "rlast":
                ctx.set(getattr(reader, f"m_axi_{name}"), getattr(memory, name))
            takes = bool(ready(cycle))
            ctx.set(reader.ready, int(takes))
            valid, data = ctx.get(reader.valid), ctx.get(reader.data)
            assert held is None or (valid, data) == (1, held), "a beat changed before it was taken"
            if valid and held is None:
                run.there.append(cycle)
            held = data if valid and not takes else None
            if valid and takes:
                run.beats.append(data)
                run.taken.append(cycle)
            request = [ctx.get(getattr(reader, f"m_axi_{name}")) for name in ("araddr", "arlen", "arvalid", "rready")]
            assert (ctx.get(reader.m_axi_arsize), ctx.get(reader.m_axi_arburst), request[3]) == (3, 1, 1)
            memory.step(*request)
            run.error, run.running = WeightError(ctx.get(reader.error)), bool(ctx.get(reader.running))
            alarm -= run.error != WeightError.NONE
            if len(run.beats) >= beats or not alarm:
                return
            await ctx.tick()

    simulator = Simulator(reader)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return run
