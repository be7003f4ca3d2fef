# SPDX-License-Identifier: Apache-2.0
"""ONNX models that are no chains: residual connections, branches, several outputs, constants anywhere; against ONNX
Runtime."""

import numpy as np
import onnx
import pytest
from models import require_case
from onnx import TensorProto
from onnx_models import Graph, maps, quantised, random_graph, run, step
from onnxruntime.quantization import QuantType
from tepal.quant import FloatNetwork, Network, NetworkError, read_model, read_onnx
from tepal.quant.weighted import Weighted
from tepal.sim import golden


@pytest.fixture
def read(tmp_path):
    """Graph, or bytes of a file, to its network."""
    def read(content: Graph | bytes):
        path = tmp_path / "model.onnx"
        path.write_bytes(content.bytes() if isinstance(content, Graph) else content)
        return read_onnx(path)
    return read


def images(shape: tuple[int, ...], count: int = 4) -> np.ndarray:
    return np.random.default_rng(1).normal(size=(count, *shape)).astype(np.float32)


def shape_of(graph: Graph) -> tuple[int, ...]:
    return tuple(dim.dim_value for dim in graph.input.type.tensor_type.shape.dim[1:])


def flat(values: list[np.ndarray]) -> np.ndarray:
    """ONNX Runtime's outputs in the order of a network's results, one behind the other."""
    return np.concatenate([(value.transpose(0, 2, 3, 1) if value.ndim == 4 else value).reshape(len(value), -1)
                           for value in values], axis=1)


def check(read, graph: Graph) -> FloatNetwork:
    """The network of ``graph``, whose outputs stand in the order of execution, which ONNX Runtime agrees with."""
    network, batch = read(graph), images(shape_of(graph))
    assert isinstance(network, FloatNetwork)
    expected = flat(run(graph.bytes(), batch))
    assert np.abs(network.run(network.images(batch)) - expected).max() <= 1e-5 * np.abs(expected).max()
    return network


def kinds(network) -> list[str]:
    return [type(layer).__name__.removeprefix("Float") for layer in network.layers]


def residual(graph: Graph, channels: int, *, relu: bool = True) -> Graph:
    """conv, ReLU, conv, plus what was before."""
    before = graph.value
    graph.convolution(channels, channels, 3, pads=[1] * 4).add("Relu").convolution(channels, channels, 1)
    graph.add("Add", before)
    return graph.add("Relu") if relu else graph


# ---- float ----


def test_residual(read):
    network = check(read, residual(Graph("n", 3, 6, 7).convolution(4, 3, 1).add("Relu"), 4))
    assert kinds(network) == ["Convolution", "Convolution", "Convolution", "Add"]
    assert network.sources == ((-1,), (0,), (1,), (2, 0))
    assert [layer.inputs for layer in network.layers] == [(), (), (), (2, 0)]
    assert network.layers[3].minimum == 0


def test_projection(read):
    """A shortcut through a convolution, the sum read twice."""
    graph = Graph("n", 3, 8, 8).convolution(4, 3, 3)
    before = graph.value
    graph.convolution(6, 4, 3, strides=[2, 2], pads=[1] * 4).batch_norm(6).add("Relu")
    long, graph.value = graph.value, before
    graph.convolution(6, 4, 1, strides=[2, 2]).batch_norm(6)
    graph.add("Add", long, first=False).add("Relu")
    residual(graph, 6, relu=False).add("GlobalAveragePool").add("Flatten").add("Gemm", graph.weights(6, 3))
    network = check(read, graph)
    assert kinds(network).count("Add") == 2
    assert len(network.layers) == 9


def test_the_image_is_added_to_itself_and_to_a_layer(read):
    graph = Graph("n", 3, 5, 5)
    graph.convolution(3, 3, 3, pads=[1] * 4).add("Add", "image")
    graph.add("Add", graph.value)
    assert check(read, graph).sources == ((-1,), (0, -1), (1, 1))


