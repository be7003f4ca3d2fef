# SPDX-License-Identifier: Apache-2.0
"""The integer network as a standard quantised ``.onnx`` file.

Every map passes QuantizeLinear and DequantizeLinear ("QDQ"), the form that ONNX Runtime, TensorRT and
others read.  They scale in floating point, so a value may differ by one from the network's own integers;
:func:`~.readers.onnx.read_onnx` gives those back exactly.
"""

from math import prod
from os import PathLike
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tepal.processes import write_whole
from tepal.quant.answers import Answer, Arranged, Dequantised, unnamed
from tepal.quant.errors import NetworkError
from tepal.quant.layer import IMAGE, Layer
from tepal.quant.network import Network
from tepal.quant.ops.activation import write_clamp
from tepal.quant.readers.onnx import OWN_PRODUCER

__all__ = ["onnx_model", "write_onnx"]

OPSET = 17
"""Version of the operators; 8 is the version of the file format that came with it."""


def write_onnx(network: Network, path: str | PathLike) -> None:
    """Write :func:`onnx_model` of ``network``; the same network gives the same bytes.  The file appears whole or not
    at all.

    Raises
    ------
    NetworkError
        The file can't be written, or see :func:`onnx_model`.
    """
    path = Path(path)
    content = onnx_model(network).SerializeToString(deterministic=True)
    try:
        write_whole(path, content)
    except OSError as error:
        raise NetworkError(f"{path}: can't be written ({error.strerror})") from None


def onnx_model(network: Network) -> onnx.ModelProto:
    """``network`` with a float32 input ``image`` (batch, channels, height, width) and the outputs that
    ``network.answers`` name, in their order and shapes and in real numbers; where there are none, a float32 output
    ``logits`` (batch, ``network.result_bytes``) in the order of the network's own results, or, of several, ``logits0``,
    ``logits1`` and so on.

    Raises
    ------
    NetworkError
        Names a layer whose integers don't follow from its scales, which are all that the format has.
    """
    return _Graph(network).model()


