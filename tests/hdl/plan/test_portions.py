# SPDX-License-Identifier: Apache-2.0
"""What is loaded when and where to: never over what is still needed, and never too late to be waited for for ever."""

import numpy as np
import pytest
from tepal.hdl.plan.portions import ROLES, LoadPlan, Words, load_plan
from tepal.quant import NetworkError


def drawn(seed: int) -> tuple[list[Words], list[Words], list[int], list[Words], int]:
    """Portions, reduced layers, passes that reduce, tables, those that stay first, and how many passes there are: some
    run in bands, so that several portions are needed until the last of them."""
    rng = np.random.default_rng(seed)
    portions, reduced, reducing, tables, number = [], [], [], [], 0
    while number < 12:
        group, bands = int(rng.integers(1, 4)), int(rng.choice([1, 1, 3]))
        last = number + group * bands - 1
        for offset in range(group):
            users = range(number + offset, last + 1, group)
            portions.append(Words(users[0], users[-1], (int(rng.integers(1, 30)), 4 * int(rng.integers(1, 4)))))
            if rng.random() < 0.6:
                reduced.append(Words(users[0], users[-1], (int(rng.integers(1, 9)), int(rng.integers(1, 5)))))
                reducing += users
            if rng.random() < 0.6:
                tables.append(Words(users[0], users[-1], (4,)))
        number = last + 1
    tables = [Words(0, number - 1, (4,)), *tables] if seed % 4 else []
    return portions, reduced, sorted(reducing), tables, number


def contents(plan: LoadPlan, frames: int):
    """For each pass of each frame, what each memory holds while it runs if all is loaded as early as it may be, and if
    it is as late as it may: owner of each word, by role."""
    for early in (True, False):
        memories = [np.full(depth, -1) for depth in plan.depths]
        for passage in plan.prologue:
            memories[passage.role][passage.base:passage.base + passage.words] = passage.number
        pending = [(frame * plan.passes + portion.first, frame * plan.passes + portion.after, portion)
                   for frame in range(frames) for portion in plan.portions]
        for moment in range((frames - 1) * plan.passes):
            while pending and (pending[0][1] <= moment if early else pending[0][0] <= moment):
                for passage in pending.pop(0)[2].passages:
                    memories[passage.role][passage.base:passage.base + passage.words] = passage.number
            yield moment % plan.passes, memories


def least_words(case) -> int:
    with pytest.raises(NetworkError, match="choose weight_words of") as error:
        load_plan(*case, 1)
    return int(str(error.value).split("weight_words of ")[1].split()[0])


@pytest.mark.parametrize("seed", range(40))
def test_what_a_pass_reads_is_there(seed):
    """Whenever portions come, and with as few words as can be."""
    case = portions, reduced, reducing, tables, _ = drawn(seed)
    for more in (0, 7, 1000):
        plan = load_plan(*case, least_words(case) + more)
        owners_of = [portions, portions, reduced, reduced, *([tables] if tables else ())]
        assert len(plan.depths) == len(owners_of)
        places = [plan.bases(role) for role in range(len(owners_of))]
        for number, memories in contents(plan, 4):
            for role, owners in enumerate(owners_of):
                for owner, each in enumerate(owners):
                    begins = each.first
                    if role == 3:
                        # Fetched while the pass before it that reduces runs.
                        begins = max([begin for begin in reducing if begin < each.first], default=each.first)
                    if begins <= number <= each.last:
                        base, words = places[role][owner], each.words[role % len(each.words)]
                        assert (memories[role][base:base + words] == owner).all(), (number, role, owner)


@pytest.mark.parametrize("seed", range(10))
def test_nothing_waits_for_itself(seed):
    """A portion waits for passes before its own alone, and in a frame for as many as there are."""
    case = drawn(seed)
    plan = load_plan(*case, least_words(case))
    assert all(portion.after <= portion.first for portion in plan.portions)
    assert sum(plan.waits) == plan.passes
    assert min(plan.waits) >= 0


def test_places_begin_again_with_each_frame():
    case = drawn(3)
    plan = load_plan(*case, least_words(case) + 5)
    assert [plan.bases(role)[0] for role in range(len(ROLES))] == [0] * len(ROLES)


def test_all_fits():
    """Nothing waits for a pass of its own frame where every portion has words of its own."""
    case = drawn(1)
    plan = load_plan(*case, sum(each.words[0] for each in case[0]))
    assert all(portion.after <= 0 for portion in plan.portions)
