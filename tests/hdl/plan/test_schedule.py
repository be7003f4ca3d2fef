# SPDX-License-Identifier: Apache-2.0
"""The schedule's own choices: whether the first pass is unrolled, and how wide the words are that are copied."""

from dataclasses import replace

import pytest
from tepal.hdl import EngineConfig, Schedule
from tepal.quant import MobileNet
from tepal.sim import CycleModel

NETWORK = MobileNet(0.25, 32, classes=10).network()
"""Its first convolution has 8 channels, and windows of 3 rows of 9 bytes; unrolled by two, of 15."""

ENGINE = EngineConfig(16, 16, 8, requantisers=8, copy_lanes=15)


@pytest.mark.parametrize(("changes", "count"), [
    ({}, 2), ({"columns": 32}, 4), ({"requantisers": 4}, 2), ({"copy_lanes": 20}, 2),
    ({"columns": 8}, 1), ({"columns": 24, "rows": 6}, 1),  # no room; the width is no multiple
    ({"requantisers": 16, "lanes": 16}, 1),  # a requantiser's turn would hold two pixels
    ({"copy_lanes": 9}, 1),  # copying takes as long: a row is two words instead of one
    ({"copy_lanes": 8}, 2),  # two, as it was
    ({"requantisers": 1, "requantiser_cycles": 3}, 1),
])
def test_unrolled_where_faster(changes, count):
    schedule = Schedule(NETWORK, replace(ENGINE, **changes))
    assert schedule.passes[0].work.pixels_per_window == count
    assert schedule.passes[0].target.shape == schedule.network.layers[0].output_shape


def test_unrolling_saves_cycles():
    """Half as many tiles, each as long as copying its windows takes."""
    unrolled, plain = (CycleModel(Schedule(NETWORK, replace(ENGINE, copy_lanes=count))) for count in (15, 9))
    saved = plain.schedule.passes[0], unrolled.schedule.passes[0]
    assert [scheduled.tiles for scheduled in saved] == [16, 8]
    assert [scheduled.slot for scheduled in saved] == [48, 48]
    assert 0.9 * 8 * 48 < plain.in_memory_cycles - unrolled.in_memory_cycles < 1.1 * 8 * 48


def test_no_wider_words_than_needed():
    """Bytes that are copied at once: as many as make all words of a window's row alike."""
    assert Schedule(NETWORK, replace(ENGINE, copy_lanes=20)).config.copy_lanes == 15
    assert Schedule(NETWORK, replace(ENGINE, columns=8, copy_lanes=15)).config.copy_lanes == 9
    assert Schedule(NETWORK, replace(ENGINE, columns=8, copy_lanes=8)).config.copy_lanes == 5
