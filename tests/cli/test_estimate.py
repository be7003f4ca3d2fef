# SPDX-License-Identifier: Apache-2.0
"""``tepal estimate`` of all boards at once, and the clocks that it reckons with."""

import json
import re
from pathlib import Path

import pytest
from models import require_model
from tepal.boards.flow import routed
from tepal.boards.flow.routed import clock_of
from tepal.boards.registry import BOARDS
from tepal.quant import BOTTLENECKS, MobileNet, MobileNetV2, write_onnx

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "examples/cifar10/models/large_0.50_32_int8.onnx"
NAMES = [name for name in BOARDS if name != "generic"]


@pytest.fixture(scope="module")
def huge(tmp_path_factory) -> Path:
    """A network that fits nothing."""
    path = tmp_path_factory.mktemp("models") / "huge.onnx"
    write_onnx(MobileNet(0.75, 96, classes=4).network(), path)
    return path


def test_all_boards(run):
    """Each board's entry says what ``--board`` says of it."""
    code, out, err = run("estimate", MODEL, "--json")
    assert (code, err) == (0, "")
    report = json.loads(out)
    assert [entry["board"] for entry in report["boards"]] == NAMES
    fits = {entry["board"]: entry["fits"] for entry in report["boards"]}
    assert fits["ulx3s-85f"]
    assert not fits["icebreaker"]
    for name in ("ulx3s-85f", "icebreaker"):
        entry = next(entry for entry in report["boards"] if entry["board"] == name)
        alone = json.loads(run("estimate", MODEL, "--board", name, "--json")[1])
        for key in ("fits", "used", "available", "engine", "cycles", "in_memory_cycles", "last_byte_cycles",
                    "interval_cycles", "clock_mhz", "clock", "in_memory_ms", "last_byte_ms", "frames_per_second"):
            assert entry[key] == alone[key]
        assert entry["short"] == {kind: alone["used"][kind] - limit for kind, limit in alone["available"].items()
                                  if alone["used"][kind] > limit}
        assert (report["macs"], report["parameters"]) == (alone["macs"], alone["parameters"])


def test_table(run):
    """A line a board; how much is short; of each time at which clock it is."""
    code, text, err = run("estimate", MODEL)
    assert (code, err) == (0, "")
    report = json.loads(run("estimate", MODEL, "--json")[1])
    lines = text.splitlines()
    for entry in report["boards"]:
        line, = (line for line in lines if re.match(rf"\W*{entry['board']} ", line))
        assert f" {entry['in_memory_cycles']:,} " in line
        assert ("yes" in line) == entry["fits"]
        for kind in entry["short"]:
            assert f"{entry['used'][kind]:,} of {entry['available'][kind]:,} {kind}" in text
        if entry["clock_mhz"]:
            assert f" {entry['in_memory_ms']:.3f} " in line
            assert f" {entry['frames_per_second']:,.1f} " in line
            assert f"{entry['board']}: at {entry['clock_mhz']:.2f} MHz, which " in text
        else:
            assert entry["board"] in text[text.index("No clock recorded: "):]


def test_no_board_has_room_for_the_weights(run, huge):
    """It is said of each; for the one with the most room a version is looked for that fits."""
    code, out, err = run("estimate", huge, "--json")
    boards = {entry["board"]: entry for entry in json.loads(out)["boards"]}
    assert code == 2
    weights, room = re.fullmatch(r"([\d,]+) bytes of weights are more than the ([\d,]+) that all memories of iCE40UP5K "
                                 "hold", boards["icebreaker"]["problem"]).groups()
    assert int(weights.replace(",", "")) > int(room.replace(",", "")) == 146_432
    assert err.startswith("tepal: the network fits none of the boards, of which ulx3s-85f has the most room: "
                          f"{boards['ulx3s-85f']['problem']}; 0.")
    assert " times the model's width at 96 x 96 pixels would fit" in err
    text = run("estimate", huge)[1]
    assert f"icebreaker, icebreaker-bitsy, icesugar, upduino-v3: {boards['icebreaker']['problem']}." in text


