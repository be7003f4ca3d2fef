# SPDX-License-Identifier: Apache-2.0
"""``tepal serve``: what pictures are answered, and what it says of those that can't be; the page itself is in
tests/report/test_live_page.py."""

import contextlib
import io
import json
import re
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request

import numpy as np
import pytest
from detectors import detector
from device import PythonDevice
from PIL import Image
from tepal.hdl.link.protocol import Kind
from tepal.host.device import Device, HostError
from tepal.host.web import Refused, Upload
from tepal.quant import read_tflite
from tepal.sim import golden
from tflite_writer import Chain

SIZE = 4


def write_model(path, *, channels: int = 3, softmax: bool = True, **meaning) -> None:
    rng = np.random.default_rng(1)
    weights = rng.integers(-99, 99, (7, SIZE * SIZE * channels)).astype(np.int8)
    chain = Chain(SIZE, SIZE, channels, **{"scale": 1 / 255, "zero_point": -128, **meaning}).fully_connected(weights)
    path.write_bytes((chain.softmax() if softmax else chain).write())


def png(shape=(SIZE, SIZE, 3), seed: int = 0, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("serve")
    write_model(folder / "model.tflite")
    write_model(folder / "logits.tflite", softmax=False)
    write_model(folder / "two.tflite", channels=2)
    write_model(folder / "odd.tflite", scale=0.05, zero_point=0)
    for name, search in (("whole", True), ("heads", False)):
        (folder / f"{name}.tflite").write_bytes(detector(Chain, 0, True, search=search)[0])
    (folder / "names.txt").write_text("ant\nbee\n\n<b>\n")
    return folder


@pytest.fixture
def answers(run, folder, monkeypatch):
    """What ``tepal serve`` answers uploads to its paths, without a browser and without a line of HTTP."""
    def answers(device, model, uploads, *more):
        found = []

        class Server:
            url = "http://here/"

            def __init__(self, address, port, files, answers, check):
                self.files, self.answers = files, answers
                assert (address, port) == ("127.0.0.1", 8000)

            def __enter__(self):
                return self

            def __exit__(self, *_):
                pass

            def serve_forever(self):
                found.append(self.files["/"].content.decode())
                for path, upload in uploads:
                    try:
                        found.append(self.answers[path](upload))
                    except (Refused, HostError) as error:
                        found.append(str(error))
        monkeypatch.setattr("tepal.cli.serve.WebServer", Server)
        code, _, err = run("serve", folder / f"{model}.tflite", "--port", device.port, "--timeout", "9", *more)
        assert code == 0
        return found, err
    return answers


def test_classes(answers, folder):
    """The five likeliest by name, as the golden model has them; a JPEG of another size is brought to it."""
    network = read_tflite(folder / "model.tflite")
    pictures = [png(), png((40, 30), 1, "JPEG")]
    with PythonDevice(network) as device:
        (page, first, second), err = answers(device, "model", [("/answer", Upload("x", each, {})) for each in pictures],
                                             "--classes", folder / "names.txt", "--range", "0:1")
    assert err == ""
    assert "model.tflite" in page
    assert "no debug tap" in page
    pixels = np.asarray(Image.open(io.BytesIO(pictures[0])))
    logits = golden.run(network, network.quantise_input((pixels / np.float32(255))[None]))[0].astype(int)
    assert first["outputs"] == logits.tolist()
    order = sorted(range(7), key=lambda number: (-logits[number], number))[:5]
    assert [each["class"] for each in first["classes"]] == order
    names = ["ant", "bee", "class 2", "<b>", "class 4", "class 5", "class 6"]
    assert [each["name"] for each in first["classes"]] == [names[number] for number in order]
    assert first["probabilities"] is True
    assert all(0 <= each["score"] <= 1 for each in first["classes"])
    assert first["verdict"] == f"{names[order[0]]}, with {first['classes'][0]['score']:.0%}"
    assert re.fullmatch(r"Answered in \d+\.\d{3} s, of which most goes by on the line\.", first["time"])
    assert len(second["classes"]) == 5


def test_other_answers(answers, folder):
    """Logits, boxes, and several outputs."""
    def ask(model, size, *more):
        with PythonDevice(read_tflite(folder / f"{model}.tflite")) as device:
            (_, found), _ = answers(device, model, [("/answer", Upload("x", png((size, size, 3)), {}))], *more)
        return found
    found = ask("logits", SIZE)
    assert found["probabilities"] is False
    assert re.fullmatch(r"class \d, with a score of -?\d+", found["verdict"])
    found = ask("whole", 6, "--range", "-1:1", "--classes", folder / "names.txt")
    assert len(found["boxes"]) == 10
    assert found["verdict"] == "10 found."
    assert {box["name"] for box in found["boxes"]} <= {"ant", "bee", "class 2"}
    assert all(len(box["box"]) == 4 for box in found["boxes"])
    assert ask("whole", 6, "--range", "-1:1", "--score", "1")["verdict"] == "Nothing found."
    assert len(ask("heads", 6, "--range", "-1:1")["verdict"].splitlines()) == 2


@pytest.mark.parametrize(("content", "sentence"), [
    (b"", r"a\.x is no picture that can be read\."),
    (b"%PDF-1.7", r"a\.x is no picture that can be read\."),
    (b"\x93NUMPY\x01\x00", r"a\.x is no picture that can be read\."),
    (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", r"a\.x is no picture that can be read\."),
    (png((64, 64, 3))[:5000], r"a\.x is a damaged picture \(.+\)\."),
])
def test_uploads_refused(answers, folder, content, sentence):
    with PythonDevice(read_tflite(folder / "model.tflite")) as device:
        (_, refused, answered), _ = answers(device, "model", [
            ("/answer", Upload("a.x", content, {})), ("/answer", Upload("b.png", png(), {}))], "--range", "0:1")
    assert re.fullmatch(sentence, refused)
    # The next one is answered.
    assert answered["verdict"]


def test_too_many_pixels(answers, folder, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50)
    with PythonDevice(read_tflite(folder / "model.tflite")) as device:
        (_, refused), _ = answers(device, "model", [("/answer", Upload("a.png", png((8, 8, 3)), {}))])
    assert refused == "a.png has more than 50 pixels: make it smaller."


def test_maps_without_a_tap(answers, folder):
    with PythonDevice(read_tflite(folder / "model.tflite")) as device:
        (_, refused), err = answers(device, "model", [("/map", Upload("a.png", png(), {"layer": "0"}))])
    assert refused == "The device tells of no such layer."
    assert err == (
        "tepal: warning: model doesn't say what pixels mean: by its input's scale 0.003922 and zero point -128, 0 to "
        "255 are taken for 0 to 1, rgb\n")


def test_plugged_in_again(answers, folder, monkeypatch):
    """After it did not answer, the device is opened anew, and asked again who it is."""
    device = PythonDevice(read_tflite(folder / "model.tflite"))
    asked, lost = [], [True, True]

    def answer(packet, own=device.answer):
        asked.append(packet.kind)
        return [] if packet.kind == Kind.INFER and lost and lost.pop() else own(packet)
    device.answer = answer
    monkeypatch.setattr("tepal.cli.serve.Device", lambda *given, **options: Device(
        *given, **options | {"timeout": 0.3, "attempts": 2}))
    picture = ("/answer", Upload("a.png", png(), {}))
    with device:
        (_, failed, found), _ = answers(device, "model", [picture, picture], "--range", "0:1")
    assert re.match(r"image 0 was sent to the device on .* 2 times without a result", failed)
    assert found["verdict"]
    assert asked.count(Kind.IDENTIFY) == 2


@pytest.mark.parametrize(("model", "more", "sentence"), [
    ("model", ["--port", "/dev/none"], "there is no port '/dev/none'"),
    ("model", ["--port", "PORT", "--rows", "4"], "--rows goes with --simulate: a board on a port has its engine"),
    ("model", ["--port", "PORT", "--small"], "--small goes with --simulate: a board on a port has its engine"),
    ("model", ["--port", "PORT", "--part", "XC7A35T"], "--part goes with --simulate: a board on a port has its engine"),
    ("whole", ["--port", "PORT", "--range", "-1:1"], "runs another model than"),
    ("two", ["--port", "PORT"], "two.tflite: a picture has 1 or 3 channels, and the network takes 2: send arrays with"),
    ("odd", ["--port", "PORT"], "pictures: nothing tells what pixels mean to the model odd"),
    ("model", ["--port", "PORT", "--bind", "192.0.2.1"], "the page can't be served at 192.0.2.1 port 8000 ("),
    ("model", ["--simulate"], "--simulate needs the board to simulate: name it with --board"),
    ("model", ["--simulate", "--board", "none"], "there is no board 'none'"),
    ("model", ["--simulate", "--board", "ulx3s-85f", "--anchors", "none.npy"], "none.npy can't be read"),
    ("two", ["--simulate", "--board", "ulx3s-85f"], "a picture has 1 or 3 channels, and the network takes 2"),
])
def test_refusals(refusal, folder, model, more, sentence):
    with PythonDevice(read_tflite(folder / "model.tflite")) as device:
        message = refusal("serve", folder / f"{model}.tflite",
                          *(device.port if word == "PORT" else word for word in more))
    assert sentence in message


def test_served(folder):
    """The whole command: it says where the page is, answers over HTTP, and ends well at Ctrl-C, also while it waits for
    a device that does not answer."""
    with PythonDevice(read_tflite(folder / "model.tflite")) as device:
        command = [sys.executable, "-m", "tepal", "serve", folder / "model.tflite", "--port", device.port, "--timeout",
                   "60", "--http", "0", "--json", "--range", "0:1"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            assert process.stdout
            told = json.loads(process.stdout.readline())
            assert told.keys() == {"model", "board", "device", "url"}
            assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", told["url"])
            with urllib.request.urlopen(told["url"]) as response:
                page = response.read().decode()
            assert f"on {device.port}" in page
            # Nothing is fetched from elsewhere.
            assert not re.search(r"(?:src|href)=\"(?!live\.|data:)", page)
            with urllib.request.urlopen(told["url"] + "answer?name=a.png", data=png()) as response:
                assert len(json.load(response)["classes"]) == 5
            with pytest.raises(urllib.error.HTTPError) as error:
                urllib.request.urlopen(told["url"] + "answer?name=a.png", data=b"text")
            assert json.load(error.value) == {"problem": "a.png is no picture that can be read."}
            asked = threading.Event()
            device.answer = lambda packet: asked.set() or []

            def ask():
                # A refusal is an OSError too.
                with contextlib.suppress(OSError):
                    urllib.request.urlopen(told["url"] + "answer?name=a.png", data=png())
            waiting = threading.Thread(target=ask)
            waiting.start()
            assert asked.wait(10)
            # Tests that are started in the background have Ctrl-C ignored, and so has what they start.
            ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
            process.send_signal(signal.SIGTERM if ignored else signal.SIGINT)
            out, err = process.communicate(timeout=20)
            waiting.join(10)
            assert not waiting.is_alive()
        finally:
            process.kill()
    assert (process.returncode, out, err) == (0, "", "")
