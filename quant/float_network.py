"""The trained network, before it is quantised: a chain of float layers in NHWC order.

Importers fold batch norm into weights and bias and name what they can't take; the quantiser turns a
:class:`FloatNetwork` into a :class:`~.network.Network`.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from math import inf

import numpy as np

from .network import Geometry, NetworkError, Shape, arrange_images, shortened
from .preprocessing import Preprocessing
from .sums import chunk_frames, window_sums

__all__ = ["FloatAveragePool", "FloatConvolution", "FloatDepthwise", "FloatLayer", "FloatNetwork", "Statistics",
           "sums"]


def _freeze(layer, *names: str) -> None:
    for name in names:
        array = np.array(getattr(layer, name), np.float32)
        if not np.isfinite(array).all():
            count = int((~np.isfinite(array)).sum())
            raise NetworkError(f"layer {layer.index} ({shortened(layer.name)}) has {count} {name} that are NaN or "
                               "infinite: the training diverged, or the file is damaged")
        array.setflags(write=False)
        object.__setattr__(layer, name, array)


@dataclass(frozen=True, eq=False, kw_only=True)
class FloatLayer(Geometry):
    """What float layers share: after the sum comes a clamp to ``minimum`` … ``maximum`` (ReLU is 0 … inf)."""

    minimum: float = -inf
    maximum: float = inf

    def activate(self, total: np.ndarray) -> np.ndarray:
        """The fused activation."""
        return total if (self.minimum, self.maximum) == (-inf, inf) else np.clip(total, self.minimum, self.maximum)


@dataclass(frozen=True, eq=False)
class Statistics:
    """Mean and standard deviation of each channel, float64 (channels,)."""

    mean: np.ndarray
    deviation: np.ndarray


@dataclass(frozen=True, eq=False, kw_only=True)
class FloatConvolution(FloatLayer):
    """A dense convolution or, with a kernel as large as its input, a fully connected layer.

    ``weights`` float32 (out channels, kernel height, kernel width, in channels); ``bias`` float32 (out channels,);
    ``trained`` what the layer's sums (see :func:`sums`) were in training, where the batch norm that was folded into it
    tells."""

    weights: np.ndarray
    bias: np.ndarray
    trained: Statistics | None = None

    def __post_init__(self):
        _freeze(self, "weights", "bias")

    @property
    def kernel(self):
        return self.weights.shape[1:3]

    @property
    def macs(self):
        return self.pixels * self.weights.size


@dataclass(frozen=True, eq=False, kw_only=True)
class FloatDepthwise(FloatLayer):
    """One filter per channel. ``weights`` float32 (kernel height, kernel width, channels); ``bias`` float32
    (channels,); ``trained`` as in :class:`FloatConvolution`."""

    weights: np.ndarray
    bias: np.ndarray
    trained: Statistics | None = None

    def __post_init__(self):
        _freeze(self, "weights", "bias")

    @property
    def kernel(self):
        return self.weights.shape[:2]

    @property
    def macs(self):
        return self.pixels * self.weights.size


@dataclass(frozen=True, eq=False, kw_only=True)
class FloatAveragePool(FloatLayer):
    """Mean over windows that lie wholly inside the input."""

    window: tuple[int, int]

    @property
    def kernel(self):
        return self.window

    @property
    def macs(self):
        return 0


def sums(layer: FloatLayer, x: np.ndarray) -> np.ndarray:
    """The layer's result before its activation; float32 (frames, height, width, channels) in and out."""
    if isinstance(layer, FloatConvolution | FloatDepthwise):
        # Weights that overflow give infinite values, which the quantiser looks for.
        with np.errstate(over="ignore", invalid="ignore"):
            return window_sums(layer, x, layer.weights, 0) + layer.bias
    return window_sums(layer, x, None, 0) / np.float32(layer.kernel[0] * layer.kernel[1])


@dataclass(frozen=True, eq=False)
class FloatNetwork:
    """An immutable chain of float layers.

    ``softmax`` says that a softmax with the factor ``beta`` follows the logits.  ``channels_first`` says that the
    model file takes its images as (frames, channels, height, width); in here everything is NHWC.  ``preprocessing``
    says what the pixels of a picture mean, where that is known."""

    name: str
    layers: tuple[FloatLayer, ...]
    softmax: bool = False
    beta: float = 1.0
    channels_first: bool = False
    preprocessing: Preprocessing | None = None

    def __post_init__(self):
        if not self.layers:
            raise NetworkError(f"{self.name}: the network has no layer to compute")
        for before, after in zip(self.layers, self.layers[1:], strict=False):
            if before.output_shape != after.input_shape:
                raise NetworkError(f"{self.name}: layer {after.index} ({shortened(after.name)}) takes "
                                   f"{after.input_shape} but the layer before it gives {before.output_shape}")
        if self.preprocessing:
            self.preprocessing.check(self.input_shape[2])

    @property
    def input_shape(self) -> Shape:
        return self.layers[0].input_shape

    @property
    def output_shape(self) -> Shape:
        return self.layers[-1].output_shape

    @property
    def macs(self) -> int:
        """Multiply-accumulates a frame."""
        return sum(layer.macs for layer in self.layers)

    @property
    def parameters(self) -> int:
        """Number of weights."""
        return sum(layer.weights.size for layer in self.layers if isinstance(layer, FloatConvolution | FloatDepthwise))

    def images(self, images: np.ndarray, what: str = "the images") -> np.ndarray:
        """float32 (frames, height, width, channels) of ``images`` in that order or (frames, channels, height, width).

        They are numbers of any type, as the model takes them; uint8 are pixels where the network has a
        ``preprocessing``, which makes real numbers of them.

        Raises
        ------
        NetworkError
            See :func:`~.network.arrange_images`; or a value is too large for float32.
        """
        images = arrange_images(images, self.input_shape, what, channels_first=self.channels_first)
        if images.dtype == np.uint8 and self.preprocessing:
            return self.preprocessing(images)
        if np.abs(images).max() > np.finfo(np.float32).max:
            raise NetworkError(f"{what} hold values too large for float32")
        return images.astype(np.float32, copy=False)

    def chunks(self, frames: int) -> Iterator[slice]:
        """Slices of ``frames`` that bound the memory of a run."""
        step = chunk_frames(self.layers)
        return (slice(start, min(start + step, frames)) for start in range(0, frames, step))

    def run(self, images: np.ndarray) -> np.ndarray:
        """float32 logits (frames, outputs) of float32 ``images`` (frames, height, width, channels)."""
        logits = [self.trace(images[chunk], lambda number, x: None) for chunk in self.chunks(len(images))]
        return np.concatenate(logits).reshape(len(images), -1)

    def trace(self, x: np.ndarray, visit: Callable[[int, np.ndarray], None]) -> np.ndarray:
        """Run one chunk of images; ``visit(number, output)`` sees what each layer gives.  Returns the last output."""
        for number, layer in enumerate(self.layers):
            x = layer.activate(sums(layer, x))
            visit(number, x)
        return x

    def with_layers(self, layers: Iterable[FloatLayer]) -> "FloatNetwork":
        """The same network with other layers."""
        return replace(self, layers=tuple(layers))