def test_no_board(run, tmp_path):
    """Exit code 2, and one sentence: the nearest board, what it has too little of, and what would fit it."""
    model = tmp_path / "tight.onnx"
    write_onnx(MobileNet(0.35, 96, classes=4).network(), model)
    code, out, err = run("estimate", model, "--json")
    boards = {entry["board"]: entry for entry in json.loads(out)["boards"]}
    assert code == 2
    assert not any(entry["fits"] for entry in boards.values())
    sentence = re.fullmatch(r"tepal: the network fits none of the boards, of which (\S+) comes nearest: it needs (\d+) "
                            r"(\S+) and \S+ has (\d+) \(.*\), .*; (0\.\d+) times the model's width at .* would fit "
                            r".*\n", err)
    name, used, kind, limit, _ = sentence.groups()
    assert (int(used), int(limit)) == (boards[name]["used"][kind], boards[name]["available"][kind])

    def excess(entry):
        return max(entry["used"][kind] / entry["available"][kind] for kind in entry["short"])
    assert excess(boards[name]) == min(map(excess, boards.values()))


def test_engine_options(run):
    """They count where a board can have them; else it is said why not."""
    code, out, _ = run("estimate", MODEL, "--packing", 2, "--rows", 4, "--json")
    boards = {entry["board"]: entry for entry in json.loads(out)["boards"]}
    assert code == 0
    assert (boards["ulx3s-85f"]["engine"]["rows"], boards["ulx3s-85f"]["engine"]["packing"]) == (4, 2)
    problem = "packing (2) must be 1 on icebreaker: rows can't share a SB_MAC16"
    assert (boards["icebreaker"]["fits"], boards["icebreaker"]["problem"]) == (False, problem)
    assert f"icebreaker: {problem}." in run("estimate", MODEL, "--packing", 2, "--rows", 4)[1]


@pytest.mark.parametrize(("argv", "sentence"), [
    (["--rows", "0"], "tepal: rows must be a positive integer, not 0\n"),
    (["--rows", "3", "--packing", "2"],
     r"ecpix5-85f.*: packing \(2\) must divide rows \(3\); icebreaker: packing \(2\) must "),
])
def test_engine_of_no_board(refusal, argv, sentence):
    """Each reason once."""
    assert re.search(sentence, refusal("estimate", MODEL, *argv))


# -- clocks --------------------------------------------------------------------------------------------


def test_clock(tmp_path, monkeypatch):
    """Recorded by board: one with the same part may have another speed grade."""
    monkeypatch.setattr(routed, "ROUTED", tmp_path / "routed.json")
    routed.ROUTED.write_text(json.dumps({"ulx3s-85f": {"clock_mhz": 50.0, "design": "a design"}}))
    clock = clock_of(BOARDS["ulx3s-85f"])
    assert (clock.mhz, clock.told) == (50.0, "50.00 MHz, which a design reached after routing")
    assert (clock.milliseconds(25_000), clock.rate(25_000)) == (0.5, 2000.0)
    assert BOARDS["orangecrab-85f"].part == BOARDS["ulx3s-85f"].part
    unknown = clock_of(BOARDS["orangecrab-85f"])
    assert (unknown.mhz, unknown.milliseconds(1), unknown.rate(1)) == (None, None, None)
    assert "none has been recorded for orangecrab-85f" in unknown.told
    asked = clock_of(BOARDS["ulx3s-85f"], 40.0)
    assert (asked.mhz, asked.told) == (40.0, "40 MHz, as asked for")


def test_time_on_one_board(run):
    text = run("estimate", MODEL, "--board", "ulx3s-85f")[1]
    report = json.loads(run("estimate", MODEL, "--board", "ulx3s-85f", "--json")[1])
    mhz = json.loads(routed.ROUTED.read_text())["ulx3s-85f"]["clock_mhz"]
    assert report["in_memory_ms"] == pytest.approx(report["in_memory_cycles"] / mhz / 1e3, abs=1e-6)
    assert report["frames_per_second"] == pytest.approx(mhz * 1e6 / report["interval_cycles"], abs=1e-3)
    assert (f"{report['in_memory_ms']:.3f} ms in memory, {report['last_byte_ms']:.3f} ms from the last byte, "
            f"{report['frames_per_second']:,.1f} frames a second: at {mhz:.2f} MHz, which ") in text
    assert "There is no clock: none has been recorded for ecpix5-85f" in run("estimate", MODEL, "--board",
                                                                           "ecpix5-85f")[1]
    asked = json.loads(run("estimate", MODEL, "--board", "ecpix5-85f", "--clock", 80, "--json")[1])
    assert asked["in_memory_ms"] == pytest.approx(asked["in_memory_cycles"] / 80e3, abs=1e-6)


