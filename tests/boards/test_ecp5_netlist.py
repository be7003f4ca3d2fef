"""What is done to an ECP5's netlist: registers into memory blocks, and only those that may; places of multipliers."""

import copy

import pytest
from tepal.boards.ecp5 import _MULTIPLIERS, ECP5_85F, ENGINE_85F
from tepal.boards.ecp5_netlist import MultiplierSites, absorb_output_registers, place_multipliers
from tepal.hdl import EngineConfig

CLOCK, OTHER = 2, 3
SITES = MultiplierSites((10, 34), (4, 13))


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


def multipliers(count):
    return {"cells": {f"top.array.multiplier_{i}.multiplier": cell("MULT18X18D", {}, {}) for i in range(count)}}


def places(module):
    return [item["attributes"].get("BEL") for item in module["cells"].values()]


def test_places():
    """Columns of the array lie beside each other, its upper rows in the part's first row of multipliers."""
    module = multipliers(12)
    assert place_multipliers(module, EngineConfig(4, 3, 1), SITES) == 12
    upper, lower = ((4, 0), (8, 4), (14, 1)), ((5, 1), (13, 0), (17, 4))
    assert places(module) == [f"X{x}/Y{y}/MULT18_{number}" for y in (10, 34) for line in (upper, lower)
                              for x, number in line]


@pytest.mark.parametrize("config", [ENGINE_85F, EngineConfig(18, 16, 8, packing=2), EngineConfig(12, 13, 1)])
def test_every_multiplier_has_a_place_of_its_own(config):
    module = multipliers(config.multipliers)
    assert place_multipliers(module, config, _MULTIPLIERS[ECP5_85F.name]) == config.multipliers
    assert len(set(places(module))) == config.multipliers


def test_too_wide_an_array_is_left_alone():
    module = multipliers(36)
    assert place_multipliers(module, EngineConfig(4, 9, 1), SITES) == 0
    assert set(places(module)) == {None}
