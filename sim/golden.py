# SPDX-License-Identifier: Apache-2.0
"""The golden model: a network's exact bytes, in vectorised NumPy.

Each layer knows its own rule (:meth:`tepal.quant.Layer.accumulate`); here they run one after the other.
"""

from typing import Literal, overload

import numpy as np
from tepal.quant import Network, NetworkError
from tepal.quant.windows import chunk_frames

__all__ = ["run"]


@overload
def run(network: Network, images: np.ndarray, *, layers: Literal[False] = False) -> np.ndarray: ...
@overload
def run(network: Network, images: np.ndarray, *, layers: Literal[True]) -> list[np.ndarray]: ...
def run(network: Network, images: np.ndarray, *, layers: bool = False) -> np.ndarray | list[np.ndarray]:
    """int8 logits of ``images``.

    Parameters
    ----------
    network
        What to compute.
    images
        int8 (frames, height, width, channels) in the network's input scale and zero point.
    layers
        Return the output of every layer instead.

    Returns
    -------
    int8 (frames, ``network.outputs``), before the softmax that the network may end in; or, with
    ``layers``, one int8 (frames, height, width, channels) for each of ``network.layers``.

    Raises
    ------
    NetworkError
        ``images`` has another shape or type.
    """
    images = np.asarray(images)
    if images.dtype != np.int8 or images.shape[1:] != network.input_shape:
        raise NetworkError(f"{network.name} takes int8 images of the shape (frames, "
                           f"{', '.join(map(str, network.input_shape))}), not {images.dtype} {images.shape}")
    frames = chunk_frames(network.layers)
    results = [np.empty((len(images), *layer.output_shape), np.int8)
               for layer in (network.layers if layers else network.layers[-1:])]
    for start in range(0, len(images), frames):
        chunk = slice(start, start + frames)
        x = images[chunk]
        for number, layer in enumerate(network.layers):
            x = layer(x)
            if layers:
                results[number][chunk] = x
        if not layers:
            results[0][chunk] = x
    return results if layers else results[0].reshape(len(images), network.outputs)
