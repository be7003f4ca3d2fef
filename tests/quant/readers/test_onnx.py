# SPDX-License-Identifier: Apache-2.0
"""ONNX models of three exporters and of ONNX Runtime's quantiser: what is taken, what is refused, in which words."""

from math import inf

import numpy as np
import onnx
import pytest
from onnx import TensorProto
from onnx_models import Graph, legacy, maps, quantised, run, step, tf, torch
from onnxruntime.quantization import QuantType
from tepal.quant import (
    AveragePool,
    Depthwise,
    FloatAveragePool,
    FloatConvolution,
    FloatDepthwise,
    NetworkError,
    Padding,
    Rounding,
)
from tepal.quant.readers.model_file import read_model
from tepal.quant.readers.onnx import read_onnx
from tepal.quant.rescale import check_accumulator, quantised_clamp, requantise_of_scales
from tepal.sim import golden


@pytest.fixture
def read(tmp_path):
    """Graph, or bytes of a file, to its network."""
    def read(content: Graph | bytes):
        path = tmp_path / "model.onnx"
        path.write_bytes(content.bytes() if isinstance(content, Graph) else content)
        return read_onnx(path)
    return read


def images(graph: Graph, count: int = 4) -> np.ndarray:
    """In the model's own order of dimensions."""
    shape = [dim.dim_value for dim in graph.input.type.tensor_type.shape.dim]
    return np.random.default_rng(1).normal(size=(count, *shape[1:])).astype(np.float32)


def conv(*shape: int, channels: int = 2, **how) -> Graph:
    """One convolution of a 3x3 window."""
    graph = Graph("n", *(shape or (3, 8, 8)))
    return graph.convolution(channels, (shape or (3,))[0], 3, **how)


def check(read, graph: Graph):
    """The network of ``graph``, which ONNX Runtime agrees with."""
    network, batch = read(graph), images(graph)
    (expected,) = run(graph.bytes(), batch)
    (got,) = network.answer(network.run(network.images(batch)))
    assert np.abs(got.reshape(expected.shape) - expected).max() <= 1e-4 * np.abs(expected).max()
    return network


# ---- float models ----


@pytest.mark.parametrize(("before", "kernel"), [(2, 1), (3, 3), (1, 3)])
def test_one_output_channel(read, before, kernel):
    """A group of 1 that is spelled out, as PyTorch does, makes a depthwise layer of a single channel alone."""
    network = check(read, Graph("n", before, 6, 6).convolution(1, before, kernel, group=1))
    assert type(network.layers[0]).__name__ == ("FloatDepthwise" if before == 1 else "FloatConvolution")


@pytest.mark.parametrize("folded", [True, False])
def test_torchscript_exporter(read, folded):
    network = check(read, legacy(folded=folded))
    assert network.name == "model"
    assert network.channels_first
    assert not network.softmax
    assert network.input_shape == (13, 12, 3)
    assert [type(layer) for layer in network.layers] == [
        FloatConvolution, FloatDepthwise, FloatConvolution, FloatDepthwise, FloatConvolution, FloatAveragePool,
        FloatConvolution]
    assert [layer.index for layer in network.layers] == list(range(7))
    first, last = network.layers[0], network.layers[-1]
    assert (first.padding, first.stride, first.minimum, first.maximum) == (Padding(1, 1, 1, 1), (2, 2), 0, inf)
    assert first.name == f"relu{1 if folded else 2}"
    assert (last.name, last.tensor, last.minimum) == ("logits", -1, -inf)


@pytest.mark.parametrize("softmax", [False, True])
@pytest.mark.parametrize("folded", [False, True])
def test_other_idioms_of_pytorch(read, folded, softmax):
    network = check(read, torch(folded=folded, softmax=softmax))
    assert (network.softmax is not None) == softmax
    first, second, pool, dense, *_ = network.layers
    assert first.padding == Padding(0, 1, 1, 2)
    assert (first.maximum, second.minimum, second.maximum) == (6, -1, 1)
    # A depth multiplier of 2; the flattened map is the kernel of the fully connected layer.
    assert isinstance(second, FloatConvolution)
    assert (pool.window, dense.kernel, dense.minimum) == ((2, 3), (2, 3), 0)


@pytest.mark.parametrize("channels", [1, 3])
def test_tf2onnx(read, channels):
    network = check(read, tf(channels))
    assert not network.channels_first
    assert network.input_shape == (13, 12, channels)
    first, second, _, dense, last = network.layers
    assert (first.padding, second.padding) == (Padding(1, 1, 0, 1), Padding(0, 1, 0, 1))
    assert isinstance(second, FloatDepthwise)
    assert dense.kernel == (1, 3)
    assert last.name == "Identity:0"


