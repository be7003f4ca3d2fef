# SPDX-License-Identifier: Apache-2.0
"""Passes in slices: every channel is made once, of few weights at a time, and lies where its readers look."""

from dataclasses import replace
from math import lcm

import numpy as np
import pytest
from graphs import few_weights, random_add, sliced_case
from networks import chain, pointwise
from tepal.hdl import ConfigError, EngineConfig, Schedule
from tepal.hdl.plan import rom_contents
from tepal.hdl.plan.bands import Group
from tepal.hdl.plan.widths import Formats
from tepal.quant import Network, NetworkError
from tepal.sim import CycleModel
from tepal.sim.hazards import conflicts

SEEDS = range(44)


@pytest.mark.parametrize("seed", SEEDS)
def test_slices_make_what_the_whole_makes(seed):
    network, config, _ = sliced_case(seed, 0)
    schedule = Schedule(network, config)
    channels: dict[int, list[int]] = {}
    for number, (each, whole) in enumerate(zip(schedule.passes, schedule.wholes, strict=True)):
        work, original = each.work, schedule.formats.passes[whole]
        if work.pixels_per_window == 1:
            assert np.array_equal(work.matrix.weights, original.matrix.weights[work.channels])
            assert np.array_equal(work.matrix.constant, original.matrix.constant[work.channels])
            assert (work.window, work.reduction, work.rows) == (original.window, original.reduction, original.rows)
        assert each.column_groups * each.inner <= config.weight_words // 2
        assert work.first_channel % lcm(config.columns, config.lanes) == 0
        assert schedule.wholes[work.writes(number)] == whole
        assert schedule.passes[work.writes(number)].work.continues is None
        assert each.target.shape == original.output_shape
        for mine, its in ((work.source, original.source), (work.other, original.other)):
            assert (mine is None) == (its is None)
            assert mine is None or (schedule.wholes[mine], schedule.passes[mine].work.continues) == (its, None)
        channels.setdefault(whole, []).extend(range(work.channels.start, work.channels.stop))
    assert channels == {whole: list(range(work.output_shape[2])) for whole, work in enumerate(schedule.formats.passes)}


@pytest.mark.parametrize("seed", SEEDS)
def test_no_conflicts(seed):
    """Words, cycles, everything: nothing is read that was not written for it."""
    network, config, _ = sliced_case(seed, 0)
    assert conflicts(Schedule(network, config)) == []


@pytest.mark.parametrize("seed", range(0, 44, 6))
def test_weights_are_stored_once(seed):
    """In the same order: slices are whole column groups."""
    network, config, _ = sliced_case(seed, 0)
    parts = Schedule(network, config)
    whole = Schedule(network, replace(config, weight_words=None), parts.formats)
    for contents in ("matrix_weights", "matrix_parameters", "depthwise_weights", "depthwise_parameters"):
        assert getattr(rom_contents, contents)(parts) == getattr(rom_contents, contents)(whole)


def test_about_as_large():
    """Of eleven column groups, in four slices where no more than three have room, each of whole words."""
    config = EngineConfig(4, 2, 2, weight_words=2 * 3 * 5)
    schedule = Schedule(pointwise((4, 4, 5), 21), config)
    assert [each.column_groups for each in schedule.passes] == [2, 3, 3, 3]
    # A word is two column groups wide, of which an odd number have room.
    schedule = Schedule(pointwise((4, 4, 5), 21), replace(config, lanes=4))
    assert [each.column_groups for each in schedule.passes] == [2, 2, 2, 2, 2, 1]


def test_slices_of_sums():
    """What is added is written in the order in which it is read: in equal slices, though few of its weights are."""
    shape, wide = (5, 4, 6), (5, 4, 18)
    layers = [replace(pointwise(given, made).layers[0], name=f"layer{number}", index=number, inputs=(number - 1,))
              for number, (given, made) in enumerate([(shape, 6), (shape, 18), (wide, 6)])]
    total = random_add(np.random.default_rng(0), {"name": "sum", "index": 3, "inputs": (0, 2)}, shape, (0, 0, 5))
    network = Network("sum", (*layers, total), 1.0, 5)
    schedule = Schedule(network, few_weights(network, EngineConfig(3, 2, 2, weight_words=1)))
    adders = [number for number, each in enumerate(schedule.passes) if each.other is not None]
    added = [number for number, each in enumerate(schedule.passes) if each.added is not None]
    assert len(adders) == len(added) == 3
    assert [schedule.passes[number].column_groups for number in (*added, *adders)] == [1] * 6
    assert [schedule.passes[number].added for number in added] == [schedule.passes[number].other for number in adders]
    assert [schedule.passes[number].other for number in adders] == [0, 40, 80]
    assert conflicts(schedule) == []


@pytest.mark.parametrize(("words", "slices"), [(72, 4), (96, 3)])
def test_slices_cost_nothing(words, slices):
    """Where the array takes longer for a slice than the sequencer for its windows, it goes on as from tile to tile."""
    network = pointwise((8, 8, 12), 48)
    whole, parts = (Schedule(network, EngineConfig(8, 4, 4, requantisers=4, weight_words=each))
                    for each in (288, words))
    assert (len(whole.passes), len(parts.passes)) == (1, slices)
    assert CycleModel(parts).interval_cycles == CycleModel(whole).interval_cycles


