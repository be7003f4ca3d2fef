# SPDX-License-Identifier: Apache-2.0
"""Operators that only move values about, or leave them what they are, in every kind of file: LiteRT's and ONNX
Runtime's numbers."""

import numpy as np
import pytest
from litert import reference
from onnx_models import Graph, run
from tepal.quant import FloatNetwork, read_onnx
from tepal.sim import golden
from tflite_writer import Chain, FloatChain, Tensor, Uint8Chain

RNG = np.random.default_rng(0)


def convolved(chain: Chain, channels: int) -> Chain:
    shape = channels, 1, 1, chain.tensor.shape[-1]
    if isinstance(chain, FloatChain):
        return chain.convolution(RNG.normal(size=shape), np.zeros(channels))
    return chain.convolution(integers(chain, shape), np.zeros(channels), scale=0.4)


def integers(chain: Chain, shape: tuple[int, ...]) -> np.ndarray:
    return RNG.integers(-128, 128, shape) + 128 * (chain.TYPE == "UINT8")


def squeezed(chain: Chain) -> Chain:
    chain = convolved(chain, 1)
    like = {"scale": chain.tensor.scale}
    return convolved(chain.append("SQUEEZE", (1, 6, 5), **like).append("RESHAPE", (1, 6, 5, 1), Tensor(
        (4,), "INT32", data=(1, 6, 5, 1)), **like), 2)


def transposed(chain: Chain) -> Chain:
    chain = convolved(chain, 2)
    for shape, order in (((1, 2, 6, 5), (0, 3, 1, 2)), ((1, 6, 5, 2), (0, 2, 3, 1))):
        chain.append("TRANSPOSE", shape, Tensor((4,), "INT32", data=order), scale=chain.tensor.scale)
    return convolved(chain, 3)


def padded(chain: Chain) -> Chain:
    pads = Tensor((4, 2), "INT32", data=((0, 0), (1, 0), (0, 2), (0, 0)))
    before = chain.tensor
    value = Tensor((1,), chain.TYPE, scale=before.scale, zero_point=before.zero_point, data=[before.zero_point])
    chain.append("PADV2", (1, 7, 7, 2), pads, value, scale=before.scale)
    if isinstance(chain, FloatChain):
        return chain.convolution(RNG.normal(size=(2, 3, 3, 2)), np.zeros(2), padding="VALID")
    return chain.convolution(integers(chain, (2, 3, 3, 2)), np.zeros(2), padding="VALID", scale=0.9)


@pytest.mark.parametrize("kind", [Chain, Uint8Chain, FloatChain])
@pytest.mark.parametrize("make", [squeezed, transposed, padded])
def test_tflite(read, make, kind):
    content = make(kind(6, 5, 2)).write()
    network = read(content)
    if isinstance(network, FloatNetwork):
        images = RNG.normal(size=(3, 6, 5, 2)).astype(np.float32)
        got, bound = network.run(images), 1e-4
    else:
        images = RNG.integers(-128, 128, (3, 6, 5, 2), np.int8)
        got, bound = golden.run(network, images).astype(int), 0
    expected = reference(content, images)[network.layers[-1].tensor].reshape(got.shape)
    assert np.abs(got - expected).max() <= bound


def qdq(graph: Graph, scale: float) -> Graph:
    meaning = (np.float32(scale), np.int8(3))
    return graph.add("QuantizeLinear", *meaning).add("DequantizeLinear", *meaning)


NODES = {
    "Identity": lambda graph, close: graph.add("Identity"),
    "Squeeze": lambda graph, close: graph.add("Unsqueeze", np.array([1])).add("Squeeze", np.array([1])),
    "Max": lambda graph, close: close(graph.add("Max", np.float32(-0.5)), 0.05),
    "Min": lambda graph, close: close(graph.add("Min", np.float32(0.5)), 0.05),
    "GlobalMaxPool": lambda graph, close: close(graph.add("GlobalMaxPool"), 0.05),
}


@pytest.mark.parametrize("quantised", [False, True])
@pytest.mark.parametrize("name", NODES)
def test_onnx(tmp_path, name, quantised):
    rng = np.random.default_rng(0)

    def close(graph: Graph, scale: float) -> Graph:
        return qdq(graph, scale) if quantised else graph

    def convolution(graph: Graph, channels: int, before: int) -> Graph:
        kernel = rng.integers(-128, 128, (channels, before, 1, 1)).astype(np.int8)
        return close(graph.add("Conv", graph.node("DequantizeLinear", kernel, np.float32(0.01)) if quantised else
                               graph.constant(np.float32(0.01) * kernel)), 0.05)

    graph = convolution(close(Graph("n", 2, 6, 5), 0.02), 3, 2)
    graph = convolution(NODES[name](graph, close), 2, 3)
    (tmp_path / "model.onnx").write_bytes(graph.bytes())
    network, batch = read_onnx(tmp_path / "model.onnx"), rng.normal(size=(3, 2, 6, 5)).astype(np.float32)
    (expected,) = run(graph.bytes(), batch)
    if isinstance(network, FloatNetwork):
        (got,) = network.answer(network.run(network.images(batch)))
        assert np.abs(got - expected).max() <= 1e-5 * np.abs(expected).max()
        return
    (codes,) = network.answer(golden.run(network, network.quantise_input(batch.transpose(0, 2, 3, 1))))
    got = network.output_scale * (codes.astype(float) - network.output_zero_point)
    # Each layer may be one off; seldom by more than that of the last.
    assert np.abs(got - expected).max() <= 3.001 * network.output_scale
    assert (np.abs(got - expected) > 0.5 * network.output_scale).mean() < 0.05
