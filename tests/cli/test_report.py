# SPDX-License-Identifier: Apache-2.0
"""``tepal report``: what it writes, what it takes from other commands, and what it refuses."""

import json
from pathlib import Path

import numpy as np
import pytest
from tepal.boards.flow.build import REPORT
from tepal.quant import MobileNet, write_onnx

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "examples/digits/digits.tflite"
DIGITS = ROOT / "examples/digits"
ARGUMENTS = (MODEL, "--board", "ulx3s-85f")


@pytest.fixture
def estimate(run):
    """What ``tepal estimate`` says of the same."""
    return json.loads(run("estimate", *ARGUMENTS, "--json")[1])


@pytest.fixture
def build(estimate, tmp_path) -> Path:
    """A folder with a report such as ``tepal build`` writes."""
    report = {"board": "ulx3s-85f", "part": "LFE5U-85F", "passed": True, "fmax_mhz": 81.5, "clock_mhz": 79.0,
              "target_mhz": 100.0, "used": {"lut": 4321}, "available": {"lut": 83640},
              "in_memory_cycles": estimate["in_memory_cycles"], "last_byte_cycles": estimate["last_byte_cycles"],
              "interval_cycles": estimate["interval_cycles"],
              "in_memory_ms": 0.5, "last_byte_ms": 0.25, "frames_per_second": 1000.0, "critical_path": None,
              "seeds": [{"seed": 1, "fmax_mhz": 81.5}], "best_seed": 1,
              "tools": {"yosys": {"version": "0.70", "from": "somewhere"}}}
    folder = tmp_path / "built"
    folder.mkdir()
    (folder / REPORT).write_text(json.dumps(report))
    return folder


def changed(folder: Path, **values) -> None:
    file = folder / REPORT
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def test_written(run, estimate, tmp_path):
    code, out, err = run("report", *ARGUMENTS, "-o", "new/page.html", "--json")
    assert (code, err) == (0, "")
    report = json.loads(out)
    page = (tmp_path / report["path"]).read_text()
    assert page.startswith("<!DOCTYPE html>")
    assert [f'<section id="{name}"' in page for name in report["sections"]] == [True] * 5
    for name in "cycles", "in_memory_cycles", "last_byte_cycles", "interval_cycles", "fits":
        assert report[name] == estimate[name]
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["page.html"]
    for used in estimate["used"].values():
        assert f"{used:,}" in page
    # Again, over the first one, which no clock and no folder changes.
    assert run("report", *ARGUMENTS, "-o", "new/page.html")[1] == "Wrote new/page.html: open it in a browser.\n"
    assert (tmp_path / "new/page.html").read_text() == page


def test_all_that_is_known(run, estimate, build, tmp_path):
    """A build, a simulation, losses, images and labels: a section each, with their numbers."""
    labels = np.load(DIGITS / "labels.npy")[:20]
    np.savez(tmp_path / "test.npz", images=np.load(DIGITS / "inputs.npy")[:20], labels=labels)
    evaluated = json.loads(run("evaluate", MODEL, "--input", "test.npz", "--json")[1])
    simulated = {"board": "ulx3s-85f", "frames": 2, "cycles": 1, "in_memory_cycles": None, "last_byte_cycles": 2,
                 "interval_cycles": None, "predicted_cycles": 1, "predicted_last_byte_cycles": 4,
                 "predicted_in_memory_cycles": estimate["in_memory_cycles"],
                 "predicted_interval_cycles": 3, "mismatches": 5, "compared": 77, "cycle_errors": ["late"],
                 "problems": [], "first_mismatch": "frame 0: layer 3 first differs"}
    (tmp_path / "sim.json").write_text(json.dumps(simulated))
    lost = {"frames": 9, "method": "mse", "agreement": 0.987, "logit_error": 0.1, "accuracy": {"float": 0.9125},
            "layers": [{"name": estimate["layers"][0]["name"], "kind": "Convolution", "low": -1.0, "high": 2.0,
                        "scale": 0.1, "zero_point": -3, "sqnr": 33.25, "saturated": 0.01, "alone": 41.5}]}
    (tmp_path / "lost.json").write_text(json.dumps(lost))
    code, out, _ = run("report", *ARGUMENTS, "-o", "page.html", "--build", build, "--simulation", "sim.json",
                       "--losses", "lost.json", "--input", DIGITS / "inputs.npy", "--frames", 3,
                       "--evaluate", "test.npz", "--json")
    assert code == 0
    assert json.loads(out)["sections"][5:] == ["build", "quantisation", "accuracy", "simulation"]
    page = (tmp_path / "page.html").read_text()
    for text in ("4,321", "79.00 MHz, the clock of the build", "frame 0: layer 3 first differs", "5 of 77", "33.2",
                 "91.25%", f"{evaluated['accuracy']:.2%}", "Values on 3 images", "late"):
        assert text in page, text


