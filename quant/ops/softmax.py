# SPDX-License-Identifier: Apache-2.0
"""SOFTMAX and ARG_MAX of TensorFlow Lite, Softmax of ONNX: at the end of a model, and off the chip."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import frexp, isfinite, prod
from typing import TYPE_CHECKING

import numpy as np
import tflite as schema
from tepal.quant.arithmetic import high_multiply, quantize_multiplier, rounding_shift_right
from tepal.quant.errors import NetworkError
from tepal.quant.files.tflite_file import Operator
from tepal.quant.files.tflite_graph import IntegerGraph, TfliteGraph
from tepal.quant.layer import Closing, OnnxGraph

from .registry import onnx, tflite

if TYPE_CHECKING:
    from tepal.quant.files.draft import Value
    from tepal.quant.files.onnx_model import OnnxModel
    from tepal.quant.files.onnx_node import Node

__all__ = ["ArgMax", "LogSoftmax", "Softmax"]


@dataclass(frozen=True)
class Softmax(Closing):
    """The model's closing SOFTMAX. It stays off the chip: it does not move the argmax, and the
    accelerator delivers the exact logits it starts from.

    ``input_scale`` and ``beta`` as in the model file; the output is int8 with scale 1/256 and zero
    point -128."""

    name = "SOFTMAX"

    input_scale: float
    beta: float = 1.0

    def __call__(self, logits: np.ndarray) -> np.ndarray:
        """int8 probabilities (scale 1/256, zero point -128) of int8 ``logits`` (frames, …, outputs).

        The fixed-point algorithm of TensorFlow Lite's ``reference/softmax.h`` on gemmlowp's
        ``fixedpoint.h``; Qi.f below has i integer and f fraction bits."""
        # PreprocessSoftmaxScaling and CalculateInputRadius for Q5.26 differences.
        real = min(self.beta * self.input_scale * 2.0**26, 2.0**31 - 1)
        multiplier, shift = (int(number) for number in quantize_multiplier(real))
        # LiteRT refuses scales below 2**-26; there all differences are next to nothing.
        radius = (31 << 26) >> max(shift, 0)
        difference = logits.astype(np.int64)
        difference -= difference.max(axis=-1, keepdims=True)
        scaled = high_multiply(np.maximum(difference, -radius) << max(shift, 0), multiplier) >> max(-shift, 0)
        exponential = _exp(scaled)
        exponential = np.where(difference < -radius, 0, exponential)
        total = rounding_shift_right(exponential, 12).sum(axis=-1, keepdims=True)
        headroom = 32 - np.vectorize(lambda value: frexp(value)[1], otypes=[np.int64])(total)
        scale = _reciprocal((total << headroom) - (1 << 31))
        probability = rounding_shift_right(high_multiply(scale, exponential), 12 - headroom + 31 - 8)
        return np.clip(probability - 128, -128, 127).astype(np.int8)

    def write_onnx(self, graph: OnnxGraph, value: str, scale: float, output: str) -> str:
        if self.beta != 1 or self.input_scale != scale:
            raise NetworkError(f"its softmax has the beta {self.beta} and the input scale {self.input_scale}; only 1 "
                               f"and the scale of the logits, {scale}, can be expressed")
        return graph.node("Softmax", [value], output, axis=1)


def _exp(x: np.ndarray) -> np.ndarray:
    """exp(x) in Q0.31 of ``x <= 0`` in Q5.26 (exp_on_negative_values)."""
    quarter = 1 << 24
    remainder = (x & (quarter - 1)) - quarter
    # Taylor series around -1/8 on the remainder, in Q0.31.
    a = (remainder << 5) + (1 << 28)
    a2 = high_multiply(a, a)
    a3, a4 = high_multiply(a2, a), high_multiply(a2, a2)
    series = rounding_shift_right(high_multiply(rounding_shift_right(a4, 2) + a3, 715827883) + a2, 1)
    result = 1895147668 + high_multiply(1895147668, a + series)
    # Times exp(-1/4), exp(-1/2), … exp(-16), where that bit of the quarters is set.
    factors = (1672461947, 1302514674, 790015084, 290630308, 39332535, 720401, 242)
    for bit, factor in enumerate(factors, start=24):
        result = np.where((remainder - x) >> bit & 1, high_multiply(result, factor), result)
    return np.where(x == 0, (1 << 31) - 1, result)


def _reciprocal(x: np.ndarray) -> np.ndarray:
    """1 / (1 + x) in Q0.31 of ``0 <= x < 1`` in Q0.31, by three Newton-Raphson steps in Q2.29."""
    half = (x + (1 << 31)) >> 1
    y = 1515870810 + high_multiply(half, -1010580540)
    for _ in range(3):
        y = y + (high_multiply(y, (1 << 29) - high_multiply(half, y)) << 2)
    return np.minimum(y << 1, (1 << 31) - 1)


@tflite("SOFTMAX", options=(schema.SoftmaxOptions, ("Beta",)),
        limits="along the last dimension, at the end; stays off the chip")
def _softmax(graph: TfliteGraph, operator: Operator) -> None:
    value, result, beta = graph.computable(operator), operator.output, operator.options.Beta
    graph.check_activation(operator, result)
    graph.check_shape(operator, value.shape)
    if not isfinite(beta) or beta <= 0:
        raise operator.error(f"has the beta {beta}")
    scale = 1.0
    if isinstance(graph, IntegerGraph):
        scale = float(operator.input(0).scale)
        if result.meaning != (1 / 256, -128):
            raise operator.error(f"must have the output scale 1/256 and the zero point {-128 + result.offset}")
    elif value.shape[-1] != prod(value.shape) or value.places is not None:
        raise operator.obstacle(f"works on the shape {list(value.shape)}; only vectors are supported in float models")
    graph.close(operator, value, Softmax(operator.index, result.index, scale, beta))


@dataclass(frozen=True)
class ArgMax(Closing):
    """Number of the largest value along dimension ``axis``, the first of several; an integer type called ``type``."""

    name = "ARG_MAX"

    axis: int
    type: str

    def __call__(self, logits: np.ndarray) -> np.ndarray:
        return logits.argmax(axis=self.axis).astype(self.type)


@tflite("ARG_MAX", only="int8", elsewhere="the class is given anyway: end the model before it",
        limits="at the end; stays off the chip")
def _arg_max(graph: IntegerGraph, operator: Operator) -> None:
    value, axis, rank = graph.computable(operator), operator.input(1).constant().ravel(), len(operator.input(0).shape)
    if axis.size != 1 or not -rank <= int(axis[0]) < rank or int(axis[0]) % rank == 0:
        raise operator.error(f"has the axis {axis.tolist()} for {rank} dimensions, the first of which is the batch")
    if operator.output.type not in ("INT32", "INT64"):
        raise operator.error(f"gives {operator.output.type.lower()} numbers; int32 or int64 are needed")
    along = int(axis[0]) % rank
    graph.check_shape(operator, value.shape[:along] + value.shape[along + 1:])
    graph.close(operator, value, ArgMax(operator.index, operator.output.index, along, operator.output.type.lower()))


@dataclass(frozen=True)
class LogSoftmax(Closing):
    """Logarithms of the probabilities, float32, of logits of the scale ``input_scale``."""

    name = "LOG_SOFTMAX"

    input_scale: float

    def __call__(self, logits: np.ndarray) -> np.ndarray:
        real = np.float32(self.input_scale) * logits.astype(np.float32)
        real -= real.max(axis=-1, keepdims=True)
        return real - np.log(np.exp(real).sum(axis=-1, keepdims=True))


@onnx("ArgMax", limits="of a vector, at the end; stays off the chip")
def _onnx_arg_max(model: OnnxModel, node: Node, value: Value) -> Value:
    size, axis = model.started(node, value), node.axis(node.attributes.get("axis", 0), value.places.ndim)
    if value.draft is None or size[:2] != (1, 1) or value.places.shape[axis] != size[2]:
        raise node.obstacle(f"works on dimension {axis} of the shape {list(value.places.shape)}; only vectors are "
                            "supported")
    if node.attributes.get("select_last_index"):
        raise node.obstacle("takes the last of several largest values; only the first is supported")
    return replace(value, closing=lambda index, scale: ArgMax(index, -1, 1, "int64"))


@onnx("Softmax", "LogSoftmax", limits="of a vector, at the end; stays off the chip")
def _onnx_softmax(model: OnnxModel, node: Node, value: Value) -> Value:
    size, rank = model.started(node, value), value.places.ndim
    axis = node.axis(node.attributes.get("axis", -1 if model.opset >= 13 else 1), rank)
    # Before version 13, over all dimensions from this one.
    over = value.places.shape[axis] if model.opset >= 13 else prod(value.places.shape[axis:])
    if value.draft is None or size[:2] != (1, 1) or over != size[2]:
        raise node.obstacle(f"works on dimension {axis} of the shape {list(value.places.shape)}; only vectors are "
                         "supported")
    if node.operator == "LogSoftmax":
        return replace(value, closing=lambda index, scale: LogSoftmax(index, -1, scale))
    return replace(value, closing=lambda index, scale: Softmax(index, -1, scale))
