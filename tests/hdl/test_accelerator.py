# SPDX-License-Identifier: Apache-2.0
"""The accelerator as a whole, in Amaranth's own simulator: small engines, frames of a wrong length, and a reset at any
moment, however short."""

from dataclasses import replace

import numpy as np
import pytest
from graphs import graphs
from hypothesis import given, settings
from networks import fast, max_pool_case, pointwise, random_case, uint8_case, wide_case
from tepal.hdl import EngineConfig, Schedule
from tepal.hdl.answer import Status, pack_answer
from tepal.quant import NetworkError
from tepal.sim import CycleModel, golden, run_engine


@pytest.mark.parametrize(("requantiser_cycles", "lane_cycles", "single_port", "pipelined"), [
    (3, 4, True, False), (4, 3, True, True), (5, 1, False, False), (1, 3, True, True), (1, 1, False, False)])
@pytest.mark.parametrize("seed", fast([0, 1], 1))
def test_small_engine(seed, requantiser_cycles, lane_cycles, single_port, pipelined):
    """Serial requantisers, memories with one port whose weights come from outside, and few registers: the golden
    model's bytes, at the cycle model's cycles."""
    network, config, pictures = random_case(seed, 2)
    check(network, replace(config, requantisers=1, requantiser_cycles=requantiser_cycles, lane_cycles=lane_cycles,
                           single_port=single_port, pipelined=pipelined), pictures)


@pytest.mark.parametrize(("seed", "frugal"), fast([*((seed, None) for seed in (*range(3, 12), 15)),
                                                  *((seed, True) for seed in range(100, 107))], 2))
def test_chains(seed, frugal):
    """Convolutions, depthwise layers, pools and fully connected layers in any order, on engines of either kind."""
    check(*random_case(seed, 2, frugal=frugal))


@pytest.mark.parametrize("seed", fast(range(8), 3))
def test_weights_with_zero_points(seed):
    """uint8 weights need nine bits, in the array and in the depthwise engine; engines whose multipliers are shared by
    products that are not added, or have eight bits, refuse them."""
    network, config, pictures = uint8_case(seed, 2)
    check(network, config, pictures)
    if weight_bits(network, config) == 9:
        with pytest.raises(NetworkError, match="need 9 bits in this engine, whose multipliers of 8 x 8 bits take int8"):
            Schedule(network, replace(config, single_port=True))
        with pytest.raises(NetworkError, match="2 products share a multiplier: choose --packing 1"):
            Schedule(network, replace(config, rows=2 * config.rows, packing=2))
        check(network, replace(config, rows=2 * config.rows, packing=2, operands=3), pictures)


@pytest.mark.parametrize("seed", fast([0, 1, 4, 5, 8, 13, 2, 3, 6, 7, 12], 3))
def test_wide_input(seed):
    """Vectors, images under a single window, pixels of many channels."""
    network, config, pictures = wide_case(seed, 2)
    if seed % 6 == 0:
        config = replace(config, requantisers=1, requantiser_cycles=4, lane_cycles=3, single_port=True)
    check(network, config, pictures)


@pytest.mark.parametrize(("network", "config"), [
    # More channel groups than the input memory has words.
    (pointwise((1, 2, 40), 3), EngineConfig(3, 2, 1)),
    # Padding far larger than map and kernel: coordinates.
    (pointwise((1, 2, 3), 2, around=(40, 3, 0, 25), stride=(7, 5)), EngineConfig(2, 2, 2)),
], ids=["groups", "padding"])
def test_corner(network, config):
    """(tests/sim/test_random_networks.py has those that are corners of Verilog too.)"""
    check(network, config, np.random.default_rng(0).integers(-128, 128, (2, *network.input_shape), np.int8))


def weight_bits(network, config) -> int:
    schedule = Schedule(network, config)
    return max(schedule.matrix_weight_bits, schedule.depthwise_weight_bits)


def test_zero_points_take_bits():
    """Nearly all of these cases need nine bits, and none more."""
    bits = [weight_bits(*uint8_case(seed)[:2]) for seed in range(24)]
    assert {*bits} == {8, 9}
    assert bits.count(9) > 16


