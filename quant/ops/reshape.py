# SPDX-License-Identifier: Apache-2.0
"""What only moves values about: RESHAPE, SQUEEZE and EXPAND_DIMS of TensorFlow Lite, Transpose, Reshape, Flatten,
Squeeze and Unsqueeze of ONNX."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import TYPE_CHECKING

from tepal.quant.files.tflite_chain import TfliteChain
from tepal.quant.files.tflite_file import Operator

from .registry import onnx, tflite

if TYPE_CHECKING:
    from tepal.quant.files.draft import Value
    from tepal.quant.files.onnx_model import OnnxModel
    from tepal.quant.files.onnx_node import Node


@tflite("RESHAPE", "SQUEEZE", "EXPAND_DIMS", takes_flat=True,
        limits="flattening; at the start of the model any shape")
def _reshape(chain: TfliteChain, operator: Operator) -> None:
    chain.check_unchanged(operator)
    if prod(operator.output.shape) != prod(chain.shape):
        raise operator.error(f"makes {prod(operator.output.shape)} values of {prod(chain.shape)}")
    after = chain.map(operator, operator.output)
    if after == chain.shape:
        chain.flat = False
    elif after[:2] == (1, 1):
        chain.flat = True
    elif not chain.layers and not chain.padder:
        chain.shape = after
    else:
        raise operator.error(f"makes {list(after)} of {list(chain.shape)}; only flattening is supported")


@onnx("Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze", moves=True,
      limits="constant shapes; a Conv must find its map in order behind it")
def _move(model: OnnxModel, node: Node, value: Value) -> Value:
    inputs = {name: model.constants[name].real for name in node.inputs[1:] if name}
    return replace(value, places=model.evaluate(node, {node.inputs[0]: value.places} | inputs))