@pytest.mark.parametrize("auto_pad", ["SAME_UPPER", "SAME_LOWER", "VALID"])
@pytest.mark.parametrize("stride", [1, 2])
def test_auto_pad(read, auto_pad, stride):
    check(read, conv(2, 8, 7, auto_pad=auto_pad, strides=[stride, stride]))


@pytest.mark.parametrize(("size", "kernel", "strides"), [
    ((6, 6), [2, 2], [2, 2]), ((5, 7), [1, 6], [4, 1]), ((6, 7), [6, 3], [1, 2])])
def test_ceil_mode_that_changes_nothing(read, size, kernel, strides):
    """The last window ends where the map ends."""
    graph = conv(3, size[0] + 2, size[1] + 2)
    check(read, graph.add("AveragePool", kernel_shape=kernel, strides=strides, ceil_mode=1))


@pytest.mark.parametrize(("kernel", "strides"), [([3, 1], [2, 1]), ([1, 3], [1, 2]), ([3, 3], [2, 2])])
def test_ceil_mode_along_one_axis(read, kernel, strides):
    """Of a map of 6x6."""
    with pytest.raises(NetworkError, match=r"node 1 \(AveragePool, .*\) has windows that reach over the edge"):
        read(conv(3, 8, 8).add("AveragePool", kernel_shape=kernel, strides=strides, ceil_mode=1))


@pytest.mark.parametrize(("opset", "axis", "vector"), [
    (11, None, True), (11, 1, True), (11, -3, True), (11, 2, False), (11, -1, False),
    (13, None, False), (13, 1, True), (13, -3, True), (13, 2, False), (13, -1, False)])
def test_the_axis_of_softmax_before_and_after_version_13(read, opset, axis, vector):
    """Of a map of one pixel, [1, 4, 1, 1]: before version 13 from the second dimension on, then along the last one."""
    graph = Graph("n", 3, 8, 8, opset=opset).convolution(4, 3, 8)
    graph.add("Softmax", **({} if axis is None else {"axis": axis}))
    assert (check(read, graph).softmax is not None) == vector


@pytest.mark.parametrize(("opset", "axis"), [(11, None), (11, 1), (11, 2), (13, None), (13, 1), (13, 2)])
@pytest.mark.parametrize("operator", ["Softmax", "LogSoftmax"])
def test_softmax_over_several_dimensions(read, operator, opset, axis):
    """Of [1, 4, 3]: before version 13 over all from the axis on, then over one of them."""
    graph = Graph("n", 3, 8, 8, opset=opset).convolution(12, 3, 8).add("Reshape", np.array([-1, 4, 3]))
    check(read, graph.add(operator, **({} if axis is None else {"axis": axis})))


@pytest.mark.parametrize(("axis", "keepdims"), [(1, 1), (1, 0), (-1, 1), (2, 0)])
def test_classes_of_each_pixel(read, axis, keepdims):
    graph = conv(3, 8, 7, channels=5).add("ArgMax", axis=axis, keepdims=keepdims)
    graph.kind = onnx.TensorProto.INT64
    check(read, graph)
    network, batch = read(graph), images(graph)
    (expected,), (got,) = run(graph.bytes(), batch), network.answer(network.run(network.images(batch)))
    assert (got.dtype, got.shape) == (expected.dtype, expected.shape)


def test_a_map_as_the_result_is_nhwc(read):
    assert check(read, conv(3, 6, 5)).output_shape == (4, 3, 2)


def test_vectors(read):
    graph = Graph("n", 7)
    graph.add("Gemm", graph.weights(7, 5), graph.weights(5), alpha=0.5, beta=2.0).add("Relu")
    network = read(graph)
    assert network.input_shape == (1, 1, 7)
    batch = images(graph)
    assert np.allclose(network.run(batch[:, None, None]), run(graph.bytes(), batch)[0], rtol=1e-4, atol=1e-6)


def test_flattened_image_channels_first(read):
    graph = Graph("n", 3, 4, 5).add("Flatten")
    assert check(read, graph.add("Gemm", graph.weights(60, 4))).layers[0].weights.shape == (4, 4, 5, 3)


def test_clamps_intersect(read):
    graph = conv().add("Clip", np.float32(-3), np.float32(5)).add("Relu").add("Identity").add("Reshape", [-1, 72])
    (layer,) = read(graph.add("Clip", "", np.float32(2)).add("Reshape", [-1, 2, 6, 6])).layers
    assert (layer.minimum, layer.maximum, layer.name) == (0, 2, "clip5")
    (layer,) = read(conv().add("Max", np.float32(3)).add("Min", np.float32(2), first=False)).layers
    assert (layer.minimum, layer.maximum) == (2, 2)
    assert check(read, conv().add("Relu").add("Max", np.float32(0.5)).add("Min", np.float32(0.7)))


