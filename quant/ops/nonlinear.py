# SPDX-License-Identifier: Apache-2.0
"""Activations that are no clamp: LEAKY_RELU, PRELU, HARD_SWISH, LOGISTIC and TANH of TensorFlow Lite.

Each is a table of the results of all int8 values, exact by construction; a PRELU with several slopes is a sum of what
it makes of values above and below 0."""

from __future__ import annotations

from collections.abc import Callable
from math import tanh

import numpy as np
import tflite as schema
from tepal.quant.arithmetic import quantize_multiplier, rounding_shift_right
from tepal.quant.files.tflite_file import Operator
from tepal.quant.files.tflite_graph import FloatGraph, IntegerGraph, TfliteGraph, multiplied
from tepal.quant.lookup import CODES, FloatLookup, Lookup
from tepal.quant.rescale import Requantise

from .add import Add, FloatAdd
from .arithmetic import constants_by_channel
from .depthwise import Depthwise, FloatDepthwise
from .registry import tflite


def _by_value(function: Callable[[float], float]) -> Callable[[np.ndarray], np.ndarray]:
    """``function`` of each value, computed in float64 and rounded once to float32."""
    return lambda x: np.vectorize(function, otypes=[np.float64])(x.astype(np.float64)).astype(np.float32)


def _logistic(x: np.ndarray) -> np.ndarray:
    """In float32, as the kernel does it."""
    with np.errstate(over="ignore"):
        return np.float32(1) / (np.float32(1) + np.exp(-x.astype(np.float64)).astype(np.float32))


_CURVES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "LOGISTIC": _logistic,
    "TANH": _by_value(tanh),
}


@tflite("LOGISTIC", "TANH", limits="a table")
def _curve(graph: TfliteGraph, operator: Operator) -> None:
    compute = _CURVES[operator.name]
    if isinstance(graph, FloatGraph):
        graph.look_up(operator, compute, operator.name)
    elif isinstance(graph, IntegerGraph):
        # LUTPopulate of kernels/internal/common.h, in float32.
        source, result = operator.input(0), operator.output
        real = compute(np.float32(source.scale) * (CODES - source.zero_point).astype(np.float32))
        steps = real * (np.float32(1) / np.float32(result.scale))
        rounded = np.copysign(np.floor(np.abs(steps) + np.float32(0.5)), steps)
        graph.look_up(operator, rounded + result.zero_point, operator.name)


@tflite("LEAKY_RELU", options=(schema.LeakyReluOptions, ("Alpha",)), limits="a table")
def _leaky_relu(graph: TfliteGraph, operator: Operator) -> None:
    alpha = np.float32(operator.options.Alpha)
    if not np.isfinite(alpha):
        raise operator.error(f"has the slope {alpha}")
    if isinstance(graph, FloatGraph):
        graph.look_up(operator, lambda x: np.where(x < 0, x * alpha, x), operator.name)
    elif isinstance(graph, IntegerGraph):
        # QuantizeLeakyRelu of reference/leaky_relu.h; LeakyReluPrepare makes the factors in float32.
        source, result = operator.input(0), operator.output
        difference = CODES - source.zero_point
        above = multiplied(operator, difference, np.float64(source.scale / result.scale))
        below = _signed(operator, difference, np.float64(source.scale * alpha / result.scale))
        graph.look_up(operator, np.where(difference >= 0, above, below) + result.zero_point, operator.name)


@tflite("PRELU", limits="a table; with several slopes a sum of what becomes of values above and below 0")
def _prelu(graph: TfliteGraph, operator: Operator) -> None:
    slopes = constants_by_channel(graph, operator, 1)
    if isinstance(graph, FloatGraph):
        _float_prelu(graph, operator, slopes)
    elif isinstance(graph, IntegerGraph):
        _integer_prelu(graph, operator, slopes)


def _integer_prelu(graph: IntegerGraph, operator: Operator, slopes: np.ndarray) -> None:
    """BroadcastPrelu4DSlow of reference/prelu.h; PreluPrepare makes the factors in float32."""
    source, alpha, result = operator.input(0), operator.input(1), operator.output
    difference, factors = CODES - source.zero_point, slopes.astype(np.int64) - alpha.zero_point
    above = multiplied(operator, np.maximum(difference, 0), np.float64(source.scale / result.scale))
    real = np.float64(source.scale * alpha.scale / result.scale)
    if (factors == factors[0]).all():
        below = multiplied(operator, np.minimum(difference, 0) * factors[0], real)
        graph.look_up(operator, above + below + result.zero_point, operator.name)
        return
    (number,), shape, value = graph.alike(operator, 1)
    fields = graph.fields(operator, [number], shape, shape, like=value)
    inner = dict(fields, tensor=-1)
    positive = graph.insert(Lookup(**inner, table=np.clip(above + result.zero_point, -128, 127), function="PRELU",
                                   result_zero_point=result.zero_point))
    negative = graph.insert(Lookup(**dict(inner, output_scale=float(source.scale)), function="PRELU",
                                   table=np.minimum(CODES, source.zero_point), result_zero_point=source.zero_point))
    ones, short = np.ones(shape[2]), np.abs(factors).max() <= 127
    multiplier, shift = quantize_multiplier(real)
    scaled = graph.insert(Depthwise(
        **dict(inner, inputs=(negative,)), weights=(factors if short else slopes)[None, None], bias=np.zeros(shape[2]),
        requantise=Requantise(ones * multiplier, ones * shift, result.zero_point), weight_scales=float(alpha.scale),
        weight_zero_point=0 if short else alpha.zero_point))
    # One of the two is 0.
    graph.append(operator, Add(
        **dict(fields, inputs=(positive, scaled), input_zero_point=result.zero_point),
        other_zero_point=result.zero_point, tables=np.stack([CODES - result.zero_point] * 2),
        requantise=Requantise(ones * (1 << 30), ones, result.zero_point)), value)


