# SPDX-License-Identifier: Apache-2.0
"""Sums of whole schedules, and and where and when the drain writes their results."""

from dataclasses import replace

import numpy as np
import pytest
from networks import abreast, doubled, fast, random_case
from stepping import trace
from tepal.hdl import Schedule
from tepal.hdl.plan import rom_contents
from tepal.hdl.plan.descriptors import drain_descriptors, parameter_descriptors, unit_widths
from tepal.hdl.units.column_parameters import ColumnParameters
from tepal.hdl.units.drain import Drain
from tepal.hdl.units.requantiser import SELECT, RequantiserFormat
from tepal.hdl.units.sequencer import Sequencer
from tepal.hdl.units.systolic import ProcessingElement

FRAMES = 2

FOLDED = (15, 40)
"""Cases in which the first block is folded."""


def sums_and_writes(rng, schedule):
    """What the array shows, cycle -> [(column, sum)] and cycles of ``captured``; and cycle -> expected write."""
    config, step, cycles = schedule.config, schedule.config.turns, schedule.config.requantiser_cycles
    shown, captured, writes = {}, [], {}
    select = (ColumnParameters.LATENCY - Drain.ahead(config) + SELECT
              if isinstance(schedule.matrix_format, RequantiserFormat) else 0)
    latency = (1 + select + config.lag((config.requantisers - 1) * step) + schedule.matrix_format.latency
               + Drain.write(config.pipelined))
    limit = 1 << schedule.matrix_accumulator - 1
    # Later than what is known ahead.
    now = loaded = 20
    for number, scheduled in [*enumerate(schedule.passes)] * FRAMES:
        affine, target, fold = schedule.affines[number][1], scheduled.target, scheduled.work.pixels_per_window
        pixels, channels = target.shape[0] * target.shape[1], target.shape[2]
        # What the array makes of a window: channels of all the pixels that are folded into it.
        together, width, turns = channels * fold, scheduled.column_groups * config.columns, step // fold
        # No pass begins sooner after another one.
        now += Sequencer.LEAST_SLOT
        for tile, block in np.ndindex(scheduled.tiles, scheduled.column_groups):
            now += scheduled.period + int(rng.choice([0, 0, 3]))
            if tile == 0 or scheduled.column_groups > 1:
                # Parameters are loaded, of as many columns a cycle as are abreast.
                now = max(now, loaded + ColumnParameters.loading(config))
                loaded = now
            captured.append(now)
            sums = np.zeros((config.rows, width), np.int64)
            sums[:, :together] = rng.integers(-limit, limit, (config.rows, together))
            results = affine(sums[:, :together].reshape(-1, channels))
            for column in range(config.columns):
                channel = block * config.columns + column % step * config.requantisers + column // step
                for row in range(config.rows):
                    begin = now + 1 + config.lag(column) + row * config.drain_step
                    shown.setdefault(begin, []).append((column, sums[row, channel]))
            for pixel in range(tile * scheduled.tile_pixels, min(pixels, (tile + 1) * scheduled.tile_pixels)):
                place = pixel % scheduled.tile_pixels
                (_, row, down), (_, column, across) = (
                    line(int(at)) for line, at in zip((target.row, target.column), divmod(pixel, target.shape[1]),
                                                      strict=True))
                for phase in range(turns):
                    first = (block * turns + phase) * config.requantisers
                    if first >= channels:
                        continue
                    group, lane = divmod(first, target.lanes)
                    end = pixel == pixels - 1 and first + config.requantisers >= channels
                    writes[now + latency + (place * turns + phase) * cycles] = {
                        "bank": (row, column), "address": target.base + down + across + group,
                        "part": lane // config.requantisers, "number": number, "end": end, "group": group,
                        "data": results[place, first:first + config.requantisers]}
    return shown, captured, writes, now + latency + config.rows * config.drain_step + 2


