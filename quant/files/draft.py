# SPDX-License-Identifier: Apache-2.0
"""What is known of a constant, of a computed value and of a layer in the making, while an ``.onnx`` file is read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import inf, prod
from typing import TYPE_CHECKING, Any

import numpy as np
from tepal.quant.answers import Arranged
from tepal.quant.layer import NO_PADDING, Closing, FloatLayer, Layer, Meaning, Padding, Shape, Statistics

if TYPE_CHECKING:
    from .onnx_node import Node

__all__ = ["INT8", "REAL", "Constant", "Draft", "Pending", "Scaled", "StandIn", "Value", "frame"]

REAL = "/real"
"""What stands behind the name of a result in a QOperator file where its real numbers are meant."""

INT8 = np.dtype(np.int8)


@dataclass(frozen=True, eq=False)
class Constant:
    """Known values; with ``scales``, broadcastable like ``zero_points``, integers that stand for
    ``scales * (values - zero_points)``."""

    values: np.ndarray
    scales: np.ndarray | None = None
    zero_points: np.ndarray | int = 0

    @property
    def real(self) -> np.ndarray:
        if self.scales is None:
            return self.values
        return self.scales.astype(np.float64) * (self.values.astype(np.int64) - self.zero_points)


@dataclass(frozen=True, eq=False)
class Scaled:
    """``factor`` and then ``offset`` for each number of the image in its own order, float64; ``node`` was the last that
    did that."""

    node: Node
    factor: np.ndarray
    offset: np.ndarray


@dataclass(frozen=True, eq=False)
class Pending:
    """A function of each value by itself that is no layer yet: ``compute`` of float32 arrays, which stand for integers
    of the meaning ``source`` or, where that is None, are real.  ``node`` was the last part of it, ``name`` is that of
    the layer that it will be, ``function`` what people call it."""

    node: Node
    source: Meaning | None
    compute: Callable[[np.ndarray], np.ndarray]
    name: str
    function: str


@dataclass(frozen=True, eq=False, kw_only=True)
class Value:
    """What a name in the file stands for: the result of ``draft``, or the image where that is None.

    ``places`` tells how it is arranged: an integer array of its shape (batch 1) with, for each value, its number in the
    NHWC map that the draft gives, and -1 in padding.  So whatever only moves values about is computed on ``places``,
    and a layer sees there whether they are where it needs them.  The numbers of the image are those of its own order.

    ``alone`` says that nothing else reads the draft's result, so that what follows may be folded into it.  ``meaning``
    is set where the values are int8 numbers (``integers``, in the file of the type ``integer_type``), or real ones that
    stand for them exactly.  ``padder`` is the node that has padded them.  ``closings``, which
    work on real numbers, came at the end and stay off the chip; ``places`` are then the numbers of their results, which
    have the shape ``closed``.  ``scaled``, of the image alone, is what
    was done to its numbers and no layer has taken up yet.  ``pending`` is what else they went through since the draft;
    ``meaning`` is that of the values behind it.  ``parts`` are maps that were put together where no layer can: they
    stay apart, as outputs of their own, and ``places`` are numbers among all their values, one part behind another."""

    places: np.ndarray
    draft: Draft | None = None
    alone: bool = True
    meaning: Meaning | None = None
    integers: bool = False
    integer_type: np.dtype = INT8
    padder: Node | None = None
    closings: tuple[Closing, ...] = ()
    closed: tuple[int, ...] = ()
    scaled: Scaled | None = None
    pending: Pending | None = None
    parts: tuple[Value, ...] = ()

    def behind(self, closing: Closing, rows: np.ndarray, shape: tuple[int, ...]) -> Value:
        """What ``closing`` makes of the values ``rows``, their places in the shape that it takes; it gives ``shape``,
        both with the batch."""
        return replace(self, places=np.arange(prod(shape), dtype=np.int32).reshape(shape), closed=frame(shape),
                       closings=(*self.closings, Arranged(-1, -1, frame(rows.shape), rows.ravel()), closing))


def frame(shape: tuple[int, ...]) -> tuple[int, ...]:
    """``shape`` without its batch, where it has one."""
    return shape[1:] if shape[:1] == (1,) else shape


@dataclass(eq=False, kw_only=True)
class Draft:
    """A layer in the making.

    ``reads`` are the maps that it takes.  ``linear`` while nothing but sums was computed, which factors and constants
    can be folded into; ``only_clamps`` that the layer was made for a clamp alone; ``trained`` as in
    :class:`~tepal.quant.layer.FloatLayer`; ``result`` says what the int8 values that it gives mean, None where they
    aren't quantised."""

    node: Node
    reads: tuple[Value, ...]
    name: str
    input_shape: Shape
    output_shape: Shape
    stride: tuple[int, int] = (1, 1)
    padding: Padding = NO_PADDING
    trained: Statistics | None = None
    linear: bool = False
    only_clamps: bool = False
    minimum: float = -inf
    maximum: float = inf
    result: Meaning | None = None

    @property
    def quantised(self) -> bool:
        """Whether it holds integers, or gives them."""
        return self.result is not None

    def clamp(self, minimum: float, maximum: float) -> None:
        """``minimum`` … ``maximum`` after the clamp that is there."""
        self.minimum = min(max(self.minimum, minimum), maximum)
        self.maximum = min(max(self.maximum, minimum), maximum)

    def scale(self, factor: np.ndarray, mean: np.ndarray | float, offset: np.ndarray | float) -> None:
        """``(x - mean) * factor + offset`` of the sums ``x`` so far, in float64; each (channels,)."""
        raise NotImplementedError

    def geometry(self, index: int) -> dict[str, Any]:
        """The fields of :class:`~tepal.quant.layer.Geometry`."""
        return {"name": self.name, "index": index, "input_shape": self.input_shape,
                "output_shape": self.output_shape, "stride": self.stride, "padding": self.padding}

    def activation(self) -> dict[str, Any]:
        """The fields of :class:`~tepal.quant.layer.FloatLayer` for the clamp."""
        return {"minimum": self.minimum, "maximum": self.maximum}

    def meanings(self) -> tuple[list[Meaning], Meaning]:
        """Of all that it reads, and of its result.

        Raises
        ------
        NetworkError
            One isn't known."""
        sources = [value.meaning for value in self.reads if value.meaning is not None]
        if len(sources) < len(self.reads) or self.result is None:
            what = "gives results" if len(sources) == len(self.reads) else "reads values"
            raise self.node.error(f"{what} that aren't quantised in a model where others are; quantise all of it")
        return sources, self.result

    def float_layer(self, index: int) -> FloatLayer:
        """The layer of a float model."""
        raise NotImplementedError

    def layer(self, index: int) -> Layer:
        """The layer of a quantised model.

        Raises
        ------
        NetworkError
            Part of it isn't quantised, or its sums overflow."""
        raise NotImplementedError


class StandIn(Draft):
    """In place of a node that can't be taken: what follows may be fused into it all the same, and then the model is
    refused."""

    def scale(self, factor: np.ndarray, mean: np.ndarray | float, offset: np.ndarray | float) -> None:
        pass
