# SPDX-License-Identifier: Apache-2.0
"""The loader stores the windows that the first convolution wants, whatever the length of a frame."""

from dataclasses import replace

import numpy as np
import pytest
from amaranth.sim import Simulator
from tepal.hdl.units.input_layout import InputLayout, least_word
from tepal.hdl.units.loader import InputLoader

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


# -- frames of a wrong length --------------------------------------------------------------------------

LAYOUTS = [
    (InputLayout((2, 4, 1), 4, 1, 1, 0, 0), 1),
    # Windows are left to store behind each row's last beat.
    (InputLayout((3, 2, 2), 5, 2, 1, 2, -7), 2),
    (InputLayout((1, 5, 1), 2, 3, 2, 0, 3), 1),
    # Windows of nothing but padding, before the row's first beat.
    (InputLayout((2, 3, 2), 4, 1, 2, 5, 7), 3),
    # Several words to a window, the last one not full.
    (InputLayout((2, 1, 7), 1, 1, 1, 0, 0, word=2), 1),
]
layouts = pytest.mark.parametrize(("layout", "beat"), LAYOUTS)
MARKED, UNMARKED = True, False


def load(layout: InputLayout, beat: int, frames: list[tuple[int, bool]], *, stall: float = 0.0, hold: int = 0):
    """Send a loader ``frames``, (beats, whether the last one has ``last``), and keep each one that it makes ``full``
    for ``hold`` cycles.

    (answers, error, cycle in which each beat went, cycles of release): an answer is what is stored, and what of
    :data:`FRAME` stands beside it.  What is stored is told as the number of the first of the beats it was made from,
    None if it isn't what a loader makes of as many beats as belong to an image."""
    rng = np.random.default_rng(SEED)
    size = layout.shape[0] * layout.shape[1] * layout.shape[2] // beat
    lasts = [marked and place == count - 1 for count, marked in frames for place in range(count)]
    content = rng.integers(-128, 128, (len(lasts), beat), dtype=np.int8)
    own = stored_bytes(layout)
    images = {expected_words(layout, content[begin:begin + size].reshape(layout.shape))[own].tobytes(): begin
              for begin in range(len(lasts) - size + 1)}
    loader = InputLoader(layout, beat)
    answers, went, released, memory = [], [], [], {}

    async def bench(ctx):
        cycle = idle = held = 0
        while idle < 100 + hold:
            valid = len(went) < len(lasts) and rng.random() >= stall
            ctx.set(loader.valid, valid)
            # What stands beside no valid means nothing.
            beat_now = content[len(went)].tobytes() if valid else rng.bytes(beat)
            ctx.set(loader.data, int.from_bytes(beat_now, "little"))
            ctx.set(loader.last, lasts[len(went)] if valid else int(rng.integers(2)))
            release = ctx.get(loader.full) and held >= hold
            ctx.set(loader.release, release)
            full, frame, ready = ctx.get(loader.full), ctx.get(loader.frame), ctx.get(loader.ready)
            if ctx.get(loader.enable):
                memory[ctx.get(loader.address)] = ctx.get(loader.word).to_bytes(layout.word_bytes, "little")
            if full and not held:
                stored = np.array([list(memory[place]) for place in sorted(memory)], np.uint8)[own].tobytes()
                answers.append((images.get(stored), frame.number, frame.too_long, frame.abandoned))
                memory.clear()
            elif full:
                assert (frame.number, frame.too_long, frame.abandoned) == answers[-1][1:]
            held = held + 1 if full and not release else 0
            if release:
                released.append(cycle)
            if valid and ready:
                went.append(cycle)
            idle = 0 if valid or full or len(went) < len(lasts) else idle + 1
            await ctx.tick()
            cycle += 1
        answers.append(ctx.get(loader.error))

    simulator = Simulator(loader)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    assert len(went) == len(lasts)
    return answers[:-1], answers[-1], went, released


def beats_of(layout, beat) -> int:
    return layout.shape[0] * layout.shape[1] * layout.shape[2] // beat


@layouts
@pytest.mark.parametrize("stall", [0.0, 0.5])
@pytest.mark.parametrize("marked", [MARKED, UNMARKED])
def test_right_lengths(layout, beat, stall, marked):
    size = beats_of(layout, beat)
    answers, error, _, _ = load(layout, beat, [(size, marked)] * 3, stall=stall, hold=3)
    assert (answers, error) == ([(0, 0, 0, 0), (size, 1, 0, 0), (2 * size, 2, 0, 0)], 0)


@layouts
@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_frame_cut_short_at_every_beat(layout, beat, stall):
    size, run, expected, begin = beats_of(layout, beat), [], [], 0
    for cut in range(1, size):
        number = len(run)
        run += [(size, MARKED), (cut, MARKED), (size, MARKED)]
        expected += [(begin, number, 0, 0), (begin + size + cut, number + 2, 0, 1)]
        begin += 2 * size + cut
    answers, error, _, _ = load(layout, beat, run, stall=stall)
    assert (answers, error) == (expected, 1)