def test_a_result_that_two_read_takes_up_nothing(read):
    """Clamps and batch norm become layers of their own where another one reads what they change."""
    graph = Graph("n", 3, 6, 6).convolution(4, 3, 1)
    before = graph.value
    graph.add("Relu").convolution(4, 4, 3, pads=[1] * 4).add("Add", before)
    assert kinds(check(read, graph)) == ["Convolution", "Lookup", "Convolution", "Add"]
    graph = Graph("n", 3, 6, 6).convolution(4, 3, 1)
    before = graph.value
    graph.batch_norm(4).add("Relu").add("Add", before)
    assert kinds(check(read, graph)) == ["Convolution", "Depthwise", "Add"]


def test_several_outputs_and_what_none_needs(read):
    graph = Graph("n", 3, 8, 8).convolution(4, 3, 3).add("Relu", output="first")
    graph.convolution(5, 4, 3, output="boxes").add("Exp")
    graph.value = "first"
    graph.convolution(2, 4, 1).add("GlobalAveragePool").add("Flatten", output="classes")
    graph.outputs = ["boxes", "classes"]
    network = check(read, graph)
    assert network.outputs == (1, 3)
    assert network.output_shapes == ((4, 4, 5), (1, 1, 2))
    graph.outputs = ["classes"]
    assert not any(layer.inputs for layer in check(read, graph).layers)
    # The shape of what isn't needed is.
    shape = graph.node("Shape", "boxes")
    graph.value = "first"
    graph.add("Flatten").add("Gemm", graph.weights(144, 3))
    size = graph.node("Slice", shape, np.array([0]), np.array([1]), np.array([0]))
    graph.add("Reshape", graph.node("Concat", size, np.array([-1]), axis=0))
    graph.outputs = []
    assert kinds(read(graph)) == ["Convolution", "Convolution"]


@pytest.mark.parametrize("seed", range(60))
def test_random_graphs(read, seed):
    graph = random_graph(seed)
    network, batch = read(graph), images(shape_of(graph))
    expected = run(graph.bytes(), batch)
    got = network.trace(network.images(batch), lambda number, x: None)
    # Outputs stand in the order of execution; one that reads nothing new may be that of another name.
    for value in expected:
        wanted = value.transpose(0, 2, 3, 1)
        assert min(np.abs(each - wanted).max() for each in got) <= 1e-5 * max(1, np.abs(wanted).max())


@pytest.mark.parametrize("channels_last", [False, True])
def test_concatenation(read, channels_last):
    graph = Graph("n", 3, 6, 5).convolution(4, 3, 1)
    ends = [graph.value, graph.node("MaxPool", graph.value, kernel_shape=[3, 3], pads=[1] * 4)]
    graph.convolution(2, 4, 1)
    ends.append(graph.value)
    if channels_last:
        ends = [graph.node("Transpose", end, perm=[0, 2, 3, 1]) for end in ends]
    graph.value = graph.node("Concat", *ends, axis=3 if channels_last else 1)
    if channels_last:
        graph.add("Transpose", perm=[0, 3, 1, 2])
    network = check(read, graph.add("Relu").convolution(3, 10, 3))
    assert kinds(network) == ["Convolution", "MaxPool", "Convolution", "Concatenation", "Convolution"]
    assert network.layers[3].channels == (4, 4, 2)
    assert network.layers[3].minimum == 0


def test_heads_that_are_put_together_at_the_end_are_outputs_of_their_own(read, tmp_path):
    """As SSD detectors end: boxes of two maps of different sizes in one list."""
    graph, parts = Graph("n", 3, 10, 10).convolution(4, 3, 3).add("Relu"), []
    for _ in range(2):
        before = graph.value
        graph.convolution(8, 4, 1).add("Transpose", perm=[0, 2, 3, 1]).add("Reshape", np.array([1, -1, 4]))
        parts.append(graph.value)
        graph.value = before
        graph.convolution(4, 4, 3, strides=[2, 2]).add("Relu")
    graph.value = graph.node("Concat", *parts, axis=1)
    network, batch = read(graph), images((3, 10, 10))
    assert network.output_shapes == ((8, 8, 8), (3, 3, 8))
    (expected,) = run(graph.bytes(), batch)
    assert np.abs(network.run(network.images(batch)) - expected.reshape(4, -1)).max() <= 1e-5 * np.abs(expected).max()
    quantised(graph, tmp_path, batch)
    assert read_onnx(tmp_path / "quantised.onnx").output_shapes == ((8, 8, 8), (3, 3, 8))
    (got,) = network.answer(network.run(network.images(batch)))
    assert got.shape == expected.shape
    with pytest.raises(NetworkError, match=r"\(Gemm, .*\) computes with maps of different heights and widths that"):
        read(graph.add("Flatten").add("Gemm", np.ones((3, 2), np.float32)))


