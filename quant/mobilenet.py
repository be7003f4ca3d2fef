# SPDX-License-Identifier: Apache-2.0
"""The MobileNetV1 family: layers, counts, a network to train, and random ones to try tools on.

Howard et al., "MobileNets: Efficient Convolutional Neural Networks for Mobile Vision Applications", 2017
(arXiv:1704.04861), table 1.  A *width multiplier* scales every layer's channels, a *resolution multiplier* the input.
"""

from collections import OrderedDict
from dataclasses import dataclass, fields
from functools import cached_property
from math import inf, prod, sqrt
from typing import TYPE_CHECKING, Literal

import numpy as np
from tepal.quant.arithmetic import quantize_multiplier
from tepal.quant.errors import NetworkError
from tepal.quant.float_network import FloatNetwork
from tepal.quant.layer import FloatLayer, Geometry, Layer, Padding, Shape
from tepal.quant.network import Network
from tepal.quant.ops.average_pool import Average, AveragePool, FloatAveragePool
from tepal.quant.ops.convolution import FloatConvolution
from tepal.quant.ops.depthwise import FloatDepthwise
from tepal.quant.rescale import Requantise
from tepal.quant.weighted import FloatWeighted

if TYPE_CHECKING:
    import torch  # pyright: ignore[reportMissingImports]

__all__ = ["CIFAR_BLOCKS", "IMAGENET_BLOCKS", "LayerSpec", "MobileNet"]

IMAGENET_BLOCKS = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *((512, 1),) * 5, (1024, 2), (1024, 1))
"""(output channels at width 1, stride) of each depthwise-separable block of the paper's table 1.

The table gives the last block stride 2; its output size there shows that it is 1."""

CIFAR_BLOCKS = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), (512, 1), (512, 1))
"""The same body for pictures of about 32 x 32 pixels: with a stem of stride 1, three halvings in all."""


_LIMITS = {"resolution": 4096, "classes": 1 << 16, "channels": 4096, "stem_channels": 4096, "stem_stride": 4096}
"""Largest values of a MobileNet's parameters: beyond them is a typing error, or what no memory holds."""

_INPUT_SCALE, _ACTIVATION_SCALE = 3 / 255, 6 / 255
"""One step of a random integer network's image, and of every activation: both are about one in the mean square."""

_BIAS_DEVIATION = 0.1
"""Of random biases; without any, a network of few channels may be stuck at zero."""


