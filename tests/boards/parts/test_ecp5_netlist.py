# SPDX-License-Identifier: Apache-2.0
"""What is done to an ECP5's netlist: registers into memory blocks, and only those that may; places of multipliers."""

import copy

import pytest
from tepal.boards.parts.ecp5 import _SITES, ECP5_5G_85F, ECP5_25F, ECP5_45F, ECP5_85F, ENGINE_85F
from tepal.boards.parts.ecp5_netlist import (
    UNCONNECTED,
    Sites,
    absorb_output_registers,
    drop_unread_carries,
    place_memories,
    place_multipliers,
)
from tepal.hdl import EngineConfig

CLOCK, OTHER = 2, 3
SITES = Sites((10, 34), (22, 46, 58), (4, 13))


def cell(kind, inputs, outputs, **parameters):
    return {"type": kind, "parameters": parameters, "attributes": {},
            "port_directions": dict.fromkeys(inputs, "input") | dict.fromkeys(outputs, "output"),
            "connections": {name: [bit] for name, bit in (inputs | outputs).items()}}


def register(data, output, **changes):
    return cell("TRELLIS_FF", {"CLK": CLOCK, "DI": data, "LSR": "0"} | changes.pop("inputs", {}), {"Q": output},
                **({"CEMUX": "1 ", "CLKMUX": "CLK", "LSRMUX": "LSR", "REGSET": "RESET"} | changes))


def memory(width, **outputs):
    return cell("DP16KD", {"CLKA": CLOCK, "CLKB": CLOCK, "OCEA": "0", "OCEB": "1"}, outputs, REGMODE_A="NOREG",
                REGMODE_B="NOREG", DATA_WIDTH_A=f"{width:032b}", DATA_WIDTH_B=f"{width:032b}")


def design(width=9):
    """Two bits that are read, one that nobody reads, and a register each for the two."""
    return {"ports": {"out": {"bits": [20, 21]}}, "cells": {
        "ram": memory(width, DOB0=10, DOB1=11, DOB2=12), "low": register(10, 20), "high": register(11, 21)}}


@pytest.mark.parametrize("width", [9, 36])
def test_absorbed(width):
    module = design(width)
    assert absorb_output_registers(module) == 1
    ram, = module["cells"].values()
    assert (ram["connections"]["DOB0"], ram["connections"]["DOB1"], ram["connections"]["DOB2"]) == ([20], [21], [12])
    assert ram["parameters"]["REGMODE_A"] == ram["parameters"]["REGMODE_B"] == "OUTREG"
    assert ram["connections"]["OCEB"] == ["1"]


def test_wide_words_are_the_second_ports():
    module = design(36)
    module["cells"]["ram"] = memory(36, DOA0=10, DOB1=11)
    module["cells"]["ram"]["connections"]["CLKA"] = ["0"]
    assert absorb_output_registers(module) == 1


@pytest.mark.parametrize("high", [
    register(11, 21, inputs={"CLK": OTHER}), register(11, 21, inputs={"LSR": 30}), register(11, 21, REGSET="SET"),
    register(11, 21, inputs={"CE": 30}, CEMUX="CE"), register(11, 21, CLKMUX="INV"),
    cell("LUT4", {"A": 11}, {"Z": 21})], ids=["clock", "reset", "set", "enable", "edge", "logic"])
def test_left_outside(high):
    """A single bit that goes elsewhere, and all of the word's registers stay."""
    module = design()
    module["cells"]["high"] = high
    before = copy.deepcopy(module)
    assert absorb_output_registers(module) == 0
    assert module == before


def test_read_twice():
    module = design()
    module["ports"]["tap"] = {"bits": [11]}
    assert absorb_output_registers(module) == 0


