# SPDX-License-Identifier: Apache-2.0
"""The commands that quantise and evaluate: what they print and write, and what they say of bad input."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from onnx_models import Graph
from PIL import Image
from tepal.quant import Network, Preprocessing, read_model
from tepal.sim import golden
from tflite_writer import Chain, FloatChain

CLASSES = 5


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A float model, calibration images and labelled test images: each image is brightest in the channel of its
    class, and the model sees it."""
    folder = tmp_path_factory.mktemp("quantise")
    rng = np.random.default_rng(0)
    chain = FloatChain(6, 6, CLASSES)
    chain.depthwise(np.full((3, 3, CLASSES), 1 / 9), np.zeros(CLASSES), activation="RELU6")
    chain.convolution(np.eye(CLASSES).reshape(CLASSES, 1, 1, CLASSES), np.zeros(CLASSES))
    (folder / "float.tflite").write_bytes(chain.mean().softmax().write())
    labels = rng.integers(0, CLASSES, 60)
    images = rng.uniform(0, 1, (60, 6, 6, CLASSES)).astype(np.float32)
    images[np.arange(60), :, :, labels] += 0.3
    np.savez(folder / "test.npz", images=images, labels=labels)
    np.save(folder / "calibrate.npy", images[:20])
    np.savez(folder / "unlabelled.npz", images=images)
    np.savez(folder / "high.npz", images=images, labels=labels + 1)
    np.savez(folder / "short.npz", images=images, labels=labels[1:])
    np.savez(folder / "names.npz", images=images, labels=np.array(["cat"] * 60))
    np.save(folder / "shape.npy", images[:, :5])
    np.save(folder / "constant.npy", np.full_like(images, 0.25))
    np.save(folder / "nan.npy", np.full_like(images, np.nan))
    np.savez(folder / "other.npz", pictures=images, more=labels)
    Image.new("RGB", (6, 6), (1, 2, 3)).save(folder / "picture.png")
    (folder / "damaged.npz").write_bytes((folder / "test.npz").read_bytes()[:2000])
    (folder / "int8.tflite").write_bytes(Chain(6, 6, 1).convolution(np.ones((2, 1, 1, 1), np.int8)).write())
    bad = FloatChain(6, 6, 1).convolution(np.full((2, 1, 1, 1), np.nan), np.zeros(2))
    (folder / "nan.tflite").write_bytes(bad.write())
    return folder


def quantise(folder: Path, *more) -> list:
    return ["quantize", folder / "float.tflite", "--calibrate", folder / "calibrate.npy", "-o", "out.onnx", *more]


