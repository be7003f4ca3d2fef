# SPDX-License-Identifier: Apache-2.0
"""What all architectures share: counts, and networks of random or trained weights."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from tepal.quant.answers import Answer
from tepal.quant.errors import NetworkError
from tepal.quant.float_network import FloatNetwork
from tepal.quant.network import Network

from .layers import Layers, LayerSpec
from .random_weights import random_float_network, random_network

if TYPE_CHECKING:
    import torch  # pyright: ignore[reportMissingImports]

    from .torch_module import LayerModules

__all__ = ["Architecture", "Classifier"]

_LIMITS = {"resolution": 4096, "classes": 1 << 16, "channels": 4096, "stem_channels": 4096, "stem_stride": 4096,
           "last_channels": 4096}
"""Largest values of an architecture's parameters: beyond them is a typing error, or what no memory holds."""


class Architecture:
    """Layers whose shapes follow from a few numbers; a frozen dataclass that derives from it has these."""

    if TYPE_CHECKING:
        @property
        def name(self) -> str:
            """With the numbers in it."""
            ...

    @cached_property
    def layers(self) -> tuple[LayerSpec, ...]:
        """In the order of execution."""
        raise NotImplementedError

    @property
    def outputs(self) -> tuple[int, ...]:
        """As those of :class:`~tepal.quant.graph.Graph`."""
        return ()

    @property
    def answers(self) -> tuple[Answer, ...]:
        """As those of a :class:`~tepal.quant.float_network.FloatNetwork`."""
        return ()

    @property
    def macs(self) -> int:
        """Multiply-adds a frame."""
        return sum(layer.macs for layer in self.layers)

    @property
    def weights(self) -> int:
        """Weights alone: what the papers count as parameters."""
        return sum(layer.weights for layer in self.layers)

    @property
    def parameters(self) -> int:
        """Trained numbers: weights, two of batch norm for each channel of a convolution, the other layers' biases."""
        return sum(layer.parameters for layer in self.layers)

    def torch(self) -> LayerModules:
        """A freshly initialised module: float32 (frames, channels, height, width) to logits (frames, classes), or to
        a list of the outputs (frames, channels, height, width) where there are several.

        Batch norm and activation follow each convolution; windows are padded by half on each side.  Layers are called
        as in :attr:`layers`, their batch norms with ``_norm`` behind it.

        Raises
        ------
        NetworkError
            torch is not installed.
        """
        try:
            from .torch_module import LayerModules
        except ImportError:
            raise NetworkError("training needs PyTorch: pip install torch") from None
        return LayerModules(self.layers, self.outputs)

    def trained(self, module: torch.nn.Module) -> FloatNetwork:
        """What ``module``, made by :meth:`torch`, computes in evaluation: its batch norms are folded into weights and
        biases."""
        from .torch_module import float_layers

        return FloatNetwork(self.name, float_layers(self.layers, module), channels_first=True, answers=self.answers,
                            outputs=self.outputs)

    def float_network(self, seed: int = 0) -> FloatNetwork:
        """Random weights, for trying the quantiser: He's initialisation (arXiv:1502.01852), so that images of mean
        square one stay about so through every layer; batch norm thought folded.  One ``seed``, one network."""
        return replace(random_float_network(self.name, self.layers, self.outputs, seed), answers=self.answers)

    def network(self, seed: int = 0) -> Network:
        """Random weights, for counting cycles and trying tools: those of :meth:`float_network`, rounded to int8
        channel by channel.  No activation is measured: scales follow from the mean squares that are expected."""
        return random_network(self.name, self.layers, self.outputs, seed).answering(self.answers)


@dataclass(frozen=True)
class Classifier(Architecture):
    """A network that tells classes apart.

    Parameters
    ----------
    alpha
        Width multiplier.
    resolution
        Height and width of the input in pixels.
    classes, channels
        Outputs of the classifier; channels of the input.

    Raises
    ------
    NetworkError
        A parameter is out of range.
    """

    alpha: float = 1.0
    resolution: int = 224
    classes: int = 1000
    channels: int = 3

    def __post_init__(self):
        if not 0 < self.alpha <= 16:
            raise NetworkError(f"the width multiplier must be above 0 and at most 16, not {self.alpha}")
        for name, most in _LIMITS.items():
            if not 1 <= getattr(self, name, 1) <= most:
                raise NetworkError(f"{name} must be 1 to {most}, not {getattr(self, name)}")

    @cached_property
    def layers(self) -> tuple[LayerSpec, ...]:
        layers = Layers(self.resolution, self.channels)
        self.append_features(layers)
        layers.classifier(self.classes)
        return tuple(layers.specs)

    def append_features(self, layers: Layers) -> None:
        """Append all layers before the classifier's pool."""
        raise NotImplementedError

    def width(self, channels: int) -> int:
        """Channels of a layer that has ``channels`` at width 1."""
        return max(1, int(self.alpha * channels))
