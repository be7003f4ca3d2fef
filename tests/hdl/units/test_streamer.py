# SPDX-License-Identifier: Apache-2.0
"""The streamer sends all results and the trailer, and ends what a reset cut off."""

import numpy as np
import pytest
from amaranth import ClockDomain, Module
from amaranth.sim import Simulator
from tepal.hdl.answer import Status, Trailer, pack_answer
from tepal.hdl.units.streamer import OutputStreamer

SEED = 7


def words_of(values: np.ndarray, lanes: int) -> list[int]:
    """int8 (height, width, channels) as words of an output memory, with something else where there are no channels."""
    padded = np.full((*values.shape[:2], -(-values.shape[2] // lanes) * lanes), 99, np.int8)
    padded[..., :values.shape[2]] = values
    return [int.from_bytes(row.tobytes(), "little") for row in padded.reshape(-1, lanes)]


class StreamerBench:
    """An OutputStreamer with a memory before it, whose words are ``words``, and a reset that tests may set."""

    def __init__(self, shapes, lanes: int, **options):
        self.dut = OutputStreamer(shapes, lanes, **options)
        self.words: list[int] = []
        self.domain = ClockDomain("sync")

    def run(self, bench):
        async def memory(ctx):
            # Also while in reset.
            while True:
                address = ctx.get(self.dut.address)
                await ctx.tick()
                ctx.set(self.dut.word, self.words[address] if address < len(self.words) else 0)

        m = Module()
        m.domains += self.domain
        m.submodules.dut = self.dut
        simulator = Simulator(m)
        simulator.add_clock(1e-6)
        simulator.add_testbench(bench)
        simulator.add_testbench(memory, background=True)
        simulator.run()

    async def begin(self, ctx, number: int = 0, too_long: int = 0, abandoned: int = 0):
        """Claim the memory for a frame, and write its last result."""
        assert ctx.get(self.dut.free)
        ctx.set(self.dut.frame, {"number": number, "too_long": too_long, "abandoned": abandoned})
        ctx.set(self.dut.claim, 1)
        await ctx.tick()
        ctx.set(self.dut.claim, 0)
        # The next frame is there already.
        ctx.set(self.dut.frame, {"number": number + 1, "too_long": not too_long, "abandoned": not abandoned})
        assert not ctx.get(self.dut.free)
        ctx.set(self.dut.done, 1)
        await ctx.tick()
        ctx.set(self.dut.done, 0)

    async def cycle(self, ctx, ready: bool) -> int | None:
        """One cycle: what was taken in it, last << 8 | byte."""
        ctx.set(self.dut.ready, ready)
        valid, taken = ctx.get(self.dut.valid), ctx.get(self.dut.last) << 8 | ctx.get(self.dut.data)
        await ctx.tick()
        return taken if valid and ready else None


def answer(values: np.ndarray, number: int, status: int) -> list[int]:
    """As :meth:`StreamerBench.cycle` gives it."""
    content = pack_answer(values, number, status)
    return [byte | (place == len(content) - 1) << 8 for place, byte in enumerate(content)]


def random_values(rng, shape) -> np.ndarray:
    values = rng.integers(-128, 128, shape, dtype=np.int8)
    values.flat[rng.integers(values.size, size=2)] = 127
    return values


@pytest.mark.parametrize("pipelined", [True, False])
@pytest.mark.parametrize("stall", [0.0, 0.5])
@pytest.mark.parametrize(("shape", "lanes"), [((1, 1, 10), 4), ((2, 3, 3), 2), ((1, 1, 1), 8), ((1, 1, 300), 8),
                                              ((1, 2, 7), 3)])
def test_streamer(shape, lanes, stall, pipelined):
    """Frames of which each forgets the one before: the second has nothing that is as large as anything in the first."""
    rng = np.random.default_rng(SEED)
    high, low = random_values(rng, shape), rng.integers(-128, -1, shape, dtype=np.int8)
    high[high < 0] = 0
    streamer = StreamerBench([shape], lanes, pipelined=pipelined)

    async def bench(ctx):
        for number, (values, flags) in enumerate([
                (high, (0, 0)), (low, (1, 0)), (random_values(rng, shape), (0, 1)), (low, (1, 1))]):
            streamer.words[:] = words_of(values, lanes)
            await streamer.begin(ctx, 254 + number & 0xFF, *flags)
            taken = []
            while not taken or not taken[-1] >> 8:
                taken += [byte for byte in [await streamer.cycle(ctx, rng.random() >= stall)] if byte is not None]
            assert taken == answer(values, 254 + number & 0xFF, flags[0] | flags[1] << 1)

    streamer.run(bench)


@pytest.mark.parametrize("closes", [True, False])
def test_memory_is_kept_until_the_last_byte_is_taken(closes):
    shape, lanes = (1, 1, 5), 2
    values = random_values(np.random.default_rng(SEED), shape)
    streamer = StreamerBench([shape], lanes, closes=closes)
    streamer.words[:] = words_of(values, lanes)

    async def bench(ctx):
        await streamer.begin(ctx, 7)
        wanted = answer(values, 7, 0)
        for place, byte in enumerate(wanted):
            while not ctx.get(streamer.dut.valid):
                assert await streamer.cycle(ctx, True) is None
            # Nobody takes it for longer than a frame: all that is to be sent stays as it is.
            for _ in range(100 if place >= len(wanted) - Trailer.BYTES else 3):
                assert await streamer.cycle(ctx, False) is None
                assert ctx.get(streamer.dut.valid)
                assert not ctx.get(streamer.dut.free), place
            assert await streamer.cycle(ctx, True) == byte
        assert ctx.get(streamer.dut.free)

    streamer.run(bench)


@pytest.mark.parametrize(("length", "stall", "patience"), [(1, 0.0, 0), (1, 0.0, 40), (4, 0.5, 0)])
def test_reset_within_an_answer(length, stall, patience):
    """In each cycle: what was begun is ended by one byte, what was not leaves no trace, and the next answer is whole.
    Nothing is valid during a reset; and however long nobody takes the byte, the next frame waits for it."""
    shape, lanes = (1, 2, 3), 2
    rng = np.random.default_rng(SEED)
    values = [random_values(rng, shape) for _ in range(2)]
    wanted = answer(values[0], 5, 0)
    closing = 0x100 | Status.CUT_OFF
    streamer, lengths = StreamerBench([shape], lanes), set()

    async def bench(ctx):
        for moment in range(40):
            streamer.words[:] = words_of(values[0], lanes)
            await streamer.begin(ctx, 5)
            taken = [await streamer.cycle(ctx, rng.random() >= stall) for _ in range(moment)]
            ctx.set(streamer.domain.rst, 1)
            for _ in range(length):
                assert not ctx.get(streamer.dut.valid)
                assert await streamer.cycle(ctx, True) is None
            ctx.set(streamer.domain.rst, 0)
            streamer.words[:] = words_of(values[1], lanes)
            taken = [byte for byte in taken if byte is not None]
            lengths.add(cut := len(taken))
            is_open = 0 < cut < len(wanted)
            for _ in range(patience):
                assert await streamer.cycle(ctx, False) is None
                assert ctx.get(streamer.dut.free) == (not is_open)
            while not ctx.get(streamer.dut.free):
                taken += [byte for byte in [await streamer.cycle(ctx, True)] if byte is not None]
            assert taken == wanted[:cut] + [closing] * is_open
            await streamer.begin(ctx, 0, abandoned=1)
            taken.clear()
            while not taken or not taken[-1] >> 8:
                taken += [byte for byte in [await streamer.cycle(ctx, True)] if byte is not None]
            assert taken == answer(values[1], 0, Status.ABANDONED)

    streamer.run(bench)
    # Without stalls, it was cut behind every byte.
    assert stall or lengths == set(range(len(wanted) + 1))


def test_reset_where_the_receiver_is_reset_as_well():
    shape, lanes = (1, 2, 3), 2
    values = random_values(np.random.default_rng(SEED), shape)
    streamer = StreamerBench([shape], lanes, closes=False)
    streamer.words[:] = words_of(values, lanes)

    async def bench(ctx):
        await streamer.begin(ctx)
        for _ in range(8):
            await streamer.cycle(ctx, True)
        ctx.set(streamer.domain.rst, 1)
        await ctx.tick()
        ctx.set(streamer.domain.rst, 0)
        for _ in range(50):
            assert await streamer.cycle(ctx, True) is None
        await streamer.begin(ctx, 3)
        taken = []
        while not taken or not taken[-1] >> 8:
            taken += [byte for byte in [await streamer.cycle(ctx, True)] if byte is not None]
        assert taken == answer(values, 3, 0)

    streamer.run(bench)


@pytest.mark.parametrize("stall", [0.0, 0.5])
@pytest.mark.parametrize(("shapes", "lanes"), [
    ([(1, 1, 10), (2, 3, 3)], 4), ([(2, 1, 1), (1, 1, 1), (1, 2, 9)], 2), ([(1, 1, 8), (1, 1, 3), (1, 1, 8)], 8)])
def test_several_outputs(shapes, lanes, stall):
    """One behind the other, and one index of the largest of all, whichever output it is in."""
    rng = np.random.default_rng(SEED)
    streamer = StreamerBench(shapes, lanes)
    first, length = OutputStreamer.timing(shapes, lanes)

    async def bench(ctx):
        for number in range(2 * len(shapes)):
            results = [rng.integers(-128, 100, shape, dtype=np.int8) for shape in shapes]
            results[number % len(shapes)].flat[-1] = 127
            streamer.words[:] = [word for values in results for word in words_of(values, lanes)]
            await streamer.begin(ctx, number)
            taken, cycles = [], []
            while not taken or not taken[-1] >> 8:
                cycles.append(await streamer.cycle(ctx, stall == 0 or rng.random() >= stall))
                taken += [byte for byte in cycles[-1:] if byte is not None]
            assert taken == answer(np.concatenate([values.ravel() for values in results]), number, 0)
            if not stall:
                # The bench begins to count in the cycle after ``done``.
                assert cycles.index(taken[0]) == first - 1
                assert len(cycles) == first + length

    streamer.run(bench)
