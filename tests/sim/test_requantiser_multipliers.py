# SPDX-License-Identifier: Apache-2.0
"""Engines whose requantisers have hardware multipliers: the bytes, and the cycles."""

from dataclasses import replace

import pytest
from engine_check import check
from networks import fast, random_case
from tepal.hdl import Schedule
from tepal.sim import conflicts


@pytest.mark.parametrize(("seed", "bits", "changes"), fast([
    (8, 18, {}), (3, 9, {"requantiser_cycles": 3, "requantisers": 1}), (8, 9, {"lane_cycles": 4}), (10, 16, {}),
    (2, 9, {"pipelined": False, "requantisers": 1})], 2))
def test_bytes_and_cycles(seed, bits, changes):
    """Of the array and of the lanes, or of either alone beside a serial one."""
    network, config, images = random_case(seed, frugal=False)
    schedule = Schedule(network, replace(config, requantiser_multiplier=bits, **changes))
    assert conflicts(schedule) == []
    check(schedule, images, seed)
