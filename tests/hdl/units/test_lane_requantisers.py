# SPDX-License-Identifier: Apache-2.0
"""The lanes' parameters, which change with each channel group."""

import numpy as np
import pytest
from stepping import trace
from tepal.hdl.units.lane_requantisers import LaneParameters
from tepal.hdl.units.requantiser import RequantiserFormat


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
