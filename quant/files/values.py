# SPDX-License-Identifier: Apache-2.0
"""What a tensor of a ``.tflite`` file holds while the file is read: which layers' results, and in which order."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
from tepal.quant.answers import Arranged
from tepal.quant.layer import Padding

if TYPE_CHECKING:
    from typing import Self

__all__ = ["TensorValue", "cropped", "in_batch", "in_order", "in_space", "moved_to_batch"]


def in_order(numbers: np.ndarray) -> bool:
    """Whether they count from 0."""
    return np.array_equal(numbers.ravel(), np.arange(numbers.size))


def cropped(image: np.ndarray) -> tuple[np.ndarray, Padding]:
    """The part of ``image`` (height, width, channels) inside the rows and columns that hold -1 alone, and how many of
    these there are around it."""
    rows, columns = (np.flatnonzero((image >= 0).any(axis=axes)) for axes in ((1, 2), (0, 2)))
    height, width, _ = image.shape
    padding = Padding(int(rows[0]), int(height - 1 - rows[-1]), int(columns[0]), int(width - 1 - columns[-1]))
    return image[rows[0]:rows[-1] + 1, columns[0]:columns[-1] + 1], padding


def in_batch(image: np.ndarray, blocks: tuple[int, int]) -> np.ndarray:
    """(1, height, width, channels) dealt out to ``blocks`` maps: (all blocks, height / blocks, width / blocks,
    channels)."""
    down, across = blocks
    _, height, width, channels = image.shape
    parts = image.reshape(height // down, down, width // across, across, channels).transpose(1, 3, 0, 2, 4)
    return parts.reshape(down * across, height // down, width // across, channels)


def in_space(batch: np.ndarray, blocks: tuple[int, int]) -> np.ndarray:
    """The inverse of :func:`in_batch`."""
    down, across = blocks
    _, height, width, channels = batch.shape
    parts = batch.reshape(down, across, height, width, channels).transpose(2, 0, 3, 1, 4)
    return parts.reshape(1, height * down, width * across, channels)


@dataclass(frozen=True, eq=False)
class TensorValue:
    """``sources`` are the numbers of the layers whose results it holds, :data:`~tepal.quant.layer.IMAGE` for the image,
    and ``shape`` is that of the tensor.

    ``places``, an integer array of this shape, gives each value its number among the maps of the sources, each in NHWC
    order, one behind the other, and -1 to padding; None where the values stand in that order.  So whatever only moves
    values about is computed on their numbers, and a layer sees there whether they are where it needs them.

    ``shared`` says that more than one operator reads what the layer gives.  ``maker`` is the operator that padded it or
    put several sources together; ``join`` makes the layer that does, of their numbers.  ``closings`` came at the end
    and stay off the chip: what the sources give, in the shape ``opening`` of a frame, goes through one after the
    other.  ``blocks``, of height and width, say that the pixels of a map are dealt out to as many maps of a batch."""

    sources: tuple[int, ...]
    shape: tuple[int, ...]
    places: np.ndarray | None = None
    shared: bool = False
    maker: Any = None
    join: Callable[[tuple[int, ...]], Any] | None = None
    closings: tuple[Any, ...] = ()
    opening: tuple[int, ...] = ()
    blocks: tuple[int, int] | None = None

    @property
    def numbers(self) -> np.ndarray:
        """``places``, those in order too."""
        if self.places is not None:
            return self.places
        return np.arange(prod(self.shape), dtype=np.int32).reshape(self.shape)

    @property
    def padded(self) -> bool:
        """Whether it holds more than its sources give."""
        return self.places is not None and bool((self.places < 0).any())

    def behind(self, closing: Any, shape: tuple[int, ...]) -> "Self":
        """What ``closing`` makes of it, of that ``shape``; it is :meth:`closed`."""
        return replace(self, shape=shape, closings=(*self.closings, closing))

    def closed(self) -> "Self":
        """Ready for closings, which find the values in the order of the tensor."""
        if self.closings:
            return self
        frame = self.shape[1:] or self.shape
        if self.places is None:
            return replace(self, opening=frame)
        return replace(self, opening=(self.places.size,), places=None,
                       closings=(Arranged(-1, -1, frame, self.places.ravel()),))

    def moved(self, places: np.ndarray) -> "Self":
        """The same values at other ``places``."""
        return replace(self, shape=places.shape, places=None if in_order(places) else places, blocks=None)

    def reshaped(self, shape: tuple[int, ...]) -> "Self":
        """The same values in the same order in another ``shape``."""
        return replace(self, shape=shape, blocks=None,
                       places=None if self.places is None else self.places.reshape(shape))


def moved_to_batch(value: TensorValue, image: np.ndarray, blocks: tuple[int, int]) -> TensorValue:
    """``value`` with the places ``image`` (1, height, width, channels) dealt out to ``blocks``."""
    return replace(value.moved(in_batch(image, blocks)), blocks=blocks)
