# SPDX-License-Identifier: Apache-2.0
"""Zeros around a map: PAD and PADV2 of TensorFlow Lite, Pad of ONNX.  They become part of the window after them."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import TYPE_CHECKING

import numpy as np
from tepal.quant.files.tflite_chain import TfliteChain
from tepal.quant.files.tflite_file import Operator
from tepal.quant.layer import LARGEST_MAP, Padding

from .registry import onnx, tflite

if TYPE_CHECKING:
    from tepal.quant.files.draft import Value
    from tepal.quant.files.onnx_model import OnnxModel
    from tepal.quant.files.onnx_node import Node


@tflite("PAD", "PADV2", takes_padding=True, limits="zeros around height and width, before a convolution")
def _pad(chain: TfliteChain, operator: Operator) -> None:
    chain.check_unchanged(operator)
    amounts = operator.input(1)
    if amounts.type not in ("INT32", "INT64") or amounts.shape != (4, 2):
        raise operator.error(f"has {amounts.type.lower()} amounts of the shape {list(amounts.shape)}; "
                             "four pairs of int32 are needed")
    amounts = amounts.constant()
    if (amounts < 0).any() or amounts[[0, 3]].any():
        raise operator.obstacle("pads something other than height and width")
    value, zero = operator.optional(2), chain.zero(operator.output)
    if value is not None and (value.type != chain.constant_type or (value.constant() != zero).any()):
        raise operator.obstacle(f"pads with a value other than the zero point, {zero}")
    top, bottom, left, right = (int(amount) for amount in amounts[1:3].ravel())
    height, width, channels = chain.shape
    before = chain.padding
    chain.padding = Padding(before.top + top, before.bottom + bottom, before.left + left, before.right + right)
    chain.check_shape(operator, (height + chain.padding.top + chain.padding.bottom,
                                 width + chain.padding.left + chain.padding.right, channels))
    chain.padder = operator


@onnx("Pad", takes_padding=True, limits="zeros around height and width, before a Conv")
def _onnx_pad(model: OnnxModel, node: Node, value: Value) -> Value:
    if node.attributes.get("mode", b"constant") != b"constant":
        raise node.obstacle("pads with something other than zeros; only constant zeros are supported")
    rank = value.places.ndim
    # The first version of the operator calls them "paddings"; none that uses it is older than the second.
    amounts = model.parameter(node, "pads", 1, ()).ravel()
    axes = [node.axis(axis, rank) for axis in model.parameter(node, "axes", 3, range(rank)).ravel()]
    if model.parameter(node, "value", 2, 0.0).any():
        raise node.obstacle("pads with something other than zeros; only constant zeros are supported")
    if len(amounts) != 2 * len(axes) or amounts.dtype.kind not in "iu" or (amounts < 0).any():
        raise node.error(f"has {len(amounts)} amounts of the type {amounts.dtype}, the least of them "
                         f"{amounts.min(initial=0)}; two whole numbers from 0 for each dimension are needed")
    around = np.zeros((rank, 2), np.int64)
    around[axes] = amounts.reshape(2, -1).T
    if prod(int(size) for size in around.sum(axis=1) + value.places.shape) > LARGEST_MAP:
        raise node.error(f"makes a map of more than {LARGEST_MAP} values")
    return replace(value, places=np.pad(value.places, around, constant_values=-1), padder=node)
