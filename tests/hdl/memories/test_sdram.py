# SPDX-License-Identifier: Apache-2.0
"""The SDRAM's controller against the model of the memory, which refuses every command that comes too early or late."""

from dataclasses import fields, replace

import numpy as np
import pytest
from amaranth.sim import Simulator
from networks import fast
from sdram import CLOCKS, SMALL, SdramMemory, ulx3s
from streams import run_streams
from tepal.hdl import ConfigError
from tepal.hdl.memories.sdram import Access, require_slots, word_count
from tepal.hdl.memories.sdram_timing import (
    AS4C16M16SA,
    IS42S16160G,
    MT48LC16M16A2,
    ULX3S_CHIPS,
    SdramChip,
    SdramTiming,
    strictest,
)
from tepal.sim.sdram_model import RULES


def access(timing: SdramTiming, write: bool, address: int, words: int) -> int:
    return Access(timing).const({"write": write, "address": address, "words": words}).as_value().value


def run(memory: SdramMemory, timing: SdramTiming, accesses, *, stall: float = 0.0, seed: int = 0):
    """(words read, words that should have been, rules that were broken) for (write, address, words) ``accesses``, with
    random words written."""
    rng = np.random.default_rng(seed)
    held: dict[int, int] = {}
    written, expected = [], []
    for write, address, words in accesses:
        for word in (address + np.arange(words)) % word_count(timing):
            if write:
                held[word] = int.from_bytes(rng.bytes(8), "little")
                written.append(held[word])
            else:
                expected.append(held[word])
    (words,), broken = run_streams(
        memory, [(memory.access, [access(timing, *each) for each in accesses]), (memory.write, written)],
        [memory.read], stall=stall, seed=seed, watch=(memory.broken,), idle=1500)
    return words, expected, {rule for bit, rule in enumerate(RULES) for value, in broken if value >> bit & 1}


