# SPDX-License-Identifier: Apache-2.0
"""Trained weights and their bias, as model files hold them, for the operators that have any."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, prod
from typing import TYPE_CHECKING, Any

import numpy as np
import tflite as schema
from tepal.quant.arithmetic import Rounding, accumulator_range, fit_single_rounding, quantize_multiplier
from tepal.quant.layer import LARGEST_MAP, NO_PADDING, Statistics
from tepal.quant.rescale import Requantise, overflows
from tepal.quant.weighted import FloatWeighted, Weighted

from .draft import Constant, Draft
from .tflite_file import Operator, Tensor
from .tflite_graph import IntegerGraph, TfliteGraph
from .values import TensorValue, moved_to_batch

if TYPE_CHECKING:
    from .onnx_model import OnnxModel
    from .onnx_node import Node

__all__ = ["WeightedDraft", "append_convolution", "append_weighted", "onnx_bias", "onnx_weights", "tflite_weights",
           "weight_zero_point"]


# ---- TensorFlow Lite ----

def tflite_weights(graph: TfliteGraph, operator: Operator, rank: int, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Weights, int8 or float32, and bias, inputs 1 and 2 of ``operator``; ``axis`` is the output channel of the
    weights."""
    tensor = operator.input(1)
    if len(tensor.shape) != rank:
        raise operator.error(f"has weights of the shape {list(tensor.shape)}")
    graph.check_weights(operator, tensor, axis)
    channels = tensor.shape[axis]
    bias = np.zeros(channels, graph.bias_type.lower())
    if (given := operator.optional(2)) is not None:
        if given.type != graph.bias_type or prod(given.shape) != channels:
            raise operator.error(f"has a bias of {prod(given.shape)} {given.type.lower()} values; "
                                 f"{channels} {graph.bias_type.lower()} values are needed")
        bias = given.constant().reshape(channels)
    return tensor.codes() if isinstance(graph, IntegerGraph) else tensor.real(), bias


def weight_zero_point(tensor: Tensor) -> int:
    """The weight that means 0, of weights as :func:`tflite_weights` gives them."""
    return tensor.zero_point if tensor.type == "UINT8" else 0


def append_weighted(graph: TfliteGraph, operator: Operator, kind: type[FloatWeighted], fields: dict[str, Any],
                    weights: np.ndarray, bias: np.ndarray, rounding=Rounding.DOUBLE,
                    like: TensorValue | None = None) -> None:
    """Go on with a layer of this ``kind`` and these ``fields``, or with its integer twin, whose values stand in the
    order of ``like``."""
    if not isinstance(graph, IntegerGraph):
        graph.append(operator, kind(**fields, weights=weights, bias=bias), like)
        return
    source, given = operator.input(0), operator.input(1)
    scales, zero = np.broadcast_to(given.scales, len(bias)), weight_zero_point(given)
    if given.offset and rounding is Rounding.DOUBLE:
        # GetQuantizedConvolutionMultipler, for convolutions of uint8, multiplies these two in float32.
        real = (source.scale * scales).astype(np.float64) / np.float64(operator.output.scale)
    else:
        real = np.float64(source.scale) * scales.astype(np.float64) / np.float64(operator.output.scale)
    factors = weights.astype(np.int16) - zero
    low, high = accumulator_range(np.moveaxis(factors, kind.channel_axis, 0), bias, source.zero_point)
    clamp, zero_point = graph.clamp(operator), operator.output.zero_point
    if rounding is Rounding.SINGLE:
        multiplier, shift, fits = fit_single_rounding(real, low, high, *(limit - zero_point for limit in clamp))
    else:
        multiplier, shift = quantize_multiplier(real)
        fits = np.ones_like(shift, bool)
    if (overflowing := overflows(low, high, shift)).any():
        raise operator.error(f"can overflow its 32-bit accumulator in channel {np.argmax(overflowing)}")
    if not fits.all():
        raise operator.error(f"has a scale in channel {np.argmin(fits)} that no integer multiplier "
                             "reproduces exactly; quantise it again with less extreme scales")
    requantise = Requantise(multiplier, shift, zero_point, *clamp, rounding)
    graph.append(operator, kind.integer(**fields, weights=weights, bias=bias, requantise=requantise,
                                        weight_scales=scales, weight_zero_point=zero), like)


