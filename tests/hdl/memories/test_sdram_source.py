# SPDX-License-Identifier: Apache-2.0
"""Words out of a memory: those of the prologue once, and then frames of words, over and over."""

from fractions import Fraction

import numpy as np
import pytest
from amaranth import Module, Signal
from amaranth.lib import wiring
from amaranth.sim import Simulator
from networks import fast
from sdram import SMALL, SdramMemory, ulx3s
from tepal.hdl.memories.sdram import word_cycles
from tepal.hdl.memories.sdram_source import SdramSource


def streamed(prologue: range, frame: range, count: int, *, stall: float = 0.0, timing=SMALL):
    """``count`` words of a stream out of a memory in which each word is its number, and the cycles that one takes on
    average."""
    memory, source = SdramMemory(timing), SdramSource(timing, prologue, frame)
    m, on, rng = Module(), Signal(), np.random.default_rng(3)
    m.submodules.memory, m.submodules.source = memory, source
    wiring.connect(m, memory.read, source.read)
    words = max(prologue.stop, frame.stop)
    with m.If(on):
        m.d.comb += [memory.access.valid.eq(source.access.valid), source.access.ready.eq(memory.access.ready),
                     memory.access.payload.eq(source.access.payload)]
    fill = memory.access.payload.shape().const({"write": 1, "address": 0, "words": words})
    filling = Signal(init=1)
    with m.If(~on):
        m.d.comb += [memory.access.valid.eq(filling), memory.access.payload.eq(fill)]
    taken, moments = [], []

    async def run(ctx):
        await ctx.tick().until(memory.access.ready)
        ctx.set(filling, 0)
        ctx.set(memory.write.valid, 1)
        for number in range(words):
            ctx.set(memory.write.payload, number)
            await ctx.tick().until(memory.write.ready)
        ctx.set(memory.write.valid, 0)
        ctx.set(on, 1)
        now = 0
        while len(taken) < count:
            ctx.set(source.stream.ready, int(rng.random() >= stall))
            _, _, valid, ready, word, error = await ctx.tick().sample(
                source.stream.valid, source.stream.ready, source.stream.payload, memory.broken)
            assert not error
            now += 1
            if valid and ready:
                taken.append(word)
                moments.append(now)

    simulator = Simulator(m)
    simulator.add_clock(1e-6)
    simulator.add_testbench(run)
    simulator.run()
    return taken, Fraction(moments[-1] - moments[0], count - 1)


@pytest.mark.parametrize(("prologue", "frame", "stall"), fast([
    (range(3, 8), range(8, 21), 0.3), (range(0), range(16, 32), 0.0), (range(4, 5), range(2, 3), 0.7),
    (range(40, 64), range(30), 0.0), (range(1), range(64), 0.9)], 3))
def test_frames(prologue, frame, stall):
    """Each begins where the one before ends."""
    taken, _ = streamed(prologue, frame, 150, stall=stall)
    assert taken == ([*prologue, *(list(frame) * 150)])[:150]


@pytest.mark.slow
@pytest.mark.parametrize("frequency", [80_000_000, 100_000_000, 133_333_333])
def test_rate(frequency):
    """A word takes what is told of it, but for a row that is opened at each frame."""
    timing = ulx3s(frequency, rows=4, pause=20, first_refreshes=2)
    _, cycles = streamed(range(0), range(1500), 2999, timing=timing)
    assert abs(cycles - word_cycles(timing)) < Fraction(4 * 6, 1500)
