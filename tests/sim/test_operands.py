# SPDX-License-Identifier: Apache-2.0
"""Engines whose array takes several operands of each sum, or those of several columns, in a cycle: the bytes, and the
cycles."""

from dataclasses import replace

import numpy as np
import pytest
from engine_check import check
from networks import abreast, chain, fast, random_case, uint8_case
from tepal.hdl import EngineConfig, Schedule
from tepal.hdl.plan.portions import ROLES
from tepal.quant import NetworkError
from tepal.sim import conflicts


def pipelined_case(make, seed: int):
    """(network, engine with memories of two ports and pipelines, images)."""
    network, config, images = make(seed)
    return network, replace(config, single_port=False, pipelined=True, requantiser_cycles=1, lane_cycles=1), images


@pytest.mark.parametrize(("make", "seed", "operands", "most"), fast([
    (random_case, 8, 4, 4), (uint8_case, 9, 3, 1), (random_case, 3, 2, 6), (random_case, 7, 8, 1),
    (uint8_case, 2, 4, 4), (random_case, 0, 5, 6)], 2))
def test_bytes_and_cycles(make, seed, operands, most):
    """Of words that are a whole number of operands and such that are not, with shared multipliers and without; columns
    side by side are as many as divide those that there are."""
    network, config, images = pipelined_case(make, seed)
    schedule = Schedule(network, abreast(replace(config, operands=operands), most))
    assert conflicts(schedule) == []
    check(schedule, images, seed)


@pytest.mark.parametrize(("seed", "operands", "most"), fast([(8, 4, 4), (3, 2, 1), (4, 3, 6)], 1))
def test_weights_from_outside(seed, operands, most):
    network, config, images = pipelined_case(random_case, seed)
    config = abreast(replace(config, operands=operands), most)
    words = 1
    while True:
        try:
            schedule = Schedule(network, replace(config, weight_words=words))
            break
        except NetworkError as error:
            words = int(str(error).split("weight_words of ")[1].split()[0])
    assert conflicts(schedule) == []
    check(schedule, images, seed, interval=2)


@pytest.mark.parametrize("seed", fast([21, 4], 1))
def test_weights_with_zero_points_from_outside(seed):
    """On multipliers that rows share; parameters of all lanes come at once, and few bits of them in a beat."""
    network, _, images = uint8_case(seed, 2)
    config = EngineConfig(4, 8, 4, requantisers=4, packing=2, operands=4, columns_abreast=2, weight_words=400)
    schedule = Schedule(network, config)
    role = ROLES.index("depthwise_parameters")
    assert schedule.matrix_weight_bits == 9
    assert (schedule.beat_bits[role], schedule.parameter_beats) == (36, 1)
    assert schedule.word_beats[role] == -(-schedule.word_bits[role] // 36)
    assert conflicts(schedule) == []
    check(schedule, images, seed, interval=2)
    with pytest.raises(NetworkError, match="2 products share a multiplier: choose --packing 1"):
        Schedule(network, replace(config, logic_columns=1))


def test_columns_of_logic():
    """Some of the multipliers are made of logic, beside others that are shared by two rows."""
    network = chain((6, 6, 3), 3)
    config = EngineConfig(4, 4, 4, requantisers=2, spread=1, packing=2, operands=2, logic_columns=2)
    check(Schedule(network, config), np.random.default_rng(1).integers(-128, 128, (2, 6, 6, 3), np.int8), 1)


def test_sums_take_fewer_cycles():
    """A word of eight channels is taken in two cycles, one of five in two, too, and one of four in one."""
    network = chain((6, 6, 3), 3)
    one, four = (Schedule(network, EngineConfig(2, 4, 8, operands=operands)) for operands in (1, 4))
    for before, after in zip(one.passes, four.passes, strict=True):
        channels = before.work.window.input_shape[2]
        assert before.inner == after.inner == before.sum_cycles
        assert after.sum_cycles == before.inner // channels * sum(
            -(-min(before.source.lanes, channels - word) // 4) for word in range(0, channels, before.source.lanes))


def test_parameters_take_fewer_cycles():
    """Where a tile's sums take fewer cycles than its parameters would, one column at a time."""
    network = chain((6, 6, 9), 3)
    one, two, all_four = (Schedule(network, abreast(EngineConfig(1, 4, 4, requantisers=4, operands=4), most))
                          for most in (1, 2, 4))
    several = [number for number, each in enumerate(one.passes) if each.column_groups > 1]
    assert several
    for number in several:
        assert [schedule.passes[number].period for schedule in (one, two, all_four)] == [
            max(columns, one.passes[number].sum_cycles) for columns in (4, 2, 1)]
