# SPDX-License-Identifier: Apache-2.0
"""Functions of each value by itself in ONNX: activations that are no clamp, alone or as exporters take them apart
(x * Sigmoid(x))."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from tepal.quant.files.functions import then
from tepal.quant.lookup import FUNCTIONS

from .registry import onnx

if TYPE_CHECKING:
    from tepal.quant.files.draft import Value
    from tepal.quant.files.onnx_model import OnnxModel
    from tepal.quant.files.onnx_node import Node


@onnx(*FUNCTIONS, elementwise=True, limits="a table of what each int8 value becomes")
def _function(model: OnnxModel, node: Node, value: Value) -> Value:
    compute, defaults = FUNCTIONS[node.operator]
    given = {name: node.attributes.get(name, default) for name, default in defaults.items()}
    return then(node, model, value, lambda x: compute(x, *given.values()))


@onnx("PRelu", elementwise=True, limits="one slope for all channels")
def _leaky(model: OnnxModel, node: Node, value: Value) -> Value:
    slopes = np.unique(model.constant(node, 1, "slopes").real.astype(np.float32))
    if slopes.size != 1:
        raise node.obstacle("has a slope for each channel; one for all of them is supported (in PyTorch nn.PReLU() "
                            "with one parameter, or nn.LeakyReLU)")
    return then(node, model, value, lambda x: np.where(x < 0, slopes[0] * x, x))


@onnx("Pow", elementwise=True, limits="with one constant exponent")
def _power(model: OnnxModel, node: Node, value: Value) -> Value:
    exponent = model.constant(node, 1, "exponent").real
    if exponent.size != 1:
        raise node.obstacle("has more than one exponent; one number is supported")
    return then(node, model, value, lambda x: np.power(x, np.float32(exponent.item())))
