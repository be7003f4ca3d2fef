# SPDX-License-Identifier: Apache-2.0
"""Common parts: which there are, and that what is counted of them is what yosys infers, or a little more."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from tepal.boards.flow.fit import blocks, fit
from tepal.boards.flow.folder import write_files
from tepal.boards.flow.generate import generate
from tepal.boards.flow.lut_estimate import table
from tepal.boards.flow.tools import find
from tepal.boards.parts.catalogue import PARTS, get_part
from tepal.boards.registry import BOARDS
from tepal.hdl import EngineConfig, Schedule
from tepal.quant import Network, read_model

MODEL = Path(__file__).parents[3] / "examples/digits/digits.tflite"

SYNTHESIS = {
    "LIFCL-40": ("synth_nexus -top tepal -run begin:map_ffram", {"PDPSC16K": 1, "PDP16K": 1, "DP16K": 1},
                 {"MULT18X18": 1}),
    "XC7A35T": ("synth_xilinx -top tepal -flatten -run begin:map_ffram", {"RAMB18E1": 1, "RAMB36E1": 2},
                {"DSP48E1": 1}),
    "5CEBA4": ("synth_intel_alm -family cyclonev -top tepal -run begin:map_lutram", {"MISTRAL_M10K": 1},
               {"MISTRAL_MUL9X9": 1, "MISTRAL_MUL18X18": 1})}
"""A part of each family: what maps multipliers and memory blocks, and how many of either its cells are."""

ROM_COST, BLOCK_COST = 1 / 64, 129
"""What yosys reckons for a bit of a ROM in LUTs and for a RAMB18: it takes the cheaper."""


def in_luts(board, schedule) -> int:
    """Blocks that are counted for memories which yosys puts into LUTs: for the output memory, which is tiny, and on
    Xilinx' parts for ROMs that leave most of their blocks empty."""
    found = 0
    for use in schedule.memories:
        _, count = blocks(board, use)
        rom = use.role.endswith(("_weights", "_parameters"))
        if use.role == "output" or (board.part.name.startswith("XC7") and rom
                                    and use.depth * use.width * ROM_COST < BLOCK_COST * count):
            found += count
    return found


@pytest.mark.synthesis
@pytest.mark.slow
@pytest.mark.parametrize("name", SYNTHESIS)
def test_inferred(name, tmp_path):
    engine = EngineConfig(2, 4, 2, (1, 1), requantisers=2, requantiser_multiplier=18)
    script, memories, multipliers = SYNTHESIS[name]
    network = read_model(MODEL)
    assert isinstance(network, Network)
    schedule = Schedule(network, engine)
    write_files(generate(schedule, BOARDS["generic"]), tmp_path / "made")
    find("yosys").run(["-q", "-p", f"read_verilog tepal.v; hierarchy -check -top tepal; {script}; "
                       "tee -q -o stat.json stat -json -top tepal"], tmp_path / "made")
    cells = json.loads((tmp_path / "made/stat.json").read_text())["design"]["num_cells_by_type"]

    part = get_part(name)
    board = replace(BOARDS["generic"], part=part)
    used = fit(schedule, board).used
    inferred = sum(cells.get(cell, 0) * count for cell, count in memories.items())
    found = sum(cells.get(cell, 0) * count for cell, count in multipliers.items())
    assert found == engine.multipliers + engine.hard_requantisers
    assert used[part.multiplier] == -(-engine.multipliers // part.products) + engine.hard_requantisers
    assert 0 < inferred == used[part.memories[0].name] - in_luts(board, schedule)


def test_part(run):
    code, out, _ = run("estimate", MODEL, "--board", "generic", "--part", "xc7a35t", "--small", "--json")
    report = json.loads(out)
    assert (code, report["fits"], report["used"]["DSP48E1"]) == (0, True, 1)
    assert report["available"] == {"DSP48E1": 90, "RAMB18": 100, "LUT": 20_800, "FF": 41_600}
    assert report["estimated"] == ["LUT", "FF"]


@pytest.mark.parametrize("part", PARTS.values(), ids=PARTS)
def test_logic_of_every_part(part):
    """It is of a family whose cores were measured, and of all that limits engines it is known how many there are."""
    assert part.measured_as in table()
    network = read_model(MODEL)
    assert isinstance(network, Network)
    needs = fit(Schedule(network, EngineConfig(1, 2, 2, (1, 1))), replace(BOARDS["generic"], part=part))
    kinds = [part.multiplier, part.memories[0].name]
    assert [*needs.used] == [*kinds, *part.logic_kinds]
    assert needs.used.keys() == needs.available.keys()
    assert None not in needs.available.values()


def test_too_little_logic(run):
    """In the sentence that boards have for it."""
    code, out, err = run("estimate", MODEL, "--board", "generic", "--part", "XC7Z010", "--rows", 2, "--columns", 16,
                         "--lanes", 8, "--json")
    report = json.loads(out)
    assert (code, report["fits"]) == (2, False)
    assert report["used"]["LUT"] > 1.1 * report["available"]["LUT"]
    assert f"by estimate it needs {report['used']['LUT']:,} LUT, and XC7Z010 has 17,600; choose fewer --lanes" in err


def test_same_verilog(run, tmp_path):
    """A part is what is counted: what is generated does not change."""
    for folder, more in ("with", ["--part", "LIFCL-40"]), ("without", []):
        assert run("generate", MODEL, "--board", "generic", "--small", *more, "-o", folder)[0] == 0
    assert (tmp_path / "with/digits.v").read_bytes() == (tmp_path / "without/digits.v").read_bytes()


@pytest.mark.parametrize(("argv", "sentence"), [
    (["--board", "generic", "--part", "XC7A36T"], "there is no part 'XC7A36T'; did you mean XC7A35T"),
    (["--board", "ulx3s-85f", "--part", "XC7A35T"],
     "--part goes with --board generic: ulx3s-85f has a part of its own"),
    (["--part", "XC7A35T"], "--part goes with --board generic"),
    (["--board", "generic", "--part", "iCE40UP5K", "--rows", "4", "--columns", "4", "--lanes", "1", "--packing", "2"],
     "packing (2) must be 1 on generic: rows can't share a SB_MAC16"),
])
def test_refused(refusal, argv, sentence):
    assert sentence in refusal("estimate", MODEL, *argv)


def test_too_small(run):
    code, _, err = run("estimate", MODEL, "--board", "generic", "--part", "iCE40UP5K", "--small")
    assert code == 2
    assert "SB_RAM40_4K and iCE40UP5K has 30" in err
