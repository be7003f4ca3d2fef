# SPDX-License-Identifier: Apache-2.0
"""Maps put together channel by channel: as LiteRT does it, simplified, and from real numbers."""

import numpy as np
import pytest
from litert import reference
from tepal.quant import FloatConvolution, FloatNetwork, NetworkError, quantize, simplify
from tepal.quant.lookup import CODES
from tepal.quant.ops.concatenation import Concatenation, FloatConcatenation
from tepal.sim import golden
from tflite_writer import Chain, FloatChain, Tensor

RNG = np.random.default_rng(0)


def weights(*shape: int) -> np.ndarray:
    return RNG.integers(-128, 128, shape, dtype=np.int8)


def parts(chain: Chain, *channels: int) -> list[Tensor]:
    """A convolution of the input for each part."""
    tensors = []
    for count in channels:
        chain.tensor = chain.input
        chain.convolution(weights(count, 3, 3, chain.input.shape[3]), np.zeros(count), scale=0.4, zero_point=3)
        tensors.append(chain.tensor)
    return tensors


def together(chain: Chain, tensors: list[Tensor], axis: int = 3, **result) -> Chain:
    sizes = list(tensors[0].shape)
    sizes[axis] = sum(tensor.shape[axis] for tensor in tensors)
    chain.tensor = tensors[0]
    return chain.append("CONCATENATION", sizes, *tensors[1:], Axis=axis, **result)


@pytest.mark.parametrize("axis", [3, -1])
@pytest.mark.parametrize("count", [2, 5])
def test_equal_to_litert(read, axis, count):
    """Some parts twice, and the whole read twice."""
    chain = Chain(5, 4, 3)
    tensors = parts(chain, *range(1, count + 1))
    together(chain, [*tensors, tensors[0]], axis)
    whole = chain.tensor
    chain.convolution(weights(3, 3, 3, whole.shape[3]), np.zeros(3), scale=2, stride=(2, 2))
    first = chain.tensor
    chain.tensor = whole
    chain.convolution(weights(3, 3, 3, whole.shape[3]), np.zeros(3), scale=2, stride=(2, 2))
    content = chain.append("ADD", first.shape, first, scale=3).write()
    network = read(content)
    images = RNG.integers(-128, 128, (3, 5, 4, 3), dtype=np.int8)
    tensors = reference(content, images)
    assert [isinstance(layer, Concatenation) for layer in network.layers].count(True) == 1
    for layer, result in zip(network.layers, golden.run(network, images, layers=True), strict=True):
        assert np.array_equal(result.ravel(), tensors[layer.tensor].ravel()), layer.name
        if isinstance(layer, Concatenation):
            assert layer.channels == (*range(1, count + 1), 1)
            assert all(layer.unchanged)


def test_channels_first(read):
    """Parts that are transposed, put together along dimension 1, and transposed back."""
    chain = Chain(5, 4, 3)
    tensors = []
    for tensor in parts(chain, 2, 3):
        chain.tensor = tensor
        chain.append("TRANSPOSE", (1, tensor.shape[3], 5, 4), Tensor((4,), "INT32", data=(0, 3, 1, 2)))
        tensors.append(chain.tensor)
    together(chain, tensors, 1).append("TRANSPOSE", (1, 5, 4, 5), Tensor((4,), "INT32", data=(0, 2, 3, 1)))
    chain.convolution(weights(2, 1, 1, 5), np.zeros(2), scale=2)
    content = chain.write()
    network, images = read(content), RNG.integers(-128, 128, (2, 5, 4, 3), dtype=np.int8)
    expected = reference(content, images)[network.layers[-1].tensor]
    assert np.array_equal(golden.run(network, images).ravel(), expected.ravel())


def test_what_cannot_be_put_together(read):
    chain = Chain(5, 4, 3)
    first, second = parts(chain, 2, 2)
    chain.tensor = second
    chain.average_pool((2, 2), stride=(1, 1))
    with pytest.raises(NetworkError, match=r"operator 3 \(CONCATENATION\) puts the shapes \[1, 5, 4, 2\] and "
                                           r"\[1, 4, 3, 2\] together along dimension 3; the others must be equal"):
        read(together(chain, [first, chain.tensor]).write())
    chain = Chain(5, 4, 3)
    together(chain, parts(chain, 2, 2)).operators[-1].options["Axis"] = 4
    with pytest.raises(NetworkError, match=r"operator 2 \(CONCATENATION\) has the axis 4 for 4 dimensions"):
        read(chain.write())
    chain = Chain(5, 4, 3)
    first, second = parts(chain, 2, 2)
    second.scale = 0.5
    with pytest.raises(NetworkError, match="puts int8 maps of different scales together, which LiteRT can't"):
        read(together(chain, [first, second]).write())
    chain = Chain(5, 4, 3)
    along = together(chain, parts(chain, 2, 2), 1)
    with pytest.raises(NetworkError, match=r"reads a map of 5x4x4 .* that was reshaped"):
        read(along.convolution(weights(2, 1, 1, 2), np.zeros(2)).write())


def test_dead_channels_go_and_no_part_wholly(read):
    """Channels of zero weights become biases behind the concatenation, and the answer stays the same."""
    chain = Chain(5, 4, 3)
    tensors = parts(chain, 4, 3)
    first, second = (operator.inputs[1] for operator in chain.operators)
    first.data[[0, 2]] = 0
    second.data[:] = 0
    together(chain, tensors).convolution(weights(2, 3, 3, 7), np.zeros(2), scale=2, padding="VALID")
    network = read(chain.write())
    simple = simplify(network).network
    images = RNG.integers(-128, 128, (4, 5, 4, 3), dtype=np.int8)
    assert np.array_equal(golden.run(simple, images), golden.run(network, images))
    assert simple.layers[2].channels == (2, 1)


def test_scales_of_parts_are_made_one():
    geometry = {"name": "a", "index": 0, "input_shape": (2, 2, 1), "output_shape": (2, 2, 3)}
    layer = Concatenation.of_scales(geometry, (1, 2), [(0.5, 3), (0.25, -7)], (0.5, 3))
    assert layer.unchanged == (True, False)
    assert np.array_equal(layer.tables[1], np.clip(np.rint((CODES + 7) / 2) + 3, -128, 127))
    maps = [RNG.integers(-128, 128, (3, 2, 2, count), dtype=np.int8) for count in (1, 2)]
    assert np.array_equal(layer(*maps)[..., 1:], layer.tables[1][maps[1].astype(int) + 128])
    held = [np.array([np.nan]), np.array([5.0, np.nan])]
    assert layer.constants(*held)[1] == layer.tables[1][133]
    assert np.isnan(layer.constants(*held)[[0, 2]]).all()


def test_real_numbers(read):
    chain = FloatChain(6, 6, 3)
    together(chain, parts(chain, 2, 3))
    chain.convolution(RNG.normal(size=(2, 3, 3, 5)), np.zeros(2))
    content = chain.write()
    network = read(content)
    assert isinstance(network, FloatNetwork)
    assert [type(layer) for layer in network.layers[2:]] == [FloatConcatenation, FloatConvolution]
    images = RNG.normal(size=(8, 6, 6, 3)).astype(np.float32)
    expected = reference(content, images)[network.layers[-1].tensor]
    assert np.allclose(network.run(images), expected.reshape(8, -1), rtol=1e-4, atol=1e-3)
    integer = quantize(network, images).network
    codes = golden.run(integer, integer.quantise_input(images)).astype(float)
    got = (codes - integer.output_zero_point) * integer.output_scale
    assert np.abs(got - network.run(images)).mean() < 0.03 * network.run(images).std()
