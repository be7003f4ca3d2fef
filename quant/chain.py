# SPDX-License-Identifier: Apache-2.0
"""What the integer network and the float network share: a chain of layers, first to last."""

from itertools import pairwise
from typing import TYPE_CHECKING, Generic, TypeVar

from .errors import NetworkError
from .layer import FloatLayer, Layer, Shape, shortened
from .preprocessing import Preprocessing

__all__ = ["Chain"]

_Layer = TypeVar("_Layer", Layer, FloatLayer)


class Chain(Generic[_Layer]):
    """A network whose layers each take what the one before gives; a dataclass that derives from it has the fields.

    Raises
    ------
    NetworkError
        It has no layer, two layers don't fit together, or its preprocessing doesn't fit its image.
    """

    if TYPE_CHECKING:
        name: str
        layers: tuple[_Layer, ...]
        preprocessing: Preprocessing | None

    def __post_init__(self):
        if not self.layers:
            raise NetworkError(f"{self.name}: the network has no layer to compute")
        for before, after in pairwise(self.layers):
            if before.output_shape != after.input_shape:
                raise NetworkError(f"{self.name}: layer {after.index} ({shortened(after.name)}) takes "
                                   f"{after.input_shape} but the layer before it gives {before.output_shape}")
        if self.preprocessing:
            self.preprocessing.check(self.input_shape[2])

    @property
    def input_shape(self) -> Shape:
        return self.layers[0].input_shape

    @property
    def output_shape(self) -> Shape:
        return self.layers[-1].output_shape

    @property
    def macs(self) -> int:
        """Multiply-accumulates a frame."""
        return sum(layer.macs for layer in self.layers)

    @property
    def parameters(self) -> int:
        """Number of weights; each of an integer network takes a byte."""
        return sum(layer.parameters for layer in self.layers)