@layouts
@pytest.mark.parametrize(("stall", "hold"), [(0.0, 0), (0.5, 7), (0.0, 100)])
def test_frame_too_long(layout, beat, stall, hold):
    """Its image is right, the rest is dropped, and both frames beside it are as if it had been right."""
    size, run, expected, surplus, begin = beats_of(layout, beat), [], [], [], 0
    for more in 1, 2, size - 1, size, size + 1, 3 * size:
        number = len(run)
        run += [(size, MARKED), (size + more, MARKED)]
        expected += [(begin, number, 0, 0), (begin + size, number + 1, 1, 0)]
        surplus.append((number + 1, range(begin + 2 * size, begin + 2 * size + more)))
        begin += 2 * size + more
    answers, error, went, released = load(layout, beat, [*run, (size, MARKED)], stall=stall, hold=hold)
    assert (answers, error) == ([*expected, (begin, len(run), 0, 0)], 1)
    for number, beats in surplus if not stall else ():
        # A beat a cycle, and the engine need not be done before.
        cycles = [went[beat] for beat in beats]
        assert cycles == list(range(went[beats[0] - 1] + 1, went[beats[0] - 1] + 1 + len(beats)))
        assert hold < 100 or cycles[-1] < released[number]


@layouts
@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_wrong_lengths_in_a_row(layout, beat, stall):
    size = beats_of(layout, beat)
    short, right, long = (size - 1, MARKED), (size, MARKED), (size + 2, MARKED)
    run = [short, long, long, short, short, right, long]
    answers, error, _, _ = load(layout, beat, run, stall=stall, hold=5)
    starts = np.cumsum([0, *(count for count, _ in run)]).tolist()
    assert (answers, error) == (
        [(starts[1], 1, 1, 1), (starts[2], 2, 1, 0), (starts[5], 5, 0, 1), (starts[6], 6, 1, 0)], 1)


@layouts
def test_first_frame_too_long(layout, beat):
    """Nothing has yet told that the sender marks ends: what is too much begins another frame, and is abandoned, unless
    it is a whole frame."""
    size = beats_of(layout, beat)
    for more in {1, size - 1}:
        answers, error, _, _ = load(layout, beat, [(size + more, MARKED), (size, MARKED), (size, MARKED)])
        assert (answers, error) == (
            [(0, 0, 0, 0), (size + more, 2, 0, 1), (2 * size + more, 3, 0, 0)], 1), more
    answers, error, _, _ = load(layout, beat, [(2 * size, MARKED), (size, MARKED)])
    assert (answers, error) == ([(0, 0, 0, 0), (size, 1, 0, 0), (2 * size, 2, 0, 0)], 0)


@layouts
@pytest.mark.parametrize("before", [UNMARKED, MARKED])
def test_back_in_step_without_last(layout, beat, before):
    """Two beats with last, wherever a frame has come to, whether or not ends were marked before."""
    size, run, expected, begin, number = beats_of(layout, beat), [], [], 0, 0
    for under_way in range(size):
        run += [(size, before), (under_way, UNMARKED), (1, MARKED), (1, MARKED), (size, UNMARKED), (size, UNMARKED)]
        expected.append((begin, number, 0, 0))
        begin += size
        if under_way == size - 1:
            expected.append((begin, number + 1, 0, 0))
        begin += under_way + 2
        expected += [(begin, number + 3, 0, 1), (begin + size, number + 4, 0, 0)]
        begin, number = begin + 2 * size, number + 5
    answers, error, _, _ = load(layout, beat, run)
    assert (answers, error) == (expected, 1)


@layouts
def test_back_in_step_from_a_frame_too_long(layout, beat):
    size = beats_of(layout, beat)
    answers, error, _, _ = load(layout, beat, [(size, MARKED), (2 * size + 1, UNMARKED), (1, MARKED), (1, MARKED),
                                               (size, UNMARKED), (size, UNMARKED)])
    assert (answers, error) == (
        [(0, 0, 0, 0), (size, 1, 1, 0), (3 * size + 3, 3, 0, 1), (4 * size + 3, 4, 0, 0)], 1)


def test_frames_of_one_beat():
    layout = InputLayout((1, 2, 1), 1, 2, 1, 0, 0)
    run = [(1, UNMARKED), (1, UNMARKED), (1, MARKED), (1, MARKED), (3, MARKED), (1, MARKED)]
    answers, error, _, _ = load(layout, 2, run)
    assert (answers, error) == ([(0, 0, 0, 0), (1, 1, 0, 0), (2, 2, 0, 0), (3, 3, 0, 0), (4, 4, 1, 0), (7, 5, 0, 0)], 1)


def test_number_wraps():
    layout = InputLayout((1, 2, 1), 1, 2, 1, 0, 0)
    answers, error, _, _ = load(layout, 1, [(2, MARKED), (1, MARKED)] * 200)
    assert ([number for _, number, _, _ in answers], error) == ([number % 256 for number in range(0, 400, 2)], 1)
