# SPDX-License-Identifier: Apache-2.0
"""MobileNetV1.

Howard et al., "MobileNets: Efficient Convolutional Neural Networks for Mobile Vision Applications", 2017
(arXiv:1704.04861), table 1.  A *width multiplier* scales every layer's channels, a *resolution multiplier* the input.
"""

from dataclasses import dataclass

from tepal.quant.errors import NetworkError

from .architecture import Classifier
from .layers import Activation, Layers

__all__ = ["CIFAR_BLOCKS", "IMAGENET_BLOCKS", "MobileNet"]

IMAGENET_BLOCKS = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *((512, 1),) * 5, (1024, 2), (1024, 1))
"""(output channels at width 1, stride) of each depthwise-separable block of the paper's table 1.

The table gives the last block stride 2; its output size there shows that it is 1."""

CIFAR_BLOCKS = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), (512, 1), (512, 1))
"""The same body for pictures of about 32 x 32 pixels: with a stem of stride 1, three halvings in all."""


@dataclass(frozen=True)
class MobileNet(Classifier):
    """One member of the family: a layer of n channels gets ``int(alpha * n)``, at least 1.

    Parameters
    ----------
    stem_channels, stem_stride, blocks
        First convolution and (channels, stride) of each block, at width 1; the paper's by default.
    separable
        False: every block is one full 3x3 convolution instead (the paper's table 4).
    residual
        True: the input of each block that has as many channels and pixels as its output is added to this, between its
        last convolution's batch norm and its activation (He et al. 2015, arXiv:1512.03385).
    activation
        Behind all convolutions; the published networks have ReLU6.

    Raises
    ------
    NetworkError
        A parameter is out of range.

    Examples
    --------
    Multiply-accumulates of the paper's network, and of the one at half the width:

    >>> MobileNet(1.0, 224).macs, MobileNet(0.5, 224).macs
    (568740352, 149497088)
    """

    stem_channels: int = 32
    stem_stride: int = 2
    blocks: tuple[tuple[int, int], ...] = IMAGENET_BLOCKS
    separable: bool = True
    residual: bool = False
    activation: Activation = "relu"

    def __post_init__(self):
        super().__post_init__()
        if any(channels < 1 or stride not in (1, 2) for channels, stride in self.blocks):
            raise NetworkError("every block is (channels, stride): at least 1 channel, stride 1 or 2")

    @property
    def name(self) -> str:
        """As the paper writes it: ``mobilenet_v1_0.50_160``."""
        return f"mobilenet_v1_{'residual_' if self.residual else ''}{self.alpha:.2f}_{self.resolution}"

    def append_features(self, layers: Layers) -> None:
        layers.convolution("stem", 3, self.stem_stride, self.width(self.stem_channels), self.activation)
        for number, (width, stride) in enumerate(self.blocks, start=1):
            block, source, channels = f"block{number}", layers.last, self.width(width)
            skips = self.residual and stride == 1 and layers.shape(source)[1] == channels
            activation = "none" if skips else self.activation
            if self.separable:
                layers.depthwise(f"{block}_depthwise", stride, self.activation)
                layers.convolution(f"{block}_pointwise", 1, 1, channels, activation)
            else:
                layers.convolution(block, 3, stride, channels, activation)
            if skips:
                layers.add(f"{block}_add", source, self.activation)
