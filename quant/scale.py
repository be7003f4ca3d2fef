# SPDX-License-Identifier: Apache-2.0
"""A network's architecture at another width multiplier and image size, as a network that can be scheduled.

Howard et al. 2017 (arXiv:1704.04861), section 3: a width multiplier scales the channels of every layer, a resolution
multiplier the image and with it every feature map."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from math import prod

import numpy as np

from .layer import IMAGE, Padding, Place, Shape
from .network import Network
from .windows import same_padding

__all__ = ["IMAGES", "WIDTHS", "Scaled", "round_channels", "scaled", "smaller"]

WIDTHS = (1.0, 0.75, 0.5, 0.25, *(number / 20 for number in range(19, 0, -1) if number % 5))
"""Width multipliers to try: the paper's, then all others in steps of a twentieth."""

IMAGES = (224, 192, 160, 128, 112, 96, 80, 64, 48, 40, 32, 24, 16)
"""Sizes to try for an image's longer side, in pixels: the paper's, and the usual smaller ones."""

_NEAR = 7 / 8
"""Sizes above this share of the image's own would save next to nothing."""

_STEP = 8
"""Channels are scaled to multiples of this, as in the published MobileNets."""


@dataclass(frozen=True, eq=False)
class Scaled:
    """What ``original`` would be at ``width`` times its channels and at an ``image`` of (height, width) pixels.

    The image's channels and the network's results stay as many as they are."""

    original: Network
    width: float
    image: tuple[int, int]
    places: tuple[Place, ...]

    def __str__(self) -> str:
        height, width, _ = self.original.input_shape
        wide = "the model's width" if self.width == 1 else f"{self.width:g} times the model's width"
        return wide if (height, width) == (1, 1) else f"{wide} at {self.image[0]} x {self.image[1]} pixels"

    @cached_property
    def parameters(self) -> int:
        """Bytes of weights."""
        return sum(self._weights)

    @cached_property
    def largest_map(self) -> int:
        """Bytes of the largest map that a layer makes which mixes channels: such maps are stored, or sent as they are,
        whatever comes of them."""
        return max((prod(place.output_shape) for layer, place in zip(self.original.layers, self.places, strict=True)
                    if layer.mixes), default=0)

    @cached_property
    def macs(self) -> int:
        """Multiply-accumulates a frame."""
        return sum(prod(place.output_shape[:2]) * count
                   for place, count in zip(self.places, self._weights, strict=True))

    @cached_property
    def _weights(self) -> tuple[int, ...]:
        return tuple(layer.parameters_at(place) for layer, place in zip(self.original.layers, self.places, strict=True))

    def network(self) -> Network:
        """The network: weights, biases and requantisers are the first ones of the original's layers.

        So their requantisers need numbers about as wide as those of a network that is trained at this size."""
        layers = tuple(layer.resized(place) for layer, place in zip(self.original.layers, self.places, strict=True))
        return replace(self.original, name=f"{self.original.name} at {self}", layers=layers)


def scaled(network: Network, width: float, image: tuple[int, int]) -> Scaled | None:
    """``network`` at ``width`` times its channels, at most 1, and an ``image`` of (height, width) pixels, no larger
    than its own; None where a window would lie outside its feature map, or where maps that are read together would no
    longer fit together.

    Channels are rounded as by :func:`round_channels` and are never more than there were; those of the image and of the
    outputs stay, and so do those that are tied to them.  Where a window covered all of its map it covers all of the new
    one, and where the padding made a map of all of the input's pixels, or of every second one, it still does."""
    sizes, counts = _sizes(network, image), _counts(network, width)
    return _scaled(network, width, image, sizes, counts) if sizes and counts else None


@dataclass(frozen=True, eq=False)
class _Size:
    """What becomes of a layer's windows at another image size, whatever its channels are; ``inputs`` are the sizes of
    the maps that it reads."""

    inputs: tuple[tuple[int, int], ...]
    output: tuple[int, int]
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: Padding


def _scaled(network: Network, width: float, image: tuple[int, int], sizes: Sequence[_Size],
            counts: Sequence[tuple[tuple[int, ...], int]]) -> Scaled:
    """``network`` with layers of these ``sizes`` and these :func:`_counts` of channels."""
    places = []
    for size, (read, made) in zip(sizes, counts, strict=True):
        first, *others = ((*shape, channels) for shape, channels in zip(size.inputs, read, strict=True))
        places.append(Place(first, (*size.output, made), size.kernel, size.stride, size.padding, tuple(others)))
    return Scaled(network, width, image, tuple(places))