# ---- constants anywhere ----


@pytest.mark.parametrize(("name", "layers"), [
    ("bn_first.onnx", 4), ("bn_after_relu.onnx", 5), ("bn_after_gap.onnx", 3)])
def test_batch_norm_anywhere(name, layers):
    path = require_case(name)
    network, batch = read_model(path), np.load(require_case("bn_x.npy"))
    assert len(network.layers) == layers
    expected = flat(run(path.read_bytes(), batch))
    assert np.abs(network.run(network.images(batch)) - expected).max() <= 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("channels_first", [False, True])
def test_normalisation_in_front(read, channels_first, padded):
    """(x / 255 - mean) / std, in either order of the image's dimensions; where zeros stand around the result the
    offset can't become part of the convolution."""
    numbers = np.array([0.1, -0.2, 0.3], np.float32)
    if channels_first:
        graph = Graph("n", 3, 7, 6).add("Div", np.float32(255)).add("Sub", numbers[:, None, None])
        graph.add("Mul", (1 + numbers)[:, None, None])
    else:
        graph = Graph("n", 7, 6, 3).add("Mul", np.float32(1 / 255)).add("Sub", numbers).add("Div", 1 - numbers)
        graph.add("Transpose", perm=[0, 3, 1, 2])
    graph.convolution(4, 3, 3, pads=[int(padded)] * 4).add("Relu")
    network = check(read, graph)
    assert kinds(network) == ["Depthwise"] * padded + ["Convolution"]
    assert network.channels_first == channels_first


def test_a_constant_minus_a_map(read):
    assert kinds(check(read, Graph("n", 3, 5, 5).convolution(2, 3, 1).add("Sub", np.float32(3), first=False))) == [
        "Convolution"]


# ---- other windows ----


@pytest.mark.parametrize(("before", "channels", "group"), [(4, 6, 2), (6, 6, 3), (4, 8, 4), (4, 4, 4), (3, 5, 1)])
@pytest.mark.parametrize("dilations", [[1, 1], [2, 3]])
def test_groups_and_dilations(read, tmp_path, before, channels, group, dilations):
    graph = Graph("n", 3, 12, 13).convolution(before, 3, 1).add("Relu")
    graph.convolution(channels, before, 3, group=group, dilations=dilations, pads=[1, 2, 1, 2], strides=[1, 2])
    check(read, graph)
    exact(tmp_path, graph)


