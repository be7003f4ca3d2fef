# SPDX-License-Identifier: Apache-2.0
"""Detectors: a MobileNet's maps, some smaller ones behind them, and predictors of boxes and classes on each.

Liu et al., "SSD: Single Shot MultiBox Detector", 2016 (arXiv:1512.02325); on MobileNets as Huang et al. 2017
(arXiv:1611.10012) put it, with predictors of 1 x 1, and as SSDLite of Sandler et al. 2018 (arXiv:1801.04381), section
6.2."""

from dataclasses import dataclass
from functools import cached_property
from math import sqrt

import numpy as np
from tepal.quant.answers import Answer
from tepal.quant.errors import NetworkError
from tepal.quant.layer import IMAGE

from .architecture import Architecture
from .layers import Layers, LayerSpec
from .mobilenet import MobileNet
from .mobilenet_v2 import MobileNetV2

__all__ = ["SSD"]

_EXTRAS = ((256, 512), (128, 256), (128, 256), (64, 128))
"""Channels at width 1 of the 1x1 convolution and of the 3x3 one of stride 2 that make each further map."""

_SMALLEST, _LARGEST, _FIRST = 0.2, 0.95, 0.1
"""Sizes of anchors on the first and the last map as a share of the image, and of the small ones on the first map."""

_RATIOS = (1.0, 2.0, 0.5, 3.0, 0.3333)
"""Width to height of the anchors, to the digit as the published configurations have them."""


