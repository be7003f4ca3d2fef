# SPDX-License-Identifier: Apache-2.0
"""Activations and changes of scale as tables: every value of int8 and uint8 as LiteRT's reference kernels give it."""

import numpy as np
import pytest
from litert import reference
from tepal.quant import NetworkError
from tepal.quant.lookup import CODES, Lookup
from tepal.sim import golden
from tflite_writer import Chain, FloatChain, Operator, Tensor, Uint8Chain, write

IMAGE = CODES.astype(np.int8).reshape(1, 16, 16, 1)
OPERATORS = ["RELU", "RELU6", "RELU_N1_TO_1", "LEAKY_RELU", "HARD_SWISH", "LOGISTIC", "TANH"]
OUTPUTS = {"LOGISTIC": (1 / 256, -128), "TANH": (1 / 128, 0)}


def meanings(name: str, seed: int):
    """Random scales and zero points, (source, result), both in int8."""
    random = np.random.default_rng(seed)
    for _ in range(40):
        scale = float(random.choice([2.0 ** random.uniform(-9, -1), 2.0 ** -random.integers(1, 9)]))
        source = (scale, int(random.choice([-128, 0, 127, random.integers(-128, 128)])))
        result = (scale * float(random.choice([1, 1.5, 0.7, 3])), int(random.integers(-128, 128)))
        yield source, OUTPUTS.get(name, result)
    yield source, OUTPUTS.get(name, source)


@pytest.mark.parametrize("kind", [Chain, Uint8Chain])
@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize("alpha", [0.1, -0.3, 1.7])
def test_every_value(read, name, kind, alpha):
    if name != "LEAKY_RELU" and alpha != 0.1:
        pytest.skip("it has no slope")
    options = {"Alpha": alpha} if name == "LEAKY_RELU" else {}
    offset = 128 if kind is Uint8Chain else 0
    for source, result in meanings(name, OPERATORS.index(name)):
        chain = kind(16, 16, 1, scale=source[0], zero_point=source[1] + offset)
        chain.append(name, (1, 16, 16, 1), scale=result[0], zero_point=result[1] + offset, **options)
        content = chain.write()
        (layer,) = read(content).layers
        assert isinstance(layer, Lookup)
        assert layer.function == name
        expected = reference(content, IMAGE)[layer.tensor]
        assert np.array_equal(layer(IMAGE).ravel(), expected.ravel()), (source, result, layer.table - expected.ravel())
        assert (layer.input_zero_point, layer.output_zero_point) == (source[1], result[1])


@pytest.mark.parametrize("source", ["INT8", "UINT8"])
@pytest.mark.parametrize("result", ["INT8", "UINT8"])
def test_quantize_to_another_scale(read, source, result):
    for first, second in meanings("QUANTIZE", 7):
        given = Tensor((1, 16, 16, 1), source, scale=first[0], zero_point=first[1] + 128 * (source == "UINT8"))
        made = Tensor((1, 16, 16, 1), result, scale=second[0], zero_point=second[1] + 128 * (result == "UINT8"))
        chain = Chain(16, 16, 1)
        chain.operators, chain.input, chain.tensor = [Operator("QUANTIZE", [given], [made])], given, made
        content = write(chain.operators, [given], [made])
        if first == second:
            with pytest.raises(NetworkError, match="has no layer to compute"):
                read(content)
            continue
        (layer,) = read(content).layers
        assert np.array_equal(layer(IMAGE).ravel(), reference(content, IMAGE)[layer.tensor].ravel())


@pytest.mark.parametrize("name", ["RELU", "RELU6", "RELU_N1_TO_1"])
@pytest.mark.parametrize("shared", [False, True])
def test_a_clamp_is_fused_unless_another_reads_the_layer(read, name, shared):
    chain = Chain(16, 16, 1, scale=0.05).convolution(np.ones((1, 1, 1, 1)), [3], weight_scale=1, scale=0.05)
    before = chain.tensor
    chain.append(name, (1, 16, 16, 1))
    if shared:
        chain.append("ADD", (1, 16, 16, 1), before, scale=0.1)
    content = chain.write()
    network, tensors = read(content), reference(content, IMAGE)
    assert len(network.layers) == (3 if shared else 1)
    for layer, result in zip(network.layers, golden.run(network, IMAGE, layers=True), strict=True):
        assert np.array_equal(result.ravel(), tensors[layer.tensor].ravel())


@pytest.mark.parametrize("name", OPERATORS)
def test_real_numbers(read, name):
    options = {"Alpha": 0.1} if name == "LEAKY_RELU" else {}
    content = FloatChain(4, 4, 3).append(name, (1, 4, 4, 3), **options).write()
    network, images = read(content), np.random.default_rng(0).normal(0, 3, (4, 4, 4, 3)).astype(np.float32)
    expected = reference(content, images)[network.layers[0].tensor]
    assert np.allclose(network.run(images), expected.reshape(4, -1), rtol=1e-5, atol=1e-6)


def test_slopes_and_scales_that_make_no_sense(read):
    with pytest.raises(NetworkError, match=r"operator 0 \(LEAKY_RELU\) has the slope nan"):
        read(Chain(4, 4, 1).append("LEAKY_RELU", (1, 4, 4, 1), Alpha=float("nan")).write())
    with pytest.raises(NetworkError, match=r"operator 0 \(HARD_SWISH\) has the output scale .*, too small for its"):
        read(Chain(4, 4, 1).append("HARD_SWISH", (1, 4, 4, 1), scale=1e-6).write())
