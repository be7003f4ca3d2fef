# SPDX-License-Identifier: Apache-2.0
"""Two regions as one memory: one is read while the other one is written."""

import numpy as np
import pytest
from amaranth.sim import Simulator
from tepal.hdl.memories.single_port import RegionRam


@pytest.mark.parametrize("registers", [0, 1])
@pytest.mark.parametrize(("base", "depth"), [(16, 16), (16, 20), (16, 32), (8, 40), (1, 9), (16, 40), (4, 14)])
def test_regions(base, depth, registers):
    """Also where the upper region is the larger one, and where there is none."""
    rng = np.random.default_rng(base * depth)
    dut = RegionRam(16, depth, base, 8, registers)
    contents = rng.integers(0, 1 << 16, depth).tolist()

    async def read(ctx, address):
        ctx.set(dut.read_address, address)
        for _ in range(1 + registers):
            await ctx.tick()
        assert ctx.get(dut.read_data) == contents[address]

    async def bench(ctx):
        for address, word in enumerate(contents):
            ctx.set(dut.write_address, address)
            ctx.set(dut.write_data, word)
            ctx.set(dut.write_enable, 3)
            await ctx.tick()
        ctx.set(dut.write_enable, 0)
        for address in range(depth):
            await read(ctx, address)
        lower, upper = range(min(base, depth)), range(base, depth)
        for _ in range(40 if upper else 0):
            written, seen = (lower, upper) if rng.random() < 0.5 else (upper, lower)
            address, part, word = int(rng.choice(written)), int(rng.integers(2)), int(rng.integers(1 << 16))
            ctx.set(dut.write_address, address)
            ctx.set(dut.write_data, word)
            ctx.set(dut.write_enable, 1 << part)
            await read(ctx, int(rng.choice(seen)))
            mask = 0xFF << 8 * part
            contents[address] = contents[address] & ~mask | word & mask
        ctx.set(dut.write_enable, 0)
        for address in range(depth):
            await read(ctx, address)

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
