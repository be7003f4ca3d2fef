# SPDX-License-Identifier: Apache-2.0
"""The timeline's promises, looked at one by one: nothing is used twice at once, nothing is read too early, and no cycle
is waited for nothing."""

from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from functools import cache, reduce
from itertools import pairwise

import numpy as np
import pytest
from graphs import graph_case, of_arms
from networks import chain, depthwise, random_case
from tepal.hdl import EngineConfig, Schedule, plan
from tepal.hdl.answer import pack_answer
from tepal.hdl.plan.timeline import Scoreboard, Touched, add_after_write, needs
from tepal.hdl.plan.widths import Formats
from tepal.hdl.units.tile_buffer import TileBuffer
from tepal.quant.layer import IMAGE
from tepal.sim import golden, run_engine
from tepal.sim.hazards import conflicts, slacks

SEEDS = [*range(25), 40, 1293]
"""In 15 and 40 the first pass is unrolled; in the last one the second tile of the next pass comes just behind the last
row."""

MARGINS = {
    # The sequencer's counters need three cycles; none of the bounds is worth another form for the one that is lost.
    "sequencer of tiles": 1,
    "constants": 2,
    # Bounds are on steps and first words, conflicts are in the memories that lie further on.
    "read after write": "reads",
    "single port": "reads",
    "tile buffer of tiles": 2,
    "tile buffer of passes": 1,
}
"""Cycles by which the schedule keeps further away from a conflict than the hardware needs ("reads": those from a step
to its reading).  All other bounds are exact."""

BOUNDS = {
    ("tiling.period_bounds", "operands"): ("operands", 4),
    ("tiling.period_bounds", "drain"): ("drain", 4),
    ("tiling.period_bounds", "columns"): ("columns of sums", 4),
    ("tiling.slot_bounds", "groups"): ("steps of tiles", 4),
    ("tiling.slot_bounds", "array"): ("array of tiles", 4),
    ("tiling.slot_bounds", "tile buffer"): ("tile buffer of tiles", 1),
    ("tiling.slot_bounds", "sequencer"): ("sequencer of tiles", 4),
    ("timeline.start_bounds", "groups"): ("lane parameters of passes", 4),
    ("timeline.start_bounds", "constants"): ("constants", 4),
    ("timeline.start_bounds", "array"): ("array of passes", 4),
    ("timeline.start_bounds", "order"): ("order of passes", 4),
    ("timeline.start_bounds", "columns"): ("columns of passes", 4),
    ("timeline.start_bounds", "tile buffer"): ("tile buffer of passes", 1),
    ("timeline.Scoreboard.bounds", "single port"): ("single port", 4),
    ("timeline.read_after_write", "read after write"): ("read after write", 4),
}
"""The conflict that each bound keeps off, and the number of places in the tile buffer with which it is the one that
counts."""

IMPLIED = {("timeline.Scoreboard.bounds", "write after read"), ("timeline.Scoreboard.bounds", "write after write"),
           ("timeline.add_after_write", "read after write")}
"""Bounds that never count, for all passes share the array: looked at by themselves."""


def schedule_of(seed) -> Schedule:
    network, config, _ = random_case(seed, frugal=False)
    return Schedule(network, config)


def rewired(passes: int, seed: int) -> tuple:
    """(network, engine, formats) of passes each of which reads the map of any pass before it."""
    rng = np.random.default_rng(seed)
    channels, shape = int(rng.integers(1, 9)), tuple(int(n) for n in rng.integers(1, 7, 2))
    network = chain((*shape, channels), passes)
    formats = Formats(network)
    formats.passes = tuple(work if work.source is None else replace(work, source=int(rng.integers(number)))
                           for number, work in enumerate(formats.passes))
    config = EngineConfig(int(rng.integers(1, 6)), int(rng.integers(1, 9)), int(rng.integers(1, 9)),
                          single_port=bool(rng.integers(2)))
    return network, config, formats


