# SPDX-License-Identifier: Apache-2.0
"""The replay of memories finds nothing in a schedule that is right, and whatever is wrong in one that has been damaged.

(``tests/hdl/plan/test_timeline.py`` takes a cycle from each bound of the timeline.)"""

from copy import copy
from dataclasses import replace
from pathlib import Path

import pytest
from graphs import few_weights, of_arms, residuals
from networks import chain
from tepal.hdl import EngineConfig, Schedule
from tepal.quant import read_model
from tepal.quant.layer import IMAGE
from tepal.sim import cycles
from tepal.sim.hazards import KINDS, conflicts, slacks

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
ENGINE = EngineConfig(3, 4, 2, (2, 2), requantisers=2, lane_cycles=3)


def schedule_of(config: EngineConfig = ENGINE) -> Schedule:
    return Schedule(chain((6, 5, 4), 8), config)


def damaged(schedule: Schedule, change=None, **attributes) -> Schedule:
    """A copy whose passes ``change`` has changed, one by one, and with other ``attributes``."""
    other = copy(schedule)
    if change:
        other.passes = tuple(map(change, schedule.passes))
    vars(other).update(attributes)
    return other


def found(schedule: Schedule) -> set[str]:
    """Kinds of conflict that are told."""
    told = conflicts(schedule)
    return {kind for kind, sentence in KINDS.items() for each in told if each.startswith(sentence)}


@pytest.mark.parametrize("model", ["digits/digits.tflite", pytest.param("cifar10/models/small_0.25_32_int8.onnx",
                                                                       marks=pytest.mark.slow)])
@pytest.mark.parametrize("config", [
    EngineConfig(9, 16, 8, (3, 3), 8, spread=2, copy_lanes=9),
    EngineConfig(5, 3, 2, (1, 1), requantiser_cycles=3, lane_cycles=4, single_port=True, pipelined=False),
])
def test_nothing_meets(model, config):
    schedule = Schedule(read_model(EXAMPLES / model), config)
    assert not conflicts(schedule)
    assert min(slacks(schedule).values()) >= 0


def test_every_kind_is_looked_for():
    """By an engine of either kind, in a network of several passes, in one whose maps are added, and by rows of the
    image."""
    schedules = (schedule_of(), schedule_of(replace(ENGINE, lane_cycles=1, single_port=True)),
                 Schedule(residuals((6, 5, 4), 3), ENGINE), schedule_of(replace(ENGINE, input_rows=4)))
    assert {kind.partition(" of ")[0] for schedule in schedules for kind in slacks(schedule)} == KINDS.keys()


def test_maps_in_one_place():
    """All maps begin at the same word: what is written destroys what is still to be read."""
    def at_zero(scheduled):
        return replace(scheduled, source=replace(scheduled.source, base=0), target=replace(scheduled.target, base=0))

    assert found(damaged(schedule_of(), at_zero)) == {"write after read"}


def test_one_map_too_far():
    """A pass looks beside what it needs."""
    def later(scheduled):
        return replace(scheduled, source=replace(scheduled.source, base=scheduled.source.base + 1))

    schedule = damaged(schedule_of(), lambda scheduled: later(scheduled) if scheduled.work.source == 2 else scheduled)
    assert conflicts(schedule) == ["an activation is read where it was not written"]


@pytest.mark.parametrize(("change", "kinds"), [
    # What is added is overwritten by the map that is made meanwhile.
    (lambda scheduled: {name: None if getattr(scheduled, name) is None else 0 for name in ("added", "other")},
     {"skip write after read"}),
    (lambda scheduled: {} if scheduled.other is None else {"other": scheduled.other + 1}, {"skip places"}),
])
def test_added_from_elsewhere(change, kinds):
    """Nested residuals, whose maps lie apart."""
    network = of_arms((6, 5, 4), [(IMAGE,), (0,), (1,), (1, 2), (3,), (0, 4)])
    schedule = Schedule(network, ENGINE)
    assert not conflicts(schedule)
    assert schedule.skip_depth == 2 * 6 * 5 * 2

    assert kinds <= found(damaged(schedule, lambda scheduled: replace(scheduled, **change(scheduled))))


def test_added_too_early():
    """A unit that looks for what is added longer before the write than planned."""
    schedule = Schedule(residuals((1, 1, 4), 2), EngineConfig(1, 4, 4, requantisers=4))
    late = replace(schedule.latency, skip=schedule.latency.skip + 200)
    assert "skip read after write" in found(damaged(schedule, latency=late))


def test_too_few_banks():
    def one_bank(scheduled):
        return replace(scheduled, source=replace(scheduled.source, banks=(1, 1)),
                       target=replace(scheduled.target, banks=(1, 1)))

    assert found(damaged(schedule_of(), one_bank)) == {"banks"}


@pytest.mark.parametrize(("latency", "kinds"), [
    ({"reduce": 50}, {"tile buffer filled"}),
    ({"copy": 50}, {"tile buffer filled"}),
    ({"drain": 200}, {"read after write"}),
    ({"window": -9}, {"loading after input"}),
    ({"read": -40}, {"read after write"}),
])
def test_slower_than_planned(latency, kinds):
    """Units that take other times than those for which the schedule was made."""
    schedule = schedule_of()
    late = replace(schedule.latency, **{name: getattr(schedule.latency, name) + n for name, n in latency.items()})
    assert kinds <= found(damaged(schedule, latency=late))


def test_slower_requantisers():
    schedule = schedule_of()
    assert "lanes" in found(damaged(schedule, config=replace(schedule.config, lane_cycles=30)))


def test_streams(monkeypatch):
    """A streamer that fetches too early; and a sequencer that begins before the image is there and the last answer is
    away."""
    schedule = Schedule(chain((6, 5, 4), 1), ENGINE)
    first, length = cycles.CycleModel(schedule).send_timing
    with monkeypatch.context() as patched:
        patched.setattr(cycles.OutputStreamer, "timing", lambda shape, lanes: (first - 1, length))
        assert found(schedule) == {"output after results"}
    monkeypatch.setattr(cycles.Sequencer, "latency", staticmethod(lambda pipelined: -200))
    assert found(schedule) == {"input after loading", "results after output"}


@pytest.mark.parametrize(("change", "kinds"), [
    # A word too far; and where another slice lies.
    (lambda each: {"target": replace(each.target, base=each.target.base + 1)}, {"places"}),
    (lambda each: {"work": replace(each.work, first_channel=0)}, {"places", "skip places"}),
    (lambda each: {"added": each.added + 1}, {"skip places"}),
    (lambda each: {"added": 0}, {"skip places"}),
    # Before the slice in front of it is done.
    (lambda each: {"start": each.start - 100}, {"array"}),
])
def test_a_slice_in_another_place(change, kinds):
    """One slice of a map that another pass reads and a third one adds."""
    network = residuals((4, 3, 6), 1)
    schedule = Schedule(network, few_weights(network, EngineConfig(3, 2, 2, weight_words=1)))
    assert not conflicts(schedule)
    assert [each.added is not None for each in schedule.passes[:3]] == [True] * 3

    second = schedule.passes[1]
    assert second.work.first_channel == 2
    other = damaged(schedule, lambda each: replace(each, **change(each)) if each is second else each)
    assert kinds <= found(other)
