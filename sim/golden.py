# SPDX-License-Identifier: Apache-2.0
"""The golden model: a network's exact bytes, in vectorised NumPy.

Each layer knows its own rule (:meth:`tepal.quant.Layer.accumulate`); here they run in their order.
"""

from math import prod
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
    """int8 results of ``images``.

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
    int8 (frames, ``network.result_bytes``), the outputs one behind the other, before what the network may end in on
    the host; or, with ``layers``, one int8 (frames, height, width, channels) for each of ``network.layers``.

    Raises
    ------
    NetworkError
        ``images`` has another shape or type.

    Examples
    --------
    >>> from tepal.quant import MobileNet
    >>> network = MobileNet(0.25, 32, classes=10).network()
    >>> run(network, np.zeros((2, 32, 32, 3), np.int8)).shape
    (2, 10)
    """
    images = np.asarray(images)
    if images.dtype != np.int8 or images.shape[1:] != network.input_shape:
        raise NetworkError(f"{network.name} takes int8 images of the shape (frames, "
                           f"{', '.join(map(str, network.input_shape))}), not {images.dtype} {images.shape}")
    frames = chunk_frames(network.layers)
    wanted = range(len(network.layers)) if layers else network.output_layers
    results = {number: np.empty((len(images), *network.shape(number)), np.int8) for number in wanted}
    for start in range(0, len(images), frames):
        chunk = slice(start, start + frames)

        def keep(number, result, chunk=chunk):
            if number in results:
                results[number][chunk] = result

        network.trace(images[chunk], keep)
    if layers:
        return list(results.values())
    return np.concatenate([result.reshape(len(images), prod(result.shape[1:])) for result in results.values()], axis=1)
