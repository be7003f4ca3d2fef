# SPDX-License-Identifier: Apache-2.0
"""What the layers of all operators have in common: where they lie in the network, and what is asked of each.

An operator's own file in :mod:`.ops` defines its integer layer (:class:`Layer`) and its float twin
(:class:`FloatLayer`); whoever works on networks asks the layers and never what kind they are.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from math import inf, prod
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np

from .errors import NetworkError

if TYPE_CHECKING:
    from typing import Self

__all__ = [
    "IMAGE",
    "LARGEST_MAP",
    "NO_PADDING",
    "Closing",
    "FloatLayer",
    "Geometry",
    "Layer",
    "Meaning",
    "OnnxGraph",
    "Padding",
    "Place",
    "Requantiser",
    "Shape",
    "Statistics",
    "frozen",
    "shortened",
]

LARGEST_MAP = 1 << 26
"""Values in one feature map, and weights of one layer; keeps a damaged file from asking for all memory."""

IMAGE = -1
"""Stands for the image where a number would stand for a layer."""

Shape = tuple[int, int, int]
"""Height, width, channels of one feature map (a vector is ``(1, 1, n)``)."""

Meaning = tuple[float, int]
"""Scale (a float32 number) and zero point of int8 values."""


def shortened(name: str) -> str:
    """A name in a message: some bear the names of all that was fused, and damaged files hold any."""
    return name if len(name) <= 60 else name[:60] + "…"


def frozen(array, dtype) -> np.ndarray:
    """A copy of ``array`` that can't be written to."""
    array = np.array(array, dtype=dtype)
    array.setflags(write=False)
    return array


@dataclass(frozen=True)
class Padding:
    """Rows and columns of the input's zero point around a feature map."""

    top: int = 0
    bottom: int = 0
    left: int = 0
    right: int = 0


NO_PADDING = Padding()


@dataclass(frozen=True)
class Place:
    """The shapes of a layer at another size of the network; ``others`` are those of the maps that it reads beside the
    first one."""

    input_shape: Shape
    output_shape: Shape
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: Padding
    others: tuple[Shape, ...] = ()

    @property
    def geometry(self) -> dict[str, Any]:
        """The fields of :class:`Geometry` that it gives."""
        return {"input_shape": self.input_shape, "output_shape": self.output_shape, "stride": self.stride,
                "padding": self.padding}


@dataclass(frozen=True, eq=False, kw_only=True)
class Geometry:
    """What float and integer layers share.

    ``name`` is the model's own name of the output tensor, ``index`` the operator's place in the model
    file, ``tensor`` the number of the output tensor there (-1 where it has none).

    ``inputs`` are the numbers of the network's layers that it reads, :data:`IMAGE` for the image; empty, it reads the
    one before it.  ``input_shape`` is that of the first."""

    name: str
    index: int
    tensor: int = -1
    inputs: tuple[int, ...] = ()
    input_shape: Shape
    output_shape: Shape
    stride: tuple[int, int] = (1, 1)
    padding: Padding = NO_PADDING

    def geometry(self, index: int) -> dict[str, Any]:
        """The fields above as those of layer ``index`` of another network, made by this package: no tensor."""
        return {"name": self.name, "index": index, "inputs": self.inputs, "input_shape": self.input_shape,
                "output_shape": self.output_shape, "stride": self.stride, "padding": self.padding}

    @property
    def input_shapes(self) -> tuple[Shape, ...]:
        """Of each map that it reads."""
        return (self.input_shape,)

    @property
    def kernel(self) -> tuple[int, int]:
        """Height and width of the window."""
        raise NotImplementedError

    @property
    def macs(self) -> int:
        """Multiply-accumulates a frame, as papers count them (padding included)."""
        return self.pixels * self.parameters

    @property
    def parameters(self) -> int:
        """Number of weights."""
        return 0

    @property
    def pixels(self) -> int:
        """Output height times width."""
        return self.output_shape[0] * self.output_shape[1]

    @property
    def workspace(self) -> int:
        """Numbers in the widest array that computing one frame needs."""
        return max(prod(self.output_shape), prod(self.input_shape))


class Requantiser(Protocol):
    """What turns an integer layer's sums into int8: real multiplier, clamp, and the rounding between them."""

    @property
    def factor(self) -> np.ndarray | float:
        """Real multiplier, of each channel or of all."""
        ...

    @property
    def minimum(self) -> int:
        """Least result."""
        ...

    @property
    def maximum(self) -> int:
        """Largest result."""
        ...

    def __call__(self, acc: np.ndarray) -> np.ndarray:
        """int8 of an integer accumulator array whose last axis is the output channel; monotone (not decreasing)."""
        ...


