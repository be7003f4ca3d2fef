"""The schedule's promises, looked at one by one: nothing is used twice at once, nothing is read too early, and no cycle
is waited for nothing."""

from dataclasses import replace
from functools import cache, partial, partialmethod
from itertools import pairwise

import numpy as np
import pytest
from networks import depthwise, random_case
from replay import slacks
from tepal.hdl import EngineConfig, Schedule
from tepal.hdl.answer import pack_answer
from tepal.hdl.plan.widths import Formats
from tepal.hdl.units.tile_buffer import TileBuffer
from tepal.sim import golden, run_engine

SEEDS = [*range(25), 40, 1293]
"""In 15 and 40 the first block is folded; in the last one the second tile of the next block comes just behind the last
row."""

MARGINS = {
    # The sequencer's counters need three cycles; none of the bounds is worth another form for the one that is lost.
    "sequencer of tiles": 1,
    "constants": 2,
    # Bounds are on steps and first words, conflicts are in the memories that lie further on.
    "read after write": "reads",
    "single port": "reads",
    "tile buffer of tiles": 2,
    "tile buffer of blocks": 1,
}
"""Cycles by which the schedule keeps further away from a conflict than the hardware needs ("reads": those from a step
to its reading).  All other bounds are exact."""

BOUNDS = {
    ("_period_bounds", "operands"): ("operands", 4),
    ("_period_bounds", "drain"): ("drain", 4),
    ("_period_bounds", "columns"): ("columns of sums", 4),
    ("_slot_bounds", "groups"): ("steps of tiles", 4),
    ("_slot_bounds", "array"): ("array of tiles", 4),
    ("_slot_bounds", "tile buffer"): ("tile buffer of tiles", 1),
    ("_slot_bounds", "sequencer"): ("sequencer of tiles", 4),
    ("_start_bounds", "groups"): ("lane parameters of blocks", 4),
    ("_start_bounds", "constants"): ("constants", 4),
    ("_start_bounds", "array"): ("array of blocks", 4),
    ("_start_bounds", "order"): ("order of blocks", 4),
    ("_start_bounds", "columns"): ("columns of blocks", 4),
    ("_start_bounds", "tile buffer"): ("tile buffer of blocks", 1),
    ("_start_bounds", "single port"): ("single port", 4),
    ("_start_bounds", "read after write"): ("read after write", 4),
}
"""The conflict that each bound keeps off, and the number of places in the tile buffer with which it is the one that
counts."""


def schedule_of(seed) -> Schedule:
    network, config, _ = random_case(seed, frugal=False)
    return Schedule(network, config)


@cache
def cases():
    """(network, engine, formats): engines of either kind; with many columns, whose results all leave at once; and one
    on which a block waits for nothing but a group's parameters before the next begins."""
    found = [random_case(seed, frugal=frugal)[:2] for seed in [*range(80), 1293] for frugal in (False, True)]
    found += [(network, replace(config, columns=30, lanes=30, requantisers=30)) for network, config in found[:20:2]]
    found.append((depthwise((7, 61, 1), [(1, 1), (2, 1)]), EngineConfig(70, 67, 67, (1, 1), 67)))
    return [(network, config, Formats(network)) for network, config in found]


def margin(kind: str, config: EngineConfig) -> int:
    cycles = MARGINS.get(kind, 0)
    return 1 + config.pipelined if cycles == "reads" else cycles


def closest() -> dict[str, int]:
    """The least cycles of any case between each kind of conflict and its margin."""
    found: dict[str, int] = {}
    for network, config, formats in cases():
        for kind, cycles in slacks(Schedule(network, config, formats)).items():
            found[kind] = min(found.get(kind, cycles), cycles - margin(kind, config))
    return found


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


@pytest.mark.parametrize("places", [1, 2, 4])
def test_margins(places, monkeypatch):
    """No conflict is nearer than its margin; and as near as that is each that a bound keeps off, in some case.

    The engine has four places in its tile buffer; with fewer, bounds count that are implied otherwise."""
    monkeypatch.setattr(TileBuffer, "TILES", places)
    found = closest()
    assert min(found.values()) == 0, found
    assert {kind for kind, count in BOUNDS.values() if count == places} <= {kind for kind in found if not found[kind]}


@pytest.mark.parametrize(("method", "name"), BOUNDS, ids=lambda value: value.strip("_"))
def test_bound_is_tight(method, name, monkeypatch):
    """One cycle less than a bound, and what it is there for comes too near."""
    (kind, places), bounds = BOUNDS[method, name], getattr(Schedule, method)
    monkeypatch.setattr(TileBuffer, "TILES", places)
    before = [(case, Schedule(*case)) for case in cases()]

    def lowered(self, *arguments, **options):
        found = bounds(self, *arguments, **options)
        return found | {name: found[name] - 1} if name in found else found

    monkeypatch.setattr(Schedule, method, lowered)
    near = []
    for (network, config, formats), schedule in before:
        after = Schedule(network, config, formats)
        times = [[(b.start, b.slot, b.last_slot, b.period) for b in s.blocks] for s in (schedule, after)]
        if times[0] != times[1]:
            near += [cycles - margin(kind, config) for found, cycles in slacks(after).items() if found == kind]
    assert near, "in no case is it this bound that counts"
    assert min(near) == -1


@pytest.mark.slow
@pytest.mark.parametrize(("method", "name", "seed", "frugal"), [
    ("_period_bounds", "operands", 5, False), ("_period_bounds", "drain", 0, False),
    ("_period_bounds", "columns", 75, False), ("_slot_bounds", "groups", 2, True), ("_slot_bounds", "array", 0, False),
    ("_slot_bounds", "sequencer", 17, False), ("_start_bounds", "array", 0, False),
    ("_start_bounds", "single port", 17, True), ("_start_bounds", "read after write", 16, False)])
def test_what_the_hardware_needs(method, name, seed, frugal, monkeypatch):
    """Where the replay sees no cycle to spare, results are right; with one less they are wrong, or don't come."""
    network, config, images = random_case(seed, 2, frugal=frugal)
    (kind, _), bounds = BOUNDS[method, name], getattr(Schedule, method)
    right = []
    for less in (margin(kind, config), margin(kind, config) + 1):
        def lowered(self, *arguments, less=less, **options):
            found = bounds(self, *arguments, **options)
            return found | {name: found[name] - less} if name in found else found

        monkeypatch.setattr(Schedule, method, lowered)
        schedule = Schedule(network, config)
        assert slacks(schedule)[kind] == margin(kind, config) - less
        expected = tuple(pack_answer(row, frame) for frame, row in enumerate(golden.run(network, images)))
        right.append(run_engine(schedule, images).answers == expected)
    assert right == [True, False]


def test_every_bound_is_known(monkeypatch):
    """No bound of the schedule goes without the two tests above."""
    seen = set()

    def spied(bounds, self, *arguments, **options):
        found = bounds(self, *arguments, **options)
        seen.update((bounds.__name__, name) for name in found)
        return found

    for method in {method for method, _ in BOUNDS}:
        monkeypatch.setattr(Schedule, method, partialmethod(partial(spied, getattr(Schedule, method))))
    for case in cases():
        Schedule(*case)
    assert seen == set(BOUNDS)


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