def test_beside_bands():
    """Passes in bands stay whole; those behind them are divided, and read the map that the bands have written."""
    network = chain((6, 5, 6), 5)
    config = EngineConfig(3, 2, 2, requantisers=2)
    groups = [Group(0, 0, 2)]
    schedule = Schedule(network, replace(config, weight_words=35), groups=groups)
    assert {each.work.first_channel for each in schedule.passes if each.work.first_row} == {0}
    sliced = {whole for whole in schedule.wholes if schedule.wholes.count(whole) > 1} - {0}
    assert sliced
    assert conflicts(schedule) == []
    whole = Schedule(network, config, groups=groups)
    assert rom_contents.matrix_weights(schedule) == rom_contents.matrix_weights(whole)


# -- what can't be -----------------------------------------------------------------------------------------


def test_too_few_words():
    """Two column groups, of which a word of the map is made, in use and as many to come."""
    config = EngineConfig(4, 2, 4, weight_words=2 * 2 * 5)
    network = pointwise((4, 4, 5), 21)
    assert len(Schedule(network, config).passes) == 6
    with pytest.raises(NetworkError, match=r"layer 0 \(.*\): its weights can't be divided .* 19 words on the chip: "
                                           r"choose weight_words of 20 or more"):
        Schedule(network, replace(config, weight_words=19))


def test_weights_that_come_again():
    """For each band, where they don't fit: in slices of half of the words."""
    network, config = pointwise((4, 4, 5), 21), EngineConfig(4, 2, 2, weight_words=11 * 5)
    staying, again = (Schedule(network, replace(config, weight_words=words), groups=[Group(0, 0, 2)])
                      for words in (55, 54))
    assert staying.portion_of == (0, 0)
    assert again.portion_of == (0, 1, 2, 3, 4, 5)
    assert [(each.work.rows.start, each.column_groups) for each in again.passes] == [
        (row, groups) for row in (0, 2) for groups in (3, 4, 4)]
    assert rom_contents.matrix_weights(again) == 2 * rom_contents.matrix_weights(staying)
    assert rom_contents.matrix_parameters(again) == 2 * rom_contents.matrix_parameters(staying)
    assert conflicts(again) == []


def test_some_stay_and_others_come_again():
    """The ones with the fewest parts come again, in what the others leave."""
    network = chain((9, 9, 4), 5)
    formats = Formats(network)
    assert len({work.matrix.weights.shape for work in formats.passes[1:4]}) == 1
    pieces = formats.passes[1].matrix.weights.size
    assert pieces == 16
    # Of a column each, 16 words of 4 operands.
    config = EngineConfig(3, 1, 1, weight_words=40)
    schedule = Schedule(network, config, formats, groups=[Group(1, 3, 3, (6, 3))])
    numbers = {whole: {portion for portion, own in zip(schedule.portion_of, schedule.wholes, strict=True)
                       if own == whole} for whole in (1, 2, 3)}
    parts = {whole: sum(own == whole and not each.work.first_channel
                        for own, each in zip(schedule.wholes, schedule.passes, strict=True)) for whole in numbers}
    staying = {whole for whole in numbers if len(numbers[whole]) == 1}
    assert len(staying) == 1
    assert max(parts[whole] for whole in numbers.keys() - staying) <= min(parts[whole] for whole in staying)
    assert conflicts(schedule) == []


def test_too_few_words_for_bands():
    """Of maps that are one band's alone, too, a slice of a column group is made while the next one's weights come."""
    network, config, groups = chain((6, 5, 6), 3), EngineConfig(3, 2, 2, weight_words=12), [Group(0, 1, 2)]
    schedule = Schedule(network, config, groups=groups)
    assert all(each.column_groups == 1 for each in schedule.passes)
    assert conflicts(schedule) == []
    with pytest.raises(NetworkError, match=r"can't be divided .* choose weight_words of 12 or more"):
        Schedule(network, replace(config, weight_words=11), groups=groups)


def test_unrolled():
    """A pass whose column group holds several pixels is one slice."""
    network, config = pointwise((4, 4, 5), 2), EngineConfig(4, 4, 2, requantisers=2)
    # With room for far more weights than there are: there are as many registers on their way.
    whole = Schedule(network, replace(config, weight_words=100))
    assert whole.passes[0].work.pixels_per_window == 2
    few = few_weights(network, replace(config, weight_words=1))
    assert few.weight_words == 2 * whole.passes[0].inner
    assert CycleModel(Schedule(network, few)).interval_cycles == CycleModel(whole).interval_cycles


@pytest.mark.parametrize(("options", "message"), [
    ({"weight_words": 0}, r"weight_words must be a positive integer, not 0"),
    ({"weight_words": 1.5}, r"weight_words must be a positive integer, not 1.5"),
    ({"weight_words": 99, "single_port": True}, r"weight_words need memories with two ports"),
])
def test_impossible_words(options, message):
    with pytest.raises(ConfigError, match=message):
        EngineConfig(2, 2, 2, **options)