def _sizes(network: Network, image: tuple[int, int]) -> list[_Size] | None:
    """Each layer for this ``image``; None if one reads maps of different sizes, or has windows with no room."""
    outputs, found = {IMAGE: image}, []
    for number, (layer, sources) in enumerate(zip(network.layers, network.sources, strict=True)):
        read = tuple(outputs[source] for source in sources)
        if len(set(read)) > 1:
            return None
        padding = layer.padding
        axes = [_axis(*sizes) for sizes in zip(
            read[0], layer.input_shape, layer.output_shape, layer.kernel, layer.stride,
            (padding.top, padding.left), (padding.bottom, padding.right), strict=False)]
        if any(out < 1 for _, _, out, _, _ in axes):
            return None
        kernel, stride, outputs[number], (top, left), (bottom, right) = zip(*axes, strict=True)
        found.append(_Size(read, outputs[number], kernel, stride, Padding(top, bottom, left, right)))
    return found


def _counts(network: Network, width: float) -> list[tuple[tuple[int, ...], int]] | None:
    """(channels of the maps that it reads, its own) of each layer at ``width`` times the channels; None if maps that
    had as many channels as each other no longer have."""
    fixed, made, found = _fixed(network), {IMAGE: network.input_shape[2]}, []
    for number, (layer, sources) in enumerate(zip(network.layers, network.sources, strict=True)):
        read = tuple(made[source] for source in sources)
        if len(set(read)) > 1 and _of_one_count(layer.input_shapes):
            return None
        channels = layer.output_shape[2]
        if not layer.mixes:
            channels = len(layer.tied(*(np.ones(count, bool) for count in read)))
        elif number not in fixed:
            channels = _channels(channels, width)
        made[number] = channels
        found.append((read, channels))
    return found


def _of_one_count(shapes: Sequence[Shape]) -> bool:
    """Whether maps of these shapes all have as many channels."""
    return len({channels for _, _, channels in shapes}) == 1


def _fixed(network: Network) -> set[int]:
    """Numbers of the maps whose channels stay as many as they are: the image, the outputs, and what is tied to these by
    layers that don't mix channels."""
    fixed, before = {IMAGE, *network.output_layers}, 0
    while len(fixed) > before:
        before = len(fixed)
        for number, (layer, sources) in enumerate(zip(network.layers, network.sources, strict=True)):
            if not layer.mixes and not fixed.isdisjoint({number, *sources}):
                fixed |= {number, *sources}
    return fixed


def smaller(network: Network) -> list[Scaled]:
    """``network`` at each of :data:`WIDTHS` and :data:`IMAGES` at which it is smaller, most multiply-accumulates first.

    Accuracy falls with the logarithm of these, whichever way they are saved (the paper's figure 4)."""
    height, width, _ = network.input_shape
    longer = max(height, width)
    images = [(height, width)]
    images += [(max(1, round(height * size / longer)), max(1, round(width * size / longer)))
               for size in IMAGES if size <= _NEAR * longer]
    found: dict[tuple, Scaled] = {}
    macs = network.macs
    counts = [(multiplier, _counts(network, multiplier)) for multiplier in WIDTHS]
    sizes = [(image, _sizes(network, image)) for image in images]
    for (multiplier, channels), (image, windows) in product(counts, sizes):
        if channels and windows:
            variant = _scaled(network, multiplier, image, windows, channels)
            if variant.macs < macs:
                found.setdefault(variant.places, variant)
    return sorted(found.values(), key=lambda variant: (-variant.macs, -variant.parameters, -variant.width))


def round_channels(wanted: float) -> int:
    """The multiple of 8 nearest to ``wanted`` channels, at least 8 and no more than a tenth below: the rule of the
    published MobileNets from the second one on."""
    rounded = max(_STEP, int(wanted + _STEP / 2) // _STEP * _STEP)
    return rounded + _STEP * (rounded < 0.9 * wanted)


def _channels(count: int, width: float) -> int:
    return count if width == 1 else min(count, round_channels(count * width))


def _axis(size: int, old_size: int, old_out: int, kernel: int, stride: int, before: int, after: int) -> tuple:
    """(kernel, stride, outputs, padding before, padding after) along one axis of ``size``, where it was
    ``old_size``."""
    if size == old_size:
        return kernel, stride, old_out, before, after
    if kernel == old_size and old_out == 1 and not (before or after):
        return size, min(stride, size), 1, 0, 0
    if old_out != -(-old_size // stride):
        return kernel, stride, (size + before + after - kernel) // stride + 1, before, after

    lead, behind = same_padding(size, kernel, stride)
    # TensorFlow's SAME has the larger half after the map, PyTorch a fixed number of pixels before.
    if before != same_padding(old_size, kernel, stride)[0]:
        lead, behind = min(before, lead + behind), max(0, lead + behind - before)
    return kernel, stride, -(-size // stride), lead, behind
