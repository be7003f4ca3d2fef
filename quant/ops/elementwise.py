# SPDX-License-Identifier: Apache-2.0
"""Functions of each value by itself in ONNX: activations that are no clamp, alone or as exporters take them apart
(x * Sigmoid(x))."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from tepal.quant.files.functions import then
from tepal.quant.lookup import FUNCTIONS

from .registry import onnx

if TYPE_CHECKING:
    from tepal.quant.files.draft import Value
    from tepal.quant.files.onnx_model import OnnxModel
    from tepal.quant.files.onnx_node import Node

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


@onnx("PRelu", elementwise=True, limits="one slope for all channels")
def _leaky(model: OnnxModel, node: Node, value: Value) -> Value:
    slopes = np.unique(model.constant(node, 1, "slopes").real.astype(np.float32))
    if slopes.size != 1:
        raise node.obstacle("has a slope for each channel; one for all of them is supported (in PyTorch nn.PReLU() "
                            "with one parameter, or nn.LeakyReLU)")
    return then(node, model, value, lambda x: np.where(x < 0, slopes[0] * x, x))


@onnx("Pow", elementwise=True, limits="with one constant exponent")
def _power(model: OnnxModel, node: Node, value: Value) -> Value:
    exponent = model.constant(node, 1, "exponent").real
    if exponent.size != 1:
        raise node.obstacle("has more than one exponent; one number is supported")
    return then(node, model, value, lambda x: np.power(x, np.float32(exponent.item())))
