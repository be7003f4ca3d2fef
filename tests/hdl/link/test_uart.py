# SPDX-License-Identifier: Apache-2.0
"""The serial line, bit by bit: any rate, lines that are a little off it, noise and breaks."""

from fractions import Fraction

import numpy as np
import pytest
from amaranth import Module
from amaranth.sim import Simulator
from stepping import trace
from tepal.hdl.config import ConfigError
from tepal.hdl.link.uart import LINE_BITS, UartReceiver, UartTransmitter, bit_time

SEED = 11
BITS = [Fraction(4), Fraction(25), Fraction(25, 6), Fraction(15625, 1800), Fraction(25, 2)]
rng = np.random.default_rng


def waveform(values, cycles: float, idle: float = 0.0) -> list[int]:
    """The line's level in each clock cycle, with bits of ``cycles`` cycles and ``idle`` of them between bytes."""
    levels, end = [1] * 7, 7.0
    for value in values:
        for bit in [0, *((value >> i) & 1 for i in range(8)), 1]:
            end += cycles
            levels += [bit] * (round(end) - len(levels))
        end += idle * cycles
        levels += [1] * (round(end) - len(levels))
    return levels + [1] * round(3 * cycles)


def receive(levels: list[int], cycles: Fraction) -> list[int]:
    dut = UartReceiver(cycles)
    rows = trace(dut, len(levels) + 8, lambda cycle: [(dut.rx, levels[min(cycle, len(levels) - 1)])],
                 [dut.o.valid, dut.o.payload])
    return [value for valid, value in rows if valid]


@pytest.mark.parametrize("cycles", BITS)
@pytest.mark.parametrize("off", [-0.03, 0.0, 0.03])
def test_receiver(cycles, off):
    if cycles < 5 and off:
        off /= 3  # a quarter of a bit is a cycle: there is less room
    values = [0, 255, 0x55, 0xAA, *rng(SEED).integers(0, 256, 8).tolist()]
    assert receive(waveform(values, float(cycles) * (1 + off)), cycles) == values
    assert receive(waveform(values, float(cycles) * (1 + off), 1.3), cycles) == values


def test_receiver_ignores_glitches_and_breaks():
    cycles, byte = Fraction(16), waveform([0x5A], 16)
    glitch = [1] * 20 + [0] * 5 + [1] * 200
    broken = [1] * 20 + [0] * 16 * 25 + [1] * 200
    no_stop = [*waveform([0x00], 16)[:7 + 16 * 9], *[0] * 16, *[1] * 200]
    for noise in (glitch, broken, no_stop):
        assert receive(noise + byte, cycles) == [0x5A]


@pytest.mark.parametrize("cycles", BITS)
def test_transmitter(cycles):
    """Exact on average, an edge less than a cycle late; bytes back to back, and the receiver understands it."""
    values = [0, 255, 0x55, *rng(SEED).integers(0, 256, 8).tolist()]
    dut = UartTransmitter(cycles)
    sent, levels = iter(values), []

    async def bench(ctx):
        value = next(sent)
        ctx.set(dut.i.valid, 1)
        for _ in range(int(cycles * LINE_BITS * (len(values) + 1))):
            ctx.set(dut.i.payload, value if value is not None else 0)
            ctx.set(dut.i.valid, value is not None)
            _, _, ready, tx = await ctx.tick().sample(dut.i.ready, dut.tx)
            levels.append(tx)
            if ready and value is not None:
                value = next(sent, None)

    m = Module()
    m.submodules.dut = dut
    simulator = Simulator(m)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    start = levels.index(0)
    for number, value in enumerate(values):
        for bit, level in enumerate([0, *((value >> i) & 1 for i in range(8)), 1]):
            begin = start + (number * LINE_BITS + bit) * cycles
            seen = levels[int(np.ceil(begin)) + 1:int(np.floor(begin + cycles)) - 1]
            assert set(seen) <= {level}, (number, bit)
    assert receive([1] * 5 + levels + [1] * 50, cycles) == values


def test_bit_time():
    assert bit_time(25_000_000, 1_000_000) == 25
    assert bit_time(25_000_000, 3_000_000) == Fraction(25, 3)
    with pytest.raises(ConfigError) as caught:
        bit_time(12_000_000, 3_000_001)
    assert str(caught.value) == ("a serial line of 3,000,001 baud needs a clock of 12,000,004 Hz or more, not "
                                 "12,000,000 Hz")
