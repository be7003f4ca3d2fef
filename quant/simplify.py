# SPDX-License-Identifier: Apache-2.0
"""Exact simplification: channels that never change the answer are removed.

Trained networks hold channels whose value is the same for every image: all-zero weights, or sums so small
that rounding or the clamp leaves one value.  Such a constant is folded into the bias of the layer after it
and the channel removed, with all that only it fed.  Where the layer after it pads with another value than
the constant, its windows see one thing inside and another at the border; there the channel stays.  So it does where
a map is added to another one, unless both are constant there.
"""

from dataclasses import dataclass, replace

import numpy as np

from .layer import IMAGE
from .network import Network

__all__ = ["Simplification", "simplify"]


@dataclass(frozen=True)
class Simplification:
    """What :func:`simplify` did: channels and multiply-accumulates before and after."""

    network: Network
    channels: int
    removed: int
    macs_before: int

    def __str__(self) -> str:
        return (f"{self.removed:,} of {self.channels:,} channels never change the answer: "
                f"{self.network.macs:,} of {self.macs_before:,} multiply-accumulates are left")


def simplify(network: Network) -> Simplification:
    """The same function of the image with fewer channels.

    Every kept channel's value is the same integer as before, on every image; the network's input and
    output keep their shapes.  A network whose folded biases would leave int32 is returned as it is."""
    layers, sources = network.layers, network.sources
    constants = {IMAGE: np.full(network.input_shape[2], np.nan)}
    for number, layer in enumerate(layers):
        constants[number] = layer.constants(*(constants[source] for source in sources[number]))
    keeps = _kept(network, constants)
    channels = sum(len(keeps[number]) for number in range(len(layers)))
    try:
        rebuilt = tuple(layer.rebuilt([keeps[source] for source in read], keeps[number],
                                      *(constants[source] for source in read))
                        for number, (layer, read) in enumerate(zip(layers, sources, strict=True)))
    except OverflowError:
        return Simplification(network, channels, 0, network.macs)
    return Simplification(replace(network, layers=rebuilt, original=network.original or network), channels,
                          channels - int(sum(keeps[number].sum() for number in range(len(layers)))), network.macs)


def _kept(network: Network, constants: dict[int, np.ndarray]) -> dict[int, np.ndarray]:
    """Of each map, by the number of its layer, which channels stay: those that an output depends on, and those that
    layers which keep their channels apart have beside them."""
    keeps = {IMAGE: np.ones(network.input_shape[2], bool)}
    for number, layer in enumerate(network.layers):
        keeps[number] = np.full(layer.output_shape[2], number in network.output_layers)
    kept = -1
    while kept != (kept := sum(int(keep.sum()) for keep in keeps.values())):
        for number, (layer, sources) in reversed([*enumerate(zip(network.layers, network.sources, strict=True))]):
            needed = layer.needed(keeps[number], *(constants[source] for source in sources))
            for source, channels in zip(sources, needed, strict=True):
                keeps[source] |= channels
        for number, (layer, sources) in enumerate(zip(network.layers, network.sources, strict=True)):
            keeps[number] |= layer.tied(*(keeps[source] for source in sources))
    return keeps