def drained(schedule, seed, signals=lambda drain: [
        drain.written, drain.address, drain.data, drain.done, drain.number, drain.end, *drain.enable]):
    """What the drain has at ``signals`` in each cycle, and the writes that are expected."""
    config = schedule.config
    shown, captured, writes, cycles = sums_and_writes(np.random.default_rng(seed), schedule)
    drain = Drain(config, unit_widths(schedule), schedule.matrix_format, rom_contents.matrix_parameters(schedule),
                  parameter_table=parameter_descriptors(schedule), table=drain_descriptors(schedule))
    captured, early = set(captured), ProcessingElement.latency(config)
    got = trace(drain, cycles, lambda cycle: [
        (drain.captured, cycle in captured),
        *([(drain.ending, cycle + early in captured)] if config.columns_abreast > 1 else []),
        *((drain.bottom[c], value) for c, value in shown.get(cycle, ()))],
        signals(drain))
    return got, writes


@pytest.mark.parametrize("cycles", [1, 3, 4])
@pytest.mark.parametrize("seed", fast([*FOLDED, *range(8)], len(FOLDED) + 4))
def test_drain(seed, cycles):
    compare(seed, random_case(seed), cycles)


@pytest.mark.parametrize(("seed", "most"), [(FOLDED[0], 2), (FOLDED[1], 3), (1, 2), (7, 4)])
def test_columns_abreast(seed, most):
    """Sums of several columns come in the same cycle, and so do their parameters."""
    network, config, images = random_case(seed, frugal=False)
    compare(seed, (network, abreast(config, most), images), 1)


@pytest.mark.parametrize(("seed", "lanes", "words"), [(8, 2, 1), (3, 1, 2)])
def test_two_words(seed, lanes, words):
    """Each in the bank of its channel group, at its own address; and one alone where a pixel has no more."""
    network, config, _ = random_case(seed, frugal=False)
    schedule = Schedule(network, doubled(config, lanes, 1, (3, 3)))
    config, last = schedule.config, len(schedule.passes) - 1
    assert all(scheduled.neighbours == 1 for scheduled in schedule.passes)
    signals = ["enable", "own_address", "own_data"]
    got, writes = drained(schedule, seed, lambda drain: [each for name in signals for each in getattr(drain, name)])
    found = set()
    for cycle, want in writes.items():
        enable, address, data = np.split(np.array(got[cycle], object), len(signals))
        if want["number"] == last:
            expected = {config.taps: (want["address"], want["data"])}
        else:
            (row, column), begin = want["bank"], range(0, len(want["data"]), lanes)
            expected = {row * 3 + (column + want["group"] + word) % 3: (
                want["address"] + word, want["data"][first:first + lanes]) for word, first in enumerate(begin)}
            found.add(len(expected))
        assert {memory for memory in range(config.taps + 1) if enable[memory]} == expected.keys()
        for memory, (where, values) in expected.items():
            assert address[memory] == where
            written = np.frombuffer(int(data[memory]).to_bytes(config.written_bytes, "little"), np.int8)
            assert (written[:len(values)] == values).all()
    assert words in found


def compare(seed, case, cycles):
    network, config, _ = case
    if cycles > 1:
        config = replace(config, requantisers=1, requantiser_cycles=cycles)
    schedule = Schedule(network, config)
    assert (schedule.passes[0].work.pixels_per_window > 1) == (seed in FOLDED and cycles == 1)
    got, writes = drained(schedule, seed)
    last = len(schedule.passes) - 1
    assert [cycle for cycle, row in enumerate(got) if row[0]] == sorted(writes)
    assert [cycle for cycle, row in enumerate(got) if row[5]] == [c for c in sorted(writes) if writes[c]["end"]]
    for cycle, want in writes.items():
        written, address, data, done, number, end, *enable = got[cycle]
        assert (written, address) == (1 << want["part"], want["address"])
        assert (number, done) == (want["number"], end and number == last)
        row, column = want["bank"]
        memory = config.taps if number == last else row * config.window[1] + column
        assert enable == [written if i == memory else 0 for i in range(config.taps + 1)]
        values = np.frombuffer(data.to_bytes(config.lanes, "little"), np.int8).reshape(-1, config.requantisers)
        assert (values[want["part"]][:len(want["data"])] == want["data"]).all()
