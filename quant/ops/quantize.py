# SPDX-License-Identifier: Apache-2.0
"""Between real numbers and int8: QUANTIZE and DEQUANTIZE of TensorFlow Lite, QuantizeLinear and DequantizeLinear of
ONNX."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from tepal.quant.answers import dequantised
from tepal.quant.files.draft import REAL, Constant
from tepal.quant.files.functions import quantised_later
from tepal.quant.files.tflite_file import EXPORT_AGAIN, Operator
from tepal.quant.files.tflite_graph import IntegerGraph, multiplied
from tepal.quant.files.weights import WeightedDraft
from tepal.quant.layer import IMAGE, Meaning
from tepal.quant.lookup import CODES

from .depthwise import FloatDepthwise
from .registry import onnx, onnx_constant, tflite

if TYPE_CHECKING:
    from tepal.quant.files.draft import Value
    from tepal.quant.files.onnx_model import OnnxModel
    from tepal.quant.files.onnx_node import Node

__all__ = ["continued"]

_ELSEWHERE = f"integers inside a float model: {EXPORT_AGAIN}"


# ---- TensorFlow Lite ----

@tflite("QUANTIZE", only="int8", elsewhere=_ELSEWHERE,
        limits="float32 to int8 or uint8 as the first operator; between int8 and uint8 and to another scale anywhere")
def _quantize_tflite(graph: IntegerGraph, operator: Operator) -> None:
    value, source, result = graph.value(operator), operator.input(0), operator.output
    graph.check_activation(operator, result)
    if source.type == "FLOAT32" and value.sources == (IMAGE,):
        if graph.start.type != "FLOAT32" and graph.start.meaning != result.meaning:
            raise operator.error("quantises the image to another scale than an operator before it")
        graph.start = result
    if source.type == "FLOAT32" or source.meaning == result.meaning:
        if source.type == "FLOAT32" and value.sources != (IMAGE,):
            raise operator.error("quantises float32 values inside the model; quantise all of it to int8")
        graph.check_shape(operator, value.shape)
        graph.give(operator, value)
        return
    rescaled = multiplied(operator, CODES - source.zero_point, np.float64(source.scale) / np.float64(result.scale))
    graph.look_up(operator, rescaled + result.zero_point, "QUANTIZE")


@tflite("DEQUANTIZE", only="int8", elsewhere=_ELSEWHERE,
        limits="int8 or uint8 to float32, at the end")
def _dequantize_at_the_end(graph: IntegerGraph, operator: Operator) -> None:
    """The accelerator delivers the int8 values before it."""
    graph.check_activation(operator, operator.input(0))
    value = graph.value(operator)
    graph.check_shape(operator, value.shape)
    graph.close(operator, value, dequantised(operator.input(0).meaning, operator.index, operator.output.index))


# ---- ONNX ----

_TYPES = {2: np.uint8, 3: np.int8}
"""Of onnx.TensorProto's numbers, those of activations."""


@onnx("QuantizeLinear", moves=True, only="QDQ", limits="to int8 or uint8, one scale for the map")
def _quantize(model: OnnxModel, node: Node, value: Value) -> Value:
    if value.parts:
        return replace(value, parts=tuple(_quantize(model, node, part) for part in value.parts), integers=True)
    if value.integers:
        raise node.error("quantises integers")
    meaning, kind = _meaning(model, node, np.dtype(np.uint8))
    if not value.closings and meaning != value.meaning:
        value = _quantised(model, node, value, meaning)
    return replace(value, meaning=meaning, integers=True, integer_type=kind)


def _quantised(model: OnnxModel, node: Node, value: Value, meaning: Meaning) -> Value:
    """Real numbers that become integers of another ``meaning`` than they may have had."""
    name = (model.own and node.proto.doc_string) or node.inputs[0].removesuffix(REAL)
    if value.pending:
        return quantised_later(node, value, meaning, name)
    if value.draft is None and value.meaning is None:
        _begin(model, node, meaning)
        return value
    if value.meaning is not None:
        value = continued(model, node, value)
    draft = model.variant(value, meaning)
    draft.result, draft.name = meaning, name
    before = draft.reads[0]
    if draft.only_clamps and before.meaning == meaning and before.draft is not None and before.alone:
        # A clamp between equal scales needs no layer of its own.
        before.draft.clamp(draft.minimum, draft.maximum)
        before.draft.name, draft = draft.name, before.draft
    return replace(value, draft=draft)


def _begin(model: OnnxModel, node: Node, meaning: Meaning) -> None:
    """The image means this."""
    if model.start not in (None, meaning):
        raise node.error("gives the images another scale or zero point than a node before it; quantise them once")
    model.start = meaning


@onnx("DequantizeLinear", moves=True, only="QDQ", limits="from int8 or uint8; of weights, symmetric, with a scale for "
      "each output channel or one for all")
