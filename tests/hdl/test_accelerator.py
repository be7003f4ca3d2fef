"""The accelerator as a whole, in Amaranth's own simulator: small engines, frames of a wrong length, and a reset at any
moment, however short."""

from dataclasses import replace

import numpy as np
import pytest
from amaranth import ClockDomain, Module
from amaranth.sim import Simulator
from frames import run_frames
from networks import fast, pointwise, random_case, wide_case
from tepal.hdl import Accelerator, EngineConfig, Schedule
from tepal.hdl.answer import Status, pack_answer
from tepal.sim import CycleModel, golden


@pytest.mark.parametrize(("requantiser_cycles", "lane_cycles", "single_port", "pipelined"), [
    (3, 4, True, False), (4, 3, True, True), (5, 1, False, False), (1, 3, True, True), (1, 1, False, False)])
@pytest.mark.parametrize("seed", fast([0, 1], 1))
def test_small_engine(seed, requantiser_cycles, lane_cycles, single_port, pipelined):
    """Serial requantisers, memories with one port whose weights come from outside, and few registers: the golden
    model's bytes, at the cycle model's cycles."""
    network, config, pictures = random_case(seed, 2)
    check(network, replace(config, requantisers=1, requantiser_cycles=requantiser_cycles, lane_cycles=lane_cycles,
                           single_port=single_port, pipelined=pipelined), pictures)


@pytest.mark.parametrize("seed", fast([0, 1, 4, 5, 8, 13, *sorted({*range(24)} - {0, 1, 4, 5, 8, 13})], 4))
def test_wide_input(seed):
    """Vectors, images under a single window, pixels of many channels."""
    network, config, pictures = wide_case(seed, 2)
    if seed % 6 == 0:
        config = replace(config, requantisers=1, requantiser_cycles=4, lane_cycles=3, single_port=True)
    check(network, config, pictures)


