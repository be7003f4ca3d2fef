# SPDX-License-Identifier: Apache-2.0
"""Operators that read constants or shapes alone, as exporters leave them: computed here and now."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

import numpy as np
import tflite as schema
from tepal.quant.files.draft import Constant
from tepal.quant.files.tflite_file import Operator
from tepal.quant.layer import LARGEST_MAP

from .registry import onnx_constant, tflite_constant

if TYPE_CHECKING:
    from tepal.quant.files.onnx_model import OnnxModel
    from tepal.quant.files.onnx_node import Node


# ---- TensorFlow Lite ----

@tflite_constant("SHAPE", shape_only=True)
def _tflite_shape(operator: Operator) -> np.ndarray:
    return np.array(operator.input(0).shape)


@tflite_constant("STRIDED_SLICE", options=(schema.StridedSliceOptions, (
    "BeginMask", "EndMask", "EllipsisMask", "NewAxisMask", "ShrinkAxisMask")))
def _strided_slice(operator: Operator, values, begin, end, strides) -> np.ndarray:
    options = operator.options
    if options.EllipsisMask or options.NewAxisMask:
        raise operator.obstacle("has an ellipsis or new axes among its slices; write them out")
    parts = []
    for axis in range(len(begin)):
        if options.ShrinkAxisMask >> axis & 1:
            parts.append(int(begin[axis]))
        else:
            parts.append(slice(None if options.BeginMask >> axis & 1 else int(begin[axis]),
                               None if options.EndMask >> axis & 1 else int(end[axis]), int(strides[axis])))
    return values[tuple(parts)]


@tflite_constant("PACK", options=(schema.PackOptions, ("Axis",)))
def _pack(operator: Operator, *values) -> np.ndarray:
    return np.stack(values, axis=operator.options.Axis)


@tflite_constant("CONCATENATION", options=(schema.ConcatenationOptions, ("Axis", "FusedActivationFunction")))
def _put_together(operator: Operator, *values) -> np.ndarray:
    return np.concatenate(values, axis=operator.options.Axis)


@tflite_constant("GATHER", options=(schema.GatherOptions, ("Axis", "BatchDims")))
def _gather(operator: Operator, values, indices) -> np.ndarray:
    if operator.options.BatchDims:
        raise operator.obstacle("gathers along several dimensions at once (batch_dims); only one is supported")
    return np.take(values, indices, axis=operator.options.Axis)


@tflite_constant("FILL")
def _fill(operator: Operator, shape, value) -> np.ndarray:
    return np.full(_affordable(operator, shape), value)


@tflite_constant("BROADCAST_TO")
def _broadcast(operator: Operator, values, shape) -> np.ndarray:
    return np.broadcast_to(values, _affordable(operator, shape))


def _affordable(operator: Operator, shape: np.ndarray) -> list[int]:
    sizes = [int(size) for size in shape.ravel()]
    if prod(max(size, 1) for size in sizes) > LARGEST_MAP:
        raise operator.error(f"makes more than {LARGEST_MAP} values")
    return sizes


@tflite_constant("CAST")
def _cast(operator: Operator, values) -> np.ndarray:
    return values


@tflite_constant("RESHAPE", "SQUEEZE", "EXPAND_DIMS")
def _reshaped(operator: Operator, values, *_) -> np.ndarray:
    return values.reshape(operator.output.shape)


@tflite_constant("TRANSPOSE")
def _transposed(operator: Operator, values, order) -> np.ndarray:
    return values.transpose(order.ravel())


@tflite_constant("REDUCE_PROD", options=(schema.ReducerOptions, ("KeepDims",)))
def _product(operator: Operator, values, axes) -> np.ndarray:
    return np.prod(values, axis=tuple(axes.ravel().tolist()), keepdims=bool(operator.options.KeepDims))


@tflite_constant("ADD", options=(schema.AddOptions, ("FusedActivationFunction",)))
@tflite_constant("SUB", options=(schema.SubOptions, ("FusedActivationFunction",)))
@tflite_constant("MUL", options=(schema.MulOptions, ("FusedActivationFunction",)))
@tflite_constant("MINIMUM", "MAXIMUM")
def _arithmetic(operator: Operator, first, second) -> np.ndarray:
    if operator.output.scales.size:
        raise operator.obstacle("computes with quantised constants; let the converter fold them")
    compute = {"ADD": np.add, "SUB": np.subtract, "MUL": np.multiply, "MINIMUM": np.minimum, "MAXIMUM": np.maximum}
    return compute[operator.name](first, second)


# ---- ONNX ----

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
