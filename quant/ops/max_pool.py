# SPDX-License-Identifier: Apache-2.0
"""Largest value of windows: MAX_POOL_2D of TensorFlow Lite, MaxPool and GlobalMaxPool of ONNX."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import TYPE_CHECKING, Any

import numpy as np
import tflite as schema
from tepal.quant.files.draft import Draft, Value
from tepal.quant.files.tflite_file import Operator
from tepal.quant.files.tflite_graph import WINDOW_OPTIONS, IntegerGraph, TfliteGraph
from tepal.quant.layer import IMAGE, NO_PADDING, FloatLayer, Layer, Meaning, Padding, Place
from tepal.quant.rescale import Requantise, quantised_clamp, requantise_of_scales
from tepal.quant.windows import windows

from .registry import onnx, tflite

if TYPE_CHECKING:
    from typing import Self

    from tepal.quant.files.onnx_model import OnnxModel
    from tepal.quant.files.onnx_node import Node

__all__ = ["FloatMaxPool", "MaxDraft", "MaxPool"]

@dataclass(frozen=True, eq=False, kw_only=True)
class MaxPool(Layer):
    """Largest value of each window; what lies beyond the map's edges does not count.

    ``requantise`` takes that value less the input's zero point.  TensorFlow Lite only clamps it, for input and output
    have one scale there."""

    window: tuple[int, int]
    requantise: Requantise

    @classmethod
    def of_scales(cls, geometry: dict[str, Any], window: tuple[int, int], source: Meaning, result: Meaning,
                  minimum: float, maximum: float) -> Self:
        """The largest value of ``window``; everything else as in :meth:`tepal.quant.weighted.Weighted.of_scales`."""
        requantise = requantise_of_scales(source[0], np.ones(geometry["output_shape"][2]), *result,
                                          *quantised_clamp(minimum, maximum, *result))
        return cls(**geometry, input_zero_point=source[1], output_scale=result[0], window=window,
                   requantise=requantise)

    @property
    def kernel(self) -> tuple[int, int]:
        return self.window

    @property
    def output_zero_point(self) -> int:
        return self.requantise.zero_point

    @property
    def border(self) -> int:
        # No value is less.
        return -128

    def accumulate(self, *maps: np.ndarray) -> np.ndarray:
        (x,) = maps
        return windows(self, x, self.border).max(axis=(-2, -1)).astype(np.int64) - self.input_zero_point

    def sum_range(self, *constants: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        (constant,) = constants
        low, high = (np.where(self.foldable(constant), np.nan_to_num(constant), end) for end in (-128, 127))
        return low.astype(np.int64) - self.input_zero_point, high.astype(np.int64) - self.input_zero_point

    def foldable(self, constant: np.ndarray) -> np.ndarray:
        # Every window covers some of the map, and the rest of it does not count.
        return ~np.isnan(constant)

    def rebuilt(self, inputs: Sequence[np.ndarray], keep: np.ndarray, *constants: np.ndarray) -> Self:
        return replace(self, **self.kept_shapes(inputs[0], keep), requantise=self.requantise.select(keep))

    def resized(self, place: Place) -> Self:
        return replace(self, **place.geometry, window=place.kernel,
                       requantise=self.requantise.first(self.output_shape[2], place.output_shape[2]))

    def sum_steps(self, *input_scales: float) -> np.ndarray:
        (input_scale,) = input_scales
        return np.full(self.output_shape[2], input_scale)

    def write_onnx(self, graph, values: Sequence[str], input_scales: Sequence[float], result: str, output: str) -> str:
        (value,) = values
        around = self.padding
        return graph.node("MaxPool", [value], output, kernel_shape=self.window, strides=self.stride,
                          pads=[around.top, around.left, around.bottom, around.right])


@dataclass(frozen=True, eq=False, kw_only=True)
class FloatMaxPool(FloatLayer):
    """Largest value of each window; what lies beyond the map's edges does not count."""

    window: tuple[int, int]

    @property
    def kernel(self) -> tuple[int, int]:
        return self.window

    def sums(self, *maps: np.ndarray) -> np.ndarray:
        (x,) = maps
        return windows(self, x, -inf).max(axis=(-2, -1))

    def result_meaning(self, measured: Meaning, *sources: Meaning) -> Meaning:
        (source,) = sources
        # Nothing is lost where the results stay the codes that they were.
        return source

    def quantised(self, number: int, result: Meaning, *sources: Meaning) -> MaxPool:
        (source,) = sources
        return MaxPool.of_scales(self.geometry(number), self.window, source, result, self.minimum, self.maximum)