@dataclass(frozen=True)
class SSD(Architecture):
    """A detector on the features of ``base``, whose classifier is left out.

    The first map is the one that the base's last halving reads, as wide as that layer takes it (of MobileNetV2 so the
    expanded one), the second one the base's last; 1x1 convolutions and 3x3 ones of stride 2 make the others.  Each map
    has two outputs, in this order: boxes, four numbers for each anchor, and classes, ``classes`` numbers for each; the
    network answers with the boxes of all maps, and the classes of all.

    Parameters
    ----------
    classes
        With the background.
    maps
        2 to 6.
    lite
        True: 3x3 convolutions behind the base are depthwise-separable, and predictors a depthwise and a 1x1
        convolution.

    Raises
    ------
    NetworkError
        A parameter is out of range, or a map before the last is a single pixel.
    """

    base: MobileNet | MobileNetV2
    classes: int = 91
    maps: int = 2 + len(_EXTRAS)
    lite: bool = False

    def __post_init__(self):
        if not 2 <= self.classes <= 4096:
            raise NetworkError(f"a detector's classes must be 2 to 4096, the background among them, not {self.classes}")
        if not 2 <= self.maps <= 2 + len(_EXTRAS):
            raise NetworkError(f"a detector has 2 to {2 + len(_EXTRAS)} maps, not {self.maps}")
        for map_number, size in enumerate(self.sizes[:-1], start=1):
            if size == 1:
                raise NetworkError(f"map {map_number} of {self.maps} is a single pixel at {self.base.resolution} x "
                                   f"{self.base.resolution} pixels: give a larger resolution, or fewer maps")

    @property
    def name(self) -> str:
        """With the base's: ``ssd_mobilenet_v1_0.25_300``."""
        return f"{'ssdlite' if self.lite else 'ssd'}_{self.base.name}"

    @property
    def resolution(self) -> int:
        """Height and width of the input in pixels."""
        return self.base.resolution

    @property
    def channels(self) -> int:
        """Of the input."""
        return self.base.channels

    # ---- layers ----

    @cached_property
    def layers(self) -> tuple[LayerSpec, ...]:
        return self._parts[0]

    @property
    def outputs(self) -> tuple[int, ...]:
        return self._parts[1]

    @property
    def answers(self) -> tuple[Answer, ...]:
        """``boxes`` (anchors, 4) and ``classes`` (anchors, classes), in the order of :attr:`anchors`."""
        heads = range(2 * self.maps)
        return (Answer("boxes", tuple(heads[0::2]), (len(self.anchors), 4)),
                Answer("classes", tuple(heads[1::2]), (len(self.anchors), self.classes)))

    @property
    def sizes(self) -> tuple[int, ...]:
        """Pixels across of each map."""
        return self._parts[2]

    @cached_property
    def _parts(self) -> tuple[tuple[LayerSpec, ...], tuple[int, ...], tuple[int, ...]]:
        """Layers, outputs, and sizes of the maps.  Predictors come right behind the map that they read."""
        layers, features = (Layers(self.base.resolution, self.base.channels) for _ in range(2))
        self.base.append_features(features)
        halvings = [number for number, spec in enumerate(features.specs) if spec.stride == 2]
        if not halvings or not halvings[-1]:
            raise NetworkError(f"{self.base.name} has no map before a last halving for a detector to start from")
        first, outputs, sizes, source = halvings[-1] - 1, [], [], IMAGE

        def predict(number: int) -> None:
            sizes.append(layers.shape(source)[0])
            outputs.extend(self._append_predictors(layers, number, source))

        numbers = {IMAGE: IMAGE}
        for number, spec in enumerate(features.specs):
            source = numbers[number] = layers.copy(spec, [numbers[read] for read in spec.sources(number)])
            if number == first:
                predict(0)
        for number in range(1, self.maps):
            if number > 1:
                source = self._append_map(layers, number, source)
            predict(number)
        return tuple(layers.specs), tuple(outputs), tuple(sizes)

    def _append_map(self, layers: Layers, number: int, source: int) -> int:
        inner, outer = (self.base.width(channels) for channels in _EXTRAS[number - 2])
        activation = self.base.activation
        layers.convolution(f"map{number + 1}_reduce", 1, 1, inner, activation, source)
        if self.lite:
            layers.depthwise(f"map{number + 1}_depthwise", 2, activation)
            return layers.convolution(f"map{number + 1}", 1, 1, outer, activation)
        return layers.convolution(f"map{number + 1}", 3, 2, outer, activation)

    def _append_predictors(self, layers: Layers, number: int, source: int) -> list[int]:
        predictors = []
        for what, values in (("boxes", 4), ("classes", self.classes)):
            name, reads = f"map{number + 1}_{what}", source
            if self.lite:
                reads = layers.depthwise(f"{name}_depthwise", 1, self.base.activation, source)
            predictors.append(layers.convolution(name, 1, 1, len(self._shapes(number)) * values, "none", reads,
                                                 normalised=False))
        return predictors

    # ---- anchors ----

    def _shapes(self, number: int) -> list[tuple[float, float]]:
        """Height and width of the anchors of map ``number``, as a share of the image."""
        step = (_LARGEST - _SMALLEST) / (self.maps - 1)
        scale, following = _SMALLEST + step * number, _SMALLEST + step * (number + 1) if number < self.maps - 1 else 1.0
        if number == 0:
            pairs = [(_FIRST, 1.0), (scale, _RATIOS[1]), (scale, _RATIOS[2])]
        else:
            pairs = [*((scale, ratio) for ratio in _RATIOS), (sqrt(scale * following), 1.0)]
        return [(size / sqrt(ratio), size * sqrt(ratio)) for size, ratio in pairs]

    @property
    def anchors(self) -> np.ndarray:
        """float32 (anchors, 4): y and x of the centre, height and width, as shares of the image.

        Map by map, row by row, pixel by pixel, as the outputs have them: three on each pixel of the first map, six on
        the others (the anchors of TensorFlow's detection models, which TFLite_Detection_PostProcess takes)."""
        boxes = []
        for number, size in enumerate(self.sizes):
            centres = (np.arange(size) + 0.5) / size
            shapes = np.array(self._shapes(number))
            y, x, shape = np.meshgrid(centres, centres, np.arange(len(shapes)), indexing="ij")
            boxes.append(np.stack([y, x, shapes[shape, 0], shapes[shape, 1]], axis=-1).reshape(-1, 4))
        return np.concatenate(boxes).astype(np.float32)