def test_unread_carries():
    """Of a chain of two cells the last one's; not that of one which a port or a LUT reads."""
    def add(carry, leaving):
        return cell("CCU2C", {"CIN": carry}, {"S0": 100 + leaving, "COUT": leaving})

    module = {"ports": {"out": {"bits": [30]}}, "cells": {
        "low": add("0", 10), "high": add(10, 11), "to_port": add("0", 30), "to_logic": add("0", 40),
        "inverter": cell("LUT4", {"A": 40}, {"Z": 41})}}
    assert drop_unread_carries(module) == 1
    carries = [item["connections"]["COUT"] for item in module["cells"].values() if item["type"] == "CCU2C"]
    assert carries == [[10], [UNCONNECTED], [30], [40]]


def multipliers(numbers, within="multiplier_{}"):
    return {"cells": {f"top.array.{within.format(i)}.multiplier": cell("MULT18X18D", {}, {}) for i in numbers}}


def places(module):
    return [item["attributes"].get("BEL") for item in module["cells"].values()]


def test_places():
    """Columns of the array lie beside each other, its upper rows in the part's first row of multipliers."""
    module = multipliers(range(12))
    assert place_multipliers(module, EngineConfig(4, 3, 1), SITES) == 12
    upper, lower = ((4, 0), (8, 4), (14, 1)), ((5, 1), (13, 0), (17, 4))
    assert places(module) == [f"X{x}/Y{y}/MULT18_{number}" for y in (10, 34) for line in (upper, lower)
                              for x, number in line]


@pytest.mark.parametrize("config", [
    ENGINE_85F, EngineConfig(18, 16, 8, packing=2), EngineConfig(12, 13, 1),
    EngineConfig(6, 16, 8, packing=2, operands=4, logic_columns=3)])
