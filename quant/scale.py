# SPDX-License-Identifier: Apache-2.0
"""A network's architecture at another width multiplier and image size, as a network that can be scheduled.

Howard et al. 2017 (arXiv:1704.04861), section 3: a width multiplier scales the channels of every layer, a resolution
multiplier the image and with it every feature map."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod

from .layer import Padding, Place
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
    def macs(self) -> int:
        """Multiply-accumulates a frame."""
        return sum(prod(place.output_shape[:2]) * count
                   for place, count in zip(self.places, self._weights, strict=True))

    @property
    def _weights(self) -> Iterator[int]:
        for layer, place in zip(self.original.layers, self.places, strict=True):
            yield layer.parameters_at(place)

    def network(self) -> Network:
        """The network: weights, biases and requantisers are the first ones of the original's layers.

        So their requantisers need numbers about as wide as those of a network that is trained at this size."""
        layers = tuple(layer.resized(place) for layer, place in zip(self.original.layers, self.places, strict=True))
        return replace(self.original, name=f"{self.original.name} at {self}", layers=layers)


def scaled(network: Network, width: float, image: tuple[int, int]) -> Scaled | None:
    """``network`` at ``width`` times its channels, at most 1, and an ``image`` of (height, width) pixels, no larger
    than its own; None where a window would lie outside its feature map.

    Channels are rounded to multiples of 8, by no more than a tenth down, as in the published MobileNets, and are never
    more than there were.  Where a window covered all of its map it covers all of the new one, and where the padding
    made a map of all of the input's pixels, or of every second one, it still does."""
    last = max((number for number, layer in enumerate(network.layers) if layer.mixes), default=-1)
    shape, places = (*image, network.input_shape[2]), []
    for number, layer in enumerate(network.layers):
        padding = layer.padding
        axes = [_axis(*sizes) for sizes in zip(
            shape[:2], layer.input_shape, layer.output_shape, layer.kernel, layer.stride,
            (padding.top, padding.left), (padding.bottom, padding.right), strict=False)]
        if any(out < 1 for _, _, out, _, _ in axes):
            return None
        channels = shape[2]
        if layer.mixes:
            channels = layer.output_shape[2]
            channels = channels if number == last else _channels(channels, width)
        kernel, stride, size, (top, left), (bottom, right) = zip(*axes, strict=True)
        places.append(Place(shape, (*size, channels), kernel, stride, Padding(top, bottom, left, right)))
        shape = places[-1].output_shape
    return Scaled(network, width, image, tuple(places))


def smaller(network: Network) -> list[Scaled]:
    """``network`` at each of :data:`WIDTHS` and :data:`IMAGES` at which it is smaller, most multiply-accumulates first.

    Accuracy falls with the logarithm of these, whichever way they are saved (the paper's figure 4)."""
    height, width, _ = network.input_shape
    longer = max(height, width)
    images = [(height, width)]
    images += [(max(1, round(height * size / longer)), max(1, round(width * size / longer)))
               for size in IMAGES if size <= _NEAR * longer]
    found: dict[tuple, Scaled] = {}
    for multiplier in WIDTHS:
        for image in images:
            variant = scaled(network, multiplier, image)
            if variant and variant.macs < network.macs:
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
