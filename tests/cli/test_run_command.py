# SPDX-License-Identifier: Apache-2.0
"""``tepal run`` on a device made of Python: what it prints, and what it says of bad input."""

import fcntl
import json
import os
import pty
import re
import tty
from dataclasses import replace

import numpy as np
import pytest
from detectors import anchors_of, detector
from device import PythonDevice
from PIL import Image
from tepal.hdl.answer import Status, Trailer
from tepal.host.device import BAUD, Device, HostError
from tepal.quant import (
    FloatConvolution,
    FloatNetwork,
    Network,
    Preprocessing,
    digest,
    quantize,
    read_model,
    read_tflite,
    simplify,
    write_onnx,
)
from tepal.sim import golden
from tflite_writer import Chain

SIZE = 4


def write_model(path, outputs: int = 3, channels: int = 3, seed: int | None = None, **meaning) -> None:
    rng = np.random.default_rng(outputs if seed is None else seed)
    weights = rng.integers(-99, 99, (outputs, SIZE * SIZE * channels)).astype(np.int8)
    # A depthwise layer with a channel of zeros, for --simplify.
    depthwise = np.ones((1, 1, channels), np.int8)
    depthwise[..., 0] = 0
    chain = Chain(SIZE, SIZE, channels, **meaning).depthwise(depthwise).fully_connected(weights)
    path.write_bytes(chain.softmax().write())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    rng = np.random.default_rng(0)
    write_model(folder / "model.tflite")
    write_model(folder / "other.tflite", 4)
    write_model(folder / "wrong.tflite", seed=7)
    write_model(folder / "two.tflite", 3, 2)
    write_model(folder / "usual.tflite", scale=1 / 255, zero_point=-128)
    write_model(folder / "grey.tflite", 3, 1, scale=1 / 128, zero_point=0)
    weights = rng.normal(size=(3, SIZE, SIZE, 3))
    trained = FloatNetwork("trained", (FloatConvolution(
        name="logits", index=0, input_shape=(SIZE, SIZE, 3), output_shape=(1, 1, 3), weights=weights,
        bias=np.zeros(3)),), preprocessing=Preprocessing.of_texts(OWN, 3))
    write_onnx(quantize(trained, rng.integers(0, 256, (99, SIZE, SIZE, 3), np.uint8)).network, folder / "own.onnx")
    np.save(folder / "images.npy", rng.integers(-128, 128, (5, SIZE, SIZE, 3), np.int8))
    np.save(folder / "shape.npy", np.zeros((5, 3, 3, 3), np.int8))
    Image.fromarray(rng.integers(0, 256, (SIZE, SIZE, 3), np.uint8)).save(folder / "picture.png")
    Image.fromarray(rng.integers(0, 256, (50, 40), np.uint8)).save(folder / "grey.jpg")
    (folder / "album").mkdir()
    for name in "b.png", "a.JPG", "c.bmp":
        Image.fromarray(rng.integers(0, 256, (SIZE, SIZE, 3), np.uint8)).save(folder / "album" / name)
    (folder / "album" / "notes.txt").write_text("no picture")
    (folder / "empty").mkdir()
    content = (folder / "picture.png").read_bytes()
    (folder / "damaged.png").write_bytes(content[:len(content) // 2])
    (folder / "yes.WAV").write_bytes(b"RIFF")
    (folder / "text.png").write_text("no picture")
    (folder / "names.txt").write_text("ant\nbee\n[cat]\n")
    return folder


@pytest.mark.parametrize("simplified", [False, True])
def test_run(run, folder, simplified):
    network = read_tflite(folder / "model.tflite")
    images = np.load(folder / "images.npy")
    expected = golden.run(network, images)
    with PythonDevice(simplify(network).network if simplified else network) as device:
        command = ["run", folder / "model.tflite", folder / "images.npy", "--port", device.port]
        code, out, err = run(*command, "--json", "--timeout", "9")
        assert (code, err) == (0, "")
        report = json.loads(out)
        assert report["outputs"] == expected.tolist()
        assert report["classes"] == expected.argmax(axis=1).tolist()
        assert (report["frames"], report["abandoned"]) == (5, 0)
        assert all(0 < score <= 1 for score in report["scores"])

        code, out, err = run(*command, "--frames", 2, "--classes", folder / "names.txt")
        assert (code, err) == (0, "")
        *lines, last = out.splitlines()
        names = ["ant", "bee", "[cat]"]
        assert [line.split(",")[0] for line in lines] == [names[label] for label in report["classes"][:2]]
        assert re.fullmatch(r"2 images in \d+\.\d\d s, \d+\.\d a second\.", last)


def test_damaged_images_are_told(run, folder):
    """What the status of a result says, beside results that are all right."""
    network = read_tflite(folder / "model.tflite")
    expected = golden.run(network, np.load(folder / "images.npy"))
    with PythonDevice(network) as device:
        device.trailer = lambda index: Trailer(index, 7, Status.ABANDONED)
        command = ["run", folder / "model.tflite", folder / "images.npy", "--port", device.port, "--timeout", "9"]
        code, out, err = run(*command, "--json")
        report = json.loads(out)
        assert (code, report["outputs"], report["abandoned"]) == (0, expected.tolist(), 5)
        assert " ".join(err.split()) == (
            "Before 5 of the results the device dropped an image that came damaged or cut short; those of this run "
            "were sent again. The line loses or changes bytes.")
        assert run(*command)[2] == err


def normalised(pixels, mean, std):
    """As torchvision does it."""
    return (pixels / np.float32(255) - np.array(mean, np.float32)) / np.array(std, np.float32)


MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
OWN = {"mean": "0.406,0.456,0.485", "std": "0.225,0.224,0.229", "layout": "bgr"}
TAKEN = "doesn't say what pixels mean: by its input's scale 0.003922 and zero point -128, 0 to 255 are taken for 0 to 1"
HOLDS = "but the model's int8 input holds 0 to 1; check --range, --mean and --std"


@pytest.mark.parametrize(("model", "more", "reference", "told"), [
    # What the file says, or what is said in its place.
    ("own.onnx", [], lambda x: normalised(x[..., ::-1], MEAN[::-1], STD[::-1]), ""),
    ("own.onnx", ["--layout", "rgb"], lambda x: normalised(x, MEAN[::-1], STD[::-1]), ""),
    ("own.onnx", ["--mean", "0.5", "--std", "0.25"], lambda x: normalised(x[..., ::-1], [0.5] * 3, [0.25] * 3), ""),
    ("own.onnx", ["--range", "-2:2", "--mean", "0", "--std", "1", "--layout", "grey"],
     lambda x: np.repeat(x @ [[0.299], [0.587], [0.114]], 3, axis=2) * 4 / 255 - 2, ""),
    # A usual range.
    ("usual.tflite", [], lambda x: x / np.float32(255), TAKEN),
    ("usual.tflite", ["--layout", "bgr"], lambda x: x[..., ::-1] / np.float32(255), ""),
    ("usual.tflite", ["--range", "0:1"], lambda x: x / np.float32(255), ""),
    ("grey.tflite", [], lambda x: (x @ [[0.299], [0.587], [0.114]] - 128) / 128, "are taken for -1 to 0.9922, grey"),
    # No usual one: -6.4 to 6.35.
    ("model.tflite", ["--range", "-6.4:6.35"], lambda x: x * np.float32(12.75) / 255 - np.float32(6.4), ""),
    # What can't be right.
    ("usual.tflite", ["--range", "0:255"], lambda x: x, f"become 0 to 255, {HOLDS}"),
    ("usual.tflite", ["--range", "-1:1"], lambda x: x / np.float32(127.5) - 1, f"become -1 to 1, {HOLDS}"),
    ("usual.tflite", ["--mean", "0.485,0.456,0.406", "--std", "0.229,0.224,0.225"],
     lambda x: normalised(x, MEAN, STD), f"become -2.118 to 2.64, {HOLDS}"),
])
def test_picture(run, folder, model, more, reference, told):
    """The codes that a picture is sent as are those of the preprocessing that the model was trained with."""
    network = read_model(folder / model)
    assert isinstance(network, Network)
    pixels = np.asarray(Image.open(folder / "picture.png"))
    codes = network.quantise_input(reference(pixels.astype(np.float32)).astype(np.float32)[None])
    sent = []
    with PythonDevice(network) as device, pytest.MonkeyPatch.context() as patch:
        patch.setattr(Device, "infer", lambda self, images, progress, infer=Device.infer: (
            sent.append(images), infer(self, images, progress))[1])
        code, out, err = run("run", folder / model, folder / "picture.png", "--port", device.port, "--json", *more)
    assert code == 0
    report = json.loads(out)
    # Grey is rounded to whole pixels before it becomes a number.
    rounding = 1 if "grey" in [model.split(".")[0], *more] else 0
    assert abs(sent[0].astype(int) - codes).max() <= rounding
    assert report["outputs"] == golden.run(network, sent[0]).reshape(1, -1).tolist()
    assert report["preprocessing"].keys() == {"range", "mean", "std", "layout"}
    assert len(report["warnings"]) == bool(told)
    if told:
        assert told in report["warnings"][0]
    assert err == "".join(f"tepal: warning: {sentence}\n" for sentence in report["warnings"])


def test_pictures(run, folder):
    """A folder's, by name; one that is not of the network's size or colour is brought to it."""
    network = read_model(folder / "own.onnx")
    with PythonDevice(network) as device:
        command = ["run", folder / "own.onnx", folder / "album", "--port", device.port]
        code, out, err = run(*command, "--json")
        assert (code, err) == (0, "")
        report = json.loads(out)
        assert report["files"] == ["a.JPG", "b.png", "c.bmp"]
        code, out, err = run(*command, "--frames", 2)
        assert (code, err) == (0, "")
        lines = [line.partition(",")[0] for line in out.splitlines()[:-1]]
        assert lines == [f"{name}: class {label}" for name, label in
                         list(zip(report["files"], report["classes"], strict=True))[:2]]
        code, out, _ = run("run", folder / "own.onnx", folder / "grey.jpg", "--port", device.port)
        assert code == 0
        assert re.fullmatch(r"class \d, with a score of -?\d+\n", out)


def test_pixels_in_an_array(run, folder, tmp_path):
    """uint8 are pixels to a model that says what they mean: the picture and its array give the same answer."""
    pixels = np.asarray(Image.open(folder / "picture.png").convert("RGB"))
    np.save(tmp_path / "pixels.npy", pixels[None, ..., ::-1])
    with PythonDevice(read_model(folder / "own.onnx")) as device:
        outputs = [json.loads(run("run", folder / "own.onnx", path, "--port", device.port, "--json")[1])["outputs"]
                   for path in (folder / "picture.png", tmp_path / "pixels.npy")]
    assert outputs[0] == outputs[1]


def test_options_without_pixels(run, folder):
    """They do nothing to codes, and that is told."""
    with PythonDevice(read_model(folder / "model.tflite")) as device:
        command = ["run", folder / "model.tflite", folder / "images.npy", "--port", device.port, "--json"]
        plain, more = (run(*command, *options) for options in ([], ["--range", "0:1", "--std", "2"]))
    assert json.loads(plain[1])["outputs"] == json.loads(more[1])["outputs"]
    assert plain[2] == ""
    assert more[2] == (f"tepal: warning: {folder / 'images.npy'} holds no pixels (uint8), but what the model takes: "
                       "without effect is --range, --std\n")


@pytest.mark.parametrize(("model", "images", "more", "sentence"), [
    ("model", "images.npy", ["--port", "/dev/none"], r"there is no port '/dev/none' \(found: .*\): is the board"),
    ("model", "shape.npy", [], r"shape.npy must be numbers of the shape"),
    ("model", "images.npy", ["--frames", 6], r"--frames 6: it must be 1 to 5"),
    ("model", "none.png", [], r"none.png can't be read \(No such file or directory\)"),
    ("model", "text.png", [], r"text.png is neither a NumPy file \(.npy or .npz\) nor a picture that can be read"),
    ("model", "damaged.png", [], r"damaged.png can't be read \(.+\)"),
    ("model", "images.npy", ["--classes", "none.txt"], r"none.txt can't be read"),
    ("two", "picture.png", [], r"picture.png: a picture has 1 or 3 channels, and the network takes 2: give an .npy"),
    ("model", "images.npy", ["--board", "icebraker"], r"there is no board 'icebraker'; did you mean icebreaker"),
    ("model", "picture.png", [], r"picture.png: nothing tells what pixels mean to the model model, whose input holds -6"
     r".4 to 6.35, no usual range: say it with --range, such as 0:1, or with --mean and --std"),
    ("model", "picture.png", ["--layout", "bgr"], "--layout bgr alone doesn't tell what pixels mean to the model mod"),
    ("model", "picture.png", ["--mean", "1,2"], "the mean '1,2' can't be taken: give 1 or 3 numbers"),
    ("model", "picture.png", ["--range", "1"], "the range '1' can't be taken: give 2 numbers, with ':' between"),
    ("model", "picture.png", ["--range", "-1:-2"], "the range -1:-2 is none: give two numbers, the lower one first"),
    ("two", "images.npy", ["--range", "0:1"], "pictures have 1 or 3 channels, and the model takes 2: range, mean, "),
    ("usual", "empty", [], "empty holds no picture"),
    ("usual", "album", ["--frames", 4], r"--frames 4: it must be 1 to 3, the frames that .*album holds"),
    ("usual", "picture.png", ["--frames", 2], r"--frames 2: it must be 1 to 1, the frames that .*picture.png holds"),
    ("model", "yes.WAV", [], r"yes.WAV is sound, and .+ takes 4 x 4 x 3 features of it: give them as .npy, made just"),
    ("other", "images.npy", [], r"runs another model than .*other.tflite \(its identity is [0-9a-f]{8}…\)"),
])
def test_refusals(refusal, folder, model, images, more, sentence):
    with PythonDevice(read_tflite(folder / "model.tflite")) as device:
        assert re.search(sentence, refusal("run", folder / f"{model}.tflite", folder / images, "--port", device.port,
                                           *more))


def test_ports(refusal, folder):
    """No answer, a port that another program has, and files that are no ports."""
    command = ["run", folder / "model.tflite", folder / "images.npy", "--timeout", "0.05", "--port"]
    master, slave = pty.openpty()
    tty.setraw(slave)
    port = os.ttyname(slave)
    try:
        assert refusal(*command, port) == (f"tepal: the device on {port} does not answer at {BAUD:,} baud: is it "
                                           "programmed, and is that its rate?\n")
        fcntl.flock(slave, fcntl.LOCK_EX)
        assert refusal(*command, port) == f"tepal: the port {port} is in use by another program\n"
    finally:
        os.close(master)
        os.close(slave)
    for port in folder / "images.npy", folder, "/dev/null":
        assert refusal(*command, port) == f"tepal: {port} is no serial port\n"


def test_compare(run, folder):
    """A device that says it is one model's and computes another's: exit code 1, and a sentence."""
    right, wrong = read_tflite(folder / "model.tflite"), read_tflite(folder / "wrong.tflite")
    images = np.load(folder / "images.npy")
    different = np.flatnonzero((golden.run(right, images) != golden.run(wrong, images)).any(axis=1)).tolist()
    with PythonDevice(wrong) as device:
        device.identity = replace(device.identity, digest=digest(right))
        command = ["run", folder / "model.tflite", folder / "images.npy", "--port", device.port, "--timeout", 9]
        code, out, err = run(*command, "--compare", "--json")
        assert (code, err) == (1, "")
        report = json.loads(out)
        assert report["different"] == different
        assert report["verdict"] == (f"{len(different)} of 5 images have other results than the golden model, image "
                                     f"{different[0]} first; the device has no debug tap to say in which layer: build "
                                     "its design with --debug")
        code, out, err = run(*command, "--compare")
        assert (code, err) == (1, report["verdict"] + "\n")
        assert run(*command)[0] == 0
    with PythonDevice(right) as device:
        code, out, err = run(*command[:4], device.port, "--timeout", 9, "--compare")
        assert (code, err) == (0, "")
        assert out.endswith("All 15 results are equal to the golden model's.\n")


@pytest.mark.parametrize(("more", "sentence"), [
    (["--layout", "rgba"], "argument --layout: invalid choice: 'rgba'"),
    (["--baud", "0"], "argument --baud: 0 is not above 0"), (["--timeout", "nan"], "nan is not above 0"),
    (["--baud", "fast"], "argument --baud: invalid whole number value: 'fast'"),
    ([], "the following arguments are required: --port"),
])
def test_command_line(run, folder, more, sentence):
    code, out, err = run("run", folder / "model.tflite", folder / "images.npy", *more)
    assert (code, out) == (2, "")
    assert sentence in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(("more", "baud"), [
    ([], 3_000_000), (["--board", "icebreaker"], 3_000_000), (["--board", "orangecrab-85f"], 1_000_000),
    (["--board", "orangecrab-85f", "--baud", "9600"], 9600), (["--baud", "115200"], 115_200),
    # A board that has no line of its own to say.
    (["--board", "generic"], 3_000_000),
])
def test_baud(refusal, folder, monkeypatch, more, baud):
    """The board's, unless another one is given."""
    def device(port, *, baud, timeout):
        raise HostError(f"{baud} on {port}")
    monkeypatch.setattr("tepal.cli.run.Device", device)
    assert refusal("run", folder / "model.tflite", folder / "images.npy", "--port", "x", *more) == (
        f"tepal: {baud} on x\n")


# -- detectors ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def detectors(tmp_path_factory):
    folder = tmp_path_factory.mktemp("detectors")
    for name, search in (("whole", True), ("heads", False)):
        (folder / f"{name}.tflite").write_bytes(detector(Chain, 0, True, search=search)[0])
    np.save(folder / "anchors.npy", anchors_of(0))
    np.save(folder / "images.npy", np.random.default_rng(0).integers(-128, 128, (3, 6, 6, 3), np.int8))
    (folder / "album").mkdir()
    for name in "a", "b":
        Image.fromarray(np.random.default_rng(1).integers(0, 256, (60, 80, 3), np.uint8)).save(
            folder / "album" / f"{name}.png")
    (folder / "names.txt").write_text("ant\nbee\ncat\n")
    return folder


def test_boxes(run, detectors):
    """Boxes by the model's own search, and the same ones by anchors that are given."""
    with PythonDevice(read_tflite(detectors / "whole.tflite")) as device:
        reports = []
        for model, more in (("whole", ()), ("heads", ("--anchors", detectors / "anchors.npy", "--score", 0.3))):
            code, out, err = run("run", detectors / f"{model}.tflite", detectors / "images.npy", "--port", device.port,
                                 "--timeout", 9, "--json", *more)
            assert (code, err) == (0, "")
            reports.append(json.loads(out)["boxes"])
        assert [len(frame) for frame in reports[0]] == [10, 10, 10]
        # The model's own search gives ten at most.
        assert [frame[:10] for frame in reports[1]] == reports[0]
        code, out, err = run("run", detectors / "whole.tflite", detectors / "images.npy", "--port", device.port,
                             "--timeout", 9, "--frames", 1, "--classes", detectors / "names.txt")
        assert (code, err) == (0, "")
        part = r"-?[\d.]+%"
        line = rf"(ant|bee|cat), with \d+%, from {part} to {part} of the width and {part} to {part} of the height"
        assert len(re.findall(line, " ".join(out.split()))) == 10


def test_outputs_of_a_network_without_anchors(run, detectors):
    with PythonDevice(read_tflite(detectors / "heads.tflite")) as device:
        code, out, err = run("run", detectors / "heads.tflite", detectors / "images.npy", "--port", device.port,
                             "--timeout", 9)
    assert (code, err) == (0, "")
    *lines, _ = out.splitlines()
    assert [re.sub(r"-?[\d.]+(e-\d+)? to -?[\d.]+", "range", line.partition(", ")[2]) for line in lines] == [
        "45 x 4: range", "45 x 4: range"]


def test_accuracy_is_of_one_output(refusal, detectors):
    assert "heads has 4 outputs: the share of right classes is that of a network with one output" in refusal(
        "evaluate", detectors / "heads.tflite", "--input", detectors / "images.npy")


def test_drawn_boxes(run, detectors, tmp_path):
    with PythonDevice(read_tflite(detectors / "whole.tflite")) as device:
        command = ["run", detectors / "whole.tflite", "--port", device.port, "--timeout", 9, "--range", "-1:1"]
        code, _, _ = run(*command, detectors / "album", "--draw", tmp_path / "drawn")
        assert code == 0
        assert sorted(path.name for path in (tmp_path / "drawn").iterdir()) == ["a.png", "b.png"]
        code, out, _ = run(*command, detectors / "album" / "a.png", "--draw", tmp_path / "one.png")
        assert code == 0
        assert "".join(out.split()).endswith(f"Wrote{tmp_path / 'one.png'}.")
    given, drawn = (np.asarray(Image.open(path)) for path in (detectors / "album" / "a.png", tmp_path / "one.png"))
    assert given.shape == drawn.shape
    assert (given != drawn).any()
    assert np.array_equal(np.asarray(Image.open(tmp_path / "drawn" / "a.png")), drawn)


@pytest.mark.parametrize(("model", "more", "sentence"), [
    ("heads", ["--draw", "x.png"], "--draw: heads is no detector that says how its boxes are found: give its "
                                   "--anchors"),
    ("whole", ["--score", "2"], "--score 2.0: it must be 0 to 1"),
    ("whole", ["--overlap", "-1"], "--overlap -1.0: it must be 0 to 1"),
    ("whole", ["--box-scales", "1,2,3"], "--box-scales 1,2,3: four numbers are needed, such as 10,10,5,5"),
    ("whole", ["--box-scales", "1,2,3,0"], "--box-scales 1,2,3,0: they must be above 0"),
    ("heads", ["--anchors", "none.npy"], "none.npy can't be read (No such file or directory)"),
    ("heads", ["--anchors", "NAMES"], "names.txt is no NumPy file of numbers (.npy), or a damaged one"),
    ("heads", ["--anchors", "IMAGES"], "images.npy: anchors are an array (boxes, 4) of numbers, y and x of the centre, "
                                       "height and width")])
def test_boxes_refused(refusal, detectors, model, more, sentence):
    files = {"NAMES": detectors / "names.txt", "IMAGES": detectors / "images.npy"}
    message = refusal("run", detectors / f"{model}.tflite", detectors / "images.npy", "--port", "/dev/null",
                      *(files.get(word, word) for word in more))
    assert sentence in message


def test_arrays_are_not_drawn_on(refusal, detectors):
    with PythonDevice(read_tflite(detectors / "whole.tflite")) as device:
        message = refusal("run", detectors / "whole.tflite", detectors / "images.npy", "--port", device.port,
                          "--timeout", 9, "--draw", "x.png")
    assert "--draw needs pictures: what is given is an array" in message
