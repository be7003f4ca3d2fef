# SPDX-License-Identifier: Apache-2.0
"""Which operator of a model file is whose: an operator's own file registers here how it is read.

A reader finds the function by the name that the file gives the operator, and what it declares about itself tells the
reader where it may stand and people what it is limited to (``tepal ops``)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from tepal.quant.files.tflite_file import Operator, Options
from tepal.quant.files.tflite_graph import TfliteGraph

if TYPE_CHECKING:
    from tepal.quant.files.draft import Constant, Value
    from tepal.quant.files.onnx_model import OnnxModel
    from tepal.quant.files.onnx_node import Node

__all__ = ["CONSTANT_NODES", "ONNX", "TFLITE", "TFLITE_CONSTANTS", "ConstantNode", "OnnxOperator", "TfliteConstant",
           "TfliteOperator", "onnx", "onnx_constant", "tflite", "tflite_constant"]


@dataclass(frozen=True, kw_only=True)
class TfliteOperator:
    """How an operator of a ``.tflite`` file is read, and what must be known of it before.

    Parameters
    ----------
    read
        ``read(graph, operator)``: take the operator, whose inputs are in ``graph.values``.
    limits
        In words.
    options
        Its table in the schema and the fields of it that ``read`` needs.
    only, elsewhere
        The one kind of file that it may stand in, and what is the matter where it stands in the other.
    """

    read: Callable[[TfliteGraph, Operator], None]
    limits: str
    options: Options | None = None
    only: Literal["int8", "float"] | None = None
    elsewhere: str = ""


@dataclass(frozen=True, kw_only=True)
class OnnxOperator:
    """How a node of an ``.onnx`` file is read that computes on a map, and what must be known of it before.

    Parameters
    ----------
    read
        ``read(model, node, *values)``: what the node gives of the values that it reads, constants left out.
    limits
        In words.
    maps
        How many of its inputs may be computed.
    only
        The one kind of file that it may stand in.
    moves
        Whether it leaves every value what it is, or says what it is: then it may stand anywhere.
    linear
        Whether it gives sums, which what follows may be folded into.
    constant_first
        Whether its first input may be the constant.
    elementwise
        Whether it goes on from a function of each value that is no layer yet.
    takes_padding
        Whether Pad may stand before it.
    on_integers
        Whether it picks and compares values, so that it may work on the integers that stand for them.
    windows
        Whether windows move over the map, which may have one dimension in place of two.
    closing
        Whether it stays off the chip, at the end.
    """

    read: Callable[..., Value]
    limits: str
    maps: int = 1
    only: Literal["QDQ", "float"] | None = None
    moves: bool = False
    linear: bool = False
    constant_first: bool = False
    elementwise: bool = False
    takes_padding: bool = False
    on_integers: bool = False
    windows: bool = False
    closing: bool = False


@dataclass(frozen=True)
class ConstantNode:
    """How a node of an ``.onnx`` file is computed that reads constants alone; ``shape_only`` that its result is
    constant whatever it reads."""

    compute: Callable[[OnnxModel, Node], Constant]
    shape_only: bool = False


@dataclass(frozen=True)
class TfliteConstant:
    """How an operator of a ``.tflite`` file is computed that reads constants alone: ``compute(operator, *values)`` of
    the values of its inputs; ``shape_only`` that its result is constant whatever it reads."""

    compute: Callable[..., np.ndarray]
    options: Options | None = None
    shape_only: bool = False


TFLITE: dict[str, TfliteOperator] = {}
TFLITE_CONSTANTS: dict[str, TfliteConstant] = {}
ONNX: dict[str, OnnxOperator] = {}
CONSTANT_NODES: dict[str, ConstantNode] = {}


def tflite(*names: str, **declared):
    """Registers the function that reads these operators; ``declared`` are fields of :class:`TfliteOperator`."""
    def register(read):
        TFLITE.update(dict.fromkeys(names, TfliteOperator(read=read, **declared)))
        return read
    return register


def tflite_constant(*names: str, options: Options | None = None, shape_only: bool = False):
    """Registers the function that computes these operators where they read constants alone."""
    def register(compute):
        TFLITE_CONSTANTS.update(dict.fromkeys(names, TfliteConstant(compute, options, shape_only)))
        return compute
    return register


def onnx(*names: str, **declared):
    """Registers the function that reads these nodes; ``declared`` are fields of :class:`OnnxOperator`."""
    def register(read):
        ONNX.update(dict.fromkeys(names, OnnxOperator(read=read, **declared)))
        return read
    return register


def onnx_constant(*names: str, shape_only: bool = False):
    """Registers the function that computes these nodes where they read constants alone."""
    def register(compute):
        CONSTANT_NODES.update(dict.fromkeys(names, ConstantNode(compute, shape_only)))
        return compute
    return register