@pytest.mark.parametrize("more", [
    [], ["--method", "minmax", "--no-equalise", "--no-bias-correction"], ["--method", "percentile", "--percentile", 99],
])
def test_quantize(run, folder, tmp_path, more):
    code, out, err = run(*quantise(folder, "--evaluate", folder / "test.npz", "--json", *more))
    assert (code, err) == (0, "")
    report = json.loads(out)
    assert report["frames"] == 20
    assert report["accuracy"]["float"] > 0.95
    assert report["accuracy"]["int8"] == pytest.approx(report["accuracy"]["float"], abs=0.05)
    assert report["agreement"] >= 0.9
    assert [layer["name"] for layer in report["layers"]]
    assert all(layer["sqnr"] > 25 for layer in report["layers"])
    assert report["costliest"] in [layer["name"] for layer in report["layers"]]
    network = read_model(tmp_path / "out.onnx")
    assert isinstance(network, Network)
    with np.load(folder / "test.npz") as file:
        right = golden.run(network, network.quantise_input(file["images"])).argmax(axis=1) == file["labels"]
    assert right.mean() == report["accuracy"]["int8"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.onnx"]
    # The other commands take it.
    assert run("estimate", "out.onnx", "--board", "ulx3s-85f", "--json")[0] == 0
    code, out, _ = run("evaluate", "out.onnx", "--input", folder / "test.npz", "--json")
    assert json.loads(out)["accuracy"] == report["accuracy"]["int8"]


EXAMPLE = Path(__file__).resolve().parents[2] / "examples/cifar10"
TRAINED = EXAMPLE / "models/small_0.25_32.onnx"


@pytest.fixture
def album(tmp_path) -> Path:
    """Of the example's pictures: a folder of files, an array of pixels, and what the model takes."""
    with np.load(EXAMPLE / "pictures.npz") as file:
        images, labels = file["images"], file["labels"]
    pixels = np.rint(images * 128 + 128).astype(np.uint8).transpose(0, 2, 3, 1)
    np.savez(tmp_path / "pixels.npz", images=pixels, labels=labels)
    np.savez(tmp_path / "real.npz", images=images, labels=labels)
    np.savez(tmp_path / "unit.npz", images=pixels / np.float32(255), labels=labels)
    (tmp_path / "album").mkdir()
    for number, picture in enumerate(pixels):
        Image.fromarray(picture).save(tmp_path / "album" / f"{number:02}.png")
    return tmp_path


OWN = ["--range", "-1:0.9921875"]


def test_preprocessing(run, album, tmp_path):
    """Pictures, their pixels and what the model takes of them make the same network, which keeps what it was told."""
    files = []
    for data in ("album", "pixels.npz", "real.npz"):
        code, out, err = run("quantize", TRAINED, "--calibrate", data, "-o", "out.onnx", "--json", *OWN,
                             *(["--evaluate", data] if data != "album" else []))
        assert (code, err) == (0, "")
        report = json.loads(out)
        assert report["warnings"] == []
        assert report["preprocessing"] == {"range": [-1.0, 0.9921875], "mean": [0.0] * 3, "std": [1.0] * 3,
                                           "layout": "rgb"}
        assert report["frames"] == 20
        assert data == "album" or report["accuracy"]["int8"] >= 0.7
        files.append((tmp_path / "out.onnx").read_bytes())
    assert files[0] == files[1] == files[2]
    network = read_model(tmp_path / "out.onnx")
    assert network.preprocessing == Preprocessing.of_texts({"range": "-1:0.9921875"}, 3)
    # The other commands know it: pixels of the labelled set, and the description of a design.
    reports = [json.loads(run("evaluate", model, "--input", data, "--json", *more)[1])
               for model, data, more in (("out.onnx", "pixels.npz", []), ("out.onnx", "real.npz", []),
                                         (TRAINED, "pixels.npz", OWN))]
    assert reports[0]["accuracy"] == reports[1]["accuracy"]
    assert reports[2]["accuracy"] >= 0.7
    own = network.preprocessing.lists()
    assert [report["preprocessing"] for report in reports] == [own, None, own]
    assert not any(report["warnings"] for report in reports)


def test_evaluate_warns(run, album):
    """Of pixels that become other numbers than the model's input holds; and of options that nothing follows from."""
    model = EXAMPLE / "models/small_0.25_32_int8.onnx"
    for data, more, told in (("pixels.npz", ["--range", "0:255"],
                              "pixels.npz: the pixels 0 to 255 become 0 to 255, but the model's int8 input holds -1"),
                             ("real.npz", OWN, "real.npz holds no pixels (uint8), but what the model takes")):
        code, out, err = run("evaluate", model, "--input", data, "--json", *more)
        assert code == 0
        sentence, = json.loads(out)["warnings"]
        assert sentence.startswith(told)
        assert err == f"tepal: warning: {sentence}\n"


@pytest.mark.parametrize(("data", "more", "warnings"), [
    ("real.npz", [], []), ("pixels.npz", OWN, []), ("album", OWN, []),
    ("pixels.npz", [], ["the calibration images contradict the model's training: the sums of layer 0 (relu) vary"]),
    ("pixels.npz", ["--range", "0:255"], ["the calibration images contradict the model's training: the sums of"]),
    ("real.npz", ["--range", "0:255"], ["the calibration images contradict the preprocessing: the pixels 0 to 255 "
                                        "become 0 to 255, but the model's int8 input holds -1 to 0.9922; check --ran"]),
    ("unit.npz", OWN, ["the calibration images contradict the preprocessing: the pixels 0 to 255 become -1 to 0.9922, "
                       "but the model's int8 input holds 0 to 1; check --range"]),
])
def test_warnings(run, album, data, more, warnings):
    """Each is one line on stderr, and in the JSON; the network is made all the same."""
    command = ["quantize", TRAINED, "--calibrate", data, "-o", "out.onnx", *more]
    code, out, err = run(*command, "--json")
    assert code == 0
    told = json.loads(out)["warnings"]
    assert len(told) == len(warnings)
    for sentence, start in zip(told, warnings, strict=True):
        assert sentence.startswith(start)
    assert err == "".join(f"tepal: warning: {sentence}\n" for sentence in told)
    assert (album / "out.onnx").exists()


def test_same_bytes(run, folder, tmp_path):
    run(*quantise(folder))
    first = (tmp_path / "out.onnx").read_bytes()
    run(*quantise(folder))
    assert (tmp_path / "out.onnx").read_bytes() == first


def test_text(run, folder):
    code, out, err = run(*quantise(folder, "--frames", 10, "--evaluate", folder / "test.npz"))
    assert (code, err) == (0, "")
    for part in ("SQNR dB", "10 images", "costs most", "Accuracy on 60 labelled images", "Wrote out.onnx"):
        assert part in out
    code, out, err = run("evaluate", folder / "float.tflite", "--input", folder / "test.npz", "--frames", 30)
    assert (code, err) == (0, "float model on 30 images:\n")
    assert out.endswith("%\n")


@pytest.mark.parametrize(("model", "calibration", "more", "sentence"), [
    ("int8.tflite", "calibrate.npy", [], "int8.tflite is quantised already"),
    ("nan.tflite", "calibrate.npy", [], "nan.tflite: .* has 2 weights that are NaN or infinite"),
    ("missing.onnx", "calibrate.npy", [], r"missing.onnx: can't be read \(No such file or directory\)"),
    ("float.tflite", "missing.npy", [], r"missing.npy can't be read"),
    ("float.tflite", "damaged.npz", [], "damaged.npz is no NumPy file of numbers"),
    ("float.tflite", "other.npz", [], "other.npz holds pictures, more: it needs an array 'images'"),
    ("float.tflite", "shape.npy", [], r"shape.npy must be numbers of the shape \(frames, 6, 6, 5\)"),
    ("float.tflite", "constant.npy", [], "the calibration images are all 0.25"),
    ("float.tflite", "nan.npy", [], "nan.npy hold values that are NaN or infinite"),
    ("float.tflite", "calibrate.npy", ["--range", "0:1"], "pictures have 1 or 3 channels, and the model takes 5"),
    (TRAINED, "picture.png", [], "picture.png: nothing tells what pixels mean to the model small_0.25_32: say it with "
                                 "--range, such as 0:1, or with --mean and --std"),
    (TRAINED, "picture.png", ["--layout", "bgr"], "--layout bgr alone doesn't tell what pixels mean to the model s"),
    ("float.tflite", "calibrate.npy", ["--frames", 21], "--frames 21: it must be 1 to 20"),
    ("float.tflite", "calibrate.npy", ["--method", "percentile", "--percentile", 3], "the percentile must be above 50"),
    ("float.tflite", "calibrate.npy", ["-o", "calibrate.npy/out.onnx"], "calibrate.npy is a file: give a folder"),
    ("float.tflite", "calibrate.npy", ["-o", "."], ". is a folder: give a file to write to"),
    ("float.tflite", "calibrate.npy", ["-o", "out.tflite"], "out.tflite: the result is ONNX, so give it a name"),
    ("float.tflite", "calibrate.npy", ["-o", "-"], "-: the result is ONNX"),
    ("float.tflite", "calibrate.npy", ["-o", "null.onnx"], "null.onnx is no regular file"),
    ("float.tflite", "calibrate.npy", ["-o", "also.onnx"], "also.onnx is also .*float.tflite, which would be lost"),
    ("float.tflite", "calibrate.npy", ["--evaluate", "unlabelled.npz"], "unlabelled.npz has no array 'labels'"),
    ("float.tflite", "calibrate.npy", ["--evaluate", "high.npz"], "labels must be 0 to 4, .* they are 1 to 5"),
    ("float.tflite", "calibrate.npy", ["--evaluate", "short.npz"], r"labels must be 60 integers, .* not int64 \(59,\)"),
    ("float.tflite", "calibrate.npy", ["--evaluate", "names.npz"], r"labels must be 60 integers, .* not <U3 \(60,\)"),
    ("float.tflite", "calibrate.npy", ["--evaluate", "shape.npy"], "shape.npy has no array 'labels'"),
])
def test_refusals(refusal, folder, tmp_path, model, calibration, more, sentence):
    (tmp_path / "null.onnx").symlink_to("/dev/null")
    (tmp_path / "also.onnx").symlink_to(folder / "float.tflite")
    more = [folder / word if ".np" in str(word) else word for word in more]
    argv = ["quantize", folder / model, "--calibrate", folder / calibration, "-o", "out.onnx", *more]
    message = refusal(*argv)
    assert re.search(sentence, message), message


def test_evaluate_integers_as_the_model_takes_them(run, folder, tmp_path):
    """Integer test images are real numbers to both networks, as they are to the calibration."""
    with np.load(folder / "test.npz") as file:
        images, labels = np.rint(20 * file["images"]).astype(np.int8), file["labels"]
    np.savez(tmp_path / "codes.npz", images=images, labels=labels)
    np.savez(tmp_path / "reals.npz", images=images.astype(np.float32), labels=labels)
    reports = [json.loads(run("quantize", folder / "float.tflite", "--calibrate", data, "-o", "out.onnx",
                              "--evaluate", data, "--json")[1]) for data in ("codes.npz", "reals.npz")]
    assert reports[0] == reports[1]


@pytest.mark.parametrize("name", ["float.tflite", "int8.tflite"])
def test_evaluate_nothing(refusal, folder, tmp_path, name):
    shape = (0, 6, 6, CLASSES if name == "float.tflite" else 1)
    np.savez(tmp_path / "none.npz", images=np.zeros(shape, np.float32), labels=np.zeros(0, int))
    assert "the images of none.npz hold no frames" in refusal("evaluate", folder / name, "--input", "none.npz")


@pytest.mark.parametrize("command", [["estimate"], ["generate", "-o", "made"], ["simulate", "--input", "x.npy"]])
def test_float_models_are_named(refusal, folder, command):
    message = refusal(command[0], folder / "float.tflite", "--board", "ulx3s-85f", *command[1:])
    assert "float.tflite is a float model: quantise it first, with tepal quantize" in message


def test_the_shape_of_an_input_that_the_file_leaves_open(run, tmp_path):
    graph = Graph("n", 3, "height", "width").convolution(4, 3, 3).add("GlobalAveragePool").add("Flatten")
    (tmp_path / "open.onnx").write_bytes(graph.bytes())
    np.save("images.npy", np.random.default_rng(0).normal(size=(8, 3, 6, 5)).astype(np.float32))
    command = ["quantize", "open.onnx", "--calibrate", "images.npy", "-o", "out.onnx"]
    code, _, err = run(*command)
    assert code == 2
    assert "--input-shape 1,3,96,96" in err
    assert run(*command, "--input-shape", "1,3,6,5")[0] == 0
    assert read_model(tmp_path / "out.onnx").input_shape == (6, 5, 3)
    code, _, err = run(*command, "--input-shape", "1,3,wide,5")
    assert code == 2
    assert "is not a shape like 1,3,96,96" in err
