# SPDX-License-Identifier: Apache-2.0
"""Memories that are written by a stream: each beat in its place, as late as is said, and read as late as is said."""

import pytest
from amaranth.back import rtlil
from amaranth.sim import Simulator
from tepal.boards.flow.tools import find
from tepal.hdl.memories.block import Rom
from tepal.hdl.memories.streamed import BEAT as WHOLE
from tepal.hdl.memories.streamed import NARROW_BEAT, ScatteredRam, StreamedRom, beats_of, narrow_beat

WIDTH, DEPTH, BEAT = 40, 8, 16


@pytest.mark.parametrize("late", [0, 1, 2, 3])
@pytest.mark.parametrize(("registers", "relays", "logic"), [
    (0, 0, False), (1, 0, False), (1, 1, False), (0, 2, False), (1, 1, True), (0, 1, True)])
def test_written_and_read(registers, relays, logic, late):
    """A word of three beats, the last one narrower, while another one is read."""
    rom = StreamedRom(WIDTH, DEPTH, registers, relays, late=late, beat=BEAT, logic=logic)
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

        # The word that is read from now on changes `late` cycles after its new beat comes, and then its way begins, on
        # which a memory of logic has no register.
        ctx.set(rom.write_data, 0xffff)
        ctx.set(rom.write_address, 0)
        ctx.set(rom.write_enable, 0b010)
        await ctx.tick()
        ctx.set(rom.write_enable, 0)
        for _ in range(late + (0 if logic else registers)):
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


@pytest.mark.parametrize("granularity", [16, 32, 64])
def test_scattered(granularity):
    """Slices of a word take what is written to them and read of them a cycle later than a memory in one piece."""
    ram = ScatteredRam(64, DEPTH, granularity, registers=1)
    parts = len(ram.write_enable)

    async def bench(ctx):
        wanted = [0] * DEPTH
        for word in range(DEPTH):
            for part in range(parts):
                value = 0x0123_4567_89ab_cdef * (word + 1) + part & (1 << 64) - 1
                mask = (1 << granularity) - 1 << part * granularity
                wanted[word] = wanted[word] & ~mask | value & mask
                ctx.set(ram.write_address, word)
                ctx.set(ram.write_data, value)
                ctx.set(ram.write_enable, 1 << part)
                await ctx.tick()
        ctx.set(ram.write_enable, 0)
        # The last word is in the memory a cycle later, and then its way begins.
        ctx.set(ram.read_address, DEPTH - 1)
        await ctx.tick().repeat(2 + ram.LATENCY)
        assert ctx.get(ram.read_data) == wanted[-1]
        for word in range(DEPTH):
            ctx.set(ram.read_address, word)
            await ctx.tick().repeat(1 + ram.LATENCY)
            assert ctx.get(ram.read_data) == wanted[word - 1]
            await ctx.tick()
            assert ctx.get(ram.read_data) == wanted[word]

    simulator = Simulator(ram)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()


def blocks(bits: int, beat: int) -> int:
    """Of an ECP5, for a memory of each beat."""
    return sum(beats_of(min(beat, bits - begin), NARROW_BEAT) for begin in range(0, bits, beat))


@pytest.mark.parametrize("bits", range(1, 600, 7))
def test_narrow_beats_are_for_fewer_blocks(bits):
    beat = narrow_beat(bits)
    assert blocks(bits, beat) == min(blocks(bits, WHOLE), blocks(bits, NARROW_BEAT))
    assert beat == WHOLE or blocks(bits, beat) < blocks(bits, WHOLE)


@pytest.mark.synthesis
@pytest.mark.parametrize("logic", [False, True])
@pytest.mark.parametrize("make", [lambda logic: StreamedRom(64, 126, 1, logic=logic),
                                  lambda logic: Rom("r", 6, [n * n % 64 for n in range(700)], 1, logic=logic)])
def test_made_of_logic(make, logic, tmp_path):
    """Memories that would leave their blocks nearly empty take none."""
    (tmp_path / "memory.il").write_text(rtlil.convert(make(logic), name="memory", emit_src=False))
    printed = find("yosys").run(["-p", "read_rtlil memory.il; synth_ecp5 -noabc9 -top memory; "
                                       "tee -o count.txt select -count t:DP16KD"], tmp_path)
    assert printed
    count = int((tmp_path / "count.txt").read_text().split()[0])
    assert (count == 0) == logic
