# SPDX-License-Identifier: Apache-2.0
"""Mul and Div of ONNX with a constant for each channel, which are folded into weights."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import TYPE_CHECKING

import numpy as np
from tepal.quant.files.draft import Scaled
from tepal.quant.files.functions import both, layered, same_source, then

from .quantize import continued
from .registry import onnx

if TYPE_CHECKING:
    from tepal.quant.files.draft import Value
    from tepal.quant.files.onnx_model import OnnxModel
    from tepal.quant.files.onnx_node import Node

__all__ = ["CONSTANTS", "later", "scaled"]

CONSTANTS = "a constant for each channel, folded into the weights before or behind it, else a depthwise 1x1"


def scaled(model: OnnxModel, node: Node, value: Value, factor: np.ndarray | float = 1.0,
           mean: np.ndarray | float = 0.0, offset: np.ndarray | float = 0.0) -> Value:
    """``(value - mean) * factor + offset``, in float64; each of them broadcasts to the shape of ``value``."""
    numbers = [np.asarray(each, np.float64) for each in (factor, mean, offset)]
    if later(model, value, *numbers):
        times, less, plus = (np.float32(each.item()) for each in numbers)
        return then(node, model, value, lambda x: (x - less) * times + plus)
    value = layered(model, node, value)
    if value.draft is None and value.meaning is None and not model.quantised:
        return _later(model, node, value, *numbers)
    value = continued(model, node, value, linear=True)
    factor, mean, offset = (model.by_channel(node, value, each) for each in numbers)
    assert value.draft is not None
    value.draft.scale(factor, mean, offset)
    value.draft.name = node.output
    return value


def later(model: OnnxModel, value: Value, *numbers: np.ndarray) -> bool:
    """Whether what ``node`` does with constants to ``value`` is left to a table: it went through a function that is
    none yet, or is read by others too, which it may meet again."""
    if any(each.size != 1 for each in numbers):
        return False
    return value.pending is not None or not (value.alone or (model.quantised and value.meaning is None))


def _later(model: OnnxModel, node: Node, value: Value, *numbers: np.ndarray) -> Value:
    """What is done to the image before any layer tells which of its dimensions is what."""
    by_place = [np.empty(prod(model.given)) for _ in numbers]
    for each, array in zip(numbers, by_place, strict=True):
        array[value.places.ravel()] = model.broadcast(node, value, each).ravel()
    factor, mean, offset = by_place
    before = value.scaled or Scaled(node, np.ones_like(factor), np.zeros_like(factor))
    return replace(value, scaled=Scaled(node, before.factor * factor, (before.offset - mean) * factor + offset))


@onnx("Mul", constant_first=True, maps=2, elementwise=True, limits=f"{CONSTANTS}; or two functions of the same values")
def _multiply(model: OnnxModel, node: Node, value: Value, other: Value | None = None) -> Value:
    if other is not None:
        if same_source(model, value, other):
            return both(node, model, value, other, np.multiply)
        raise node.obstacle("multiplies two maps, as squeeze-and-excitation does; only functions of the same values "
                            "can be multiplied, such as x * Sigmoid(x): take a network without it")
    return scaled(model, node, value, model.other(node, "factor"))


@onnx("Div", constant_first=True, maps=2, elementwise=True, limits=f"{CONSTANTS}; or two functions of the same values")
def _divide(model: OnnxModel, node: Node, value: Value, other: Value | None = None) -> Value:
    if other is not None:
        if same_source(model, value, other):
            return both(node, model, value, other, np.divide)
        raise node.obstacle("divides one map by another; only functions of the same values can be divided")
    if node.inputs[0] in model.constants:
        dividend = model.constant(node, 0, "dividend").real
        if dividend.size != 1:
            raise node.obstacle("divides several constants by a map; one number is supported")
        return then(node, model, value, lambda x: np.float32(dividend.item()) / x)
    divisor = model.constant(node, 1, "divisor").real.astype(np.float64)
    if not divisor.all():
        raise node.error("divides by 0")
    return scaled(model, node, value, 1 / divisor)