def test_batch_norm_of_a_dead_channel(read):
    graph = conv(channels=3).batch_norm(3)
    variance = np.array([0, 1, 2], np.float32)
    graph.initializers[-1].CopyFrom(onnx.numpy_helper.from_array(variance, graph.initializers[-1].name))
    (layer,) = check(read, graph).layers
    kernel, bias, scale, offset, mean, _ = (onnx.numpy_helper.to_array(tensor) for tensor in graph.initializers)
    factor = scale / np.sqrt(variance.astype(np.float64) + np.float32(1e-3))
    exact = (kernel * factor[:, None, None, None]).transpose(0, 2, 3, 1)
    assert np.array_equal(layer.weights, exact.astype(np.float32))
    assert np.array_equal(layer.bias, ((bias.astype(np.float64) - mean) * factor + offset).astype(np.float32))


def test_external_data(tmp_path):
    graph, path = legacy(folded=True), tmp_path / "model.onnx"
    onnx.save(graph.model(), path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    batch = images(graph)
    network = read_onnx(path)
    assert np.allclose(network.run(network.images(batch)), run(graph.bytes(), batch)[0], rtol=1e-4, atol=1e-5)
    (tmp_path / "weights.bin").unlink()
    with pytest.raises(NetworkError, match=r"keeps its weights in weights\.bin, which can't be read: put it beside"):
        read_onnx(path)


# ---- quantised models ----


QUANTISERS = {
    "int8": {},
    "per tensor": {"per_channel": False},
    "uint8 activations": {"activations": QuantType.QUInt8},
    "uint8": {"activations": QuantType.QUInt8, "weights": QuantType.QUInt8, "WeightSymmetric": True},
    "symmetric": {"ActivationSymmetric": True, "per_channel": False},
    "float weights": {"AddQDQPairToWeight": True},
    "clamps kept": {"QDQKeepRemovableActivations": True},
}
MODELS = {
    "torchscript": lambda: legacy(folded=True),
    "pytorch": lambda: torch(folded=True, softmax=True),
    "tf2onnx": lambda: tf(folded=True),
}


@pytest.mark.parametrize("quantiser", QUANTISERS)
@pytest.mark.parametrize("model", MODELS)
def test_quantised_by_onnx_runtime(tmp_path, model, quantiser):
    graph = MODELS[model]()
    batch = images(graph, 8)
    quantised_model = quantised(graph, tmp_path, batch, **QUANTISERS[quantiser])
    network = read_onnx(tmp_path / "quantised.onnx")
    assert (network.name, network.softmax is not None) == ("quantised", model == "pytorch")
    assert [layer.index for layer in network.layers] == list(range(len(network.layers)))
    assert all(layer.requantise.rounding is Rounding.SINGLE for layer in network.layers)
    order = batch if model == "tf2onnx" else batch.transpose(0, 2, 3, 1)
    codes = network.quantise_input(np.ascontiguousarray(order))
    layers = maps(quantised_model, network, batch)
    # ONNX Runtime scales in float32: a value that falls on the middle between two goes either way.
    assert step(network, codes, layers) <= 1
    assert np.array_equal(golden.run(network, codes).argmax(axis=1), run(quantised_model, batch)[0].argmax(axis=1))


def qdq(graph: Graph, scale: float = 0.05, zero_point=0, kind=np.int8) -> Graph:
    """Quantise and dequantise the end of ``graph``."""
    meaning = (np.float32(scale), np.array(zero_point, kind))
    return graph.add("QuantizeLinear", *meaning).add("DequantizeLinear", *meaning)


def dequantised(graph: Graph, values, scale=0.01, zero_point=0, **how) -> str:
    values = np.asarray(values)
    zero_point = np.full(np.shape(scale), zero_point, values.dtype)
    return graph.node("DequantizeLinear", values, np.asarray(scale, np.float32), zero_point, **how)


def start(shape=(2, 4, 4), **how) -> Graph:
    return qdq(Graph("n", *shape), **how)


def small(*, weights=None, scale=0.01, zero_point=0, axis=0, bias=None) -> Graph:
    """A quantised 1x1 convolution."""
    graph = start()
    weights = np.arange(6).reshape(3, 2, 1, 1).astype(np.int8) if weights is None else weights
    inputs = [dequantised(graph, weights, scale, zero_point, axis=axis)] + ([] if bias is None else [bias])
    return qdq(graph.add("Conv", *inputs, output="sum").add("Relu", output="result"), 0.1, -5)


def test_fields_of_a_quantised_layer(read):
    network = read(small(scale=[0.01, 0.02, 0.03], bias=np.array([0.1, -0.2, 0.3], np.float32)))
    (layer,) = network.layers
    assert (network.input_scale, network.input_zero_point) == (np.float32(0.05), 0)
    assert (layer.name, layer.output_scale, layer.output_zero_point) == ("result", np.float32(0.1), -5)
    assert (layer.requantise.minimum, layer.requantise.maximum) == (-5, 127)
    assert np.array_equal(layer.weight_scales, np.array([0.01, 0.02, 0.03], np.float32))
    # A float bias in steps of input and weights.
    assert layer.bias.tolist() == [200, -200, 200]
    expected = requantise_of_scales(network.input_scale, layer.weight_scales, layer.output_scale, -5)
    assert np.array_equal(layer.requantise.multiplier, expected.multiplier)


def biased(scale: float, *values: int) -> Graph:
    graph = start()
    weights = dequantised(graph, np.ones((3, 2, 1, 1), np.int8))
    bias = dequantised(graph, np.array(values, np.int32), np.full(3, scale), axis=0)
    return qdq(graph.add("Conv", weights, bias))


def test_integer_bias_is_taken_as_it_is_or_rescaled(read):
    values = (2**30 + 1, -(2**30) - 1, 3)
    assert read(biased(np.float32(0.05) * np.float32(0.01), *values)).layers[0].bias.tolist() == list(values)
    assert read(biased(0.001, 1, 2, 3)).layers[0].bias.tolist() == [2, 4, 6]


def test_a_clamp_between_equal_scales_joins_the_layer_before(read):
    (layer,) = read(qdq(small().add("Clip", np.float32(0.2), np.float32(1.04), output="clip"), 0.1, -5)).layers
    assert (layer.requantise.minimum, layer.requantise.maximum, layer.name) == (-3, 5, "clip")


def test_other_scales_make_a_layer_of_their_own(read):
    graph = qdq(small().add("Add", np.array([[[0.5]], [[-0.5]], [[0.25]]], np.float32)), 0.05, 3)
    layer = read(graph).layers[1]
    assert isinstance(layer, Depthwise)
    assert layer.bias.tolist() == [320, -320, 160]
    inputs = np.arange(-128, 128, dtype=np.int8).reshape(-1, 1, 1, 1).repeat(3, axis=3)
    got = layer.requantise(layer.weights[0, 0] * (inputs.astype(int) + 5) + layer.bias)
    wanted = np.float32(0.1) * (inputs.astype(np.float32) + 5) + np.array([0.5, -0.5, 0.25])
    assert np.array_equal(got, np.clip(np.floor(wanted / 0.05 + 0.5) + 3, -128, 127))


def test_pools_between_scales(read):
    layer = read(qdq(small().add("GlobalAveragePool"), 0.03, 7)).layers[1]
    assert isinstance(layer, AveragePool)
    assert layer.bias.tolist() == [-16 * -5] * 3
    assert np.allclose(layer.requantise.factor, 0.1 / (0.03 * 16))


def test_integer_images(read):
    graph = Graph(1, 2, 4, 4, kind=TensorProto.UINT8)
    graph.add("DequantizeLinear", np.float32(0.05), np.uint8(130))
    kernel = dequantised(graph, np.ones((3, 2, 1, 1), np.uint8), zero_point=128)
    graph.add("Conv", kernel).add("QuantizeLinear", np.float32(0.1), np.uint8(128))
    network = read(graph)
    assert (network.input_zero_point, network.output_zero_point) == (2, 0)
    assert (network.layers[0].weights == -127).all()


def test_clamps_as_onnx_quantises_them():
    assert quantised_clamp(-inf, inf, 0.1, 3) == (-128, 127)
    assert quantised_clamp(0, 6, 0.05, -10) == (-10, 110)
    # Half to even.
    assert quantised_clamp(0.25, 0.75, 0.5, 0) == (0, 2)


@pytest.mark.parametrize(("scale", "steps"), [("0x1.71905cp-4", 66), ("0x1.4c1bacp-2", 18), ("0x1.4afd6ap-5", 148)])
def test_clamps_are_rounded_in_float32(scale, steps):
    """6 / scale is above the middle between two integers, and on it in float32: as ONNX Runtime quantises it."""
    scale = np.float32(float.fromhex(scale))
    graph = Graph("n", 1).add("QuantizeLinear", scale, np.uint8(0))
    graph.kind = TensorProto.UINT8
    (quantised,) = run(graph.bytes(), np.array([[6]], np.float32))
    assert quantised.item() == steps
    assert quantised_clamp(0, 6, float(scale), -128) == (-128, steps - 128)


def test_the_largest_left_shift():
    """30; a factor of 2**30 takes 31."""
    rule = requantise_of_scales(2.0**29, np.ones(1), 1, 0)
    assert rule.shift == 30
    check_accumulator("it", np.ones((1, 1), np.int8), [0], 0, rule)
    rule = requantise_of_scales(2.0**30, np.ones(1), 1, 0)
    assert rule.shift == 31
    with pytest.raises(NetworkError, match="it can overflow its 32-bit accumulator in channel 0"):
        check_accumulator("it", np.ones((1, 1), np.int8), [0], 0, rule)


def test_accumulators_that_overflow():
    rule = requantise_of_scales(1e-9, np.ones(2), 1, 0)
    check_accumulator("it", np.ones((2, 1), np.int8), [2**31 - 128, 0], 0, rule)
    with pytest.raises(NetworkError, match="it can overflow its 32-bit accumulator in channel 1; quantise it again"):
        check_accumulator("it", np.ones((2, 1), np.int8), [0, 2**31 - 127], 0, rule)
    with pytest.raises(NetworkError, match="in channel 0"):
        check_accumulator("it", np.ones((2, 1), np.int8), [0, 0], 0, requantise_of_scales(1e10, np.ones(2), 1, 0))


# ---- what is refused ----


def changed(graph: Graph, initializer: int, change) -> Graph:
    """With a changed array."""
    tensor = graph.initializers[initializer]
    array = onnx.numpy_helper.to_array(tensor).copy()
    tensor.CopyFrom(onnx.numpy_helper.from_array(np.asarray(change(array)), tensor.name))
    return graph


def normed(number: int, value: float) -> Graph:
    """Batch norm with a changed statistic of its second channel."""
    def change(array):
        array[1] = value
        return array
    return changed(conv().batch_norm(2), number, change)


def inputs(*values: onnx.ValueInfoProto) -> bytes:
    model = conv().model()
    model.graph.input.extend(values)
    return model.SerializeToString()


def outputs(*names: str) -> bytes:
    model = conv().add("Relu").model()
    del model.graph.output[:]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    return model.SerializeToString()


def exponential() -> Graph:
    graph = conv()
    return graph.add("Add", graph.node("Exp", np.zeros(1, np.float32)))


def pool(**how) -> Graph:
    return conv().add("AveragePool", kernel_shape=[3, 3], **how)


def without_statistics() -> Graph:
    graph = conv().batch_norm(2)
    del graph.nodes[-1].input[3:]
    return graph


def variable_statistics() -> bytes:
    model = conv().batch_norm(2).model()
    name = model.graph.node[1].input[3]
    model.graph.initializer.remove(next(tensor for tensor in model.graph.initializer if tensor.name == name))
    return model.SerializeToString()


def sparse() -> bytes:
    model = conv().model()
    model.graph.sparse_initializer.add()
    return model.SerializeToString()


def short_weights() -> bytes:
    model = conv().model()
    model.graph.initializer[0].raw_data = b"1234"
    return model.SerializeToString()


def constant_first() -> Graph:
    graph = conv().add("Flatten")
    return graph.add("MatMul", graph.weights(3, 1), first=False)


def partly_quantised() -> Graph:
    return qdq(small().convolution(3, 3, 1).convolution(3, 3, 1))


def not_quantised_at_the_end() -> Graph:
    graph = small()
    return graph.add("Conv", dequantised(graph, np.ones((2, 3, 1, 1), np.int8)))


def quantised_weights() -> Graph:
    graph = Graph("n", 2, 4, 4)
    return graph.add("Conv", dequantised(graph, np.ones((2, 2, 1, 1), np.int8)))


def mismatched() -> Graph:
    graph = Graph("n", 2, 4, 4).add("QuantizeLinear", np.float32(0.1), np.int8(0))
    return graph.add("DequantizeLinear", np.float32(0.1), np.int8(1))


def integer_node() -> Graph:
    return Graph("n", 2, 4, 4).add("QuantizeLinear", np.float32(0.1), np.int8(0)).add("Relu")


def huge_bias() -> Graph:
    return small(bias=np.array([0, 2**31 * 0.0005 - 0.05, 0], np.float32))


FLAT = np.ones((3, 5), np.float32)
SENTENCES = {
    "empty": (b"", "isn't an .onnx file, or has no node"),
    "text": (b"hello, this is not a model at all", "isn't an .onnx file, or is damaged"),
    "tensors": (short_weights(), r"is damaged \(the values of initializer0 don't fit its shape\); export it again"),
    "sparse": (sparse(), "has sparse weights; store their zeros"),
    "two inputs": (inputs(onnx.ValueInfoProto(name="b")), "has 2 inputs; only models with one input are supported"),
    "no output": (outputs(), "has no output"),
    "int64": (Graph("n", 3, 8, 8, kind=TensorProto.INT64).add("Relu"),
              "takes int64 images; export it with a float32 input"),
    "dynamic": (Graph("n", 3, "height", 8).add("Relu"),
                r"takes an input of the shape \[n, 3, height, 8\]; export it with a fixed number of channels, height "),
    "huge": (Graph("n", 3, 2**20, 2**20).add("Relu"), "at most 67108864 values"),
    "batch": (Graph(8, 3, 8, 8).add("Relu"), "takes a batch of 8; export it with batch 1 or a dynamic one"),
    "operator": (conv().add("Hardmax"),
                 r"has operators that are not supported: 1 Hardmax; 'tepal ops' lists those that are$"),
    "domain": (conv().add("Relu", domain="com.example"), "not supported: 1 com.example.Relu; 'tepal ops' lists"),
    "constant operator": (exponential(),
                          r"not supported: 1 Exp \(on constants: let the exporter or onnxsim fold them\)"),
    "unknown value": (conv().add("Add", "nothing"), r"node 1 \(Add, add1\) reads nothing, which no node before it"),
    "no layer": (Graph("n", 3, 8, 8).add("Identity"), "has no layer to compute"),
    "grouped weights": (conv(3, 8, 8, channels=4, group=3), r"has weights of the shape \[4, 1, 3, 3\] for 3 channels"),
    "channels": (Graph("n", 4, 8, 8).convolution(2, 3, 3), r"has weights of the shape \[2, 3, 3, 3\] for 4 channels"),
    "stride": (conv(strides=[0, 1]), r"has a window of 3x3 and the stride \(0, 1\)"),
    "1-d": (conv(strides=[1]), "has 1 strides; only images"),
    "negative padding": (conv(pads=[0, -1, 0, 0]), "has negative padding, which crops"),
    "auto_pad": (conv(auto_pad="SOME"), "has the auto_pad .*; supported are NOTSET, VALID, SAME_UPPER and SAME_LOWER"),
    "window": (conv(3, 2, 8), "has a window of 3x3, larger than its input of 2x8"),
    "kernel_shape": (Graph("n", 1, 8, 8).add("Conv", np.ones((1, 1, 3, 3), np.float32), kernel_shape=[2, 2]),
                     r"has the kernel_shape \(2, 2\) and weights of \(3, 3\)"),
    "huge padding": (conv(pads=[2**40] * 4), "reads a map of more than 67108864 values"),
    "weights rank": (Graph("n", 1, 8, 8).add("Conv", np.ones((1, 1, 3), np.float32)),
                     r"has weights of the shape \[1, 1, 3\]; 4 dimensions are needed"),
    "integer weights": (Graph("n", 1, 8, 8).add("Conv", np.ones((1, 1, 3, 3), np.int64)),
                        "has int64 weights; floating"),
    "nan": (changed(conv(), 0, lambda array: array * np.nan), r"layer 0 \(conv0\) has 54 weights that are NaN"),
    "bias": (changed(conv(), 1, lambda array: np.ones(3)), r"has a bias of the shape \[3\] for 2 channels"),
    "norm after pad": (conv().add("Pad", np.array([0] * 8)).batch_norm(2),
                       r"node 1 \(Pad, pad1\) is followed by BatchNormalization; padding is only supported before"),
    "negative variance": (normed(5, -1), "has a variance that is negative or NaN, or 0 with the epsilon 0.001"),
    "nan variance": (normed(5, np.nan), r"node 1 \(BatchNormalization, batchnormalization1\) has a variance that is"),
    "nan mean": (normed(4, np.nan), "has values that differ from pixel to pixel, or aren't finite"),
    "training": (conv().batch_norm(2, training_mode=1), "is in training mode; export the model for inference"),
    "no statistics": (without_statistics(),
                      r"node 1 \(BatchNormalization, batchnormalization1\) has 3 inputs; 5 are needed"),
    "variable statistics": (variable_statistics(),
                            r"\(BatchNormalization, .*\) reads initializer4, which no node before"),
    "norm size": (conv().batch_norm(3), r"has values of the shape \[3, 1, 1\] for \[1, 2, 6, 6\]"),
    "by pixel": (conv(3, 3, 4).add("Add", np.ones((1, 2, 1, 2)) * [1, 2]),
                 "has values that differ from pixel to pixel"),
    "pool padding below": (pool(pads=[0, 0, 1, 0]), r"node 1 \(AveragePool, .*\) averages over padding"),
    "pool padding right": (pool(pads=[0, 0, 0, 1]), r"node 1 \(AveragePool, .*\) averages over padding"),
    "pool padding above": (pool(pads=[1, 0, 0, 0]), r"node 1 \(AveragePool, .*\) averages over padding"),
    "pool padding left": (pool(pads=[0, 1, 0, 0]), r"node 1 \(AveragePool, .*\) averages over padding"),
    "pool padding": (pool(pads=[1] * 4, count_include_pad=1),
                     r"node 1 \(AveragePool, .*\) averages over padding; only"),
    "ceil mode": (pool(ceil_mode=1, strides=[2, 2]), r"reach over the edge \(ceil_mode\); only whole windows"),
    "pool kernel": (conv().add("AveragePool"), r"node 1 \(AveragePool, averagepool1\) has no attribute kernel_shape"),
    "mean": (conv().add("ReduceMean", axes=[1]), "must average over height and width, no less and no more"),
    "mean of one": (conv().add("ReduceMean", np.array([3])), "must average over height and width"),
    "pad value": (conv().add("Pad", np.array([0] * 8), np.float32(1)), "pads with something other than zeros"),
    "pad mode": (conv().add("Pad", np.array([0] * 8), mode="edge"), "pads with something other than zeros"),
    "crop": (conv().add("Pad", np.array([0, 0, -1, 0] * 2)),
             "8 amounts of the type int64, the least of them -1; two whole"),
    "pad then relu": (conv().add("Pad", np.array([0, 0, 1, 1] * 2)).add("Relu"),
                      "is followed by Relu; padding is only"),
    "pad at the end": (conv().add("Pad", np.array([0, 0, 1, 1] * 2)), r"node 1 \(Pad, pad1\) is the last layer"),
    "padded channels": (Graph("n", 3, 8, 8).add("Pad", np.array([0, 1, 0, 0, 0, 0, 0, 0])).convolution(2, 4, 3),
                        "with its values in another order"),
    "transposed": (Graph("n", 3, 8, 9).add("Transpose", perm=[0, 1, 3, 2]).convolution(2, 3, 3),
                   r"reads an input of the shape \[3, 8, 9\] with its values in another order"),
    "reshaped": (conv().add("Reshape", np.array([-1, 8, 3, 3])).convolution(2, 8, 3),
                 r"reads a map of 6x6x2 \(height, width, channels\) that was reshaped"),
    "reshape": (conv().add("Reshape", np.array([-1, 5])),
                r"node 1 \(Reshape, reshape1\) has inputs that don't fit together; export"),
    "conv of a vector": (conv().add("Flatten").convolution(2, 2, 3), r"reads the shape \[1, 72\]; only images"),
    "vector as a map": (conv().add("GlobalAveragePool").convolution(8, 2, 1).add("Reshape", np.array([1, 2, 2, 2]))
                        .convolution(2, 2, 1), "reads a vector of 8 values as a map of 2x2x2"),
    "gemm": (conv().add("Flatten").add("Gemm", FLAT), r"has weights for 3 values and reads the shape \[1, 72\]"),
    "transA": (conv().add("Flatten").add("Gemm", FLAT, transA=1), "transposes its first input"),
    "constant first": (constant_first(),
                       "has a constant where its first input should be the result of another node"),
    "bounds": (conv().add("Clip", np.float32(np.nan)), "has bounds that aren't two numbers"),
    "softmax over frames": (conv().add("Softmax", axis=0), "works along the batch; give it the axis of the classes"),
    "softmax inside": (conv(3, 3, 3).add("Flatten").add("Softmax").add("Relu"), r"\(Relu, .*\) follows SOFTMAX, which"),
    "dropout": (conv().add("Dropout", np.float32(0.5), np.array(True)), "is in training mode"),
    "int32 weights": (small(weights=np.ones((3, 2, 1, 1), np.int32)),
                      "has int32 weights; supported are int8 and uint8"),
    "int16 weights": (small(weights=np.ones((3, 2, 1, 1), np.int16)),
                      "has int16 weights; supported are int8 and uint8"),
    "scale axis": (small(scale=[0.1, 0.2], axis=1), "has weight scales along another dimension than its output"),
    "scale count": (small(scale=[0.1, 0.2], axis=0), r"has scales of the shape \[2\] for values of \[3, 2, 1, 1\]"),
    "zero scale": (small(scale=0.0), "has a scale that isn't a positive number"),
    "nan scale": (small(scale=np.nan), "has a scale that isn't a positive number"),
    "int16": (start(kind=np.int16), "has int16 activations; quantise them to int8 or uint8"),
    "scales": (Graph("n", 2, 4, 4).add("QuantizeLinear", np.ones(2, np.float32), np.zeros(2, np.int8), axis=1),
               "has 2 scales and 2 zero points for activations, not one"),
    "other scale": (mismatched(), "has another scale or zero point than the QuantizeLinear before it"),
    "twice": (Graph("n", 2, 4, 4).add("QuantizeLinear", np.float32(1)).add("QuantizeLinear", np.float32(1)),
              "quantises integers"),
    "dequantised twice": (start().add("DequantizeLinear", np.float32(1), np.int8(0)), "dequantises real numbers"),
    "float weights": (qdq(start().convolution(2, 2, 1)), r"node 2 \(Conv, .*\) has float weights in a quantised model"),
    "weights alone": (quantised_weights(), "reads values that aren't quantised in a model where others are"),
    "partly": (partly_quantised(), "gives results that aren't quantised in a model where others are; quantise all"),
    "open end": (not_quantised_at_the_end(), "gives results that aren't quantised in a model where others are"),
    "bias overflow": (small(bias=np.array([1e9, 0, 0], np.float32)), "has a bias that doesn't fit 32 bits"),
    "overflow": (huge_bias(), r"node 3 \(Conv, sum\) can overflow its 32-bit accumulator in channel 1"),
}


@pytest.mark.parametrize("name", SENTENCES)
def test_refusals(read, tmp_path, name):
    content, sentence = SENTENCES[name]
    with pytest.raises(NetworkError, match=sentence) as caught:
        read(content)
    assert str(caught.value).startswith(f"{tmp_path / 'model.onnx'}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("shape", "given"), [
    (("n", 3, "height", "width"), (1, 3, 9, 8)), ((8, 3, 9, 8), (1, 3, 9, 8)), (("n", "c", 9, "w"), (1, 3, 9, 8))])
