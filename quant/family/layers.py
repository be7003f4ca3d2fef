# SPDX-License-Identifier: Apache-2.0
"""Shapes of layers, and lists of them in the making."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Literal

from tepal.quant.layer import IMAGE, Padding, Shape

__all__ = ["Activation", "Kind", "LayerSpec", "Layers"]

Activation = Literal["none", "relu", "relu6"]

Kind = Literal["convolution", "depthwise", "pointwise", "pool", "dense", "add"]


@dataclass(frozen=True)
class LayerSpec:
    """One layer's shape. ``kernel``, ``stride`` and the sizes are of both dimensions; the average pool's window
    is its whole input.

    ``activation`` follows the sum; ``normalised`` says that batch norm comes before it, in place of a bias.  ``inputs``
    are as those of :class:`~tepal.quant.layer.Geometry`."""

    name: str
    kind: Kind
    kernel: int
    stride: int
    in_channels: int
    out_channels: int
    in_size: int
    out_size: int
    activation: Activation = "relu"
    normalised: bool = True
    inputs: tuple[int, ...] = ()

    def sources(self, number: int) -> tuple[int, ...]:
        """What it reads as layer ``number``: the numbers of layers, or :data:`~tepal.quant.layer.IMAGE`."""
        return self.inputs or (number - 1,)

    @property
    def groups(self) -> int:
        """1 or, of a layer that takes each channel by itself, their number."""
        return self.in_channels if self.kind in ("depthwise", "pool", "add") else 1

    @property
    def weighted(self) -> bool:
        """Whether it has weights."""
        return self.kind not in ("pool", "add")

    @property
    def weight_shape(self) -> tuple[int, ...]:
        """Shape of the weights as :class:`~tepal.quant.ops.convolution.Convolution` and
        :class:`~tepal.quant.ops.depthwise.Depthwise` hold them; a pool and a sum have none."""
        window = (self.kernel, self.kernel)
        if not self.weighted:
            return (0,)
        return (*window, self.in_channels) if self.kind == "depthwise" else (self.out_channels, *window,
                                                                              self.in_channels)

    @property
    def weights(self) -> int:
        """Number of weights, without bias and batch norm."""
        return prod(self.weight_shape)

    @property
    def parameters(self) -> int:
        """Trained numbers: weights and, for each channel, two of batch norm or a bias."""
        return self.weights + self.weighted * (2 if self.normalised else 1) * self.out_channels

    @property
    def macs(self) -> int:
        """Multiply-adds a frame, padding included, as papers count them."""
        return self.out_size**2 * self.weights

    @property
    def padding(self) -> Padding:
        """Half a window on each side of the input, as in PyTorch (TensorFlow's SAME differs), but only where a
        window reaches it: with stride 2 on an even size none does at the bottom and on the right."""
        before = self.kernel // 2 if self.weighted else 0
        after = max(0, (self.out_size - 1) * self.stride + self.kernel - before - self.in_size)
        return Padding(before, after, before, after)

    @property
    def input_shape(self) -> Shape:
        return self.in_size, self.in_size, self.in_channels

    @property
    def output_shape(self) -> Shape:
        return self.out_size, self.out_size, self.out_channels


class Layers:
    """A list in the making, for square images of ``resolution`` pixels across.  Every method appends a layer, which
    reads the last one unless ``source`` is the number of another, and returns its number."""

    def __init__(self, resolution: int, channels: int):
        self.specs: list[LayerSpec] = []
        self._image = resolution, channels

    @property
    def last(self) -> int:
        """Number of the last layer, or :data:`~tepal.quant.layer.IMAGE`."""
        return len(self.specs) - 1

    def shape(self, number: int) -> tuple[int, int]:
        """Pixels across and channels of what layer ``number`` gives, or of the image."""
        if number == IMAGE:
            return self._image
        return self.specs[number].out_size, self.specs[number].out_channels

    def convolution(self, name: str, kernel: int, stride: int, channels: int, activation: Activation = "relu",
                    source: int | None = None, *, normalised: bool = True) -> int:
        """A dense convolution."""
        kind = "pointwise" if kernel == 1 else "convolution"
        return self._append(name, kind, kernel, stride, channels, activation, source, normalised=normalised)

    def depthwise(self, name: str, stride: int, activation: Activation = "relu", source: int | None = None) -> int:
        """A depthwise convolution of 3 x 3 windows."""
        channels = self.shape(self.last if source is None else source)[1]
        return self._append(name, "depthwise", 3, stride, channels, activation, source)

    def add(self, name: str, skipped: int, activation: Activation = "none") -> int:
        """The sum of layer ``skipped`` and the last one."""
        size, channels = self.shape(self.last)
        self.specs.append(LayerSpec(name, "add", 1, 1, channels, channels, size, size, activation, False,
                                    (skipped, self.last)))
        return self.last

    def copy(self, spec: LayerSpec, sources: Sequence[int]) -> int:
        """``spec``, a layer of another list, that reads ``sources`` here."""
        self.specs.append(replace(spec, inputs=() if [*sources] == [self.last] else tuple(sources)))
        return self.last

    def classifier(self, classes: int) -> int:
        """The mean of the map, and a fully connected layer."""
        size, channels = self.shape(self.last)
        self._append("pool", "pool", size, size, channels, "none", None, normalised=False)
        return self._append("classifier", "dense", 1, 1, classes, "none", None, normalised=False)

    def _append(self, name: str, kind: Kind, kernel: int, stride: int, channels: int, activation: Activation,
                source: int | None, *, normalised: bool = True) -> int:
        inputs = () if source in (None, self.last) else (source,)
        size, before = self.shape(self.last if source is None else source)
        self.specs.append(LayerSpec(name, kind, kernel, stride, before, channels, size, -(-size // stride), activation,
                                    normalised, inputs))
        return self.last