@pytest.mark.model
@pytest.mark.parametrize(("board", "told"), [("tangnano9k", True), ("ulx3s-12f", False)])
def test_logic_that_is_not_estimated(run, board, told):
    """It is said of a part that has only so much of it."""
    code, out, _ = run("estimate", ROOT / "examples/digits/digits.tflite", "--board", board)
    assert code == 0
    assert ("LUTs and flip-flops are not estimated" in out) == told


def test_what_would_fit_is_reported(run):
    """As numbers too, with ``--board``."""
    model = require_model("mlperf_vww_int8") / "model.tflite"
    code, out, err = run("estimate", model, "--board", "ulx3s-12f", "--input-rows", 96, "--json")
    assert code == 2
    found = json.loads(out)["smaller"]
    assert found
    assert all(f"{item['width']:g} times the model's width at {item['image'][0]} x {item['image'][1]} pixels" in err
               for item in found)


def test_bands(run, tmp_path):
    """Of a network whose maps do not fit whole: which layers, what that saves, and what it costs."""
    path = tmp_path / "bands.onnx"
    write_onnx(MobileNetV2(0.35, 128, classes=4, bottlenecks=BOTTLENECKS[:3], last_channels=128).network(), path)
    code, out, _ = run("estimate", path, "--board", "ulx3s-85f", "--json")
    assert code == 0
    report = json.loads(out)
    bands = report["bands"]
    assert bands["words"] <= report["engine"]["activation_words"] < bands["whole_words"]
    assert bands["in_memory_cycles"] == report["in_memory_cycles"] > bands["whole_cycles"]
    assert bands["layers"] == sum(len(group["layers"]) for group in bands["groups"]) > 0
    text = " ".join(run("estimate", path, "--board", "ulx3s-85f")[1].split())
    more = bands["in_memory_cycles"] / bands["whole_cycles"] - 1
    assert (f"{bands['layers']} layers run in bands of rows, and no map between them is ever stored whole: "
            f"{bands['words']:,} words in each bank of activations in place of {bands['whole_words']:,}, "
            f"for {more:.1%} more cycles.") in text

    words = bands["words"] - 200
    less = json.loads(run("estimate", path, "--board", "ulx3s-85f", "--activation-words", words, "--json")[1])
    assert less["bands"]["words"] <= words
    assert less["in_memory_cycles"] > report["in_memory_cycles"]
    code, out, err = run("estimate", path, "--board", "ulx3s-85f", "--activation-words", 100)
    assert (code, out) == (2, "")
    assert "do not fit into 100 words of each bank" in err

    # On another engine, other bands.
    other = json.loads(run("estimate", path, "--board", "ulx3s-85f", "--rows", 2, "--columns", 16, "--json")[1])
    assert other["fits"]
    assert json.loads(run("estimate", MODEL, "--board", "ulx3s-85f", "--json")[1])["bands"] is None


def test_rows_of_the_image(run):
    """Of an engine whose input memory holds some of them: what that saves and costs, and the least there may be."""
    digits = Path(__file__).parents[2] / "examples/digits/digits.tflite"
    arguments = "estimate", digits, "--board", "ulx3s-85f", "--input-rows"
    code, out, _ = run(*arguments, 9, "--json")
    ring = json.loads(out)["input_rows"]
    assert (code, ring["rows"], ring["of"]) == (0, 8, 24)
    assert ring["words"] < ring["whole_words"]
    text = " ".join(run(*arguments, 9)[1].split())
    more = ring["interval_cycles"] / ring["whole_interval_cycles"] - 1
    assert (f"The input memory holds 8 of the image's 24 rows, which are computed as they arrive: {ring['words']:,} "
            f"words in place of {ring['whole_words']:,}, and a frame takes {more:.1%} more cycles.") in text
    code, out, err = run(*arguments, 2)
    assert (code, out) == (2, "")
    assert ("the first layer needs 3 rows of the image at once, and the input memory holds 2: choose input_rows of 4 "
            "or more") in " ".join(err.split())
