# SPDX-License-Identifier: Apache-2.0
"""Random graphs of all operators, of int8 and of uint8: every layer and every output of the model is LiteRT's."""

import numpy as np
import pytest
from graphs import RandomGraph, graphs
from hypothesis import HealthCheck, given, settings
from litert import Interpreter, reference
from tepal.quant import Add, AveragePool, Convolution, Depthwise, Layer, Padding, simplify
from tepal.quant.layer import IMAGE
from tepal.quant.lookup import Lookup
from tepal.quant.ops.concatenation import Concatenation
from tepal.quant.ops.max_pool import MaxPool
from tepal.quant.windows import same_padding
from tepal.sim import golden
from tflite_writer import Chain, Operator, Tensor, Uint8Chain, write


class Maker:
    """Operators of a drawn graph's structure; scales, weights and what a table computes are drawn anew."""

    def __init__(self, kind: type[Chain], shape: tuple[int, int, int], seed: int):
        self.random = np.random.default_rng(seed)
        self.offset = 128 if kind is Uint8Chain else 0
        self.chain = kind(*shape, scale=self.scale(), zero_point=self.zero_point())
        self.maps = {IMAGE: self.chain.input}

    def scale(self) -> float:
        return float(2.0 ** self.random.uniform(-6, -2))

    def zero_point(self) -> int:
        return int(self.random.integers(-128, 128)) + self.offset

    def integers(self, *shape: int) -> np.ndarray:
        return self.random.integers(-128, 128, shape) + self.offset

    def result(self) -> dict:
        return {"scale": self.scale(), "zero_point": self.zero_point()}

    def activation(self) -> str:
        return str(self.random.choice(["NONE", "RELU", "RELU6", "RELU_N1_TO_1"]))

    def layer(self, number: int, layer: Layer, sources: tuple[int, ...]) -> None:
        """Operators in the place of ``layer``, which is the number-th."""
        random, chain = self.random, self.chain
        first, *others = (self.maps[source] for source in sources)
        chain.tensor = first
        match layer:
            case Convolution():
                count = layer.weights.shape[0]
                chain.convolution(self.integers(*layer.weights.shape), random.integers(-99, 99, count),
                                  weight_scale=0.01, activation=self.activation(), **self.windows(layer),
                                  **self.result())
            case Depthwise():
                chain.depthwise(self.integers(*layer.weights.shape), weight_scale=0.02, activation=self.activation(),
                                **self.windows(layer), **self.result())
            case MaxPool():
                chain.max_pool(layer.window, activation=self.activation(), **self.windows(layer))
            case AveragePool():
                chain.average_pool(layer.window, activation=self.activation(), **self.windows(layer))
            case Add():
                chain.append(str(random.choice(["ADD", "SUB"])), first.shape, *others,
                             FusedActivationFunction=self.activation(), **self.result())
            case Concatenation():
                self.concatenate([first, *others])
            case Lookup():
                self.table()
            case _:
                raise TypeError(type(layer))
        assert chain.tensor.shape[1:] == layer.output_shape
        self.maps[number] = chain.tensor

    def windows(self, layer: Convolution | Depthwise | MaxPool | AveragePool) -> dict:
        """Stride and padding; a PAD stands before where the padding is neither SAME's nor VALID's."""
        shape, padding = layer.input_shape, layer.padding
        kernel = layer.window if isinstance(layer, MaxPool | AveragePool) else (
            layer.weights.shape[1:3] if isinstance(layer, Convolution) else layer.weights.shape[:2])
        same = Padding(*same_padding(shape[0], kernel[0], layer.stride[0]),
                       *same_padding(shape[1], kernel[1], layer.stride[1]))
        strided = {"stride": layer.stride}
        if padding == same and layer.output_shape[:2] == tuple(
                -(-size // step) for size, step in zip(shape, layer.stride, strict=False)):
            return strided | {"padding": "SAME"}
        if padding != Padding():
            self.chain.pad(padding.top, padding.bottom, padding.left, padding.right)
        return strided | {"padding": "VALID"}

    def table(self) -> None:
        random, chain = self.random, self.chain
        shape = chain.tensor.shape
        if random.random() < 0.4:
            count = 1 if random.integers(2) else shape[3]
            constant = Tensor((1, 1, 1, count), chain.TYPE, scale=0.1, zero_point=self.zero_point(),
                              data=self.integers(count))
            chain.append(str(random.choice(["ADD", "SUB", "MUL"])), shape, constant,
                         FusedActivationFunction=self.activation(), **self.result())
            return
        name = str(random.choice(["RELU", "RELU6", "LEAKY_RELU", "HARD_SWISH", "LOGISTIC", "QUANTIZE"]))
        options = {"Alpha": 0.2} if name == "LEAKY_RELU" else {}
        if name == "LOGISTIC":
            result = {"scale": 1 / 256, "zero_point": -128 + self.offset}
        elif name == "RELU" and random.integers(2):
            result = {}
        else:
            result = {"scale": chain.tensor.scale * 2, "zero_point": self.zero_point()}
        chain.append(name, shape, **result, **options)

    def concatenate(self, parts: list[Tensor]) -> None:
        chain, result = self.chain, self.result()
        if chain.TYPE == "INT8":
            # The parts must have one scale there.
            result = {}
            for number, part in enumerate(parts):
                chain.tensor = part
                parts[number] = chain.append("QUANTIZE", part.shape, scale=0.125, zero_point=7).tensor
        chain.tensor = parts[0]
        channels = sum(part.shape[3] for part in parts)
        chain.append("CONCATENATION", (*parts[0].shape[:3], channels), *parts[1:], Axis=3, **result)

    def content(self, outputs: tuple[int, ...]) -> bytes:
        """Some of ``outputs``, in any order: what the others alone need is computed for nothing."""
        chosen = [self.maps[number] for number in outputs if number == outputs[-1] or self.random.random() < 0.7]
        self.random.shuffle(chosen)
        return write(self.chain.operators, [self.chain.input], chosen)


def written(kind: type[Chain], graph: RandomGraph) -> bytes:
    """A ``.tflite`` file of the graph's structure."""
    network = graph.network
    maker = Maker(kind, network.input_shape, graph.seed)
    for number, (layer, sources) in enumerate(zip(network.layers, network.sources, strict=True)):
        maker.layer(number, layer, sources)
    return maker.content(network.output_layers)


def check(read, content: bytes, seed: int) -> None:
    network = read(content)
    images = np.random.default_rng(seed).integers(-128, 128, (2, *network.input_shape), dtype=np.int8)
    tensors = reference(content, images)
    for layer, result in zip(network.layers, golden.run(network, images, layers=True), strict=True):
        if layer.tensor >= 0:
            assert np.array_equal(result.ravel(), tensors[layer.tensor].ravel()), layer.name
    given = images.view(np.uint8) ^ 128 if Interpreter(model_content=content).get_input_details()[0][
        "dtype"] == np.uint8 else images
    tensors, details = reference(content, given, raw=True), Interpreter(model_content=content).get_output_details()
    for form in (network, simplify(network).network):
        answers = form.answer(golden.run(form, images))
        for answer, detail in zip(answers, details, strict=True):
            assert answer.dtype == detail["dtype"]
            assert np.array_equal(answer.ravel(), tensors[detail["index"]].ravel())


@pytest.mark.parametrize("kind", [Chain, Uint8Chain])
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(graph=graphs())
def test_random_graphs(read, kind, graph):
    """(``read`` keeps nothing from one example to the next.)"""
    check(read, written(kind, graph), graph.seed)


@pytest.mark.parametrize("kind", [Chain, Uint8Chain])
@pytest.mark.parametrize("end", ["SOFTMAX", "LOGISTIC", "ARG_MAX", "QUANTIZE", "DEQUANTIZE"])
@pytest.mark.parametrize("flat", [False, True])
def test_heads_put_together_and_closed(read, kind, end, flat):
    """A detector: two maps reshaped to boxes, put together along them, and an operator behind the whole."""
    maker = Maker(kind, (5, 6, 3), 3)
    chain, heads = maker.chain, []
    meaning = maker.result()
    for stride in ((1, 1), (2, 2)):
        chain.tensor = chain.input
        chain.convolution(maker.integers(6, 3, 3, chain.input.shape[3]), np.zeros(6), stride=stride, **meaning)
        heads.append(chain.reshape(1, int(np.prod(chain.tensor.shape)) // 3, 3).tensor)
    chain.tensor = heads[0]
    boxes = heads[0].shape[1] + heads[1].shape[1]
    chain.append("CONCATENATION", (1, boxes, 3), heads[1], Axis=1)
    if flat:
        chain.append("TRANSPOSE", (1, 3, boxes), Tensor((3,), "INT32", data=(0, 2, 1)))
    whole = chain.tensor
    match end:
        case "ARG_MAX":
            chain.tensor = Tensor(whole.shape[:-1], "INT64")
            chain.operators.append(Operator("ARG_MAX", [whole, Tensor((), "INT32", data=-1)], [chain.tensor],
                                            {"OutputType": 4}))
        case "DEQUANTIZE":
            chain.tensor = Tensor(whole.shape, "FLOAT32")
            chain.operators.append(Operator(end, [whole], [chain.tensor]))
        case "QUANTIZE":
            chain.append(end, whole.shape, scale=0.3, zero_point=maker.zero_point())
        case _:
            options = {"Beta": 0.7} if end == "SOFTMAX" else {}
            chain.append(end, whole.shape, scale=1 / 256, zero_point=-128 + maker.offset, **options)
    check(read, write(chain.operators, [chain.input], [chain.tensor, whole]), 1)
