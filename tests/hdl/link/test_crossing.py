# SPDX-License-Identifier: Apache-2.0
"""Bytes between two clocks, faster and slower, and a whole design whose line has a clock of its own."""

from fractions import Fraction

import numpy as np
import pytest
from amaranth.sim import Simulator
from networks import pointwise
from tepal.boards.flow.top import Top
from tepal.hdl import EngineConfig, Schedule
from tepal.hdl.answer import pack_answer
from tepal.hdl.link.crossing import Crossing
from tepal.hdl.link.protocol import Kind, Packet, Splitter
from tepal.hdl.link.uart import LINE_BITS
from tepal.sim import golden

SEED = 5


@pytest.mark.parametrize("reader_period", [0.13, 0.5, 0.97, 1.0, 1.4, 3.3])
def test_crossing(reader_period):
    """Every byte once and in order, with either side waiting at random."""
    dut, rng = Crossing("writer", "reader", 8), np.random.default_rng(SEED)
    sent, received = rng.integers(0, 256, 300).tolist(), []

    async def write(ctx):
        for value in sent:
            for _ in range(rng.integers(3) * rng.integers(4)):
                await ctx.tick("writer")
            ctx.set(dut.i.payload, value)
            ctx.set(dut.i.valid, 1)
            await ctx.tick("writer").until(dut.i.ready)
            ctx.set(dut.i.valid, 0)
            ctx.set(dut.i.payload, int(rng.integers(256)))

    async def read(ctx):
        idle = 0
        while len(received) < len(sent):
            ctx.set(dut.o.ready, int(rng.integers(2)))
            _, _, valid, ready, payload = await ctx.tick("reader").sample(dut.o.valid, dut.o.ready, dut.o.payload)
            idle += 1
            assert idle < 300, "an item was lost, and this would never end"
            if valid and ready:
                received.append(payload)
                idle = 0

    simulator = Simulator(dut)
    simulator.add_clock(1e-6, domain="writer")
    simulator.add_clock(reader_period * 1e-6, phase=0.11e-6, domain="reader")
    simulator.add_testbench(write)
    simulator.add_testbench(read)
    simulator.run()
    assert received == sent


@pytest.mark.slow
def test_line_with_a_clock_of_its_own():
    """Two images, one close behind the other, with a design a little faster than its line."""
    network, bit, ratio = pointwise((2, 2, 2), 3), 4, Fraction(4, 3)
    top = Top(Schedule(network, EngineConfig(2, 2, 2, (1, 1))), Fraction(bit), 64, line="line", slowest=ratio)
    images = np.random.default_rng(SEED).integers(-128, 128, (2, *network.input_shape), np.int8)
    logits = golden.run(network, images)
    line = b"".join(Packet(Kind.INFER, tag, image.tobytes()).encode() for tag, image in enumerate(images))
    packets, splitter = [], Splitter(10000)

    async def send(ctx):
        for byte in line:
            for level in [0, *((byte >> i) & 1 for i in range(8)), 1]:
                ctx.set(top.rx, level)
                await ctx.tick("line").repeat(bit)

    async def receive(ctx):
        while len(packets) < len(images):
            await ctx.tick("line").until(~top.tx)
            await ctx.tick("line").repeat(bit // 2)
            bits = []
            for _ in range(LINE_BITS - 1):
                await ctx.tick("line").repeat(bit)
                bits.append(ctx.get(top.tx))
            assert bits.pop() == 1
            byte = sum(bit << place for place, bit in enumerate(bits))
            packets.extend(Packet.decode(encoded) for encoded in splitter.feed(bytes([byte])))

    simulator = Simulator(top)
    simulator.add_clock(1e-6, domain="line")
    simulator.add_clock(float(1e-6 / ratio), phase=0.3e-6, domain="sync")
    simulator.add_testbench(send, background=True)
    simulator.add_testbench(receive)
    simulator.run_until(1e-6 * bit * LINE_BITS * (2 * len(line) + 300))
    assert packets == [Packet(Kind.RESULT, tag, pack_answer(row, tag)) for tag, row in enumerate(logits)]