def check(network, config, pictures):
    """Two frames without a pause: the golden model's bytes, at the cycle model's cycles."""
    schedule = Schedule(network, config)
    taken, offered, sent = run_frames(schedule, pictures)
    model = CycleModel(schedule)
    expected = golden.run(network, pictures).reshape(2, -1)
    assert bytes(taken) == b"".join(pack_answer(logits, frame) for frame, logits in enumerate(expected))
    per_frame = len(taken) // 2
    assert offered[0] - sent[len(sent) // 2 - 1] == model.compute_cycles
    assert offered[per_frame] - offered[0] == model.frames(2)[1].first_byte - model.frames(2)[0].first_byte


def wrong_lengths(rng, images: np.ndarray, beat: int) -> tuple[list[tuple[bytes, bool]], list[bytes], bool]:
    """Frames of ``images``, some of them cut short or too long, for a sender that marks their ends.

    (beats with last, what each answer's trailer has behind the index, whether there was an error), the first frame
    always right."""
    beats, trailers, abandoned, error = [], [], 0, False
    for number, image in enumerate(images):
        content = image.tobytes()
        size = len(content) // beat
        count = size if not number else int(rng.choice([size, size, size, max(1, size - rng.integers(1, 5)),
                                                        max(1, size // 2), size + rng.integers(1, 5), 2 * size]))
        content += rng.bytes(len(content))
        beats += [(content[place * beat:(place + 1) * beat], place == count - 1) for place in range(count)]
        error |= count != size
        if count < size:
            abandoned = Status.ABANDONED
            continue
        trailers.append((number, (Status.TOO_LONG if count > size else 0) | abandoned))
        abandoned = 0
    return beats, trailers, error


@pytest.mark.parametrize("stall", fast([0.5, 0.0], 1))
@pytest.mark.parametrize("seed", fast([None, 17, 9, 33], 2))
def test_frames_of_a_wrong_length(seed, stall):
    """Each whole frame is answered right, with its own number and status, though up to three are under way."""
    rng = np.random.default_rng(seed)
    network, config, pictures = random_case(seed, 16) if seed is not None else (
        pointwise((2, 3, 2), 3), EngineConfig(2, 3, 2, (1, 1)), rng.integers(-128, 128, (16, 2, 3, 2), np.int8))
    schedule = Schedule(network, config)
    beats, trailers, error = wrong_lengths(rng, pictures, config.input_bytes)
    assert error
    logits = golden.run(network, pictures)
    expected = [pack_answer(logits[number], number, status) for number, status in trailers]
    dut, packets, packet = Accelerator(schedule), [], bytearray()

    async def send(ctx):
        for content, last in beats:
            while rng.random() < stall:
                await ctx.tick()
            ctx.set(dut.s_axis_tvalid, 1)
            ctx.set(dut.s_axis_tdata, int.from_bytes(content, "little"))
            ctx.set(dut.s_axis_tlast, last)
            await ctx.tick().until(dut.s_axis_tready)
            ctx.set(dut.s_axis_tvalid, 0)

    async def receive(ctx):
        assert not ctx.get(dut.frame_error)
        for _ in range((len(pictures) + 1) * CycleModel(schedule).cycles * (1 if not stall else 4)):
            ctx.set(dut.m_axis_tready, rng.random() >= stall)
            _, _, valid, ready, data, last = await ctx.tick().sample(
                dut.m_axis_tvalid, dut.m_axis_tready, dut.m_axis_tdata, dut.m_axis_tlast)
            if valid and ready:
                packet.append(data)
                if last:
                    packets.append(bytes(packet))
                    packet.clear()
        assert ctx.get(dut.frame_error)

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(send, background=True)
    simulator.add_testbench(receive)
    simulator.run()
    assert packets == expected
    assert not packet


@pytest.mark.parametrize("seed", fast([17, 9, 33], 1))
@pytest.mark.parametrize(("part", "length"), [(0.3, 1), (0.6, 1), (0.9, 3), ("answer", 1), ("answer", 3)])
def test_reset_within_a_frame(seed, part, length):
    """The next frame is right: nothing of the first one arrives after it but the byte that ends an answer cut off."""
    network, config, images = random_case(seed, 2)
    schedule = Schedule(network, config)
    dut, domain = Accelerator(schedule), ClockDomain("sync")
    model = CycleModel(schedule)
    moment = model.frames(1)[0].last_byte - 1 if part == "answer" else int(model.cycles * part)
    frames = images.reshape(2, -1).view(np.uint8).reshape(2, -1, config.input_bytes)
    packets, packet = [], bytearray()

    async def bench(ctx):
        frame = beat = 0
        ctx.set(dut.m_axis_tready, 1)
        for cycle in range(moment + 3 * model.cycles + 100):
            ctx.set(domain.rst, moment <= cycle < moment + length)
            if cycle == moment:
                frame, beat = 1, 0
            offered = beat < len(frames[frame]) and not moment <= cycle < moment + length
            ctx.set(dut.s_axis_tvalid, offered)
            if offered:
                ctx.set(dut.s_axis_tdata, int.from_bytes(frames[frame][beat].tobytes(), "little"))
            _, _, ready, valid, data, last = await ctx.tick().sample(
                dut.s_axis_tready, dut.m_axis_tvalid, dut.m_axis_tdata, dut.m_axis_tlast)
            assert not (moment <= cycle < moment + length and valid)
            beat += offered and ready
            if valid:
                packet.append(data)
                if last:
                    packets.append(bytes(packet))
                    packet.clear()

    m = Module()
    m.domains += domain
    m.submodules.dut = dut
    simulator = Simulator(m)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    first, second = (pack_answer(logits, 0) for logits in golden.run(network, images))
    assert packets[-1] == second
    assert not packet
    if part == "answer":
        assert packets[:-1] == [first[:-2] + bytes([Status.CUT_OFF])]
    else:
        assert packets[:-1] in ([], [packets[0][:-1] + bytes([Status.CUT_OFF])])
        assert first.startswith(b"".join(packets[:-1])[:-1])
