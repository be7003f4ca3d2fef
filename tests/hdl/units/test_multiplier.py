# SPDX-License-Identifier: Apache-2.0
"""Two products in one multiplier, for all that can go wrong between them."""

import numpy as np
import pytest
from stepping import trace
from tepal.hdl.units.multiplier import Dot, LogicPair, Multiplier, PackedDot, PackedMultiplier, latency, offset


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


def packed(spread, operands, bits):
    return PackedDot(spread, operands, bits)


def logic(spread, operands, bits):
    return Dot(LogicPair, operands, 2, spread=spread + LogicPair.SOONER)


def alone(spread, operands, bits):
    return Dot(lambda: Multiplier(spread), operands)


@pytest.mark.parametrize(("make", "spread", "packing", "operands", "bits"), [
    (packed, 0, 2, 2, 8), (packed, 2, 2, 4, 8), (packed, 1, 2, 5, 8), (packed, 2, 2, 8, 8), (packed, 0, 2, 2, 9),
    (packed, 2, 2, 4, 9), (packed, 1, 2, 3, 9), (logic, 2, 2, 4, 8), (alone, 1, 1, 3, 8)])
def test_sums_of_products(make, spread, packing, operands, bits):
    """With both sums as large as can be, in either direction, and all between."""
    unit = make(spread, operands, bits)
    rng = np.random.default_rng(1)
    most = 1 << bits - 1
    a, b = (rng.integers(-end, end, (3000, operands, count)) for end, count in ((128, packing), (most, 1)))
    # All operands at one edge: the lower sum reaches as far into the higher one as it can.
    edges = np.array([(low, high, w) for low in (-128, 0, 127) for high in (-128, 0, 127)
                      for w in (-most, -1, most - 1)])
    a[:len(edges)], b[:len(edges)] = edges[:, None, :packing], edges[:, None, 2:]
    late = latency(spread, packing, operands)

    def drive(cycle):
        at = min(cycle, len(a) - 1)
        for number in range(operands):
            yield from ((unit.a[number][row], int(a[at, number, row])) for row in range(packing))
            yield unit.b[number], int(b[at, number, 0])

    shown = np.array(trace(unit, len(a) + late, drive, [unit.product[row] for row in range(packing)]))[late:]
    assert (shown == ((a + offset(packing)) * b).sum(axis=1)).all()
