"""Folding: the first block's pixels are the same, however many of them the array makes at once."""

from dataclasses import replace

import numpy as np
import pytest
from networks import random_network
from tepal.hdl import EngineConfig, Schedule
from tepal.hdl.plan.lower import fold, lower
from tepal.quant import MobileNet
from tepal.sim import CycleModel


def sums(layout, block, image):
    """What the array makes of an image, int64 (height, width, channels), by way of what the loader stores."""
    height, width, channels = layout.shape
    reach = layout.columns * layout.stride + layout.kernel
    row = np.full((height, layout.left + max(width, reach), channels), layout.zero_point, np.int64)
    row[:, layout.left:layout.left + width] = image.reshape(layout.shape)
    stored = np.stack([row[:, at:at + layout.kernel].reshape(height, -1)
                       for at in range(0, layout.columns * layout.stride, layout.stride)], axis=1)
    assert stored.shape == block.window.input_shape
    window, (down, across) = block.window, block.window.output_size
    above = -window.origin[0]
    padded = np.full((above + height + window.kernel[0] + down * window.stride[0], *stored.shape[1:]),
                     window.zero_point, np.int64)
    padded[above:above + height] = stored
    windows = np.array([[padded[y * window.stride[0]:y * window.stride[0] + window.kernel[0], x].ravel()
                         for x in range(across)] for y in range(down)])
    return (windows @ block.matrix.weights.T).reshape(block.output_shape)


@pytest.mark.parametrize("seed", range(40))
def test_fold(seed):
    rng = np.random.default_rng(seed)
    network = random_network(rng)
    layout, (block, *_) = lower(network)
    image = rng.integers(-128, 128, network.input_shape)
    expected, width = sums(layout, block, image), block.output_shape[1]
    assert expected.shape == block.output_shape
    for count in (count for count in range(2, width + 1) if width % count == 0):
        wider, folded = fold(layout, block, count)
        assert folded.windows * count == block.windows
        assert (sums(wider, folded, image) == expected).all()


NETWORK = MobileNet(0.25, 32, classes=10).network()
"""Its first convolution has 8 channels, and windows of 3 rows of 9 bytes; folded by two, of 15."""

ENGINE = EngineConfig(16, 16, 8, requantisers=8, copy_lanes=15)


@pytest.mark.parametrize(("changes", "count"), [
    ({}, 2), ({"columns": 32}, 4), ({"requantisers": 4}, 2), ({"copy_lanes": 20}, 2),
    ({"columns": 8}, 1), ({"columns": 24, "rows": 6}, 1),  # no room; the width is no multiple
    ({"requantisers": 16, "lanes": 16}, 1),  # a requantiser's turn would hold two pixels
    ({"copy_lanes": 9}, 1),  # copying takes as long: a row is two words instead of one
    ({"copy_lanes": 8}, 2),  # two, as it was
    ({"requantisers": 1, "requantiser_cycles": 3}, 1),
])
def test_folded_where_faster(changes, count):
    schedule = Schedule(NETWORK, replace(ENGINE, **changes))
    assert schedule.blocks[0].block.fold == count
    assert schedule.blocks[0].target.shape == schedule.network.layers[0].output_shape


def test_folding_saves_cycles():
    """Half as many tiles, each as long as copying its windows takes."""
    folded, plain = (CycleModel(Schedule(NETWORK, replace(ENGINE, copy_lanes=count))) for count in (15, 9))
    saved = plain.schedule.blocks[0], folded.schedule.blocks[0]
    assert [block.tiles for block in saved] == [16, 8]
    assert [block.slot for block in saved] == [48, 48]
    assert 0.9 * 8 * 48 < plain.compute_cycles - folded.compute_cycles < 1.1 * 8 * 48


def test_no_wider_words_than_needed():
    """Bytes that are copied at once: as many as make all words of a window's row alike."""
    assert Schedule(NETWORK, replace(ENGINE, copy_lanes=20)).config.copy_lanes == 15
    assert Schedule(NETWORK, replace(ENGINE, columns=8, copy_lanes=15)).config.copy_lanes == 9
    assert Schedule(NETWORK, replace(ENGINE, columns=8, copy_lanes=8)).config.copy_lanes == 5