def test_the_shape_of_the_input_is_given(tmp_path, shape, given):
    graph = Graph(*shape).convolution(2, 3, 3).add("GlobalAveragePool").add("Flatten")
    (tmp_path / "model.onnx").write_bytes(graph.bytes())
    with pytest.raises(NetworkError, match=r"\(--input-shape 1,3,"):
        read_model(tmp_path / "model.onnx")
    network = read_model(tmp_path / "model.onnx", given)
    assert network.input_shape == (9, 8, 3)
    assert network.layers[1].kernel == (7, 6)


@pytest.mark.parametrize("given", [(1, 3, 9), (1, 4, 9, 8), (1, 3, 9, 8, 1)])
def test_another_shape_than_the_files_own_is_refused(tmp_path, given):
    (tmp_path / "model.onnx").write_bytes(Graph("n", 3, "h", 8).convolution(2, 3, 3).bytes())
    with pytest.raises(NetworkError, match=r"takes an input of the shape \[\?, 3, \?, 8\], which the input shape 1,"):
        read_model(tmp_path / "model.onnx", given)
    with pytest.raises(NetworkError, match=r"takes a batch of 2; export it with batch 1 or a dynamic one, or give "):
        read_model(tmp_path / "model.onnx", (2, 3, 9, 8))


def test_missing_file(tmp_path):
    with pytest.raises(NetworkError, match=r"can't be read \(No such file or directory\)"):
        read_onnx(tmp_path / "nothing.onnx")
    with pytest.raises(NetworkError, match="can't be read"):
        read_onnx(tmp_path)


