"""The loader stores the windows that the first convolution wants; the streamer sends all and the argmax."""

from dataclasses import replace

import numpy as np
import pytest
from amaranth.sim import Simulator
from tepal.hdl.lower import InputLayout, least_word
from tepal.hdl.ports import InputLoader, OutputStreamer

SEED = 7


def expected_words(layout: InputLayout, image: np.ndarray) -> np.ndarray:
    height, width, _ = layout.shape
    right = max(0, (layout.columns - 1) * layout.stride + layout.kernel - layout.left - width)
    padded = np.pad(image, ((0, 0), (layout.left, right), (0, 0)), constant_values=layout.zero_point)
    windows = np.stack([padded[:, c * layout.stride:c * layout.stride + layout.kernel].reshape(height, -1)
                        for c in range(layout.columns)], axis=1)
    windows = windows.reshape(-1, windows.shape[2])
    if layout.parts == 1:
        return windows
    # Several words: bytes behind a window may be anything, here what the row goes on with.
    return np.pad(windows, ((0, 0), (0, layout.parts * layout.word - windows.shape[1]))).reshape(-1, layout.word)


def stored_bytes(layout: InputLayout) -> np.ndarray:
    """Which bytes of all words are a window's: bool (words, bytes of a word)."""
    places = np.arange(layout.parts * layout.word_bytes) < layout.window_bytes
    return np.tile(places.reshape(layout.parts, -1), (layout.depth // layout.parts, 1))


def assert_stored(layout: InputLayout, memory: dict[int, int], image: np.ndarray):
    assert sorted(memory) == list(range(layout.depth))
    words = np.array([list(memory[place].to_bytes(layout.word_bytes, "little")) for place in range(layout.depth)],
                     np.uint8)
    own = stored_bytes(layout)
    assert (words[own] == expected_words(layout, image).view(np.uint8)[own]).all()


@pytest.mark.parametrize("stall", [0.0, 0.5])
@pytest.mark.parametrize(("layout", "beat"), [
    (InputLayout((5, 6, 1), 3, 3, 2, 1, -3), 1),
    (InputLayout((5, 6, 1), 3, 3, 2, 0, 7), 2),
    (InputLayout((4, 4, 3), 4, 3, 1, 1, -128), 4),
    (InputLayout((2, 9, 2), 3, 2, 3, 0, 5), 3),
    (InputLayout((3, 4, 1), 1, 2, 3, 0, 5), 4),
    (InputLayout((3, 4, 5), 4, 1, 1, 0, 0), 1),
    # Windows of nothing but padding, before the row's first beat.
    (InputLayout((3, 1, 1), 3, 2, 2, 5, 40), 1),
    (InputLayout((2, 3, 2), 4, 1, 2, 5, 7), 3),
    # Several words to a window: vectors, whose last word is full, has a byte, and lacks one; pixels; windows apart from
    # each other, and not to the row's end; windows that overlap by less than a word.
    (InputLayout((1, 1, 24), 1, 1, 1, 0, 9, word=8), 4),
    (InputLayout((1, 1, 25), 1, 1, 1, 0, 9, word=8), 1),
    (InputLayout((1, 1, 640), 1, 1, 1, 0, 9, word=9), 4),
    (InputLayout((2, 1, 23), 1, 1, 1, 0, 9, word=8), 1),
    (InputLayout((2, 3, 10), 3, 1, 1, 0, 9, word=4), 3),
    (InputLayout((2, 9, 2), 2, 3, 5, 0, 5, word=4), 2),
    (InputLayout((2, 8, 1), 3, 4, 2, 0, 5, word=2), 4),
])
def test_loader(layout, beat, stall):
    rng = np.random.default_rng(SEED)
    loader = InputLoader(layout, beat)
    images = rng.integers(-128, 128, (2, *layout.shape), dtype=np.int8)
    memory: dict[int, int] = {}

    async def feed(ctx):
        for image in images:
            beats = image.reshape(-1).view(np.uint8).reshape(-1, beat)
            for position, bytes_ in enumerate(beats):
                while rng.random() < stall:
                    ctx.set(loader.valid, 0)
                    await ctx.tick()
                ctx.set(loader.valid, 1)
                ctx.set(loader.data, int.from_bytes(bytes_.tobytes(), "little"))
                ctx.set(loader.last, position == len(beats) - 1)
                await ctx.tick().until(loader.ready)
            ctx.set(loader.valid, 0)
            await ctx.tick().until(loader.full)
            ctx.set(loader.release, 1)
            await ctx.tick()
            ctx.set(loader.release, 0)

    async def watch(ctx):
        async for _, _, enable, address, word in ctx.tick().sample(loader.enable, loader.address, loader.word):
            if enable:
                memory[address] = word

    simulator = Simulator(loader)
    simulator.add_clock(1e-6)
    simulator.add_testbench(feed)
    simulator.add_testbench(watch, background=True)
    simulator.run()

    assert_stored(layout, memory, images[1])


@pytest.mark.parametrize("seed", range(40))
def test_loader_at_any_geometry(seed):
    check_geometry(np.random.default_rng(seed), word=None)


@pytest.mark.parametrize("seed", range(40))
def test_loader_of_several_words(seed):
    check_geometry(np.random.default_rng(seed), word=1 + seed % 5)


def check_geometry(rng, word):
    """One image without a pause: what is stored, and when; windows in words of ``word`` bytes, if they may be."""
    kernel, stride, left, right = (int(rng.integers(*ends)) for ends in ((1, 5), (1, 4), (0, 7), (0, 6)))
    if word:
        left, right, stride = 0, 0, max(stride, kernel)
    shape = (int(rng.integers(1, 4)), max(int(rng.integers(1, 8)), kernel - left - right), int(rng.integers(1, 5)))
    layout = InputLayout(shape, (shape[1] + left + right - kernel) // stride + 1, kernel, stride, left, 5)
    if word:
        layout = replace(layout, word=int(least_word(layout, word)))
        assert layout.word == min(word, layout.window_bytes)
    beat = int(rng.choice([n for n in range(1, 5) if shape[1] * shape[2] % n == 0]))
    image = rng.integers(-128, 128, shape, dtype=np.int8)
    beats = [int.from_bytes(data.tobytes(), "little") for data in image.reshape(-1, beat)]
    loader = InputLoader(layout, beat)
    memory, accepted = {}, []

    async def bench(ctx):
        cycle, full = 0, 0
        while not full:
            valid = len(accepted) < len(beats)
            ctx.set(loader.valid, valid)
            ctx.set(loader.data, beats[min(len(accepted), len(beats) - 1)])
            ctx.set(loader.last, len(accepted) == len(beats) - 1)
            _, _, ready, enable, address, word, full = await ctx.tick().sample(
                loader.ready, loader.enable, loader.address, loader.word, loader.full)
            if enable:
                memory[address] = word
            if valid and ready:
                accepted.append(cycle)
            cycle += 1
        assert InputLoader.timing(layout, beat) == (
            accepted[0], accepted[-1] - accepted[0] + 1, cycle - 1 - accepted[-1])

    simulator = Simulator(loader)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    assert_stored(layout, memory, image)


@pytest.mark.parametrize(("layout", "words"), [
    (InputLayout((2, 4, 1), 4, 1, 1, 0, 0), range(10, 18)),
    # Cut short within a window.
    (InputLayout((2, 1, 4), 1, 1, 1, 0, 0, word=2), [10 | 11 << 8, 12 | 13 << 8, 14 | 15 << 8, 16 | 17 << 8]),
])
def test_loader_abandons_a_frame_cut_short(layout, words):
    loader = InputLoader(layout, 1)
    memory = {}

    async def feed(ctx):
        for frame in (range(3), range(10, 18)):
            for position, value in enumerate(frame):
                ctx.set(loader.valid, 1)
                ctx.set(loader.data, value)
                ctx.set(loader.last, position == len(frame) - 1)
                await ctx.tick().until(loader.ready)
        ctx.set(loader.valid, 0)
        await ctx.tick().until(loader.full)

    async def watch(ctx):
        async for _, _, enable, address, word in ctx.tick().sample(loader.enable, loader.address, loader.word):
            if enable:
                memory[address] = word

    simulator = Simulator(loader)
    simulator.add_clock(1e-6)
    simulator.add_testbench(feed)
    simulator.add_testbench(watch, background=True)
    simulator.run()
    assert memory == dict(enumerate(words))


@pytest.mark.parametrize("stall", [0.0, 0.5])
@pytest.mark.parametrize(("shape", "lanes"), [((1, 1, 10), 4), ((2, 3, 3), 2), ((1, 1, 1), 8), ((1, 1, 300), 8)])
def test_streamer(shape, lanes, stall):
    rng = np.random.default_rng(SEED)
    values = rng.integers(-128, 128, shape, dtype=np.int8)
    values.flat[rng.integers(values.size, size=2)] = 127
    groups = -(-shape[2] // lanes)
    padded = np.full((*shape[:2], groups * lanes), 99, np.int8)
    padded[..., :shape[2]] = values
    words = [int.from_bytes(row.tobytes(), "little") for row in padded.reshape(-1, lanes)]
    streamer = OutputStreamer(shape, lanes)
    taken = []

    async def memory(ctx):
        async for _, _, address in ctx.tick().sample(streamer.address):
            ctx.set(streamer.word, words[address] if address < len(words) else 0)

    async def bench(ctx):
        for _ in range(2):
            assert ctx.get(streamer.free)
            ctx.set(streamer.claim, 1)
            await ctx.tick()
            ctx.set(streamer.claim, 0)
            assert not ctx.get(streamer.free)
            ctx.set(streamer.done, 1)
            await ctx.tick()
            ctx.set(streamer.done, 0)
            taken.clear()
            while not taken or not taken[-1] >> 8:
                ctx.set(streamer.ready, int(rng.random() >= stall))
                _, _, data, last, valid, ready = await ctx.tick().sample(
                    streamer.data, streamer.last, streamer.valid, streamer.ready)
                if valid and ready:
                    taken.append(last << 8 | data)
            ctx.set(streamer.ready, 0)
            best = int(values.astype(int).argmax())
            assert [byte & 0xFF for byte in taken] == [*values.reshape(-1).view(np.uint8), best & 0xFF, best >> 8]

    simulator = Simulator(streamer)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.add_process(memory)
    simulator.run()
