# SPDX-License-Identifier: Apache-2.0
"""What only moves values about: RESHAPE, SQUEEZE, EXPAND_DIMS and TRANSPOSE of TensorFlow Lite, Transpose, Reshape,
Flatten, Squeeze and Unsqueeze of ONNX."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import TYPE_CHECKING

from tepal.quant.files.tflite_file import Operator
from tepal.quant.files.tflite_graph import TfliteGraph

from .registry import onnx, tflite

if TYPE_CHECKING:
    from tepal.quant.files.draft import Value
    from tepal.quant.files.onnx_model import OnnxModel
    from tepal.quant.files.onnx_node import Node


@tflite("RESHAPE", "SQUEEZE", "EXPAND_DIMS", limits="anywhere; a convolution must find its map in order behind it")
def _reshape(graph: TfliteGraph, operator: Operator) -> None:
    graph.check_unchanged(operator)
    value = graph.value(operator)
    if prod(operator.output.shape) != prod(value.shape):
        raise operator.error(f"makes {prod(operator.output.shape)} values of {prod(value.shape)}")
    graph.move(operator, lambda numbers: numbers.reshape(operator.output.shape))


@tflite("TRANSPOSE", limits="anywhere; a convolution must find its map in order behind it")
def _transpose(graph: TfliteGraph, operator: Operator) -> None:
    graph.check_unchanged(operator)
    value, order = graph.value(operator), operator.input(1).constant().ravel()
    if sorted(order.tolist()) != list(range(len(value.shape))):
        raise operator.error(f"has the order {order.tolist()} for {len(value.shape)} dimensions")
    graph.move(operator, lambda numbers: numbers.transpose(order))


@onnx("Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze", moves=True,
      limits="constant shapes; a Conv must find its map in order behind it")
def _move(model: OnnxModel, node: Node, value: Value) -> Value:
    inputs = {name: model.constants[name].real for name in node.inputs[1:] if name}
    return replace(value, places=model.evaluate(node, {node.inputs[0]: value.places} | inputs))
