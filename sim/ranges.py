# SPDX-License-Identifier: Apache-2.0
"""Which int8 values the layers of a network give on images: what of their range is in use, and what lies at its
ends."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from tepal.quant import Network
from tepal.quant.windows import chunk_frames

__all__ = ["LayerRange", "measure_ranges"]


@dataclass(frozen=True)
class LayerRange:
    """``low`` and ``high`` are the least and the largest int8 value that the layer of that number gives, ``used`` is
    how many different ones; ``at_low`` and ``at_high`` are the shares of values at the ends of int8, -128 and 127."""

    layer: int
    low: int
    high: int
    used: int
    at_low: float
    at_high: float


def measure_ranges(network: Network, images: np.ndarray, *,
                   progress: Callable[[str, int, int], None] = lambda what, done, total: None) -> list[LayerRange]:
    """Run the golden model on ``images``, int8 (frames, height, width, channels), at least one."""
    counts = np.zeros((len(network.layers), 256), np.int64)
    step = chunk_frames(network.layers)
    for start in range(0, len(images), step):
        def count(number: int, result: np.ndarray) -> None:
            counts[number] += np.bincount(result.view(np.uint8).ravel() ^ 0x80, minlength=256)

        network.trace(np.ascontiguousarray(images[start:start + step]), count)
        progress("Measuring ranges", min(start + step, len(images)), len(images))
    ranges = []
    for number, own in enumerate(counts):
        values = np.flatnonzero(own)
        ranges.append(LayerRange(number, int(values[0]) - 128, int(values[-1]) - 128, len(values),
                                 float(own[0] / own.sum()), float(own[-1] / own.sum())))
    return ranges