def check(network, config, pictures):
    """Two frames without a pause: the golden model's bytes, at the cycle model's cycles."""
    schedule = Schedule(network, config)
    run, model = run_engine(schedule, pictures), CycleModel(schedule)
    expected = golden.run(network, pictures)
    assert run.answers == tuple(pack_answer(logits, frame) for frame, logits in enumerate(expected))
    first, second = model.frames(2)
    assert run.cycles_of_bytes[0] - run.cycles_of_beats[len(run.cycles_of_beats) // 2 - 1] == model.in_memory_cycles
    assert run.cycles_of_bytes[len(run.answers[0])] - run.cycles_of_bytes[0] == second.first_byte - first.first_byte


@pytest.mark.parametrize("frugal", [False, True])
@pytest.mark.parametrize("seed", fast(range(8), 1))
def test_max_pools(seed, frugal):
    """Sums and largest values in one network, or largest values alone, on either kind of engine."""
    network, config, pictures = max_pool_case(seed, 2, frugal=frugal)
    check(network, config, pictures)


def wrong_lengths(rng, images: np.ndarray, beat: int) -> tuple[list[bytes], list[tuple[int, int]]]:
    """Frames of ``images``, some of them cut short or too long: (these, what each answer's trailer has behind the
    index), the first frame always right."""
    frames, trailers, abandoned = [], [], 0
    for number, image in enumerate(images):
        content = image.tobytes()
        size = len(content) // beat
        count = size if not number else int(rng.choice([size, size, size, max(1, size - rng.integers(1, 5)),
                                                        max(1, size // 2), size + rng.integers(1, 5), 2 * size]))
        frames.append((content + rng.bytes(len(content)))[:count * beat])
        if count < size:
            abandoned = Status.ABANDONED
            continue
        trailers.append((number, (Status.TOO_LONG if count > size else 0) | abandoned))
        abandoned = 0
    return frames, trailers


@pytest.mark.parametrize("stalls", fast([3, None], 1))
@pytest.mark.parametrize("seed", fast([None, 17, 9, 33], 2))
def test_frames_of_a_wrong_length(seed, stalls):
    """Each whole frame is answered right, with its own number and status, though up to three are under way."""
    rng = np.random.default_rng(seed or 0)
    network, config, pictures = random_case(seed, 16) if seed is not None else (
        pointwise((2, 3, 2), 3), EngineConfig(2, 3, 2, (1, 1)), rng.integers(-128, 128, (16, 2, 3, 2), np.int8))
    frames, trailers = wrong_lengths(rng, pictures, config.input_bytes)
    assert {len(frame) for frame in frames} > {pictures[0].size}
    logits = golden.run(network, pictures)
    # One answer more than there are frames never comes: the run ends when all is quiet.
    run = run_engine(Schedule(network, config), frames, answers=len(frames) + 1, stalls=stalls)
    assert run.answers == tuple(pack_answer(logits[number], number, status) for number, status in trailers)
    assert not run.rest
    assert run.frame_error


@pytest.mark.parametrize("seed", fast([17, 9, 33], 1))
@pytest.mark.parametrize(("part", "length"), [(0.3, 1), (0.6, 1), (0.9, 3), ("answer", 1), ("answer", 3)])
def test_reset_within_a_frame(seed, part, length):
    """The next frame is right: nothing of the first one arrives after it but the byte that ends an answer cut off."""
    network, config, images = random_case(seed, 2)
    schedule = Schedule(network, config)
    model = CycleModel(schedule)
    moment = model.frames(1)[0].last_byte - 1 if part == "answer" else int(model.cycles * part)
    run = run_engine(schedule, images, answers=3, reset=(moment, length))
    first, second = (pack_answer(logits, 0) for logits in golden.run(network, images))
    assert run.answers[-1] == second
    assert not run.rest
    cut_off = run.answers[:-1]
    if part == "answer":
        assert cut_off == (first[:-2] + bytes([Status.CUT_OFF]),)
    else:
        assert [answer[-1] for answer in cut_off] in ([], [Status.CUT_OFF])
        assert first.startswith(b"".join(cut_off)[:-1])


@pytest.mark.parametrize("part", fast(range(6), 1))
@settings(max_examples=4)
@given(graph=graphs())
def test_graphs(part, graph):
    """Residuals, tables, several outputs: on engines with a pipeline of requantisers."""
    check(*graph.case())


@pytest.mark.parametrize("part", fast(range(5), 1))
@settings(max_examples=3)
@given(graph=graphs())
def test_graphs_on_small_engines(part, graph):
    """The same on engines of the kind that iCE40 parts get."""
    check(*graph.case(frugal=True))
