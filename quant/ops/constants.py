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
    from tepal.quant.files.onnx_chain import OnnxChain
    from tepal.quant.files.onnx_node import Node


@onnx_constant("Add", "Cast", "Clip", "Concat", "Constant", "Div", "Gather", "Mul", "QuantizeLinear", "Reshape",
               "Slice", "Squeeze", "Sub", "Unsqueeze")
def _evaluated(chain: OnnxChain, node: Node) -> Constant:
    return Constant(chain.evaluate(node, {name: chain.constants[name].real for name in node.inputs if name}))


@onnx_constant("Shape", shape_only=True)
def _shape(chain: OnnxChain, node: Node) -> Constant:
    shape = chain.shapes.get(node.inputs[0]) or chain.constants[node.inputs[0]].values.shape
    return Constant(np.array(shape[slice(node.attributes.get("start"), node.attributes.get("end"))], np.int64))


@onnx_constant("CastLike", shape_only=True)
def _cast_like(chain: OnnxChain, node: Node) -> Constant:
    return chain.constant(node, 0, "values")


@onnx_constant("ConstantOfShape", "Expand")
def _expanded(chain: OnnxChain, node: Node) -> Constant:
    shape = chain.constant(node, len(node.inputs) - 1, "shape").values
    if prod(shape.ravel().tolist()) > LARGEST_MAP:
        raise node.error(f"makes more than {LARGEST_MAP} values")
    return _evaluated(chain, node)


@onnx_constant("Identity", "Transpose")
def _moved(chain: OnnxChain, node: Node) -> Constant:
    """Weights stay integers when they change sides."""
    moved = chain.constants[node.inputs[0]]
    if moved.scales is None:
        return _evaluated(chain, node)
    parts = moved.values, moved.scales, np.asarray(moved.zero_points)
    return Constant(*(chain.evaluate(node, {node.inputs[0]: part}) for part in parts))
