# SPDX-License-Identifier: Apache-2.0
"""Clamps: RELU, RELU6 and RELU_N1_TO_1 of TensorFlow Lite, Relu, Clip, Min and Max of ONNX.

They are fused into the layer before them."""

from __future__ import annotations

from dataclasses import replace
from math import inf
from typing import TYPE_CHECKING

import numpy as np
from tepal.quant.files.functions import quantised_later, then
from tepal.quant.files.tflite_file import Operator
from tepal.quant.files.tflite_graph import ACTIVATIONS, FloatGraph, IntegerGraph, TfliteGraph, multiplied
from tepal.quant.layer import IMAGE, FloatLayer, Layer, OnnxGraph
from tepal.quant.lookup import CODES

from .multiply import later
from .quantize import continued
from .registry import onnx, tflite

if TYPE_CHECKING:
    from tepal.quant.files.draft import Value
    from tepal.quant.files.onnx_model import OnnxModel
    from tepal.quant.files.onnx_node import Node

__all__ = ["write_clamp"]

FUSED = "fused into the layer before it, else a table"


@tflite("RELU", "RELU6", "RELU_N1_TO_1", limits="fused into the layer before it, or a table where that can't be")
def _activation(graph: TfliteGraph, operator: Operator) -> None:
    """If nothing else reads what the layer before it gives, that then gives the tensor of this operator."""
    (source,), _, value = graph.alike(operator, 1)
    graph.check_activation(operator, operator.output)
    graph.check_shape(operator, value.shape)
    before = graph.layers[source] if source != IMAGE else None
    fused = None if value.shared or before is None else _fused(graph, operator, before)
    if fused:
        graph.layers[source] = replace(fused, name=operator.output.name, tensor=operator.output.index)
        graph.give(operator, value)
    elif isinstance(graph, IntegerGraph):
        result = operator.output
        # ReluPrepare divides in float32.
        real = np.float64(operator.input(0).scale / result.scale)
        low, high = graph.clamp(operator, ACTIVATIONS[operator.name])
        rescaled = multiplied(operator, CODES - operator.input(0).zero_point, real) + result.zero_point
        graph.look_up(operator, np.clip(rescaled, low, high), operator.name)
    elif isinstance(graph, FloatGraph):
        low, high = ACTIVATIONS[operator.name]
        graph.look_up(operator, lambda x: np.clip(x, np.float32(low), np.float32(high)), operator.name)


def _fused(graph: TfliteGraph, operator: Operator, before: Layer | FloatLayer) -> Layer | FloatLayer | None:
    """The layer ``before`` with a clamp, if it has one that can be narrowed to that."""
    if isinstance(before, FloatLayer):
        low, high = ACTIVATIONS[operator.name]
        return replace(before, minimum=min(max(before.minimum, low), high), maximum=min(max(before.maximum, low), high))
    if not isinstance(graph, IntegerGraph) or operator.input(0).meaning != operator.output.meaning:
        return None
    rule = getattr(before, "requantise", None)
    if rule is None:
        return None
    low, high = graph.clamp(operator, ACTIVATIONS[operator.name])
    narrowed = replace(rule, minimum=min(max(rule.minimum, low), high), maximum=min(max(rule.maximum, low), high))
    return replace(before, requantise=narrowed)


@onnx("Relu", elementwise=True, on_integers=True, limits=FUSED)
@onnx("Clip", elementwise=True, on_integers=True, limits=f"between constants, {FUSED}")
@onnx("Min", "Max", constant_first=True, elementwise=True, on_integers=True, limits=f"with one constant, {FUSED}")
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
    low, high = (float(bound.item()) for bound in bounds)
    if value.integers:
        return _narrowed(model, node, value, low, high)
    if later(model, value):
        return then(node, model, value, lambda x: np.minimum(np.maximum(x, np.float32(low)), np.float32(high)))
    value = continued(model, node, value, only_clamps=True)
    assert value.draft is not None
    value.draft.clamp(low, high)
    value.draft.linear, value.draft.name = False, node.output
    return value


def _narrowed(model: OnnxModel, node: Node, value: Value, low: float, high: float) -> Value:
    """Integers from ``low`` to ``high``, as Brevitas narrows the range of activations."""
    assert value.meaning
    scale, zero_point = value.meaning
    offset = zero_point + (128 if value.integer_type == np.uint8 else 0)
    low, high = (float(np.float32(scale) * np.float32(bound - offset)) for bound in (low, high))
    if value.draft is not None and value.alone and not value.pending:
        value.draft.clamp(low, high)
        return value
    if low <= scale * (-128 - zero_point) and high >= scale * (127 - zero_point):
        return value
    narrowed = then(node, model, value, lambda x: np.minimum(np.maximum(x, np.float32(low)), np.float32(high)))
    return replace(quantised_later(node, narrowed, value.meaning, node.output), meaning=value.meaning, integers=True)


def write_clamp(graph: OnnxGraph, layer: Layer, value: str, result: str) -> str:
    """The clamp of ``layer`` on ``value``, in real numbers; the name of its ``result``."""
    minimum, maximum = layer.requantise.minimum, layer.requantise.maximum
    if (minimum, maximum) == (layer.output_zero_point, 127):
        return graph.node("Relu", [value], result)
    bounds = [graph.constant(f"{result}/{name}", layer.output_scale * (bound - layer.output_zero_point), np.float32)
              for name, bound in (("minimum", minimum), ("maximum", maximum))]
    return graph.node("Clip", [value, *bounds], result)
