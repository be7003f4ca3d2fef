# SPDX-License-Identifier: Apache-2.0
"""Engines with weights from a board's memory: they fit, are what the command line's options make, and are nearly the
fastest of all that fit."""

from dataclasses import replace
from itertools import product

import pytest
from networks import fast
from tepal.boards.flow import external_memory
from tepal.boards.flow.external_memory import room_for_weights, with_weights_outside
from tepal.boards.flow.fit import default_engine, fit, with_beat_for
from tepal.boards.registry import BOARDS
from tepal.hdl import Formats, Schedule
from tepal.hdl.memories.streamed import BEAT
from tepal.quant import MobileNet, MobileNetV2, NetworkError
from tepal.sim import CycleModel

LARGE = BOARDS["ulx3s-85f"]


def small(blocks: int):
    """A ULX3S with fewer memory blocks."""
    kind, = LARGE.part.memories
    return replace(LARGE, part=replace(LARGE.part, memories=(replace(kind, count=blocks),)))


def found(network, board, **others):
    """(schedule with weights from outside, its cycles from frame to frame)."""
    formats = Formats(network)
    assert not fit(Schedule(network, default_engine(board, network, formats), formats), board).ok
    schedule = with_weights_outside(network, formats, board, **others)
    return schedule, schedule and CycleModel(schedule, board.beat_cycles).interval_cycles


SMALL = [(MobileNet(0.25, 128, 10), 112), (MobileNetV2(0.35, 48, 10), 150),
         (MobileNet(0.25, 64, 10, residual=True), 110)]
IDS = ["v1", "v2", "residual"]


@pytest.mark.parametrize(("architecture", "blocks"), fast(SMALL, 1), ids=IDS)
def test_it_fits_and_its_options_make_it(architecture, blocks):
    network, board = architecture.network(), small(blocks)
    schedule, _ = found(network, board)
    assert fit(schedule, board).ok
    assert schedule.loads is not None
    again = Schedule(network, schedule.config, schedule.formats)
    assert again.groups == schedule.groups
    assert again.loads == schedule.loads
    assert [each.start for each in again.passes] == [each.start for each in schedule.passes]


def test_rows_are_kept_so_that_few_weights_come_again(monkeypatch):
    """That is faster, and what is found is what its options make."""
    network, board = MobileNet(0.75, 128, 10).network(), small(120)
    schedule, cycles = found(network, board)
    assert fit(schedule, board).ok
    assert Schedule(network, schedule.config, schedule.formats).groups == schedule.groups
    monkeypatch.setattr(external_memory, "with_fewest_loads", lambda passes, groups, config: groups)
    before, cycles_before = found(network, board)
    assert schedule.weight_bytes < before.weight_bytes
    assert cycles < 0.97 * cycles_before


@pytest.mark.slow
@pytest.mark.parametrize(("architecture", "blocks"), SMALL, ids=IDS)
def test_nearly_the_fastest(architecture, blocks):
    """No engine of a grid that fits takes less than 0.95 of its cycles."""
    network, board = architecture.network(), small(blocks)
    schedule, cycles = found(network, board)
    best = cycles
    for words, rows, ring in product((None, 256, 512, 1024), (None, 8, 16), (1024, 2048, 3072, 4096, 5120)):
        try:
            other = Schedule(network, replace(schedule.config, activation_words=words, input_rows=rows,
                                              weight_words=ring), schedule.formats)
        except NetworkError:
            continue
        if fit(other, board).ok:
            best = min(best, CycleModel(other, board.beat_cycles).interval_cycles)
    assert best > 0.95 * cycles


def test_sketches_know_the_traffic():
    """Bytes of a frame are those of the schedule, but for the lanes' first parameters, which stay."""
    network, board = SMALL[0][0].network(), LARGE
    formats = Formats(network)
    divisions = external_memory._Divisions(network, formats, board, with_beat_for(network, board.config))
    sketch = next(divisions.sketches())
    schedule = sketch.schedule()
    first = schedule.loads.prologue[0].words * schedule.word_beats[3] * BEAT // 8
    assert sketch.bytes - schedule.weight_bytes == first > 0


def test_what_is_asked_for_stays():
    network, board = MobileNet(0.25, 64, 10).network(), LARGE
    engine = replace(with_beat_for(network, board.config), activation_words=300, input_rows=16)
    schedule = with_weights_outside(network, Formats(network), board, [engine])
    assert (schedule.config.activation_words, schedule.config.input_rows) == (300, 16)
    assert schedule.config.rows == engine.rows


def test_no_memory_or_too_little():
    network = MobileNet(0.25, 32, 10).network()
    formats = Formats(network)
    assert room_for_weights(BOARDS["orangecrab-85f"]) == room_for_weights(replace(LARGE, flash=None)) == 0
    assert with_weights_outside(network, formats, BOARDS["orangecrab-85f"]) is None
    assert room_for_weights(LARGE) == LARGE.flash.size - LARGE.flash.offset
    tight = replace(LARGE, flash=replace(LARGE.flash, size=LARGE.flash.offset + network.parameters))
    assert with_weights_outside(network, formats, tight) is None
    assert with_weights_outside(network, formats, LARGE) is not None
    assert with_weights_outside(network, formats, small(40)) is None


FULL_SIZE = [MobileNet(0.5, 160), MobileNet(1.0, 128), MobileNetV2(0.35, 160), MobileNet(0.25, 224), MobileNet(),
             MobileNetV2(), MobileNet(0.75, 224)]


@pytest.mark.parametrize("architecture", fast(FULL_SIZE, 1), ids=lambda each: f"{type(each).__name__} {each.alpha}-"
                                                                             f"{each.resolution}")
def test_published_networks_fit(architecture):
    """On the largest board, with 1,000 classes."""
    schedule, cycles = found(architecture.network(), LARGE)
    assert fit(schedule, LARGE).ok
    assert 1e8 / cycles > {MobileNet(): 17, MobileNetV2(): 30, MobileNet(1.0, 128): 35,
                            MobileNet(0.75, 224): 40}.get(architecture, 60)