def _float_prelu(graph: FloatGraph, operator: Operator, slopes: np.ndarray) -> None:
    if (slopes == slopes[0]).all():
        graph.look_up(operator, lambda x: np.where(x < 0, x * slopes[0], x), operator.name)
        return
    (number,), shape, value = graph.alike(operator, 1)
    fields = graph.fields(operator, [number], shape, shape, like=value)
    inner = dict(fields, tensor=-1)
    positive = graph.insert(FloatLookup(**inner, compute=lambda x: np.maximum(x, 0), function="PRELU"))
    negative = graph.insert(FloatLookup(**inner, compute=lambda x: np.minimum(x, 0), function="PRELU"))
    scaled = graph.insert(FloatDepthwise(**dict(inner, inputs=(negative,)), weights=slopes[None, None],
                                         bias=np.zeros(shape[2])))
    graph.append(operator, FloatAdd(**dict(fields, inputs=(positive, scaled))), value)


def _signed(operator: Operator, values: np.ndarray, real: np.float64) -> np.ndarray:
    """:func:`multiplied` by a factor of any sign."""
    size = multiplied(operator, values, abs(real))
    if real >= 0:
        return size
    multiplier, shift = quantize_multiplier(-real)
    return _double_rounded(values, -multiplier, shift)


def _double_rounded(values: np.ndarray, multiplier, shift) -> np.ndarray:
    left, right = np.maximum(shift, 0), np.maximum(-shift, 0)
    product = (values.astype(np.int64) << left) * multiplier
    # SaturatingRoundingDoublingHighMul divides towards zero after a nudge of the product's own sign.
    nudged = product + np.where(product >= 0, 1 << 30, 1 - (1 << 30))
    return rounding_shift_right(np.sign(nudged) * (np.abs(nudged) >> 31), right)


@tflite("HARD_SWISH", limits="a table")
def _hard_swish(graph: TfliteGraph, operator: Operator) -> None:
    if isinstance(graph, FloatGraph):
        graph.look_up(operator, lambda x: x * np.clip(x + np.float32(3), 0, 6) * np.float32(1 / 6), operator.name)
    elif isinstance(graph, IntegerGraph):
        graph.look_up(operator, _hard_swish_table(operator), operator.name)


def _hard_swish_table(operator: Operator) -> np.ndarray:
    """HardSwish of reference/hard_swish.h and HardSwishPrepare of activations.cc: int16 fixed point."""
    source, result = operator.input(0), operator.output
    fine = np.float32(1 / 128) * np.float32(source.scale)
    output, output_exponent = _short_multiplier(np.float64(fine / np.float32(result.scale)))
    gate, gate_exponent = _short_multiplier(np.float64(fine / (np.float32(3) / np.float32(32768))))
    if output_exponent > 0:
        raise operator.error(f"has the output scale {result.scale}, too small for its input; LiteRT can't run it "
                             "either")
    x = (CODES - source.zero_point) * 128
    value = _short_product(x, output)
    openness = x
    if gate_exponent > 0:
        openness = _saturated(openness << gate_exponent - 1)
    openness = _short_product(openness, gate)
    if gate_exponent > 0:
        openness = _saturated(openness << 1)
    openness = rounding_shift_right(openness, max(-gate_exponent, 0))
    openness = (openness + (1 << 15)) >> 1
    product = openness * value
    product = np.sign(product) * (np.abs(product) >> 15)
    return rounding_shift_right(product, -output_exponent) + result.zero_point


def _short_multiplier(real: np.float64) -> tuple[int, int]:
    """QuantizeMultiplier and DownScaleInt32ToInt16Multiplier."""
    multiplier, exponent = (int(number) for number in quantize_multiplier(real))
    return min((multiplier + (1 << 15)) >> 16, (1 << 15) - 1), exponent


def _short_product(values: np.ndarray, multiplier: int) -> np.ndarray:
    """SaturatingRoundingDoublingHighMul of int16."""
    product = values.astype(np.int64) * multiplier
    nudged = product + np.where(product >= 0, 1 << 14, 1 - (1 << 14))
    return np.sign(nudged) * (np.abs(nudged) >> 15)


def _saturated(values: np.ndarray) -> np.ndarray:
    return np.clip(values, -(1 << 15), (1 << 15) - 1)
