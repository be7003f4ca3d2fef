# SPDX-License-Identifier: Apache-2.0
"""Exact simplification: channels that never change the answer are removed.

Trained networks hold channels whose value is the same for every image: all-zero weights, or sums so small
that rounding or the clamp leaves one value.  Such a constant is folded into the bias of the layer after it
and the channel removed, with all that only it fed.  Where the layer after it pads with another value than
the constant, its windows see one thing inside and another at the border; there the channel stays.
"""

from dataclasses import dataclass, replace

import numpy as np

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
    layers = network.layers
    constants = [np.full(network.input_shape[2], np.nan)]
    for layer in layers:
        constants.append(layer.constants(constants[-1]))
    keeps = [np.ones(layers[-1].output_shape[2], bool)]
    for number in range(len(layers) - 1, 0, -1):
        keeps.insert(0, layers[number].needed(keeps[0], constants[number]))
    keeps.insert(0, np.ones(network.input_shape[2], bool))
    # Layers that keep their channels apart have as many as the image, up to the first that mixes them.
    for number, layer in enumerate(layers):
        if layer.mixes:
            break
        keeps[number + 1][:] = True
    channels = sum(len(keep) for keep in keeps[1:])
    try:
        rebuilt = tuple(layer.rebuilt(keeps[number], keeps[number + 1], constants[number])
                        for number, layer in enumerate(layers))
    except OverflowError:
        return Simplification(network, channels, 0, network.macs)
    return Simplification(replace(network, layers=rebuilt, original=network.original or network), channels,
                          channels - int(sum(keep.sum() for keep in keeps[1:])), network.macs)
