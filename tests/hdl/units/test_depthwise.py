# SPDX-License-Identifier: Apache-2.0
"""Sums of products of every lane, over kernels of any number of chunks, ``latency`` cycles late."""

import numpy as np
import pytest
from stepping import trace
from tepal.hdl.units.depthwise import ACTIVATION_OFFSET, DepthwiseEngine, ReductionKind

CYCLES = 60


def packed(values: np.ndarray) -> int:
    """One int8 a lane, lane 0 lowest."""
    return int.from_bytes(values.astype(np.int8).tobytes(), "little")


@pytest.mark.parametrize(("lanes", "taps"), [(1, 1), (3, 2), (2, 6), (2, 9)])
def test_depthwise(lanes, taps):
    rng = np.random.default_rng(taps)
    windows, weights = rng.integers(-128, 128, (2, CYCLES, taps, lanes))
    windows[:2], weights[:2] = -128, -128
    first = rng.random(CYCLES) < 0.4
    first[[0, 2]] = True
    products = ((windows + ACTIVATION_OFFSET) * weights).sum(axis=1)
    expected = np.zeros_like(products)
    for cycle in range(CYCLES):
        expected[cycle] = products[cycle] + (0 if first[cycle] else expected[cycle - 1])

    engine = DepthwiseEngine(lanes, taps, int(abs(expected).max()).bit_length() + 1)
    check(engine, first, windows, weights, expected)


@pytest.mark.parametrize("kinds", [(ReductionKind.MAXIMUM,), (ReductionKind.SUM, ReductionKind.MAXIMUM)])
@pytest.mark.parametrize(("lanes", "taps"), [(1, 1), (3, 2), (2, 6), (2, 9)])
def test_maximum(lanes, taps, kinds):
    """Of the taps whose weight is 1; the least value of all if there is none.  Sums in between are as they were."""
    rng = np.random.default_rng(taps)
    windows, weights = rng.integers(-128, 128, (CYCLES, taps, lanes)), rng.integers(0, 2, (CYCLES, taps, lanes))
    first = rng.random(CYCLES) < 0.4
    first[0] = True
    largest = np.cumsum(first) % 2 == 0 if len(kinds) > 1 else np.ones(CYCLES, bool)
    weights[~largest] = rng.integers(-128, 128, weights[~largest].shape)
    products = (windows + ACTIVATION_OFFSET) * weights
    expected = np.zeros((CYCLES, lanes), int)
    for cycle in range(CYCLES):
        before = np.zeros(lanes, int) if first[cycle] else expected[cycle - 1]
        expected[cycle] = (np.maximum(products[cycle].max(axis=0), before) if largest[cycle]
                           else products[cycle].sum(axis=0) + before)
    engine = DepthwiseEngine(lanes, taps, int(abs(expected).max()).bit_length() + 1, kinds)
    check(engine, first, windows, weights, expected, largest if len(kinds) > 1 else None)


def check(engine, first, windows, weights, expected, largest=None):
    taps = engine.taps
    rows = trace(engine, CYCLES, lambda cycle: [
        (engine.first, first[cycle]),
        *([] if largest is None else [(engine.kind, largest[cycle])]),
        *((engine.windows[tap], packed(windows[cycle, tap])) for tap in range(taps)),
        *((engine.weights[tap], packed(weights[cycle, tap])) for tap in range(taps)),
    ], list(engine.acc))
    latency = DepthwiseEngine.latency(taps)
    assert (np.array(rows[latency:]) == expected[:CYCLES - latency]).all()
