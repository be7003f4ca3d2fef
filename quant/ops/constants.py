# SPDX-License-Identifier: Apache-2.0
"""Nodes of ONNX that read constants or shapes alone, as exporters leave them: computed here and now."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

import numpy as np
from tepal.quant.files.draft import Constant
from tepal.quant.layer import LARGEST_MAP

from .registry import onnx_constant

if TYPE_CHECKING:
    from tepal.quant.files.onnx_model import OnnxModel
    from tepal.quant.files.onnx_node import Node


@onnx_constant("Add", "Cast", "Clip", "Concat", "Constant", "Div", "Gather", "Mul", "QuantizeLinear", "Reshape",
               "Slice", "Squeeze", "Sub", "Unsqueeze")
def _evaluated(model: OnnxModel, node: Node) -> Constant:
    return Constant(model.evaluate(node, {name: model.constants[name].real for name in node.inputs if name}))


@onnx_constant("Shape", shape_only=True)
def _shape(model: OnnxModel, node: Node) -> Constant:
    shape = _shape_of(model, node.inputs[0])
    return Constant(np.array(shape[slice(node.attributes.get("start"), node.attributes.get("end"))], np.int64))


def _shape_of(model: OnnxModel, name: str) -> tuple[int, ...]:
    return (model.values[name].places if name in model.values else model.constants[name].values).shape


@onnx_constant("CastLike", shape_only=True)
def _cast_like(model: OnnxModel, node: Node) -> Constant:
    return model.constant(node, 0, "values")


@onnx_constant("ConstantOfShape", "Expand")
def _expanded(model: OnnxModel, node: Node) -> Constant:
    shape = model.constant(node, len(node.inputs) - 1, "shape").values
    if prod(shape.ravel().tolist()) > LARGEST_MAP:
        raise node.error(f"makes more than {LARGEST_MAP} values")
    return _evaluated(model, node)


@onnx_constant("Identity", "Transpose")
def _moved(model: OnnxModel, node: Node) -> Constant:
    """Weights stay integers when they change sides."""
    moved = model.constants[node.inputs[0]]
    if moved.scales is None:
        return _evaluated(model, node)
    parts = moved.values, moved.scales, np.asarray(moved.zero_points)
    return Constant(*(model.evaluate(node, {node.inputs[0]: part}) for part in parts))
