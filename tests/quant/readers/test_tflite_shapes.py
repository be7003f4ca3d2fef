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
@pytest.mark.parametrize("name", ["CONV_2D", "DEPTHWISE_CONV_2D"])
@pytest.mark.parametrize(("blocks", "around", "crops"), [
    ((2, 2), ((2, 3), (2, 2)), ((0, 1), (0, 0))), ((1, 3), ((1, 1), (3, 5)), ((0, 0), (0, 2))),
    ((2, 2), ((0, 1), (0, 0)), ((0, 0), (0, 0)))])
def test_dilations_as_batches(read, kind, name, blocks, around, crops):
    """As TensorFlow writes them: the pixels are dealt out to a batch, and put together again behind the convolution."""
    chain = kind(11, 10, 2)
    if kind is not FloatChain:
        chain.tensor.zero_point = 131 if kind is Uint8Chain else 3
    like = {} if kind is FloatChain else {"scale": chain.tensor.scale, "zero_point": chain.tensor.zero_point}
    height, width = ((size + sum(pads)) // by for size, pads, by in zip((11, 10), around, blocks, strict=True))
    batch = blocks[0] * blocks[1]
    chain.append("SPACE_TO_BATCH_ND", (batch, height, width, 2), Tensor((2,), "INT32", data=blocks),
                 Tensor((2, 2), "INT32", data=around), **like)
    if name == "CONV_2D":
        chain.convolution(weights(kind, 3, 3, 3, 2), np.zeros(3), padding="VALID")
    else:
        chain.depthwise(weights(kind, 3, 3, 2), np.zeros(2), padding="VALID")
    chain.tensor.shape = batch, height - 2, width - 2, chain.tensor.shape[3]
    result = {}
    if kind is not FloatChain:
        chain.tensor.scale = 0.3
        result = {"scale": 0.3, "zero_point": chain.tensor.zero_point}
    size = [((before - 2) * by - sum(cut)) for before, by, cut in zip((height, width), blocks, crops, strict=True)]
    chain.append("BATCH_TO_SPACE_ND", (1, *size, chain.tensor.shape[3]), Tensor((2,), "INT32", data=blocks),
                 Tensor((2, 2), "INT32", data=crops), **result)
    chain.convolution(weights(kind, 2, 1, 1, chain.tensor.shape[3]), np.zeros(2), **({} if kind is FloatChain else
                                                                                {"scale": 0.6}))
    equal_to_litert(read, chain.write())


def batch(*, blocks=(2, 2), crops=((0, 0), (0, 0)), behind=(2, 2), padding="VALID", convolution=True) -> bytes:
    chain = Chain(8, 8, 2)
    like = {"scale": chain.tensor.scale}
    amounts = [Tensor((2, 2), "INT32", data=pads) for pads in (((0, 0), (0, 0)), crops)]
    chain.append("SPACE_TO_BATCH_ND", (4, 4, 4, 2), Tensor((2,), "INT32", data=blocks), amounts[0], **like)
    if convolution:
        chain.convolution(np.ones((2, 1, 1, 2)), np.zeros(2), padding=padding)
        chain.tensor.shape = 4, 4, 4, 2
        chain.tensor.scale = like["scale"]
    size = [max(1, 4 * by - sum(cut)) for by, cut in zip(behind, crops, strict=True)]
    return chain.append("BATCH_TO_SPACE_ND", (1, *size, 2), Tensor((2,), "INT32", data=behind), amounts[1],
                        **like).convolution(np.ones((2, 1, 1, 2)), np.zeros(2)).write()


@pytest.mark.parametrize(("content", "sentence"), [
    (batch(blocks=(3, 3)), r"deals the shape \[1, 8, 8, 2\] with the padding .* out to \(3, 3\) maps"),
    (batch(blocks=(0, 2)), r"has the blocks \[0, 2\]"),
    (batch(behind=(1, 4)), "isn't behind a SPACE_TO_BATCH_ND of the same blocks"),
    (batch(padding="SAME"), "has a stride or padding of its own between"),
    (batch(crops=((0, 1), (0, 0))), "cuts off more than the padding before the convolution made"),
    (batch(crops=((0, 1), (0, 0)), convolution=False), "cuts off more than the padding before the convolution made"),
    (batch(crops=((4, 4), (0, 0))), "cuts .* off a map of 8x8")])
def test_batches_that_are_no_dilation(read, content, sentence):
    with pytest.raises(NetworkError, match=sentence):
        read(content)


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


@pytest.mark.parametrize("kind", KINDS)
def test_a_vector_as_a_map_is_refused(read, kind):
    chain = kind(4, 4, 2).fully_connected(weights(kind, 18, 32), np.zeros(18)).reshape(1, 3, 3, 2)
    chain.tensor.scale, chain.tensor.zero_point = (tensor := chain.operators[0].outputs[0]).scale, tensor.zero_point
    with pytest.raises(NetworkError, match=r"reads a vector of 18 values as a map of 3x3x2; no layer gives a vector"):
        read(chain.convolution(weights(kind, 2, 3, 3, 2), np.zeros(2)).write())
