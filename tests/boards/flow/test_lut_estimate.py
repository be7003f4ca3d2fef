# SPDX-License-Identifier: Apache-2.0
"""What is counted of a netlist: as nextpnr packs it, by the parts of the design."""

import importlib.util
import json
from collections import Counter
from fractions import Fraction
from math import ceil
from pathlib import Path

import pytest
from models import require_model
from tepal.boards.flow.fit import blocks, fit
from tepal.boards.flow.lut_estimate import LOGIC, MARGIN, count, logic, table
from tepal.boards.flow.tools import find
from tepal.boards.parts.catalogue import get_part
from tepal.boards.parts.cores import CYCLONE_V, NEXUS, XILINX_7
from tepal.boards.registry import get_board
from tepal.hdl import EngineConfig, Formats, Schedule
from tepal.hdl.units.depthwise import DepthwiseEngine
from tepal.quant import Network, read_model, simplify
from tepal.sim import CycleModel

ROOT = Path(__file__).parents[3]

spec = importlib.util.spec_from_file_location("calibrate", ROOT / "benchmarks/calibrate.py")
assert spec
assert spec.loader
calibrate = importlib.util.module_from_spec(spec)
spec.loader.exec_module(calibrate)

ARRAY = "top.link.accelerator.array.element_0_0"


def netlist(cells: dict[str, tuple[str, dict]], outputs: tuple[str, ...]) -> dict:
    """Cells as name: (type, port: net)."""
    return {"cells": {name: {"type": kind, "connections": {port: [net] for port, net in ports.items()},
                             "port_directions": {port: "output" if port in outputs else "input" for port in ports}}
                      for name, (kind, ports) in cells.items()}}


def test_ecp5():
    """A chain takes a cell more where it begins, and one where its last carry has a net; others count as they are."""
    found = netlist({
        f"{ARRAY}.acc_CCU2C_S0": ("CCU2C", {"CIN": "0", "COUT": 1}),
        f"{ARRAY}.acc_CCU2C_S0_1": ("CCU2C", {"CIN": 1, "COUT": 2}),
        "top.link.accelerator.drain.x_CCU2C_S0": ("CCU2C", {"CIN": "1"}),
        "top.link.accelerator.drain.y_LUT4_Z": ("LUT4", {"Z": 5}),
        "top.link.accelerator.drain.y": ("TRELLIS_FF", {"DI": 5, "Q": 6}),
        "top.link.tags.storage": ("TRELLIS_DPR16X4", {"RAD": 6}),
        "top.link.tags.mux": ("PFUMX", {"Z": 7}),
    }, ("COUT", "Z", "Q"))
    assert count(found, get_board("ulx3s-85f").part.family) == {
        "systolic array": [8, 0], "drain": [5, 1], "all else": [6, 0]}


def test_ice40():
    """A flip-flop shares a place with the LUT that feeds it alone, a carry with the LUT of the same inputs."""
    lut = dict.fromkeys(("I0", "I1", "I2", "I3"), "0")
    found = netlist({
        f"{ARRAY}.a_SB_LUT4_O": ("SB_LUT4", lut | {"O": 1}),
        f"{ARRAY}.a": ("SB_DFF", {"D": 1, "Q": 2}),
        f"{ARRAY}.b_SB_LUT4_O": ("SB_LUT4", lut | {"I1": 2, "I2": 3, "I3": 4, "O": 5}),
        f"{ARRAY}.b": ("SB_DFFSR", {"D": 5, "Q": 6}),
        f"{ARRAY}.c": ("SB_DFFE", {"D": 5, "Q": 7}),
        f"{ARRAY}.b_SB_CARRY_CO": ("SB_CARRY", {"I0": 2, "I1": 3, "CI": 4, "CO": 8}),
        f"{ARRAY}.d_SB_CARRY_CO": ("SB_CARRY", {"I0": 2, "I1": 3, "CI": 8, "CO": 9}),
    }, ("O", "Q", "CO"))
    assert count(found, get_board("icebreaker").part.family) == {"systolic array": [2 + 2 + 1, 3]}


