# SPDX-License-Identifier: Apache-2.0
"""LOG_SOFTMAX at the end: the bytes of LiteRT's reference kernel, and real numbers up to rounding."""

import numpy as np
import pytest
from litert import reference
from tepal.quant import NetworkError, quantize
from tepal.sim import golden
from tflite_writer import Chain, FloatChain, Uint8Chain


def ending(kind: type[Chain], classes: int, scale: float, result: float = 1 / 16) -> bytes:
    """A convolution that leaves each value what it is, then the logarithms."""
    offset = 128 if kind is Uint8Chain else 0
    chain = kind(2, 1, classes, scale=scale, zero_point=offset)
    chain.convolution(np.eye(classes).reshape(classes, 1, 1, classes) * 64 + offset, np.zeros(classes),
                      weight_scale=1 / 64, scale=scale, zero_point=offset)
    chain.append("LOG_SOFTMAX", (1, 2, 1, classes), scale=result, zero_point=127 + offset)
    return chain.write()


@pytest.mark.parametrize("kind", [Chain, Uint8Chain])
@pytest.mark.parametrize("scale", [2.0**-20, 0.004, 0.05, 1 / 16, 0.3, 1.0, 3.0, 40.0])
@pytest.mark.parametrize("classes", [1, 2, 17, 300])
def test_integers_are_those_of_litert(read, kind, scale, classes):
    random = np.random.default_rng(classes)
    images = random.integers(-128, 128, (10, 2, 1, classes), np.int8)
    images[5:] = random.integers(100, 128, (5, 2, 1, classes), np.int8)
    images[9] = 127
    content = ending(kind, classes, scale)
    network, tensors = read(content), reference(content, images)
    (made,) = network.answer(golden.run(network, images))
    # What the file holds is uint8 again.
    made = (made ^ 128).view(np.int8) if kind is Uint8Chain else made
    assert np.array_equal(made, tensors[max(tensors)])


def test_real_numbers(read):
    random = np.random.default_rng(0)
    chain = FloatChain(3, 4, 2).convolution(random.normal(size=(6, 1, 1, 2)), random.normal(size=6))
    content = chain.append("LOG_SOFTMAX", chain.tensor.shape).write()
    network, images = read(content), random.normal(size=(5, 3, 4, 2)).astype(np.float32)
    tensors = reference(content, images)
    (made,) = network.answer(network.run(images))
    assert np.allclose(made, tensors[max(tensors)], atol=1e-5)
    integer = quantize(network, images).network
    (rough,) = integer.answer(golden.run(integer, integer.quantise_input(images)))
    assert np.abs(rough - made).max() < 0.2


def test_another_scale_of_the_result(read):
    with pytest.raises(NetworkError, match=r"\(LOG_SOFTMAX\) must have the output scale 1/16 and the zero point 127"):
        read(ending(Chain, 4, 0.1, 1 / 8))
