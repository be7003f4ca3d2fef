# SPDX-License-Identifier: Apache-2.0
"""Conv of ONNX: a dense convolution or a depthwise one, which its groups tell."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tepal.quant.files.weights import WeightedDraft, onnx_bias, onnx_weights

from .convolution import FloatConvolution
from .depthwise import FloatDepthwise, as_dense
from .registry import onnx

if TYPE_CHECKING:
    from tepal.quant.files.draft import Value
    from tepal.quant.files.onnx_model import OnnxModel
    from tepal.quant.files.onnx_node import Node


@onnx("Conv", linear=True, takes_padding=True,
      limits="any kernel, stride and padding; depthwise with any multiplier, but no other groups; no dilation")
def _conv(model: OnnxModel, node: Node, value: Value) -> Value:
    size, before = model.image(node, value)
    weights, scales = onnx_weights(model, node, rank=4, axis=0)
    channels, group = len(weights), int(node.attributes.get("group", 1))
    kernel = weights.shape[2:]
    if node.integers("kernel_shape", kernel) != kernel:
        raise node.error(f"has the kernel_shape {node.integers('kernel_shape', kernel)} and weights of {kernel}")
    stride, padding, pixels = model.window(node, kernel, size, before)
    if group not in (1, size[2]):
        raise node.obstacle(f"has {group} groups for {size[2]} channels; supported are 1 and, depthwise, one for "
                            "each channel")
    if weights.shape[1] * group != size[2] or channels % group:
        raise node.error(f"has weights of the shape {list(weights.shape)} for {size[2]} channels in {group} groups")
    # With a single channel both kinds are the same; a group that is spelled out tells the depthwise one.
    depthwise = channels == group == size[2] and "group" in node.attributes
    if depthwise:
        weights = weights[:, 0].transpose(1, 2, 0)
    elif group > 1:
        weights = as_dense(weights[:, 0].transpose(1, 2, 0), group, node.obstacle)
    else:
        weights = weights.transpose(0, 2, 3, 1)
    return model.add(node, WeightedDraft(
        kind=FloatDepthwise if depthwise else FloatConvolution, node=node, reads=(value,), name=node.output,
        input_shape=size, output_shape=(*pixels, channels), stride=stride, padding=padding, weights=weights,
        scales=scales, bias=onnx_bias(model, node, channels)))
