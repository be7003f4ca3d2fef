# SPDX-License-Identifier: Apache-2.0
"""The order of passes: each after what it reads, and none that keeps fewer bytes alive, where all can be tried."""

from itertools import permutations

import numpy as np
import pytest
from tepal.hdl.plan.order import memory_saving_order


def made_up(seed: int, count: int) -> tuple[list[frozenset[int]], list[int]]:
    rng = np.random.default_rng(seed)
    reads = [frozenset(rng.choice(number, min(number, int(rng.integers(1, 3))), replace=False).tolist())
             for number in range(count)]
    return reads, rng.integers(1, 50, count).tolist()


def most_alive(order, reads, sizes) -> int:
    """Bytes, while the thing is made that needs most."""
    last = {source: place for place, number in enumerate(order) for source in reads[number]}
    return max(sum(sizes[number] for number in order[:place + 1]
                   if number == order[place] or last.get(number, -1) >= place) for place in range(len(order)))


@pytest.mark.parametrize("seed", range(30))
def test_best_of_all(seed):
    reads, sizes = made_up(seed, 7)
    possible = [order for order in permutations(range(7))
                if all(order.index(source) < order.index(number) for number in order for source in reads[number])]
    order = memory_saving_order(reads, sizes, [0] * 7)
    assert tuple(order) in possible
    assert most_alive(order, reads, sizes) == min(most_alive(each, reads, sizes) for each in possible)


def test_chain():
    assert memory_saving_order([frozenset(), *(frozenset([n]) for n in range(40))], [3] * 41, [1] * 41) == [*range(41)]


def test_little_effort_first():
    """Two arms of equal bytes."""
    reads = [frozenset(), frozenset([0]), frozenset([0]), frozenset([1, 2])]
    assert memory_saving_order(reads, [4] * 4, [1, 9, 2, 1]) == [0, 2, 1, 3]
    assert memory_saving_order(reads, [4] * 4, [1, 2, 9, 1]) == [0, 1, 2, 3]


def test_very_wide():
    """Many heads: more sets than are looked at."""
    reads = [frozenset(), *(frozenset([0]) for _ in range(40))]
    order = memory_saving_order(reads, [1] * 41, [1] * 41)
    assert order == [*range(41)]
