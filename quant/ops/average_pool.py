# SPDX-License-Identifier: Apache-2.0
"""Average over windows: AVERAGE_POOL_2D of TensorFlow Lite, AveragePool and GlobalAveragePool of ONNX."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
import tflite as schema
from tepal.quant.arithmetic import quantize_multiplier, round_half_away_divide
from tepal.quant.files.draft import Draft, Value
from tepal.quant.files.tflite_file import Operator
from tepal.quant.files.tflite_graph import WINDOW_OPTIONS, IntegerGraph, TfliteGraph
from tepal.quant.layer import NO_PADDING, FloatLayer, Layer, Meaning, Place, frozen
from tepal.quant.rescale import Requantise, check_accumulator, quantised_clamp, requantise_of_scales
from tepal.quant.windows import exact, windows

from .registry import onnx, tflite

if TYPE_CHECKING:
    from typing import Self

    from tepal.quant.files.onnx_model import OnnxModel
    from tepal.quant.files.onnx_node import Node

__all__ = ["Average", "AverageDraft", "AveragePool", "FloatAveragePool"]


@dataclass(frozen=True, eq=False)
class Average:
    """Sum of ``count`` int8 values to their int8 mean, half away from zero (TensorFlow Lite's
    AVERAGE_POOL_2D, whose input and output share scale and zero point).

    ``offset`` is what is added to each value before, and taken off the mean after: 128 where the model file has uint8,
    whose mean is never below 0."""

    count: int
    minimum: int = -128
    maximum: int = 127
    offset: int = 0

    @property
    def factor(self) -> float:
        """Real multiplier."""
        return 1 / self.count

    def __call__(self, acc: np.ndarray) -> np.ndarray:
        """int8 of an integer array of sums; monotone."""
        mean = round_half_away_divide(acc + self.offset * self.count, self.count) - self.offset
        return np.clip(mean, self.minimum, self.maximum).astype(np.int8)

    def select(self, keep) -> Average:
        """The rule of the channels ``keep``: that of all."""
        return self


@dataclass(frozen=True, eq=False, kw_only=True)
class AveragePool(Layer):
    """Mean over windows that lie wholly inside the input (no padding).

    ``bias`` int32 (channels,) is added to the sum before ``requantise``; zeros for AVERAGE_POOL_2D."""

    window: tuple[int, int]
    bias: np.ndarray
    requantise: Average | Requantise

    def __post_init__(self):
        object.__setattr__(self, "bias", frozen(self.bias, np.int32))

    @classmethod
    def of_scales(cls, label: str, geometry: dict[str, Any], window: tuple[int, int], source: Meaning,
                  result: Meaning, minimum: float, maximum: float) -> Self:
        """The average over ``window``; everything else as in :meth:`tepal.quant.weighted.Weighted.of_scales`."""
        count, channels = prod(window), geometry["output_shape"][2]
        requantise = requantise_of_scales(source[0], np.full(channels, 1 / count), *result,
                                          *quantised_clamp(minimum, maximum, *result))
        check_accumulator(label, np.ones((1, count), np.int8), [0], source[1], requantise)
        return cls(**geometry, input_zero_point=source[1], output_scale=result[0], window=window,
                   bias=np.full(channels, -count * source[1]), requantise=requantise)

    @property
    def kernel(self) -> tuple[int, int]:
        return self.window

    @property
    def output_zero_point(self) -> int:
        return self.input_zero_point if isinstance(self.requantise, Average) else self.requantise.zero_point

    def accumulate(self, *maps: np.ndarray) -> np.ndarray:
        (x,) = maps
        total = windows(self, exact(x, prod(self.window)), self.input_zero_point).sum(axis=(-2, -1))
        return total.astype(np.int64) + self.bias

    def sum_range(self, *constants: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        (constant,) = constants
        count = prod(self.window)
        low, high = (np.where(self.foldable(constant), np.nan_to_num(constant), end) for end in (-128, 127))
        return low.astype(np.int64) * count + self.bias, high.astype(np.int64) * count + self.bias

    def rebuilt(self, inputs: Sequence[np.ndarray], keep: np.ndarray, *constants: np.ndarray) -> Self:
        return replace(self, **self.kept_shapes(inputs[0], keep), bias=self.bias[keep],
                       requantise=self.requantise.select(keep))

    def resized(self, place: Place) -> Self:
        channels, share = place.output_shape[2], prod(place.kernel) / prod(self.window)
        return replace(self, **place.geometry, window=place.kernel, bias=np.rint(self.bias[:channels] * share),
                       requantise=self._rule_at(channels, share))

    def _rule_at(self, channels: int, share: float) -> Average | Requantise:
        """The rule for windows of ``share`` as many pixels."""
        if isinstance(self.requantise, Average):
            return replace(self.requantise, count=round(self.requantise.count * share))
        rule = self.requantise.first(self.bias.size, channels)
        if share == 1:
            return rule
        multiplier, shift = quantize_multiplier(rule.factor / share)
        return replace(rule, multiplier=multiplier, shift=shift)

    def sum_steps(self, *input_scales: float) -> np.ndarray:
        (input_scale,) = input_scales
        count, zero_point = prod(self.window), 0 if isinstance(self.requantise, Average) else self.input_zero_point
        if (self.bias != -count * zero_point).any():
            raise self.unwritable("its average pool adds a bias; only the zero point is possible")
        return np.full(self.output_shape[2], input_scale / count)

    def write_onnx(self, graph, values: Sequence[str], input_scales: Sequence[float], result: str, output: str) -> str:
        (value,) = values
        return graph.node("AveragePool", [value], output, kernel_shape=self.window, strides=self.stride)


@dataclass(frozen=True, eq=False, kw_only=True)
class FloatAveragePool(FloatLayer):
    """Mean over windows that lie wholly inside the input."""

    window: tuple[int, int]

    @property
    def kernel(self) -> tuple[int, int]:
        return self.window

    def sums(self, *maps: np.ndarray) -> np.ndarray:
        (x,) = maps
        return windows(self, x, 0).sum(axis=(-2, -1)) / np.float32(prod(self.window))

    def quantised(self, number: int, result: Meaning, *sources: Meaning) -> AveragePool:
        (source,) = sources
        return AveragePool.of_scales(f"layer {self.index} ({self.name})", self.geometry(number), self.window, source,
                                     result, self.minimum, self.maximum)


# ---- TensorFlow Lite ----

@tflite("AVERAGE_POOL_2D", options=(schema.Pool2DOptions, (*WINDOW_OPTIONS, "FilterHeight", "FilterWidth")),
        limits="windows wholly inside the map, no padding; NONE, RELU, RELU6 or RELU_N1_TO_1 fused")
def _average_pool_2d(graph: TfliteGraph, operator: Operator) -> None:
    graph.check_unchanged(operator)
    window = operator.options.FilterHeight, operator.options.FilterWidth
    if min(window) < 1:
        raise operator.error(f"has a window of {window[0]}x{window[1]}")
    source, shape, around = graph.map(operator)
    stride, padding, size = graph.window(operator, window, shape, around)
    if padding != NO_PADDING:
        raise operator.obstacle("averages over padding; only windows wholly inside the map are supported")
    channels = shape[2]
    fields = graph.fields(operator, [source], shape, (*size, channels), stride)
    if isinstance(graph, IntegerGraph):
        average = Average(prod(window), *graph.clamp(operator), operator.output.offset)
        graph.append(operator, AveragePool(**fields, window=window, bias=np.zeros(channels), requantise=average))
    else:
        graph.append(operator, FloatAveragePool(**fields, window=window))


# ---- ONNX ----

@dataclass(eq=False, kw_only=True)
class AverageDraft(Draft):
    """An average over ``window`` in the making."""

    window: tuple[int, int]

    def float_layer(self, index: int) -> FloatAveragePool:
        return FloatAveragePool(**self.geometry(index), **self.activation(), window=self.window)

    def layer(self, index: int) -> AveragePool:
        (source,), result = self.meanings()
        return AveragePool.of_scales(self.node.label, self.geometry(index), self.window, source, result, self.minimum,
                                     self.maximum)


@onnx("AveragePool", windows=True, limits="windows wholly inside the map, no padding")
def _average_pool(model: OnnxModel, node: Node, value: Value) -> Value:
    height, width = node.integers("kernel_shape", (1, 1))
    return _average(model, node, value, (height, width))


@onnx("GlobalAveragePool", windows=True, limits="any map")
def _global_average_pool(model: OnnxModel, node: Node, value: Value) -> Value:
    height, width, _ = model.image(node, value)[0]
    return _average(model, node, value, (height, width))


def _average(model: OnnxModel, node: Node, value: Value, window: tuple[int, int]) -> Value:
    size, _ = model.image(node, value)
    if node.integers("dilations", (1, 1)) != (1, 1):
        raise node.obstacle("is dilated; only a dilation of 1 is supported")
    stride, padding, pixels = model.window(node, window, size, NO_PADDING)
    if padding != NO_PADDING:
        raise node.obstacle("averages over padding; only windows wholly inside the map are supported")
    return model.add(node, AverageDraft(node=node, reads=(value,), name=node.output, input_shape=size,
                                        output_shape=(*pixels, size[2]), window=window, stride=stride))
