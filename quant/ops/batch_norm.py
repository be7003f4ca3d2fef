# SPDX-License-Identifier: Apache-2.0
"""BatchNormalization of ONNX, which is folded into weights and bias."""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING

import numpy as np
from tepal.quant.layer import Statistics

from .multiply import scaled
from .quantize import continued
from .registry import onnx

if TYPE_CHECKING:
    from tepal.quant.files.draft import Value
    from tepal.quant.files.onnx_model import OnnxModel
    from tepal.quant.files.onnx_node import Node


@onnx("BatchNormalization", limits="folded into the weights before or behind it, else a depthwise 1x1")
def _batch_norm(model: OnnxModel, node: Node, value: Value) -> Value:
    if node.attributes.get("training_mode"):
        raise node.obstacle("is in training mode; export the model for inference (model.eval() in PyTorch)")
    names = ("scale", "offset", "mean", "variance")
    scale, offset, mean, variance = (
        model.constant(node, number, name).real.astype(np.float64) for number, name in enumerate(names, start=1))
    if len({values.size for values in (scale, offset, mean, variance)}) > 1:
        raise node.error(f"has {scale.size} factors, {offset.size} offsets, {mean.size} means and {variance.size} "
                         "variances; one of each is needed for each channel")
    epsilon = float(node.attributes.get("epsilon", 1e-5))
    if not (variance >= 0).all() or not isfinite(epsilon) or not (variance + epsilon > 0).all():
        raise node.error(f"has a variance that is negative or NaN, or 0 with the epsilon {epsilon}; the training "
                         "diverged, or the file is damaged")
    shape = (-1, *(1,) * (value.places.ndim - 2))
    factor, mean, offset, deviation = (
        each.reshape(shape) for each in (scale / np.sqrt(variance + epsilon), mean, offset, np.sqrt(variance)))
    if value.draft is not None:
        value = continued(model, node, value, linear=True)
        assert value.draft is not None
        # What went into it in training; scaling makes of that what comes out.
        value.draft.trained = Statistics(model.by_channel(node, value, mean), model.by_channel(node, value, deviation))
    return scaled(model, node, value, factor, mean, offset)
