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
from tepal.quant.files.draft import frame
from tepal.quant.files.tflite_file import Operator
from tepal.quant.files.tflite_graph import IntegerGraph, TfliteGraph
from tepal.quant.layer import Closing, Meaning, OnnxGraph

from .registry import onnx, tflite

if TYPE_CHECKING:
    from tepal.quant.files.draft import Value
    from tepal.quant.files.onnx_model import OnnxModel
    from tepal.quant.files.onnx_node import Node

__all__ = ["ArgMax", "FloatSoftmax", "LogSoftmax", "Softmax", "exponential", "reciprocal"]


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
        powers = exponential(scaled)
        powers = np.where(difference < -radius, 0, powers)
        total = rounding_shift_right(powers, 12).sum(axis=-1, keepdims=True)
        headroom = 32 - np.vectorize(lambda value: frexp(value)[1], otypes=[np.int64])(total)
        scale = reciprocal((total << headroom) - (1 << 31))
        probability = rounding_shift_right(high_multiply(scale, powers), 12 - headroom + 31 - 8)
        return np.clip(probability - 128, -128, 127).astype(np.int8)

    def write_onnx(self, graph: OnnxGraph, value: str, scale: float, output: str) -> str:
        if self.beta != 1 or self.input_scale != scale:
            raise NetworkError(f"its softmax has the beta {self.beta} and the input scale {self.input_scale}; only 1 "
                               f"and the scale of the logits, {scale}, can be expressed")
        return graph.node("Softmax", [value], output, axis=-1)


@dataclass(frozen=True)
class FloatSoftmax(Closing):
    """Probabilities, float32, of real logits times ``beta``."""

    name = "SOFTMAX"

    beta: float = 1.0

    def __call__(self, logits: np.ndarray) -> np.ndarray:
        powers = np.exp(np.float32(self.beta) * (logits - logits.max(axis=-1, keepdims=True)))
        return powers / powers.sum(axis=-1, keepdims=True)

    def quantised(self, meaning: Meaning) -> tuple[Closing, Meaning | None]:
        return Softmax(self.index, self.tensor, meaning[0], self.beta), (1 / 256, -128)

    def write_onnx(self, graph: OnnxGraph, value: str, scale: float, output: str) -> str:
        return Softmax(self.index, self.tensor, scale, self.beta).write_onnx(graph, value, scale, output)


def exponential(x: np.ndarray) -> np.ndarray:
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


def reciprocal(x: np.ndarray) -> np.ndarray:
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
    closing = FloatSoftmax(operator.index, result.index, beta)
    if isinstance(graph, IntegerGraph):
        if result.meaning != (1 / 256, -128):
            raise operator.error(f"must have the output scale 1/256 and the zero point {-128 + result.offset}")
        closing, _ = closing.quantised(operator.input(0).meaning)
    graph.close(operator, value, closing)


@dataclass(frozen=True)
class ArgMax(Closing):
    """Number of the largest value along dimension ``axis``, the first of several; an integer type called ``type``."""

    name = "ARG_MAX"

    axis: int
    type: str

    def __call__(self, logits: np.ndarray) -> np.ndarray:
        return logits.argmax(axis=self.axis).astype(self.type)

    def quantised(self, meaning: Meaning) -> tuple[Closing, Meaning | None]:
        return self, None

    def write_onnx(self, graph: OnnxGraph, value: str, scale: float, output: str) -> str:
        return graph.node("ArgMax", [value], output, axis=self.axis, keepdims=0)


@tflite("ARG_MAX", limits="at the end; stays off the chip")
def _arg_max(graph: TfliteGraph, operator: Operator) -> None:
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
    """Logarithms of the probabilities, float32, of logits of the scale ``input_scale``, 1 of real ones."""

    name = "LOG_SOFTMAX"

    input_scale: float = 1.0

    def __call__(self, logits: np.ndarray) -> np.ndarray:
        real = np.float32(self.input_scale) * logits.astype(np.float32)
        real -= real.max(axis=-1, keepdims=True)
        return real - np.log(np.exp(real).sum(axis=-1, keepdims=True))

    def quantised(self, meaning: Meaning) -> tuple[Closing, Meaning | None]:
        return replace(self, input_scale=meaning[0]), None

    def write_onnx(self, graph: OnnxGraph, value: str, scale: float, output: str) -> str:
        return graph.node("LogSoftmax", [value], output, axis=-1)


# ---- ONNX ----

@onnx("ArgMax", closing=True, limits="at the end; stays off the chip")
def _onnx_arg_max(model: OnnxModel, node: Node, value: Value) -> Value:
    axis, shape = node.axis(node.attributes.get("axis", 0), value.places.ndim), value.places.shape
    rows = _rows(node, value, axis)
    if node.attributes.get("select_last_index"):
        raise node.obstacle("takes the last of several largest values; only the first is supported")
    kept = (1,) if node.attributes.get("keepdims", 1) else ()
    result = value.behind(ArgMax(-1, -1, len(frame(rows.shape)), "int64"), rows, rows.shape[:-1])
    return replace(result, places=result.places.reshape(shape[:axis] + kept + shape[axis + 1:]))


@onnx("Softmax", "LogSoftmax", closing=True, limits="at the end; stays off the chip")
def _onnx_softmax(model: OnnxModel, node: Node, value: Value) -> Value:
    shape, new = value.places.shape, model.opset >= 13
    axis = node.axis(node.attributes.get("axis", -1 if new else 1), len(shape))
    if not new:
        # Over all dimensions from this one.
        value, axis = replace(value, places=value.places.reshape(prod(shape[:axis]), -1)), 1
    rows = _rows(node, value, axis)
    result = value.behind((LogSoftmax if node.operator == "LogSoftmax" else FloatSoftmax)(-1, -1), rows,
                          rows.shape)
    places = np.moveaxis(result.places, -1, axis) if rows.ndim == value.places.ndim else result.places
    return replace(result, places=places.reshape(shape))


def _rows(node: Node, value: Value, axis: int) -> np.ndarray:
    """The places of ``value`` with dimension ``axis`` as the last one; as a vector where the others are 1."""
    if value.draft is None:
        raise node.obstacle("works on the image itself; only what layers give can go through it")
    if value.places.shape[axis] == value.places.size > 1:
        return value.places.reshape(1, -1)
    if axis == 0:
        raise node.obstacle("works along the batch; give it the axis of the classes")
    return np.moveaxis(value.places, axis, -1)
