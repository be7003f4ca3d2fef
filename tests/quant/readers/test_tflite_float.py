# SPDX-License-Identifier: Apache-2.0
"""float32 files: the network computes what LiteRT's reference kernels compute, and says what it can't take.

No equality here: floating-point sums depend on their order, and the kernels add one product after another where
NumPy leaves it to a matrix product.  Each layer must agree within a small part of its own range.
"""

import time
from math import inf

import numpy as np
import pytest
from litert import reference
from models import require_model
from tepal.quant import (
    FloatAveragePool,
    FloatConvolution,
    FloatDepthwise,
    FloatNetwork,
    NetworkError,
    Padding,
    read_tflite,
)
from tflite_writer import FloatChain, Operator, Tensor, damaged, write


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 0.5, shape).astype(np.float32)


def small() -> FloatChain:
    """A bit of everything."""
    return (FloatChain(9, 8, 3)
            .pad(1, 0, 0, 1)
            .convolution(normal(4, 3, 3, 3), normal(4), stride=(2, 2), activation="RELU6")
            .depthwise(normal(3, 3, 4), normal(4), activation="RELU")
            .average_pool((2, 2), stride=(2, 2))
            .mean()
            .fully_connected(normal(5, 4), normal(5))
            .softmax(beta=0.5))


def conv(chain: FloatChain, **how) -> FloatChain:
    return chain.convolution(normal(2, 3, 3, chain.tensor.shape[-1]), normal(2), **how)


def errors(network: FloatNetwork, images: np.ndarray, tensors: dict[int, np.ndarray]) -> dict[str, float]:
    """Of each layer: the largest difference from its tensor, as a part of the tensor's range."""
    found = {}

    def visit(number, output):
        layer = network.layers[number]
        expected = tensors[layer.tensor].reshape(output.shape)
        found[layer.name] = np.abs(output - expected).max() / np.ptp(expected)

    network.trace(images, visit)
    return found


# ---- what is taken ----


def test_layers_and_their_fields(read):
    network = read(small().write())
    assert [type(layer) for layer in network.layers] == [FloatConvolution, FloatDepthwise, FloatAveragePool,
                                                         FloatAveragePool, FloatConvolution]
    first, depthwise, pool, mean, dense = network.layers
    assert (network.name, network.channels_first) == ("model", False)
    assert (network.input_shape, network.output_shape) == ((9, 8, 3), (1, 1, 5))
    assert (first.name, first.index, first.tensor) == ("conv_2d_1", 1, 5)
    assert (first.padding, first.stride) == (Padding(top=1, bottom=1, left=1, right=2), (2, 2))
    assert (first.minimum, first.maximum) == (0, 6)
    assert np.array_equal(first.weights, normal(4, 3, 3, 3))
    assert np.array_equal(first.bias, normal(4))
    assert (depthwise.minimum, depthwise.maximum) == (0, inf)
    assert (pool.minimum, pool.maximum) == (-inf, inf)
    assert (pool.window, mean.window) == ((2, 2), (2, 2))
    assert dense.weights.shape == (5, 1, 1, 4)
    assert network.softmax is not None
    assert network.softmax.beta == 0.5


def test_a_network_without_softmax(read):
    network = read(conv(FloatChain(4, 4, 2)).write())
    assert network.softmax is None


CHAINS = {
    "small": small(),
    "valid": conv(FloatChain(7, 9, 3), padding="VALID", stride=(2, 3), activation="RELU_N1_TO_1"),
    "same": conv(FloatChain(7, 9, 3), stride=(3, 2)),
    "pointwise": FloatChain(5, 4, 6).convolution(normal(7, 1, 1, 6), normal(7), activation="RELU"),
    "padded": conv(FloatChain(6, 6, 2).pad(2, 0, 1, 3).pad(0, 1, 1, 0), padding="VALID", stride=(2, 2)),
    "depthwise": FloatChain(8, 8, 3).depthwise(normal(5, 3, 3), stride=(2, 2), activation="RELU6"),
    "depth multiplier": FloatChain(6, 6, 2).depthwise(normal(3, 3, 6), normal(6)),
    "pool": FloatChain(8, 6, 3).average_pool((3, 2), stride=(2, 1), activation="RELU"),
    "mean": FloatChain(5, 4, 3).mean(keep_dims=True),
    "flatten": conv(FloatChain(4, 3, 2)).reshape(1, 24).fully_connected(normal(5, 24), activation="RELU"),
    "reshape first": conv(FloatChain(1, 1, 24).reshape(1, 4, 3, 2)),
    "squeeze": conv(FloatChain(3, 3, 4), padding="VALID").append("SQUEEZE", (1, 2)).fully_connected(normal(3, 2)),
    "relu alone": conv(conv(FloatChain(5, 5, 2)).activation("RELU")).activation("RELU6"),
    "two clamps": conv(FloatChain(5, 5, 2), activation="RELU_N1_TO_1").activation("RELU"),
    "clamp after pool": FloatChain(4, 4, 3).average_pool((2, 2)).activation("RELU_N1_TO_1"),
}


