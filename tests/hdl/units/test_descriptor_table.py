# SPDX-License-Identifier: Apache-2.0
"""Tables of descriptors in LUTs and in memory: every row in its turn, from a reset on."""

from dataclasses import asdict, dataclass

import numpy as np
import pytest
from amaranth import *
from amaranth.sim import Simulator
from tepal.hdl.units.descriptor_table import DescriptorTable


@dataclass(frozen=True)
class Row:
    """Some fields have few values together; one has as many as there are rows; one has always the same."""

    first: int
    second: int
    same: int
    some: int
    own: int


def rows(seed: int, count: int) -> list[Row]:
    rng = np.random.default_rng(seed)
    pairs = rng.integers(-50, 99, (int(rng.choice([1, 2, 30, 90])), 2))
    some = int(rng.choice([1, 3, 1000]))
    return [Row(*map(int, pairs[rng.integers(len(pairs))]), 7, int(rng.integers(some)), number)
            for number in range(count)]


@pytest.mark.parametrize("before", [False, True])
@pytest.mark.parametrize("count", [1, 2, 64, 65, 200])
@pytest.mark.parametrize("spacing", [2, 3, 4, 6])
@pytest.mark.parametrize("seed", range(3))
def test_follows(seed, spacing, count, before):
    """Whenever it is advanced, as early as it may be now and then; in the middle comes a reset."""
    descriptors = rows(seed, count)
    table = DescriptorTable(descriptors, spacing)
    assert table.in_memory == (count > DescriptorTable.MOST_ROWS)
    rng, m, advance, reset = np.random.default_rng(seed), Module(), Signal(), Signal()
    current, upcoming, number = table.follow(m, advance, name="row", rom="rows", before=before)
    m = ResetInserter(reset)(m)

    async def bench(ctx):
        # Since the table was advanced.  A reset counts too: the cycle behind it is the first one.
        at, since = -int(before), 1
        for cycle in range(spacing * count + 100):
            if at >= 0:
                assert ctx.get(number) == at % count
                assert {name: ctx.get(current[name]) for name in table.rows[0]} == asdict(descriptors[at % count])
            if since > 1:
                assert {name: ctx.get(upcoming[name]) for name in table.rows[0]} == asdict(
                    descriptors[(at + 1) % count])
            advanced = since >= spacing and bool(rng.random() < 0.7)
            resets = cycle == count + 50
            ctx.set(advance, advanced)
            ctx.set(reset, resets)
            at = -int(before) if resets else at + advanced
            since = 1 if advanced or resets else since + 1
            await ctx.tick()

    simulator = Simulator(m)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()


@pytest.mark.parametrize("seed", range(10))
def test_kinds(seed):
    """They give the rows' fields, are no more than a table of LUTs has, and leave a memory of fewer bits."""
    table = DescriptorTable(rows(seed, 300))
    given = [{**row, **kind} for row in table.rows for kind in table.kinds
             if all(row[name] == value for name, value in kind.items())]
    assert given == table.rows
    assert len(table.kinds) <= DescriptorTable.MOST_ROWS
    assert "own" in table.stored.members
    assert "same" not in table.stored.members
    assert table.stored.size <= table.layout.size
