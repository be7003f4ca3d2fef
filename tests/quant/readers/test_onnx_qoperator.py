# SPDX-License-Identifier: Apache-2.0
"""The QOperator format of ONNX Runtime's quantiser, against ONNX Runtime's integers."""

from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import TensorProto
from onnx_models import Graph, quantised, random_graph, run
from onnxruntime.quantization import QuantFormat, QuantType
from tepal.quant import Network, NetworkError, read_onnx
from tepal.quant.files.qoperator import QOPERATORS
from tepal.sim import golden


def images(graph: Graph, count: int = 8) -> np.ndarray:
    shape = [dim.dim_value for dim in graph.input.type.tensor_type.shape.dim[1:]]
    return np.random.default_rng(1).normal(size=(count, *shape)).astype(np.float32)


def classifier() -> Graph:
    graph = Graph("n", 3, 9, 8).convolution(4, 3, 3, strides=[2, 1], pads=[1] * 4).add("Relu")
    before = graph.value
    graph.convolution(4, 4, 3, group=4, pads=[1] * 4).add("Clip", np.float32(0), np.float32(6))
    graph.convolution(4, 4, 1).add("Add", before)
    graph.add("MaxPool", kernel_shape=[2, 2], strides=[1, 1])
    graph.add("Concat", graph.value, axis=1).add("AveragePool", kernel_shape=[2, 2], strides=[1, 2])
    graph.add("LeakyRelu", alpha=0.2).add("Sigmoid")
    graph.add("GlobalAveragePool").add("Flatten").add("Gemm", graph.weights(8, 6), graph.weights(6))
    return graph.add("MatMul", graph.weights(6, 3))


def compare(network: Network, model: onnx.ModelProto, batch: np.ndarray, off: int = 1) -> None:
    """Layer by layer, each from ONNX Runtime's own integers; at most ``off`` steps apart."""
    chosen = [layer.name for layer in network.layers]
    values = dict(zip(chosen, run(model, batch, names=chosen), strict=True))
    maps = {-1: network.quantise_input(batch.transpose(0, 2, 3, 1))}
    compared = 0
    for number, (layer, sources) in enumerate(zip(network.layers, network.sources, strict=True)):
        got = layer(*(maps[source] for source in sources))
        maps[number] = got
        if layer.name in values and values[layer.name].dtype.kind in "iu":
            value = values[layer.name]
            value = (value ^ 128).view(np.int8) if value.dtype == np.uint8 else value
            height, width, channels = layer.output_shape
            maps[number] = value.reshape(-1, channels, height, width).transpose(0, 2, 3, 1)
            assert np.abs(got.astype(int) - maps[number]).max() <= off, layer.name
            compared += 1
    assert compared >= len(network.layers) - 2


@pytest.mark.parametrize("options", [
    {}, {"activations": QuantType.QUInt8}, {"per_channel": False}, {"ActivationSymmetric": True}],
    ids=["int8", "uint8 activations", "per tensor", "symmetric"])
def test_quantised_by_onnx_runtime(tmp_path, options):
    graph = classifier()
    batch = images(graph)
    model = quantised(graph, tmp_path, batch, form=QuantFormat.QOperator, **options)
    found = {f"{node.domain}.{node.op_type}".removeprefix(".") for node in model.graph.node}
    assert len(found & set(QOPERATORS)) >= 6
    network = read_onnx(tmp_path / "quantised.onnx")
    compare(network, model, batch)


@pytest.mark.parametrize("seed", [0, 2, 3, 4, 5, 9, 10, 11, 13, 14, 15])
def test_random_graphs(tmp_path, seed):
    """Those in which no batch norm is left, which ONNX Runtime's quantiser doesn't quantise."""
    graph = random_graph(seed, ("Add",), ("Sigmoid", "LeakyRelu"))
    batch = images(graph)
    model = quantised(graph, tmp_path, batch, form=QuantFormat.QOperator)
    compare(read_onnx(tmp_path / "quantised.onnx"), model, batch)


