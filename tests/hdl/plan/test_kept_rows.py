# SPDX-License-Identifier: Apache-2.0
"""How many rows are kept: no more words of activations than there may be, and fewer weights that come again."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from graphs import groups_with_kept_rows, inverted_residuals
from networks import random_engine
from tepal.hdl import EngineConfig, Schedule
from tepal.hdl.plan import schedule as schedules
from tepal.hdl.plan.bands import Group, banded, has_what_it_adds, order_of_parts
from tepal.hdl.plan.kept_rows import with_fewest_loads
from tepal.hdl.plan.places import place_activations
from tepal.hdl.plan.slices import loaded_words
from tepal.hdl.plan.widths import Formats
from tepal.quant import MobileNet

NETWORK = MobileNet(alpha=0.25, resolution=64).network()
CONFIG = EngineConfig(8, 8, 4, requantisers=4, activation_words=400, weight_words=600)


def loads(passes, groups, config: EngineConfig) -> float:
    order = order_of_parts(passes, groups)
    assert order == list(banded(passes, groups)[1])
    return loaded_words(dict(enumerate(passes)), order, config)


def test_fewer_weights_in_as_few_words():
    """Rows are kept where the most weights come again, not where maps are the largest."""
    formats = Formats(NETWORK)
    given = (Group(0, 6, 4, (6, 6, 6, 3, 3, 3)),)
    before = Schedule(NETWORK, CONFIG, formats, groups=given)
    config = replace(CONFIG, activation_words=before.bank_depth)
    better = Schedule(NETWORK, config, formats, groups=with_fewest_loads(formats.passes, given, config))
    assert sum(better.groups[0].kept[4:]) > 6
    assert better.bank_depth <= before.bank_depth
    assert better.weight_bytes < 0.9 * before.weight_bytes


def test_a_schedule_has_them(monkeypatch):
    network = MobileNet(alpha=0.5, resolution=64).network()
    config = replace(CONFIG, activation_words=700, weight_words=1024)
    better = Schedule(network, config)
    monkeypatch.setattr(schedules, "with_fewest_loads", lambda passes, groups, config: groups)
    before = Schedule(network, config)
    assert any(group.kept for group in before.groups)
    assert better.bank_depth <= 700
    assert better.weight_bytes < before.weight_bytes


@pytest.mark.parametrize("seed", range(30))
def test_any_groups(seed):
    """They keep their passes, have what they add, and need no more room; no more weights come than before."""
    rng = np.random.default_rng(seed)
    network = inverted_residuals(rng)
    config = replace(random_engine(rng, network, frugal=False), single_port=False)
    passes = Formats(network).passes
    groups = groups_with_kept_rows(rng, passes, config)
    depth = sum(place_activations(banded(passes, groups)[0], config)[1])
    config = replace(config, activation_words=depth, weight_words=40)
    found = with_fewest_loads(passes, groups, config)
    assert [(group.first, group.last, len(group.kept)) for group in found] == [
        (group.first, group.last, len(group.kept)) for group in groups]
    assert sum(place_activations(banded(passes, found)[0], config)[1]) <= depth
    assert all(has_what_it_adds(passes, group) for group in found if group.kept)
    assert loads(passes, found, config) <= loads(passes, groups, config)
    for absent in ({"activation_words": None}, {"weight_words": None}):
        assert with_fewest_loads(passes, groups, replace(config, **absent)) == groups


@pytest.mark.parametrize("words", [600, 1100])
def test_loaded_words_are_those_of_the_portions(words):
    """Counted before passes are sliced, and after: each column group of each part that has its own ones coming."""
    schedule = Schedule(NETWORK, replace(CONFIG, weight_words=words))
    _, wholes = banded(schedule.formats.passes, schedule.groups)
    counted = loads(schedule.formats.passes, schedule.groups, schedule.config)
    assert counted == sum(each.column_groups * each.inner for each in schedule.portions)
    assert (max(Counter(wholes).values()) > 1) == (len(schedule.portions) > len(schedule.formats.passes))
