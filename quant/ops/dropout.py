# SPDX-License-Identifier: Apache-2.0
"""What does nothing once a network is trained: Dropout and Identity of ONNX."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .registry import onnx

if TYPE_CHECKING:
    from tepal.quant.files.draft import Value
    from tepal.quant.files.onnx_model import OnnxModel
    from tepal.quant.files.onnx_node import Node


@onnx("Identity", moves=True, limits="anywhere")
@onnx("Dropout", moves=True, limits="not in training mode")
def _pass(model: OnnxModel, node: Node, value: Value) -> Value:
    if model.parameter(node, "training_mode", 2, False).any():
        raise node.obstacle("is in training mode; export the model for inference (model.eval() in PyTorch)")
    return value
