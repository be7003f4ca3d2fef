# SPDX-License-Identifier: Apache-2.0
"""Maps and constants: LiteRT's bytes for one constant and for one a channel, in real numbers up to rounding."""

import numpy as np
import pytest
from litert import reference
from tepal.quant import FloatDepthwise, Network, NetworkError, simplify
from tepal.quant.lookup import CODES, Lookup
from tepal.sim import golden
from tflite_writer import Chain, FloatChain, Operator, Tensor, Uint8Chain, write

IMAGE = np.stack([np.roll(CODES, shift) for shift in (0, 71, 138)], axis=-1).astype(np.int8).reshape(1, 16, 16, 3)
KINDS = {"INT8": Chain, "UINT8": Uint8Chain}


def computed(name: str, kind: str, constants, seed: int, *, first: bool = False, activation: str = "NONE") -> bytes:
    """The operator on the image and constants, of random scales."""
    random = np.random.default_rng(seed)
    offset = 128 if kind == "UINT8" else 0
    scale, other = (float(2.0 ** random.uniform(-8, 0)) for _ in range(2))
    points = random.integers(-128, 128, 3) + offset
    result = {"MUL": scale * other * 60, "PRELU": scale * 1.3}.get(name, max(scale, other) * 1.3)
    chain = KINDS[kind](16, 16, 3, scale=scale, zero_point=int(points[0]))
    constant = Tensor(np.shape(constants), kind, scale=other, zero_point=int(points[1]),
                      data=np.asarray(constants) + offset)
    options = {} if name == "PRELU" else {"FusedActivationFunction": activation}
    made = Tensor((1, 16, 16, 3), kind, scale=result, zero_point=int(points[2]))
    inputs = [constant, chain.input] if first else [chain.input, constant]
    return write([Operator(name, inputs, [made], options)], [chain.input], [made])


def equal_to_litert(network: Network, content: bytes) -> None:
    tensors = reference(content, IMAGE)
    result, expected = golden.run(network, IMAGE), tensors[network.layers[-1].tensor]
    assert np.array_equal(result.ravel(), expected.ravel())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("name", ["MUL", "ADD", "SUB"])
@pytest.mark.parametrize("activation", ["NONE", "RELU6"])
def test_one_constant_is_a_table(read, name, first, kind, activation):
    for seed in range(10):
        value = int(np.random.default_rng(seed).integers(-128, 128))
        content = computed(name, kind, [value], seed, first=first, activation=activation)
        network = read(content)
        assert [type(layer) for layer in network.layers] == [Lookup]
        equal_to_litert(network, content)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("name", ["MUL", "ADD", "SUB", "PRELU"])
def test_constants_by_channel(read, name, first, kind):
    if name == "PRELU" and first:
        pytest.skip("its slopes come second")
    for seed in range(10):
        values = np.random.default_rng(seed).integers(-128, 128, (1, 1, 3))
        content = computed(name, kind, values, seed, first=first)
        network = read(content)
        equal_to_litert(network, content)
        equal_to_litert(simplify(network).network, content)


@pytest.mark.parametrize("name", ["MUL", "ADD", "SUB", "DIV", "PRELU"])
@pytest.mark.parametrize("constants", [[0.5], [[[2.0, -0.25, 3.0]]]])
@pytest.mark.parametrize("convolved", [False, True])
def test_real_numbers(read, name, constants, convolved):
    """Right behind a convolution they become a part of it."""
    random = np.random.default_rng(0)
    chain = FloatChain(5, 4, 3)
    if convolved:
        chain.convolution(random.normal(size=(3, 3, 3, 3)), random.normal(size=3))
    options = {} if name == "PRELU" else {"FusedActivationFunction": "NONE"}
    chain.append(name, (1, 5, 4, 3), Tensor(np.shape(constants), "FLOAT32", data=constants), **options)
    content = chain.write()
    network, images = read(content), random.normal(size=(3, 5, 4, 3)).astype(np.float32)
    expected = reference(content, images)[network.layers[-1].tensor]
    assert np.allclose(network.run(images), expected.reshape(3, -1), rtol=1e-4, atol=1e-5)
    if name != "PRELU":
        assert len(network.layers) == 1
        assert convolved or isinstance(network.layers[0], FloatDepthwise)


def test_what_cannot_be_computed(read):
    def of(name, other, kind=Chain, **options):
        chain = kind(4, 4, 2)
        return chain.append(name, (1, 4, 4, 2), other or chain.input, FusedActivationFunction="NONE", **options).write()

    def constant(shape, **fields):
        return Tensor(shape, scale=0.1, data=np.arange(np.prod(shape)), **fields)

    for content, sentence in [
            (of("MUL", None), r"operator 0 \(MUL\) multiplies two maps; only constants are supported"),
            (of("MUL", constant((4, 4, 2))), r"operator 0 \(MUL\) computes with constants that differ from pixel to"),
            (of("ADD", constant((3,))), r"computes with constants of the shape \[3\] on the shape \[1, 4, 4, 2\]"),
            (of("DIV", constant((1,))), r"1 DIV \(division of integers: multiply by the reciprocal\)"),
            (of("DIV", Tensor((1,), "FLOAT32", data=[0]), FloatChain), r"operator 0 \(DIV\) divides by 0"),
            (of("DIV", None, FloatChain), r"operator 0 \(DIV\) divides by a map; only constants"),
            (of("ADD", Tensor((1,), "FLOAT32", data=[0])), r"operator 0 \(ADD\) computes with a float32 tensor that")]:
        with pytest.raises(NetworkError, match=sentence):
            read(content)
