# SPDX-License-Identifier: Apache-2.0
"""Convolutions and maps of other shapes than images: groups, dilations, sequences, weights alone quantised."""

import numpy as np
import pytest
from litert import reference
from tepal.quant import FloatNetwork, NetworkError
from tepal.sim import golden
from tflite_writer import Chain, FloatChain, Operator, Tensor, Uint8Chain

RNG = np.random.default_rng(0)
KINDS = [Chain, Uint8Chain, FloatChain]


def weights(kind: type[Chain], *shape: int) -> np.ndarray:
    if kind is FloatChain:
        return RNG.normal(0, 0.3, shape)
    return RNG.integers(0, 256, shape) if kind is Uint8Chain else RNG.integers(-128, 128, shape)


def equal_to_litert(read, content: bytes) -> None:
    """The last layer's values; of real numbers up to rounding."""
    network = read(content)
    if isinstance(network, FloatNetwork):
        images = RNG.normal(size=(3, *network.input_shape)).astype(np.float32)
        expected = reference(content, images)[network.layers[-1].tensor]
        assert np.allclose(network.run(images), expected.reshape(3, -1), rtol=1e-4, atol=1e-4)
    else:
        images = RNG.integers(-128, 128, (3, *network.input_shape), dtype=np.int8)
        expected = reference(content, images)[network.layers[-1].tensor]
        assert np.array_equal(golden.run(network, images), expected.reshape(3, -1))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("groups", "each"), [(2, 3), (3, 1), (6, 2)])
def test_groups(read, kind, groups, each):
    if kind is Uint8Chain:
        pytest.skip("LiteRT has no groups of uint8")
    chain = kind(6, 5, groups * each)
    chain.convolution(weights(kind, 2 * groups, 3, 3, each), np.zeros(2 * groups), stride=(2, 1))
    if kind is Chain:
        chain.change(conv_2d_0__scale=0.7)
    equal_to_litert(read, chain.write())


def test_groups_that_do_not_divide(read):
    with pytest.raises(NetworkError, match="takes 2 channels of an input with 6 and gives 4, which aren't groups"):
        read(Chain(6, 5, 6).convolution(weights(Chain, 4, 3, 3, 2), np.zeros(4)).write())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["CONV_2D", "DEPTHWISE_CONV_2D"])
@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize("dilation", [(2, 2), (1, 3)])
def test_dilations(read, kind, name, padding, dilation):
    chain = kind(11, 10, 2)
    if name == "CONV_2D":
        chain.convolution(weights(kind, 3, 3, 3, 2), np.zeros(3), padding=padding)
    else:
        chain.depthwise(weights(kind, 3, 3, 2), np.zeros(2), padding=padding)
    operator = chain.operators[0]
    operator.options |= {"DilationHFactor": dilation[0], "DilationWFactor": dilation[1]}
    if padding == "VALID":
        operator.outputs[0].shape = (1, 11 - 2 * dilation[0], 10 - 2 * dilation[1], chain.tensor.shape[3])
    operator.outputs[0].scale = None if kind is FloatChain else 0.3
    equal_to_litert(read, chain.write())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("keep", [False, True])
def test_one_dimensional_convolutions(read, kind, keep):
    """As Keras' Conv1D is converted: a row of pixels around each convolution, and a mean over time."""
    chain = kind(20, 6)
    chain.append("EXPAND_DIMS", (1, 1, 20, 6), Tensor((1,), "INT32", data=[1]))
    chain.convolution(weights(kind, 4, 1, 3, 6), np.zeros(4), padding="VALID", activation="RELU",
                      **({} if kind is FloatChain else {"scale": 0.4}))
    chain.reshape(1, 18, 4)
    if keep:
        chain.append("MEAN", (1, 1, 4), Tensor((1,), "INT32", data=[1]), KeepDims=True)
    else:
        chain.append("MEAN", (1, 4), Tensor((1,), "INT32", data=[1]), KeepDims=False).fully_connected(
            weights(kind, 3, 4), np.zeros(3))
    equal_to_litert(read, chain.write())


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("stored", [False, True])
def test_weights_alone_quantised_are_what_they_mean(read, per_channel, stored):
    """"Dynamic range": float32 activations and int8 weights, which a DEQUANTIZE may widen."""
    integers, scales = weights(Chain, 3, 3, 3, 2), np.float32([0.01, 0.02, 0.03])
    chain = FloatChain(5, 5, 2).convolution(np.zeros((3, 3, 3, 2)), np.zeros(3))
    given = Tensor((3, 3, 3, 2), "INT8", scale=scales if per_channel else 0.01, data=integers)
    if stored:
        chain.operators[0].inputs[1].data = None
        chain.operators.insert(0, Operator("DEQUANTIZE", [given], [chain.operators[0].inputs[1]]))
    else:
        chain.operators[0].inputs[1] = given
    (layer,) = read(chain.write()).layers
    expected = integers * (scales[:, None, None, None] if per_channel else np.float32(0.01))
    assert np.array_equal(layer.weights, expected.astype(np.float32))
