# SPDX-License-Identifier: Apache-2.0
"""``--weight-words`` on every command that takes an engine."""

import json
from pathlib import Path

import numpy as np
import pytest
from tepal.hdl.memories.weight_image import WeightImageError, read_weight_image
from tepal.quant import digest, read_model

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "examples/digits/digits.tflite"
ARGUMENTS = (MODEL, "--board", "ulx3s-85f", "--no-simplify")


def test_generate(run, tmp_path):
    """The core's memory, its port, and what lies there: this network's image and no other's."""
    code, _, err = run("generate", *ARGUMENTS, "--weight-words", 512, "-o", tmp_path / "core")
    assert (code, err) == (0, "")
    description = json.loads((tmp_path / "core/digits.json").read_text())
    ports = description["ports"]
    image = (tmp_path / "core" / ports["m_axi"]["file"]).read_bytes()
    assert len(image) == ports["m_axi"]["bytes"]
    found = read_weight_image(image, digest(read_model(MODEL)))
    assert len(found.frame) == ports["m_axi"]["bytes_per_frame"]
    with pytest.raises(WeightImageError, match="another network"):
        read_weight_image(image, bytes(16))
    verilog = (tmp_path / "core/digits.v").read_text()
    assert all(f" {signal};" in verilog for signal in (*ports["m_axi"]["signals"], "weights_base", "weights_error"))
    assert not any("weights" in name for name in description["roms"])


def test_estimate(run):
    code, out, _ = run("estimate", *ARGUMENTS, "--weight-words", 512, "--json")
    assert code == 0
    report = json.loads(out)
    whole = json.loads(run("estimate", *ARGUMENTS, "--json")[1])
    assert report["weight_bytes_per_frame"] > whole["weight_bytes_per_frame"] == 0
    assert report["engine"]["weight_words"] == 512
    assert "weights come from outside for every frame" in run("estimate", *ARGUMENTS, "--weight-words", 512)[1]


def test_no_bench(refusal):
    assert ("tepal generate --bench knows of no external memory: leave --weight-words out"
            in refusal("generate", *ARGUMENTS, "--weight-words", 512, "--bench", "-o", "out"))


@pytest.mark.parametrize(("command", "options"), [("build", ("-o", "out")), ("simulate", ("--serve",))])
def test_no_memory_there(refusal, command, options):
    assert ("orangecrab-85f has no memory for weights beside the FPGA: leave --weight-words out"
            in refusal(command, MODEL, "--board", "orangecrab-85f", "--weight-words", 512, *options))


def test_too_few_words(refusal):
    sentence = refusal("estimate", *ARGUMENTS, "--weight-words", 8)
    assert "choose weight_words of " in sentence


def test_estimate_with_the_boards_memory(run):
    """Cycles, rate and waits are those of the SDRAM, at a clock that it takes."""
    argv = ["estimate", MODEL, "--no-simplify", "--weight-words", 512]
    report, ideal = (json.loads(run(*argv, "--board", board, "--json", *("--window", "3x3"))[1])
                     for board in ("ulx3s-85f", "orangecrab-85f"))
    assert report["engine"] == ideal["engine"]
    assert report["clock_mhz"] == 100.0
    beats = report["weight_bytes_per_frame"] / 8
    assert report["interval_cycles"] > 4 * beats > ideal["interval_cycles"]
    waited = sum(each["cycles"] for each in report["waits"])
    assert ideal["interval_cycles"] < report["interval_cycles"] <= ideal["interval_cycles"] + waited
    told = run(*argv, "--board", "ulx3s-85f")[1]
    assert "cycles are those of the board's SDRAM, which gives 1.95 in each" in told
    assert f"Of a frame, {waited:,} cycles" in told


@pytest.mark.rtl
@pytest.mark.slow
@pytest.mark.usefixtures("compile_quickly")
def test_simulate(run, tmp_path):
    """The core with the board's SDRAM beside it."""
    images = np.random.default_rng(2).integers(-128, 128, (3, 24, 24, 1), np.int8)
    np.save(tmp_path / "images.npy", images)
    code, out, err = run("simulate", *ARGUMENTS, "--weight-words", 512, "--input", tmp_path / "images.npy", "--json")
    report = json.loads(out)
    assert (code, err, report["mismatches"], report["cycle_errors"]) == (0, "", 0, [])
    assert abs(report["interval_cycles"] - report["predicted_interval_cycles"]) <= 2 * 4 * 6