class OnnxGraph(Protocol):
    """A graph of ONNX nodes in the making, as :mod:`.onnx_export` gives it to the layers."""

    def node(self, operator: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """A node that gives ``output``; that name."""
        ...

    def constant(self, name: str, values: Any, dtype: Any) -> str:
        """A constant; its name, which is ``name`` or one much like it."""
        ...

    def unique(self, name: str) -> str:
        """``name``, or one much like it, that no value has yet."""
        ...

    def dequantised(self, name: str, values: np.ndarray, scales: np.ndarray, dtype: Any) -> str:
        """Constant integers, channel first, times their scales."""
        ...


@dataclass(frozen=True, eq=False, kw_only=True)
class Layer(Geometry):
    """An integer layer.

    An output value means ``output_scale * (value - output_zero_point)``; the scale is a float32 number, kept
    for people and for interchange: the integers don't need it."""

    mixes: ClassVar[bool] = False
    """Whether each output channel is made of all input channels, so that their number is the layer's own; else each
    is made of the input channel of its number."""

    input_zero_point: int
    output_scale: float = 1.0

    if TYPE_CHECKING:
        requantise: Requantiser

    @property
    def output_zero_point(self) -> int:
        """Of the int8 results."""
        raise NotImplementedError

    # ---- the integer rule ----

    @property
    def border(self) -> int:
        """The value of what lies beyond the input's edges, int8."""
        return self.input_zero_point

    def accumulate(self, *maps: np.ndarray) -> np.ndarray:
        """int64 accumulators, bias included, before requantisation.

        ``maps`` int8 (frames, height, width, channels), one for each of ``input_shapes``; the result
        (frames, *output_shape)."""
        raise NotImplementedError

    def __call__(self, *maps: np.ndarray) -> np.ndarray:
        """int8 (frames, *output_shape) of int8 ``maps``, each (frames, *input_shape)."""
        return self.requantise(self.accumulate(*maps))

    def sum_range(self, *constants: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Smallest and largest accumulator of each channel over all images, int64 (channels,), of which one may not be
        reached.

        ``constants``, one for each map that it reads, float64 (input channels,), hold the value of each input channel
        that has but one, NaN for the others."""
        raise NotImplementedError

    # ---- simplification ----

    def foldable(self, constant: np.ndarray) -> np.ndarray:
        """Which of the ``constant`` input channels (see :meth:`sum_range`) this layer sees as constant everywhere,
        borders included."""
        return ~np.isnan(constant) & ((self.padding == NO_PADDING) | (constant == self.input_zero_point))

    def constants(self, *constants: np.ndarray) -> np.ndarray:
        """Value of each output channel that is the same for every image, NaN for the others."""
        ends = self.requantise(np.stack(self.sum_range(*constants)))
        return np.where(ends[0] == ends[1], ends[0].astype(float), np.nan)

    def needed(self, keep: np.ndarray, *constants: np.ndarray) -> tuple[np.ndarray, ...]:
        """Of each map that it reads, which channels the output channels ``keep`` depend on."""
        return tuple(keep.copy() for _ in constants)

    def tied(self, *inputs: np.ndarray) -> np.ndarray:
        """Which output channels must stay because the channels ``inputs`` of each map that it reads do."""
        return np.zeros(self.output_shape[2], bool) if self.mixes else reduce(np.logical_or, inputs)

    def rebuilt(self, inputs: Sequence[np.ndarray], keep: np.ndarray, *constants: np.ndarray) -> "Self":
        """This layer with the channels ``inputs`` of each map that it reads and the output channels ``keep`` alone;
        what the dropped inputs, which are constant, add to its sums is in its bias.

        Raises
        ------
        OverflowError
            A bias would leave int32.
        """
        raise NotImplementedError

    def kept_shapes(self, inputs: np.ndarray, keep: np.ndarray) -> dict[str, Shape]:
        """The shapes with so many channels."""
        return {"input_shape": (*self.input_shape[:2], int(inputs.sum())),
                "output_shape": (*self.output_shape[:2], int(keep.sum()))}

    # ---- another size ----

    @staticmethod
    def parameters_at(place: Place) -> int:
        """Number of weights of such a layer at ``place``."""
        return 0

    def resized(self, place: Place) -> "Self":
        """This layer at ``place``, no larger than it is, with the first ones of its weights."""
        raise NotImplementedError

    # ---- interchange ----

    def sum_steps(self, *input_scales: float) -> np.ndarray:
        """What one step of each channel's sums means, float64 (channels,).

        Raises
        ------
        NetworkError
            Its sums can't be written as ONNX.
        """
        raise NotImplementedError

    def write_onnx(self, graph: OnnxGraph, values: Sequence[str], input_scales: Sequence[float], result: str,
                   output: str) -> str:
        """The nodes that make real sums, ``output``, of the real numbers ``values``, one for each map that it reads,
        channels first; constants are called after ``result``.  Returns ``output``."""
        raise NotImplementedError

    def unwritable(self, text: str) -> NetworkError:
        """The layer can't be exported."""
        return NetworkError(f"layer {self.index} ({self.name}) can't be written as ONNX: {text}")


@dataclass(frozen=True)
class Closing:
    """What a model does with its results at the end.  It stays off the chip, which delivers what it starts from.

    ``index`` and ``tensor`` as in :class:`Geometry`."""

    name: ClassVar[str]
    """What model files call it."""

    index: int
    tensor: int

    @property
    def title(self) -> str:
        """What people call it."""
        return self.name

    def __call__(self, logits: np.ndarray) -> np.ndarray:
        """What becomes of ``logits`` (frames, …, outputs), int8 ones, or real ones in a float network; each row of
        outputs goes by itself."""
        raise NotImplementedError

    def quantised(self, meaning: Meaning) -> "tuple[Closing, Meaning | None]":
        """Of a float network's closing: the one that does the same of int8 values that mean ``meaning``, and what its
        own int8 results mean; None where these are real numbers or indices."""
        raise NotImplementedError

    def write_onnx(self, graph: OnnxGraph, value: str, scale: float, output: str) -> str:
        """The nodes that make ``output`` of the real logits ``value`` (batch, …, outputs), whose int8 values have the
        ``scale`` (1 where they have several).  Returns ``output``.

        Raises
        ------
        NetworkError
            It can't be expressed.
        """
        raise NetworkError(f"its {self.name} at the end can't be expressed")


@dataclass(frozen=True, eq=False)
class Statistics:
    """Mean and standard deviation of each channel, float64 (channels,)."""

    mean: np.ndarray
    deviation: np.ndarray


@dataclass(frozen=True, eq=False, kw_only=True)
class FloatLayer(Geometry):
    """What float layers share: after the sum comes a clamp to ``minimum`` … ``maximum`` (ReLU is 0 … inf).

    ``trained`` is what the layer's sums were in training, where the batch norm that was folded into it tells."""

    takes_factors: ClassVar[bool] = False
    """Whether :meth:`multiplied` and :meth:`divided` are possible."""

    minimum: float = -inf
    maximum: float = inf
    trained: Statistics | None = None

    def sums(self, *maps: np.ndarray) -> np.ndarray:
        """The result before the activation; float32 (frames, height, width, channels) in and out, one map for each of
        ``input_shapes``."""
        raise NotImplementedError

    def activate(self, total: np.ndarray) -> np.ndarray:
        """The fused activation."""
        return total if (self.minimum, self.maximum) == (-inf, inf) else np.clip(total, self.minimum, self.maximum)

    def __call__(self, *maps: np.ndarray) -> np.ndarray:
        """float32 (frames, *output_shape) of float32 ``maps``, each (frames, *input_shape)."""
        return self.activate(self.sums(*maps))

    # ---- quantisation ----

    def result_meaning(self, measured: Meaning, *sources: Meaning) -> Meaning:
        """What the int8 results mean, where the maps that it reads mean ``sources`` and the results on the calibration
        images ask for ``measured``."""
        return measured

    def quantised(self, number: int, result: Meaning, *sources: Meaning) -> Layer:
        """The integer layer ``number`` of a network, from int8 maps that mean ``sources`` to one that means
        ``result``.

        Raises
        ------
        NetworkError
            An image can make the accumulator of a channel overflow.
        """
        raise NotImplementedError

    def rounded(self, result: Meaning, *sources: Meaning) -> "Self":
        """This layer with weights that int8 can hold (see :meth:`quantised`)."""
        return self

    def rounded_as(self, layer: Layer) -> "Self":
        """This layer with the weights of ``layer``, which was made of it."""
        return self

    def corrected(self, error: np.ndarray) -> "Self | None":
        """This layer with ``error``, float64 (channels,), added to its sums; None where it has no bias to take it
        up."""
        return None

    def divided(self, factor: np.ndarray) -> "Self":
        """This layer with each output channel divided by its ``factor``, and no upper bound."""
        raise NotImplementedError

    def multiplied(self, factor: np.ndarray) -> "Self":
        """This layer with each input channel multiplied by its ``factor``."""
        raise NotImplementedError

    def balance(self, peak: np.ndarray) -> np.ndarray:
        """By what to divide the input channels, whose largest magnitudes are ``peak``, so that they and the weights
        that read them lose least to rounding; 0 for those that say nothing."""
        raise NotImplementedError

    @property
    def typical_bias(self) -> float | None:
        """Root mean square of the biases; None of a layer without any."""
        return None