def microsoft(graph: Graph) -> onnx.ModelProto:
    model = graph.model()
    model.opset_import.append(onnx.helper.make_opsetid("com.microsoft", 1))
    return model


def alone(operator: str, *inputs, domain: str = "com.microsoft", **attributes) -> Graph:
    """One operator on an image of integers."""
    graph = Graph(1, 2, 4, 4, kind=TensorProto.INT8)
    graph.kind = TensorProto.INT8
    return graph.add(operator, *inputs, domain=domain, **attributes)


SCALE, ZERO = np.float32(0.05), np.int8(3)
RESULT = np.float32(0.0371), np.int8(-7)
ALONE = {
    "QLinearSigmoid": alone("QLinearSigmoid", SCALE, ZERO, *RESULT),
    "QLinearLeakyRelu": alone("QLinearLeakyRelu", SCALE, ZERO, *RESULT, alpha=0.3),
    "QLinearAveragePool": alone("QLinearAveragePool", SCALE, ZERO, *RESULT, kernel_shape=[2, 2]),
    "QLinearGlobalAveragePool": alone("QLinearGlobalAveragePool", SCALE, ZERO, *RESULT, channels_last=0),
    "QLinearMul": alone("QLinearMul", SCALE, ZERO, np.int8([[[[5]], [[-3]]]]), np.float32(0.1), np.int8(1), *RESULT),
    "QLinearAdd": alone("QLinearAdd", SCALE, ZERO, np.int8([[[[5]], [[-3]]]]), np.float32(0.1), np.int8(1), *RESULT),
    "QLinearConv": alone("QLinearConv", SCALE, ZERO, np.arange(4).reshape(2, 2, 1, 1).astype(np.int8),
                         np.float32([0.1, 0.2]), np.int8([0, 0]), *RESULT, np.int32([5, -100]), domain=""),
    "com.microsoft.QLinearConv": alone(
        "QLinearConv", SCALE, ZERO, np.arange(4).reshape(2, 2, 1, 1).astype(np.int8), np.float32([0.1, 0.2]),
        np.int8([0, 0]), *RESULT, np.int32([5, -100]), channels_last=0),
}


@pytest.mark.parametrize("name", ALONE)
def test_one_operator(tmp_path, name):
    """On all int8 values."""
    graph = ALONE[name]
    (tmp_path / "model.onnx").write_bytes(graph.bytes())
    model = microsoft(graph)
    network = read_onnx(tmp_path / "model.onnx")
    codes = np.random.default_rng(0).permutation(np.arange(-128, 128, dtype=np.int8).repeat(2)).reshape(16, 2, 4, 4)
    (expected,) = run(model, codes)
    got = golden.run(network, codes.transpose(0, 2, 3, 1)).reshape(16, *network.output_shape).transpose(0, 3, 1, 2)
    difference = np.abs(got.astype(int) - expected)
    assert difference.max() <= (0 if name in ("QLinearSigmoid", "QLinearLeakyRelu") else 1)
    assert np.count_nonzero(difference) <= 0.02 * difference.size


WEIGHTS = np.arange(24).reshape(2, 3, 2, 2).astype(np.int8), np.float32(0.1), np.int8(0)
LAST = {"QLinearConv": (WEIGHTS, {"kernel_shape": [2, 2], "pads": [0, 1, 0, 0]}, (3, 3, 2)),
        "QLinearAveragePool": ((), {"kernel_shape": [3, 2]}, (2, 2, 3)),
        "QLinearGlobalAveragePool": ((), {}, (1, 1, 3))}
"""Constants between the input's meaning and the result's, attributes, the result's shape."""