@pytest.mark.parametrize("name", CHAINS)
def test_layers_equal_litert_up_to_rounding(read, name):
    content = CHAINS[name].write()
    network = read(content)
    images = np.random.default_rng(1).normal(0, 1, (3, *network.input_shape)).astype(np.float32)
    tensors = reference(content, images)
    found = errors(network, images, tensors)
    assert len(found) == len(network.layers)
    assert max(found.values()) < 1e-4, found
    if network.softmax:
        (made,) = network.answer(network.run(images))
        assert np.allclose(made, tensors[max(tensors)], rtol=1e-4, atol=0)


def test_a_relu_alone_becomes_the_clamp_of_the_layer_before_it(read):
    (layer,) = read(conv(FloatChain(5, 5, 2), activation="RELU6").activation("RELU_N1_TO_1").write()).layers
    assert (layer.index, layer.name, layer.minimum, layer.maximum) == (0, "relu_n1_to_1_1", 0, 1)


def test_an_absent_bias_is_zero(read):
    assert read(FloatChain(3, 3, 2).depthwise(normal(3, 3, 2)).write()).layers[0].bias.tolist() == [0, 0]


def test_padv2_with_zero(read):
    chain = FloatChain(4, 4, 1).pad(1, 1, 1, 1)
    (pad,) = chain.operators
    pad.name = "PADV2"
    pad.inputs.append(Tensor((1,), "FLOAT32", data=[0]))
    (layer,) = read(conv(chain, padding="VALID").write()).layers
    assert layer.padding == Padding(1, 1, 1, 1)
    pad.inputs[2].data = [0.5]
    with pytest.raises(NetworkError, match=r"operator 0 \(PADV2\) pads with a value other than the zero point, 0"):
        read(chain.write())


def stored_as(kind: str) -> FloatChain:
    """The weights of a convolution stored as ``kind`` and widened by DEQUANTIZE."""
    chain = conv(FloatChain(4, 4, 2))
    weights = chain.operators[0].inputs[1]
    stored = Tensor(weights.shape, kind, data=weights.data)
    weights.data = None
    chain.operators.insert(0, Operator("DEQUANTIZE", [stored], [weights]))
    return chain


def test_weights_stored_in_half_precision(read):
    content = stored_as("FLOAT16").write()
    network = read(content)
    (layer,) = network.layers
    assert layer.index == 1
    assert np.array_equal(layer.weights, normal(2, 3, 3, 2).astype(np.float16).astype(np.float32))
    images = normal(1, 4, 4, 2)
    assert max(errors(network, images, reference(content, images)).values()) < 1e-4


def test_layers_are_immutable(read):
    with pytest.raises(ValueError, match="read-only"):
        read(small().write()).layers[0].weights[0] = 0


@pytest.mark.model
def test_every_layer_of_a_published_network():
    model = require_model("mlperf_vww_float")
    network = read_tflite(model / "model.tflite")
    images = np.load(model / "inputs.npy")
    with np.load(model / "layers.npz") as published:
        tensors = {int(key[1:]): published[key] for key in published}
    found = errors(network, images[:1], tensors)
    assert len(found) == 29
    assert max(found.values()) < 1e-4, found
    assert network.softmax
    (made,) = network.answer(network.run(images))
    assert np.allclose(made, np.load(model / "outputs.npy"), rtol=0, atol=1e-4)


# ---- what is refused ----


def changed(**fields):
    return small().change(**fields).write()


