# SPDX-License-Identifier: Apache-2.0
"""Memories that are written by a stream: each beat in its place, as late as is said, and read as late as is said."""

import pytest
from amaranth.sim import Simulator
from tepal.hdl.memories.streamed import StreamedRom

WIDTH, DEPTH, BEAT = 40, 8, 16


@pytest.mark.parametrize("late", [0, 1, 2])
@pytest.mark.parametrize(("registers", "relays"), [(0, 0), (1, 0), (1, 1), (0, 2)])
def test_written_and_read(registers, relays, late):
    """A word of three beats, the last one narrower, while another one is read."""
    rom = StreamedRom(WIDTH, DEPTH, registers, relays, late=late, beat=BEAT)
    beats = [0x1234, 0x5678, 0x9a]

    async def bench(ctx):
        for word in range(DEPTH):
            for beat, value in enumerate(beats):
                ctx.set(rom.write_address, word)
                ctx.set(rom.write_data, value + word)
                ctx.set(rom.write_enable, 1 << beat)
                await ctx.tick()
        ctx.set(rom.write_enable, 0)
        await ctx.tick().repeat(late + 1 + registers + relays)

        # The word that is read from now on changes `late` cycles after its new beat comes, and then its way begins.
        ctx.set(rom.write_data, 0xffff)
        ctx.set(rom.write_address, 0)
        ctx.set(rom.write_enable, 0b010)
        await ctx.tick()
        ctx.set(rom.write_enable, 0)
        for _ in range(late + registers):
            await ctx.tick()
        assert ctx.get(rom.data) == 0x9a_5678_1234
        await ctx.tick()
        assert ctx.get(rom.data) == 0x9a_ffff_1234

        for word in range(DEPTH):
            ctx.set(rom.address, word)
            await ctx.tick().repeat(1 + registers + relays)
            given = [value + word for value in beats] if word else [0x1234, 0xffff, 0x9a]
            assert ctx.get(rom.data) == sum(value << BEAT * beat for beat, value in enumerate(given))

    simulator = Simulator(rom)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