@pytest.mark.parametrize("name", LAST)
def test_channels_last(tmp_path, name):
    """As ONNX Runtime's own optimiser writes these."""
    constants, attributes, shape = LAST[name]
    graph = Graph("n", 4, 3, 3, kind=TensorProto.INT8)
    graph.kind = TensorProto.INT8
    graph.add(name, SCALE, ZERO, *constants, *RESULT, domain="com.microsoft", channels_last=1, **attributes)
    (tmp_path / "model.onnx").write_bytes(graph.bytes())
    codes = np.random.default_rng(0).integers(-128, 128, (8, 4, 3, 3), np.int8)
    (expected,) = run(microsoft(graph), codes)
    network = read_onnx(tmp_path / "model.onnx")
    (got,) = network.answer(golden.run(network, codes))
    assert got.shape == expected.shape == (8, *shape)
    assert np.abs(got.astype(int) - expected).max() <= 1


@pytest.mark.parametrize("softmax", [False, True])
def test_real_numbers_in_and_out(tmp_path, softmax):
    """Quantised and dequantised by Microsoft's operators; Softmax stays off the chip."""
    graph = Graph("n", 2, 4, 4)
    graph.add("QuantizeLinear", SCALE, ZERO, domain="com.microsoft")
    graph.add("QLinearConv", SCALE, ZERO, np.arange(96).reshape(3, 2, 4, 4).astype(np.int8), np.float32(0.01),
              np.int8(0), *RESULT, domain="com.microsoft")
    meaning = RESULT
    if softmax:
        meaning = np.float32(1 / 256), np.int8(-128)
        graph.add("QLinearSoftmax", *RESULT, *meaning, domain="com.microsoft", axis=1, opset=13)
    graph.add("DequantizeLinear", *meaning, domain="com.microsoft")
    (tmp_path / "model.onnx").write_bytes(graph.bytes())
    network, batch = read_onnx(tmp_path / "model.onnx"), 3 * images(graph)
    assert [type(layer).__name__ for layer in network.layers] == ["Convolution"]
    (expected,) = run(microsoft(graph), batch)
    (got,) = network.answer(golden.run(network, network.quantise_input(batch.transpose(0, 2, 3, 1))))
    assert len(np.unique(expected)) > 8
    assert got.shape == expected.shape
    # The answer is the integers before the last node.
    assert np.abs(got - (np.rint(expected / meaning[0]) + meaning[1])).max() <= 1


def test_two_maps_that_are_multiplied_are_refused(tmp_path):
    graph = Graph("n", 2, 6, 6).convolution(2, 2, 3)
    before = graph.value
    graph.convolution(2, 2, 1).add("Mul", before)
    quantised(graph, tmp_path, images(graph), form=QuantFormat.QOperator)
    with pytest.raises(NetworkError, match=r"node \d+ \(Mul, .*\) multiplies two maps, as squeeze-and-excitation"):
        read_onnx(tmp_path / "quantised.onnx")


def test_integers_on_their_way(tmp_path):
    """MaxPool, Pad, Concat, Clip and moves on the integers themselves."""
    graph = Graph("n", 2, 6, 6)
    meaning = np.float32(0.05), np.uint8(131)
    graph.add("QuantizeLinear", *meaning).add("MaxPool", kernel_shape=[2, 2]).add("Clip", np.uint8(100), np.uint8(220))
    graph.add("Concat", graph.value, axis=1).add("Pad", np.array([0, 0, 1, 1] * 2), np.uint8(131))
    graph.add("DequantizeLinear", *meaning)
    kernel = graph.node("DequantizeLinear", np.arange(72).reshape(2, 4, 3, 3).astype(np.int8), np.float32(0.01))
    graph.add("Conv", kernel).add("QuantizeLinear", np.float32(0.3), np.uint8(128))
    graph.kind = TensorProto.UINT8
    (tmp_path / "model.onnx").write_bytes(graph.bytes())
    network, batch = read_onnx(tmp_path / "model.onnx"), images(graph)
    (expected,) = run(graph.bytes(), batch)
    got = golden.run(network, network.quantise_input(batch.transpose(0, 2, 3, 1))).reshape(8, 5, 5, 2)
    assert np.abs(got.transpose(0, 3, 1, 2) - (expected.astype(int) - 128)).max() <= 1
    assert replace(network.layers[0], name="").requantise.minimum == 100 - 128
