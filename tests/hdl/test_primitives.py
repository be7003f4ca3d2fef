# SPDX-License-Identifier: Apache-2.0
"""Memories, delays and sums, cycle by cycle."""

import numpy as np
import pytest
from amaranth import Module, Signal, signed
from stepping import trace
from tepal.hdl.memories.block import PART, Ram, ReplayRom, Rom, part_depths
from tepal.hdl.primitives import bits_for, delay
from tepal.hdl.units.arithmetic import LogicMultiplier, pipelined_sum

CYCLES = 60


@pytest.mark.parametrize(("count", "bits"), [(1, 1), (2, 1), (3, 2), (4, 2), (5, 3), (256, 8), (257, 9)])
def test_bits_for(count, bits):
    assert bits_for(count) == bits


@pytest.mark.parametrize("cycles", [0, 1, 3])
def test_delay(cycles):
    rng = np.random.default_rng(cycles)
    values = rng.integers(-8, 8, CYCLES)
    m = Module()
    signal = Signal(signed(4))
    rows = trace(m, CYCLES, lambda cycle: [(signal, values[cycle])], [delay(m, signal, cycles, name="late")])
    assert [value for value, in rows[cycles:]] == list(values[:CYCLES - cycles])


@pytest.mark.parametrize("terms", [1, 2, 3, 7, 9])
def test_pipelined_sum(terms):
    values = np.random.default_rng(terms).integers(-128, 128, (CYCLES, terms))
    values[:2] = [[-128], [127]]
    m = Module()
    signals = [Signal(signed(8)) for _ in range(terms)]
    total, latency = pipelined_sum(m, [(signal, shift) for shift, signal in enumerate(signals)], name="total")
    assert latency == (terms - 1).bit_length()
    rows = trace(m, CYCLES, lambda cycle: zip(signals, values[cycle], strict=True), [total])
    assert [value for value, in rows[latency:]] == list((values[:CYCLES - latency] << np.arange(terms)).sum(axis=1))


@pytest.mark.parametrize("joined", [False, True])
@pytest.mark.parametrize(("a", "b"), [(8, 8), (5, 7), (1, 1), (21, 2), (3, 11)])
def test_logic_multiplier(a, b, joined):
    rng = np.random.default_rng(a * b)
    values = np.stack([rng.integers(-1 << a - 1, 1 << a - 1, CYCLES), rng.integers(0, 1 << b, CYCLES)], axis=1)
    values[:3] = [(-1 << a - 1, (1 << b) - 1), ((1 << a - 1) - 1, (1 << b) - 1), (-1 << a - 1, 0)]
    multiplier = LogicMultiplier(a, b, joined=joined)
    rows = trace(multiplier, CYCLES, lambda cycle: zip((multiplier.a, multiplier.b), values[cycle], strict=True),
                 [multiplier.product])
    latency = LogicMultiplier.latency(b, joined)
    assert [value for value, in rows[latency:]] == list(values[:CYCLES - latency].prod(axis=1))


@pytest.mark.parametrize(("width", "granularity", "depth", "registers"), [
    (8, None, 5, 0), (24, 8, 5, 1), (32, 16, 5, 0), (8, 4, 2 * PART + 3, 1), (4, None, PART, 1),
    (32, 8, 1500, 1), (60, None, 700, 1)])
def test_ram(width, granularity, depth, registers):
    rng = np.random.default_rng(width)
    ram = Ram(width, depth, granularity, registers)
    parts = len(ram.write_enable)
    step = width // parts
    # Few enough to meet again, from all parts of the memory.
    places = rng.choice(depth, 5, replace=False).tolist()
    writes = [(int(rng.choice(places)), int(rng.integers(1 << width)), int(rng.integers(1 << parts)))
              for _ in range(CYCLES)]
    # Never the word that is being written.
    reads = [int(rng.choice([place for place in places if place != address])) for address, _, _ in writes]
    rows = trace(ram, CYCLES, lambda cycle: [
        *zip((ram.write_address, ram.write_data, ram.write_enable), writes[cycle], strict=True),
        (ram.read_address, reads[cycle])], [ram.read_data])
    contents, expected = [0] * depth, []
    for (address, word, enable), read in zip(writes, reads, strict=True):
        expected.append(contents[read])
        mask = sum(((1 << step) - 1) << step * part for part in range(parts) if enable >> part & 1)
        contents[address] = contents[address] & ~mask | word & mask
    late = 1 + registers
    assert [value for value, in rows[late:]] == expected[:-late]


@pytest.mark.parametrize(("width", "depth", "registers"), [
    (8, 5, 0), (8, 5, 2), (8, PART + 1, 1), (8, 3 * PART, 1), (62, 1350, 1), (62, 2 * PART + 1500, 1)])
def test_rom(width, depth, registers):
    words = np.random.default_rng(depth).integers(1 << width, size=depth).tolist()
    rom = Rom("rom", width, words, registers)
    order = np.random.default_rng(0).integers(len(words), size=CYCLES)
    rows = trace(rom, CYCLES, lambda cycle: [(rom.address, order[cycle])], [rom.data])
    late = 1 + registers
    assert [value for value, in rows[late:]] == [words[i] for i in order[:-late]]


@pytest.mark.parametrize(("width", "depth", "depths"), [
    (128, 1350, [1024, 326]), (72, 4608, [2048, 2048, 512]), (128, 1990, [1990]), (64, 600, [600]), (8, 1, [1])])
def test_parts_take_the_fewest_blocks(width, depth, depths):
    assert part_depths(width, depth, 1) == depths
    assert part_depths(width, depth, 0) == [min(PART, depth - first) for first in range(0, depth, PART)]


@pytest.mark.parametrize("passages", [[1], [1, 1, 1], [4, 1, 7, 2]])
def test_replay_rom(passages):
    """Passages replayed at random, and all of them over and over, with pauses."""
    rng = np.random.default_rng(len(passages))
    rom = ReplayRom("rom", 8, [3 * i + 1 for i in range(sum(passages))])
    starts = np.cumsum([0, *passages])
    steps, expected = [], []
    passage = position = 0
    for _ in range(8 * CYCLES):
        expected.append(3 * (starts[passage] + position) + 1)
        step = {"advance": 0, "rewind": int(rng.integers(2)), "commit": 0, "restart": 0}
        if rng.random() < 0.7:
            step = {"advance": 1, "rewind": 0, "commit": 0, "restart": 0}
            position += 1
            if position == passages[passage]:
                position = 0
                again, last = rng.random() < 0.5, passage == len(passages) - 1
                # As the feeder does it: ``rewind`` at every end, ``commit`` over it, ``restart`` over both.
                step |= {"rewind": 1, "commit": int(not again), "restart": int(not again and last)}
                if not again:
                    passage = 0 if last else passage + 1
        steps.append(step)
    idle = {name: 0 for name in steps[0]}
    rows = trace(rom, len(steps) + 1, lambda cycle: [
        (getattr(rom, name), value) for name, value in (steps[cycle - 1] if cycle else idle).items()], [rom.data])
    late = ReplayRom.latency(0)
    assert [value for value, in rows[1 + late:]] == expected[:-late]