class _Graph:
    def __init__(self, network: Network):
        self.network = network
        self.answers = network.answers or unnamed(network.output_shapes)
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self.names = {"image"}
        self.outputs = [self.unique(answer.name) for answer in self.answers]

    def model(self) -> onnx.ModelProto:
        network = self.network
        # The layers first: they keep their names, whatever the constants are called.
        results = [self.unique(layer.name) for layer in network.layers]
        values = {IMAGE: self.quantised("image", "image", network.input_scale, network.input_zero_point)}
        scales = {IMAGE: network.input_scale}
        for number, (layer, result) in enumerate(zip(network.layers, results, strict=True)):
            sources = network.sources[number]
            value = self.sums(layer, [values[source] for source in sources], [scales[source] for source in sources],
                              result)
            if value != result:
                value = write_clamp(self, layer, value, result)
            scales[number] = layer.output_scale
            values[number] = self.quantised(value, layer.name, layer.output_scale, layer.output_zero_point)
        made = [self.write_answer(answer, output, values, scales)
                for answer, output in zip(self.answers, self.outputs, strict=True)]
        height, width, channels = network.input_shape
        graph = helper.make_graph(
            self.nodes, network.name,
            [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", channels, height, width])],
            [helper.make_tensor_value_info(output, helper.np_dtype_to_tensor_dtype(sample.dtype),
                                           ["batch", *sample.shape[1:]])
             for output, sample in zip(self.outputs, made, strict=True)],
            self.initializers)
        model = helper.make_model(graph, producer_name=OWN_PRODUCER, ir_version=8,
                                  opset_imports=[helper.make_opsetid("", OPSET)])
        if network.preprocessing:
            helper.set_model_props(model, network.preprocessing.metadata())
        return model

    def write_answer(self, answer: Answer, output: str, values: dict[int, str], scales: dict[int, float]) -> np.ndarray:
        """The nodes that make ``output`` of the layers' results, real numbers called ``values``; a sample of it."""
        numbers = [self.network.output_layers[part] for part in answer.parts]
        closings = [closing for closing in answer.closings if not isinstance(closing, Dequantised)]
        steps = [Arranged(-1, -1, answer.shape), *closings] if len(answer.shape) != 1 else closings
        flat = [self.flat(number, values[number], output if len(numbers) == 1 and not steps else None)
                for number in numbers]
        value = flat[0] if len(flat) == 1 else self.node(
            "Concat", flat, self.unique(f"{output}/parts") if steps else output, axis=1)
        same = {scales[number] for number in numbers}
        sample = np.zeros((1, sum(prod(self.network.shape(number)) for number in numbers)), np.float32)
        for closing in steps:
            last = closing is steps[-1]
            try:
                value = closing.write_onnx(self, value, same.copy().pop() if len(same) == 1 else 1.0,
                                           output if last else self.unique(f"{output}/{closing.name.lower()}"))
            except NetworkError as error:
                raise NetworkError(f"{self.network.name} can't be written as ONNX: {error}") from None
            sample = closing(sample)
            sample = sample if sample.dtype == np.int64 else sample.astype(np.float32)
        return sample if steps else sample.reshape(1, *answer.shape)

    def flat(self, number: int, value: str, output: str | None) -> str:
        """What layer ``number`` gives, real numbers called ``value``, as a vector called ``output``."""
        if prod(self.network.shape(number)[:2]) > 1:
            value = self.node("Transpose", [value], self.unique("output/channels_last"), perm=[0, 2, 3, 1])
        return self.node("Flatten", [value], output or self.unique("logits"), axis=1)

    def unique(self, name: str) -> str:
        """``name``, or with underscores behind it where it is taken or empty."""
        while not name or name in self.names:
            name += "_"
        self.names.add(name)
        return name

    def constant(self, name: str, values, dtype) -> str:
        name = self.unique(name)
        self.initializers.append(numpy_helper.from_array(np.array(values, dtype, order="C"), name))
        return name

    def node(self, operator: str, inputs: list[str], output: str, **attributes) -> str:
        self.nodes.append(helper.make_node(operator, inputs, [output], output, **attributes))
        return output

    def quantised(self, value: str, name: str, scale: float, zero_point: int) -> str:
        """``value`` through int8 and back.  The node that quantises keeps the layer's own name,
        which another value may have already."""
        meaning = [self.constant(f"{name}/scale", scale, np.float32),
                   self.constant(f"{name}/zero_point", zero_point, np.int8)]
        quantised = self.node("QuantizeLinear", [value, *meaning], self.unique(f"{name}/quantised"), doc_string=name)
        return self.node("DequantizeLinear", [quantised, *meaning], self.unique(f"{name}/dequantised"))

    def dequantised(self, name: str, values, scales, dtype) -> str:
        """Constant integers, channel first, and their scales."""
        inputs = [self.constant(f"{name}/integers", values, dtype), self.constant(f"{name}/scale", scales, np.float32),
                  self.constant(f"{name}/zero_point", np.zeros(len(scales)), dtype)]
        return self.node("DequantizeLinear", inputs, self.unique(name), axis=0)

    def sums(self, layer: Layer, values: list[str], input_scales: list[float], result: str) -> str:
        """The layer before its clamp."""
        _check(layer, input_scales)
        rule = getattr(layer, "requantise", None)
        bare = rule is None or (rule.minimum, rule.maximum) == (-128, 127)
        output = result if bare else self.unique(f"{result}/sum")
        return layer.write_onnx(self, values, input_scales, result, output)


def _check(layer: Layer, input_scales: list[float]) -> None:
    """That the layer's real numbers say what its integers do."""
    steps = layer.sum_steps(*input_scales)
    tiny, huge = np.finfo(np.float32).tiny, np.finfo(np.float32).max / 256
    scales = np.array([*steps, *input_scales, layer.output_scale])
    if not ((scales >= tiny) & (scales <= huge)).all():
        raise layer.unwritable("its scales aren't positive numbers that float32 holds")
    # Factors below 2**-32 have become 0.
    rule = getattr(layer, "requantise", None)
    if rule is not None and not np.allclose(steps / layer.output_scale, rule.factor, rtol=1e-6, atol=2**-32):
        raise layer.unwritable("its multipliers don't follow from its scales")
