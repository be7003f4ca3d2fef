# SPDX-License-Identifier: Apache-2.0
"""Two regions as one memory: one is read while the other one is written."""

import numpy as np
import pytest
from amaranth.sim import Simulator
from tepal.hdl.memories.single_port import RegionRam


@pytest.mark.parametrize("registers", [0, 1])
@pytest.mark.parametrize(("base", "depth", "regions"), [
    (16, 16, 1), (16, 20, 2), (16, 32, 2), (8, 40, 2), (1, 9, 2), (16, 40, 2), (4, 14, 2),
    (8, 20, 3), (8, 24, 3), (4, 15, 4), (2, 23, 3), (4, 30, 5)])
def test_regions(base, depth, regions, registers):
    """Also where the last region is the largest one, and where there is but one."""
    rng = np.random.default_rng(base * depth)
    dut = RegionRam(16, depth, base, 8, registers, regions)
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
        words = [range(base * each, base * (each + 1)) for each in range(regions - 1)]
        words.append(range(base * (regions - 1), depth))
        for _ in range(40 if regions > 1 else 0):
            written, seen = (words[each] for each in rng.permutation(regions)[:2])
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
