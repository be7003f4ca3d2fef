# SPDX-License-Identifier: Apache-2.0
"""Zeros around a map: PAD and PADV2 of TensorFlow Lite, Pad of ONNX.  They become part of the window after them."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import TYPE_CHECKING

import numpy as np
from tepal.quant.files.tflite_file import Operator
from tepal.quant.files.tflite_graph import TfliteGraph
from tepal.quant.layer import LARGEST_MAP

from .registry import onnx, tflite

if TYPE_CHECKING:
    from tepal.quant.files.draft import Value
    from tepal.quant.files.onnx_model import OnnxModel
    from tepal.quant.files.onnx_node import Node


@tflite("PAD", "PADV2", limits="zeros around height and width, before a convolution, or a max pool of values from 0 on")
def _pad(graph: TfliteGraph, operator: Operator) -> None:
    graph.check_activation(operator, operator.input(0))
    graph.check_unchanged(operator)
    source, amounts = graph.value(operator), operator.input(1)
    if amounts.type not in ("INT32", "INT64") or amounts.shape != (len(source.shape), 2):
        raise operator.error(f"has {amounts.type.lower()} amounts of the shape {list(amounts.shape)}; "
                             f"{len(source.shape)} pairs of int32 are needed")
    amounts = amounts.constant()
    if (amounts < 0).any() or amounts[[0, -1]].any():
        raise operator.obstacle("pads something other than height and width")
    graph.check_activation(operator, operator.output)
    value, zero = operator.optional(2), graph.zero(operator.output)
    if value is not None and (value.type != operator.output.type
                              or (value.constant().astype(float) - value.offset != zero).any()):
        raise operator.obstacle(f"pads with a value other than the zero point, {zero + operator.output.offset}")
    shape = tuple(size + int(around.sum()) for size, around in zip(source.shape, amounts, strict=True))
    if prod(shape) > LARGEST_MAP:
        raise operator.error(f"makes a map of more than {LARGEST_MAP} values")
    graph.check_shape(operator, shape)
    padded = source.moved(np.pad(source.numbers, amounts, constant_values=-1))
    graph.give(operator, replace(padded, maker=operator))


@onnx("Pad", takes_padding=True, on_integers=True, limits="zeros around height and width, before a Conv")
def _onnx_pad(model: OnnxModel, node: Node, value: Value) -> Value:
    if node.attributes.get("mode", b"constant") != b"constant":
        raise node.obstacle("pads with something other than zeros; only constant zeros are supported")
    rank = value.places.ndim
    # The first version of the operator calls them "paddings"; none that uses it is older than the second.
    amounts = model.parameter(node, "pads", 1, ()).ravel()
    axes = [node.axis(axis, rank) for axis in model.parameter(node, "axes", 3, range(rank)).ravel()]
    zero = 0
    if value.integers and value.meaning:
        zero = value.meaning[1] + (128 if value.integer_type == np.uint8 else 0)
    if (model.parameter(node, "value", 2, 0.0) != zero).any():
        raise node.obstacle("pads with something other than zeros; only constant zeros are supported")
    if len(amounts) != 2 * len(axes) or amounts.dtype.kind not in "iu" or (amounts < 0).any():
        raise node.error(f"has {len(amounts)} amounts of the type {amounts.dtype}, the least of them "
                         f"{amounts.min(initial=0)}; two whole numbers from 0 for each dimension are needed")
    around = np.zeros((rank, 2), np.int64)
    around[axes] = amounts.reshape(2, -1).T
    if prod(int(size) for size in around.sum(axis=1) + value.places.shape) > LARGEST_MAP:
        raise node.error(f"makes a map of more than {LARGEST_MAP} values")
    return replace(value, places=np.pad(value.places, around, constant_values=-1), padder=node)
