# SPDX-License-Identifier: Apache-2.0
"""Random engines are of every kind."""

from collections import defaultdict
from dataclasses import fields

import pytest
from networks import random_case
from tepal.hdl import EngineConfig

SEEDS = range(300)


@pytest.fixture(scope="module")
def values():
    """What each option of the engine was drawn as."""
    found = defaultdict(set)
    for seed in SEEDS:
        config = random_case(seed, 1)[1]
        for field in fields(EngineConfig):
            found[field.name].add(getattr(config, field.name))
    return found


OTHERS = "operands", "logic_columns", "columns_abreast", "requantiser_multiplier"
"""What test_operands.py and test_requantiser_multipliers.py put into these engines."""


@pytest.mark.parametrize("name", [field.name for field in fields(EngineConfig)
                                  if field.default is not None and field.name not in OTHERS])
def test_every_option_varies(name, values):
    """All but those that follow from a network's maps and weights (test_bands.py, test_streamed_weights.py)."""
    assert len(values[name]) > 1


def test_extremes_are_drawn(values):
    """Parallel requantisers and serial ones, as fast as can be and slower; one window and several."""
    assert {1, 3, 4} <= values["requantiser_cycles"]
    assert {1, 3, 4} <= values["lane_cycles"]
    assert {(1, 1), (3, 3)} <= values["window"]
    assert {1, 2} <= values["requantisers"]
    assert {1, 2, 4} <= values["input_bytes"]


def test_kinds():
    """Both kinds are drawn; a seed's network, shape of engine and images are the same in both."""
    frugal = 0
    for seed in range(40):
        network, config, images = random_case(seed, 1)
        _, plain, _ = random_case(seed, 1, frugal=False)
        assert (plain.requantiser_cycles, plain.lane_cycles, plain.single_port, plain.pipelined) == (1, 1, False, True)
        other, small, same = random_case(seed, 1, frugal=True)
        assert [layer.output_shape for layer in other.layers] == [layer.output_shape for layer in network.layers]
        assert (images == same).all()
        for engine in (config, small):
            assert (engine.rows, engine.columns, engine.lanes) == (plain.rows, plain.columns, plain.lanes)
        frugal += config != plain
    assert 8 <= frugal <= 25
