# SPDX-License-Identifier: Apache-2.0
"""Mean over height and width: MEAN of TensorFlow Lite, ReduceMean of ONNX.

It is an :class:`~.average_pool.AveragePool` over the whole map, with a rule of its own."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import TYPE_CHECKING

import numpy as np
from tepal.quant.arithmetic import quantize_multiplier
from tepal.quant.files.tflite_file import Operator
from tepal.quant.files.tflite_graph import IntegerGraph, TfliteGraph
from tepal.quant.rescale import Requantise, overflows

from .average_pool import AverageDraft, AveragePool, FloatAveragePool
from .registry import onnx, tflite

if TYPE_CHECKING:
    from tepal.quant.files.draft import Value
    from tepal.quant.files.onnx_model import OnnxModel
    from tepal.quant.files.onnx_node import Node


@tflite("MEAN", limits="over height and width")
def _mean(graph: TfliteGraph, operator: Operator) -> None:
    axes = operator.input(1)
    if axes.type != "INT32":
        raise operator.error(f"has {axes.type.lower()} axes; only int32 is supported")
    tensor, rank = operator.input(0), len(operator.input(0).shape)
    given = [int(axis) for axis in axes.constant().ravel()]
    if any(not -rank <= axis < rank for axis in given):
        raise operator.error(f"has the axes {given} for {rank} dimensions")
    value = graph.read(operator)
    (source,) = value.sources
    height, width, channels = shape = graph.sizes[source]
    over = {axis % rank for axis in given}
    kept = [axis for axis in range(rank) if axis not in over]
    # One row for each result, of the channels of what it is the mean of.
    averaged = prod(value.shape[axis] for axis in over)
    rows = value.numbers.transpose(*kept, *sorted(over)).reshape(-1, averaged) % channels
    if rows.shape != (channels, height * width) or (rows != rows[:, :1]).any():
        raise operator.obstacle("must average over height and width, no less and no more")
    keep = len(operator.output.shape) == rank
    places = rows[:, 0].reshape([1 if axis in over else value.shape[axis] for axis in range(rank)
                                 if keep or axis not in over])
    like = replace(value, shape=places.shape, places=places)
    fields, count = graph.fields(operator, [source], shape, (1, 1, channels), like=like), height * width
    if isinstance(graph, IntegerGraph):
        layer = AveragePool(**fields, window=(height, width), bias=np.full(channels, -count * tensor.zero_point),
                            requantise=_requantise(operator, count, channels))
    else:
        layer = FloatAveragePool(**fields, window=(height, width))
    graph.append(operator, layer, like)


def _requantise(operator: Operator, count: int, channels: int) -> Requantise:
    """QuantizedMeanOrSum of reduce.cc: the division by the number of pixels, truncated, goes into the multiplier."""
    source, result = operator.input(0), operator.output
    multiplier, shift = (int(number) for number in quantize_multiplier(np.float64(source.scale)
                                                                       / np.float64(result.scale)))
    by = min(count.bit_length() - 1, 32, 31 + shift)
    multiplier, shift = (multiplier << by) // count, shift - by
    low, high = -count * (128 + source.zero_point), count * (127 - source.zero_point)
    if overflows(low, high, shift).any():
        raise operator.error("can overflow its 32-bit accumulator")
    return Requantise(np.full(channels, multiplier), np.full(channels, shift), result.zero_point)


@onnx("ReduceMean", limits="over height and width")
def _reduce_mean(model: OnnxModel, node: Node, value: Value) -> Value:
    height, width, channels = size = model.started(node, value)
    rank, places = value.places.ndim, model.places(value)
    axes = {node.axis(axis, rank) for axis in model.parameter(node, "axes", 1, range(rank)).ravel()}
    kept = [axis for axis in range(rank) if axis not in axes]
    # One row for each result, of the channels of what it is the mean of.
    rows = places.transpose(*kept, *axes).reshape(-1, prod(places.shape[axis] for axis in axes)) % channels
    if rows.shape != (channels, height * width) or (rows != rows[:, :1]).any():
        raise node.obstacle("must average over height and width, no less and no more")
    keep = node.attributes.get("keepdims", 1)
    shape = [1 if axis in axes else places.shape[axis] for axis in range(rank) if keep or axis not in axes]
    return model.add(node, AverageDraft(node=node, reads=(value,), name=node.output, input_shape=size,
                                        output_shape=(1, 1, channels), window=(height, width)),
                     rows[:, 0].reshape(shape))
