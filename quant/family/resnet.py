# SPDX-License-Identifier: Apache-2.0
"""Residual networks for small pictures, such as the ResNet8 of MLPerf Tiny.

He et al., "Deep Residual Learning for Image Recognition", 2015 (arXiv:1512.03385); Banbury et al., "MLPerf Tiny
Benchmark", 2021 (arXiv:2106.07597)."""

from dataclasses import dataclass

from tepal.quant.errors import NetworkError

from .architecture import Classifier
from .layers import Layers

__all__ = ["ResNet"]


@dataclass(frozen=True)
class ResNet(Classifier):
    """A stem and stacks of blocks, each of two 3x3 convolutions and a sum; MLPerf Tiny's ResNet8 by default.  A layer
    of n channels gets ``int(alpha * n)``, at least 1.

    Where a block changes channels or pixels, a 1x1 convolution with a bias, in place of batch norm, brings its input to
    the output's shape.

    Parameters
    ----------
    stacks
        (channels at width 1, stride of the first block) of each stack.
    count
        Blocks in a stack.

    Raises
    ------
    NetworkError
        A parameter is out of range.
    """

    resolution: int = 32
    classes: int = 10
    stem_channels: int = 16
    stem_stride: int = 1
    stacks: tuple[tuple[int, int], ...] = ((16, 1), (32, 2), (64, 2))
    count: int = 1

    def __post_init__(self):
        super().__post_init__()
        if not 1 <= self.count <= 256:
            raise NetworkError(f"a stack has 1 to 256 blocks, not {self.count}")
        if any(channels < 1 or stride not in (1, 2) for channels, stride in self.stacks):
            raise NetworkError("every stack is (channels, stride): at least 1 channel, stride 1 or 2")

    @property
    def name(self) -> str:
        """With the number of convolutions in a row: ``resnet8_1.00_32``."""
        return f"resnet{2 * self.count * len(self.stacks) + 2}_{self.alpha:.2f}_{self.resolution}"

    def append_features(self, layers: Layers) -> None:
        layers.convolution("stem", 3, self.stem_stride, self.width(self.stem_channels))
        for stack, (width, first_stride) in enumerate(self.stacks, start=1):
            for number in range(1, self.count + 1):
                self._append_block(layers, f"stack{stack}_block{number}", self.width(width),
                                   first_stride if number == 1 else 1)

    def _append_block(self, layers: Layers, block: str, channels: int, stride: int) -> None:
        source = skipped = layers.last
        if stride != 1 or layers.shape(source)[1] != channels:
            skipped = layers.convolution(f"{block}_shortcut", 1, stride, channels, "none", normalised=False)
        layers.convolution(f"{block}_first", 3, stride, channels, source=source)
        layers.convolution(f"{block}_second", 3, 1, channels, "none")
        layers.add(f"{block}_add", skipped, "relu")
