"""The schedule's promises, looked at one by one: nothing is used twice at once, nothing is read too early."""

from itertools import pairwise

import numpy as np
import pytest
from networks import random_case
from tepal.hdl import Schedule
from tepal.hdl.tile_buffer import TileBuffer

SEEDS = [*range(25), 40, 1293]
"""In 15 and 40 the first block is folded; in the last one the second tile of the next block comes just behind the last
row."""
FRAMES = 3

READ = 2
"""Cycles from a step to the read of its words."""


def schedule_of(seed) -> Schedule:
    network, config, _ = random_case(seed)
    return Schedule(network, config)


def tiles_of(schedule):
    """(block number, tile, cycle of its first step) in order, of frames as close together as they can be."""
    frame = 0
    for _ in range(FRAMES):
        for number, block in enumerate(schedule.blocks):
            for tile in range(block.tiles):
                yield number, tile, frame + block.start + tile * block.slot
        frame += block.start + (block.tiles - 1) * block.slot + block.last_slot


def touched(block, tile):
    """Source pixels that a tile's windows cover, as (row, column)."""
    window, (height, width, _) = block.block.window, block.source.shape
    for pixel in range(tile * block.tile_windows, min(block.block.windows, (tile + 1) * block.tile_windows)):
        row, column = divmod(pixel, window.output_size[1])
        for y, x in np.ndindex(*window.kernel):
            y += row * window.stride[0] + window.origin[0]
            x += column * window.stride[1] + window.origin[1]
            if 0 <= y < height and 0 <= x < width:
                yield y, x


@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_twice_at_once(seed):
    schedule = schedule_of(seed)
    config, blocks = schedule.config, schedule.blocks
    tiles = list(tiles_of(schedule))
    for (number, _, start), (following, tile, then) in pairwise(tiles):
        block, after = blocks[number], blocks[following]
        last_step = start + block.steps - 1
        # One step in a cycle; a block's constants stay until its last window is out.
        assert last_step < then
        assert tile or last_step + schedule.copy_latency - 1 < then
        # Groups that are reduced leave time to load the next one's parameters.
        if block.reduces:
            assert then - (start + (block.source.groups - 1) * block.group_period) > schedule.parameter_beats
            assert block.source.groups == 1 or block.group_period > schedule.parameter_beats
        # One word is written into the tile buffer in a cycle, one tile is fed.
        assert start + block.filled < then + after.tile_latency
        assert start + block.fed <= then + after.filled + 1
        # Finished sums find the row below drained.
        assert after.period >= max(config.rows * config.drain_step, after.inner)
    # Parameters are loaded a column a cycle, at each sum of several blocks, else at the first.
    loads = [start + blocks[number].filled + (block + 1) * blocks[number].period for number, tile, start in tiles
             for block in range(blocks[number].blocks) if tile == 0 or blocks[number].blocks > 1]
    assert all(then - before >= config.columns for before, then in pairwise(loads))
    # A place in the tile buffer is read by the last row before it is written again.
    for (number, _, start), (following, _, then) in zip(tiles, tiles[TileBuffer.TILES:], strict=False):
        assert start + blocks[number].fed - 1 + config.rows - 1 < then + blocks[following].tile_latency


@pytest.mark.parametrize("seed", SEEDS)
def test_read_after_write(seed):
    """Every pixel is in memory before the first tile that reads it begins; and still there when the last does."""
    schedule = schedule_of(seed)
    config, blocks = schedule.config, schedule.blocks
    written, region_read = {}, {}
    for number, tile, start in tiles_of(schedule):
        block = blocks[number]
        if number:
            for place in touched(block, tile):
                assert written[number - 1][place] < start + READ
            region_read[block.source.base] = start + block.steps - 1 + READ
        first = start + block.fed - 1 - (block.blocks - 1) * block.period + schedule.drain_latency
        last = start + block.fed - 1 + schedule.drain_latency
        if number < len(blocks) - 1:
            assert region_read.get(block.target.base, -1) < first
            written.setdefault(number, {})
            for place in range(min(block.tile_windows, block.block.windows - tile * block.tile_windows)):
                row, column = divmod(tile * block.tile_windows + place, block.block.window.output_size[1])
                for part in range(block.block.fold):
                    pixel = row, column * block.block.fold + part
                    written[number][pixel] = last + (place + 1) * config.drain_step - 1


@pytest.mark.parametrize("seed", SEEDS)
def test_needs(seed):
    schedule = schedule_of(seed)
    for block, following in pairwise(schedule.blocks):
        needs, width = [0], following.source.shape[1]
        for tile in range(following.tiles):
            pixels = [y * width + x for y, x in touched(following, tile)]
            needs.append(max([needs[-1], *(pixel // block.tile_pixels for pixel in pixels)]))
        # Padding counts as the pixel beside it: more is needed at times, never less.
        got = schedule._needs(block, following)
        assert (got >= needs[1:]).all()
        window = following.block.window
        ends = (np.array(window.output_size) - 1) * window.stride + window.origin + window.kernel
        if not any(window.origin) and (ends <= window.input_shape[:2]).all():
            assert list(got) == needs[1:]


@pytest.mark.parametrize("seed", SEEDS)
def test_memory_regions(seed):
    schedule = schedule_of(seed)
    for block in schedule.blocks:
        source, target = block.source, block.target
        assert source.shape[:2] == block.block.window.input_shape[:2]
        if block is not schedule.blocks[0] and block is not schedule.blocks[-1]:
            assert source.base + source.depth <= target.base or target.base + target.depth <= source.base
        if block is not schedule.blocks[0]:
            assert source.base + source.depth <= schedule.bank_depth
