# SPDX-License-Identifier: Apache-2.0
"""Fully connected layer: FULLY_CONNECTED of TensorFlow Lite, Gemm and MatMul of ONNX.

It is a :class:`~.convolution.Convolution` whose kernel covers its whole input."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import tflite as schema
from tepal.quant.arithmetic import Rounding
from tepal.quant.files.draft import Constant, Value
from tepal.quant.files.tflite_file import Operator
from tepal.quant.files.tflite_graph import TfliteGraph
from tepal.quant.files.weights import WeightedDraft, append_weighted, onnx_bias, onnx_weights, tflite_weights

from .convolution import FloatConvolution
from .registry import onnx, tflite

if TYPE_CHECKING:
    from tepal.quant.files.onnx_model import OnnxModel
    from tepal.quant.files.onnx_node import Node


@tflite("FULLY_CONNECTED", options=(schema.FullyConnectedOptions, ("FusedActivationFunction", "WeightsFormat")),
        limits="of a vector or a whole map; NONE, RELU, RELU6 or RELU_N1_TO_1 fused")
def _fully_connected_layer(graph: TfliteGraph, operator: Operator) -> None:
    weights, bias = tflite_weights(graph, operator, rank=2, axis=0)
    if operator.options.WeightsFormat != schema.FullyConnectedOptionsWeightsFormat.DEFAULT:
        raise operator.obstacle("has shuffled weights; only the default format is supported")
    source, shape, places = graph.whole(operator)
    if weights.shape[1] != len(places):
        raise operator.error(f"has rows of {weights.shape[1]} weights for {len(places)} values")
    ordered = np.empty_like(weights)
    ordered[:, places] = weights
    fields = graph.fields(operator, [source], shape, (1, 1, len(bias)))
    # fully_connected.cc scales in float64, see fit_single_rounding.
    append_weighted(graph, operator, FloatConvolution, fields, ordered.reshape(len(bias), *shape), bias,
                    rounding=Rounding.SINGLE)


@onnx("Gemm", linear=True, limits="with constant weights; not transA")
def _gemm(model: OnnxModel, node: Node, value: Value) -> Value:
    if node.attributes.get("transA"):
        raise node.obstacle("transposes its first input (transA), which is the batch; only transB is supported")
    weights, scales, zero_points = onnx_weights(model, node, rank=2, axis=0 if node.attributes.get("transB") else 1)
    bias = onnx_bias(model, node, len(weights))
    alpha, beta = (float(node.attributes.get(name, 1.0)) for name in ("alpha", "beta"))
    if alpha != 1:
        if scales is not None:
            raise node.obstacle(f"has the factor alpha {alpha} on quantised weights; only 1 is supported")
        weights = weights * alpha
    if beta != 1 and bias is not None:
        bias = Constant(bias.real * beta)
    return _fully_connected(model, node, value, weights, scales, zero_points, bias)


@onnx("MatMul", linear=True, limits="of a vector with constant weights")
def _matmul(model: OnnxModel, node: Node, value: Value) -> Value:
    return _fully_connected(model, node, value, *onnx_weights(model, node, rank=2, axis=1), None)


def _fully_connected(model: OnnxModel, node: Node, value: Value, weights: np.ndarray, scales: np.ndarray | None,
                     zero_points: np.ndarray, bias: Constant | None) -> Value:
    """``weights`` (out channels, values in the order of ``places``)."""
    size, places = model.started(node, value), model.places(value)
    if weights.shape[1] != places.shape[-1] or places.size != weights.shape[1]:
        raise node.error(f"has weights for {weights.shape[1]} values and reads the shape {list(places.shape)}; only "
                         "vectors of one frame are supported")
    ordered = np.empty_like(weights)
    ordered[:, places.ravel()] = weights
    return model.add(node, WeightedDraft(
        kind=FloatConvolution, node=node, reads=(value,), name=node.output, input_shape=size,
        output_shape=(1, 1, len(weights)), weights=ordered.reshape(-1, *size), scales=scales,
        zero_points=zero_points, bias=bias),
        np.arange(len(weights), dtype=np.int32).reshape(*places.shape[:-1], len(weights)))
