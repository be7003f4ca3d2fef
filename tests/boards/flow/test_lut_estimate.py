# SPDX-License-Identifier: Apache-2.0
"""What is counted of a netlist: as nextpnr packs it, by the parts of the design."""

import json
from pathlib import Path

import pytest
from models import require_model
from tepal.boards.flow.fit import fit
from tepal.boards.flow.lut_estimate import LOGIC, MARGIN, count, logic, table
from tepal.boards.registry import get_board
from tepal.hdl import EngineConfig, Formats, Schedule
from tepal.hdl.units.depthwise import DepthwiseEngine
from tepal.quant import Network, read_model, simplify
from tepal.sim import CycleModel

ROOT = Path(__file__).parents[3]
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


def routed() -> dict[str, dict]:
    """What ``make bench`` simulated and built of each design that was placed and routed since."""
    results = json.loads((ROOT / "benchmarks/results.json").read_text())
    return {name: row for name, row in results.items() if "build" in row and all(
        row["build"][figure] == row["simulate"][figure] for figure in ("in_memory_cycles", "last_byte_cycles"))}


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
    assert found["LUT4"] == pytest.approx(used["lut"], rel=MARGIN)
    assert found["FF"] == pytest.approx(used["ff"], rel=MARGIN)
    assert fit(schedule, board).ok


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
