# SPDX-License-Identifier: Apache-2.0
"""Arithmetic of a map with constants: MUL and DIV of TensorFlow Lite, and what ADD and SUB do with one.

One number for all channels is a table of int8 values; one for each is a depthwise convolution of single pixels, or the
sum with a map of constants: each gives LiteRT's bytes by construction."""

from __future__ import annotations

from dataclasses import replace
from math import inf

import numpy as np
import tflite as schema
from tepal.quant.arithmetic import quantize_multiplier
from tepal.quant.files.tflite_file import Operator
from tepal.quant.files.tflite_graph import FloatGraph, IntegerGraph, TfliteGraph, multiplied
from tepal.quant.layer import IMAGE
from tepal.quant.lookup import CODES
from tepal.quant.rescale import Requantise
from tepal.quant.weighted import FloatWeighted

from .depthwise import Depthwise, FloatDepthwise
from .registry import tflite

__all__ = ["append_affine", "constant_operand", "constants_by_channel"]


def constant_operand(operator: Operator) -> int | None:
    """Which of the two inputs is constant, if one is."""
    for number in range(2):
        if len(operator.input(number).data):
            return number
    return None


def constants_by_channel(graph: TfliteGraph, operator: Operator, constant: int) -> np.ndarray:
    """What is constant, float32 or int8 (channels,), of the channels of the map that is the other input."""
    tensor, value = operator.input(constant), graph.read(operator, 1 - constant)
    if tensor.type != operator.input(1 - constant).type or not len(tensor.data):
        raise operator.obstacle(f"computes with a {tensor.type.lower()} tensor that isn't a constant of its own type")
    graph.check_activation(operator, tensor)
    values = tensor.codes() if isinstance(graph, IntegerGraph) else tensor.constant()
    try:
        values = np.broadcast_to(values, value.shape)
    except ValueError:
        raise operator.error(f"computes with constants of the shape {list(tensor.shape)} on the shape "
                             f"{list(value.shape)}; one number, or one for each channel, is supported") from None
    (source,) = value.sources
    full = np.empty(values.size, values.dtype)
    full[value.numbers.ravel()] = values.ravel()
    full = full.reshape(-1, graph.sizes[source][2])
    if not (full == full[0]).all():
        raise operator.obstacle("computes with constants that differ from pixel to pixel, or aren't numbers; one for "
                                "each channel is supported")
    return full[0]


@tflite("MUL", options=(schema.MulOptions, ("FusedActivationFunction",)),
        limits="with constants, one or one for each channel; NONE, RELU, RELU6 or RELU_N1_TO_1 fused")
def _multiply(graph: TfliteGraph, operator: Operator) -> None:
    constant = constant_operand(operator)
    if constant is None:
        raise operator.obstacle("multiplies two maps; only constants are supported (squeeze-and-excite blocks must go)")
    values = constants_by_channel(graph, operator, constant)
    if isinstance(graph, FloatGraph):
        append_affine(graph, operator, 1 - constant, values, np.zeros_like(values))
    elif isinstance(graph, IntegerGraph):
        _multiply_integers(graph, operator, constant, values)


def _multiply_integers(graph: IntegerGraph, operator: Operator, constant: int, values: np.ndarray) -> None:
    """Mul of reference/integer_ops/mul.h; MulPrepare makes the factor in float32."""
    source, factor, result = operator.input(1 - constant), operator.input(constant), operator.output
    real = np.float64(operator.input(0).scale * operator.input(1).scale / result.scale)
    clamp, factors = graph.clamp(operator), values.astype(np.int64) - factor.zero_point
    if (values == values[0]).all():
        products = multiplied(operator, (CODES - source.zero_point) * factors[0], real) + result.zero_point
        graph.look_up(operator, np.clip(products, *clamp), "MUL", 1 - constant)
        return
    short = np.abs(factors).max() <= 127
    multiplier, shift = (np.full(len(values), number) for number in quantize_multiplier(real))
    if shift[0] > 14:
        raise operator.error("can overflow its 32-bit products; quantise it again with less extreme scales")
    (number,), shape, value = graph.alike(operator, 1, 1 - constant)
    fields = graph.fields(operator, [number], shape, shape, like=value)
    graph.append(operator, Depthwise(
        **dict(fields, input_zero_point=source.zero_point), weights=(factors if short else values)[None, None],
        bias=np.zeros(len(values)), requantise=Requantise(multiplier, shift, result.zero_point, *clamp),
        weight_scales=float(factor.scale), weight_zero_point=0 if short else factor.zero_point), value)


@tflite("DIV", options=(schema.DivOptions, ("FusedActivationFunction",)), only="float",
        elsewhere="division of integers: multiply by the reciprocal",
        limits="by constants, one or one for each channel; NONE, RELU, RELU6 or RELU_N1_TO_1 fused")
def _divide(graph: FloatGraph, operator: Operator) -> None:
    if constant_operand(operator) != 1:
        raise operator.obstacle("divides by a map; only constants are supported")
    divisors = constants_by_channel(graph, operator, 1).astype(np.float64)
    if not divisors.all():
        raise operator.error("divides by 0")
    append_affine(graph, operator, 0, 1 / divisors, np.zeros_like(divisors))


def append_affine(graph: FloatGraph, operator: Operator, number: int, factor: np.ndarray, offset: np.ndarray) -> None:
    """Go on with input ``number`` times ``factor`` plus ``offset``, each (channels,): as a part of the layer before if
    that gives bare sums to nothing else."""
    (source,), shape, value = graph.alike(operator, 1, number)
    fields = graph.fields(operator, [source], shape, shape, like=value)
    before = graph.layers[source] if source != IMAGE and not value.shared else None
    if isinstance(before, FloatWeighted) and (before.minimum, before.maximum) == (-inf, inf):
        graph.layers[source] = replace(
            before, name=fields["name"], tensor=fields["tensor"], minimum=fields["minimum"], maximum=fields["maximum"],
            weights=before.weights * before.by_channel(factor), bias=before.bias * factor + offset)
        graph.give(operator, value)
    else:
        graph.append(operator, FloatDepthwise(**fields, weights=np.asarray(factor)[None, None], bias=offset), value)