def test_every_multiplier_has_a_place_of_its_own(config):
    elements = [number for number in range(config.rows // config.packing * config.columns)
                if not config.in_logic(number % config.columns)]
    module = multipliers(elements) if config.operands == 1 else multipliers(
        [f"{element}.multiplier_{operand}" for element in elements for operand in range(config.operands)], "dot_{}")
    assert len(module["cells"]) == config.multipliers
    assert place_multipliers(module, config, _SITES[ECP5_85F.name]) == config.multipliers
    assert len(set(places(module))) == config.multipliers


@pytest.mark.parametrize("config", [
    EngineConfig(16, 16, 8, requantisers=8, packing=2, requantiser_multiplier=18),
    EngineConfig(6, 16, 8, requantisers=8, packing=2, operands=4, logic_columns=5, requantiser_multiplier=18)])
def test_requantisers_take_the_places_that_are_left(config):
    """From left to right, and below where there is room."""
    elements = [number for number in range(config.rows // config.packing * config.columns)
                if not config.in_logic(number % config.columns)]
    module = multipliers(elements) if config.operands == 1 else multipliers(
        [f"{element}.multiplier_{operand}" for element in elements for operand in range(config.operands)], "dot_{}")
    for name, count in ("drain.requantiser_{}", config.requantisers), ("depthwise_requantiser_{}", config.lanes):
        module["cells"] |= {f"top.{name.format(number)}.multiplier.multiplier.multiplier": cell("MULT18X18D", {}, {})
                            for number in range(count)}
    total = config.multipliers + config.hard_requantisers
    sites = _SITES[ECP5_85F.name]
    assert place_multipliers(module, config, sites) == len(module["cells"]) == total
    assert len(set(places(module)) & sites.multiplier_places().keys()) == total
    own = [sites.multiplier_places()[place] for place in places(module)[config.multipliers:]]
    for group in own[:config.requantisers], own[config.requantisers:]:
        assert sorted(x for x, y in group if y == 58) == [x for x, y in group if y == 58]
    assert sum(y == 58 for _, y in own) == min(config.hard_requantisers, 52 - sum(
        sites.multiplier_places()[place][1] == 58 for place in places(module)[:config.multipliers]))


def test_too_wide_an_array_is_left_alone():
    module = multipliers(range(36))
    assert place_multipliers(module, EngineConfig(4, 9, 1), SITES) == 0
    assert set(places(module)) == {None}


def memories(names):
    return {"cells": {f"top.accelerator.{name}": cell("DP16KD", {}, {}) for name in names}}


def site(module, name):
    """(x, y) of the place that a memory block got."""
    x, y, _ = module["cells"][f"top.accelerator.{name}"]["attributes"]["BEL"].split("/")
    return int(x[1:]), int(y[1:])


def test_memories():
    """Words are split over the part from left to right, a tile buffer's rows are where the array's begin."""
    weights = [f"depthwise_weights.part_0.0.{i}" for i in range(3)]
    tiles = [f"tile_buffer.bank_{row}.U$0.words.0.0" for row in range(4)]
    module = memories([*weights, *tiles, "activations_0_0.U$0.words.0.0", "encoder.block.U$0.words.0.0"])
    assert place_memories(module, EngineConfig(4, 3, 1), SITES) == 8
    assert [site(module, name) for name in weights] == [(8, 46), (10, 46), (17, 46)]
    assert [site(module, name) for name in tiles] == [(4, 22), (6, 22), (4, 46), (6, 46)]
    assert site(module, "activations_0_0.U$0.words.0.0")[1] == 58
    assert "BEL" not in module["cells"]["top.accelerator.encoder.block.U$0.words.0.0"]["attributes"]


def test_memories_of_weights_from_outside():
    """Beats of a word lie side by side like its blocks; a lane's tables, and its bits of the skip memory, in its
    strip."""
    config = EngineConfig(4, 4, 2, weight_words=8)
    beats = [f"matrix_weights.rom.beat_{beat}.U$0.words.0.{index}" for beat in range(2) for index in range(2)]
    tables = [f"drain.elementwise.table_{operand}_{lane}.beat_0.U$0.words.0.0" for lane in range(2)
              for operand in range(2)]
    skip = [f"drain.elementwise.skip_memory.slice_{half}.U$0.words.0.0" for half in range(2)]
    module = memories(reversed([*beats, *tables, *skip]))
    assert place_memories(module, config, _SITES[ECP5_85F.name]) == 10
    assert sorted(beats, key=lambda name: site(module, name)) == beats
    own = [[site(module, name)[0] for name in tables[2 * lane:2 * lane + 2]] for lane in range(2)]
    assert max(own[0]) < min(own[1])
    assert site(module, skip[0])[0] < site(module, skip[1])[0]


def test_tables_of_descriptors_are_left_alone():
    """Also within a unit whose other memories have their places."""
    module = memories(["drain.rom.rom.part_0.0.0", "drain.drain_descriptors.part_0.0.0"])
    assert place_memories(module, EngineConfig(4, 3, 1), SITES) == 1
    assert "BEL" not in module["cells"]["top.accelerator.drain.drain_descriptors.part_0.0.0"]["attributes"]


def test_memories_that_a_row_of_the_part_cannot_hold():
    names = [f"activations_{i}_0.U$0.words.0.{k}" for i in range(3) for k in range(8)]
    module = memories(names)
    assert place_memories(module, EngineConfig(4, 3, 1), SITES) == 24
    assert len({site(module, name) for name in names}) == 24
    assert {site(module, name)[1] for name in names} == {22, 46, 58}


def test_more_memories_than_the_part_has():
    module = memories([f"activations_{i}_0.U$0.words.0.{k}" for i in range(4) for k in range(8)])
    assert place_memories(module, EngineConfig(4, 3, 1), SITES) == len(SITES.memory_places()) == 24


@pytest.mark.parametrize("part", [ECP5_25F, ECP5_45F, ECP5_85F, ECP5_5G_85F], ids=lambda part: part.name)
def test_places_are_all_of_the_parts(part):
    sites = _SITES[part.name]
    assert len(sites.memory_places()) == part.memories[0].count
    assert len({name for y in sites.multipliers for name in sites.multiplier_row(y)}) == part.primitives
