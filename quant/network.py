# SPDX-License-Identifier: Apache-2.0
"""The integer network: what to compute, without a word about hardware.

A :class:`Network` is a graph of immutable layers over int8 tensors in NHWC order.  Importers make it,
the golden model runs it, the schedule maps it onto an engine; all three read the same fields.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from math import prod

import numpy as np

from .answers import Answer
from .errors import NetworkError
from .graph import Graph, joined
from .layer import Layer, Meaning, Shape
from .preprocessing import Preprocessing

__all__ = ["Network", "arrange_images"]


def arrange_images(images: np.ndarray, shape: Shape, what: str, *, channels_first: bool = False) -> np.ndarray:
    """``images`` as (frames, height, width, channels), from that order or from (frames, channels, height, width).

    A single image gets its frame axis, and vectors may be (frames, channels).  ``channels_first`` decides where both
    would do.

    Raises
    ------
    NetworkError
        They have another shape, aren't numbers, are none, or hold NaN or infinite values; ``what`` names them.

    Examples
    --------
    >>> arrange_images(np.zeros((20, 3, 32, 32)), (32, 32, 3), "the images").shape
    (20, 32, 32, 3)
    """
    given = images = np.asarray(images)
    height, width, channels = shape
    if images.ndim == 2 and shape[:2] == (1, 1):
        images = images[:, None, None, :]
    elif images.ndim == 3 and images.shape not in (shape, (channels, height, width)):
        # Frames of [height, width], of [channels, length] or of [length, channels].
        frames, *size = images.shape
        if size == [channels, height * width] and (channels_first or size != size[::-1]):
            images = images.reshape(frames, channels, height, width)
        elif size in ([height, width] if channels == 1 else [], [height * width, channels]):
            images = images.reshape(frames, *shape)
    elif images.ndim == 3:
        images = images[None]
    last, first = images.shape[1:] == shape, images.shape[1:] == (channels, height, width)
    if not (last or first) or images.dtype.kind not in "fiu":
        raise NetworkError(f"{what} must be numbers of the shape (frames, {height}, {width}, {channels}) or (frames, "
                           f"{channels}, {height}, {width}), not {given.dtype} {given.shape}")
    if not len(images):
        raise NetworkError(f"{what} hold no frames")
    if images.dtype.kind == "f" and not np.isfinite(images).all():
        raise NetworkError(f"{what} hold values that are NaN or infinite")
    if first and (channels_first or not last):
        images = np.ascontiguousarray(images.transpose(0, 2, 3, 1))
    return images


@dataclass(frozen=True, eq=False)
class Network(Graph[Layer]):
    """An immutable graph of integer layers, in the order of execution (see :class:`~.graph.Graph`).

    ``input_scale``/``input_zero_point`` and ``output_scale``/``output_zero_point`` say what the int8 values of the
    input and of the first output mean: ``real = scale * (value - zero_point)``.  ``preprocessing`` says what the pixels
    of a picture mean, where that is known; ``original`` is the network that this one was simplified from."""

    name: str
    layers: tuple[Layer, ...]
    input_scale: float
    input_zero_point: int
    answers: tuple[Answer, ...] = ()
    preprocessing: Preprocessing | None = None
    original: "Network | None" = None
    outputs: tuple[int, ...] = ()

    @property
    def output_scale(self) -> float:
        return self.layers[self.output_layers[0]].output_scale

    @property
    def output_zero_point(self) -> int:
        return self.layers[self.output_layers[0]].output_zero_point

    def meaning(self, number: int) -> Meaning:
        return self.layers[number].output_scale, self.layers[number].output_zero_point

    @property
    def result_bytes(self) -> int:
        """int8 results a frame, of all outputs."""
        return sum(map(prod, self.output_shapes))

    def answering(self, answers: Iterable[Answer]) -> "Network":
        """This network with what a float network, whose layers and outputs it has, answers with."""
        meanings = [self.meaning(number) for number in self.output_layers]
        return replace(self, answers=tuple(answer.quantised(meanings, self.output_shapes) for answer in answers))

    def followed_by(self, head: "Network") -> "Network":
        """This network, and behind it ``head``, whose image is what this one gives: some models are published as two
        files.

        Raises
        ------
        NetworkError
            This network has several outputs, or its output has another shape, scale or zero point than the image of
            ``head``.
        """
        if self.output_layers != (len(self.layers) - 1,):
            raise NetworkError(f"{self.name} has other outputs than its last layer's: nothing can follow it")
        given = *self.output_shapes[0], self.output_scale, self.output_zero_point
        asked = *head.input_shape, head.input_scale, head.input_zero_point
        if given != asked:
            raise NetworkError("{}, which is {} x {} x {} with a scale of {:g} and a zero point of {}, is no image of "
                               "{}, which is {} x {} x {} with {:g} and {}".format(
                                   f"the output of {self.name}", *given, head.name, *asked))
        count = len(self.layers)
        behind = tuple(tuple(count + number for number in each) for each in head.sources)
        outputs = tuple(count + number for number in head.outputs)
        return replace(self, answers=head.answers, outputs=outputs,
                       layers=joined(self.layers + head.layers, self.sources + behind))

    def quantise_input(self, images: np.ndarray, what: str = "the images") -> np.ndarray:
        """int8 (frames, height, width, channels) of ``images`` in that order or (frames, channels, height, width).

        int8 is taken as it is; real numbers are divided by ``input_scale``, rounded and clipped; uint8 are pixels
        where the network has a ``preprocessing``, which makes real numbers of them.

        Raises
        ------
        NetworkError
            See :func:`arrange_images`; or they are integers of another type, which could mean anything.
        """
        images = arrange_images(images, self.input_shape, what)
        if images.dtype == np.int8:
            return images
        if images.dtype == np.uint8 and self.preprocessing:
            images = self.preprocessing(images)
        if images.dtype.kind != "f":
            raise NetworkError(f"{what} are {images.dtype}: give int8 in the network's own scale and zero point, or "
                               "the real numbers (float32) that it was trained on" +
                               ("; pixels need a preprocessing (--range, or --mean and --std)"
                                if images.dtype == np.uint8 else ""))
        codes = np.rint(images / np.float32(self.input_scale)) + self.input_zero_point
        return np.clip(codes, -128, 127).astype(np.int8)
