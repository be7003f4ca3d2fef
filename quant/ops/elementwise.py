# SPDX-License-Identifier: Apache-2.0
"""Functions of each value by itself in ONNX: activations that are no clamp, alone or as exporters take them apart
(x * Sigmoid(x))."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from tepal.quant.files.functions import layered, then
from tepal.quant.files.weights import WeightedDraft
from tepal.quant.lookup import FUNCTIONS

from .add import AddDraft
from .depthwise import FloatDepthwise
from .registry import onnx

if TYPE_CHECKING:
    from tepal.quant.files.draft import Value
    from tepal.quant.files.onnx_model import OnnxModel
    from tepal.quant.files.onnx_node import Node
    from tepal.quant.layer import Shape

_REAL = (1, 10, 11, 16)
"""Of onnx.TensorProto's numbers those of float32, float16, float64 and bfloat16."""


@onnx(*FUNCTIONS, elementwise=True, limits="a table of what each int8 value becomes")
def _function(model: OnnxModel, node: Node, value: Value) -> Value:
    compute, defaults = FUNCTIONS[node.operator]
    given = {name: node.attributes.get(name, default) for name, default in defaults.items()}
    return then(node, model, value, lambda x: compute(x, *given.values()))


@onnx("Cast", moves=True, limits="real numbers, which are computed in float32; integers on the way to a table")
def _cast(model: OnnxModel, node: Node, value: Value) -> Value:
    if value.integers:
        if value.meaning is None:
            # The image, whose integers stand for themselves.
            return replace(value, integers=False)
        (scale, zero_point), offset = value.meaning, 128 * (value.integer_type == np.uint8)
        return then(node, model, value, lambda x: np.rint(x / np.float32(scale)) + np.float32(zero_point + offset))
    if node.attributes["to"] in _REAL:
        return value
    return then(node, model, value, np.trunc)


@onnx("Gather", constant_first=True, elementwise=True, limits="from a table")
def _gather(model: OnnxModel, node: Node, value: Value) -> Value:
    if node.inputs[0] in model.values:
        inputs = {name: model.constants[name].real.astype(np.int64) for name in node.inputs[1:]}
        return replace(value, places=model.evaluate(node, {node.inputs[0]: value.places} | inputs))
    if value.parts:
        raise node.obstacle("looks up in a table what maps of different sizes hold that were put together")
    table = model.constant(node, 0, "table").real.astype(np.float32)
    if table.ndim != 1 or not table.size or node.attributes.get("axis", 0) not in (0, -1):
        raise node.obstacle(f"looks up in a table of the shape {list(table.shape)}; one dimension is supported")
    value = then(node, model, value, lambda x: table[np.clip(x.astype(np.int64), -len(table), len(table) - 1)])
    assert value.pending
    return replace(value, pending=replace(value.pending, function=node.proto.doc_string if model.own else "Gather"))


@onnx("PRelu", elementwise=True, limits="a table; with several slopes a sum of the values above and below 0")
def _leaky(model: OnnxModel, node: Node, value: Value) -> Value:
    slopes = model.constant(node, 1, "slopes").real.astype(np.float32)
    if len(np.unique(slopes)) == 1:
        return then(node, model, value, lambda x: np.where(x < 0, slopes.flat[0] * x, x))
    value = replace(layered(model, node, value), alone=False)
    size, places = model.started(node, value), model.places(value)
    by_channel = model.by_channel(node, value, slopes)
    # Both parts of the values are exact in their own scale and zero point.
    positive, negative = (
        replace(layered(model, node, replace(then(node, model, value, part), meaning=value.meaning)), alone=False)
        for part in (lambda x: np.maximum(x, 0), lambda x: np.minimum(x, 0)))
    draft = _slopes_draft(node, negative, size, by_channel)
    scaled = replace(model.add(node, draft, places), meaning=draft.result)
    return model.add(node, AddDraft(node=node, reads=(positive, scaled), name=node.output, input_shape=size,
                                    output_shape=size, sign=1), places)


def _slopes_draft(node: Node, negative: Value, size: Shape, slopes: np.ndarray) -> WeightedDraft:
    """Each channel of values up to 0 times its slope."""
    fields = {"kind": FloatDepthwise, "node": node, "reads": (negative,), "name": f"{node.output}/slopes",
              "input_shape": size, "output_shape": size, "made": True}
    if negative.meaning is None:
        return WeightedDraft(**fields, weights=slopes[None, None])
    scale, zero_point = negative.meaning
    least = slopes * scale * (-128 - zero_point)
    low, high = min(least.min(), 0.0), max(least.max(), 0.0)
    step = float(np.float32((high - low) / 255)) or 1.0
    return WeightedDraft(
        **fields, weights=(np.sign(slopes) * 127).astype(np.int8)[None, None],
        scales=np.where(slopes == 0, 1, np.abs(slopes) / 127).astype(np.float32),
        result=(step, int(np.clip(np.rint(-128 - low / step), -128, 127))))


@onnx("Pow", elementwise=True, limits="with one constant exponent")
def _power(model: OnnxModel, node: Node, value: Value) -> Value:
    exponent = model.constant(node, 1, "exponent").real
    if exponent.size != 1:
        raise node.obstacle("has more than one exponent; one number is supported")
    return then(node, model, value, lambda x: np.power(x, np.float32(exponent.item())))
