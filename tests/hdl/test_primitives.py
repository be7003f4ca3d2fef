"""Memories, delays and sums, cycle by cycle."""

import numpy as np
import pytest
from amaranth import Module, Signal, signed
from stepping import trace
from tepal.hdl.primitives import LogicMultiplier, Ram, ReplayRom, Rom, bits_for, delay, pipelined_sum

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
    total, latency = pipelined_sum(m, signals, name="total")
    assert latency == (terms - 1).bit_length()
    rows = trace(m, CYCLES, lambda cycle: zip(signals, values[cycle], strict=True), [total])
    assert [value for value, in rows[latency:]] == list(values[:CYCLES - latency].sum(axis=1))


def test_logic_multiplier():
    values = np.random.default_rng(0).integers(-128, 128, (CYCLES, 2))
    values[:3] = [(-128, -8), (-128, 7), (127, -8)]
    values[:, 1] >>= 4
    multiplier = LogicMultiplier(8, 4)
    rows = trace(multiplier, CYCLES, lambda cycle: zip((multiplier.a, multiplier.b), values[cycle], strict=True),
                 [multiplier.product])
    assert [value for value, in rows] == list(values.prod(axis=1))


@pytest.mark.parametrize(("width", "granularity"), [(8, None), (24, 8), (32, 16)])
def test_ram(width, granularity):
    depth, rng = 5, np.random.default_rng(width)
    ram = Ram(width, depth, granularity)
    parts = len(ram.write_enable)
    step = width // parts
    writes = [(int(rng.integers(depth)), int(rng.integers(1 << width)), int(rng.integers(1 << parts)))
              for _ in range(CYCLES)]
    # Never the word that is being written.
    reads = [(address + int(rng.integers(1, depth))) % depth for address, _, _ in writes]
    rows = trace(ram, CYCLES, lambda cycle: [
        *zip((ram.write_address, ram.write_data, ram.write_enable), writes[cycle], strict=True),
        (ram.read_address, reads[cycle])], [ram.read_data])
    contents, expected = [0] * depth, []
    for (address, word, enable), read in zip(writes, reads, strict=True):
        expected.append(contents[read])
        mask = sum(((1 << step) - 1) << step * part for part in range(parts) if enable >> part & 1)
        contents[address] = contents[address] & ~mask | word & mask
    assert [value for value, in rows[1:]] == expected[:-1]


def test_rom():
    words = [7, 0, 255, 3, 128]
    rom = Rom("rom", 8, words)
    order = np.random.default_rng(0).integers(len(words), size=CYCLES)
    rows = trace(rom, CYCLES, lambda cycle: [(rom.address, order[cycle])], [rom.data])
    assert [value for value, in rows[1:]] == [words[i] for i in order[:-1]]


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
    assert [value for value, in rows[1:]] == expected