def random_accesses(rng, words: int, count: int) -> list[tuple[bool, int, int]]:
    """All is written first, beginning anywhere; then parts are written and read, up to more than all."""
    return [(True, int(rng.integers(words)), words), *(
        (bool(rng.integers(2)), int(rng.integers(words)), int(rng.choice([1, 2, 5, words // 2, words + 3])))
        for _ in range(count))]


@pytest.mark.parametrize(("stall", "seed", "latency"), fast(
    [(0.0, 1, 3), (0.3, 2, 3), (0.9, 3, 2), (0.3, 4, 2), (0.0, 5, 2), (0.9, 6, 3)], 3))
def test_random(stall, seed, latency):
    """Across ends of rows and banks, and from the end of the memory to its beginning."""
    timing = replace(SMALL, cas_latency=latency)
    accesses = random_accesses(np.random.default_rng(seed), word_count(timing), 12)
    words, expected, broken = run(SdramMemory(timing), timing, accesses, stall=stall, seed=seed)
    assert not broken
    assert words == expected


@pytest.mark.parametrize("registers", [1, 2])
def test_registers_in_pins(registers):
    accesses = random_accesses(np.random.default_rng(7), word_count(SMALL), 4)
    words, expected, broken = run(SdramMemory(SMALL, registers=registers), SMALL, accesses, stall=0.3)
    assert not broken
    assert words == expected


def test_wrong_delay():
    """Words that are taken a cycle too early are others."""
    memory = SdramMemory(SMALL, registers=1, read_delay=1)
    words, expected, broken = run(memory, SMALL, [(True, 0, 8), (False, 0, 8)])
    assert not broken
    assert len(words) == len(expected)
    assert words != expected


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "frequency"), [*enumerate(CLOCKS, 1)])
def test_random_with_real_times(frequency, seed):
    """With whole rows and all of the pause."""
    timing = ulx3s(frequency, rows=4)
    rng = np.random.default_rng(seed)
    accesses = [(True, int(rng.integers(2048)), 2048), (False, int(rng.integers(2048)), 600),
                (True, int(rng.integers(2048)), 300), (False, int(rng.integers(2048)), 2048)]
    words, expected, broken = run(SdramMemory(timing), timing, accesses, stall=0.05 * seed, seed=seed)
    assert not broken
    assert words == expected


def shares(timing: SdramTiming, count: int) -> tuple[float, float]:
    """Of the bus's cycles, those in which words are transferred from the first to the last one of ``count`` words
    written, and read."""
    memory = SdramMemory(timing)
    at = {"write": [], "read": []}

    async def ask(ctx):
        for write in True, False:
            ctx.set(memory.access.payload, {"write": write, "address": 100, "words": count})
            ctx.set(memory.access.valid, 1)
            await ctx.tick().until(memory.access.ready)
        ctx.set(memory.access.valid, 0)

    async def watch(ctx):
        ctx.set(memory.write.valid, 1)
        ctx.set(memory.read.ready, 1)
        cycle = 0
        while len(at["read"]) < count:
            _, _, write, read, broken = await ctx.tick().sample(memory.write.ready, memory.read.valid, memory.broken)
            assert not broken
            cycle += 1
            for name, moved in ("write", write), ("read", read):
                if moved:
                    at[name].append(cycle)

    simulator = Simulator(memory)
    simulator.add_clock(1e-6)
    simulator.add_testbench(ask)
    simulator.add_testbench(watch)
    simulator.run()
    return tuple(4 * (count - 1) / (at[name][-1] - at[name][0]) for name in ("write", "read"))


@pytest.mark.parametrize(("frequency", "share"), [(CLOCKS[0], 0.977), (CLOCKS[1], 0.978)])
def test_share_of_the_bus(frequency, share):
    """Over several rows and refreshes, as few as there are and as many."""
    timing = ulx3s(frequency, rows=4, pause=20, first_refreshes=2)
    written, read = shares(timing, 1600)
    assert min(written, read) >= share
    # No data can go over the bus while rows are closed, refreshed and opened.
    assert max(written, read) <= 1 - 12 / timing.refresh_interval


def test_reader_that_waits_for_ever():
    """Refreshes go on, and all words are there when it begins to take them."""
    memory, taken = SdramMemory(SMALL), []

    async def bench(ctx):
        await ctx.tick().until(memory.ready)
        ctx.set(memory.write.valid, 1)
        for write in True, False:
            ctx.set(memory.access.payload, {"write": write, "address": 60, "words": 40})
            ctx.set(memory.access.valid, 1)
            await ctx.tick().until(memory.access.ready)
        ctx.set(memory.access.valid, 0)
        await ctx.tick().repeat(6 * SMALL.refresh_interval)
        assert not ctx.get(memory.broken)
        ctx.set(memory.read.ready, 1)
        while len(taken) < 40:
            _, _, valid, word = await ctx.tick().sample(memory.read.valid, memory.read.payload)
            if valid:
                taken.append(word)
        assert not ctx.get(memory.broken)

    async def count(ctx):
        number = 0
        async for _, _, taken_now in ctx.tick().sample(memory.write.ready):
            number += taken_now
            ctx.set(memory.write.payload, number)

    simulator = Simulator(memory)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.add_testbench(count, background=True)
    simulator.run()
    assert taken == list(range(40))


MOST = {"activate_to_column": 3, "precharge": 4, "active": 8, "row_cycle": 12, "refresh_cycle": 8, "banks_apart": 4,
        "write_recovery": 2, "mode_cycle": 4}
"""Cycles that the controller leaves, for the chips' times at 100 MHz."""

BUSY = [(True, 0, 64), *((bool(number % 2), 0, 1) for number in range(60)), (False, 0, 64)]
"""So that a refresh falls due at any moment, and a bank is opened again as soon as may be."""


@pytest.mark.parametrize("name", MOST)
def test_as_tight_as_said(name):
    """A memory that asks for what the controller gives is content, and one that asks for a cycle more refuses."""
    assert run(SdramMemory(SMALL, replace(SMALL, **{name: MOST[name]})), SMALL, BUSY)[2] == set()
    assert run(SdramMemory(SMALL, replace(SMALL, **{name: MOST[name] + 1})), SMALL, BUSY)[2] == {name}


def test_refresh_too_late():
    """The model misses a refresh that comes later than it asks."""
    late = replace(SMALL, refresh_interval=SMALL.refresh_interval // 2)
    assert run(SdramMemory(SMALL, late), SMALL, BUSY)[2] == {"refresh_interval"}


def test_pause_too_short():
    assert "start" in run(SdramMemory(SMALL, replace(SMALL, pause=1000)), SMALL, BUSY[:1])[2]


def test_strictest():
    """What serves all chips gives each one its time, and a maker's alone less."""
    every = strictest(*ULX3S_CHIPS)
    for chip in ULX3S_CHIPS:
        for field in fields(SdramChip):
            ours, own = getattr(every, field.name), getattr(chip, field.name)
            assert field.name == "name" or (ours <= own if field.name == "retention" else ours >= own)
    assert every.activate_to_column == AS4C16M16SA.activate_to_column
    assert every.active == MT48LC16M16A2.active
    assert every.first_refreshes == IS42S16160G.first_refreshes
    with pytest.raises(ConfigError, match="differ in their columns"):
        strictest(AS4C16M16SA, replace(IS42S16160G, columns=1024))


@pytest.mark.parametrize(("frequency", "latency", "message"), [
    (100_000_000, 4, "a CAS latency of 4 is none of an SDRAM's"),
    (110_000_000, 2, "runs at 100 MHz at most with a CAS latency of 2, not at 110 MHz"),
    (150_000_000, 3, "runs at 133.333 MHz at most with a CAS latency of 3, not at 150 MHz"),
])
def test_clock_too_fast(frequency, latency, message):
    with pytest.raises(ConfigError, match=message):
        SdramTiming.of(strictest(*ULX3S_CHIPS), frequency, latency)


def test_times_beyond_slots():
    with pytest.raises(ConfigError, match="write_recovery takes 3 cycles of this clock, and the controller gives it 2"):
        require_slots(replace(SMALL, write_recovery=3))