def test_nexus():
    """A wide function is of two LUTs, and so is a cell of a chain; names begin inside the accelerator."""
    found = netlist({
        "array.element_0_0.acc_CCU2_S0": ("CCU2", {"COUT": 1}),
        "array.element_0_0.acc": ("FD1P3IX", {"Q": 2}),
        "array.element_0_1.acc": ("FD1P3JX", {"Q": 3}),
        "drain.x_WIDEFN9_Z": ("WIDEFN9", {"Z": 4}),
        "drain.x_INV_Z": ("INV", {"Z": 5}),
        "tags_DPR16X4": ("DPR16X4", {"DO": 6}),
        "clk_IB_O": ("IB", {"O": 7}),
    }, ("COUT", "Q", "Z", "DO", "O"))
    assert count(found, NEXUS) == {"systolic array": [2, 2], "drain": [3, 0], "all else": [6, 0]}


def test_xilinx():
    """Shift registers and small memories are of LUTs.  Of a chain's four bits, three take a LUT here: one that is
    counted for itself, and two through which a register's is passed; a constant takes none."""
    found = netlist({
        "array.element_0_0.s_LUT2_O": ("LUT2", {"O": 1}),
        "array.element_0_0.a": ("FDRE", {"Q": 2}),
        "array.element_0_0.b": ("FDSE", {"Q": 3}),
        "drain.x_SRL16E_Q": ("SRL16E", {"Q": 4}),
        "drain.x_RAM32M": ("RAM32M", {"DOA": 5}),
        "drain.x_MUXF7_O": ("MUXF7", {"O": 6}),
        "drain.x_LUT6_O": ("LUT6", {"O": 7}),
    }, ("O", "Q", "DOA"))
    found["cells"]["array.element_0_0.s_CARRY4"] = {
        "type": "CARRY4", "connections": {"S": [1, 2, 3, "0"], "O": [8, 9, 10, 11]},
        "port_directions": {"S": "input", "O": "output"}}
    assert count(found, XILINX_7) == {"systolic array": [3, 2], "drain": [6, 0]}


def test_cyclone():
    """Modules: functions of up to four inputs in pairs, larger ones alone."""
    found = netlist({
        "array.element_0_0.s_ALUT": ("MISTRAL_ALUT_ARITH", {"SO": 1}),
        "array.element_0_0.t_ALUT": ("MISTRAL_ALUT_ARITH", {"SO": 2}),
        "array.element_0_0.s": ("MISTRAL_FF", {"Q": 3}),
        "drain.a_ALUT": ("MISTRAL_ALUT4", {"Q": 4}),
        "drain.b_ALUT": ("MISTRAL_ALUT5", {"Q": 5}),
        "drain.c_ALUT": ("MISTRAL_ALUT6", {"Q": 6}),
        "drain.d_MLAB": ("MISTRAL_MLAB", {"B1DATA": 7}),
    }, ("SO", "Q", "B1DATA"))
    assert count(found, CYCLONE_V) == {"systolic array": [1, 1], "drain": [3, 0]}


CELLS = {
    "LFD2NX-40": ({"PDPSC16K": 1, "PDP16K": 1, "DP16K": 1}, {"MULT18X18": 1}),
    "XC7A35T": ({"RAMB18E1": 1, "RAMB36E1": 2}, {"DSP48E1": 1}),
    "5CEBA4": ({"MISTRAL_M10K": 1}, {"MISTRAL_MUL9X9": Fraction(1, 3), "MISTRAL_MUL18X18": 1}),
    "LFE5U-85F": ({"DP16KD": 1}, {"MULT18X18D": 1}),
    "iCE40UP5K": ({"SB_RAM40_4K": 1}, {"SB_MAC16": 1}),
    "GW2AR-18C": ({"DPX9B": 1, "SPX9": 1, "SDPX9B": 1, "pROMX9": 1, "DPB": 1, "SP": 1, "SDPB": 1, "pROM": 1},
                  {"MULT9X9": 1, "MULT18X18": 2}),
}
"""A part of each family: how many of its memory blocks and of its multipliers yosys's cells are."""