@dataclass(frozen=True)
class LayerSpec:
    """One layer's shape. ``kernel``, ``stride`` and the sizes are of both dimensions; the average pool's window
    is its whole input."""

    name: str
    kind: Literal["convolution", "depthwise", "pointwise", "pool", "dense"]
    kernel: int
    stride: int
    in_channels: int
    out_channels: int
    in_size: int
    out_size: int

    @property
    def groups(self) -> int:
        """1 or, of a layer that takes each channel by itself, their number."""
        return self.in_channels if self.kind in ("depthwise", "pool") else 1

    @property
    def weight_shape(self) -> tuple[int, ...]:
        """Shape of the weights as :class:`~.ops.convolution.Convolution` and :class:`~.ops.depthwise.Depthwise` hold
        them; a pool has none."""
        window = (self.kernel, self.kernel)
        match self.kind:
            case "pool":
                return (0,)
            case "depthwise":
                return (*window, self.in_channels)
        return (self.out_channels, *window, self.in_channels)

    @property
    def weights(self) -> int:
        """Number of weights, without bias and batch norm."""
        return prod(self.weight_shape)

    @property
    def macs(self) -> int:
        """Multiply-adds a frame, padding included, as the paper counts them."""
        return self.out_size**2 * self.weights

    @property
    def padding(self) -> Padding:
        """One on each side of a 3x3 layer's input, as in PyTorch (TensorFlow's SAME differs), but only where a
        window reaches it: with stride 2 on an even size none does at the bottom and on the right."""
        before = 1 if self.kernel == 3 and self.kind != "pool" else 0
        after = max(0, (self.out_size - 1) * self.stride + self.kernel - before - self.in_size)
        return Padding(before, after, before, after)

    @property
    def input_shape(self) -> Shape:
        return self.in_size, self.in_size, self.in_channels

    @property
    def output_shape(self) -> Shape:
        return self.out_size, self.out_size, self.out_channels


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
        for name, most in _LIMITS.items():
            if not 1 <= getattr(self, name) <= most:
                raise NetworkError(f"{name} must be 1 to {most}, not {getattr(self, name)}")
        if any(channels < 1 or stride not in (1, 2) for channels, stride in self.blocks):
            raise NetworkError("every block is (channels, stride): at least 1 channel, stride 1 or 2")

    @property
    def name(self) -> str:
        """As the paper writes it: ``mobilenet_v1_0.50_160``."""
        return f"mobilenet_v1_{self.alpha:.2f}_{self.resolution}"

    @cached_property
    def layers(self) -> tuple[LayerSpec, ...]:
        """First to last."""
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
        append("pool", "pool", size, size, channels)
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
    def weights(self) -> int:
        """Weights alone: what the paper counts as parameters."""
        return sum(layer.weights for layer in self.layers)

    @property
    def parameters(self) -> int:
        """Trained numbers: weights, two of batch norm for each channel of a convolution, the classifier's biases."""
        others = {"pool": 0, "dense": 1}
        return self.weights + sum(others.get(layer.kind, 2) * layer.out_channels for layer in self.layers)

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
            match layer.kind:
                case "pool":
                    modules["pool"] = nn.AdaptiveAvgPool2d(1)
                    modules["flatten"] = nn.Flatten()
                case "dense":
                    modules[layer.name] = nn.Linear(layer.in_channels, layer.out_channels)
                case _:
                    modules[layer.name] = nn.Conv2d(layer.in_channels, layer.out_channels, layer.kernel, layer.stride,
                                                    layer.padding.top, groups=layer.groups, bias=False)
                    modules[f"{layer.name}_norm"] = nn.BatchNorm2d(layer.out_channels)
                    modules[f"{layer.name}_relu"] = nn.ReLU(inplace=True)
        return nn.Sequential(modules)

    def float_network(self, seed: int = 0) -> FloatNetwork:
        """Random weights, for trying the quantiser: He's initialisation (arXiv:1502.01852), so that images of mean
        square one stay about so through every layer; batch norm thought folded.  One ``seed``, one network."""
        rng = np.random.default_rng(seed)
        return FloatNetwork(self.name, tuple(_random_layer(rng, *item) for item in enumerate(self.layers)))

    def network(self, seed: int = 0) -> Network:
        """Random weights, for counting cycles and trying tools: those of :meth:`float_network`, rounded to int8
        channel by channel.  No activation is measured: all have one scale, the image another."""
        layers: list[Layer] = []
        scale, zero_point = _INPUT_SCALE, 0
        for layer in self.float_network(seed).layers:
            layers.append(_integer_layer(layer, scale, zero_point))
            scale, zero_point = layers[-1].output_scale, layers[-1].output_zero_point
        return Network(self.name, tuple(layers), _INPUT_SCALE, 0)


def _random_layer(rng: np.random.Generator, index: int, spec: LayerSpec) -> FloatLayer:
    geometry = {"name": spec.name, "index": index, "input_shape": spec.input_shape, "output_shape": spec.output_shape,
                "stride": (spec.stride, spec.stride), "padding": spec.padding}
    if spec.kind == "pool":
        return FloatAveragePool(**geometry, window=(spec.kernel, spec.kernel))
    # Padding adds nothing to a sum, and ReLU halves the mean square.
    on_map = 1 - (spec.padding.top + spec.padding.bottom) / (spec.out_size * spec.kernel)
    gain, minimum = (1, -inf) if spec.kind == "dense" else (2, 0.0)
    deviation = np.float32(sqrt(gain * spec.out_channels / spec.weights) / on_map)
    weights = rng.standard_normal(spec.weight_shape, np.float32) * deviation
    bias = rng.standard_normal(spec.out_channels, np.float32) * np.float32(_BIAS_DEVIATION)
    kind = FloatDepthwise if spec.kind == "depthwise" else FloatConvolution
    return kind(**geometry, weights=weights, bias=bias, minimum=minimum)


def _integer_layer(layer: FloatLayer, scale: float, zero_point: int) -> Layer:
    """``layer`` in integers; ``scale`` and ``zero_point`` are its input's."""
    common = {field.name: getattr(layer, field.name) for field in fields(Geometry)}
    common |= {"input_zero_point": zero_point, "output_scale": _ACTIVATION_SCALE}
    if not isinstance(layer, FloatWeighted):
        return AveragePool(**common, window=layer.kernel, bias=np.zeros(layer.input_shape[2]),
                           requantise=Average(prod(layer.kernel)))
    steps = np.abs(layer.channel_first(layer.weights)).reshape(len(layer.bias), -1).max(axis=1) / np.float32(127)
    sum_steps = scale * steps.astype(np.float64)
    requantise = Requantise(*quantize_multiplier(sum_steps / _ACTIVATION_SCALE), 0 if layer.minimum == -inf else -128)
    return layer.integer(**common, weights=np.rint(layer.weights / layer.by_channel(steps)), weight_scales=steps,
                         bias=np.rint(layer.bias / sum_steps), requantise=requantise)