def test_model_files(tmp_path):
    content = conv().bytes()
    (tmp_path / "model.ONNX").write_bytes(content)
    assert read_model(tmp_path / "model.ONNX").name == "model"
    (tmp_path / "model.bin").write_bytes(content)
    with pytest.raises(NetworkError, match=r"model\.bin: is of no supported format; give an \.onnx or a \.tflite file"):
        read_model(tmp_path / "model.bin")
    (tmp_path / "model.bin").write_bytes(b"\x08\0\0\0TFL3")
    with pytest.raises(NetworkError, match=r"model\.bin: says itself which shape its input has"):
        read_model(tmp_path / "model.bin", (1, 3, 8, 8))
    with pytest.raises(NetworkError, match=r"model\.bin: is damaged"):
        read_model(tmp_path / "model.bin")
    with pytest.raises(NetworkError, match="can't be read"):
        read_model(tmp_path / "nothing")


# ---- damage ----


@pytest.mark.parametrize("make", [lambda: torch(softmax=True), tf, lambda: legacy(folded=False), small])
def test_damaged_files_are_read_or_refused(read, make):
    content = make().bytes()
    random, refused = np.random.default_rng(1), 0
    for number in range(400):
        data = bytearray(content)
        if number % 4 == 0:
            del data[random.integers(len(data)):]
        else:
            # Names, numbers and lengths stand around the weights, which may hold anything.
            for place in random.integers(len(data), size=random.integers(1, 4 + number % 20)):
                data[place] = random.integers(256)
        try:
            read(bytes(data))
        except NetworkError:
            refused += 1
    assert refused > 100