def _dequantize(model: OnnxModel, node: Node, value: Value) -> Value:
    if value.parts:
        return replace(value, parts=tuple(_dequantize(model, node, part) for part in value.parts), integers=False)
    if not value.integers:
        raise node.error("dequantises real numbers")
    meaning, _ = _meaning(model, node, value.integer_type)
    if value.meaning is None:
        _begin(model, node, meaning)
    elif meaning != value.meaning and not value.closings:
        raise node.error("has another scale or zero point than the QuantizeLinear before it")
    return replace(value, meaning=meaning, integers=False)


def _meaning(model: OnnxModel, node: Node, kind: np.dtype) -> tuple[Meaning, np.dtype]:
    """Scale and zero point of an activation, as int8, and its type; ``kind`` is that where there is no zero point to
    tell."""
    scales = _scales(model, node)
    zero_point = np.zeros(1, kind)
    if len(node.inputs) > 2 and node.inputs[2]:
        zero_point = model.constant(node, 2, "zero points").values
    elif number := node.attributes.get("output_dtype"):
        if number not in _TYPES:
            raise node.error(f"has the output_dtype {number}; quantise activations to int8 or uint8")
        zero_point = np.zeros(1, _TYPES[number])
    if zero_point.dtype not in (np.int8, np.uint8):
        raise node.error(f"has {zero_point.dtype} activations; quantise them to int8 or uint8")
    if scales.size != 1 or zero_point.size != 1:
        raise node.error(f"has {scales.size} scales and {zero_point.size} zero points for activations, not one")
    offset = 128 if zero_point.dtype == np.uint8 else 0
    return (scales.item(), int(zero_point.item()) - offset), zero_point.dtype


def _scales(model: OnnxModel, node: Node) -> np.ndarray:
    scales = model.constant(node, 1, "scales").values.astype(np.float32)
    if not scales.size or not np.isfinite(scales).all() or (scales <= 0).any():
        raise node.error("has a scale that isn't a positive number")
    return scales


@onnx_constant("DequantizeLinear")
def _dequantised(model: OnnxModel, node: Node) -> Constant:
    """Constant integers and what they mean."""
    values, scales = model.constant(node, 0, "values").values, _scales(model, node)
    zero_points = np.zeros_like(scales, np.int64)
    if len(node.inputs) > 2 and node.inputs[2]:
        zero_points = model.constant(node, 2, "zero points").values.astype(np.int64)
    if values.dtype not in (np.int8, np.uint8, np.int32):
        raise node.error(f"has {values.dtype} weights; supported are int8 and uint8")
    if values.dtype == np.uint8:
        values, zero_points = values.astype(np.int16) - 128, zero_points - 128
    if zero_points.size == 1:
        zero_points = zero_points.reshape(())
    elif zero_points.shape != scales.shape:
        raise node.error(f"has zero points of the shape {list(zero_points.shape)} for scales of "
                         f"{list(scales.shape)}")
    shape = [1] * values.ndim
    if scales.size > 1:
        axis = int(node.attributes.get("axis", 1)) if values.ndim > 1 else 0
        if scales.ndim != 1 or not -values.ndim <= axis < values.ndim or scales.size != values.shape[axis]:
            raise node.error(f"has scales of the shape {list(scales.shape)} for values of {list(values.shape)}; "
                             "supported are one, or one for each channel")
        shape[axis] = scales.size
    return Constant(values, scales.reshape(shape), np.broadcast_to(zero_points, scales.shape).reshape(shape))


def continued(model: OnnxModel, node: Node, value: Value, *, linear: bool = False, only_clamps: bool = False) -> Value:
    """``value`` as the result of a layer that ``node`` may change, one whose sums are open to factors and constants if
    it must be ``linear``: the one that gives it, where nothing else reads that, else a new one that changes nothing yet
    (``only_clamps`` if a clamp is all that it will do)."""
    draft = value.draft
    if value.meaning is None and draft is not None and (draft.linear or not linear):
        if value.alone:
            return value
        if model.quantised:
            # Real numbers that are never stored: the layer runs once for each way in which they are.
            return replace(value, draft=model.twin(draft), alone=True)
    size = model.started(node, value)
    if value.meaning is not None:
        # A step of 1/64 leaves a constant that is added its precision.
        weights, scales = np.full((1, 1, size[2]), 64, np.int8), np.full(size[2], 1 / 64, np.float32)
    elif model.quantised:
        raise node.obstacle("works on real numbers before they are quantised, where only the layer right before it "
                            "could take it up; quantise them before it, or leave it out")
    else:
        weights, scales = np.ones((1, 1, size[2])), None
    return model.add(node, WeightedDraft(
        kind=FloatDepthwise, node=node, reads=(value,), name=node.output, input_shape=size, output_shape=size,
        weights=weights, scales=scales, made=True, only_clamps=only_clamps), model.places(value))
