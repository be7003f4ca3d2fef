# SPDX-License-Identifier: Apache-2.0
"""Dense convolution: CONV_2D of TensorFlow Lite; ONNX has its Conv, see :mod:`.conv`."""

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import tflite as schema
from tepal.quant.files.tflite_file import Operator
from tepal.quant.files.tflite_graph import DILATION_OPTIONS, WINDOW_OPTIONS, TfliteGraph
from tepal.quant.files.weights import append_convolution, tflite_weights, weight_zero_point
from tepal.quant.layer import LARGEST_MAP, Place
from tepal.quant.weighted import Filters, FloatWeighted, Weighted
from tepal.quant.windows import windows

from .registry import tflite

__all__ = ["Convolution", "FloatConvolution"]


class _Dense(Filters):
    """Weights (out channels, kernel height, kernel width, in channels)."""

    channel_axis = 0

    @staticmethod
    def kernel_of(weights: np.ndarray) -> tuple[int, int]:
        return weights.shape[1:3]

    @property
    def workspace(self) -> int:
        return max(super().workspace, self.pixels * prod(self.kernel) * self.input_shape[2])

    def filtered(self, x: np.ndarray, fill) -> np.ndarray:
        rows = self.factors.reshape(len(self.weights), -1).astype(x.dtype, copy=False)
        if self.kernel == (1, 1) and self.stride == (1, 1) and self.output_shape[:2] == x.shape[1:3]:
            columns = x.reshape(-1, rows.shape[1])
        else:
            # (frames, rows, columns, kernel height, kernel width, channels)
            columns = windows(self, x, fill).transpose(0, 1, 2, 4, 5, 3).reshape(-1, rows.shape[1])
        return (columns @ rows.T).reshape(len(x), *self.output_shape)


@dataclass(frozen=True, eq=False, kw_only=True)
class Convolution(_Dense, Weighted):
    """A dense convolution; a fully connected layer is one whose kernel covers its whole input.

    ``weights`` int8 (out channels, kernel height, kernel width, in channels); the rest as in
    :class:`~tepal.quant.weighted.Weighted`."""

    mixes = True

    def needed(self, keep: np.ndarray, *constants: np.ndarray) -> tuple[np.ndarray, ...]:
        (constant,) = constants
        used = np.any(self.factors[keep] != 0, axis=(0, 1, 2)) & ~self.foldable(constant)
        if not used.any():
            used[0] = True
        return (used,)

    def kept_weights(self, inputs: np.ndarray, keep: np.ndarray) -> np.ndarray:
        return self.weights[keep][..., inputs]

    @staticmethod
    def parameters_at(place: Place) -> int:
        return prod(place.kernel) * place.output_shape[2] * place.input_shape[2]

    def first_weights(self, place: Place) -> np.ndarray:
        height, width = place.kernel
        return self.weights[:place.output_shape[2], :height, :width, :place.input_shape[2]]

    def onnx_weights(self) -> tuple[np.ndarray, dict[str, Any]]:
        return self.weights.transpose(0, 3, 1, 2), {}


@dataclass(frozen=True, eq=False, kw_only=True)
class FloatConvolution(_Dense, FloatWeighted):
    """A dense convolution or, with a kernel as large as its input, a fully connected layer.

    ``weights`` float32 (out channels, kernel height, kernel width, in channels); ``bias`` float32 (out channels,)."""

    integer = Convolution

    def balance(self, peak: np.ndarray) -> np.ndarray:
        reads = np.abs(self.weights).max(axis=(0, 1, 2))
        return np.sqrt(peak / np.where(reads > 0, reads, np.inf))


@tflite("CONV_2D", options=(schema.Conv2DOptions, WINDOW_OPTIONS + DILATION_OPTIONS),
        limits="any kernel, stride and channels; groups and dilation run as a dense convolution; "
        "NONE, RELU, RELU6 or RELU_N1_TO_1 fused")
def _conv_2d(graph: TfliteGraph, operator: Operator) -> None:
    weights, bias = tflite_weights(graph, operator, rank=4, axis=0)
    _, (_, _, channels), _ = graph.map(operator, padded=True, dealt=True)
    if weights.shape[3] != channels:
        weights = _ungrouped(operator, weights, channels)
    append_convolution(graph, operator, FloatConvolution, weights, bias)


def _ungrouped(operator: Operator, weights: np.ndarray, channels: int) -> np.ndarray:
    """The weights of groups of channels with what means 0 for all other channels: the same sums."""
    count, each = len(weights), weights.shape[3]
    groups = channels // each
    if channels % each or count % groups:
        raise operator.error(f"takes {each} channels of an input with {channels} and gives {count}, which aren't "
                             "groups")
    if weights.size * groups > LARGEST_MAP:
        raise operator.obstacle(f"has {groups} groups, too many for a convolution without them")
    dense = np.full((*weights.shape[:3], channels), weight_zero_point(operator.input(1)), weights.dtype)
    for group in range(groups):
        outputs = slice(group * (count // groups), (group + 1) * (count // groups))
        dense[outputs, ..., group * each:(group + 1) * each] = weights[outputs]
    return dense
