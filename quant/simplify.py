"""Exact simplification: channels that never change the answer are removed.

Trained networks hold channels whose value is the same for every image: all-zero weights, or sums so small
that rounding or the clamp leaves one value.  Such a constant is folded into the bias of the layer behind it
and the channel removed, with all that only it fed.  Where the layer behind it pads with another value than
the constant, its windows see one thing inside and another at the border; there the channel stays.
"""

from dataclasses import dataclass, replace

import numpy as np

from .arithmetic import accumulator_range
from .network import AveragePool, Convolution, Depthwise, Layer, Network, Requantise

__all__ = ["Simplification", "simplify"]


@dataclass(frozen=True)
class Simplification:
    """What :func:`simplify` did: channels and multiply-accumulates before and after."""

    network: Network
    channels: int
    removed: int
    macs_before: int

    def __str__(self) -> str:
        return (f"{self.removed:,} of {self.channels:,} channels never change the answer: "
                f"{self.network.macs:,} of {self.macs_before:,} multiply-accumulates are left")


def _foldable(layer: Layer, constant: np.ndarray) -> np.ndarray:
    """Which of the constant input channels ``layer`` sees as constant everywhere, borders included.

    ``constant`` float64 (channels,), NaN where a channel is not constant."""
    padding = layer.padding
    bare = not (padding.top or padding.bottom or padding.left or padding.right)
    return ~np.isnan(constant) & (bare | (constant == layer.input_zero_point))


def _offset(layer: Convolution | Depthwise, constant: np.ndarray) -> np.ndarray:
    """What the foldable constant inputs add to each sum, int64 (out channels,)."""
    value = np.where(_foldable(layer, constant), np.nan_to_num(constant) - layer.input_zero_point, 0).astype(np.int64)
    if isinstance(layer, Depthwise):
        return layer.weights.sum(axis=(0, 1), dtype=np.int64) * value
    return layer.weights.sum(axis=(1, 2), dtype=np.int64) @ value


def _constants(layer: Layer, constant: np.ndarray) -> np.ndarray:
    """Value of each output channel that is the same for every image, NaN for the others."""
    if isinstance(layer, AveragePool):
        return _pooled(layer, constant)
    assert isinstance(layer, Convolution | Depthwise)
    foldable = _foldable(layer, constant)
    if isinstance(layer, Depthwise):
        weights = np.where(foldable, 0, layer.weights).transpose(2, 0, 1)
    else:
        weights = np.where(foldable, 0, layer.weights)
    low, high = accumulator_range(weights, layer.bias + _offset(layer, constant), layer.input_zero_point)
    ends = layer.requantise(np.stack([low, high]))
    return np.where(ends[0] == ends[1], ends[0].astype(float), np.nan)


def _pooled(layer: AveragePool, constant: np.ndarray) -> np.ndarray:
    window = layer.window[0] * layer.window[1]
    total = np.nan_to_num(constant).astype(np.int64) * window + layer.bias
    return np.where(_foldable(layer, constant), layer.requantise(total[None])[0], np.nan)


def _needed(layer: Layer, keep: np.ndarray, constant: np.ndarray) -> np.ndarray:
    """Which input channels the kept output channels of ``layer`` depend on."""
    if isinstance(layer, Convolution):
        used = np.any(layer.weights[keep] != 0, axis=(0, 1, 2))
    elif isinstance(layer, Depthwise):
        used = keep & np.any(layer.weights != 0, axis=(0, 1))
    else:
        used = keep.copy()
    used &= ~_foldable(layer, constant)
    if isinstance(layer, Convolution):
        if not used.any():
            used[0] = True
        return used
    # Depthwise layers and pools have as many channels behind as in front.
    return used | keep


def _select(requantise, keep: np.ndarray):
    if not isinstance(requantise, Requantise):
        return requantise
    return replace(requantise, multiplier=requantise.multiplier[keep], shift=requantise.shift[keep])


def _rebuild(layer: Layer, inputs: np.ndarray, keep: np.ndarray, constant: np.ndarray) -> Layer:
    """``layer`` with the kept channels alone, and the constants of the dropped inputs in its bias."""
    shapes = {"input_shape": (*layer.input_shape[:2], int(inputs.sum())),
              "output_shape": (*layer.output_shape[:2], int(keep.sum()))}
    if isinstance(layer, AveragePool):
        return replace(layer, bias=layer.bias[keep], requantise=_select(layer.requantise, keep), **shapes)
    assert isinstance(layer, Convolution | Depthwise)
    dropped = np.where(inputs, np.nan, constant)
    bias = (layer.bias + _offset(layer, dropped))[keep]
    if np.abs(bias).max() >= 1 << 31:
        raise OverflowError
    weights = layer.weights[..., keep] if isinstance(layer, Depthwise) else layer.weights[keep][..., inputs]
    return replace(layer, weights=weights, bias=bias, requantise=_select(layer.requantise, keep),
                   weight_scales=np.asarray(layer.weight_scales)[keep], **shapes)


def simplify(network: Network) -> Simplification:
    """The same function of the image with fewer channels.

    Every kept channel's value is the same integer as before, on every image; the network's input and
    output keep their shapes.  A network whose folded biases would leave int32 is returned as it is."""
    layers = network.layers
    constants = [np.full(network.input_shape[2], np.nan)]
    for layer in layers:
        constants.append(_constants(layer, constants[-1]))
    keeps = [np.ones(layers[-1].output_shape[2], bool)]
    for number in range(len(layers) - 1, 0, -1):
        keeps.insert(0, _needed(layers[number], keeps[0], constants[number]))
    keeps.insert(0, np.ones(network.input_shape[2], bool))
    # Layers that keep their channels apart have as many as the image, up to the first that mixes them.
    for number, layer in enumerate(layers):
        if isinstance(layer, Convolution):
            break
        keeps[number + 1][:] = True
    channels = sum(len(keep) for keep in keeps[1:])
    try:
        rebuilt = tuple(_rebuild(layer, keeps[number], keeps[number + 1], constants[number])
                        for number, layer in enumerate(layers))
    except OverflowError:
        return Simplification(network, channels, 0, network.macs)
    return Simplification(replace(network, layers=rebuilt, original=network.original or network), channels,
                          channels - int(sum(keep.sum() for keep in keeps[1:])), network.macs)
