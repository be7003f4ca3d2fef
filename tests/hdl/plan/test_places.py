# SPDX-License-Identifier: Apache-2.0
"""Feature maps in the activation memory: two that live at once share no word, and no region is wasted."""

from itertools import combinations

import numpy as np
import pytest
from graphs import graph_case
from networks import random_case
from tepal.hdl import Schedule
from tepal.hdl.plan.places import Lifetime, allocate, colour, skip_lifetimes, skip_words


def made_up(seed: int) -> tuple[list[Lifetime], list[int]]:
    """Lifetimes and depths of maps, some of which are read by far later passes or by none."""
    rng = np.random.default_rng(seed)
    count = int(rng.integers(1, 20))
    lives = [Lifetime(number, number + int(rng.choice([0, 1, 1, 1, 2, 5, count]))) for number in range(count)]
    return lives, [int(depth) for depth in rng.integers(1, 200, count)]


def words(base: int, depth: int) -> set[int]:
    return set(range(base, base + depth))


@pytest.mark.parametrize("single_port", [False, True])
@pytest.mark.parametrize("seed", range(100))
def test_maps_that_live_at_once(seed, single_port):
    lives, depths = made_up(seed)
    bases, regions = allocate(lives, depths, single_port=single_port)
    for one, other in combinations(range(len(lives)), 2):
        share = words(bases[one], depths[one]) & words(bases[other], depths[other])
        # The other is written while the one is still to be read.
        if lives[other].written <= lives[one].read:
            assert not share
        # Whoever shares a region begins at its first word, and hazards are looked for by regions.
        assert bool(share) == (bases[one] == bases[other])
    assert all(base + depth <= sum(regions) for base, depth in zip(bases, depths, strict=True))


@pytest.mark.parametrize("seed", range(100))
def test_no_more_regions_than_maps_alive(seed):
    lives, _ = made_up(seed)
    alive = max(sum(life.written <= now <= life.read for life in lives) for now in range(2 * len(lives)))
    assert len(set(colour(lives))) == alive


@pytest.mark.parametrize("seed", range(100))
def test_address_bits_tell_regions_apart(seed):
    """Of single-port memories: a region is a memory, chosen by upper bits of the address."""
    lives, depths = made_up(seed)
    bases, regions = allocate(lives, depths, single_port=True)
    if len(regions) > 1:
        bit = regions[0].bit_length() - 1
        assert set(regions[:-1]) == {1 << bit}
        for base, depth in zip(bases, depths, strict=True):
            last = len(regions) - 1
            assert {min(word >> bit, last) for word in (base, base + depth - 1)} == {base >> bit}


def test_two_in_turn():
    """A chain's maps, each read by the next pass."""
    lives = [Lifetime(number, number + 1) for number in range(5)]
    assert allocate(lives, [5, 3, 4, 7, 2]) == ([0, 5, 0, 5, 0], (5, 7))
    assert allocate(lives, [5, 3, 4, 7, 2], single_port=True) == ([0, 8, 0, 8, 0], (8, 7))
    assert allocate(lives[:1], [5], single_port=True) == ([0], (5,))


def test_one_that_is_read_again():
    """A residual: the first map is read by the next pass, and added three passes later."""
    lives = [Lifetime(0, 3), Lifetime(1, 2), Lifetime(2, 3), Lifetime(3, 4)]
    assert colour(lives) == [0, 1, 2, 1]


@pytest.mark.parametrize("seed", [*range(25), 40, 1293])
def test_places_of_a_schedule(seed):
    network, config, _ = random_case(seed)
    schedule = Schedule(network, config)
    first, last = schedule.passes[0], schedule.passes[-1]
    assert (first.source.memory, last.target.memory) == ("input", "output")
    for scheduled in schedule.passes:
        source, target = scheduled.source, scheduled.target
        assert source.shape[:2] == scheduled.work.window.input_shape[:2]
        if scheduled is not first:
            assert source.memory == "activations"
            assert source.base + source.depth <= schedule.bank_depth
        if scheduled is not first and scheduled is not last:
            assert not words(source.base, source.depth) & words(target.base, target.depth)


def test_in_place():
    """A map may be written where the one lies that the same pass reads for the last time, word by word."""
    lives = [Lifetime(0, 3), Lifetime(1, 2), Lifetime(3, 6), Lifetime(2, 4)]
    assert colour(lives, in_place=True) == [0, 1, 0, 1]
    assert len({*colour(lives)}) == 3
    assert allocate(lives, [5, 3, 4, 7], in_place=True) == ([0, 5, 0, 5], (5, 7))


@pytest.mark.parametrize("seed", range(20))
def test_places_of_a_graph(seed):
    """Maps that are added later share no word of the skip memory meanwhile; outputs lie one behind the other."""
    network, config, _ = graph_case(seed)
    schedule = Schedule(network, config)
    lives = skip_lifetimes([each.work for each in schedule.passes])
    assert lives.keys() == {number for number, each in enumerate(schedule.passes) if each.added is not None}
    for number, life in lives.items():
        own = words(schedule.passes[number].added or 0, skip_words(schedule.passes[number].work, config))
        assert max(own) < schedule.skip_depth
        for other in lives:
            # The pass that reads this one last may write in its place.
            if life.written < other < life.read:
                beside = schedule.passes[other]
                assert not own & words(beside.added or 0, skip_words(beside.work, config))
    ends = [(target.base, target.base + target.depth) for target in schedule.output_maps]
    assert [begin for begin, _ in ends] == [0, *(end for _, end in ends[:-1])]
    assert [target.shape for target in schedule.output_maps] == [*network.output_shapes]
