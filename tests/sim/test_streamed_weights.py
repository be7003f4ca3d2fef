# SPDX-License-Identifier: Apache-2.0
"""Engines whose weights come from outside: the same bytes whenever they come, and the cycles that follow."""

from dataclasses import replace

import numpy as np
import pytest
from engine_check import answers_of, check
from graphs import graph_case, graphs, groups_with_kept_rows, inverted_residuals
from hypothesis import given, settings
from networks import fast, random_case, random_engine, uint8_case
from tepal.boards.flow.yosys import to_verilog
from tepal.boards.registry import get_board
from tepal.hdl import EngineConfig, Schedule, export_component, export_verilog
from tepal.hdl.answer import pack_answer
from tepal.hdl.memories.sdram import word_cycles
from tepal.hdl.memories.streamed import BEAT
from tepal.hdl.plan.descriptors import descriptor_memories, load_descriptors
from tepal.hdl.plan.portions import ROLES, TABLES
from tepal.hdl.plan.widths import Formats
from tepal.hdl.streamed import SdramAccelerator
from tepal.hdl.units.descriptor_table import DescriptorTable
from tepal.hdl.units.elementwise import ElementwiseFormat, ElementwiseUnit
from tepal.quant import Convolution, Depthwise, Network, NetworkError
from tepal.sim import CycleModel, golden, run_engine
from tepal.sim.hazards import conflicts
from tepal.sim.simulate import Build, Memory, SimulationError, simulate

ABLE = [seed for seed in range(40) if max(random_case(seed, 1)[1].requantiser_cycles,
                                          random_case(seed, 1)[1].lane_cycles) == 1]

UINT8 = [seed for seed in range(24) if seed not in (3, 8, 9, 15, 23)]


def least_words(network: Network, config: EngineConfig) -> int:
    words = 1
    while True:
        try:
            assert Schedule(network, replace(config, weight_words=words)).loads
            return words
        except NetworkError as error:
            words = int(str(error).split("weight_words of ")[1].split()[0])


def streamed(network: Network, config: EngineConfig, more: int = 0) -> Schedule:
    """An engine with as few words of weights as there may be, and ``more``."""
    config = replace(config, requantiser_cycles=1, lane_cycles=1, single_port=False)
    return Schedule(network, replace(config, weight_words=least_words(network, config) + more))


def streamed_case(seed: int, frames: int, more: int = 0) -> tuple[Schedule, np.ndarray]:
    network, config, images = random_case(seed, frames)
    return streamed(network, config, more), images


def streamed_graph(seed: int, frames: int) -> tuple[Schedule, np.ndarray]:
    """With tables that take turns."""
    network, config, images = graph_case(seed, frames)
    return streamed(network, config), images


def streamed_bytes(seed: int, frames: int, more: int = 0) -> tuple[Schedule, np.ndarray]:
    """Of uint8 weights with one zero point for each layer, which come as bytes and are stored in nine bits."""
    network, config, images = uint8_case(seed, frames)
    layers = tuple(replace(layer, weight_zero_point=int(np.ravel(layer.weight_zero_point)[0]))
                   if isinstance(layer, Convolution | Depthwise) else layer for layer in network.layers)
    schedule = streamed(replace(network, layers=layers), config, more)
    assert schedule.weight_offsets
    return schedule, images


