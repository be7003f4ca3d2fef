# SPDX-License-Identifier: Apache-2.0
"""Engines with twice as many requantisers as lanes, whose results are written to two words at once: the bytes, and the
cycles."""

from dataclasses import replace

import pytest
from engine_check import check
from graphs import few_weights, graph_case, sliced_case
from networks import doubled, fast, random_case
from tepal.hdl import Schedule
from tepal.sim import conflicts


@pytest.mark.parametrize(("make", "seed", "lanes", "groups", "window"), fast([
    (random_case, 8, 2, 1, (3, 3)), (graph_case, 3, 2, 2, (2, 2)), (random_case, 3, 1, 2, (1, 3)),
    (random_case, 7, 3, 1, (2, 2)), (graph_case, 5, 1, 1, (3, 3)), (random_case, 0, 4, 1, (3, 3)),
    (graph_case, 11, 3, 2, (3, 3)), (random_case, 40, 1, 1, (3, 3)), (random_case, 33, 4, 1, (2, 3))], 2))
def test_bytes_and_cycles(make, seed, lanes, groups, window):
    """With pixels of an odd number of words, and of an even one."""
    network, config, images = make(seed)
    schedule = Schedule(network, doubled(config, lanes, groups, window))
    assert conflicts(schedule) == []
    check(schedule, images, seed)


@pytest.mark.parametrize("window", [(3, 3), (1, 2)])
def test_two_pixels_at_once(window):
    """Of an unrolled first pass, whose pixels are a word each."""
    network, config, images = random_case(19)
    schedule = Schedule(network, doubled(config, 2, 1, window))
    assert schedule.passes[0].neighbours == 2
    assert conflicts(schedule) == []
    check(schedule, images[:2], 19)


@pytest.mark.parametrize("seed", fast([1, 7, 3], 1))
def test_weights_from_outside(seed):
    """Each bank has write registers of its own; passes are divided, so that a part's first word may lie in any bank."""
    network, config, images = sliced_case(seed)
    config = few_weights(network, doubled(replace(config, weight_words=1), 1, 1, (3, 3)))
    schedule = Schedule(network, config)
    assert any(each.work.target_channel % 3 for each in schedule.passes)
    assert conflicts(schedule) == []
    check(schedule, images, seed, interval=2)
