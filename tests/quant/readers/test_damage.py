# SPDX-License-Identifier: Apache-2.0
"""Model files with fields that make no sense: read, or refused in one sentence, in bounded time; never a traceback."""

import time
import warnings

import numpy as np
import pytest
from damage import onnx_fields, tflite_fields
from onnx_models import Graph, legacy, tf, torch
from tepal.quant import FloatNetwork, NetworkError, read_model
from tepal.sim import golden
from tflite_writer import Chain, FloatChain, Operator, Tensor, Uint8Chain

COUNT = 150


def chain(kind: type[Chain]) -> Chain:
    """A bit of everything."""
    random = np.random.default_rng(0)

    def weights(*shape):
        return random.integers(-128, 128, shape)

    return (kind(9, 8, 3).pad(1, 0, 0, 1)
            .convolution(weights(4, 3, 3, 3), np.arange(4), stride=(2, 2), activation="RELU6")
            .depthwise(weights(3, 3, 4), np.arange(4), activation="RELU")
            .average_pool((2, 2), stride=(2, 2)).mean()
            .reshape(1, 1, 1, 4).reshape(1, 4)
            .fully_connected(weights(5, 4), np.arange(5)).softmax())


def graph(kind: type[Chain]) -> Chain:
    """Branches that meet again, a constant, activations that stand alone, a shape worked out."""
    random, chain = np.random.default_rng(0), kind(8, 6, 2)

    def weights(*shape):
        return random.integers(-128, 128, shape)

    chain.convolution(weights(2, 3, 3, 2), np.arange(2), activation="RELU6")
    before = chain.tensor
    chain.append("LEAKY_RELU", before.shape, Alpha=0.1).depthwise(weights(3, 3, 2), np.arange(2))
    chain.append("ADD", before.shape, before, FusedActivationFunction="RELU")
    chain.append("MUL", before.shape, Tensor((2,), kind.TYPE, scale=0.1, data=[5, -7]), FusedActivationFunction="NONE")
    chain.append("CONCATENATION", (1, 8, 6, 4), before, Axis=3, FusedActivationFunction="NONE")
    chain.append("TRANSPOSE", (1, 4, 8, 6), Tensor((4,), "INT32", data=(0, 3, 1, 2)))
    shape, first, whole = (Tensor((size,), "INT32") for size in (4, 1, 2))
    slices = [Tensor((1,), "INT32", data=[number]) for number in (0, 1, 1)]
    chain.operators += [
        Operator("SHAPE", [chain.tensor], [shape]),
        Operator("STRIDED_SLICE", [shape, *slices], [first], {"BeginMask": 0, "EndMask": 0, "EllipsisMask": 0,
                                                              "NewAxisMask": 0, "ShrinkAxisMask": 0}),
        Operator("CONCATENATION", [first, Tensor((1,), "INT32", data=[192])], [whole],
                 {"Axis": 0, "FusedActivationFunction": "NONE"})]
    return chain.append("RESHAPE", (1, 192), whole).fully_connected(weights(3, 192), np.arange(3))


def qdq() -> Graph:
    """A quantised chain: convolution, pool, fully connected layer."""
    graph = Graph("n", 2, 6, 6)

    def pair(scale: float, zero_point: int) -> None:
        meaning = np.float32(scale), np.int8(zero_point)
        graph.add("QuantizeLinear", *meaning).add("DequantizeLinear", *meaning)

    def weights(*shape):
        scales = np.full(shape[0], 0.01, np.float32)
        return graph.node("DequantizeLinear", graph.rng.integers(-127, 128, shape).astype(np.int8), scales,
                          np.zeros(shape[0], np.int8), axis=0)

    pair(0.05, 3)
    graph.add("Conv", weights(3, 2, 3, 3), graph.node("DequantizeLinear", np.arange(3, dtype=np.int32),
                                                      np.float32(0.0005))).add("Relu")
    pair(0.1, -5)
    graph.add("AveragePool", kernel_shape=[2, 2], strides=[2, 2])
    pair(0.1, -5)
    graph.add("Flatten").add("Gemm", weights(4, 12), transB=1)
    pair(0.2, 0)
    return graph


VARIANTS = {
    "int8 TFLite": (".tflite", lambda: tflite_fields(chain(Chain), COUNT)),
    "graph of int8 TFLite": (".tflite", lambda: tflite_fields(graph(Chain), COUNT)),
    "graph of uint8 TFLite": (".tflite", lambda: tflite_fields(graph(Uint8Chain), COUNT)),
    "graph of float TFLite": (".tflite", lambda: tflite_fields(graph(FloatChain), COUNT)),
    "float TFLite": (".tflite", lambda: tflite_fields(chain(FloatChain), COUNT)),
    "PyTorch": (".onnx", lambda: onnx_fields(torch(softmax=True).model(), COUNT)),
    "tf2onnx": (".onnx", lambda: onnx_fields(tf().model(), COUNT)),
    "TorchScript": (".onnx", lambda: onnx_fields(legacy(folded=False).model(), COUNT)),
    "QDQ": (".onnx", lambda: onnx_fields(qdq().model(), COUNT)),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_changed_fields(tmp_path, name):
    suffix, variants = VARIANTS[name]
    path, read, sentences = tmp_path / f"model{suffix}", 0, []
    for content in variants():
        path.write_bytes(content)
        start = time.process_time()
        try:
            with warnings.catch_warnings():
                # What NumPy complains of would stand on stderr beside the sentence.
                warnings.simplefilter("error", RuntimeWarning)
                network = read_model(path)
        except NetworkError as error:
            sentences.append(str(error))
        else:
            read += 1
            if not isinstance(network, FloatNetwork) and network.macs < 10**7:
                golden.run(network, np.zeros((1, *network.input_shape), np.int8))
        assert time.process_time() - start < 20
    assert COUNT / 50 < read < COUNT / 2
    start = f"{path}: "
    assert all(sentence.startswith(start) and "\n" not in sentence for sentence in sentences)
    assert max(map(len, sentences)) < 700 + len(start)
