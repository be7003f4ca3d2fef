"""Depthwise convolution: DEPTHWISE_CONV_2D of TensorFlow Lite; of ONNX it is a Conv with groups."""

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from tepal.quant.layer import Place
from tepal.quant.weighted import Filters, FloatWeighted, Weighted
from tepal.quant.windows import windows

__all__ = ["Depthwise", "FloatDepthwise"]


class _PerChannel(Filters):
    """Weights (kernel height, kernel width, channels)."""

    channel_axis = 2

    @property
    def kernel(self) -> tuple[int, int]:
        return self.weights.shape[:2]

    def filtered(self, x: np.ndarray, fill) -> np.ndarray:
        weights, taps = self.weights.astype(x.dtype, copy=False), windows(self, x, fill)
        total = np.zeros((len(x), *self.output_shape), x.dtype)
        for position in np.ndindex(*self.kernel):
            total += taps[..., *position] * weights[position]
        return total


@dataclass(frozen=True, eq=False, kw_only=True)
class Depthwise(_PerChannel, Weighted):
    """One filter per channel. ``weights`` int8 (kernel height, kernel width, channels); the rest as in
    :class:`~tepal.quant.weighted.Weighted`."""

    def kept_weights(self, inputs: np.ndarray, keep: np.ndarray) -> np.ndarray:
        return self.weights[..., keep]

    @staticmethod
    def parameters_at(place: Place) -> int:
        return prod(place.kernel) * place.output_shape[2]

    def first_weights(self, place: Place) -> np.ndarray:
        height, width = place.kernel
        return self.weights[:height, :width, :place.output_shape[2]]

    def onnx_weights(self) -> tuple[np.ndarray, dict[str, Any]]:
        # The groups are spelled out for these layers alone, which tells those of a single channel from dense ones.
        return self.weights.transpose(2, 0, 1)[:, None], {"group": len(self.bias)}


@dataclass(frozen=True, eq=False, kw_only=True)
class FloatDepthwise(_PerChannel, FloatWeighted):
    """One filter per channel. ``weights`` float32 (kernel height, kernel width, channels); ``bias`` float32
    (channels,)."""

    integer = Depthwise

    def balance(self, peak: np.ndarray) -> np.ndarray:
        # Its weights have a scale for each of these channels: it costs nothing to even them out wholly.
        return peak
