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
from device import PythonDevice
from PIL import Image
from tepal.boards.host import BAUD, HostError
from tepal.hdl.ports import Status, Trailer
from tepal.quant import digest, read_tflite, simplify
from tepal.sim import golden
from tflite_writer import Chain

SIZE = 4


def write_model(path, outputs: int = 3, channels: int = 3, seed: int | None = None) -> None:
    rng = np.random.default_rng(outputs if seed is None else seed)
    weights = rng.integers(-99, 99, (outputs, SIZE * SIZE * channels)).astype(np.int8)
    # A depthwise layer with a channel of zeros, for --simplify.
    depthwise = np.ones((1, 1, channels), np.int8)
    depthwise[..., 0] = 0
    chain = Chain(SIZE, SIZE, channels).depthwise(depthwise).fully_connected(weights)
    path.write_bytes(chain.softmax().write())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    rng = np.random.default_rng(0)
    write_model(folder / "model.tflite")
    write_model(folder / "other.tflite", 4)
    write_model(folder / "wrong.tflite", seed=7)
    write_model(folder / "two.tflite", 3, 2)
    np.save(folder / "images.npy", rng.integers(-128, 128, (5, SIZE, SIZE, 3), np.int8))
    np.save(folder / "shape.npy", np.zeros((5, 3, 3, 3), np.int8))
    Image.fromarray(rng.integers(0, 256, (SIZE, SIZE, 3), np.uint8)).save(folder / "picture.png")
    Image.fromarray(rng.integers(0, 256, (50, 40), np.uint8)).save(folder / "grey.jpg")
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


def test_picture(run, folder):
    network = read_tflite(folder / "model.tflite")
    pixels = np.asarray(Image.open(folder / "picture.png")).astype(int)
    with PythonDevice(network) as device:
        code, out, _ = run("run", folder / "model.tflite", folder / "picture.png", "--port", device.port, "--json")
        assert code == 0
        assert json.loads(out)["outputs"] == golden.run(network, (pixels - 128).astype(np.int8)[None]).tolist()
        code, out, _ = run("run", folder / "model.tflite", folder / "grey.jpg", "--port", device.port)
        assert code == 0
        assert re.fullmatch(r"class \d, with \d+%\n", out)


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