NO_MEMORY_IN_LUTS = {"iCE40UP5K"}
"""Parts whose LUTs can't be memories, however small."""


@pytest.mark.synthesis
@pytest.mark.slow
@pytest.mark.parametrize("name", calibrate.CORES)
def test_core_as_yosys_makes_it(name, tmp_path):
    """Of an engine that was not measured: memory blocks and multipliers as they are counted, but for the output memory,
    which is tiny and made of LUTs where a part can do that; and logic within the margin of its estimate."""
    board, part, network = calibrate.board_of(name), get_part(name), calibrate.load(calibrate.DIGITS)
    schedule = Schedule(network, EngineConfig(2, 4, 2, (1, 1), requantisers=2, requantiser_multiplier=part.widest[0]))
    assert part.core
    netlist = calibrate.core_netlist(schedule, board, part.core, find("yosys"), tmp_path)
    cells = Counter(cell["type"] for cell in netlist["cells"].values())
    memories, multipliers = (sum(cells[cell] * count for cell, count in each.items()) for each in CELLS[name])
    used = fit(schedule, board).used
    in_luts = sum(blocks(board, use)[1] for use in schedule.memories
                  if use.role == "output" and name not in NO_MEMORY_IN_LUTS)
    assert 0 < memories == used[part.memories[0].name] - in_luts
    assert ceil(multipliers) == used[part.multiplier]
    found = count(netlist, part.core)
    assert list(logic(schedule, board).values()) == pytest.approx(
        [sum(counted[kind] for counted in found.values()) for kind in range(2)], rel=MARGIN)


def routed() -> dict[str, dict]:
    """What ``make bench`` simulated and built of each design that was placed and routed since."""
    results = json.loads((ROOT / "benchmarks/results.json").read_text())
    return {name: row for name, row in results.items() if "build" in row and all(
        row["build"][figure] == row["simulate"][figure] for figure in ("in_memory_cycles", "last_byte_cycles"))}


NOT_MEASURED = {"resnet8"}
"""Designs whose engines have units that were never measured on such a part: nothing is estimated of them."""


@pytest.mark.parametrize("name", routed())
def test_routed(name):
    """A design that was placed and routed is estimated within the margin, and is not refused."""
    row = routed()[name]
    words, engine, used = row["build"]["command"].split(), dict(row["simulate"]["engine"]), row["build"]["used"]
    path, board = words[2], get_board(words[words.index("--board") + 1])
    network = read_model(require_model(Path(path).parent.name) / "model.tflite" if "$" in path else ROOT / path)
    assert isinstance(network, Network)
    if "--no-simplify" not in words:
        network = simplify(network).network
    del engine["multipliers"], engine["products"]
    schedule = Schedule(network, EngineConfig(**engine | {"window": tuple(engine["window"])}))
    assert CycleModel(schedule).in_memory_cycles == row["build"]["in_memory_cycles"]
    found = logic(schedule, board)
    assert fit(schedule, board).ok
    assert (not found) == (name in NOT_MEASURED)
    if not found:
        return
    assert found["LUT4"] == pytest.approx(used["lut"], rel=MARGIN)
    assert found["FF"] == pytest.approx(used["ff"], rel=MARGIN)


def test_blocks_tell_apart():
    """Every family was measured with networks of several depths: each layer takes logic of its own; and with max pools
    and without."""
    for family in table().values():
        models = {engine["model"] for engine in family["engines"]}
        files = {ROOT / model for model in models if (ROOT / model).is_file()}
        assert len({len(Formats(read_model(file)).passes) for file in files}) > 1
        assert any(model.endswith("with a max pool") for model in models)
        assert any(family["each"][DepthwiseEngine.NAME.part]["compared products"])


@pytest.mark.parametrize("family", table())
def test_table(family):
    """All parts of all engines were told apart: none of them is without coefficients, or without cells."""
    known = json.loads(LOGIC.read_text())[family]
    for engine in known["engines"]:
        assert engine["counted"].keys() <= known["each"].keys()
        assert engine["counted"].keys() == engine["off"].keys()
