# SPDX-License-Identifier: Apache-2.0
"""Where a frame's cycles go: against the replay of every access, and as parts of a whole."""

from collections import defaultdict
from itertools import pairwise

import pytest
from graphs import graph_case, sliced_case
from networks import fast, random_case
from tepal.hdl import Schedule
from tepal.hdl.plan.binding import BINDINGS
from tepal.sim import CycleModel
from tepal.sim.hazards import _reads, _tiles, _writes
from tepal.sim.occupancy import UNITS, map_spans, pass_times, segments

CASES = [(make, seed) for seed in range(12) for make in (random_case, graph_case, sliced_case)]


def model_of(make, seed: int) -> CycleModel:
    network, config, _ = make(seed)
    return CycleModel(Schedule(network, config))


@pytest.mark.parametrize(("make", "seed"), fast(CASES, 15))
def test_segments(make, seed):
    """They are all cycles from image to answer, one behind the other, each of a pass that there is."""
    model = model_of(make, seed)
    found = segments(model)
    assert all(before.behind == after.first for before, after in pairwise(found))
    assert min(each.cycles for each in found) > 0
    assert sum(each.cycles for each in found) == model.in_memory_cycles
    assert {each.binding for each in found} <= BINDINGS.keys()
    assert {each.number for each in found} == set(range(len(model.schedule.passes)))
    waits = sum(each.cycles for each in found if each.binding == "weights from outside")
    assert waits == sum(each.waited for each in pass_times(model))
    if model.schedule.loads is None:
        assert waits == 0


@pytest.mark.parametrize(("make", "seed"), fast(CASES, 15))
def test_times(make, seed):
    """Reading and results are when the replay has them; no unit works for two passes at once, or for longer than it
    is there."""
    model = model_of(make, seed)
    schedule, times = model.schedule, pass_times(model)
    reads, writes = defaultdict(set), defaultdict(set)
    for tile in _tiles(schedule, 1):
        # The replay knows nothing of weights that are waited for.
        later = times[tile.number].start - tile.scheduled.start
        reads[tile.number] |= {later + cycle for cycle, *_ in _reads(schedule, tile)}
        writes[tile.number] |= {later + cycle for cycle, *_ in _writes(schedule, tile)}
    for number, each in enumerate(times):
        reading, results = each.units["reading"], each.units["results"]
        assert reading.first <= min(reads[number], default=reading.first)
        assert max(reads[number], default=reading.last) <= reading.last
        assert len(reads[number]) <= reading.active
        assert (results.first, results.last) == (min(writes[number]), max(writes[number]))
        assert results.active == len(writes[number]) * schedule.config.requantiser_cycles
        assert ("lanes" in each.units) == schedule.passes[number].reduces
        assert each.end == results.last
        assert all(1 <= work.active <= work.last - work.first + 1 for work in each.units.values())
    for unit in UNITS:
        works = [each.units[unit] for each in times if unit in each.units]
        assert all(before.last < after.first for before, after in pairwise(works))


@pytest.mark.parametrize(("make", "seed"), fast(CASES, 15))
def test_maps(make, seed):
    """Maps that share words do not live at the same time, but for the cycles in which a value is replaced by the sum
    that it is part of; each lies in its memory."""
    model = model_of(make, seed)
    schedule = model.schedule
    depths = {"input": schedule.layout.depth, "activations": schedule.bank_depth, "skip": schedule.skip_depth,
              "output": schedule.output_depth}
    spans = map_spans(model)
    for each in spans:
        assert 0 <= each.base < each.base + each.depth <= depths[each.memory]
        assert each.first <= each.last
    for number, scheduled in enumerate(schedule.passes):
        work = scheduled.work
        source, = (each for each in spans if each.number == work.source and each.memory != "skip")
        assert number in source.readers
        assert source.first < pass_times(model)[number].units["reading"].last <= source.last
        if work.other is not None:
            other, = (each for each in spans if each.number == work.other and each.memory == "skip")
            assert number in other.readers
    for one in spans:
        for other in spans:
            shared = one.base < other.base + other.depth and other.base < one.base + one.depth
            if one is not other and one.memory == other.memory == "activations" and shared:
                assert one.last < other.first or other.last < one.first
