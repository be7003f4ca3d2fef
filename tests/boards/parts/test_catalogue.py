# SPDX-License-Identifier: Apache-2.0
"""Common parts: which there are, and what is counted of them; ``test_lut_estimate.py`` holds that against yosys."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from tepal.boards.flow.fit import fit
from tepal.boards.flow.lut_estimate import table
from tepal.boards.parts.catalogue import PARTS
from tepal.boards.registry import BOARDS
from tepal.hdl import EngineConfig, Schedule
from tepal.quant import Network, read_model

MODEL = Path(__file__).parents[3] / "examples/digits/digits.tflite"

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