def test_does_not_fit(run, tmp_path):
    """The page says so, and so does the command, as ``tepal estimate`` does."""
    write_onnx(MobileNet(0.75, 96, classes=4).network(), tmp_path / "huge.onnx")
    code, out, err = run("report", "huge.onnx", "--board", "orangecrab-85f", "-o", "page.html", "--json")
    assert code == 2
    assert not json.loads(out)["fits"]
    assert "does not fit" in err
    assert "It does not fit:" in (tmp_path / "page.html").read_text()


@pytest.mark.parametrize(("output", "sentence"), [
    ("page.txt", "the page is HTML, so give it a name that ends in .html"),
    ("folder.html", "folder.html is a folder"),
    ("file/page.html", "is a file: give a folder to write to"),
])
def test_refused_places(refusal, tmp_path, output, sentence):
    (tmp_path / "folder.html").mkdir()
    (tmp_path / "file").write_text("")
    assert sentence in refusal("report", *ARGUMENTS, "-o", output)


def test_model_is_kept(refusal, tmp_path):
    (tmp_path / "a.html").write_bytes(MODEL.read_bytes())
    assert "would be lost" in refusal("report", "a.html", "--board", "ulx3s-85f", "-o", "a.html")


def test_full_disk(run, tmp_path, monkeypatch):
    """The page that was there stays, whole."""
    (tmp_path / "page.html").write_text("before")

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fail)
    code, _, err = run("report", *ARGUMENTS, "-o", "page.html")
    assert code == 2
    assert "No space left on device" in err
    assert (tmp_path / "page.html").read_text() == "before"
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]


@pytest.mark.parametrize(("values", "sentence"), [
    ({"board": "icebreaker"}, "is of the board icebreaker: give --board icebreaker"),
    ({"in_memory_cycles": 7}, "is of another network or engine, which takes 7 cycles"),
    ({"seeds": [{"seed": 1}]}, "is not what tepal build writes: seeds 0 fmax_mhz"),
    ({"used": {"lut": "many"}}, "is not what tepal build writes: used lut"),
    ({"passed": 1}, "is not what tepal build writes: passed"),
    ({"critical_path": {"from": "a"}}, "is not what tepal build writes: critical_path to"),
])
def test_refused_builds(refusal, build, values, sentence):
    changed(build, **values)
    assert sentence in refusal("report", *ARGUMENTS, "-o", "page.html", "--build", build)


@pytest.mark.parametrize("option", ["--losses", "--simulation"])
@pytest.mark.parametrize(("content", "sentence"), [
    (b"", "is no JSON"), (b"\xff\xfe", "is no JSON"), (b"[" * 100_000, "is no JSON"), (b"[]", "is not what tepal"),
    (b"{}", "is not what tepal"), (b"null", "is not what tepal")])
def test_refused_files(refusal, tmp_path, option, content, sentence):
    (tmp_path / "found.json").write_bytes(content)
    assert sentence in refusal("report", *ARGUMENTS, "-o", "page.html", option, "found.json")


@pytest.mark.parametrize(("options", "sentence"), [
    (("--build", "nowhere"), "nowhere/report.json can't be read"),
    (("--frames", "3"), "--frames goes with --input"),
    (("--evaluate", "none.npz"), "none.npz can't be read"),
    (("--input", "none.npy"), "none.npy can't be read"),
])
def test_refused_options(refusal, options, sentence):
    assert sentence in refusal("report", *ARGUMENTS, "-o", "page.html", *options)


def test_losses_of_another_network(refusal, tmp_path):
    lost = {"frames": 9, "method": "mse", "agreement": 1.0, "logit_error": 0.1, "accuracy": None, "layers": []}
    (tmp_path / "lost.json").write_text(json.dumps(lost))
    assert "is of another network" in refusal("report", *ARGUMENTS, "-o", "page.html", "--losses", "lost.json")