@pytest.mark.parametrize("seed", fast(range(50), 6))
def test_any_arrivals(seed):
    """Weights that come at random, those of each of two frames at other times: the same bytes."""
    schedule, images = streamed_case(ABLE[seed % len(ABLE)], 2, more=seed // len(ABLE) * 5)
    assert run_engine(schedule, images, stalls=seed, interval=1 + seed % 3).answers == answers_of(schedule, images)


@pytest.mark.parametrize("seed", fast(range(50), 4))
def test_bytes_of_wider_weights(seed):
    """The same where zero points are subtracted on the chip."""
    schedule, images = streamed_bytes(UINT8[seed % len(UINT8)], 2, more=seed // len(UINT8) * 5)
    assert run_engine(schedule, images, stalls=seed, interval=1 + seed % 3).answers == answers_of(schedule, images)


@pytest.mark.parametrize("interval", [1, 4])
@pytest.mark.parametrize("seed", fast(UINT8[:4], 1))
def test_cycles_of_bytes(seed, interval):
    schedule, images = streamed_bytes(seed, 3)
    check(schedule, images, seed, interval=interval)


def test_weights_come_in_the_fewest_bits_that_hold_them():
    """Those of a layer with one zero point are bytes, also beside int8 ones; with zero points that are far apart they
    come as wide as they are stored."""
    network, config, _ = uint8_case(4)
    layer = max((number for number, each in enumerate(network.layers) if isinstance(each, Convolution)),
                key=lambda number: network.layers[number].bias.size)

    def made(zero_point) -> Schedule:
        layers = tuple(replace(each, weight_zero_point=zero_point if number == layer else 0)
                       if isinstance(each, Convolution | Depthwise) else each
                       for number, each in enumerate(network.layers))
        return streamed(replace(network, layers=layers), config)

    channels, role = network.layers[layer].bias.size, ROLES.index("matrix_weights")
    far_apart = np.where(np.arange(channels) % 2, -100, 100)
    plain, one, many = made(0), made(-77), made(far_apart)
    assert (plain.matrix_weight_bits, one.matrix_weight_bits, many.matrix_weight_bits) == (8, 9, 9)
    assert plain.weight_offsets == many.weight_offsets == {}
    assert [*one.weight_offsets] == [role]
    assert one.word_beats == plain.word_beats
    assert one.weight_bytes == plain.weight_bytes


@pytest.mark.parametrize("part", fast(range(2), 1))
@settings(max_examples=3)
@given(graph=graphs())
def test_graphs(part, graph):
    network, config, images = graph.case()
    schedule = streamed(network, config)
    assert run_engine(schedule, images, interval=2).answers == answers_of(schedule, images)


@pytest.mark.parametrize("interval", [1, 4])
@pytest.mark.parametrize("seed", fast(ABLE[:4], 2))
def test_cycles_of_a_memory_that_is_never_late(seed, interval):
    schedule, images = streamed_case(seed, 3)
    check(schedule, images, seed, interval=interval)


@pytest.mark.parametrize("seed", fast([19, 18, 38], 1))
def test_weights_that_come_again(seed):
    """For each part of passes whose maps are rings of few rows: the bytes, and the cycles."""
    rng = np.random.default_rng([seed, 7])
    network = inverted_residuals(rng)
    config = replace(random_engine(rng, network, frugal=False), single_port=False)
    images = rng.integers(-128, 128, (2, *network.input_shape), np.int8)
    formats = Formats(network)
    groups = groups_with_kept_rows(rng, formats.passes, config)
    words = 1
    while True:
        try:
            schedule = Schedule(network, replace(config, weight_words=words), formats, groups=groups)
            break
        except NetworkError as error:
            words = int(str(error).split("weight_words of ")[1].split()[0])
    loaded = [(whole, each.work.first_channel) for whole, each in zip(schedule.wholes, schedule.passes, strict=True)]
    assert any(group.kept for group in groups)
    assert len(schedule.portions) > len(set(loaded))
    assert conflicts(schedule) == []
    check(schedule, images, seed, interval=1 + seed % 3)


@pytest.mark.parametrize("seed", fast([41, 19, 39, 16, 7, 33, 38, 22], 1))
def test_tables_take_turns(seed):
    """Those of sums and functions, in memories that have no room for all: the bytes, and the cycles.  The second case
    has one operand, the others have two; the third one's engine has few registers."""
    network, config, images = graph_case(seed)
    if seed == 39:
        config = replace(config, pipelined=False, requantisers=1)
    schedule = streamed(network, config)
    depths = dict(zip(ROLES, schedule.loads.depths, strict=True))
    assert depths[TABLES] < ElementwiseUnit.TABLE_WORDS * (1 + len(schedule.elementwise_wholes))
    check(schedule, images, seed, interval=1 + seed % 2)


def test_tables_that_share_no_beat(monkeypatch):
    """Both operands' words, where they are so wide."""
    monkeypatch.setattr(ElementwiseFormat, "begins", (0, BEAT))
    schedule, images = streamed_graph(41, 2)
    assert schedule.word_bits[ROLES.index(TABLES)] > BEAT
    assert run_engine(schedule, images).answers == answers_of(schedule, images)


@pytest.mark.parametrize("part", [0.2, 0.5, 0.8])
def test_a_reset_begins_anew(part):
    """Within a frame whose weights are on their way: the next frame is right, with the image from its begin."""
    schedule, images = streamed_case(ABLE[1], 2)
    moment = int(CycleModel(schedule).cycles * part)
    run = run_engine(schedule, images, answers=3, reset=(moment, 3))
    assert run.answers[-1] == pack_answer(golden.run(schedule.network, images)[1], 0)


def test_a_long_table_of_loads_is_counted():
    """It is a memory where it has many rows, though the passes be few."""
    schedule = next(schedule for schedule in (streamed_case(seed, 1)[0] for seed in ABLE)
                    if len(load_descriptors(schedule)) > len(schedule.passes) + 1)
    most = len(schedule.passes) + 1
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DescriptorTable, "MOST_ROWS", most)
        assert [each.depth for each in descriptor_memories(schedule)] == [len(load_descriptors(schedule))]


@pytest.mark.rtl
@pytest.mark.usefixtures("compile_quickly")
@pytest.mark.parametrize(("make", "seed"), fast([(streamed_case, 4), (streamed_graph, 41), (streamed_case, 1)], 0))
def test_a_core_and_its_memory(make, seed, tmp_path):
    """The Verilog behind AXI4: every byte of every layer, every event in its cycle, whatever the memory does."""
    schedule, images = make(seed, 3)
    for name, text in export_verilog(schedule, to_verilog).files().items():
        (tmp_path / name).write_text(text)
    build = Build(tmp_path, schedule)
    for memory in (Memory(latency=1), Memory(latency=60, interval=3),
                   Memory(latency=20, seed=5, refresh=200, pause=20)):
        report = simulate(build, schedule, images, memory=memory)
        assert (report.mismatches, report.cycle_errors, report.problems) == (0, [], [])
    assert simulate(build, schedule, images, stalls=3, memory=memory).ok


@pytest.mark.rtl
@pytest.mark.usefixtures("compile_quickly")
@pytest.mark.parametrize("seed", fast([4, 1], 0))
def test_a_core_and_an_sdram(seed, tmp_path):
    """The same with a board's memory, out of which a frame comes as fast as is said; and a chip that is slower than the
    controller was made for ends the simulation."""
    schedule, images = streamed_case(seed, 4)
    timing = replace(get_board("ulx3s-85f").memory.timing, pause=300)
    for name, text in export_component(SdramAccelerator(schedule, timing), to_verilog).files().items():
        (tmp_path / name).write_text(text)
    build = Build(tmp_path, schedule, sdram=timing)
    report = simulate(build, schedule, images)
    assert (report.mismatches, report.cycle_errors, report.problems) == (0, [], [])
    # A row is opened where a frame begins, and a refresh may lie in one frame and in none of the next.
    predicted = CycleModel(schedule, word_cycles(timing)).interval_cycles
    assert abs(report.interval_cycles - predicted) <= 2 * 4 * 6
    assert simulate(build, schedule, images, stalls=3).ok
    build.sdram = replace(timing, refresh_cycle=20)
    with pytest.raises(SimulationError):
        simulate(build, schedule, images)
    assert "the rule refresh_cycle is broken" in (tmp_path / "run.log").read_text()
