# SPDX-License-Identifier: Apache-2.0
"""Random graphs of all operators, of int8 and of uint8: every layer and every output of the model is LiteRT's."""

import numpy as np
import pytest
from litert import Interpreter, reference
from tepal.quant import simplify
from tepal.sim import golden
from tflite_writer import Chain, Operator, Tensor, Uint8Chain, write

SEEDS = range(40)


class Maker:
    """Operators on tensors drawn from those that there are, branches and joins among them."""

    def __init__(self, kind: type[Chain], seed: int):
        self.random = random = np.random.default_rng(seed)
        self.offset = 128 if kind is Uint8Chain else 0
        shape = [int(size) for size in random.integers(3, 9, 2)] + [int(random.integers(1, 5))]
        self.chain = kind(*shape, scale=self.scale(), zero_point=self.zero_point())
        self.tensors = [self.chain.input]

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

    def step(self) -> None:
        random, chain = self.random, self.chain
        chain.tensor = self.tensors[random.integers(len(self.tensors))]
        height, width, channels = chain.tensor.shape[1:]
        alike = [tensor for tensor in self.tensors if tensor.shape == chain.tensor.shape]
        other = alike[random.integers(len(alike))]
        match random.integers(11):
            case 0 | 1:
                count = int(random.integers(1, 5))
                chain.convolution(self.integers(count, 3, 3, channels), random.integers(-99, 99, count),
                                  weight_scale=0.01, stride=(1, int(random.integers(1, 3))),
                                  activation=self.activation(), **self.result())
            case 2:
                chain.depthwise(self.integers(3, 3, channels), weight_scale=0.02, activation=self.activation(),
                                **self.result())
            case 3 | 4 | 5:
                chain.append(str(random.choice(["ADD", "SUB"])), chain.tensor.shape, other,
                             FusedActivationFunction=self.activation(), **self.result())
            case 6:
                self.concatenate(other)
            case 7:
                pool = chain.max_pool if random.integers(2) else chain.average_pool
                pool((2, 2), stride=(1, 1), activation=self.activation()) if min(height, width) > 1 else None
            case 8:
                name = str(random.choice(["RELU", "RELU6", "LEAKY_RELU", "HARD_SWISH", "LOGISTIC", "QUANTIZE"]))
                options = {"Alpha": 0.2} if name == "LEAKY_RELU" else {}
                result = {"scale": 1 / 256, "zero_point": -128 + self.offset} if name == "LOGISTIC" else \
                    {"scale": chain.tensor.scale * 2, "zero_point": self.zero_point()}
                chain.append(name, chain.tensor.shape, **result, **options)
            case 9:
                count = 1 if random.integers(2) else channels
                constant = Tensor((1, 1, 1, count), chain.TYPE, scale=0.1, zero_point=self.zero_point(),
                                  data=self.integers(count))
                chain.append(str(random.choice(["ADD", "SUB", "MUL"])), chain.tensor.shape, constant,
                             FusedActivationFunction=self.activation(), **self.result())
            case 10:
                chain.append("RELU", chain.tensor.shape)
        if chain.tensor not in self.tensors:
            self.tensors.append(chain.tensor)

    def concatenate(self, other: Tensor) -> None:
        chain, parts = self.chain, [self.chain.tensor, other]
        if chain.TYPE == "INT8":
            # The parts must have one scale there.
            for number, part in enumerate(parts):
                chain.tensor = part
                parts[number] = chain.append("QUANTIZE", part.shape, scale=0.125, zero_point=7).tensor
        chain.tensor = parts[0]
        *size, channels = parts[0].shape
        result = {} if chain.TYPE == "INT8" else self.result()
        chain.append("CONCATENATION", (*size, channels + parts[1].shape[3]), parts[1], Axis=3, **result)

    def content(self, outputs: int) -> bytes:
        made = self.tensors[1:] or [self.chain.average_pool((2, 2)).tensor]
        chosen = list(dict.fromkeys([made[-1], *self.random.choice(np.array(made, object), outputs)]))
        self.random.shuffle(chosen)
        return write(self.chain.operators, [self.chain.input], chosen)


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
@pytest.mark.parametrize("seed", SEEDS)
def test_random_graphs(read, kind, seed):
    maker = Maker(kind, seed)
    for _ in range(int(maker.random.integers(3, 12))):
        maker.step()
    check(read, maker.content(int(maker.random.integers(1, 4))), seed)


@pytest.mark.parametrize("kind", [Chain, Uint8Chain])
@pytest.mark.parametrize("end", ["SOFTMAX", "LOGISTIC", "ARG_MAX", "QUANTIZE", "DEQUANTIZE"])
@pytest.mark.parametrize("flat", [False, True])
def test_heads_put_together_and_closed(read, kind, end, flat):
    """A detector: two maps reshaped to boxes, put together along them, and an operator behind the whole."""
    maker = Maker(kind, 3)
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
