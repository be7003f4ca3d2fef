# SPDX-License-Identifier: Apache-2.0
"""Frames of words out of a memory, over and over, across clocks, and anew at any moment."""

import numpy as np
import pytest
from amaranth import Module, Signal
from amaranth.lib import wiring
from amaranth.sim import Simulator
from networks import fast
from sdram import SMALL, SdramMemory, ulx3s
from tepal.hdl.memories.sdram_source import SdramSource

BASE = 50


def frames(words: int, count: int, *, period: float, stall: float, restart: float, chunk: int = 8, timing=SMALL,
           depth: int = 8, seed: int = 0) -> tuple[list[list[int]], float]:
    """Words taken between one restart and the next, ``count`` in all, of a memory in which each word of the frame is
    its number; and the share of the memory's clock's cycles in which there were some.  ``period`` is of the reader's
    clock, whose domain is the memory's own if it is 0."""
    memory = SdramMemory(timing)
    reader = "engine" if period else "sync"
    source = SdramSource(timing, BASE, words, reader=reader, chunk=chunk, depth=depth)
    m, on, rng = Module(), Signal(), np.random.default_rng(seed)
    m.submodules.memory, m.submodules.source = memory, source
    wiring.connect(m, memory.read, source.read)
    fill = Signal.like(memory.access.payload.as_value())
    filling = Signal()
    m.d.comb += [memory.access.valid.eq(filling | (on & source.access.valid)),
                 source.access.ready.eq(on & memory.access.ready)]
    with m.If(filling):
        m.d.comb += memory.access.payload.eq(fill)
    with m.Else():
        m.d.comb += memory.access.payload.eq(source.access.payload)
    taken: list[list[int]] = [[]]
    cycles = [0, 0]

    async def write(ctx):
        layout = memory.access.payload.shape()
        ctx.set(fill, layout.const({"write": 1, "address": BASE, "words": words}).as_value().value)
        ctx.set(filling, 1)
        await ctx.tick().until(memory.access.ready)
        ctx.set(filling, 0)
        ctx.set(memory.write.valid, 1)
        for number in range(words):
            ctx.set(memory.write.payload, number)
            await ctx.tick().until(memory.write.ready)
        ctx.set(memory.write.valid, 0)
        ctx.set(on, 1)

    async def take(ctx):
        while sum(map(len, taken)) < count:
            again = rng.random() < restart
            ctx.set(source.restart, int(again))
            ctx.set(source.stream.ready, int(rng.random() >= stall))
            _, _, valid, ready, word, error = await ctx.tick(reader).sample(
                source.stream.valid, source.stream.ready, source.stream.payload, memory.broken)
            assert not error
            if again:
                assert not valid
                taken.append([])
            elif valid and ready:
                taken[-1].append(word)
            cycles[1] += any(taken)
            cycles[0] += bool(valid and ready)

    simulator = Simulator(m)
    simulator.add_clock(1e-6)
    if period:
        simulator.add_clock(period * 1e-6, phase=0.13e-6, domain="engine")
    simulator.add_testbench(write)
    simulator.add_testbench(take)
    simulator.run()
    return taken, 4 * cycles[0] / (cycles[1] * (period or 1))


@pytest.mark.parametrize(("words", "period", "stall", "restart"), fast([
    (13, 1.27, 0.3, 0.01), (16, 0.0, 0.0, 0.01), (5, 0.71, 0.5, 0.05), (13, 0.0, 0.7, 0.0), (64, 1.0, 0.0, 0.0),
    (1, 1.27, 0.2, 0.03), (24, 3.3, 0.0, 0.02), (8, 0.4, 0.9, 0.1)], 3))
def test_frames(words, period, stall, restart):
    """Each begins where the one before ends, and behind a restart with the first word."""
    taken, _ = frames(words, 150, period=period, stall=stall, restart=restart)
    assert (len(taken) > 2) == (restart > 0)
    for part in taken:
        assert part == [number % words for number in range(len(part))]


def test_restarts_close_together():
    """Before a word has come, and before the memory has heard of the last one."""
    taken, _ = frames(13, 40, period=0.9, stall=0.0, restart=0.3, seed=3)
    assert max(map(len, taken)) > 1
    assert all(part == [number % 13 for number in range(len(part))] for part in taken)


@pytest.mark.slow
def test_rate():
    """As fast as the memory, but for a row that is opened at each chunk and frame."""
    timing = ulx3s(100_000_000, rows=4, pause=20, first_refreshes=2)
    _, share = frames(700, 1400, period=0.9, stall=0.0, restart=0.0, chunk=2048, timing=timing, depth=16)
    assert share > 0.96
