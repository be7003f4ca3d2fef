# SPDX-License-Identifier: Apache-2.0
"""Conv of ONNX: a dense convolution or a depthwise one, which its groups tell.  Other groups and dilated windows run as
the dense convolution that holds zeros where they read nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from tepal.quant.files.weights import WeightedDraft, onnx_bias, onnx_weights
from tepal.quant.layer import LARGEST_MAP

from .convolution import FloatConvolution
from .depthwise import FloatDepthwise
from .registry import onnx

if TYPE_CHECKING:
    from tepal.quant.files.draft import Value
    from tepal.quant.files.onnx_model import OnnxModel
    from tepal.quant.files.onnx_node import Node


@onnx("Conv", linear=True, takes_padding=True, windows=True,
      limits="any kernel, stride, padding and depth multiplier, along one or two dimensions; groups and dilated "
      "windows run as dense convolutions")
def _conv(model: OnnxModel, node: Node, value: Value) -> Value:
    size, before = model.image(node, value)
    weights, scales, zero_points = onnx_weights(model, node, rank=4, axis=0)
    channels, group = len(weights), int(node.attributes.get("group", 1))
    if node.integers("kernel_shape", weights.shape[2:]) != weights.shape[2:]:
        raise node.error(f"has the kernel_shape {node.integers('kernel_shape', weights.shape[2:])} and weights of "
                         f"{weights.shape[2:]}")
    if group < 1 or weights.shape[1] * group != size[2] or channels % group:
        raise node.error(f"has weights of the shape {list(weights.shape)} for {size[2]} channels in {group} groups")
    # Without their zero points, so that zeros can stand between them.
    weights = _dilated(node, weights - zero_points.reshape(-1, 1, 1, 1) if zero_points.any() else weights)
    stride, padding, pixels = model.window(node, weights.shape[2:], size, before)
    # With a single channel both kinds are the same; a group that is spelled out tells the depthwise one.
    depthwise = channels == group == size[2] and "group" in node.attributes
    weights = weights[:, 0].transpose(1, 2, 0) if depthwise else _dense(node, weights, group).transpose(0, 2, 3, 1)
    if zero_points.any():
        weights = weights + (zero_points if depthwise else zero_points.reshape(-1, 1, 1, 1))
    return model.add(node, WeightedDraft(
        kind=FloatDepthwise if depthwise else FloatConvolution, node=node, reads=(value,), name=node.output,
        input_shape=size, output_shape=(*pixels, channels), stride=stride, padding=padding, weights=weights,
        scales=scales, zero_points=zero_points, bias=onnx_bias(model, node, channels)))


def _dilated(node: Node, weights: np.ndarray) -> np.ndarray:
    """``weights`` (out channels, in channels of a group, height, width) with zeros between them."""
    down, across = node.integers("dilations", (1, 1))
    if (down, across) == (1, 1):
        return weights
    height, width = ((size - 1) * by + 1 for size, by in zip(weights.shape[2:], (down, across), strict=True))
    if min(down, across) < 1 or weights.shape[0] * weights.shape[1] * height * width > LARGEST_MAP:
        raise node.error(f"has the dilations {down} and {across}; numbers from 1 that leave the window at most "
                         f"{LARGEST_MAP} weights are supported")
    spread = np.zeros((*weights.shape[:2], height, width), weights.dtype)
    spread[:, :, ::down, ::across] = weights
    return spread


def _dense(node: Node, weights: np.ndarray, groups: int) -> np.ndarray:
    """``weights`` (out channels, in channels, height, width) of all channels, of those of each group."""
    if groups == 1:
        return weights
    channels, each = weights.shape[:2]
    if weights.size * groups > LARGEST_MAP:
        raise node.obstacle(f"has {groups} groups of {each} channels, too many to be computed as a dense convolution")
    dense = np.zeros((channels, each * groups, *weights.shape[2:]), weights.dtype)
    for group, members in enumerate(np.split(np.arange(channels), groups)):
        dense[members, group * each:(group + 1) * each] = weights[members]
    return dense