@cache
def cases():
    """(network, engine, formats): engines of either kind; with many columns, whose results all leave at once; one
    on which a pass waits for nothing but a group's parameters before the next begins; and passes that read maps of any
    before them."""
    found = [random_case(seed, frugal=frugal)[:2] for seed in [*range(80), 1293] for frugal in (False, True)]
    found += [(network, replace(config, columns=30, lanes=30, requantisers=30)) for network, config in found[:20:2]]
    found.append((depthwise((7, 61, 1), [(1, 1), (2, 1)]), EngineConfig(70, 67, 67, (1, 1), 67)))
    found += [graph_case(seed)[:2] for seed in range(12)]
    return [*((network, config, Formats(network)) for network, config in found),
            *(rewired(6, seed) for seed in range(30))]


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


def change(monkeypatch, function: str, changed):
    """Let ``changed`` see and replace what a function of the plan gives, as a dictionary of bounds."""
    original = reduce(getattr, function.split("."), plan)

    def replaced(*arguments):
        found = original(*arguments)
        if isinstance(found, dict):
            return changed(found)
        return changed({"read after write": found})["read after write"]

    monkeypatch.setattr(f"tepal.hdl.plan.{function}", replaced)


def less(name: str, cycles: int):
    """Makes one bound smaller."""
    return lambda found: found | {name: found[name] - cycles} if name in found else found


def touched(scheduled, tile):
    """Source pixels that a tile's windows cover, as (row, column)."""
    window, (height, width, _) = scheduled.work.window, scheduled.source.shape
    for pixel in range(tile * scheduled.tile_windows, min(scheduled.work.windows, (tile + 1) * scheduled.tile_windows)):
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


@pytest.mark.parametrize(("function", "name"), BOUNDS)
def test_bound_is_tight(function, name, monkeypatch):
    """One cycle less than a bound, and what it is there for comes too near."""
    kind, places = BOUNDS[function, name]
    monkeypatch.setattr(TileBuffer, "TILES", places)

    def times(schedule: Schedule) -> list:
        return [(each.start, each.slot, each.last_slot, each.period) for each in schedule.passes]

    before = [(case, times(Schedule(*case))) for case in cases()]
    change(monkeypatch, function, less(name, 1))
    near = []
    for (network, config, formats), usual in before:
        after = Schedule(network, config, formats)
        if times(after) != usual:
            near += [cycles - margin(kind, config) for found, cycles in slacks(after).items() if found == kind]
    assert near, "in no case is it this bound that counts"
    assert min(near) == -1


@pytest.mark.slow
@pytest.mark.parametrize(("function", "name", "seed", "frugal"), [
    ("tiling.period_bounds", "operands", 5, False),
    ("tiling.period_bounds", "drain", 0, False),
    ("tiling.period_bounds", "columns", 75, False),
    ("tiling.slot_bounds", "groups", 2, True),
    ("tiling.slot_bounds", "array", 0, False),
    ("tiling.slot_bounds", "sequencer", 17, False),
    ("timeline.start_bounds", "array", 0, False),
    ("timeline.Scoreboard.bounds", "single port", 17, True),
    ("timeline.read_after_write", "read after write", 16, False),
])
def test_what_the_hardware_needs(function, name, seed, frugal, monkeypatch):
    """Where the replay sees no cycle to spare, results are right; with one less they are wrong, or don't come."""
    network, config, images = random_case(seed, 2, frugal=frugal)
    kind, _ = BOUNDS[function, name]
    right = []
    for cycles in (margin(kind, config), margin(kind, config) + 1):
        with monkeypatch.context() as patched:
            change(patched, function, less(name, cycles))
            schedule = Schedule(network, config)
            assert slacks(schedule)[kind] == margin(kind, config) - cycles
            taken = run_engine(schedule, images).answers
        expected = tuple(pack_answer(row, frame) for frame, row in enumerate(golden.run(network, images)))
        right.append(taken == expected)
    assert right == [True, False]


def test_every_bound_is_known(monkeypatch):
    """No bound of the timeline goes without the tests above, or the next one."""
    seen = set()
    for function in {function for function, _ in BOUNDS.keys() | IMPLIED}:
        def spied(found, function=function):
            seen.update((function, name) for name in found)
            return found
        change(monkeypatch, function, spied)
    for case in cases():
        Schedule(*case)
    assert seen == BOUNDS.keys() | IMPLIED


