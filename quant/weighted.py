# SPDX-License-Identifier: Apache-2.0
"""What dense and depthwise convolutions share: windows times trained weights, plus a bias for each output channel."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from .arithmetic import accumulator_range
from .errors import NetworkError
from .layer import FloatLayer, Geometry, Layer, Meaning, Place, frozen, shortened
from .rescale import Requantise, check_accumulator, quantised_clamp, requantise_of_scales
from .windows import exact

if TYPE_CHECKING:
    from typing import Self

__all__ = ["Filters", "FloatWeighted", "Weighted"]

FINEST = 2.0**-16
"""Smallest step of a sum, in steps of the layer's output.  A channel of all but vanishing weights would otherwise get
a scale so small that its bias alone fills the accumulator, for digits that no output shows."""


class Filters(Geometry):
    """Trained weights, of the integer layer and of its float twin; the input channel is their last dimension."""

    channel_axis: ClassVar[int]
    """Dimension of the output channel."""

    if TYPE_CHECKING:
        weights: np.ndarray

    @property
    def factors(self) -> np.ndarray:
        """What the values of a window are multiplied by, in the shape of the weights."""
        return self.weights

    @staticmethod
    def kernel_of(weights: np.ndarray) -> tuple[int, int]:
        """Height and width of the window."""
        raise NotImplementedError

    @property
    def kernel(self) -> tuple[int, int]:
        return self.kernel_of(self.weights)

    @property
    def parameters(self) -> int:
        return self.weights.size

    def channel_first(self, weights: np.ndarray) -> np.ndarray:
        """View of ``weights`` as (out channels, weights of one channel in any shape)."""
        return np.moveaxis(weights, self.channel_axis, 0)

    def by_channel(self, values) -> np.ndarray:
        """``values``, one for each output channel, in the dimensions of the weights."""
        shape = [1] * self.weights.ndim
        shape[self.channel_axis] = -1
        return np.asarray(values).reshape(shape)

    def filtered(self, x: np.ndarray, fill) -> np.ndarray:
        """Sums of products of the weights and windows of ``x`` (frames, height, width, channels), which is ``fill``
        beyond its edges; (frames, *output_shape) in the type of ``x``."""
        raise NotImplementedError


@dataclass(frozen=True, eq=False, kw_only=True)
class Weighted(Filters, Layer):
    """An integer layer with weights.

    ``weights`` int8; ``bias`` int32 (out channels,); ``weight_scales`` float32 (out channels,), what one step of each
    output channel's weights means; ``weight_zero_point`` the value of a weight that means 0, of all of them, or int16
    (out channels,): a product is ``(weight - weight_zero_point) * (x - input_zero_point)``."""

    weights: np.ndarray
    bias: np.ndarray
    requantise: Requantise
    weight_scales: np.ndarray | float = 1.0
    weight_zero_point: int | np.ndarray = 0

    def __post_init__(self):
        if isinstance(self.weight_zero_point, np.ndarray):
            object.__setattr__(self, "weight_zero_point", frozen(self.weight_zero_point, np.int16))
        object.__setattr__(self, "weights", frozen(self.weights, np.int8))
        object.__setattr__(self, "bias", frozen(self.bias, np.int32))
        scales = np.broadcast_to(np.asarray(self.weight_scales, np.float32), self.weights.shape[self.channel_axis])
        object.__setattr__(self, "weight_scales", frozen(scales, np.float32))

    @classmethod
    def of_scales(cls, label: str, geometry: dict[str, Any], weights: np.ndarray, weight_scales: np.ndarray,
                  bias: np.ndarray, source: Meaning, result: Meaning, minimum: float, maximum: float,
                  weight_zero_point: int | np.ndarray = 0) -> "Self":
        """The layer whose multipliers follow from its scales.

        Parameters
        ----------
        label
            How a message names the layer.
        geometry
            Fields of :class:`~.layer.Geometry`.
        weights, weight_scales, weight_zero_point, bias
            As above; the bias counts in steps of the source's scale times the weights'.
        source, result
            What the layer's int8 inputs and outputs mean.
        minimum, maximum
            The activation's real bounds, or infinite.

        Raises
        ------
        NetworkError
            An image can make the accumulator of a channel overflow.
        """
        requantise = requantise_of_scales(source[0], weight_scales, *result,
                                          *quantised_clamp(minimum, maximum, *result))
        layer = cls(**geometry, input_zero_point=source[1], output_scale=result[0], weights=weights, bias=bias,
                    requantise=requantise, weight_scales=weight_scales, weight_zero_point=weight_zero_point)
        check_accumulator(label, layer.channel_first(layer.factors), bias, source[1], requantise)
        return layer

    @property
    def factors(self) -> np.ndarray:
        """The weights less their zero point: int8, or int16 of nine bits where that isn't 0."""
        if not np.any(self.weight_zero_point):
            return self.weights
        return self.weights - self.by_channel(np.broadcast_to(np.int16(self.weight_zero_point), self.bias.shape))

    @property
    def real_weights(self) -> np.ndarray:
        """float32, what the weights mean."""
        return self.factors * self.by_channel(self.weight_scales)

    @property
    def output_zero_point(self) -> int:
        return self.requantise.zero_point

    def accumulate(self, *maps: np.ndarray) -> np.ndarray:
        (x,) = maps
        each = self.channel_first(self.factors).reshape(len(self.bias), -1)
        offset = self.bias - self.input_zero_point * each.sum(axis=1, dtype=np.int64)
        # A factor of nine bits is worth two of eight.
        terms = each.shape[1] * (1 if each.dtype == np.int8 else 2)
        return self.filtered(exact(x, terms), self.input_zero_point).astype(np.int64) + offset

    def sum_range(self, *constants: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        (constant,) = constants
        weights = np.where(self.foldable(constant), 0, self.factors)
        return accumulator_range(self.channel_first(weights), self.bias + self._offset(constant),
                                 self.input_zero_point)

    def _offset(self, constant: np.ndarray) -> np.ndarray:
        """What the foldable constant inputs add to each sum, int64 (out channels,)."""
        value = np.where(self.foldable(constant), np.nan_to_num(constant) - self.input_zero_point, 0).astype(np.int64)
        return self.channel_first(self.factors * value).reshape(len(self.bias), -1).sum(axis=1)

    def rebuilt(self, inputs: Sequence[np.ndarray], keep: np.ndarray, *constants: np.ndarray) -> "Self":
        (constant,) = constants
        (kept,) = inputs
        bias = (self.bias + self._offset(np.where(kept, np.nan, constant)))[keep]
        if np.abs(bias).max() >= 1 << 31:
            raise OverflowError
        return replace(self, **self.kept_shapes(kept, keep), weights=self.kept_weights(kept, keep), bias=bias,
                       requantise=self.requantise.select(keep), weight_scales=np.asarray(self.weight_scales)[keep],
                       weight_zero_point=self._zero_points(keep))

    def _zero_points(self, keep) -> int | np.ndarray:
        """``weight_zero_point`` of the output channels ``keep``, an index of their array."""
        given = self.weight_zero_point
        return given[keep] if isinstance(given, np.ndarray) else given

    def kept_weights(self, inputs: np.ndarray, keep: np.ndarray) -> np.ndarray:
        """The weights of the input channels ``inputs`` and the output channels ``keep``."""
        raise NotImplementedError

    def resized(self, place: Place) -> "Self":
        outputs = place.output_shape[2]
        return replace(self, **place.geometry, weights=self.first_weights(place), bias=self.bias[:outputs],
                       weight_scales=np.asarray(self.weight_scales)[:outputs],
                       weight_zero_point=self._zero_points(slice(outputs)),
                       requantise=self.requantise.first(self.bias.size, outputs))

    def first_weights(self, place: Place) -> np.ndarray:
        """As many of the weights as the layer has at ``place``."""
        raise NotImplementedError

    def sum_steps(self, *input_scales: float) -> np.ndarray:
        (input_scale,) = input_scales
        if np.any(self.weight_zero_point):
            raise self.unwritable("its weights have a zero point other than 0")
        return input_scale * np.asarray(self.weight_scales, np.float64)

    def write_onnx(self, graph, values: Sequence[str], input_scales: Sequence[float], result: str, output: str) -> str:
        (value,) = values
        scales, around = np.asarray(self.weight_scales), self.padding
        weights, attributes = self.onnx_weights()
        inputs = [value, graph.dequantised(f"{result}/weights", weights, scales, np.int8),
                  graph.dequantised(f"{result}/bias", self.bias, self.sum_steps(*input_scales), np.int32)]
        return graph.node("Conv", inputs, output, kernel_shape=self.kernel, strides=self.stride,
                          pads=[around.top, around.left, around.bottom, around.right], **attributes)

    def onnx_weights(self) -> tuple[np.ndarray, dict[str, Any]]:
        """The weights in the order of ONNX's Conv, and the attributes of that node that belong to them."""
        raise NotImplementedError


@dataclass(frozen=True, eq=False, kw_only=True)
class FloatWeighted(Filters, FloatLayer):
    """A float layer with weights: float32 ``weights``, and ``bias`` (out channels,)."""

    takes_factors = True
    integer: ClassVar[type[Weighted]]
    """Its integer twin."""

    weights: np.ndarray
    bias: np.ndarray

    def __post_init__(self):
        for name in ("weights", "bias"):
            array = frozen(getattr(self, name), np.float32)
            if not np.isfinite(array).all():
                count = int((~np.isfinite(array)).sum())
                raise NetworkError(f"layer {self.index} ({shortened(self.name)}) has {count} {name} that are NaN or "
                                   "infinite: the training diverged, or the file is damaged")
            object.__setattr__(self, name, array)

    def sums(self, *maps: np.ndarray) -> np.ndarray:
        (x,) = maps
        # Weights that overflow give infinite values, which the quantiser looks for.
        with np.errstate(over="ignore", invalid="ignore"):
            return self.filtered(x, 0) + self.bias

    @property
    def typical_bias(self) -> float:
        return float(np.sqrt(np.mean(self.bias.astype(np.float64) ** 2)))

    def _codes(self, source: Meaning, result: Meaning) -> tuple[np.ndarray, np.ndarray]:
        """float32 scales (channels,) and int8 codes, -127 … 127, in the shape of the weights."""
        step = np.abs(self.channel_first(self.weights)).reshape(len(self.bias), -1).max(axis=1).astype(np.float64) / 127
        step = np.maximum(step, FINEST * result[0] / source[0]).astype(np.float32)
        codes = np.rint(self.weights / self.by_channel(step))
        return step, np.clip(codes, -127, 127).astype(np.int8)

    def quantised(self, number: int, result: Meaning, *sources: Meaning) -> Weighted:
        (source,) = sources
        step, codes = self._codes(source, result)
        # A bias beyond this drives the output to its end whatever the weights add.
        bias = np.clip(np.rint(self.bias / (source[0] * step.astype(np.float64))), -(1 << 30), 1 << 30)
        return self.integer.of_scales(f"layer {self.index} ({self.name})", self.geometry(number), codes, step, bias,
                                      source, result, self.minimum, self.maximum)

    def rounded(self, result: Meaning, *sources: Meaning) -> "Self":
        (source,) = sources
        step, codes = self._codes(source, result)
        return replace(self, weights=codes * self.by_channel(step))

    def rounded_as(self, layer: Layer) -> "Self":
        assert isinstance(layer, Weighted)
        return replace(self, weights=layer.real_weights)

    def corrected(self, error: np.ndarray) -> "Self":
        return replace(self, bias=self.bias + error)

    def divided(self, factor: np.ndarray) -> "Self":
        return replace(self, weights=self.weights / self.by_channel(factor), bias=self.bias / factor, trained=None,
                       maximum=inf)

    def multiplied(self, factor: np.ndarray) -> "Self":
        return replace(self, weights=self.weights * factor)
