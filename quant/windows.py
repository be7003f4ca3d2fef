# SPDX-License-Identifier: Apache-2.0
"""Windows that move over feature maps, in NumPy: where they lie, and what they hold.

The integer layers feed them integers in a floating-point type that holds any sum exactly (:func:`exact`), the float
layers real numbers."""

from collections.abc import Iterable

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from .layer import Geometry

__all__ = ["chunk_frames", "exact", "same_padding", "windows"]

CHUNK_BYTES = 32 << 20
"""Memory for the widest intermediate array of the frames that are computed together."""


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Padding before and after one dimension of ``size`` pixels so that there is a result for every ``stride`` of
    them, begun or whole: the larger half after (SAME of TensorFlow, SAME_UPPER of ONNX)."""
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def windows(layer: Geometry, x: np.ndarray, fill) -> np.ndarray:
    """View (frames, rows, columns, channels, kernel height, kernel width) of ``x``, padded with ``fill``."""
    around = layer.padding
    pads = ((0, 0), (around.top, around.bottom), (around.left, around.right), (0, 0))
    if np.any(pads):
        x = np.pad(x, pads, constant_values=fill)
    height, width = layer.stride
    return sliding_window_view(x, layer.kernel, axis=(1, 2))[:, ::height, ::width]


def exact(x: np.ndarray, terms: int) -> np.ndarray:
    """int8 ``x`` in a floating-point type that holds any sum of ``terms`` int8 products exactly.

    A product is at most 2**14, so float32 with its 24 bits is enough up to 1024 terms, whatever the order
    of summation; float64 up to 2**39."""
    return x.astype(np.float32 if terms <= 1024 else np.float64)


def chunk_frames(layers: Iterable[Geometry]) -> int:
    """Frames of these layers to compute at once within ``CHUNK_BYTES``."""
    return max(1, CHUNK_BYTES // max(8 * layer.workspace for layer in layers))