def append_convolution(graph: TfliteGraph, operator: Operator, kind: type[FloatWeighted], weights: np.ndarray,
                       bias: np.ndarray) -> None:
    """Go on with a layer of this ``kind`` whose window moves as the operator's options say."""
    options, blocks = operator.options, graph.value(operator).blocks
    down, across = blocks or (1, 1)
    if blocks and ((options.StrideH, options.StrideW) != (1, 1) or options.Padding != schema.Padding.VALID):
        raise operator.obstacle("has a stride or padding of its own between SPACE_TO_BATCH_ND and BATCH_TO_SPACE_ND; "
                                "convert the model with the convolution's own dilation")
    weights = dilated(operator, weights, kind.channel_axis == 0,
                      (options.DilationHFactor * down, options.DilationWFactor * across))
    source, shape, around = graph.map(operator, padded=True, dealt=True)
    stride, padding, size = graph.window(operator, kind.kernel_of(weights), shape, around)
    like = None
    if blocks:
        result = np.arange(prod(size) * len(bias), dtype=np.int32).reshape(1, *size, len(bias))
        like = moved_to_batch(TensorValue((), result.shape), result, blocks)
    fields = graph.fields(operator, [source], shape, (*size, len(bias)), stride, padding, like)
    append_weighted(graph, operator, kind, fields, weights, bias, like=like)


def dilated(operator: Operator, weights: np.ndarray, channel_first: bool, steps: tuple[int, int]) -> np.ndarray:
    """``weights``, whose window is their dimensions 1 and 2, or 0 and 1 where the channel isn't first, with what means
    0 between them, so that the window's values lie ``steps`` apart."""
    if steps == (1, 1):
        return weights
    if min(steps) < 1:
        raise operator.error(f"has the dilation {steps}")
    shape, places = list(weights.shape), [slice(None)] * weights.ndim
    for axis, step in enumerate(steps, start=int(channel_first)):
        shape[axis], places[axis] = (shape[axis] - 1) * step + 1, slice(None, None, step)
    if prod(shape) > LARGEST_MAP:
        raise operator.obstacle(f"has the dilation {steps}, too large for a window without one")
    spread = np.full(shape, weight_zero_point(operator.input(1)), weights.dtype)
    spread[tuple(places)] = weights
    return spread


# ---- ONNX ----