@pytest.mark.parametrize("name", ["write after read", "write after write"])
def test_region_is_free(name):
    """A pass that overwrites a region begins no sooner than this bound; there it meets nothing, a cycle before it does.

    All maps are a single word here, which the last step reads and the first result begins."""
    schedule = Schedule(chain((1, 1, 4), 8), EngineConfig(1, 4, 4, requantisers=2))
    number = 2
    board = Scoreboard()
    for scheduled in schedule.passes[:number]:
        board.add(scheduled, scheduled.start, Touched(scheduled.source, scheduled.target))
    moved = schedule.passes[number]
    bound = board.bounds(moved, Touched(moved.source, moved.target))[name]
    assert bound <= moved.start, "the bounds on neighbours imply it"
    for start, slack in ((bound, 0), (bound - 1, -1)):
        shifted = copy(schedule)
        shifted.passes = tuple(replace(each, start=start) if each is moved else each for each in schedule.passes)
        assert slacks(shifted)[name] == slack
        assert any(told.startswith("an activation is") for told in conflicts(shifted))


@pytest.mark.parametrize("pipelined", [True, False])
@pytest.mark.parametrize("seed", range(12))
def test_added_when_written(seed, pipelined):
    """A pass that adds another one's map begins no sooner than this bound; there it meets nothing, a cycle before it
    does."""
    rng = np.random.default_rng(seed)
    shape, sizes = tuple(map(int, rng.integers(1, 5, 3))), rng.integers(1, 5, 2)
    config = EngineConfig(*map(int, sizes), 4, requantiser_cycles=int(rng.choice([1, 3])), pipelined=pipelined)
    schedule = Schedule(of_arms((*shape[:2], shape[2]), [(IMAGE,), (0,), (0,), (1, 2)]), config)
    moved = schedule.passes[-1]
    assert moved.work.other is not None
    writer = schedule.passes[moved.work.other]
    bound = add_after_write(writer, writer.start, moved)
    assert bound <= moved.start, "the bounds on neighbours imply it"
    for start, slack in ((bound, 0), (bound - 1, -1)):
        shifted = copy(schedule)
        shifted.passes = (*schedule.passes[:-1], replace(moved, start=start))
        assert slacks(shifted)["skip read after write"] == slack
        told = any(told.startswith("a value is added before it is written") for told in conflicts(shifted))
        assert told == (slack < 0)


@pytest.mark.parametrize("seed", range(40))
def test_any_source(seed):
    """Passes that read the map of any pass before them, which others have read or written over meanwhile."""
    schedule = Schedule(*rewired(8, seed))
    sources = [each.work.source for each in schedule.passes]
    assert sources[0] is None
    assert not conflicts(schedule)


def test_sources_that_lie_apart():
    """Some of them read a map that is not the last one, and so must have more regions than two."""
    schedules = [Schedule(*rewired(8, seed)) for seed in range(40)]
    assert max(len(schedule.region_depths) for schedule in schedules) > 2


@pytest.mark.parametrize("seed", SEEDS)
def test_needs(seed):
    schedule = schedule_of(seed)
    for writer, reader in pairwise(schedule.passes):
        least, width = [0], reader.source.shape[1]
        for tile in range(reader.tiles):
            pixels = [y * width + x for y, x in touched(reader, tile)]
            least.append(max([least[-1], *(pixel // writer.tile_pixels for pixel in pixels)]))
        # Padding counts as the pixel beside it: more is needed at times, never less.
        got = needs(writer, reader)
        assert (got >= least[1:]).all()
        window = reader.work.window
        ends = (np.array(window.output_size) - 1) * window.stride + window.origin + window.kernel
        if not any(window.origin) and (ends <= window.input_shape[:2]).all():
            assert list(got) == least[1:]


def test_conflicts_are_told():
    """Each kind has a sentence, and says by how much."""
    schedule = schedule_of(16)
    first, second, *rest = schedule.passes
    early = copy(schedule)
    early.passes = (first, replace(second, start=first.start), *rest)
    told: Sequence[str] = conflicts(early)
    assert "an activation is read before it is written: " in " ".join(told)
    assert all(sentence.endswith(" cycles too early") for sentence in told)
    assert any("(of two passes)" in sentence for sentence in told)
