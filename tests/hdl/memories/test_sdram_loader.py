# SPDX-License-Identifier: Apache-2.0
"""Weights into a memory: right ones, damaged ones, a faulty memory, loads that break off; and the memory's test."""

import numpy as np
import pytest
from amaranth import Module
from amaranth.lib import wiring
from amaranth.sim import Simulator
from flash import FlashModel
from networks import fast
from sdram import SMALL, SdramMemory
from tepal.hdl import ConfigError
from tepal.hdl.memories.flash import HEADER, MAGIC, FlashLoader
from tepal.hdl.memories.sdram import word_count
from tepal.hdl.memories.sdram_loader import SdramLoader, require_weights

BASE = 40
WEIGHTS = np.random.default_rng(8).bytes(8 * 11)


class Bench:
    """A loader with a memory, of which a pin may be broken."""

    def __init__(self, low: tuple[str, int] = ("", 0)):
        self.memory, self.loader = SdramMemory(SMALL, low=low), SdramLoader(SMALL, WEIGHTS, BASE)
        self.module = m = Module()
        m.submodules.memory, m.submodules.loader = self.memory, self.loader
        wiring.connect(m, self.loader.access, self.memory.access)
        wiring.connect(m, self.loader.write, self.memory.write)
        wiring.connect(m, self.memory.read, self.loader.read)

    def run(self, bench) -> None:
        """Run ``bench`` once the memory is initialised."""
        async def process(ctx):
            await ctx.tick().until(self.memory.ready)
            await bench(ctx)
            assert not ctx.get(self.memory.broken)

        simulator = Simulator(self.module)
        simulator.add_clock(1e-6)
        simulator.add_testbench(process)
        simulator.run()

    async def load(self, ctx, weights: bytes) -> None:
        loader = self.loader
        for place, word in enumerate(np.frombuffer(weights, "<u2")):
            ctx.set(loader.load_tdata, int(word))
            ctx.set(loader.load_tfirst, int(place == 0))
            ctx.set(loader.load_tvalid, 1)
            await ctx.tick()
            ctx.set(loader.load_tvalid, 0)
            ctx.set(loader.load_tdata, 0)
            await ctx.tick().repeat(19)

    async def check(self, ctx) -> bool:
        ctx.set(self.loader.loaded, 1)
        await ctx.tick().until(self.loader.run | self.loader.failed)
        ctx.set(self.loader.loaded, 0)
        # So it stays.
        end = ctx.get(self.loader.run), ctx.get(self.loader.failed)
        for _ in range(300):
            await ctx.tick()
            assert (ctx.get(self.loader.run), ctx.get(self.loader.failed)) == end
        return bool(end[0])

    async def read(self, ctx, address: int, words: int) -> list[int]:
        loader, taken = self.loader, []
        ctx.set(loader.user_access.payload, {"write": 0, "address": address, "words": words})
        ctx.set(loader.user_access.valid, 1)
        await ctx.tick().until(loader.user_access.ready)
        ctx.set(loader.user_access.valid, 0)
        ctx.set(loader.user_read.ready, 1)
        for _ in range(words):
            word, = await ctx.tick().sample(loader.user_read.payload).until(loader.user_read.valid)
            taken.append(word)
        return taken


def test_good():
    """Only who waits until they are there reads them."""
    bench = Bench()

    async def body(ctx):
        ctx.set(bench.loader.user_access.valid, 1)
        await bench.load(ctx, WEIGHTS)
        assert not ctx.get(bench.loader.user_access.ready)
        assert not ctx.get(bench.loader.run)
        ctx.set(bench.loader.user_access.valid, 0)
        assert await bench.check(ctx)
        assert await bench.read(ctx, BASE, len(WEIGHTS) // 8) == np.frombuffer(WEIGHTS, "<u8").tolist()

    bench.run(body)


@pytest.mark.parametrize("place", fast([41, 0, len(WEIGHTS) - 1], 1))
def test_damaged(place):
    """Refused; a load that breaks off is forgotten, and what comes as it should at last is taken."""
    bench = Bench()
    spoilt = WEIGHTS[:place] + bytes([WEIGHTS[place] ^ 4]) + WEIGHTS[place + 1:]

    async def body(ctx):
        await bench.load(ctx, spoilt)
        assert not await bench.check(ctx)
        await bench.load(ctx, WEIGHTS[:30])
        assert not ctx.get(bench.loader.failed)
        await bench.load(ctx, WEIGHTS)
        assert await bench.check(ctx)
        assert await bench.read(ctx, BASE, 3) == np.frombuffer(WEIGHTS, "<u8").tolist()[:3]

    bench.run(body)


@pytest.mark.parametrize(("low", "found", "holds"), [
    (("", 0), False, True), (("dq_o", 5), True, False), (("dq_i", 15), True, False), (("a", 3), True, False),
    (("a", 0), True, True)])
def test_of_the_memory(low, found, holds):
    """A line of data, of columns or rows that is always low is found, and a good memory found good.  Weights are
    refused if such a memory does not hold them; some it does, if their words all lie elsewhere."""
    bench = Bench(low)

    async def body(ctx):
        loader = bench.loader
        ctx.set(loader.test, 1)
        await ctx.tick().until(loader.tested)
        assert ctx.get(loader.test_failed) == found
        assert not ctx.get(loader.ready)
        ctx.set(loader.test, 0)
        await ctx.tick().until(loader.ready)
        await bench.load(ctx, WEIGHTS)
        assert await bench.check(ctx) == holds

    bench.run(body)


@pytest.mark.slow
@pytest.mark.parametrize(("attempts", "good"), [(1, True), (9, False)])
def test_from_flash(attempts, good):
    """What the flash memory's loader hands on, which reads again what it finds damaged."""
    image = HEADER.pack(MAGIC, len(WEIGHTS), bytes(16)) + WEIGHTS
    spoilt = image[:50] + bytes([image[50] ^ 1]) + image[51:]
    memory = FlashModel({64: image}, bad={64: spoilt}, good_after=attempts)
    flash, bench = FlashLoader(image, 64), Bench()
    loader = bench.loader
    bench.module.submodules.flash = flash
    bench.module.d.comb += [loader.load_tdata.eq(flash.load_tdata), loader.load_tvalid.eq(flash.load_tvalid),
                            loader.load_tfirst.eq(flash.load_tfirst), loader.loaded.eq(flash.run)]

    async def body(ctx):
        while not (ctx.get(loader.run) or ctx.get(flash.failed)):
            ctx.set(flash.cipo, memory.step(ctx.get(flash.cs), ctx.get(flash.clk), ctx.get(flash.copi)))
            await ctx.tick()
        assert bool(ctx.get(loader.run)) == good
        if good:
            assert await bench.read(ctx, BASE, 11) == np.frombuffer(WEIGHTS, "<u8").tolist()

    bench.run(body)


@pytest.mark.parametrize(("weights", "base", "message"), [
    (b"", 0, "no whole words"), (bytes(12), 0, "12 bytes of weights are no whole words of 8 bytes"),
    (bytes(80), 60, "80 bytes of weights don't fit into the SDRAM, which has room for 32"),
])
def test_require_weights(weights, base, message):
    assert word_count(SMALL) == 64
    with pytest.raises(ConfigError, match=message):
        require_weights(SMALL, weights, base)
