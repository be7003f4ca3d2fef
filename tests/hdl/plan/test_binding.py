# SPDX-License-Identifier: Apache-2.0
"""What binds a pass: with more of that unit its tiles follow each other sooner, with more of another they do not."""

from dataclasses import replace

from networks import random_case
from tepal.hdl import EngineConfig, Schedule
from tepal.hdl.plan.binding import BINDINGS, slot_binding, start_binding, tile_bindings
from tepal.hdl.plan.tiling import Tiling, slot_bounds
from tepal.hdl.plan.timeline import ScheduledPass, read_after_write, start_bounds

ENGINE = EngineConfig(4, 8, 4, (2, 2), 2)


def schedules(**changed):
    return [Schedule(random_case(seed)[0], replace(ENGINE, **changed)) for seed in range(30)]


def slot(scheduled: ScheduledPass, **more) -> int:
    return Tiling(scheduled.work, replace(scheduled.engine, **more), scheduled.latency).slot


def test_tiles():
    seen = set()
    for scheduled in (each for requantisers in (1, 2) for schedule in schedules(requantisers=requantisers)
                      for each in schedule.passes):
        engine, binding = scheduled.engine, slot_binding(scheduled)
        *_, next_to_it, tightest = sorted(slot_bounds(scheduled).values())
        if next_to_it == tightest:
            # Both would have to be faster.
            continue
        lanes = slot(scheduled, lanes=2 * engine.lanes, copy_lanes=2 * engine.tile_lanes)
        if binding == "requantisers":
            assert slot(scheduled, requantisers=2 * engine.requantisers) < scheduled.slot == lanes
        elif binding == "array" and scheduled.column_groups > 1:
            twice = {"columns": 2 * engine.columns, "requantisers": 2 * engine.requantisers}
            assert slot(scheduled, **twice, lanes=2 * engine.lanes) < scheduled.slot == lanes
        elif binding in ("lanes", "memory port") and scheduled.groups > 1:
            assert lanes < scheduled.slot
        else:
            continue
        seen.add(binding)
    assert seen == {"requantisers", "array", "lanes", "memory port"}


def test_serial_requantisers_of_lanes():
    """Steps that wait for them are theirs, and no one's else."""
    found = {slot_binding(each) for schedule in schedules(lane_cycles=5) for each in schedule.passes if each.reduces}
    assert "lane requantisers" in found
    assert not any(slot_binding(each) == "lane requantisers" for schedule in schedules() for each in schedule.passes)


def test_starts():
    """The bound that is told is met by the start; each has a name that people are told about."""
    seen = set()
    for schedule in schedules():
        assert schedule.passes[0].held_by is None
        for before, each in zip((None, *schedule.passes), schedule.passes, strict=False):
            seen.add(each.held_by)
            assert start_binding(each, before) in BINDINGS
            if before is not None:
                bounds = start_bounds(before, before.start, each)
                writer = each.work.source
                if writer is not None:
                    bounds["read after write"] = read_after_write(schedule.passes[writer],
                                                                  schedule.passes[writer].start, each)
                assert bounds.get(each.held_by, each.start) == each.start
            if each.held_by in ("read after write", "add after write"):
                assert start_binding(each, before) == "earlier results"
            ends = [cycles for cycles, _ in tile_bindings(each)]
            assert 0 < ends[0] <= ends[1] <= ends[2]
            assert {binding for _, binding in tile_bindings(each)} <= BINDINGS.keys()
    assert len(seen) > 3
