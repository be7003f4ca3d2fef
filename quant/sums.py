"""Sums of products over windows, in NumPy: what a layer computes before anything is rounded.

The golden model feeds it integers in a floating-point type that holds them exactly, the float model real numbers."""

from math import prod

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from .network import Geometry

__all__ = ["chunk_frames", "window_sums", "windows"]

CHUNK_BYTES = 32 << 20
"""Memory for the widest intermediate array of the frames that are computed together."""


def windows(layer: Geometry, x: np.ndarray, fill) -> np.ndarray:
    """View (frames, rows, columns, channels, kernel height, kernel width) of ``x``, padded with ``fill``."""
    around = layer.padding
    pads = ((0, 0), (around.top, around.bottom), (around.left, around.right), (0, 0))
    if np.any(pads):
        x = np.pad(x, pads, constant_values=fill)
    height, width = layer.stride
    return sliding_window_view(x, layer.kernel, axis=(1, 2))[:, ::height, ::width]


def window_sums(layer: Geometry, x: np.ndarray, weights: np.ndarray | None, fill) -> np.ndarray:
    """(frames, *layer.output_shape) in the type of ``x``.

    Parameters
    ----------
    x
        (frames, height, width, channels).
    weights
        (out channels, kernel height, kernel width, in channels) of a dense convolution, (kernel height, kernel
        width, channels) of a depthwise one, None for a plain sum of each window.
    fill
        What the padding holds.
    """
    if weights is None:
        return windows(layer, x, fill).sum(axis=(-2, -1))
    weights = weights.astype(x.dtype, copy=False)
    if weights.ndim == 3:
        taps = windows(layer, x, fill)
        total = np.zeros((len(x), *layer.output_shape), x.dtype)
        for position in np.ndindex(*layer.kernel):
            total += taps[..., *position] * weights[position]
        return total
    rows = weights.reshape(len(weights), -1)
    if layer.kernel == (1, 1) and layer.stride == (1, 1) and layer.output_shape[:2] == x.shape[1:3]:
        columns = x.reshape(-1, rows.shape[1])
    else:
        # (frames, rows, columns, kernel height, kernel width, channels)
        columns = windows(layer, x, fill).transpose(0, 1, 2, 4, 5, 3).reshape(-1, rows.shape[1])
    return (columns @ rows.T).reshape(len(x), *layer.output_shape)


def chunk_frames(layers) -> int:
    """Frames of these layers to compute at once within ``CHUNK_BYTES``."""
    return max(1, CHUNK_BYTES // max(map(_footprint, layers)))


def _footprint(layer: Geometry) -> int:
    """Bytes of the widest array that one frame needs."""
    dense = np.ndim(getattr(layer, "weights", 0)) == 4
    taps = prod(layer.kernel) * layer.input_shape[2] if dense else 1
    return 8 * max(layer.pixels * taps, prod(layer.output_shape), prod(layer.input_shape))
