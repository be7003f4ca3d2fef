# SPDX-License-Identifier: Apache-2.0
"""What the engine does in one pass: reads windows of a feature map, reduces or copies them, multiplies by a matrix.

::

    source map ─► windows ─┬─► reduction ─► requantise ─┬─► matrix ─► requantise ─┬─► elementwise ─┬─► target map
                           └────────── copied ──────────┘                         └────────────────┘

A pass says what is computed and nothing of an engine; :mod:`~tepal.hdl.plan.lower` makes passes of a network's layers.
Every pass writes one map, which has the pass's number; a pass that is a part of another one, of some rows
(:mod:`~tepal.hdl.plan.bands`) or some channels (:mod:`~tepal.hdl.plan.slices`), may go on writing the map of an earlier
part.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from tepal.hdl.units.depthwise import ReductionKind
from tepal.hdl.units.input_layout import InputLayout
from tepal.quant import Average, Requantise

__all__ = ["Elementwise", "Matrix", "Pass", "Reduction", "Window", "covered", "identity", "sum_range",
           "unroll"]


def sum_range(weights: np.ndarray, axis, offset: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Smallest and largest sum of weight * (activation + ``offset``) along ``axis``, int64; every partial sum lies
    between them too."""
    positive = np.maximum(weights, 0).sum(axis=axis, dtype=np.int64)
    negative = np.minimum(weights, 0).sum(axis=axis, dtype=np.int64)
    low, high = -128 + offset, 127 + offset
    return high * negative + low * positive, high * positive + low * negative


@dataclass(frozen=True)
class Window:
    """How the windows of a pass lie on the map it reads; ``border`` is the value of what lies beyond its edges."""

    input_shape: tuple[int, int, int]
    output_size: tuple[int, int]
    kernel: tuple[int, int]
    stride: tuple[int, int]
    origin: tuple[int, int]
    border: int


def covered(window: Window, rows: range) -> range:
    """Rows of the map that is read which the windows of these output ``rows`` cover; one row where they cover nothing
    but what lies beyond its edges."""
    first = rows.start * window.stride[0] + window.origin[0]
    last = (rows.stop - 1) * window.stride[0] + window.origin[0] + window.kernel[0] - 1
    height = window.input_shape[0]
    first = min(max(first, 0), height - 1)
    return range(first, max(first, min(last, height - 1)) + 1)


@dataclass(frozen=True, eq=False)
class Reduction:
    """The depthwise engine's part, a weighted sum of each channel's window: ``weights`` int8, or int16 where
    they have a zero point (kernel height, kernel width, channels).

    ``kind`` says what the engine makes of the products.  ``constant`` (channels,) is added to that before
    ``requantise``; ``range`` is the least and the largest value, each (channels,), that a lane holds at any time;
    ``layer`` is the network's layer that this is."""

    layer: int
    weights: np.ndarray
    constant: np.ndarray
    range: tuple[np.ndarray, np.ndarray]
    requantise: Requantise | Average
    kind: ReductionKind = ReductionKind.SUM


@dataclass(frozen=True, eq=False)
class Matrix:
    """The systolic array's part: ``weights`` (out channels, inner dimension), all as above.

    In an unrolled pass the weights are those of several pixels, all else is that of one.

    ``layer`` is None for an identity."""

    layer: int | None
    weights: np.ndarray
    constant: np.ndarray
    requantise: Requantise | Average

    def select(self, channels: slice) -> "Matrix":
        """What makes these output channels; not of an unrolled pass."""
        return replace(self, weights=self.weights[channels], constant=self.constant[channels],
                       requantise=self.requantise.select(channels))


def identity(channels: int) -> Matrix:
    """A matrix that leaves ``channels`` as they are."""
    unity = Requantise(np.full(channels, 1 << 30), np.ones(channels), zero_point=0)
    return Matrix(None, np.eye(channels, dtype=np.int8), np.zeros(channels, np.int64), unity)


@dataclass(frozen=True, eq=False)
class Elementwise:
    """What becomes of each requantised result, x1, and of the value x2 in its place in the ``other`` pass's map::

        clamp((tables[0][x1] + tables[1][x2]) >> shift, minimum, maximum)

    ``tables`` int64 (2, 256) are of the values from -128 on.  Where ``other`` is None there is no second value, and the
    second table is zero.  ``layers`` are the network's layers that this is, the last of which gives the map; None
    stands for one that the network doesn't have."""

    layers: tuple[int | None, ...]
    tables: np.ndarray
    shift: int
    minimum: int
    maximum: int
    other: int | None = None


