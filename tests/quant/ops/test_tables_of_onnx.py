# SPDX-License-Identifier: Apache-2.0
"""Functions of each value by itself in ONNX models: float ones and tables of all int8 values, against ONNX Runtime."""

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx_models import Graph, maps, quantised, run, step
from tepal.quant import NetworkError, quantize, read_onnx
from tepal.quant.lookup import FUNCTIONS, FloatLookup, Lookup
from tepal.sim import golden

PARAMETERS = {"LeakyRelu": {"alpha": 0.3}, "Elu": {"alpha": 0.7}, "HardSigmoid": {"alpha": 0.25, "beta": 0.4},
              "ThresholdedRelu": {"alpha": 0.3}, "Celu": {"alpha": 2.0}, "Gelu": {"approximate": "tanh"},
              "Selu": {"alpha": 1.5, "gamma": 1.1}}
POSITIVE = {"Log", "Sqrt"}


def function(name: str, **attributes) -> Callable[[Graph, str], str]:
    return lambda graph, value: graph.node(name, value, **attributes)


def silu(graph: Graph, value: str) -> str:
    return graph.node("Mul", value, graph.node("Sigmoid", value))


def hard_swish(graph: Graph, value: str) -> str:
    """As PyTorch writes it before HardSwish had a node: x * HardSigmoid(x)."""
    return graph.node("Mul", value, graph.node("HardSigmoid", value, alpha=1 / 6, beta=0.5))


def hard_swish_by_hand(graph: Graph, value: str) -> str:
    clipped = graph.node("Clip", graph.node("Add", value, np.float32(3)), np.float32(0), np.float32(6))
    return graph.node("Div", graph.node("Mul", value, clipped), np.float32(6))


def gelu_by_hand(graph: Graph, value: str) -> str:
    halves = graph.node("Erf", graph.node("Div", value, np.float32(2 ** 0.5)))
    return graph.node("Mul", graph.node("Mul", value, graph.node("Add", halves, np.float32(1))), np.float32(0.5))


def mish(graph: Graph, value: str) -> str:
    return graph.node("Mul", value, graph.node("Tanh", graph.node("Softplus", value)))


def square(graph: Graph, value: str) -> str:
    return graph.node("Add", graph.node("Mul", value, value), graph.node("Pow", value, np.float32(2)))


def negative_part(graph: Graph, value: str) -> str:
    return graph.node("Sub", value, graph.node("Relu", value))


CASES: dict[str, Callable[[Graph, str], str]] = {name: function(name) for name in FUNCTIONS}
CASES |= {f"{name} {values}": function(name, **values) for name, values in PARAMETERS.items()}
CASES |= {each.__name__: each for each in (silu, hard_swish, hard_swish_by_hand, gelu_by_hand, mish, square,
                                           negative_part)}
CASES["PRelu"] = lambda graph, value: graph.node("PRelu", value, np.full((2, 1, 1), 0.2, np.float32))
CASES["1 / x"] = lambda graph, value: graph.node("Div", np.float32(1.5), value)
NAMES = {"silu": "Silu", "hard_swish": "HardSwish", "hard_swish_by_hand": "HardSwish", "gelu_by_hand": "Gelu",
         "mish": "Mish", "Sigmoid": "Sigmoid"}


@pytest.fixture
def read(tmp_path):
    def read(graph: Graph):
        (tmp_path / "model.onnx").write_bytes(graph.bytes())
        return read_onnx(tmp_path / "model.onnx")
    return read


@pytest.mark.parametrize("name", CASES)
def test_float(read, name):
    graph = Graph("n", 3, 6, 5, opset=20).convolution(2, 3, 3)
    positive = name in POSITIVE or name in ("Reciprocal", "1 / x")
    graph.value = CASES[name](graph, graph.add("Clip", np.float32(0.01)).value if positive else graph.value)
    graph.convolution(2, 2, 1)
    network, batch = read(graph), np.random.default_rng(1).normal(size=(4, 3, 6, 5)).astype(np.float32) * 3
    (expected,) = run(graph.bytes(), batch)
    assert [type(layer).__name__ for layer in network.layers] == ["FloatConvolution", "FloatLookup", "FloatConvolution"]
    if name in NAMES:
        assert network.layers[1].function == NAMES[name]
    got = network.run(network.images(batch))
    assert np.abs(got - expected.transpose(0, 2, 3, 1).reshape(got.shape)).max() <= 2e-5 * np.abs(expected).max()


