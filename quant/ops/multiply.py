# SPDX-License-Identifier: Apache-2.0
"""Mul and Div of ONNX with a constant for each channel, which are folded into weights."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import TYPE_CHECKING

import numpy as np
from tepal.quant.files.draft import Scaled

from .quantize import continued
from .registry import onnx

if TYPE_CHECKING:
    from tepal.quant.files.draft import Value
    from tepal.quant.files.onnx_model import OnnxModel
    from tepal.quant.files.onnx_node import Node

__all__ = ["CONSTANTS", "scaled"]

CONSTANTS = "a constant for each channel, folded into the weights before or behind it, else a depthwise 1x1"


def scaled(model: OnnxModel, node: Node, value: Value, factor: np.ndarray | float = 1.0,
           mean: np.ndarray | float = 0.0, offset: np.ndarray | float = 0.0) -> Value:
    """``(value - mean) * factor + offset``, in float64; each of them broadcasts to the shape of ``value``."""
    numbers = [np.asarray(each, np.float64) for each in (factor, mean, offset)]
    if value.draft is None and value.meaning is None and not model.quantised:
        return _later(model, node, value, *numbers)
    value = continued(model, node, value, linear=True)
    factor, mean, offset = (model.by_channel(node, value, each) for each in numbers)
    assert value.draft is not None
    value.draft.scale(factor, mean, offset)
    value.draft.name = node.output
    return value


def _later(model: OnnxModel, node: Node, value: Value, *numbers: np.ndarray) -> Value:
    """What is done to the image before any layer tells which of its dimensions is what."""
    by_place = [np.empty(prod(model.given)) for _ in numbers]
    for each, array in zip(numbers, by_place, strict=True):
        array[value.places.ravel()] = model.broadcast(node, value, each).ravel()
    factor, mean, offset = by_place
    before = value.scaled or Scaled(node, np.ones_like(factor), np.zeros_like(factor))
    return replace(value, scaled=Scaled(node, before.factor * factor, (before.offset - mean) * factor + offset))


@onnx("Mul", constant_first=True, limits=CONSTANTS)
def _multiply(model: OnnxModel, node: Node, value: Value) -> Value:
    return scaled(model, node, value, model.other(node, "factor"))


@onnx("Div", limits=CONSTANTS)
def _divide(model: OnnxModel, node: Node, value: Value) -> Value:
    divisor = model.constant(node, 1, "divisor").real.astype(np.float64)
    if not divisor.all():
        raise node.error("divides by 0")
    return scaled(model, node, value, 1 / divisor)