def line(channels_first: bool, *, pads: list[int], group: int) -> Graph:
    """1-D convolutions and pools, [channels, length] or [length, channels]."""
    graph = Graph("n", 4, 23) if channels_first else Graph("n", 23, 4).add("Transpose", perm=[0, 2, 1])
    graph.add("Conv", graph.weights(6, 4, 5), graph.weights(6), strides=[2], pads=pads).add("Relu")
    graph.add("Conv", graph.weights(6, 6 // group, 3), dilations=[2], group=group).batch_norm(6)
    graph.add("MaxPool", kernel_shape=[2], strides=[1]).add("AveragePool", kernel_shape=[2])
    return graph.add("GlobalAveragePool").add("Flatten").add("Gemm", graph.weights(6, 3))


@pytest.mark.parametrize("group", [1, 2, 6])
@pytest.mark.parametrize("channels_first", [True, False])
def test_windows_along_one_dimension(read, channels_first, group):
    network = check(read, line(channels_first, pads=[2, 1], group=group))
    assert network.input_shape == (1, 23, 4)
    assert network.channels_first == channels_first


@pytest.mark.parametrize("axis", [1, 3])
def test_time_and_features(read, axis):
    graph = Graph("n", 9, 7, opset=18).add("Unsqueeze", np.array([axis]))
    if axis == 3:
        graph.add("Transpose", perm=[0, 3, 1, 2])
    graph.convolution(3, 1, 3).add("ReduceMean", np.array([2, 3]), keepdims=0)
    assert check(read, graph).input_shape == (9, 7, 1)


def test_a_line_as_the_result(read):
    graph = Graph("n", 4, 9)
    network = read(graph.add("Conv", graph.weights(2, 4, 3)))
    (expected,) = run(graph.bytes(), images((4, 9)))
    got = network.run(network.images(images((4, 9))))
    assert np.allclose(got, expected.transpose(0, 2, 1).reshape(4, -1), atol=1e-5)


# ---- quantised ----


QUANTISERS = {
    "int8": {},
    "uint8 activations": {"activations": QuantType.QUInt8},
    "symmetric": {"ActivationSymmetric": True, "per_channel": False},
    "dedicated pairs": {"DedicatedQDQPair": True},
    "uint8 weights with zero points": {"activations": QuantType.QUInt8, "weights": QuantType.QUInt8,
                                       "per_channel": False},
    "int8 weights with zero points": {"WeightSymmetric": False, "per_channel": False},
}


def exact(folder, graph: Graph, **options) -> Network:
    """The network of ``graph`` by ONNX Runtime's quantiser; every map of it is ONNX Runtime's within one step."""
    batch = images(shape_of(graph), 8)
    model = quantised(graph, folder, batch, **options)
    network = read_onnx(folder / "quantised.onnx")
    assert isinstance(network, Network)
    codes = network.quantise_input(batch.transpose(0, 2, 3, 1))
    assert step(network, codes, maps(model, network, batch)) <= 1
    assert len(golden.run(network, codes)) == 8
    return network


@pytest.mark.parametrize("quantiser", QUANTISERS)
def test_quantised_residuals(tmp_path, quantiser):
    graph = residual(residual(Graph("n", 3, 6, 7).convolution(4, 3, 3).add("Relu"), 4), 4, relu=False)
    graph.add("GlobalAveragePool").add("Flatten").add("Gemm", graph.weights(4, 5))
    network = exact(tmp_path, graph, **QUANTISERS[quantiser])
    assert kinds(network).count("Add") == 2
    assert ("zero points" in quantiser) == any(np.any(layer.weight_zero_point) for layer in network.layers
                                               if isinstance(layer, Weighted))


@pytest.mark.parametrize("seed", range(24))
def test_random_quantised_graphs(tmp_path, seed):
    # ONNX Runtime quantises no Sub, no Div and no Tanh.
    exact(tmp_path, random_graph(seed, ("Mul", "Add"), ("Sigmoid", "LeakyRelu")))


def qdq(graph: Graph, value: str, scale: float = 0.05, zero_point: int = 3) -> str:
    meaning = (np.float32(scale), np.int8(zero_point))
    return graph.node("DequantizeLinear", graph.node("QuantizeLinear", value, *meaning), *meaning)


def test_every_sum_of_two_values_is_onnx_runtimes(read):
    """All pairs of int8 values, with scales that make no ties."""
    graph = Graph("n", 2, 256, 256)
    graph.value = qdq(graph, graph.value, 0.05, 0)
    kernels = np.array([[[[1]], [[0]]], [[[0]], [[1]]]], np.int8)
    ends = [qdq(graph, graph.node("Conv", graph.value, graph.node("DequantizeLinear", kernel[None], np.float32(0.5))),
                0.025, zero_point) for kernel, zero_point in zip(kernels, (5, -7), strict=True)]
    graph.value = graph.node("Relu", graph.node("Add", *ends))
    value = graph.value
    graph.value = qdq(graph, value, 0.0371, -128)
    network = read(graph)
    codes = np.stack(np.meshgrid(*[np.arange(-128, 128)] * 2), axis=-1).astype(np.int8)[None]
    batch = (np.float32(0.05) * codes.astype(np.float32)).transpose(0, 3, 1, 2)
    got = maps(onnx.load_from_string(graph.bytes()), network, batch)
    assert step(network, codes, got) == 0


def test_one_value_quantised_in_two_ways(read):
    """The layer that gives it runs twice, for the real numbers between are never stored."""
    graph = Graph("n", 2, 4, 4)
    graph.value = qdq(graph, graph.value, 0.05, 0)
    kernel = graph.node("DequantizeLinear", np.arange(4).reshape(2, 2, 1, 1).astype(np.int8), np.float32(0.25))
    graph.add("Conv", kernel, output="sum")
    fine, coarse, other = (qdq(graph, value, scale) for value, scale in (
        ("sum", 0.0113), (graph.node("Relu", "sum"), 0.0971), ("sum", 0.0113)))
    graph.value = qdq(graph, graph.node("Add", fine, coarse, output="total"), 0.0834)
    graph.value = qdq(graph, graph.node("Add", graph.value, other, output="whole"), 0.0712)
    network = read(graph)
    assert kinds(network) == ["Convolution", "Convolution", "Add", "Add"]
    assert network.sources == ((-1,), (-1,), (1, 0), (2, 1))
    batch = images((2, 4, 4))
    codes = network.quantise_input(batch.transpose(0, 2, 3, 1))
    assert step(network, codes, maps(onnx.load_from_string(graph.bytes()), network, batch)) <= 1


def test_factors_behind_quantised_layers(read):
    """Batch norm and a factor between a quantised convolution and the node that quantises its result."""
    graph = Graph("n", 2, 4, 4)
    graph.value = qdq(graph, graph.value, 0.05, 0)
    kernel = graph.node("DequantizeLinear", np.arange(6).reshape(3, 2, 1, 1).astype(np.int8), np.float32(0.25))
    graph.add("Conv", kernel).batch_norm(3).add("Mul", np.array([-1.5, 2, 0], np.float32).reshape(3, 1, 1))
    graph.value = qdq(graph, graph.add("Relu").value, 0.1)
    network, batch = read(graph), images((2, 4, 4))
    assert kinds(network) == ["Convolution"]
    codes = network.quantise_input(batch.transpose(0, 2, 3, 1))
    assert step(network, codes, maps(onnx.load_from_string(graph.bytes()), network, batch)) <= 1


# ---- at the end ----


@pytest.mark.parametrize("operator", ["LogSoftmax", "ArgMax"])
def test_what_comes_at_the_end_stays_off_the_chip(read, operator):
    graph = Graph("n", 2, 4, 4)
    graph.value = qdq(graph, graph.value, 0.05, 0)
    kernel = np.arange(96).reshape(3, 2, 4, 4).astype(np.int8)
    graph.add("Conv", graph.node("DequantizeLinear", kernel, np.float32(0.01)))
    graph.value = qdq(graph, graph.add("Flatten").value, 0.1, 3)
    graph.add(operator, axis=1, **({"keepdims": 0} if operator == "ArgMax" else {}))
    graph.kind = TensorProto.INT64 if operator == "ArgMax" else TensorProto.FLOAT
    network, batch = read(graph), images((2, 4, 4))
    assert kinds(network) == ["Convolution"]
    (expected,) = run(graph.bytes(), batch)
    (got,) = network.answer(golden.run(network, network.quantise_input(batch.transpose(0, 2, 3, 1))))
    assert got.dtype == expected.dtype
    assert np.allclose(got, expected, rtol=0, atol=1e-5)
    with pytest.raises(NetworkError, match=r"\(Relu, .*\) follows (LOG_SOFTMAX|ARG_MAX), which is only supported"):
        read(graph.add("Relu"))


def test_the_class_of_a_float_model_is_left_to_the_host(read):
    graph = Graph("n", 3, 4, 4).convolution(5, 3, 4).add("Flatten")
    assert not read(graph.add("ArgMax", axis=1)).softmax


# ---- what is refused ----


def conv() -> Graph:
    return Graph("n", 3, 6, 6).convolution(2, 3, 3)


def cycle() -> bytes:
    model = conv().add("Relu").add("Relu").model()
    model.graph.node[1].input[0] = model.graph.node[2].output[0]
    return model.SerializeToString()


def ends(*names: str) -> Graph:
    graph = conv()
    graph.outputs = list(names)
    return graph


def constant_output() -> Graph:
    graph = ends("conv0", "constant1")
    graph.node("Constant", value=onnx.numpy_helper.from_array(np.float32(1)))
    return graph


def other_shape() -> Graph:
    graph = conv()
    before = graph.value
    return graph.add("MaxPool", kernel_shape=[2, 2]).add("Add", before)


def other_concat() -> Graph:
    graph = conv()
    before = graph.value
    return graph.add("MaxPool", kernel_shape=[2, 2]).add("Concat", before, axis=1)


def other_order() -> Graph:
    graph = conv()
    before = graph.value
    return graph.add("Transpose", perm=[0, 1, 3, 2]).add("Add", before)


def by_channel_sum() -> Graph:
    graph = conv()
    before = graph.value
    return graph.add("GlobalAveragePool").add("Add", before)


def large_negative() -> Graph:
    graph = Graph("n", 1, 4, 4)
    graph.value = qdq(graph, graph.value, 0.05, 0)
    graph.add("Conv", graph.node("DequantizeLinear", np.full((1, 1, 1, 1), -128, np.int8), np.float32(0.25)))
    graph.value = qdq(graph, graph.add("Mul", np.float32(-1)).value)
    return graph


def softmax_of_several() -> Graph:
    graph = ends("conv0", "classes")
    return graph.add("Flatten").add("Gemm", graph.weights(32, 3)).add("Softmax", output="classes")


def real_between() -> Graph:
    graph = Graph("n", 2, 4, 4)
    graph.value = qdq(graph, graph.value, 0.05, 0)
    graph.add("GlobalAveragePool").add("Mul", np.float32(2))
    graph.value = qdq(graph, graph.value)
    return graph


def two_starts() -> Graph:
    graph = Graph("n", 2, 4, 4)
    graph.value = graph.node("Add", qdq(graph, "image", 0.1), qdq(graph, "image", 0.2))
    return graph


SENTENCES = {
    "cycle": (cycle(), r"node 1 \(Relu, relu1\) reads relu2, which only it or a node behind it gives: the nodes form "),
    "dangling": (conv().add("Add", "nothing"), r"node 1 \(Add, add1\) reads nothing, which no node before it gives"),
    "nobody's output": (ends("nothing", "conv0"), "gives nothing, which no node makes; export it again"),
    "constant output": (constant_output(), "gives constant1, which is constant; leave that output out"),
    "image as output": (ends("image", "conv0"), "gives image, which is the image itself; leave that output out"),
    "shapes": (other_shape(), r"node 2 \(Add, add2\) takes a map of the shape \[1, 2, 3, 3\] and one of "),
    "orders": (other_order(), r"node 2 \(Add, add2\) takes maps that hold their values in different orders"),
    "broadcast": (by_channel_sum(), r"takes a map of the shape \[1, 2, 1, 1\] and one of \[1, 2, 4, 4\]; only maps of"),
    "-128": (large_negative(), r"node 3 \(Conv, conv3\) has weights of -128 that a factor behind it makes 128"),
    "real numbers between": (real_between(), r"node 3 \(Mul, mul3\) works on real numbers before they are quantised"),
    "two starts": (two_starts(), r"node 2 \(QuantizeLinear, .*\) gives the images another scale or zero point than"),
    "concatenation": (other_concat(), r"node 2 \(Concat, concat2\) puts together maps of the shapes "),
    "constants in it": (conv().add("Concat", np.ones((1, 2, 4, 4), np.float32), axis=1),
                        r"node 1 \(Concat, concat1\) puts constants beside maps"),
    "division": (conv().add("Div", np.zeros((2, 1, 1), np.float32)), r"node 1 \(Div, div1\) divides by 0"),
    "nan factor": (conv().add("Mul", np.float32(np.nan)), "has values that differ from pixel to pixel, or aren't"),
    "front by pixel": (Graph("n", 3, 2, 2).add("Mul", np.arange(12, dtype=np.float32).reshape(3, 2, 2))
                       .convolution(1, 3, 1), "has values that differ from pixel to pixel"),
}


@pytest.mark.parametrize("name", SENTENCES)
def test_refusals(read, tmp_path, name):
    content, sentence = SENTENCES[name]
    with pytest.raises(NetworkError, match=sentence) as caught:
        read(content)
    assert str(caught.value).startswith(f"{tmp_path / 'model.onnx'}: ")
    assert "\n" not in str(caught.value)
