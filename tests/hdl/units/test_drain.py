"""Sums of whole schedules, and where and when the drain writes their results; the lanes' parameters."""

from dataclasses import replace

import numpy as np
import pytest
from networks import fast, random_case
from stepping import trace
from tepal.hdl import Schedule
from tepal.hdl.plan import rom_contents as images
from tepal.hdl.plan.descriptors import column_bits, drain_descriptors, parameter_descriptors, target_bits
from tepal.hdl.units.drain import Drain, LaneParameters
from tepal.hdl.units.requantiser import SELECT, RequantiserFormat

FRAMES = 2

FOLDED = (15, 40)
"""Cases in which the first block is folded."""


def sums_and_writes(rng, schedule):
    """What the array shows, cycle -> [(column, sum)] and cycles of ``captured``; and cycle -> expected write."""
    config, step, cycles = schedule.config, schedule.config.turns, schedule.config.requantiser_cycles
    shown, captured, writes = {}, [], {}
    select = Drain.PARAMETERS + SELECT if isinstance(schedule.matrix_format, RequantiserFormat) else 0
    latency = (1 + select + (config.requantisers - 1) * step + schedule.matrix_format.latency
               + Drain.write(config.pipelined))
    limit = 1 << schedule.matrix_accumulator - 1
    now = loaded = 5
    for number, scheduled in [*enumerate(schedule.passes)] * FRAMES:
        affine, target, fold = schedule.affines[number][1], scheduled.target, scheduled.work.pixels_per_window
        pixels, channels = target.shape[0] * target.shape[1], target.shape[2]
        # What the array makes of a window: channels of all the pixels that are folded into it.
        together, width, turns = channels * fold, scheduled.column_groups * config.columns, step // fold
        for tile, block in np.ndindex(scheduled.tiles, scheduled.column_groups):
            now += scheduled.period + int(rng.choice([0, 0, 3]))
            if tile == 0 or scheduled.column_groups > 1:
                # Parameters are loaded, a column a cycle.
                now = max(now, loaded + config.columns)
                loaded = now
            captured.append(now)
            sums = np.zeros((config.rows, width), np.int64)
            sums[:, :together] = rng.integers(-limit, limit, (config.rows, together))
            results = affine(sums[:, :together].reshape(-1, channels))
            for column in range(config.columns):
                channel = block * config.columns + column % step * config.requantisers + column // step
                for row in range(config.rows):
                    begin = now + 1 + column + row * config.drain_step
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
                    group, lane = divmod(first, config.lanes)
                    end = pixel == pixels - 1 and first + config.requantisers >= channels
                    writes[now + latency + (place * turns + phase) * cycles] = {
                        "bank": (row, column), "address": target.base + down + across + group,
                        "part": lane // config.requantisers, "number": number, "end": end,
                        "data": results[place, first:first + config.requantisers]}
    return shown, captured, writes, now + latency + config.rows * config.drain_step + 2


def drained(schedule, seed):
    config = schedule.config
    shown, captured, writes, cycles = sums_and_writes(np.random.default_rng(seed), schedule)
    drain = Drain(parameter_descriptors(schedule), drain_descriptors(schedule), schedule.matrix_format,
                  images.matrix_parameters(schedule), config.columns, config.requantisers, config.lanes,
                  config.window, target_bits(schedule), column_bits(schedule))
    captured = set(captured)
    got = trace(drain, cycles, lambda cycle: [
        (drain.captured, cycle in captured), *((drain.bottom[c], value) for c, value in shown.get(cycle, ()))],
        [drain.written, drain.address, drain.data, drain.done, drain.number, drain.end, *drain.enable])
    return got, writes


@pytest.mark.parametrize("cycles", [1, 3, 4])
@pytest.mark.parametrize("seed", fast([*FOLDED, *range(8)], len(FOLDED) + 4))
def test_drain(seed, cycles):
    network, config, _ = random_case(seed)
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


@pytest.mark.parametrize(("lanes", "per_beat"), [(1, 1), (4, 1), (5, 2), (6, 3), (3, 3)])
def test_lane_parameters(lanes, per_beat):
    """Three layers' groups, replayed tile after tile, as close together as a group's parameters can be loaded."""
    rng = np.random.default_rng(lanes)
    fmt = RequantiserFormat(16, 9, 12, 3, (0, 4), ((False, 0, -128, 127), (True, 3, -128, 127)))
    layers = [(1, 2), (3, 2), (2, 1)]
    beats, width = -(-lanes // per_beat), fmt.width
    groups = [[int(word) for word in rng.integers(0, 1 << width, lanes)] for count, _ in layers for _ in range(count)]
    words = [sum(word << width * i for i, word in enumerate(group[beat * per_beat:(beat + 1) * per_beat]))
             for group in groups for beat in range(beats)]
    takes, now, start = {}, beats + LaneParameters.LATENCY, 0
    expected = []
    for frame in range(2):
        start = 0
        for number, (count, tiles) in enumerate(layers):
            for tile, group in np.ndindex(tiles, count):
                end, last = group == count - 1, tile == tiles - 1
                takes[now] = (1, end and not last, end and last, end and last and number == len(layers) - 1)
                expected.append((now + LaneParameters.ACTIVE, groups[start + group]))
                now += beats + LaneParameters.LATENCY + int(frame and rng.choice([0, 2]))
            start += count
    unit = LaneParameters(fmt, lanes, per_beat, words)
    rows = trace(unit, now + LaneParameters.ACTIVE + 1, lambda cycle: zip(
        (unit.take, unit.rewind, unit.commit, unit.restart), takes.get(cycle, (0, 0, 0, 0)), strict=True),
        [active.as_value() for active in unit.active])
    for (cycle, group), (following, _) in zip(expected, [*expected[1:], (now, None)], strict=True):
        assert rows[cycle:following] == [group] * (following - cycle)
