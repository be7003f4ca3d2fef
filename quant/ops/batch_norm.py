# SPDX-License-Identifier: Apache-2.0
"""BatchNormalization of ONNX, which is folded into weights and bias."""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING

import numpy as np
from tepal.quant.layer import Statistics

from .multiply import FOLDED, foldable
from .registry import onnx

if TYPE_CHECKING:
    from tepal.quant.files.onnx_chain import OnnxChain
    from tepal.quant.files.onnx_node import Node


@onnx("BatchNormalization", only="float", limits=FOLDED)
def _batch_norm(chain: OnnxChain, node: Node) -> None:
    if node.attributes.get("training_mode"):
        raise node.obstacle("is in training mode; export the model for inference (model.eval() in PyTorch)")
    draft = foldable(chain, node)
    names = ("scale", "offset", "mean", "variance")
    scale, offset, mean, variance = (
        chain.constant(node, number, name).real.astype(np.float64) for number, name in enumerate(names, start=1))
    if len({values.size for values in (scale, offset, mean, variance)}) > 1:
        raise node.error(f"has {scale.size} factors, {offset.size} offsets, {mean.size} means and {variance.size} "
                         "variances; one of each is needed for each channel")
    epsilon = float(node.attributes.get("epsilon", 1e-5))
    if not (variance >= 0).all() or not isfinite(epsilon) or not (variance + epsilon > 0).all():
        raise node.error(f"has a variance that is negative or NaN, or 0 with the epsilon {epsilon}; the training "
                         "diverged, or the file is damaged")
    shape = (-1, *(1,) * (chain.places.ndim - 2))
    values = (scale / np.sqrt(variance + epsilon), mean, offset, np.sqrt(variance))
    factor, mean, offset, deviation = (chain.by_channel(node, each.reshape(shape)) for each in values)
    # What went into it in training; scale() makes of that what comes out.
    draft.trained = Statistics(mean, deviation)
    draft.scale(factor, mean, offset)
    draft.name = node.output