def codes_through(make: Callable[[Graph, str], str], zero_point: int, *, between: bool) -> Graph:
    """All int8 values as an image, through a pool of single values and a function; ``between`` quantises its parts."""
    graph = Graph(1, 2, 16, 16, opset=21)
    graph.value = qdq(graph, graph.value, 0.0371, zero_point)
    graph.add("MaxPool", kernel_shape=[1, 1])
    graph.value = qdq(graph, graph.value, 0.0371, zero_point)
    if between:
        graph.node = quantising(graph)
    value = make(graph, graph.value)
    if between:
        del graph.node
    graph.value = qdq(graph, value, 0.0293, -3)
    return graph


def qdq(graph: Graph, value: str, scale: float, zero_point: int) -> str:
    meaning = (np.float32(scale), np.int8(zero_point))
    return graph.node("DequantizeLinear", graph.node("QuantizeLinear", value, *meaning), *meaning)


def quantising(graph: Graph):
    """``graph.node`` with a pair of QuantizeLinear and DequantizeLinear behind each."""
    node = graph.node

    def both(operator, *inputs, **attributes):
        value = node(operator, *inputs, **attributes)
        meaning = (np.float32(0.0451), np.int8(5))
        return node("DequantizeLinear", node("QuantizeLinear", value, *meaning), *meaning)
    return both


SLOPES = np.array([[0.1, 0.7], [-0.3, 0.2], [0, 1.5], [0, -0.2]], np.float32)


@pytest.mark.parametrize("slopes", SLOPES, ids=str)
def test_a_slope_for_each_channel(read, slopes):
    graph = Graph("n", 3, 6, 5).convolution(2, 3, 3).add("PRelu", slopes.reshape(2, 1, 1)).convolution(2, 2, 1)
    network, batch = read(graph), np.random.default_rng(1).normal(size=(4, 3, 6, 5)).astype(np.float32)
    (expected,) = run(graph.bytes(), batch)
    (got,) = network.answer(network.run(network.images(batch)))
    assert np.abs(got - expected).max() <= 1e-5 * np.abs(expected).max()
    graph = codes_through(lambda graph, value: graph.node("PRelu", value, slopes.reshape(2, 1, 1)), 7, between=False)
    network = read(graph)
    codes = np.arange(-128, 128, dtype=np.int8).reshape(1, 16, 16, 1).repeat(2, axis=3)
    batch = (np.float32(0.0371) * (codes.astype(np.float32) - 7)).transpose(0, 3, 1, 2)
    (expected,) = run(graph.bytes(), batch)
    (got,) = network.answer(golden.run(network, codes))
    scale, zero_point = network.output_scale, network.output_zero_point
    assert np.abs(np.float32(scale) * (got.astype(float) - zero_point) - expected).max() <= 1.001 * scale


