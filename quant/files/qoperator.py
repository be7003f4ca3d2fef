# SPDX-License-Identifier: Apache-2.0
"""The QOperator format of ONNX Runtime: nodes that compute with integers, spelled out as the real operator between
DequantizeLinear and QuantizeLinear, whose results they have.

The operators are those of https://onnx.ai/onnx/operators and, in the domain com.microsoft, of ONNX Runtime's
``docs/ContribOperators.md``."""

from collections.abc import Sequence

import onnx
from onnx import helper

from .draft import REAL

__all__ = ["QOPERATORS", "spelled_out"]

_ONE = ("AveragePool", "GlobalAveragePool", "LeakyRelu", "Sigmoid", "Softmax")
_TWO = ("Add", "Mul")
_MICROSOFT = {**{f"QLinear{name}": name for name in (*_ONE, *_TWO, "Concat", "Conv")}, "QGemm": "Gemm",
              "QuantizeLinear": "QuantizeLinear", "DequantizeLinear": "DequantizeLinear"}
QOPERATORS = {"QLinearConv": "Conv", "QLinearMatMul": "MatMul",
              **{f"com.microsoft.{name}": real for name, real in _MICROSOFT.items()}}
"""Names of the operators, and what they compute."""

_OWN = ("channels_last", "opset")
"""Attributes that the real operators don't have."""


def spelled_out(node: onnx.NodeProto) -> list[onnx.NodeProto]:
    """``node``, or the nodes that it stands for; their constants are called after its output."""
    name = f"{node.domain}.{node.op_type}".removeprefix("ai.onnx.").removeprefix(".")
    if name not in QOPERATORS or not node.output:
        return [node]
    if QOPERATORS[name] == node.op_type:
        plain = onnx.NodeProto()
        plain.CopyFrom(node)
        plain.domain = ""
        return [plain]
    return _Spelled(node, QOPERATORS[name]).nodes


class _Spelled:
    """``nodes`` that compute ``real`` of dequantised inputs and quantise it."""

    def __init__(self, node: onnx.NodeProto, real: str):
        self.node, self.real, self.nodes, self.result = node, real, [], node.output[0]
        inputs = [*node.input, *[""] * 10]
        attributes = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute
                      if attribute.name not in _OWN}
        channels_last = any(attribute.name == "channels_last" and attribute.i for attribute in node.attribute)
        match real:
            case "Conv":
                weights = self.dequantised("weights", inputs[3:6], axis=0)
                values, meaning = [self.dequantised("input", inputs[:3]), weights], inputs[6:8]
                values += self.bias(inputs[8], inputs[1], inputs[4])
            case "Gemm":
                weights = self.dequantised("weights", inputs[3:6], axis=0 if attributes.get("transB") else 1)
                values, meaning = [self.dequantised("input", inputs[:3]), weights], inputs[7:9]
                values += self.bias(inputs[6], inputs[1], inputs[4])
            case "MatMul" | "Add" | "Mul":
                values = [self.dequantised("input", inputs[:3]), self.dequantised("other", inputs[3:6], axis=1)]
                meaning = inputs[6:8]
            case "Concat":
                meaning, parts = inputs[:2], node.input[2:]
                values = [self.dequantised(f"input{place}", parts[place:place + 3])
                          for place in range(0, len(parts), 3)]
            case _:
                values, meaning = [self.dequantised("input", inputs[:3])], inputs[3:5]
        output = f"{self.result}{REAL}" if meaning[0] else self.result
        if channels_last:
            axes = range(1, 1 + len(attributes.get("kernel_shape", "HW")))
            values[0] = self.add("Transpose", values[:1], f"{values[0]}/channels_first", perm=[0, len(axes) + 1, *axes])
            first = self.add(real, values, f"{output}/channels_first", **attributes)
            self.add("Transpose", [first], output, perm=[0, *(axis + 1 for axis in axes), 1])
        else:
            self.add(real, values, output, **attributes)
        if meaning[0]:
            self.add("QuantizeLinear", [output, *meaning], self.result)

    def add(self, operator: str, inputs: Sequence[str], output: str, **attributes) -> str:
        self.nodes.append(helper.make_node(operator, list(inputs), [output], self.node.name or self.result,
                                           **attributes))
        return output

    def dequantised(self, what: str, inputs: Sequence[str], **attributes) -> str:
        """The real numbers of integers, their scale and zero point."""
        return self.add("DequantizeLinear", inputs, f"{self.result}/{what}", **attributes)

    def bias(self, name: str, input_scale: str, weight_scale: str) -> list[str]:
        """The real bias, if there is any; its integers count in steps of the product of both scales."""
        if not name:
            return []
        scale = self.add("Mul", [input_scale, weight_scale], f"{self.result}/bias_scale")
        return [self.dequantised("bias", [name, scale], axis=0)]
