# SPDX-License-Identifier: Apache-2.0
"""Max pooling: LiteRT's bytes, ONNX Runtime's numbers, and nothing lost between the formats."""

import numpy as np
import pytest
from litert import reference
from models import require_model
from networks import fast
from onnx_models import Graph, maps, quantised, real, run, step
from tepal.quant import (
    FloatNetwork,
    Network,
    NetworkError,
    implausible,
    quantize,
    read_onnx,
    simplify,
    write_onnx,
)
from tepal.quant.ops.max_pool import FloatMaxPool, MaxPool
from tepal.sim import golden
from tflite_writer import Chain, FloatChain

ACTIVATIONS = ["NONE", "RELU", "RELU6", "RELU_N1_TO_1"]


def pooled(chain: Chain, rng: np.random.Generator) -> Chain:
    """Any window and stride, with either padding and any activation."""
    height, width = chain.tensor.shape[1:3]
    window = int(rng.integers(1, height + 1)), int(rng.integers(1, width + 1))
    return chain.max_pool(window, stride=tuple(int(step) for step in rng.integers(1, 4, 2)),
                          padding=str(rng.choice(["SAME", "VALID"])), activation=str(rng.choice(ACTIVATIONS)))


# ---- TensorFlow Lite ----


@pytest.mark.parametrize("seed", fast(range(60), 20))
def test_integers_are_those_of_litert(read, seed):
    rng = np.random.default_rng(seed)
    chain = Chain(*(int(size) for size in rng.integers(1, 9, 3)), scale=0.05, zero_point=int(rng.integers(-128, 128)))
    content = pooled(pooled(chain, rng), rng).write()
    network = read(content)
    assert [type(layer) for layer in network.layers] == [MaxPool, MaxPool]
    images = rng.integers(-128, 128, (5, *network.input_shape), np.int8)
    tensors = reference(content, images)
    for layer, got in zip(network.layers, golden.run(network, images, layers=True), strict=True):
        assert np.array_equal(got, tensors[layer.tensor])


def test_floats_are_those_of_litert(read):
    rng = np.random.default_rng(0)
    for _ in range(10):
        content = pooled(FloatChain(7, 6, 3), rng).write()
        network = read(content)
        assert [type(layer) for layer in network.layers] == [FloatMaxPool]
        images = rng.normal(size=(2, 7, 6, 3)).astype(np.float32)
        assert np.array_equal(network.run(images).ravel(), reference(content, images)[network.layers[0].tensor].ravel())


@pytest.mark.parametrize("kind", [Chain, FloatChain])
@pytest.mark.parametrize("pads", [(1, 1, 1, 1), (0, 1, 2, 0)])
def test_zeros_behind_a_relu_are_no_largest_values(read, kind, pads):
    """As ResNets are converted: a PAD that a window without padding reads."""
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(3, 1, 1, 2)) if kind is FloatChain else rng.integers(-128, 128, (3, 1, 1, 2))
    chain = kind(7, 6, 2).convolution(weights, np.zeros(3), activation="RELU",
                                      **({} if kind is FloatChain else {"scale": 0.1, "zero_point": -20}))
    like = {} if kind is FloatChain else {"scale": 0.1, "zero_point": -20}
    chain.pad(*pads)
    chain.tensor.scale, chain.tensor.zero_point = like.get("scale"), like.get("zero_point", 0)
    content = chain.max_pool((3, 3), stride=(2, 2)).write()
    network = read(content)
    images = rng.normal(size=(4, 7, 6, 2)).astype(np.float32) if kind is FloatChain else \
        rng.integers(-128, 128, (4, 7, 6, 2), np.int8)
    tensors = reference(content, images)
    got = network.run(images) if isinstance(network, FloatNetwork) else golden.run(network, images)
    assert np.allclose(got, tensors[network.layers[-1].tensor].reshape(got.shape), atol=1e-5)


def test_published_model(read):
    """Every tensor of a network with two of them."""
    content = (require_model("linefollower_dsep_int8") / "model.tflite").read_bytes()
    network = read(content)
    assert sum(isinstance(layer, MaxPool) for layer in network.layers) == 2
    images = np.random.default_rng(0).integers(-128, 128, (8, *network.input_shape), np.int8)
    tensors = reference(content, images)
    for layer, got in zip(network.layers, golden.run(network, images, layers=True), strict=True):
        assert np.array_equal(got, tensors[layer.tensor].reshape(got.shape)), layer.name


@pytest.mark.parametrize(("chain", "message"), [
    (Chain(6, 6, 2).append("MAX_POOL_2D", (1, 5, 5, 2), StrideH=1, StrideW=1, FilterHeight=0, FilterWidth=2),
     r"operator 0 \(MAX_POOL_2D\) has a window of 0x2"),
    (Chain(6, 6, 2).max_pool((2, 2)).change(max_pool_2d_0__scale=0.1), "changes the scale or the zero point"),
    (Chain(6, 6, 2).pad(1, 1, 1, 1).max_pool((3, 3)), "follows a PAD whose zeros may be the largest values of a w"),
    (FloatChain(6, 6, 2).pad(1, 1, 1, 1).max_pool((3, 3)), "follows a PAD whose zeros may be the largest values of a"),
    (Chain(6, 6, 2, zero_point=-128).pad(3, 0, 0, 0).max_pool((3, 3)), "follows a PAD whose zeros may be the largest"),
    (Chain(2, 2, 2).append("MAX_POOL_2D", (1, 1, 1, 2), StrideH=1, StrideW=1, FilterHeight=3, FilterWidth=3,
                           Padding="VALID"), "has a window of 3x3, larger than its input of 2x2"),
    (Chain(4, 4, 2).append("MAX_POOL_2D", (1, 4, 4, 2), StrideH=0, StrideW=1, FilterHeight=3, FilterWidth=3),
     r"has the stride \(0, 1\)"),
])
def test_refusals(read, chain, message):
    with pytest.raises(NetworkError, match=message):
        read(chain.write())


