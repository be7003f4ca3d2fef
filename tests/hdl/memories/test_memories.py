# SPDX-License-Identifier: Apache-2.0
"""What the memories hold: no word that is wider than it must be, none for rows that no tile has, none twice."""

from dataclasses import replace

import numpy as np
import pytest
from networks import pointwise, random_case, random_requantise, wide_case
from tepal.hdl import EngineConfig, Schedule
from tepal.hdl.plan import rom_contents as images
from tepal.hdl.units.tile_buffer import TileBuffer
from tepal.quant import Average, AveragePool, Convolution, MobileNet, Network, Padding
from tepal.sim import CycleModel

ENGINE = EngineConfig(16, 16, 8, requantisers=8, input_bytes=4)


def use(schedule: Schedule, role: str) -> list[tuple[int, int, int]]:
    """(count, depth, width) of the memories of a role."""
    return [(memory.count, memory.depth, memory.width) for memory in schedule.memories if memory.role == role]


def connected(shape: tuple[int, int, int], channels: int, padding: Padding | None = None,
              kernel: tuple[int, int] | None = None) -> Network:
    """A network of one layer whose only window covers the whole image."""
    rng = np.random.default_rng(1)
    weights = rng.integers(-128, 128, (channels, *(kernel or shape[:2]), shape[2]))
    return Network("connected", (Convolution(
        name="layer0", index=0, input_shape=shape, output_shape=(1, 1, channels), stride=(1, 1),
        padding=padding or Padding(), input_zero_point=5, weights=weights,
        bias=rng.integers(-999, 999, channels),
        requantise=random_requantise(rng, channels, 9e4, 0)),), 1.0, 5)


def pooled(shape: tuple[int, int, int]) -> Network:
    """A convolution and an average pool of all its pixels."""
    first = pointwise(shape, shape[2]).layers[0]
    pool = AveragePool(name="layer1", index=1, input_shape=shape, output_shape=(1, 1, shape[2]), stride=(1, 1),
                       padding=Padding(), input_zero_point=0, window=shape[:2], bias=np.zeros(shape[2], int),
                       requantise=Average(shape[0] * shape[1]))
    return Network("pooled", (first, pool), 1.0, 5)


@pytest.mark.parametrize(("network", "depth", "word"), [
    (connected((1, 1, 640), 8), 80, 8),  # a vector
    (connected((1, 1, 643), 8), 81, 8),  # the last word is not full
    (connected((28, 28, 1), 8), 98, 8),  # an image, all of it in one window
    (connected((4, 5, 6), 8), 15, 8),
    (connected((1, 1, 640), 8, Padding(1, 1, 1, 1), (3, 3)), 80, 8),  # the window's rest is padding
    (pointwise((8, 8, 64), 8), 512, 8),  # pixels of many channels
    (pointwise((1, 1, 8), 8), 1, 8),
    # Deep enough: narrow words would take more blocks, and the stream would wait for more of them.
    (pointwise((32, 32, 12), 16), 1024, 12),
])
def test_input_words(network, depth, word):
    config = replace(ENGINE, input_bytes=1)
    schedule = Schedule(network, config)
    assert use(schedule, "input") == [(1, depth, 8 * word)]
    # Copying takes no longer than a word that holds all of a window's row.
    (height, _, channels), kernel = network.input_shape, network.layers[0].kernel
    row = min(kernel[1], network.input_shape[1]) * channels
    assert schedule.passes[0].words <= min(kernel[0], height) * -(-row // config.lanes)


@pytest.mark.parametrize("seed", range(60))
def test_an_image_takes_little(seed):
    """Words of a vector, or of an image under one window, are full but for the last."""
    network, config, _ = wide_case(seed)
    schedule = Schedule(network, config)
    layout, size = schedule.layout, int(np.prod(network.input_shape))
    if layout.columns == layout.shape[0] == 1:
        (_, depth, width), = use(schedule, "input")
        assert 8 * size <= depth * width < 8 * size + width
        assert width <= 8 * schedule.config.tile_lanes


def test_tile_buffer_of_layers_of_one_pixel():
    """A fully connected network's tiles have one pixel, whatever the engine's rows."""
    schedule = Schedule(connected((1, 1, 640), 8), ENGINE)
    assert schedule.tile_row_words == (*[0] * 15, 80)
    assert use(schedule, "tile_buffer") == [(1, 512, 64)]


def test_tile_buffer_of_a_long_vector_behind_pixels():
    """Only the row of the last layer's single pixel is as deep as its words need."""
    first = pointwise((8, 8, 16), 16).layers[0]
    last = replace(connected((8, 8, 16), 10).layers[0], input_zero_point=0)
    schedule = Schedule(Network("both", (first, last), 1.0, 5), ENGINE)
    assert schedule.passes[1].words == 128
    assert use(schedule, "tile_buffer") == [(1, 512, 64), (15, 256, 64)]


@pytest.mark.parametrize("case", [random_case, wide_case])
@pytest.mark.parametrize("seed", range(40))
def test_tile_buffer_has_room(seed, case):
    """Each pixel of each tile has all its words' places in its row."""
    network, config, _ = case(seed)
    schedule = Schedule(network, config)
    for block in schedule.passes:
        for pixel in range(block.tile_windows):
            assert TileBuffer.depth(schedule.tile_row_words[config.rows - 1 - pixel]) >= TileBuffer.depth(block.words)
    pixels = max(block.tile_windows for block in schedule.passes)
    assert sum(count for count, _, _ in use(schedule, "tile_buffer")) == pixels


def test_an_average_pool_is_stored_once():
    """Weights of 25 x 5 ones in windows of 3 x 3 taps: chunks differ, channel groups don't; nor do parameters."""
    schedule = Schedule(pooled((25, 5, 64)), replace(ENGINE, input_bytes=1))
    block = schedule.passes[1]
    assert (block.source.groups, block.chunks) == (8, (9, 2))
    assert use(schedule, "depthwise_weights") == [(1, 18, 8 * 8 * 9)]
    assert len(images.depthwise_weights(schedule)) == 18
    depth = schedule.parameter_beats
    assert use(schedule, "depthwise_parameters") == [(1, depth, schedule.depthwise_format.width
                                                      * schedule.parameter_words)]
    assert len(images.depthwise_parameters(schedule)) == depth


@pytest.mark.parametrize("case", [random_case, wide_case])
@pytest.mark.parametrize("seed", range(40))
def test_roms_are_as_deep_as_told(seed, case):
    network, config, _ = case(seed)
    schedule = Schedule(network, config)
    for role in ("matrix_weights", "matrix_parameters", "depthwise_weights", "depthwise_parameters"):
        (_, depth, width), = use(schedule, role)
        words = getattr(images, role)(schedule)
        assert len(words) == depth
        assert max(words) < 1 << width


def test_mobilenets_keep_their_memories():
    """Tiles of all rows, images in one word a window: as before."""
    schedule = Schedule(MobileNet(0.25, 32, classes=10).network(), replace(ENGINE, copy_lanes=15))
    assert schedule.layout.parts == 1
    assert len(use(schedule, "tile_buffer")) == 1


def test_a_vector_is_no_slower():
    """The last word, which is not full, is stored when the last byte is in."""
    network = connected((1, 1, 642), 8)
    schedule = Schedule(network, replace(ENGINE, input_bytes=2, lanes=10, requantisers=2))
    assert schedule.layout.parts == 65
    assert CycleModel(schedule).load_timing[2] == 2  # of the word before, and of this one