@dataclass(eq=False, kw_only=True)
class WeightedDraft(Draft):
    """A layer with weights in the making.

    ``weights`` as in layers of this ``kind``, float64 or, with ``scales`` and ``zero_points`` (channels,), int8.
    ``made`` says that the
    file has no such layer: it is a depthwise 1x1 for a factor, an offset or a clamp."""

    kind: type[FloatWeighted]
    weights: np.ndarray
    scales: np.ndarray | None = None
    zero_points: np.ndarray | int = 0
    bias: Constant | None = None
    linear: bool = True
    made: bool = False

    @property
    def quantised(self) -> bool:
        return super().quantised or self.scales is not None

    def scale(self, factor: np.ndarray, mean: np.ndarray | float, offset: np.ndarray | float) -> None:
        bias = 0.0 if self.bias is None else self.bias.real
        shape = [1] * self.weights.ndim
        shape[self.kind.channel_axis] = -1
        if self.scales is None:
            self.weights = self.weights * factor.reshape(shape)
        else:
            if (np.moveaxis(self.weights, self.kind.channel_axis, 0)[factor < 0] == -128).any():
                raise self.node.error("has weights of -128 that a factor behind it makes 128, more than int8 holds; "
                                      "fold the factor in before quantising")
            sign = np.sign(factor).astype(np.int8)
            self.weights, self.zero_points = self.weights * sign.reshape(shape), self.zero_points * sign
            # Of a channel that vanishes the weights say so.
            self.scales = np.where(factor == 0, self.scales, self.scales * np.abs(factor)).astype(np.float32)
        self.bias = Constant((bias - mean) * factor + offset)
        if self.trained:
            self.trained = Statistics((self.trained.mean - mean) * factor + offset,
                                      self.trained.deviation * np.abs(factor))

    @property
    def bare(self) -> bool:
        """Whether it is but a factor and an offset for each channel, which the file doesn't have as a layer."""
        return self.made and self.scales is None and (self.minimum, self.maximum) == (-inf, inf)

    def takes(self, before: WeightedDraft) -> bool:
        """Whether this layer can take up the ``bare`` one that it reads: padding would see no offset."""
        padded = self.padding != NO_PADDING and before.bias is not None and before.bias.real.any()
        return self.scales is None and not padded

    def absorb(self, before: WeightedDraft) -> None:
        """Compute what ``before``, which :meth:`takes` allows, did too."""
        if before.bias is not None:
            offsets = np.moveaxis(self.weights * before.bias.real, self.kind.channel_axis, 0)
            offsets = offsets.reshape(self.output_shape[2], -1).sum(axis=1)
            self.bias = Constant(offsets if self.bias is None else offsets + self.bias.real)
        self.weights, self.reads = self.weights * before.weights[0, 0], before.reads

    def float_layer(self, index: int) -> FloatWeighted:
        bias = np.zeros(self.output_shape[2]) if self.bias is None else self.bias.real
        return self.kind(**self.geometry(index), **self.activation(), weights=self.weights, bias=bias,
                         trained=self.trained)

    def layer(self, index: int) -> Weighted:
        (source,), result = self.meanings()
        if self.scales is None:
            raise self.node.error("has float weights in a quantised model; quantise them too")
        bias = self._integer_bias(source[0] * self.scales.astype(np.float64))
        zero_points = np.broadcast_to(self.zero_points, len(bias))
        return self.kind.integer.of_scales(
            self.node.label, self.geometry(index), self.weights, self.scales, bias, source, result, self.minimum,
            self.maximum, int(zero_points[0]) if (zero_points == zero_points[0]).all() else zero_points)

    def _integer_bias(self, steps: np.ndarray) -> np.ndarray:
        """In steps of ``steps``, the products of the scales of input and weights."""
        if self.bias is None:
            return np.zeros(len(steps), np.int32)
        if self.bias.scales is not None and np.allclose(self.bias.scales, steps, rtol=1e-6, atol=0):
            bias = self.bias.values - self.bias.zero_points
        else:
            bias = np.rint(self.bias.real / steps)
        if not (np.abs(bias) < 1 << 31).all():
            raise self.node.error("has a bias that doesn't fit 32 bits in the scale of its sums; quantise it again "
                                  "with less extreme scales")
        return bias


def onnx_weights(model: OnnxModel, node: Node, rank: int,
                 axis: int) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
    """Input 1 of ``node``, int8 or float64, with its output channel (dimension ``axis``) first, its scales and, int16,
    the zero point of each output channel."""
    weights = model.constant(node, 1, "weights")
    values = weights.values
    if node.widened and values.ndim == rank - 1:
        values = np.expand_dims(values, 2)
    if values.ndim != rank or not 1 <= values.size <= LARGEST_MAP:
        raise node.error(f"has weights of the shape {list(values.shape)}; {rank} dimensions are needed")
    values = np.moveaxis(values, axis, 0)
    if weights.scales is None:
        if values.dtype.kind != "f":
            raise node.error(f"has {values.dtype} weights; floating-point ones or DequantizeLinear are needed")
        return values.astype(np.float64), None, np.zeros(len(values), np.int16)
    if values.dtype == np.int32:
        raise node.error("has int32 weights; supported are int8 and uint8")
    scales, zero_points = (np.moveaxis(each, axis, 0).ravel() for each in (weights.scales, np.broadcast_to(
        weights.zero_points, weights.scales.shape)))
    if len(scales) != weights.scales.shape[axis]:
        raise node.error("has weight scales along another dimension than its output channels")
    if (np.abs(zero_points) > 128).any():
        raise node.error("has weights whose zero point is no value of theirs")
    return (values.astype(np.int8), np.broadcast_to(scales, len(values)),
            np.broadcast_to(zero_points.astype(np.int16), len(values)))


def onnx_bias(model: OnnxModel, node: Node, channels: int) -> Constant | None:
    """Input 2 of ``node``, one for each channel."""
    if len(node.inputs) < 3 or not node.inputs[2]:
        return None
    bias = model.constant(node, 2, "bias")
    if bias.values.size != 1 and (bias.values.size != channels or bias.values.shape[-1] != channels):
        raise node.error(f"has a bias of the shape {list(bias.values.shape)} for {channels} channels")
    if bias.scales is None or bias.values.size == 1:
        return Constant(np.broadcast_to(bias.real.ravel(), channels))
    return Constant(bias.values.ravel(), bias.scales.ravel(), np.ravel(bias.zero_points))