@pytest.mark.parametrize("between", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_every_int8_value(read, name, between):
    """0 off: a table is what ONNX Runtime computes in float32 between the nodes that quantise."""
    # Of a number that has no logarithm ONNX Runtime makes some integer.
    graph = codes_through(CASES[name], -128 if name in POSITIVE or name in ("Reciprocal", "1 / x") else 7,
                          between=between)
    network = read(graph)
    codes = np.arange(-128, 128, dtype=np.int8).reshape(1, 16, 16, 1).repeat(2, axis=3)
    zero_point = network.input_zero_point
    batch = (np.float32(0.0371) * (codes.astype(np.float32) - zero_point)).transpose(0, 3, 1, 2)
    layers = maps(onnx.load_from_string(graph.bytes()), network, batch)
    lookup = network.layers[-1]
    assert isinstance(lookup, Lookup)
    assert len(network.layers) == 2
    difference = np.abs(lookup.table.astype(int) - layers[-1][0, :, :, 0].ravel())
    if not between:
        assert difference.max() == 0
    # ONNX Runtime's own approximations of exp and tanh may fall on the other side of a middle that a part is rounded
    # at, and the rest of the function makes more of that.
    assert np.count_nonzero(difference) <= 2
    assert step(network, codes, [*layers[:1], lookup(layers[0])]) == 0


def test_quantised_by_onnx_runtime(tmp_path):
    graph = Graph("n", 3, 8, 8).convolution(4, 3, 3)
    graph.value = silu(graph, graph.value)
    graph.convolution(4, 4, 3).add("LeakyRelu", alpha=0.1)
    graph.value = hard_swish_by_hand(graph, graph.convolution(4, 4, 1).value)
    graph.add("GlobalAveragePool").add("Flatten").add("Gemm", graph.weights(4, 3))
    batch = np.random.default_rng(1).normal(size=(8, 3, 8, 8)).astype(np.float32)
    model = quantised(graph, tmp_path, batch)
    network = read_onnx(tmp_path / "quantised.onnx")
    assert sum(isinstance(layer, Lookup) for layer in network.layers) == 3
    codes = network.quantise_input(batch.transpose(0, 2, 3, 1))
    assert step(network, codes, maps(model, network, batch)) <= 1


def test_quantised_here(read):
    graph = Graph("n", 3, 8, 8).convolution(4, 3, 3)
    graph.value = silu(graph, graph.value)
    network = read(graph.convolution(4, 4, 3).add("Tanh"))
    batch = np.random.default_rng(1).normal(size=(16, 3, 8, 8)).astype(np.float32)
    result = quantize(network, batch)
    assert isinstance(network.layers[1], FloatLookup)
    assert [layer.function for layer in result.network.layers if isinstance(layer, Lookup)] == ["Silu", "Tanh"]
    wanted = network.run(network.images(batch))
    last, x = result.network.layers[-1], result.network.quantise_input(network.images(batch))
    for layer in result.network.layers:
        x = layer(x)
    got = last.output_scale * (x.astype(np.float32) - last.output_zero_point).reshape(wanted.shape)
    assert np.abs(got - wanted).max() < 0.1


def two_maps(operator: str) -> Graph:
    graph = Graph("n", 3, 6, 5).convolution(2, 3, 3)
    first = graph.value
    graph.convolution(2, 2, 1)
    return graph.add(operator, first)


def real_between() -> Graph:
    graph = Graph("n", 2, 4, 4)
    graph.value = qdq(graph, graph.value, 0.1, 0)
    kernel = graph.node("DequantizeLinear", np.ones((2, 2, 1, 1), np.int8), np.float32(0.1))
    graph.add("Conv", kernel).add("Sigmoid")
    graph.value = qdq(graph, graph.value, 0.1, 0)
    return graph


REFUSED = {
    "squeeze-and-excitation": (two_maps("Mul"), r"node 2 \(Mul, mul2\) multiplies two maps, as squeeze-and-excitation"),
    "division": (two_maps("Div"), r"node 2 \(Div, div2\) divides one map by another"),
    "exponents": (Graph("n", 2, 6, 5).convolution(2, 2, 3).add("Pow", np.ones((2, 1, 1), np.float32)),
                  r"node 1 \(Pow, pow1\) has more than one exponent"),
    "dividends": (Graph("n", 2, 6, 5).convolution(2, 2, 3).add("Div", np.ones((2, 1, 1), np.float32), first=False),
                  "divides several constants by a map"),
    "real numbers": (real_between(), r"node 4 \(Sigmoid, sigmoid4\) works on real numbers that aren't quantised"),
    "nan": (codes_through(CASES["Log"], 7, between=False), r"layer 1 \(log5, Log\) gives NaN for -5.0085, which its"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals(read, name):
    graph, sentence = REFUSED[name]
    with pytest.raises(NetworkError, match=sentence):
        read(graph)
