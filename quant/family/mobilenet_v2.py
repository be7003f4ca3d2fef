# SPDX-License-Identifier: Apache-2.0
"""MobileNetV2.

Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", 2018 (arXiv:1801.04381), table 2."""

from dataclasses import dataclass

from tepal.quant.errors import NetworkError
from tepal.quant.scale import round_channels

from .architecture import Classifier
from .layers import Activation, Layers

__all__ = ["BOTTLENECKS", "MobileNetV2"]

BOTTLENECKS = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2),
               (6, 320, 1, 1))
"""(expansion, output channels at width 1, repetitions, stride of the first one) of the paper's table 2."""


@dataclass(frozen=True)
class MobileNetV2(Classifier):
    """One member of the family: a layer of n channels gets ``alpha * n``, rounded to a multiple of 8 as
    :func:`~tepal.quant.scale.round_channels` does.

    A bottleneck expands the channels, filters each and projects them, the last step without activation; its input is
    added where it has as many channels and pixels as the output.

    Parameters
    ----------
    stem_channels, stem_stride, bottlenecks
        First convolution and bottlenecks, at width 1; the paper's by default.
    last_channels
        Of the last convolution; never narrower than at width 1.
    activation
        Behind all other convolutions.

    Raises
    ------
    NetworkError
        A parameter is out of range.
    """

    stem_channels: int = 32
    stem_stride: int = 2
    bottlenecks: tuple[tuple[int, int, int, int], ...] = BOTTLENECKS
    last_channels: int = 1280
    activation: Activation = "relu6"

    def __post_init__(self):
        super().__post_init__()
        if any(min(expansion, channels, count) < 1 or stride not in (1, 2)
               for expansion, channels, count, stride in self.bottlenecks):
            raise NetworkError("bottlenecks are (expansion, channels, repetitions, stride): each at least 1, stride 1 "
                               "or 2")

    @property
    def name(self) -> str:
        """As files are called: ``mobilenet_v2_0.35_160``."""
        return f"mobilenet_v2_{self.alpha:.2f}_{self.resolution}"

    def width(self, channels: int) -> int:
        return round_channels(self.alpha * channels)

    def append_features(self, layers: Layers) -> None:
        layers.convolution("stem", 3, self.stem_stride, self.width(self.stem_channels), self.activation)
        block = 0
        for expansion, width, count, first_stride in self.bottlenecks:
            for repetition in range(count):
                block += 1
                self._append_bottleneck(layers, f"block{block}", expansion, self.width(width),
                                        1 if repetition else first_stride)
        layers.convolution("last", 1, 1, max(self.last_channels, self.width(self.last_channels)), self.activation)

    def _append_bottleneck(self, layers: Layers, block: str, expansion: int, channels: int, stride: int) -> None:
        source = layers.last
        before = layers.shape(source)[1]
        if expansion > 1:
            layers.convolution(f"{block}_expand", 1, 1, expansion * before, self.activation)
        layers.depthwise(f"{block}_depthwise", stride, self.activation)
        layers.convolution(f"{block}_project", 1, 1, channels, "none")
        if stride == 1 and channels == before:
            layers.add(f"{block}_add", source)
