# SPDX-License-Identifier: Apache-2.0
"""Depthwise convolution: DEPTHWISE_CONV_2D of TensorFlow Lite; of ONNX it is a Conv with groups."""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import tflite as schema
from tepal.quant.errors import NetworkError
from tepal.quant.files.tflite_file import Operator
from tepal.quant.files.tflite_graph import DILATION_OPTIONS, WINDOW_OPTIONS, TfliteGraph
from tepal.quant.files.weights import append_convolution, tflite_weights, weight_zero_point
from tepal.quant.layer import LARGEST_MAP, Place
from tepal.quant.weighted import Filters, FloatWeighted, Weighted
from tepal.quant.windows import windows

from .convolution import FloatConvolution
from .registry import tflite

__all__ = ["Depthwise", "FloatDepthwise", "as_dense"]


class _PerChannel(Filters):
    """Weights (kernel height, kernel width, channels)."""

    channel_axis = 2

    @staticmethod
    def kernel_of(weights: np.ndarray) -> tuple[int, int]:
        return weights.shape[:2]

    def filtered(self, x: np.ndarray, fill) -> np.ndarray:
        weights, taps = self.factors.astype(x.dtype, copy=False), windows(self, x, fill)
        total = np.zeros((len(x), *self.output_shape), x.dtype)
        for position in np.ndindex(*self.kernel):
            total += taps[..., *position] * weights[position]
        return total


@dataclass(frozen=True, eq=False, kw_only=True)
class Depthwise(_PerChannel, Weighted):
    """One filter per channel. ``weights`` int8 (kernel height, kernel width, channels); the rest as in
    :class:`~tepal.quant.weighted.Weighted`."""

    def kept_weights(self, inputs: np.ndarray, keep: np.ndarray) -> np.ndarray:
        return self.weights[..., keep]

    @staticmethod
    def parameters_at(place: Place) -> int:
        return prod(place.kernel) * place.output_shape[2]

    def first_weights(self, place: Place) -> np.ndarray:
        height, width = place.kernel
        return self.weights[:height, :width, :place.output_shape[2]]

    def onnx_weights(self) -> tuple[np.ndarray, dict[str, Any]]:
        # The groups are spelled out for these layers alone, which tells those of a single channel from dense ones.
        return self.weights.transpose(2, 0, 1)[:, None], {"group": len(self.bias)}


@dataclass(frozen=True, eq=False, kw_only=True)
class FloatDepthwise(_PerChannel, FloatWeighted):
    """One filter per channel. ``weights`` float32 (kernel height, kernel width, channels); ``bias`` float32
    (channels,)."""

    integer = Depthwise

    def balance(self, peak: np.ndarray) -> np.ndarray:
        # Its weights have a scale for each of these channels: it costs nothing to even them out wholly.
        return peak


def as_dense(weights: np.ndarray, groups: int, obstacle: Callable[[str], NetworkError], zero: int = 0) -> np.ndarray:
    """A depth multiplier: the same sums as those of a dense convolution whose other products are zero.

    Parameters
    ----------
    weights
        (kernel height, kernel width, channels): those of as many channels as there are for each of the ``groups`` input
        channels stand together.
    obstacle
        Makes what is raised if the dense weights are too many.
    zero
        The weight that means 0.

    Returns
    -------
    (channels, kernel height, kernel width, groups), of the same type.
    """
    channels = weights.shape[2]
    multiplier = channels // groups
    if weights.size * groups > LARGEST_MAP:
        raise obstacle(f"has the depth multiplier {multiplier} on {groups} channels, too large to be computed as a "
                       "dense convolution")
    out = np.arange(channels)
    dense = np.full((channels, *weights.shape[:2], groups), zero, weights.dtype)
    dense[out, :, :, out // multiplier] = weights.transpose(2, 0, 1)
    return dense


@tflite("DEPTHWISE_CONV_2D", options=(schema.DepthwiseConv2DOptions, WINDOW_OPTIONS + DILATION_OPTIONS),
        limits="any kernel and stride; a depth multiplier above 1 runs as a dense convolution; "
        "a dilation spreads the window; NONE, RELU, RELU6 or RELU_N1_TO_1 fused")
def _depthwise_conv_2d(graph: TfliteGraph, operator: Operator) -> None:
    weights, bias = tflite_weights(graph, operator, rank=4, axis=3)
    _, (_, _, channels), _ = graph.map(operator, padded=True, dealt=True)
    if weights.shape[0] != 1 or weights.shape[3] % channels:
        raise operator.error(f"has weights of the shape {list(weights.shape)} for {channels} channels")
    if weights.shape[3] == channels:
        append_convolution(graph, operator, FloatDepthwise, weights[0], bias)
    else:
        dense = as_dense(weights[0], channels, operator.obstacle, weight_zero_point(operator.input(1)))
        append_convolution(graph, operator, FloatConvolution, dense, bias)