# ---- TensorFlow Lite ----

@tflite("MAX_POOL_2D", options=(schema.Pool2DOptions, (*WINDOW_OPTIONS, "FilterHeight", "FilterWidth")),
        limits="any window and stride; NONE, RELU, RELU6 or RELU_N1_TO_1 fused")
def _max_pool_2d(graph: TfliteGraph, operator: Operator) -> None:
    graph.check_unchanged(operator)
    window = operator.options.FilterHeight, operator.options.FilterWidth
    if min(window) < 1:
        raise operator.error(f"has a window of {window[0]}x{window[1]}")
    source, shape, around = graph.map(operator, padded=True)
    stride, padding, size = graph.window(operator, window, shape, around)
    harmless = _covers(padding, window) and _least(graph, source) >= graph.zero(operator.input(0))
    if around != NO_PADDING and not harmless:
        raise operator.obstacle("follows a PAD whose zeros may be the largest values of a window; only behind a layer "
                                "that gives nothing below zero, as with ReLU, is it supported")
    channels = shape[2]
    fields = graph.fields(operator, [source], shape, (*size, channels), stride, padding)
    if isinstance(graph, IntegerGraph):
        zero_point = fields["input_zero_point"]
        unity = Requantise(np.full(channels, 1 << 30), np.ones(channels), zero_point, *graph.clamp(operator))
        graph.append(operator, MaxPool(**fields, window=window, requantise=unity))
    else:
        graph.append(operator, FloatMaxPool(**fields, window=window))


def _least(graph: TfliteGraph, source: int) -> float:
    """No value of layer ``source``, or of the image, is below it."""
    layer = None if source == IMAGE else graph.layers[source]
    if isinstance(layer, FloatLayer):
        return layer.minimum
    rule = getattr(layer, "requantise", None)
    return -128 if rule is None else rule.minimum


# ---- ONNX ----

@dataclass(eq=False, kw_only=True)
class MaxDraft(Draft):
    """The largest value of ``window`` in the making."""

    window: tuple[int, int]

    def float_layer(self, index: int) -> FloatMaxPool:
        return FloatMaxPool(**self.geometry(index), **self.activation(), window=self.window)

    def layer(self, index: int) -> MaxPool:
        (source,), result = self.meanings()
        return MaxPool.of_scales(self.geometry(index), self.window, source, result, self.minimum, self.maximum)


@onnx("MaxPool", on_integers=True, windows=True, limits="any window, stride and padding; no dilation, no indices")
def _max_pool(model: OnnxModel, node: Node, value: Value) -> Value:
    if len(node.proto.output) > 1 and node.proto.output[1]:
        raise node.obstacle("gives the places of the largest values too; only the values are supported")
    height, width = node.integers("kernel_shape", (1, 1))
    return _largest(model, node, value, (height, width))


@onnx("GlobalMaxPool", on_integers=True, windows=True, limits="any map")
def _global_max_pool(model: OnnxModel, node: Node, value: Value) -> Value:
    height, width, _ = model.image(node, value)[0]
    return _largest(model, node, value, (height, width))


def _largest(model: OnnxModel, node: Node, value: Value, window: tuple[int, int]) -> Value:
    size, _ = model.image(node, value)
    if node.integers("dilations", (1, 1)) != (1, 1):
        raise node.obstacle("is dilated; only a dilation of 1 is supported")
    stride, padding, pixels = model.window(node, window, size, NO_PADDING)
    if not _covers(padding, window):
        raise node.obstacle(f"pads by as much as its window of {window[0]}x{window[1]}, so that some windows hold "
                            "nothing of the map; pad by less")
    # Of integers the largest are integers of the same meaning.
    meaning = value.meaning if value.integers else None
    result = model.add(node, MaxDraft(
        node=node, reads=(value,), name=node.output, input_shape=size, output_shape=(*pixels, size[2]), window=window,
        stride=stride, padding=padding, result=meaning))
    return replace(result, meaning=meaning, integers=value.integers, integer_type=value.integer_type)


def _covers(padding: Padding, window: tuple[int, int]) -> bool:
    """Whether every window holds something of the map."""
    return max(padding.top, padding.bottom) < window[0] and max(padding.left, padding.right) < window[1]
