# SPDX-License-Identifier: Apache-2.0
"""What is known of a constant, and of a layer in the making, while an ``.onnx`` file is read."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Any

import numpy as np
from tepal.quant.layer import NO_PADDING, FloatLayer, Layer, Meaning, Padding, Shape, Statistics

if TYPE_CHECKING:
    from .onnx_node import Node

__all__ = ["Constant", "Draft", "StandIn"]


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


@dataclass(eq=False, kw_only=True)
class Draft:
    """A layer in the making.

    ``linear`` while nothing but sums was computed, which factors and constants can be folded into; ``only_clamps`` that
    the layer was made for a clamp alone; ``trained`` as in :class:`~tepal.quant.layer.FloatLayer`; ``source`` and
    ``result`` say what the int8 values before and after mean, None where they aren't quantised."""

    node: Node
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
    source: Meaning | None = None
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

    def shift(self, values: np.ndarray) -> None:
        """``values``, float64 (channels,), added to the sums so far."""
        raise NotImplementedError

    def geometry(self, index: int) -> dict[str, Any]:
        """The fields of :class:`~tepal.quant.layer.Geometry`."""
        return {"name": self.name, "index": index, "input_shape": self.input_shape,
                "output_shape": self.output_shape, "stride": self.stride, "padding": self.padding}

    def activation(self) -> dict[str, Any]:
        """The fields of :class:`~tepal.quant.layer.FloatLayer` for the clamp."""
        return {"minimum": self.minimum, "maximum": self.maximum}

    def meanings(self) -> tuple[Meaning, Meaning]:
        """``source`` and ``result``.

        Raises
        ------
        NetworkError
            One isn't known."""
        if self.source is None or self.result is None:
            what = "reads values" if self.source is None else "gives results"
            raise self.node.error(f"{what} that aren't quantised in a model where others are; quantise all of it")
        return self.source, self.result

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

    def shift(self, values: np.ndarray) -> None:
        pass
