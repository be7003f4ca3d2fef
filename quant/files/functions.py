# SPDX-License-Identifier: Apache-2.0
"""Functions of each value by itself while an ``.onnx`` file is read: all that one value goes through becomes one
table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from tepal.quant.layer import Meaning
from tepal.quant.lookup import FloatLookup, Lookup, quantised_codes

from .draft import Draft, Pending, Value

if TYPE_CHECKING:
    from .onnx_model import OnnxModel
    from .onnx_node import Node

__all__ = ["both", "layered", "quantised_later", "same_source", "then"]

_COMPOSED = {"Sigmoid Mul": "Silu", "HardSigmoid Mul": "HardSwish", "Add Clip Mul Div": "HardSwish",
             "Add Clip Div Mul": "HardSwish", "Add Clip Mul Mul": "HardSwish", "Div Erf Add Mul Mul": "Gelu",
             "Mul Erf Add Mul Mul": "Gelu", "Softplus Tanh Mul": "Mish"}
"""What people call functions that exporters take apart."""


@dataclass(eq=False, kw_only=True)
class LookupDraft(Draft):
    """A function of each value in the making."""

    pending: Pending

    def float_layer(self, index: int) -> FloatLookup:
        function = self.pending.function.strip()
        return FloatLookup(**self.geometry(index), **self.activation(), compute=self.pending.compute,
                           function=_COMPOSED.get(function, function))

    def layer(self, index: int) -> Lookup:
        (source,), result = self.meanings()
        return self.float_layer(index).quantised(index, result, source)


def then(node: Node, model: OnnxModel, value: Value, compute: Callable[[np.ndarray], np.ndarray]) -> Value:
    """``compute`` of each value, which ``node`` does."""
    before = _pending(node, model, value)
    return replace(value, meaning=None, integers=False, pending=Pending(
        node, before.source, lambda x: compute(before.compute(x)), node.output, f"{before.function} {node.operator}"))


def _pending(node: Node, model: OnnxModel, value: Value) -> Pending:
    """What ``value`` went through, if only nothing."""
    if value.pending:
        return value.pending
    if model.quantised and value.meaning is None:
        raise node.obstacle("works on real numbers that aren't quantised, which no table holds; quantise its input "
                            "too")
    return Pending(node, value.meaning, lambda x: x, node.output, "")


def same_source(model: OnnxModel, first: Value, second: Value) -> bool:
    """Whether both are functions of the same values."""
    sources = [value.pending.source if value.pending else value.meaning for value in (first, second)]
    return (first.draft is second.draft and first.scaled is second.scaled and sources[0] == sources[1]
            and np.array_equal(model.places(first), model.places(second)))


def both(node: Node, model: OnnxModel, first: Value, second: Value,
         compute: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Value:
    """``compute`` of each value of ``first`` and the same one of ``second``, see :func:`same_source`."""
    one, two = (_pending(node, model, value) for value in (first, second))
    return replace(first, meaning=None, integers=False, alone=False, pending=Pending(
        node, one.source, lambda x: compute(one.compute(x), two.compute(x)), node.output,
        f"{max(one.function, two.function, key=len)} {node.operator}"))


def quantised_later(node: Node, value: Value, meaning: Meaning, name: str) -> Value:
    """``value``, which went through something, as integers of this ``meaning``."""
    assert value.pending
    before, (scale, zero_point) = value.pending, meaning

    def compute(x: np.ndarray) -> np.ndarray:
        codes = quantised_codes(before.compute(x), meaning)
        return np.float32(scale) * (codes - zero_point).astype(np.float32)

    return replace(value, pending=Pending(node, before.source, compute, name, before.function))


def layered(model: OnnxModel, node: Node, value: Value) -> Value:
    """``value`` as the result of a layer that does what it went through."""
    if not (pending := value.pending):
        return value
    if pending not in model.lookups:
        source = replace(value, pending=None, meaning=pending.source, integers=False)
        size = model.started(node, source)
        model.lookups[pending] = model.add(pending.node, LookupDraft(
            node=pending.node, reads=(source,), name=pending.name, input_shape=size, output_shape=size,
            pending=pending, result=value.meaning), model.places(source))
    return replace(model.lookups[pending], meaning=value.meaning, integers=value.integers, alone=value.alone,
                   integer_type=value.integer_type, closings=value.closings, closed=value.closed,
                   places=model.places(value), padder=value.padder)
