# SPDX-License-Identifier: Apache-2.0
"""Calibration images of another range than the training's are noticed, and right ones are not."""

from pathlib import Path

import numpy as np
import pytest
from models import require_model
from onnx_models import Graph, run
from tepal.quant import FloatNetwork, implausible, quantize, read_model, read_onnx

EXAMPLE = Path(__file__).resolve().parents[3] / "examples/cifar10"
MEAN, STD = np.array([[[0.485, 0.456, 0.406]], [[0.229, 0.224, 0.225]]], np.float32)
RANGES = {"0 to 1": lambda x: x / 255, "-1 to 1": lambda x: x / 127.5 - 1, "ImageNet": lambda x: (x / 255 - MEAN) / STD,
          "0 to 255": lambda x: x}


def pixels() -> np.ndarray:
    """The example's twenty pictures, float32 (20, 32, 32, 3), 0 to 255."""
    with np.load(EXAMPLE / "pictures.npz") as file:
        return np.rint(file["images"].transpose(0, 2, 3, 1) * 128 + 128)


def network(path: Path, images: np.ndarray, *, folded: bool) -> FloatNetwork:
    """Three layers with batch norms whose statistics are those of ``images``, as they are after training."""
    graph = Graph("n", 3, 32, 32)
    channels = 3
    for count, kernel, group in ((8, 3, 1), (8, 3, 8), (16, 1, 1), (12, 1, 1)):
        weights = graph.weights(count, channels // group, kernel, kernel)
        graph.add("Conv", weights, kernel_shape=[kernel, kernel], group=group, strides=[kernel // 2 + 1] * 2)
        values, = run(graph.model(), images.transpose(0, 3, 1, 2), names=[graph.value])
        mean, variance = values.mean(axis=(0, 2, 3)), values.var(axis=(0, 2, 3))
        scale, offset = graph.rng.uniform(0.5, 1.5, count), graph.rng.normal(size=count)
        scale, offset = scale.astype(np.float32), offset.astype(np.float32)
        if folded:
            factor = scale / np.sqrt(variance + 1e-5)
            graph.initializers.pop()
            convolution = graph.nodes.pop()
            graph.value = convolution.input[0]
            graph.add("Conv", weights * factor[:, None, None, None], offset - mean * factor,
                      kernel_shape=[kernel, kernel], group=group, strides=[kernel // 2 + 1] * 2)
        else:
            graph.add("BatchNormalization", scale, offset, mean, variance, epsilon=1e-5)
        graph.add("Relu")
        channels = count
    graph.add("GlobalAveragePool").add("Flatten").add("Gemm", graph.weights(5, channels), graph.weights(5), transB=1)
    path.write_bytes(graph.bytes())
    result = read_onnx(path)
    assert isinstance(result, FloatNetwork)
    return result


@pytest.mark.parametrize("trained", RANGES)
@pytest.mark.parametrize("folded", [False, True])
def test_ranges(tmp_path, trained, folded):
    """Trained on ten pictures, calibrated with ten others."""
    images = pixels()
    model = network(tmp_path / "model.onnx", RANGES[trained](images[::2]).astype(np.float32), folded=folded)
    for given, change in RANGES.items():
        told = implausible(model, change(images[1::2]).astype(np.float32))
        # Folded batch norms have left nothing but the order of magnitude.
        far = "0 to 255" in (trained, given)
        assert bool(told) == (given != trained and (far or not folded)), (given, told)
        if told and not folded:
            assert "vary" in told or "standard deviations" in told
            assert told.startswith("the sums of layer 0 (")
            assert told.endswith("by the statistics of its batch norm")
        elif told:
            assert "as much as the network's biases are large" in told


def test_what_batch_norm_tells(tmp_path):
    """Mean and deviation of the sums, through what is folded behind it too; on the training's own images exactly."""
    images = RANGES["0 to 1"](pixels()).astype(np.float32)
    model = network(tmp_path / "model.onnx", images, folded=False)
    x = images
    for layer in model.layers[:4]:
        total = layer.sums(x).reshape(-1, layer.output_shape[2])
        assert np.allclose(total.mean(axis=0), layer.trained.mean, atol=1e-3)
        assert np.allclose(total.std(axis=0), layer.trained.deviation, rtol=1e-3)
        x = layer(x)
    # Equalisation changes a layer's sums, and what was said of them goes.
    assert quantize(model, images).reference.layers[0].trained is None


def test_folded_behind(tmp_path):
    """A factor and a constant behind the batch norm change the statistics as they change the sums."""
    images = RANGES["0 to 1"](pixels()).astype(np.float32)
    graph = Graph("n", 3, 32, 32).convolution(6, 3, 3)
    values, = run(graph.model(), images.transpose(0, 3, 1, 2), names=[graph.value])
    graph.add("BatchNormalization", np.full(6, 2, np.float32), np.ones(6, np.float32), values.mean(axis=(0, 2, 3)),
              values.var(axis=(0, 2, 3)), epsilon=1e-5)
    graph.add("Mul", np.full((1, 6, 1, 1), -3, np.float32)).add("Add", np.full((1, 6, 1, 1), 0.5, np.float32))
    (tmp_path / "model.onnx").write_bytes(graph.add("Relu").bytes())
    model = read_onnx(tmp_path / "model.onnx")
    assert isinstance(model, FloatNetwork)
    layer = model.layers[0]
    total = layer.sums(images).reshape(-1, 6)
    assert np.allclose(layer.trained.mean, -2.5, atol=1e-4)
    assert np.allclose(total.mean(axis=0), -2.5, atol=1e-3)
    assert np.allclose(layer.trained.deviation, total.std(axis=0), rtol=1e-3)
    assert implausible(model, images) == ""
    assert "layer 0" in implausible(model, images * 2 - 1)


@pytest.mark.parametrize("name", ["small_0.25_32", "large_0.25_24", "large_0.25_32", "large_0.50_24", "large_0.50_32"])
def test_bundled(name):
    """Real networks, whose exporter folded the batch norms."""
    model = read_model(EXAMPLE / "models" / f"{name}.onnx")
    assert isinstance(model, FloatNetwork)
    size = model.input_shape[0]
    images = pixels()[:, :size, :size].astype(np.float32)
    assert implausible(model, (images - 128) / 128) == ""
    assert implausible(model, ((images - 128) / 128)[:1]) == ""
    assert implausible(model, images / 255) == ""
    assert "times as much as the network's biases are large" in implausible(model, images)


@pytest.mark.model
def test_visual_wake_words():
    model = read_model(require_model("mlperf_vww_float") / "model.tflite")
    codes = np.load(require_model("mlperf_vww_int8") / "inputs.npy")
    images = (codes.reshape(-1, 96, 96, 3).astype(np.float32) + 128) / 255
    assert isinstance(model, FloatNetwork)
    assert implausible(model, images) == ""
    assert "times as much" in implausible(model, images * 255)


def test_too_little_to_tell(tmp_path):
    """A network of small biases, which may have had no batch norm; and a batch norm of vectors that one image gives."""
    graph = Graph("n", 3, 32, 32)
    for count, before in ((8, 3), (8, 8), (8, 8)):
        graph.add("Conv", graph.weights(count, before, 3, 3), 0.01 * graph.weights(count)).add("Relu")
    (tmp_path / "plain.onnx").write_bytes(graph.bytes())
    images = pixels().astype(np.float32)
    assert implausible(read_onnx(tmp_path / "plain.onnx"), images) == ""
    graph = Graph("n", 3, 32, 32).add("Flatten").add("Gemm", graph.weights(6, 3072), graph.weights(6), transB=1)
    graph.add("BatchNormalization", *(np.ones(6, np.float32) for _ in range(4)))
    (tmp_path / "vectors.onnx").write_bytes(graph.bytes())
    assert implausible(read_onnx(tmp_path / "vectors.onnx"), images[:1]) == ""
