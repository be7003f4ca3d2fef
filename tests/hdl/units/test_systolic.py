# SPDX-License-Identifier: Apache-2.0
"""Sums of an array, back to back, each in the cycle that the docstrings promise."""

import numpy as np
import pytest
from stepping import trace
from tepal.hdl import EngineConfig
from tepal.hdl.units.multiplier import offset
from tepal.hdl.units.systolic import SystolicArray


def side_by_side(values: np.ndarray, bits: int = 8) -> int:
    """Values of so many ``bits``, the first one lowest; a single one as it is."""
    if len(values) == 1:
        return int(values[0])
    return sum((int(value) & (1 << bits) - 1) << bits * number for number, value in enumerate(values))


@pytest.mark.parametrize("pipelined", [True, False])
@pytest.mark.parametrize("tight", [True, False])
@pytest.mark.parametrize(("rows", "columns", "requantisers", "spread", "packing"), [
    (1, 1, 1, 0, 1), (1, 4, 2, 1, 1), (4, 1, 1, 0, 1), (3, 2, 2, 2, 1), (2, 3, 1, 0, 1), (5, 2, 1, 1, 1),
    (3, 4, 1, 0, 1), (2, 1, 1, 0, 2), (4, 4, 2, 2, 2), (6, 2, 2, 1, 2)])
def test_systolic(rows, columns, requantisers, spread, packing, tight, pipelined):
    """``tight``: every sum as early after the one before it as is allowed."""
    check(EngineConfig(rows, columns, requantisers, requantisers=requantisers if pipelined else 1, spread=spread,
                       packing=packing, pipelined=pipelined), tight)


@pytest.mark.parametrize(("rows", "columns", "spread", "packing", "operands", "logic", "abreast"), [
    (1, 1, 0, 1, 2, 0, 1), (2, 3, 1, 1, 3, 0, 1), (4, 2, 2, 2, 4, 1, 1), (2, 3, 0, 2, 5, 2, 1), (3, 1, 0, 1, 8, 0, 1),
    (4, 3, 2, 2, 1, 1, 1), (2, 6, 1, 2, 2, 1, 3), (3, 4, 0, 1, 1, 0, 4), (2, 4, 0, 1, 1, 0, 2), (4, 2, 1, 2, 4, 0, 2)])
def test_several_at_once(rows, columns, spread, packing, operands, logic, abreast):
    """In each cycle so many products of each sum, some of them made of logic; and so many columns side by side.
    Weights are as wide as may be."""
    config = EngineConfig(rows, columns, 1, spread=spread, packing=packing, operands=operands, logic_columns=logic,
                          columns_abreast=abreast)
    check(config, True, config.widest_weight)


def check(config: EngineConfig, tight: bool, bits: int = 8) -> None:
    rows, columns, packing, pipelined = config.rows, config.columns, config.packing, config.pipelined
    operands = config.operands
    step = config.drain_step
    assert SystolicArray.draining(config) == rows * step
    rng = np.random.default_rng(rows * columns + step)
    lengths = [*rng.integers(1, 3 * rows * step, 12).tolist(), 1, 1, 1]
    cycle, starts = 0, []
    for length in lengths:
        # Sums end at least rows * step cycles apart.
        cycle = max(cycle, (starts[-1] + lengths[len(starts) - 1] + rows * step - length) if starts else 0)
        cycle += 0 if tight else int(rng.integers(4))
        starts.append(cycle)
        cycle += length
    latency = SystolicArray.latency(config)
    total = cycle + latency + rows * step + columns + 2

    x = rng.integers(-128, 128, (cycle, rows, operands))
    most = 1 << bits - 1
    w = rng.integers(-most, most, (cycle, columns, operands))
    x[:2], w[:2] = -128, -most
    first, last = np.isin(np.arange(cycle), starts), np.isin(np.arange(cycle) + 1, np.add(starts, lengths))
    array = SystolicArray(config, 24, bits)

    def drive(now):
        for row in range(rows):
            at = now - (row // packing if pipelined else 0)
            here = 0 <= at < cycle
            yield array.x[row], side_by_side(x[at, row] if here else rng.integers(-128, 128, operands))
            yield array.first[row], here and first[at]
            yield array.last[row], here and last[at]
        for column in range(columns):
            yield array.w[column], side_by_side(w[now, column] if now < cycle else
                                                rng.integers(-most, most, operands), bits)

    trace_rows = trace(array, total, drive, [array.captured, *array.bottom])
    captured = [now for now, row in enumerate(trace_rows) if row[0]]
    assert captured == [start + length - 1 + latency for start, length in zip(starts, lengths, strict=True)]
    for moment, start, length in zip(captured, starts, lengths, strict=True):
        sums = np.einsum("trk,tck->rc", x[start:start + length] + offset(packing), w[start:start + length])
        for row in range(rows):
            for column in range(columns):
                # The last row first; each stays for ``step`` cycles, as much later as the column lags behind.
                begin = moment + 1 + config.lag(column) * pipelined + (rows - 1 - row) * step
                shown = [trace_rows[now][1 + column] for now in range(begin, begin + step)]
                assert shown == [sums[row, column]] * step
