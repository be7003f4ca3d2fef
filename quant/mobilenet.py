"""The MobileNetV1 family: layers, counts, and a network to train.

Howard et al., "MobileNets: Efficient Convolutional Neural Networks for Mobile Vision Applications", 2017
(arXiv:1704.04861), table 1.  A *width multiplier* scales every layer's channels, a *resolution multiplier* the input.
"""

from collections import OrderedDict
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from .network import NetworkError

if TYPE_CHECKING:
    import torch  # pyright: ignore[reportMissingImports]

__all__ = ["CIFAR_BLOCKS", "IMAGENET_BLOCKS", "LayerSpec", "MobileNet"]

IMAGENET_BLOCKS = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *((512, 1),) * 5, (1024, 2), (1024, 1))
"""(output channels at width 1, stride) of each depthwise-separable block of the paper's table 1.

The table gives the last block stride 2; its output size there shows that it is 1."""

CIFAR_BLOCKS = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), (512, 1), (512, 1))
"""The same body for pictures of about 32 x 32 pixels: with a stem of stride 1, three halvings in all."""


@dataclass(frozen=True)
class LayerSpec:
    """One layer's shape. ``size`` and ``stride`` are of both dimensions; ``groups`` is 1 or, of a depthwise layer,
    the number of channels."""

    name: str
    kind: Literal["convolution", "depthwise", "pointwise", "dense"]
    kernel: int
    stride: int
    in_channels: int
    out_channels: int
    in_size: int
    out_size: int

    @property
    def groups(self) -> int:
        return self.in_channels if self.kind == "depthwise" else 1

    @property
    def weights(self) -> int:
        """Number of weights, without bias and batch norm."""
        return self.kernel**2 * self.in_channels * self.out_channels // self.groups

    @property
    def macs(self) -> int:
        """Multiply-adds a frame, padding included, as the paper counts them."""
        return self.out_size**2 * self.weights


@dataclass(frozen=True)
class MobileNet:
    """One member of the family.

    Parameters
    ----------
    alpha
        Width multiplier: a layer of n channels gets ``int(alpha * n)``, at least 1.
    resolution
        Height and width of the input in pixels (the paper's resolution multiplier times 224).
    classes, channels
        Outputs of the classifier; channels of the input.
    stem_channels, stem_stride, blocks
        First convolution and (channels, stride) of each block, at width 1; the paper's by default.
    separable
        False: every block is one full 3x3 convolution instead (the paper's table 4).

    Raises
    ------
    NetworkError
        A parameter is out of range.
    """

    alpha: float = 1.0
    resolution: int = 224
    classes: int = 1000
    channels: int = 3
    stem_channels: int = 32
    stem_stride: int = 2
    blocks: tuple[tuple[int, int], ...] = IMAGENET_BLOCKS
    separable: bool = True

    def __post_init__(self):
        if not 0 < self.alpha <= 16:
            raise NetworkError(f"the width multiplier must be above 0 and at most 16, not {self.alpha}")
        for name in ("resolution", "classes", "channels", "stem_channels", "stem_stride"):
            if getattr(self, name) < 1:
                raise NetworkError(f"{name} must be at least 1, not {getattr(self, name)}")
        if any(channels < 1 or stride not in (1, 2) for channels, stride in self.blocks):
            raise NetworkError("every block is (channels, stride): at least 1 channel, stride 1 or 2")

    @property
    def name(self) -> str:
        """As the paper writes it: ``mobilenet_v1_0.50_160``."""
        return f"mobilenet_v1_{self.alpha:.2f}_{self.resolution}"

    @cached_property
    def layers(self) -> tuple[LayerSpec, ...]:
        """First to last; the average pool before the classifier has no weights and is not listed."""
        layers: list[LayerSpec] = []
        size, channels = self.resolution, self.channels

        def append(name, kind, kernel, stride, out):
            nonlocal size, channels
            after = -(-size // stride)
            layers.append(LayerSpec(name, kind, kernel, stride, channels, out, size, after))
            size, channels = after, out

        append("stem", "convolution", 3, self.stem_stride, self.width(self.stem_channels))
        for number, (width, stride) in enumerate(self.blocks, start=1):
            if self.separable:
                append(f"block{number}_depthwise", "depthwise", 3, stride, channels)
                append(f"block{number}_pointwise", "pointwise", 1, 1, self.width(width))
            else:
                append(f"block{number}", "convolution", 3, stride, self.width(width))
        size = 1
        append("classifier", "dense", 1, 1, self.classes)
        return tuple(layers)

    def width(self, channels: int) -> int:
        """Channels of a layer that has ``channels`` at width 1."""
        return max(1, int(self.alpha * channels))

    @property
    def macs(self) -> int:
        """Multiply-adds a frame."""
        return sum(layer.macs for layer in self.layers)

    @property
    def parameters(self) -> int:
        """Trained numbers: weights, two of batch norm for each channel of a convolution, the classifier's biases."""
        return sum(layer.weights + layer.out_channels * (1 if layer.kind == "dense" else 2) for layer in self.layers)

    def torch(self) -> "torch.nn.Sequential":
        """A freshly initialised ``torch.nn.Sequential``: float32 (frames, channels, height, width) to logits
        (frames, classes).  Batch norm and ReLU follow each convolution; 3x3 windows are padded by one on each side.

        Raises
        ------
        NetworkError
            torch is not installed.
        """
        try:
            from torch import nn  # pyright: ignore[reportMissingImports]
        except ImportError:
            raise NetworkError("training needs PyTorch: pip install torch") from None
        modules: OrderedDict[str, nn.Module] = OrderedDict()
        for layer in self.layers:
            if layer.kind == "dense":
                modules["pool"] = nn.AdaptiveAvgPool2d(1)
                modules["flatten"] = nn.Flatten()
                modules[layer.name] = nn.Linear(layer.in_channels, layer.out_channels)
                continue
            modules[layer.name] = nn.Conv2d(layer.in_channels, layer.out_channels, layer.kernel, layer.stride,
                                            layer.kernel // 2, groups=layer.groups, bias=False)
            modules[f"{layer.name}_norm"] = nn.BatchNorm2d(layer.out_channels)
            modules[f"{layer.name}_relu"] = nn.ReLU(inplace=True)
        return nn.Sequential(modules)
