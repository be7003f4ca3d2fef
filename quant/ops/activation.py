# SPDX-License-Identifier: Apache-2.0
"""Clamps: RELU, RELU6 and RELU_N1_TO_1 of TensorFlow Lite, Relu, Clip, Min and Max of ONNX.

They are fused into the layer before them."""

from __future__ import annotations

from dataclasses import replace
from math import inf
from typing import TYPE_CHECKING

import numpy as np
from tepal.quant.files.tflite_file import Operator
from tepal.quant.files.tflite_graph import ACTIVATIONS, TfliteGraph
from tepal.quant.layer import IMAGE, Layer, OnnxGraph

from .quantize import continued
from .registry import onnx, tflite

if TYPE_CHECKING:
    from tepal.quant.files.draft import Value
    from tepal.quant.files.onnx_model import OnnxModel
    from tepal.quant.files.onnx_node import Node

__all__ = ["write_clamp"]


@tflite("RELU", "RELU6", "RELU_N1_TO_1", limits="fused into the layer before it", only="float",
        elsewhere="alone in an int8 model: convert again with a current TensorFlow, which fuses them into the layer "
        "before")
def _activation(graph: TfliteGraph, operator: Operator) -> None:
    """The layer before it then gives the tensor of this operator, if nothing else reads what it gives."""
    (source,), _, value = graph.alike(operator, 1)
    graph.check_activation(operator, operator.output)
    graph.check_shape(operator, value.shape)
    if source == IMAGE or value.shared:
        raise operator.obstacle("has no layer before it to be fused into")
    if (before := graph.layers[source]) is not None:
        low, high = ACTIVATIONS[operator.name]
        graph.layers[source] = replace(before, name=operator.output.name, tensor=operator.output.index,
                                       minimum=min(max(before.minimum, low), high),
                                       maximum=min(max(before.maximum, low), high))
    graph.give(operator, value)


@onnx("Relu", constant_first=True, limits="fused into the layer before it")
@onnx("Clip", constant_first=True, limits="between constants, fused into the layer before it",
      on_integers="narrows the range of integers, as Brevitas exports fewer than 8 bits or a narrow range; export "
      "activations of 8 bits with narrow_range=False, or give the float model to 'tepal quantize'")
@onnx("Min", "Max", constant_first=True, limits="with one constant, fused into the layer before it")
def _clamp(model: OnnxModel, node: Node, value: Value) -> Value:
    if node.operator == "Relu":
        bounds = [np.array(0.0), np.array(inf)]
    elif node.operator == "Clip":
        bounds = [model.parameter(node, "min", 1, -inf), model.parameter(node, "max", 2, inf)]
    elif len(node.inputs) == 2:
        bound = model.other(node, "bound")
        bounds = [bound, np.array(inf)] if node.operator == "Max" else [np.array(-inf), bound]
    else:
        raise node.error(f"has {len(node.inputs)} inputs; one bound is supported")
    if any(bound.size != 1 or np.isnan(bound).any() for bound in bounds):
        raise node.error("has bounds that aren't two numbers")
    value = continued(model, node, value, only_clamps=True)
    assert value.draft is not None
    value.draft.clamp(*(float(bound.item()) for bound in bounds))
    value.draft.linear, value.draft.name = False, node.output
    return value


def write_clamp(graph: OnnxGraph, layer: Layer, value: str, result: str) -> str:
    """The clamp of ``layer`` on ``value``, in real numbers; the name of its ``result``."""
    minimum, maximum = layer.requantise.minimum, layer.requantise.maximum
    if (minimum, maximum) == (layer.output_zero_point, 127):
        return graph.node("Relu", [value], result)
    bounds = [graph.constant(f"{result}/{name}", layer.output_scale * (bound - layer.output_zero_point), np.float32)
              for name, bound in (("minimum", minimum), ("maximum", maximum))]
    return graph.node("Clip", [value, *bounds], result)