def option(number: int, **options):
    chain = small()
    chain.operators[number].options |= options
    return chain.write()


def renamed(number: int, name: str):
    chain = small()
    operator = chain.operators[number]
    operator.name, operator.options = name, {}
    return chain.write()


def spoilt(value: float) -> np.ndarray:
    weights = normal(4, 3, 3, 3)
    weights[0, 0, 0, :2] = value
    return weights


def quantised_first():
    chain = small()
    chain.input.type = "INT8"
    real = Tensor((1, 9, 8, 3), "FLOAT32")
    chain.operators.insert(0, Operator("DEQUANTIZE", [chain.input], [real]))
    chain.operators[1].inputs[0] = real
    return write(chain.operators, [chain.input], [chain.tensor])


EXPORT = "export the model as float32, or as full int8 with a representative data set"

SENTENCES = {
    "float16 weights": (changed(weights__type="FLOAT16"), "has float16 weights for float32 values"),
    "int8 inside": (changed(conv_2d_1__type="INT8"),
                    rf"operator 1 \(CONV_2D\) works on int8 values in a float model; {EXPORT}"),
    "int8 in front": (quantised_first(),
                      rf"not supported: 1 DEQUANTIZE \(integers inside a float model: {EXPORT}\)"),
    "quantize inside": (renamed(3, "QUANTIZE"),
                        rf"not supported: 1 QUANTIZE \(integers inside a float model: {EXPORT}\)"),
    "batch": (changed(input__shape=(2, 9, 8, 3)), "works on a batch of 2; only batch 1"),
    "shape": (changed(conv_2d_1__shape=(1, 6, 5, 4)), r"should give the shape \[1, 5, 5, 4\] but the file"),
    "short weights": (changed(weights__data=np.zeros(100)), "needs 432 bytes of constant data and has 400"),
    "no weights": (changed(weights__data=None), "needs 432 bytes of constant data and has 0"),
    "bias type": (changed(bias__type="INT32"), "has a bias of 4 int32 values; 4 float32 values are needed"),
    "bias size": (changed(bias__shape=(3,)), "has a bias of 3 float32 values"),
    "activation": (option(1, FusedActivationFunction="TANH"), "has the fused activation TANH; supported are NONE,"),
    "pool over padding": (FloatChain(4, 4, 1).average_pool((3, 3), padding="SAME").write(), "averages over padding"),
    "mean axes": (FloatChain(4, 4, 2).mean(axes=(1, 3)).write(), "must average over height and width"),
    "relu after padding": (conv(conv(FloatChain(4, 4, 1)).pad(1, 1, 1, 1).activation("RELU")).write(),
                           r"operator 1 \(PAD\) is followed by RELU"),
    "relu that reshapes": (conv(FloatChain(4, 4, 1)).append("RELU", (1, 2, 8, 2)).write(),
                           r"operator 1 \(RELU\) should give the shape \[1, 4, 4, 2\]"),
    "relu after softmax": (small().activation("RELU").write(), "follows SOFTMAX"),
    "softmax beta": (option(6, Beta=float("nan")), "has the beta nan"),
    "softmax alone": (FloatChain(1, 1, 4).softmax().write(), "has no layer to compute"),
    "nan weights": (changed(weights__data=spoilt(np.nan)),
                    r"layer 1 \(conv_2d_1\) has 2 weights that are NaN or infinite"),
    "infinite bias": (changed(bias__data=[0, inf, 0, 0]), r"layer 1 \(conv_2d_1\) has 1 bias that are NaN"),
}


@pytest.mark.parametrize("name", SENTENCES)
def test_refusals(read, tmp_path, name):
    content, sentence = SENTENCES[name]
    with pytest.raises(NetworkError, match=sentence) as caught:
        read(content)
    assert str(caught.value).startswith(f"{tmp_path / 'model.tflite'}: ")
    assert "\n" not in str(caught.value)


def test_damaged_files_are_read_or_refused(read):
    refused = 0
    for variant in damaged(small().write(), 600):
        start = time.perf_counter()
        try:
            network = read(variant)
        except NetworkError:
            refused += 1
        else:
            # A flipped exponent may well overflow.
            with np.errstate(all="ignore"):
                network.run(np.zeros((1, *network.input_shape), np.float32))
        assert time.perf_counter() - start < 5
    assert refused > 200
