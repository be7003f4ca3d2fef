# SPDX-License-Identifier: Apache-2.0
"""Two products in one multiplier, for all that can go wrong between them."""

import numpy as np
import pytest
from stepping import trace
from tepal.hdl.units.multiplier import PackedMultiplier, latency, offset


@pytest.mark.parametrize("spread", [0, 2])
def test_packed(spread):
    rng = np.random.default_rng(0)
    edges = np.array([-128, -127, -65, -64, -1, 0, 1, 2, 63, 64, 126, 127])
    corners = np.stack(np.meshgrid(edges, edges, edges), -1).reshape(-1, 3)
    # Every lower product beside one factor or another of the higher one.
    lower = np.stack(np.meshgrid(np.arange(-128, 128, 3), np.arange(-128, 128, 3)), -1).reshape(-1, 2)
    lower = np.concatenate([lower[:, :1], rng.integers(-128, 128, (len(lower), 1)), lower[:, 1:]], 1)
    factors = np.concatenate([corners, lower, rng.integers(-128, 128, (4000, 3))])
    unit, late = PackedMultiplier(spread), latency(spread, 2)

    def drive(cycle):
        low, high, b = factors[min(cycle, len(factors) - 1)].tolist()
        yield from ((unit.a[0], low), (unit.a[1], high), (unit.b, b))

    shown = np.array(trace(unit, len(factors) + late, drive, [unit.product[0], unit.product[1]]))[late:]
    assert (shown == (factors[:, :2] + offset(2)) * factors[:, 2:]).all()
