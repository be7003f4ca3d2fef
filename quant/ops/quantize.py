# SPDX-License-Identifier: Apache-2.0
"""Between real numbers and int8: QUANTIZE and DEQUANTIZE of TensorFlow Lite, QuantizeLinear and DequantizeLinear of
ONNX."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from tepal.quant.files.draft import Constant, Draft
from tepal.quant.files.tflite_file import EXPORT_AGAIN, Operator
from tepal.quant.files.tflite_graph import IntegerGraph, multiplied
from tepal.quant.files.weights import WeightedDraft
from tepal.quant.layer import IMAGE, Meaning
from tepal.quant.lookup import CODES

from .depthwise import FloatDepthwise
from .registry import onnx, onnx_constant, tflite

if TYPE_CHECKING:
    from tepal.quant.files.onnx_chain import OnnxChain
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
    rescaled = multiplied(CODES - source.zero_point, np.float64(source.scale) / np.float64(result.scale))
    graph.look_up(operator, rescaled + result.zero_point, "QUANTIZE")


@tflite("DEQUANTIZE", only="int8", elsewhere=_ELSEWHERE,
        limits="int8 or uint8 to float32, at the end")
def _dequantize_at_the_end(graph: IntegerGraph, operator: Operator) -> None:
    """The accelerator delivers the int8 values before it."""
    graph.check_activation(operator, operator.input(0))
    graph.give(operator, graph.value(operator))


# ---- ONNX ----

_TYPES = {2: np.uint8, 3: np.int8}
"""Of onnx.TensorProto's numbers, those of activations."""


@onnx("QuantizeLinear", moves=True, only="QDQ", limits="to int8 or uint8, one scale for the map")
def _quantize(chain: OnnxChain, node: Node) -> None:
    if chain.integers:
        raise node.error("quantises integers")
    meaning = _meaning(chain, node, np.dtype(np.uint8))
    chain.integers = True
    if chain.closing:
        return
    if not chain.drafts and chain.meaning is None:
        chain.start = meaning
    elif meaning != chain.meaning:
        draft = continued(chain, node)
        draft.result = meaning
        draft.name = (chain.own and node.proto.doc_string) or node.inputs[0]
        if len(chain.drafts) > 1 and draft.only_clamps and draft.source == meaning:
            # A clamp between equal scales needs no layer of its own.
            chain.drafts.pop()
            chain.drafts[-1].clamp(draft.minimum, draft.maximum)
            chain.drafts[-1].name = draft.name
    chain.meaning = meaning


@onnx("DequantizeLinear", moves=True, only="QDQ", limits="from int8 or uint8; of weights, symmetric, with a scale for "
      "each output channel or one for all")
def _dequantize(chain: OnnxChain, node: Node) -> None:
    if not chain.integers:
        raise node.error("dequantises real numbers")
    meaning = _meaning(chain, node, chain.integer_type)
    chain.integers = False
    if chain.closing:
        return
    if chain.meaning is None:
        chain.start = chain.meaning = meaning
    if meaning != chain.meaning:
        raise node.error("has another scale or zero point than the QuantizeLinear before it")


def _meaning(chain: OnnxChain, node: Node, kind: np.dtype) -> Meaning:
    """Scale and zero point of an activation, as int8; ``kind`` is its type where there is no zero point to tell."""
    scales = _scales(chain, node)
    zero_point = np.zeros(1, kind)
    if len(node.inputs) > 2 and node.inputs[2]:
        zero_point = chain.constant(node, 2, "zero points").values
    elif number := node.attributes.get("output_dtype"):
        if number not in _TYPES:
            raise node.error(f"has the output_dtype {number}; quantise activations to int8 or uint8")
        zero_point = np.zeros(1, _TYPES[number])
    if zero_point.dtype not in (np.int8, np.uint8):
        raise node.error(f"has {zero_point.dtype} activations; quantise them to int8 or uint8")
    if scales.size != 1 or zero_point.size != 1:
        raise node.error(f"has {scales.size} scales and {zero_point.size} zero points for activations, not one")
    chain.integer_type = zero_point.dtype
    return scales.item(), int(zero_point.item()) - (128 if zero_point.dtype == np.uint8 else 0)


def _scales(chain: OnnxChain, node: Node) -> np.ndarray:
    scales = chain.constant(node, 1, "scales").values.astype(np.float32)
    if not scales.size or not np.isfinite(scales).all() or (scales <= 0).any():
        raise node.error("has a scale that isn't a positive number")
    return scales


@onnx_constant("DequantizeLinear")
def _dequantised(chain: OnnxChain, node: Node) -> Constant:
    """Constant integers and what they mean."""
    values, scales = chain.constant(node, 0, "values").values, _scales(chain, node)
    zero_points = np.zeros_like(scales, np.int64)
    if len(node.inputs) > 2 and node.inputs[2]:
        zero_points = chain.constant(node, 2, "zero points").values.astype(np.int64)
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


def continued(chain: OnnxChain, node: Node, only_clamps: bool = False) -> Draft:
    """The layer whose result ``node`` changes; after DequantizeLinear a new one that only rescales
    (``only_clamps`` if that is all that it will do)."""
    if chain.meaning is not None:
        size = chain.started(node)
        # A step of 1/64 leaves a constant that is added its precision.
        chain.append(node, WeightedDraft(
            kind=FloatDepthwise, node=node, name=node.output, input_shape=size, output_shape=size,
            weights=np.full((1, 1, size[2]), 64, np.int8), scales=np.full(size[2], 1 / 64, np.float32),
            only_clamps=only_clamps), chain.places)
    if not chain.drafts:
        raise node.obstacle("comes before any layer; start the model with its first convolution")
    return chain.drafts[-1]
