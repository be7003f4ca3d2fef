# SPDX-License-Identifier: Apache-2.0
"""The trained network, before it is quantised: a graph of float layers in NHWC order.

Importers fold batch norm into weights and bias and name what they can't take; the quantiser turns a
:class:`FloatNetwork` into a :class:`~.network.Network`.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from .answers import Answer
from .errors import NetworkError
from .graph import Graph
from .layer import FloatLayer
from .network import arrange_images
from .preprocessing import Preprocessing
from .windows import chunk_frames

__all__ = ["FloatNetwork"]


@dataclass(frozen=True, eq=False)
class FloatNetwork(Graph[FloatLayer]):
    """An immutable graph of float layers, in the order of execution (see :class:`~.graph.Graph`).

    ``channels_first`` says that the model file takes its images as (frames, channels, height, width); in here
    everything is NHWC.  ``preprocessing`` says what the pixels of a picture mean, where that is known."""

    name: str
    layers: tuple[FloatLayer, ...]
    channels_first: bool = False
    preprocessing: Preprocessing | None = None
    answers: tuple[Answer, ...] = ()
    outputs: tuple[int, ...] = ()

    def images(self, images: np.ndarray, what: str = "the images") -> np.ndarray:
        """float32 (frames, height, width, channels) of ``images`` in that order or (frames, channels, height, width).

        They are numbers of any type, as the model takes them; uint8 are pixels where the network has a
        ``preprocessing``, which makes real numbers of them.

        Raises
        ------
        NetworkError
            See :func:`~.network.arrange_images`; or a value is too large for float32.
        """
        images = arrange_images(images, self.input_shape, what, channels_first=self.channels_first)
        if images.dtype == np.uint8 and self.preprocessing:
            return self.preprocessing(images)
        if np.abs(images).max() > np.finfo(np.float32).max:
            raise NetworkError(f"{what} hold values too large for float32")
        return images.astype(np.float32, copy=False)

    def chunks(self, frames: int) -> Iterator[slice]:
        """Slices of ``frames`` that bound the memory of a run."""
        step = chunk_frames(self.layers)
        return (slice(start, min(start + step, frames)) for start in range(0, frames, step))

    def run(self, images: np.ndarray) -> np.ndarray:
        """float32 logits (frames, outputs) of float32 ``images`` (frames, height, width, channels); of several outputs
        the ones behind the others."""
        def logits(chunk: slice) -> np.ndarray:
            outputs = self.trace(images[chunk], lambda number, x: None)
            return np.concatenate([output.reshape(len(output), -1) for output in outputs], axis=1)

        return np.concatenate([logits(chunk) for chunk in self.chunks(len(images))])

    def with_layers(self, layers: Iterable[FloatLayer]) -> "FloatNetwork":
        """The same network with other layers."""
        return replace(self, layers=tuple(layers))
