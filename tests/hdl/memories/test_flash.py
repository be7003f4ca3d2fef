# SPDX-License-Identifier: Apache-2.0
"""The loader against a model of a flash memory: good images, bad ones, none, and what is right at a later attempt."""

import struct

import numpy as np
import pytest
from amaranth.sim import Simulator
from flash import FlashModel
from networks import fast, random_case
from tepal.hdl import Schedule
from tepal.hdl.memories.flash import HEADER, MAGIC, FlashLoader
from tepal.hdl.plan.flash_image import flash_image
from tepal.quant import digest

OFFSET = 0x012345
WEIGHTS = np.random.default_rng(6).bytes(22)
IMAGE = HEADER.pack(MAGIC, len(WEIGHTS), bytes(range(16))) + WEIGHTS
EXPECTED = list(struct.unpack(f"<{len(WEIGHTS) // 2}H", WEIGHTS))
WAKE, READ = 0xAB, 0x03


def load(cipo) -> tuple[bool, list[list[int]]]:
    """(whether the weights are there, the words of each attempt); ``cipo(cs, clk, copi)`` is the memory."""
    dut = FlashLoader(IMAGE, OFFSET)
    words: list[list[int]] = []
    ended = []
    once = dut.cycles(IMAGE)

    async def bench(ctx):
        for cycle in range(dut.ATTEMPTS * once + 1):
            ctx.set(dut.cipo, cipo(ctx.get(dut.cs), ctx.get(dut.clk), ctx.get(dut.copi)))
            if ctx.get(dut.load_tvalid):
                if ctx.get(dut.load_tfirst):
                    words.append([])
                words[-1].append(ctx.get(dut.load_tdata))
            if ctx.get(dut.run) or ctx.get(dut.failed):
                ended.append(ctx.get(dut.run))
                assert cycle % once == 0
                # So it stays, and the memory is left alone.
                end = ctx.get(dut.run), ctx.get(dut.failed), 0, 0
                assert end[0] != end[1]
                for _ in range(2 * dut.REST):
                    assert (ctx.get(dut.run), ctx.get(dut.failed), ctx.get(dut.cs), ctx.get(dut.clk)) == end
                    await ctx.tick()
                return
            await ctx.tick()

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    assert ended, "it came to no end"
    return bool(ended[0]), words


def spoilt(place: int) -> bytes:
    """The image with a bit of a byte changed."""
    return IMAGE[:place] + bytes([IMAGE[place] ^ 0x10]) + IMAGE[place + 1:]


def test_good():
    flash = FlashModel({OFFSET: IMAGE})
    assert load(flash.step) == (True, [EXPECTED])
    assert flash.commands == [WAKE, READ]


@pytest.mark.parametrize("place", fast([
    0, HEADER.size, len(IMAGE) - 1, len(MAGIC), HEADER.size - 1, HEADER.size + len(WEIGHTS) // 2], 3))
def test_damaged(place):
    """A byte of the magic, the length, the identity, and of the weights, the last one too."""
    flash = FlashModel({OFFSET: spoilt(place)})
    good, words = load(flash.step)
    assert not good
    assert flash.commands == [WAKE, READ] * FlashLoader.ATTEMPTS
    assert len(words) == FlashLoader.ATTEMPTS


@pytest.mark.parametrize("contents", [{}, {OFFSET - 1: IMAGE}, {OFFSET: IMAGE[:-1]}])
def test_missing(contents):
    """An erased memory, an image at another place, one that was not written to its end."""
    assert not load(FlashModel(contents).step)[0]


@pytest.mark.parametrize("level", [0, 1])
def test_no_memory(level):
    assert not load(lambda *pins: level)[0]


@pytest.mark.parametrize("wrong", range(1, FlashLoader.ATTEMPTS))
def test_right_at_last(wrong):
    """Whatever was loaded before is loaded again."""
    flash = FlashModel({OFFSET: IMAGE}, bad={OFFSET: spoilt(-1)}, good_after=wrong)
    good, words = load(flash.step)
    assert good
    assert words[-1] == EXPECTED
    assert len(words) == wrong + 1
    assert flash.commands == [WAKE, READ] * (wrong + 1)


def test_wakes_slowly():
    """As slowly as is allowed; a cycle more, and the first bits are missed."""
    assert load(FlashModel({OFFSET: IMAGE}, wake_steps=FlashLoader.REST).step)[0]
    assert not load(FlashModel({OFFSET: IMAGE}, wake_steps=FlashLoader.REST + 70).step)[0]


def test_image():
    """What a hex editor shows, and the weights as the accelerator takes them."""
    network, config, _ = random_case(0, 1)
    schedule = Schedule(network, config)
    image = flash_image(schedule)
    assert HEADER.unpack_from(image) == (b"TEPALWTS", len(image) - HEADER.size, digest(network))
    assert len(image) % 2 == 0
