# SPDX-License-Identifier: Apache-2.0
"""``--weight-words`` on every command that takes an engine."""

import json
from pathlib import Path

import numpy as np
import pytest
from tepal.boards.flow import external_memory
from tepal.hdl.memories.weight_image import WeightImageError, read_weight_image
from tepal.quant import BOTTLENECKS, MobileNetV2, digest, read_model, write_onnx

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


# -- by itself -----------------------------------------------------------------------------------------

SENTENCE = ("The network does not fit on the chip, so its weights come from the memory of ulx3s-85f: {:,} bytes for "
            "every frame, through a ring of {:,} words on the chip; --weight-words asks for a ring of another size.\n")


@pytest.fixture(scope="module")
def too_large(tmp_path_factory) -> Path:
    """A network with too many weights for any chip."""
    path = tmp_path_factory.mktemp("models") / "too_large.onnx"
    write_onnx(MobileNetV2(0.35, 32, 1000, bottlenecks=BOTTLENECKS[:2]).network(), path)
    return path


def test_where_it_does_not_fit(run, too_large):
    """The board's memory is taken, in a sentence; with the options of that engine it is the same one."""
    code, out, err = run("estimate", too_large, "--board", "ulx3s-85f", "--json")
    report = json.loads(out)
    words = report["engine"]["weight_words"]
    assert (code, err) == (0, SENTENCE.format(report["weight_bytes_per_frame"], words))
    assert report["fits"]
    assert report["clock_mhz"] == 100.0
    names = "rows", "packing", "requantisers", "weight_words", "activation_words", "input_rows"
    options = [each for name in names if name in report["engine"]
               for each in (f"--{name.replace('_', '-')}", report["engine"][name])]
    usual = {"operands": 1, "columns_abreast": 1, "requantiser_multiplier": 0}
    options += [each for name, value in (usual | report["engine"]).items() if name in usual
                for each in (f"--{name.replace('_', '-')}", value)]
    code, out, err = run("estimate", too_large, "--board", "ulx3s-85f", *options, "--json")
    again = json.loads(out)
    assert (code, err) == (0, "")
    assert {name: again[name] for name in ("engine", "used", "interval_cycles", "weight_bytes_per_frame")} == {
        name: report[name] for name in ("engine", "used", "interval_cycles", "weight_bytes_per_frame")}


def test_the_engine_that_is_asked_for(run, too_large):
    report = json.loads(run("estimate", too_large, "--board", "ulx3s-85f", "--rows", 4, "--columns", 32, "--json")[1])
    assert (report["engine"]["rows"], report["engine"]["columns"]) == (4, 32)
    assert report["weight_bytes_per_frame"] > 0


def test_boards_without_a_memory(run, too_large):
    """Nothing changes for them."""
    code, out, err = run("estimate", too_large, "--board", "orangecrab-85f", "--json")
    assert code == 2
    assert json.loads(out)["weight_bytes_per_frame"] == 0
    assert err.startswith("tepal: the network does not fit orangecrab-85f: it needs ")


def test_all_boards_tell_where_it_may_fit(run, too_large):
    """They are not searched, but named."""
    code, out, err = run("estimate", too_large, "--json")
    assert code == 2
    named = [each["board"] for each in json.loads(out)["boards"] if each["may_fit_with_external_memory"]]
    assert named == ["ulx3s-85f", "ulx3s-45f", "ulx3s-25f", "ulx3s-12f"]
    told = f"eights may come from a memory beside the FPGA: --board tells whether it fits so on {', '.join(named)}"
    assert f"; w{told}\n" in err
    assert f"\nW{told}.\n" in run("estimate", too_large)[1]
    assert "memory beside" not in run("estimate", MODEL)[1]


def test_where_it_fits_nobody_looks(run, monkeypatch):
    """Nor where the number of words is asked for."""
    monkeypatch.setattr(external_memory, "_Divisions", None)
    for options in (), ("--weight-words", 512):
        assert run("estimate", *ARGUMENTS, *options, "--json")[::2] == (0, "")


@pytest.mark.slow
def test_generate_by_itself(run, too_large, tmp_path):
    code, _, err = run("generate", too_large, "--board", "ulx3s-85f", "-o", tmp_path / "core")
    ports = json.loads((tmp_path / "core/too_large.json").read_text())["ports"]
    assert code == 0
    assert SENTENCE.split("{")[0] in err
    assert f" {ports['m_axi']['bytes_per_frame']:,} bytes" in err
    assert (tmp_path / "core" / ports["m_axi"]["file"]).stat().st_size == ports["m_axi"]["bytes"]


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
