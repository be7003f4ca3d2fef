"""Sums of products of every lane, over kernels of any number of chunks, ``latency`` cycles late."""

import numpy as np
import pytest
from stepping import trace
from tepal.hdl.units.depthwise import ACTIVATION_OFFSET, DepthwiseEngine

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
    rows = trace(engine, CYCLES, lambda cycle: [
        (engine.first, first[cycle]),
        *((engine.windows[tap], packed(windows[cycle, tap])) for tap in range(taps)),
        *((engine.weights[tap], packed(weights[cycle, tap])) for tap in range(taps)),
    ], list(engine.acc))
    latency = DepthwiseEngine.latency(taps)
    assert (np.array(rows[latency:]) == expected[:CYCLES - latency]).all()