@dataclass(frozen=True, eq=False)
class Pass:
    """One pass through the engine; without a ``reduction`` the windows are copied as they are (im2col).

    ``source`` is the number of the pass whose map is read; None reads the image.

    Its own map may go to several places: ``banked``, to the activation memory, where windows are read; ``added``, to
    the skip memory, where it is the second value of another pass's ``elementwise``; and to the output memory, as
    ``output`` of that number.

    ``pixels_per_window`` neighbouring pixels of a row are made from one window: the matrix has the weights of the first
    one's channels, then those of the second one's (:func:`unroll`).

    ``first_row`` and ``first_channel`` are the row and the channel of its layers' output with which it begins.
    ``continues`` is the number of the pass whose map it goes on writing, from these on; without one its map has its own
    rows and channels alone.  ``map_row`` is the row of its layers' output with which that map begins.

    ``kept`` is how many rows of its map are stored at a time: each is overwritten by the one so many below it, once it
    has been read.  None: all of them."""

    source: int | None
    window: Window
    reduction: Reduction | None
    matrix: Matrix
    pixels_per_window: int = 1
    elementwise: Elementwise | None = None
    banked: bool = True
    added: bool = False
    output: int | None = None
    first_row: int = 0
    first_channel: int = 0
    map_row: int = 0
    continues: int | None = None
    kept: int | None = None

    @property
    def layer(self) -> int | None:
        """The network's layer whose results its map is; None where it is a copy, of what was read or reduced."""
        return self.elementwise.layers[-1] if self.elementwise else self.matrix.layer

    @property
    def other(self) -> int | None:
        """The number of the pass whose map is added."""
        return self.elementwise and self.elementwise.other

    @property
    def in_order(self) -> bool:
        """Whether its results must be written in the order in which those of any pass of their shape are: they lie in
        the skip memory so."""
        return self.added or self.other is not None

    @property
    def output_shape(self) -> tuple[int, int, int]:
        height, width = self.window.output_size
        return height, width * self.pixels_per_window, self.matrix.weights.shape[0] // self.pixels_per_window

    @property
    def rows(self) -> slice:
        """Rows of its layers' output that it makes."""
        return slice(self.first_row, self.first_row + self.window.output_size[0])

    @property
    def channels(self) -> slice:
        """Channels of its layers' output that it makes."""
        return slice(self.first_channel, self.first_channel + self.output_shape[2])

    def writes(self, number: int) -> int:
        """Number of the map that it writes, as pass ``number``."""
        return number if self.continues is None else self.continues

    @property
    def target_row(self) -> int:
        """Row of its map with which it begins."""
        return self.first_row - self.map_row

    @property
    def target_channel(self) -> int:
        """Channel of its map with which it begins."""
        return 0 if self.continues is None else self.first_channel

    @property
    def windows(self) -> int:
        """Windows of the pass: pixels of what the array makes, each of ``pixels_per_window`` pixels of the output."""
        return self.window.output_size[0] * self.window.output_size[1]

    def renumbered(self, number_of: Mapping[int | None, int | None]) -> "Pass":
        """With the new numbers of the maps that are read, added, and gone on with."""
        elementwise = self.elementwise and replace(self.elementwise, other=number_of[self.elementwise.other])
        return replace(self, source=number_of[self.source], elementwise=elementwise,
                       continues=number_of[self.continues])


def unroll(layout: InputLayout, first: Pass, count: int) -> tuple[InputLayout, Pass]:
    """The first pass with ``count`` neighbouring pixels of each row made at once, and the layout of the image for it.

    A window covers all that they cover, and each has zero weights for what only the others do.  So the array makes
    ``count`` times as many channels of as many fewer pixels, from fewer bytes than before.  Sums are the same."""
    height, width, row = first.window.input_shape
    out, across = len(first.matrix.weights), layout.stride * layout.shape[2]
    weights = first.matrix.weights.reshape(out, first.window.kernel[0], row)
    unrolled = np.zeros((count, *weights.shape[:2], row + (count - 1) * across), weights.dtype)
    for number in range(count):
        unrolled[number, :, :, number * across:number * across + row] = weights
    window = replace(first.window, input_shape=(height, width // count, unrolled.shape[-1]),
                     output_size=(first.window.output_size[0], first.window.output_size[1] // count))
    return (replace(layout, columns=layout.columns // count, kernel=layout.kernel + (count - 1) * layout.stride,
                    stride=count * layout.stride),
            replace(first, window=window, pixels_per_window=count,
                    matrix=replace(first.matrix, weights=unrolled.reshape(count * out, -1))))
