# SPDX-License-Identifier: Apache-2.0
"""What is counted of each layer's int8 values, against counting them all at once."""

import numpy as np
import pytest
from graphs import graph_case
from networks import random_case
from tepal.sim import golden
from tepal.sim.ranges import measure_ranges


@pytest.mark.parametrize("make", [random_case, graph_case])
@pytest.mark.parametrize("seed", range(4))
def test_ranges(make, seed, monkeypatch):
    network, _, images = make(seed)
    # Frame by frame.
    monkeypatch.setattr("tepal.sim.ranges.chunk_frames", lambda layers: 1)
    told = []
    found = measure_ranges(network, images, progress=lambda *step: told.append(step))
    assert [done for _, done, _ in told] == [*range(1, len(images) + 1)]
    for each, values in zip(found, golden.run(network, images, layers=True), strict=True):
        assert (each.low, each.high, each.used) == (values.min(), values.max(), len(np.unique(values)))
        assert (each.at_low, each.at_high) == (np.mean(values == -128), np.mean(values == 127))
    assert [each.layer for each in found] == [*range(len(network.layers))]
