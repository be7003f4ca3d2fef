# SPDX-License-Identifier: Apache-2.0
"""An engine that can't be says so, by the name of the parameter."""

import re
from dataclasses import FrozenInstanceError

import pytest
from tepal.hdl import ConfigError, EngineConfig

GOOD = {"rows": 2, "columns": 6, "lanes": 4, "window": (3, 2), "requantisers": 2, "input_bytes": 4}


@pytest.mark.parametrize(("change", "sentence"), [
    ({"rows": 0}, "rows must be a positive integer, not 0"),
    ({"columns": -2}, "columns must be a positive integer, not -2"),
    ({"lanes": 2.0}, "lanes must be a positive integer, not 2.0"),
    ({"requantisers": None}, "requantisers must be a positive integer, not None"),
    ({"input_bytes": "4"}, "input_bytes must be a positive integer, not '4'"),
    ({"window": (3,)}, "window must be two positive integers, not (3,)"),
    ({"window": (3, 0)}, "window must be two positive integers, not (3, 0)"),
    ({"columns": 5}, "requantisers (2) must divide columns (5)"),
    ({"lanes": 5}, "requantisers (2) must divide lanes (5), or be twice as many"),
    ({"lanes": 1, "window": (3, 1)}, "requantisers (2) beyond lanes (1) write two banks at once: the window must have "
     "several columns, pipelined be on and single_port off"),
    ({"lane_cycles": 2}, "lane_cycles must be 1, or 3 or more, not 2"),
    ({"requantiser_cycles": 3}, "requantiser_cycles above 1 (3) need requantisers to be 1, not 2"),
    ({"operands": 0}, "operands must be a positive integer, not 0"),
    ({"operands": 4, "single_port": True}, "several operands (4) need a pipelined engine whose memories have two "
     "ports: pipelined must be on, single_port off, requantiser_cycles 1"),
    ({"logic_columns": 7}, "logic_columns must be 0 to columns (6), not 7"),
    ({"logic_columns": 1}, "logic_columns need a packing of 2: a multiplier of its own for each product is faster than "
     "logic is"),
    ({"columns_abreast": 4}, "columns_abreast (4) must divide columns (6)"),
    ({"columns_abreast": 2, "pipelined": False}, "several columns_abreast (2) need a pipelined engine: pipelined must "
     "be on, requantiser_cycles 1"),
    ({"pipelined": False}, "an engine that is not pipelined needs requantisers to be 1, not 2"),
    ({"requantiser_multiplier": 19}, "requantiser_multiplier must be 0, or 9 to 18 bits, not 19"),
    ({"requantiser_multiplier": 8}, "requantiser_multiplier must be 0, or 9 to 18 bits, not 8"),
    ({"requantiser_multiplier": 18, "requantisers": 1, "requantiser_cycles": 3, "lane_cycles": 4},
     "a requantiser_multiplier (18) needs pipelined requantisers: requantiser_cycles or lane_cycles must be 1"),
])
def test_error(change, sentence):
    with pytest.raises(ConfigError, match=f"^{re.escape(sentence)}$"):
        EngineConfig(**GOOD | change)


def test_properties():
    config = EngineConfig(**GOOD)
    assert (config.taps, config.drain_step, config.multipliers) == (6, 3, 12)
    wide = EngineConfig(**GOOD | {"operands": 4, "packing": 2, "logic_columns": 2})
    assert (wide.products, wide.multipliers) == (48, 16)
    assert [wide.in_logic(column) for column in range(6)] == [False, False, True, False, False, True]
    assert "operands" not in config.told()
    assert "requantiser_multiplier" not in config.told()
    hard = EngineConfig(**GOOD | {"requantiser_multiplier": 18})
    assert hard.told()["requantiser_multiplier"] == 18
    assert [config.hard_requantisers, hard.hard_requantisers, EngineConfig(**GOOD | {
        "requantiser_multiplier": 18, "lane_cycles": 4}).hard_requantisers] == [0, 2 + 4, 2]
    assert wide.told() | {"operands": 4, "logic_columns": 2} == wide.told()
    by_threes = EngineConfig(**GOOD | {"columns_abreast": 3})
    assert [[engine.lag(column) for column in range(6)] for engine in (config, by_threes)] == [
        [0, 1, 2, 3, 4, 5], [0, 0, 0, 1, 1, 1]]
    assert by_threes.told() == config.told() | {"columns_abreast": 3}
    with pytest.raises(FrozenInstanceError):
        config.rows = 3
