# SPDX-License-Identifier: Apache-2.0
"""Tables of sums: equal to the layer's exact rule for every pair of values, with the least shift that there is."""

import numpy as np
import pytest
from graphs import random_add
from networks import fast
from tepal.hdl.plan import sum_tables
from tepal.hdl.plan.sum_tables import find_sum_tables
from tepal.quant.lookup import CODES


def case(seed: int):
    """(what the exact rule gives for all pairs, about what each operand adds, the rule)."""
    rng = np.random.default_rng([seed, 3])
    layer = random_add(rng, {"name": "sum", "index": 0}, (256, 256, 1), tuple(map(int, rng.integers(-128, 128, 3))))
    one, two = (np.broadcast_to(values[None, ..., None], (1, 256, 256, 1)).astype(np.int8)
                for values in (CODES[:, None], CODES[None, :]))
    guess = layer.tables * layer.requantise.factor[0]
    guess[0] += layer.requantise.zero_point
    return layer(one, two)[0, ..., 0].astype(int), guess, layer.requantise


def sums(tables: np.ndarray, shift: int, rule) -> np.ndarray:
    return np.clip((tables[0][:, None] + tables[1][None, :]) >> shift, rule.minimum, rule.maximum)


@pytest.mark.parametrize("seed", fast(range(40), 12))
def test_every_pair(seed):
    results, guess, rule = case(seed)
    found = find_sum_tables(results, guess, rule.minimum, rule.maximum)
    assert found is not None
    tables, shift = found
    assert (sums(tables, shift, rule) == results).all()
    assert shift <= 8
    assert np.abs(tables).max() < 1 << 17
    assert not shift or sum_tables._solve(results, guess, rule.minimum, rule.maximum, shift - 1) is None


@pytest.mark.parametrize("seed", fast(range(12), 4))
def test_negative_cycles_are_seen_early(seed, monkeypatch):
    """To look for a cycle now and then changes no answer, and is far sooner done than to go round it."""
    results, guess, rule = case(seed)
    shifts, looks = range(1, 9), []
    seen = sum_tables._has_negative_cycle
    monkeypatch.setattr(sum_tables, "_has_negative_cycle", lambda *graph: looks.append(seen(*graph)) or looks[-1])
    early = [sum_tables._solve(results, guess, rule.minimum, rule.maximum, shift) for shift in shifts]
    assert sum(looks) == sum(tables is None for tables in early) > 0
    # A look comes after twice as many rounds as the one before.
    assert len(looks) <= 4 * len(shifts)
    monkeypatch.setattr(sum_tables, "_has_negative_cycle", lambda *graph: False)
    late = [sum_tables._solve(results, guess, rule.minimum, rule.maximum, shift) for shift in shifts]
    assert [tables is None for tables in early] == [tables is None for tables in late]
    assert all((one == other).all() for one, other in zip(early, late, strict=True) if one is not None)


def test_any_guess():
    """A bad guess costs nothing but time."""
    results, guess, rule = case(3)
    expected, found = (find_sum_tables(results, each, rule.minimum, rule.maximum) for each in (guess, 0 * guess))
    assert expected
    assert found
    assert expected[1] == found[1]
    assert (sums(*found, rule) == results).all()


def test_no_sum():
    """What is no function of a sum has no tables, whatever the shift: an exclusive or."""
    results = (CODES[:, None] > 0).astype(int) ^ (CODES[None, :] > 0)
    assert find_sum_tables(results, np.zeros((2, 256)), -128, 127) is None


def test_a_pair_too_many():
    """One wrong result among 65,536 is not passed over."""
    results, guess, rule = case(1)
    tables, shift = find_sum_tables(results, guess, rule.minimum, rule.maximum) or pytest.fail("there are none")
    row, column = np.argwhere((results > rule.minimum + 1) & (results < rule.maximum - 1))[0]
    results[row, column] += 1
    assert (sums(tables, shift, rule) != results).sum() == 1
