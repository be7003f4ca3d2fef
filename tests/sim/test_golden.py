# SPDX-License-Identifier: Apache-2.0
"""The golden model equals LiteRT's reference kernels, layer by layer and byte by byte."""

from dataclasses import replace
from io import BytesIO

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from litert import Interpreter, reference
from models import require_data, require_model
from PIL import Image
from tepal.quant import Convolution, Depthwise, Network, NetworkError, Requantise, Rounding, read_tflite, windows
from tepal.sim import golden
from tflite_writer import Chain, Uint8Chain

MODELS = ["mlperf_resnet8_int8", "mlperf_vww_int8", "mlperf_kws_int8", "tinymaix_mnist_dw_int8"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("models")


def differences(network: Network, images, tensors) -> dict[str, int]:
    """Wrong bytes of each layer that has any."""
    results = golden.run(network, images, layers=True)
    if network.softmax:
        probabilities = network.softmax(results[-1].reshape(len(images), -1))
        assert np.array_equal(probabilities.ravel(), tensors[network.softmax.tensor].ravel())
    wrong = {layer.name: int(np.sum(result.ravel() != tensors[layer.tensor].ravel()))
             for layer, result in zip(network.layers, results, strict=True)}
    return {name: count for name, count in wrong.items() if count}


@pytest.mark.model
@pytest.mark.parametrize("name", MODELS)
def test_published_outputs(name):
    model = require_model(name)
    network = read_tflite(model / "model.tflite")
    logits = golden.run(network, np.load(model / "inputs.npy"))
    assert logits.shape == (len(logits), network.result_bytes)
    assert np.array_equal(network.softmax(logits), np.load(model / "outputs.npy"))


@pytest.mark.model
@pytest.mark.parametrize("name", MODELS)
def test_every_tensor_of_the_first_input(name):
    model = require_model(name)
    network = read_tflite(model / "model.tflite")
    image = np.load(model / "inputs.npy")[:1]
    results = golden.run(network, image, layers=True)
    ours = {layer.tensor: result for layer, result in zip(network.layers, results, strict=True)}
    ours[network.softmax.tensor] = network.softmax(results[-1].reshape(1, -1))
    previous = image
    with np.load(model / "layers.npz") as published:
        tensors = {int(key[1:]): published[key] for key in published}
    assert ours.keys() < tensors.keys()
    for number, expected in tensors.items():
        # What has no layer of its own is the input or a reshape: the bytes of the tensor before it.
        previous = ours.get(number, previous)
        assert np.array_equal(previous.ravel(), expected.ravel()), f"tensor {number}"


def pictures(shape: tuple[int, int, int], count: int) -> np.ndarray:
    """uint8 photographs, resized."""
    height, width, channels = shape if np.prod(shape[:2]) > 1 else (16, shape[2] // 16, 1)
    files = sorted(path for path in require_data("imagenet_pictures").iterdir() if path.suffix != ".txt")[:count]
    made = []
    for file in files:
        with Image.open(file) as picture:
            made.append(np.asarray(picture.convert("L" if channels == 1 else "RGB").resize((width, height))))
    return np.stack(made).reshape(-1, *shape)


@pytest.mark.model
@pytest.mark.slow
@pytest.mark.parametrize(("name", "frames"), [
    ("mlperf_resnet8_int8", 6), ("tinymaix_mnist_resnet_int8", 6), ("tinymaix_mbnet96_025_int8", 6),
    ("emza_ssd_slim_int8", 6), ("stm_v1_025_96_uint8_ends", 6), ("linefollower_dsep_int8", 6),
    ("mlperf_ad01_int8", 6), ("coral_v1_025_128_uint8", 6), ("coral_v2_224_int8", 2)])
def test_every_tensor_and_answer_of_published_networks(name, frames):
    """Chains, residuals, heads of a detector, uint8, float ends: photographs in, every tensor and the model's own
    outputs the bytes of LiteRT."""
    path = require_model(name) / "model.tflite"
    network, content = read_tflite(path), path.read_bytes()
    images = (pictures(network.input_shape, frames) ^ 128).view(np.int8)
    given = Interpreter(model_content=content).get_input_details()[0]["dtype"]
    real = (images - np.float32(network.input_zero_point)) * np.float32(network.input_scale)
    taken = {np.uint8: images.view(np.uint8) ^ 128, np.int8: images, np.float32: real}[given]
    assert np.array_equal(network.quantise_input(real), images)
    tensors = reference(content, taken, raw=True)
    for layer, result in zip(network.layers, golden.run(network, images, layers=True), strict=True):
        expected = tensors[layer.tensor]
        expected = (expected ^ 128).view(np.int8) if expected.dtype == np.uint8 else expected
        assert np.array_equal(result.ravel(), expected.ravel()), layer.name
    details = Interpreter(model_content=content).get_output_details()
    assert len(details) == len(network.all_answers)
    for answer, made, detail in zip(network.all_answers, network.answer(golden.run(network, images)), details,
                                    strict=True):
        assert made.dtype == detail["dtype"]
        assert np.array_equal(made.ravel(), tensors[detail["index"]].ravel()), answer.name


@pytest.mark.model
@pytest.mark.slow
def test_body_and_head_of_a_published_network_joined():
    """MobileNetV1 1.0 at 224 pixels, whose body and head Google published as two files."""
    folder = require_model("coral_v1_224_uint8")
    body, head = (read_tflite(folder / f"{part}.tflite") for part in ("body", "head"))
    network, images = body.followed_by(head), (pictures((224, 224, 3), 2) ^ 128).view(np.int8)
    tensors = reference((folder / "body.tflite").read_bytes(), images)
    results = golden.run(network, images, layers=True)
    for layer, result in zip(body.layers, results, strict=False):
        assert np.array_equal(result.ravel(), tensors[layer.tensor].ravel()), layer.name
    content = (folder / "head.tflite").read_bytes()
    tensors = reference(content, results[len(body.layers) - 1], raw=False)
    assert np.array_equal(results[-1].ravel(), tensors[head.layers[0].tensor].ravel())
    (answer,) = network.answer(golden.run(network, images))
    (output,) = Interpreter(model_content=content).get_output_details()
    assert np.array_equal((answer ^ 128).view(np.int8), tensors[output["index"]].reshape(answer.shape))


@pytest.mark.model
@pytest.mark.slow
@pytest.mark.parametrize(("name", "size", "pictures", "right"), [
    ("coral_v1_224_uint8", 224, 50, 45), ("coral_v2_224_int8", 224, 50, 43),
    ("coral_v1_025_128_uint8", 128, 250, 105)])
def test_accuracy_on_imagenet_samples(name, size, pictures, right):
    """As many right as LiteRT's reference kernels; these networks' class 0 is the background.  (Of all 250 pictures the
    two of 224 pixels get 215 and 216 right, which takes minutes.)"""
    folder = require_model(name)
    network = read_tflite(folder / "model.tflite") if (folder / "model.tflite").exists() else \
        read_tflite(folder / "body.tflite").followed_by(read_tflite(folder / "head.tflite"))
    with np.load(require_data("imagenet_samples_250.npz")) as data:
        files, labels = np.split(data["jpeg"], data["offsets"][1:-1])[:pictures], data["labels"][:pictures]
    found = 0
    for start in range(0, len(files), 5):
        images = []
        for file in files[start:start + 5]:
            with Image.open(BytesIO(file.tobytes())) as picture:
                middle = picture.convert("RGB").crop((16, 16, 240, 240))
                images.append(np.asarray(middle if size == 224 else middle.resize((size, size), Image.BILINEAR)))
        logits = golden.run(network, (np.stack(images) ^ 128).view(np.int8))
        found += int((logits.argmax(axis=1) == labels[start:start + 5] + 1).sum())
    assert found == right


@pytest.mark.model
@pytest.mark.slow
def test_a_thousand_keywords():
    path = require_model("mlperf_kws_int8") / "model.tflite"
    network = read_tflite(path)
    with np.load(require_data("kws01_1000.npz")) as data:
        inputs, labels = data["x"], data["y"]
    probabilities = network.softmax(golden.run(network, inputs))
    expected = reference(path.read_bytes(), inputs)[network.softmax.tensor]
    assert np.array_equal(probabilities, expected)
    assert np.mean(np.argmax(probabilities, axis=1) == labels) == 0.901


scales = st.floats(1e-3, 0.5) | st.integers(-9, -1).map(lambda power: 2.0**power)
zero_points = st.sampled_from([-128, -127, -1, 0, 1, 126, 127]) | st.integers(-128, 127)
sizes = st.integers(1, 9)
channels = st.integers(1, 7)


@st.composite
def networks(draw, kind: type[Chain] = Chain) -> Chain:
    """A random small model, of int8 or of uint8."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    unsigned = kind is Uint8Chain
    own = zero_points.map(lambda number: number + 128) if unsigned else zero_points
    chain = kind(draw(sizes), draw(sizes), draw(channels), scale=draw(scales), zero_point=draw(own))
    if unsigned:
        chain.weight_zero_point = draw(own)

    def int8(*shape):
        return random.integers(0, 256, shape, np.uint8) if unsigned else random.integers(-128, 128, shape, np.int8)

    def trained(inputs: int, outputs: int, bias=False) -> dict:
        """Scales that use the range of the result but for a factor of up to 32; LiteRT's CONV_2D insists on
        a ``bias``, other operators take none as well."""
        count = outputs if draw(st.booleans()) and not unsigned else 1
        scale = draw(scales)
        weight_scale = draw(st.floats(1 / 32, 32)) * scale / chain.tensor.scale / np.sqrt(inputs) / 128
        factors = random.uniform(0.25, 2, count)
        if draw(st.booleans()):
            # With scales of the maps that are powers of two as well: sums halfway between two results.
            weight_scale, factors = 2.0 ** np.round(np.log2(weight_scale)), random.choice([0.25, 1, 2], count)
        # A quarter of the scales far smaller: channels whose multiplier vanishes.
        vanishing = random.choice([1, 1, 1, 2.0**-40], count) if draw(st.booleans()) else 1
        biased = bias or draw(st.booleans())
        return {"weight_scale": weight_scale * factors * vanishing,
                "bias": random.integers(-(1 << 14), 1 << 14, outputs) if biased else None,
                "scale": scale, "zero_point": draw(own),
                "activation": draw(st.sampled_from(["NONE", "RELU", "RELU6", "RELU_N1_TO_1"]))}

    for _ in range(draw(st.integers(1, 4))):
        _, height, width, depth = chain.tensor.shape
        stride = draw(st.sampled_from([(1, 1), (2, 2), (1, 2), (3, 1)]))
        padding = draw(st.sampled_from(["SAME", "VALID"]))
        kernel = [draw(st.integers(1, min(size, 5) if padding == "VALID" else 5))
                  for size in (height, width)]
        kinds = ["convolution", "pointwise", "depthwise", "multiplied", "padded", "pool"]
        match draw(st.sampled_from(kinds)):
            case "convolution":
                out = draw(channels)
                chain.convolution(int8(out, *kernel, depth), stride=stride, padding=padding,
                                  **trained(kernel[0] * kernel[1] * depth, out, bias=True))
            case "pointwise":
                out = draw(channels)
                chain.convolution(int8(out, 1, 1, depth), stride=stride, **trained(depth, out, bias=True))
            case "depthwise":
                chain.depthwise(int8(*kernel, depth), stride=stride, padding=padding,
                                **trained(kernel[0] * kernel[1], depth))
            case "multiplied":
                out = depth * draw(st.integers(2, 3))
                chain.depthwise(int8(*kernel, out), stride=stride, padding=padding,
                                **trained(kernel[0] * kernel[1], out))
            case "padded":
                chain.pad(*(draw(st.integers(0, 3)) for _ in range(4)))
                kernel = np.minimum(chain.tensor.shape[1:3], kernel)
                chain.depthwise(int8(*kernel, depth), stride=stride, padding=padding,
                                **trained(kernel[0] * kernel[1], depth))
            case "pool":
                window = draw(st.integers(1, height)), draw(st.integers(1, width))
                chain.average_pool(window, stride=stride,
                                   activation=draw(st.sampled_from(["NONE", "RELU", "RELU6"])))
    _, height, width, depth = chain.tensor.shape
    match draw(st.sampled_from(["map", "mean", "mean", "flatten", "vector"])):
        case "mean":
            chain.mean(keep_dims=draw(st.booleans()), axes=draw(st.sampled_from([(1, 2), (2, 1), (-3, -2)])),
                       scale=chain.tensor.scale * draw(st.floats(0.25, 4)), zero_point=draw(own))
        case "flatten":
            chain.reshape(1, height * width * depth)
        case "vector":
            pass
        case "map":
            return chain
    inputs = int(np.prod(chain.tensor.shape))
    out = draw(channels)
    chain.fully_connected(int8(out, inputs), **trained(inputs, out))
    if draw(st.booleans()):
        chain.softmax(draw(st.sampled_from([1.0, 0.5, 2.0])))
    return chain


@pytest.mark.parametrize("images", [
    np.zeros((1, 4, 4, 2), np.uint8), np.zeros((1, 4, 4, 3), np.int8), np.zeros((4, 4, 2), np.int8),
    np.zeros((2, 4, 4, 2), np.float32), 3])
def test_wrong_images_are_refused(folder, images):
    (folder / "small.tflite").write_bytes(Chain(4, 4, 2).average_pool((4, 4)).write())
    with pytest.raises(NetworkError, match=r"small takes int8 images of the shape \(frames, 4, 4, 2\), not"):
        golden.run(read_tflite(folder / "small.tflite"), images)


def test_frames_are_independent_of_the_chunk(folder, monkeypatch):
    (folder / "small.tflite").write_bytes(Chain(4, 4, 2).average_pool((2, 2)).write())
    network = read_tflite(folder / "small.tflite")
    images = np.random.default_rng(0).integers(-128, 128, (7, 4, 4, 2), dtype=np.int8)
    whole = golden.run(network, images)
    monkeypatch.setattr(windows, "CHUNK_BYTES", 600)
    assert np.array_equal(golden.run(network, images), whole)
    assert golden.run(network, images[:0]).shape == (0, network.result_bytes)


def test_sums_beyond_float32(folder):
    """More products than 24 bits can hold, all at the extremes: (int8 range) ** 2 * 4800 = 2**26."""
    for channels in (1024, 1025, 4800):
        chain = Chain(1, 1, channels, scale=1, zero_point=127)
        chain.fully_connected(np.full((2, channels), -128, np.int8), [0, 1], weight_scale=1, scale=2**20)
        (folder / "wide.tflite").write_bytes(chain.write())
        (layer,) = read_tflite(folder / "wide.tflite").layers
        x = np.full((1, 1, 1, channels), -128, np.int8)
        x[..., 0] = -127
        expected = 128 * 255 * (channels - 1) + 128 * 254
        assert layer.accumulate(x).ravel().tolist() == [expected, expected + 1]


@pytest.mark.parametrize("kind", [Convolution, Depthwise])
@pytest.mark.parametrize("rows", [1024, 1025, 4801])
def test_the_first_sum_that_float32_cannot_hold(kind, rows):
    """1,024 products of 2**14 are 2**24; with one odd product more the sum needs 25 bits."""
    column = np.full((rows, 1, 1), -128)
    column[-1] = 127
    shape = (rows, 1, 1)
    weights = column[None] if kind is Convolution else column
    layer = kind(name="sum", index=0, input_shape=shape, output_shape=(1, 1, 1), input_zero_point=0, weights=weights,
                 bias=np.zeros(1), requantise=Requantise([1 << 30], [-20], 0))
    x = column.astype(np.int8)[None]
    assert layer.accumulate(x).ravel().tolist() == [(rows - 1) * 2**14 + 127**2]


@pytest.mark.parametrize("kind", ["convolution", "fully_connected"])
@pytest.mark.parametrize("scale", [1, 4, 1 / 16])
def test_sums_halfway_between_two_results(folder, kind, scale):
    """Where convolutions and fully connected layers round differently."""
    random = np.random.default_rng(0)
    chain = Chain(1, 1, 16, scale=0.25, zero_point=3)
    shape = (200, 16) if kind == "fully_connected" else (200, 1, 1, 16)
    weights = random.integers(-10, 10, shape, dtype=np.int8)
    getattr(chain, kind)(weights, random.integers(-200, 200, 200), weight_scale=scale / 8, scale=scale)
    (folder / "ties.tflite").write_bytes(model := chain.write())
    images = random.integers(-128, 128, (20, 1, 1, 16), dtype=np.int8)
    network, tensors = read_tflite(folder / "ties.tflite"), reference(model, images)
    assert differences(network, images, tensors) == {}
    layer = network.layers[0]
    wrong = replace(layer.requantise, rounding=Rounding.SINGLE, multiplier=np.full(200, 1 << 30),
                    shift=np.full(200, -4))
    assert np.any(wrong(layer.accumulate(images)).ravel() != tensors[layer.tensor].ravel())


def test_large_fully_connected_layers(folder):
    """Sums so large that the nearest 31-bit multiplier would round some of them differently."""
    random = np.random.default_rng(0)
    chain = Chain(1, 1, 3000, scale=0.02, zero_point=-128)
    chain.fully_connected(random.integers(-128, 128, (100, 3000), dtype=np.int8), scale=3.7,
                          weight_scale=random.uniform(1e-3, 1e-2, 100))
    (folder / "large.tflite").write_bytes(model := chain.write())
    network = read_tflite(folder / "large.tflite")
    images = random.integers(-128, 128, (50, 1, 1, 3000), dtype=np.int8)
    assert (network.layers[0].requantise.multiplier >= 1 << 31).any()
    assert differences(network, images, reference(model, images)) == {}


@settings(max_examples=400, suppress_health_check=list(HealthCheck))
@given(chain=networks(), codes_in=st.sampled_from(["old", "new", "both"]), seed=st.integers(0, 2**32 - 1))
def test_random_networks(folder, chain, codes_in, seed):
    model = chain.write(codes_in=codes_in)
    images = np.random.default_rng(seed).integers(-128, 128, (3, *chain.input.shape[1:]), dtype=np.int8)
    (folder / "random.tflite").write_bytes(model)
    assert differences(read_tflite(folder / "random.tflite"), images, reference(model, images)) == {}


@settings(max_examples=300, suppress_health_check=list(HealthCheck))
@given(chain=networks(Uint8Chain), seed=st.integers(0, 2**32 - 1))
def test_random_networks_of_uint8(folder, chain, seed):
    """Weights with zero points from 0 to 255."""
    model = chain.write()
    images = np.random.default_rng(seed).integers(-128, 128, (3, *chain.input.shape[1:]), dtype=np.int8)
    (folder / "uint8.tflite").write_bytes(model)
    assert differences(read_tflite(folder / "uint8.tflite"), images, reference(model, images)) == {}