# ---- ONNX ----


def graph(shape=(3, 9, 8), **how) -> Graph:
    return Graph("n", *shape).convolution(4, shape[0], 3).add("Relu").add("MaxPool", **how)


WINDOWS = [{"kernel_shape": [2, 2], "strides": [2, 2]}, {"kernel_shape": [3, 2], "pads": [1, 0, 2, 1]},
           {"kernel_shape": [3, 3], "strides": [2, 1], "auto_pad": "SAME_LOWER"}, {"kernel_shape": [5, 1]}]


@pytest.fixture
def read_graph(tmp_path):
    def read_graph(content: bytes):
        (tmp_path / "model.onnx").write_bytes(content)
        return read_onnx(tmp_path / "model.onnx")
    return read_graph


@pytest.mark.parametrize("how", WINDOWS)
def test_onnx_floats(read_graph, how):
    content = graph(**how).bytes()
    network = read_graph(content)
    images = np.random.default_rng(1).normal(size=(3, 3, 9, 8)).astype(np.float32)
    (expected,) = run(content, images)
    got = network.run(network.images(images))
    assert np.abs(got - expected.transpose(0, 2, 3, 1).reshape(got.shape)).max() < 1e-5


def test_global_max_pool(read_graph):
    content = Graph("n", 3, 9, 8).convolution(4, 3, 3).add("GlobalMaxPool").bytes()
    network = read_graph(content)
    assert network.layers[1].kernel == network.layers[1].input_shape[:2]
    images = np.random.default_rng(1).normal(size=(3, 3, 9, 8)).astype(np.float32)
    (expected,) = run(content, images)
    assert np.abs(network.run(network.images(images)) - expected.reshape(3, -1)).max() < 1e-5


@pytest.mark.parametrize("how", WINDOWS)
def test_quantised_onnx(read_graph, tmp_path, how):
    """Of what ONNX Runtime's own quantiser makes: its numbers; a convolution may round otherwise, a pool does not."""
    images = np.random.default_rng(1).normal(size=(6, 3, 9, 8)).astype(np.float32)
    model = quantised(graph(**how), tmp_path, images)
    network = read_graph(model.SerializeToString())
    assert any(isinstance(layer, MaxPool) for layer in network.layers)
    codes = network.quantise_input(images)
    layers = maps(model, network, real(network, codes))
    assert step(network, codes, layers) <= 1
    assert np.array_equal(network.layers[-1](layers[-2]), layers[-1])


@pytest.mark.parametrize(("content", "message"), [
    (graph(kernel_shape=[2, 2], pads=[2, 0, 0, 0]), "pads by as much as its window of 2x2"),
    (graph(kernel_shape=[2, 2], dilations=[2, 2]), "is dilated"),
    (graph(kernel_shape=[4, 4], strides=[4, 4], ceil_mode=1), "reach over the edge"),
    (Graph("n", 3, 9, 8).add("Pad", np.array([0, 0, 1, 1, 0, 0, 1, 1])).add("MaxPool", kernel_shape=[2, 2]),
     "padding is only supported"),
])
def test_onnx_refusals(read_graph, content, message):
    with pytest.raises(NetworkError, match=message):
        read_graph(content.bytes())


def test_places_of_the_largest_are_refused(read_graph):
    model = graph(kernel_shape=[2, 2]).model()
    model.graph.node[-1].output.append("places")
    with pytest.raises(NetworkError, match="gives the places of the largest values too"):
        read_graph(model.SerializeToString())


# ---- quantiser, exporter, simplifier ----


@pytest.mark.parametrize("how", WINDOWS)
def test_quantise_and_export(read_graph, tmp_path, how):
    """Results keep the codes of the map that is pooled, whose least values they lack; what is written comes back as the
    same integers."""
    trained = read_graph(Graph("n", 3, 9, 8).convolution(4, 3, 3).add("MaxPool", **how).bytes())
    assert isinstance(trained, FloatNetwork)
    images = np.random.default_rng(2).normal(size=(8, 3, 9, 8)).astype(np.float32)
    network = quantize(trained, images).network
    before, pool = network.layers
    assert (pool.output_scale, pool.output_zero_point) == (before.output_scale, before.output_zero_point)
    assert not implausible(trained, trained.images(images))
    write_onnx(network, tmp_path / "quantised.onnx")
    again = read_onnx(tmp_path / "quantised.onnx")
    assert isinstance(again, Network)
    codes = network.quantise_input(images)
    assert np.array_equal(golden.run(network, codes), golden.run(again, codes))


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
def test_dead_channels(read, padding):
    """A channel that is the same for all images is that behind a max pool too, whatever the padding."""
    rng = np.random.default_rng(3)
    first, last = rng.integers(-99, 99, (5, 1, 1, 3), np.int8), rng.integers(-99, 99, (4, 1, 1, 5), np.int8)
    first[2] = 0
    content = (Chain(7, 7, 3).convolution(first, np.array([0, 9, 90, -5, 3]), scale=0.05, zero_point=-3)
               .max_pool((3, 3), stride=(2, 2), padding=padding).convolution(last, scale=0.2).write())
    network = read(content)
    found = simplify(network)
    assert found.removed == 2
    images = rng.integers(-128, 128, (4, *network.input_shape), np.int8)
    assert np.array_equal(golden.run(network, images), golden.run(found.network, images))
