"""The integer network: what to compute, without a word about hardware.

A :class:`Network` is a chain of immutable layers over int8 tensors in NHWC order.  Importers make it,
the golden model runs it, the schedule maps it onto an engine; all three read the same fields.
"""

from dataclasses import dataclass
from math import prod

import numpy as np

from .arithmetic import Rounding, multiply_by_quantized_multiplier, round_half_away_divide
from .errors import NetworkError
from .preprocessing import Preprocessing

__all__ = [
    "LARGEST_MAP",
    "Average",
    "AveragePool",
    "Convolution",
    "Depthwise",
    "Geometry",
    "Layer",
    "Network",
    "NetworkError",
    "Padding",
    "Requantise",
    "Rounding",
    "Shape",
    "Softmax",
    "arrange_images",
    "shortened",
]


LARGEST_MAP = 1 << 26
"""Values in one feature map, and weights of one layer; keeps a damaged file from asking for all memory."""


def shortened(name: str) -> str:
    """A name in a message: some bear the names of all that was fused, and damaged files hold any."""
    return name if len(name) <= 60 else name[:60] + "…"


Shape = tuple[int, int, int]
"""Height, width, channels of one feature map (a vector is ``(1, 1, n)``)."""


def arrange_images(images: np.ndarray, shape: Shape, what: str, *, channels_first: bool = False) -> np.ndarray:
    """``images`` as (frames, height, width, channels), from that order or from (frames, channels, height, width).

    A single image gets its frame axis, and vectors may be (frames, channels).  ``channels_first`` decides where both
    would do.

    Raises
    ------
    NetworkError
        They have another shape, aren't numbers, are none, or hold NaN or infinite values; ``what`` names them.
    """
    given = images = np.asarray(images)
    height, width, channels = shape
    if images.ndim == 2 and shape[:2] == (1, 1):
        images = images[:, None, None, :]
    elif images.ndim == 3:
        images = images[None]
    last, first = images.shape[1:] == shape, images.shape[1:] == (channels, height, width)
    if not (last or first) or images.dtype.kind not in "fiu":
        raise NetworkError(f"{what} must be numbers of the shape (frames, {height}, {width}, {channels}) or (frames, "
                           f"{channels}, {height}, {width}), not {given.dtype} {given.shape}")
    if not len(images):
        raise NetworkError(f"{what} hold no frames")
    if images.dtype.kind == "f" and not np.isfinite(images).all():
        raise NetworkError(f"{what} hold values that are NaN or infinite")
    if first and (channels_first or not last):
        images = np.ascontiguousarray(images.transpose(0, 2, 3, 1))
    return images


@dataclass(frozen=True)
class Padding:
    """Rows and columns of the input's zero point around a feature map."""

    top: int = 0
    bottom: int = 0
    left: int = 0
    right: int = 0


def _frozen(array, dtype) -> np.ndarray:
    array = np.array(array, dtype=dtype)
    array.setflags(write=False)
    return array


@dataclass(frozen=True, eq=False)
class Requantise:
    """int32 accumulator to int8, by TensorFlow Lite's fixed-point rule.

    ``clamp(multiply_by_quantized_multiplier(acc, multiplier, shift) + zero_point, minimum, maximum)``

    Parameters
    ----------
    multiplier, shift
        int64 and int32, one per output channel; the real factor is ``multiplier * 2 ** (shift - 31)``.
    zero_point
        Of the output.
    minimum, maximum
        Clamp of the fused activation, within -128 … 127.
    rounding
        Which of the two rules of the TensorFlow Lite family (see :class:`Rounding`).
    """

    multiplier: np.ndarray
    shift: np.ndarray
    zero_point: int
    minimum: int = -128
    maximum: int = 127
    rounding: Rounding = Rounding.DOUBLE

    def __post_init__(self):
        object.__setattr__(self, "multiplier", _frozen(self.multiplier, np.int64))
        object.__setattr__(self, "shift", _frozen(self.shift, np.int32))

    @property
    def factor(self) -> np.ndarray:
        """Real multiplier per channel, float64 (exact)."""
        return np.ldexp(self.multiplier.astype(np.float64), self.shift - 31)

    def __call__(self, acc: np.ndarray) -> np.ndarray:
        """int8 of an integer accumulator array whose last axis is the output channel.

        Monotone (not decreasing) in ``acc`` for every channel."""
        scaled = multiply_by_quantized_multiplier(acc, self.multiplier, self.shift, self.rounding)
        return np.clip(scaled + self.zero_point, self.minimum, self.maximum).astype(np.int8)


@dataclass(frozen=True, eq=False)
class Average:
    """Sum of ``count`` int8 values to their int8 mean, half away from zero (TensorFlow Lite's
    AVERAGE_POOL_2D, whose input and output share scale and zero point)."""

    count: int
    minimum: int = -128
    maximum: int = 127

    @property
    def factor(self) -> float:
        """Real multiplier."""
        return 1 / self.count

    def __call__(self, acc: np.ndarray) -> np.ndarray:
        """int8 of an integer array of sums; monotone."""
        return np.clip(round_half_away_divide(acc, self.count), self.minimum, self.maximum).astype(np.int8)


@dataclass(frozen=True, eq=False, kw_only=True)
class Geometry:
    """What float and integer layers share.

    ``name`` is the model's own name of the output tensor, ``index`` the operator's place in the model
    file, ``tensor`` the number of the output tensor there (-1 where it has none)."""

    name: str
    index: int
    tensor: int = -1
    input_shape: Shape
    output_shape: Shape
    stride: tuple[int, int] = (1, 1)
    padding: Padding = Padding()

    @property
    def kernel(self) -> tuple[int, int]:
        """Height and width of the window."""
        raise NotImplementedError

    @property
    def macs(self) -> int:
        """Multiply-accumulates a frame, as papers count them (padding included)."""
        raise NotImplementedError

    @property
    def pixels(self) -> int:
        """Output height times width."""
        return self.output_shape[0] * self.output_shape[1]


@dataclass(frozen=True, eq=False, kw_only=True)
class Layer(Geometry):
    """An integer layer; each kind also has a ``requantise`` that turns its sums into int8.

    An output value means ``output_scale * (value - output_zero_point)``; the scale is a float32 number, kept
    for people and for interchange: the integers don't need it."""

    input_zero_point: int
    output_scale: float = 1.0

    @property
    def output_zero_point(self) -> int:
        """Of the int8 results."""
        return self.requantise.zero_point  # pyright: ignore[reportAttributeAccessIssue]


def _freeze_weights(layer, channel_axis: int) -> None:
    object.__setattr__(layer, "weights", _frozen(layer.weights, np.int8))
    object.__setattr__(layer, "bias", _frozen(layer.bias, np.int32))
    scales = np.broadcast_to(np.asarray(layer.weight_scales, np.float32), layer.weights.shape[channel_axis])
    object.__setattr__(layer, "weight_scales", _frozen(scales, np.float32))


@dataclass(frozen=True, eq=False, kw_only=True)
class Convolution(Layer):
    """A dense convolution; a fully connected layer is one whose kernel covers its whole input.

    ``weights`` int8 (out channels, kernel height, kernel width, in channels); ``bias`` int32
    (out channels,); ``weight_scales`` float32, what one step of each output channel's weights means."""

    weights: np.ndarray
    bias: np.ndarray
    requantise: Requantise
    weight_scales: np.ndarray | float = 1.0

    def __post_init__(self):
        _freeze_weights(self, 0)

    @property
    def real_weights(self) -> np.ndarray:
        """float32, what the int8 weights mean."""
        return self.weights * np.asarray(self.weight_scales)[:, None, None, None]

    @property
    def kernel(self):
        return self.weights.shape[1:3]

    @property
    def macs(self):
        return self.pixels * self.weights.size


@dataclass(frozen=True, eq=False, kw_only=True)
class Depthwise(Layer):
    """One filter per channel. ``weights`` int8 (kernel height, kernel width, channels); ``bias`` int32
    (channels,); ``weight_scales`` float32 (channels,)."""

    weights: np.ndarray
    bias: np.ndarray
    requantise: Requantise
    weight_scales: np.ndarray | float = 1.0

    def __post_init__(self):
        _freeze_weights(self, 2)

    @property
    def real_weights(self) -> np.ndarray:
        """float32, what the int8 weights mean."""
        return self.weights * np.asarray(self.weight_scales)

    @property
    def kernel(self):
        return self.weights.shape[:2]

    @property
    def macs(self):
        return self.pixels * self.weights.size


@dataclass(frozen=True, eq=False, kw_only=True)
class AveragePool(Layer):
    """Mean over windows that lie wholly inside the input (no padding).

    ``bias`` int32 (channels,) is added to the sum before ``requantise``; zeros for AVERAGE_POOL_2D."""

    window: tuple[int, int]
    bias: np.ndarray
    requantise: Average | Requantise

    def __post_init__(self):
        object.__setattr__(self, "bias", _frozen(self.bias, np.int32))

    @property
    def kernel(self):
        return self.window

    @property
    def macs(self):
        return 0

    @property
    def output_zero_point(self):
        return self.input_zero_point if isinstance(self.requantise, Average) else self.requantise.zero_point


@dataclass(frozen=True)
class Softmax:
    """The model's closing SOFTMAX. It stays off the chip: it does not move the argmax, and the
    accelerator delivers the exact logits it starts from.

    ``input_scale`` and ``beta`` as in the model file; the output is int8 with scale 1/256 and zero
    point -128. ``index`` and ``tensor`` as in :class:`Layer`."""

    index: int
    tensor: int
    input_scale: float
    beta: float = 1.0


@dataclass(frozen=True, eq=False)
class Network:
    """An immutable chain of integer layers, first to last.

    ``input_scale``/``input_zero_point`` and ``output_scale``/``output_zero_point`` say what the int8
    values of the input and of the logits mean: ``real = scale * (value - zero_point)``.  ``preprocessing`` says what
    the pixels of a picture mean, where that is known; ``original`` is the network that this one was simplified from."""

    name: str
    layers: tuple[Layer, ...]
    input_scale: float
    input_zero_point: int
    softmax: Softmax | None = None
    preprocessing: Preprocessing | None = None
    original: "Network | None" = None

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
    def output_scale(self) -> float:
        return self.layers[-1].output_scale

    @property
    def output_zero_point(self) -> int:
        return self.layers[-1].output_zero_point

    @property
    def outputs(self) -> int:
        """Number of int8 results a frame."""
        return prod(self.output_shape)

    def quantise_input(self, images: np.ndarray, what: str = "the images") -> np.ndarray:
        """int8 (frames, height, width, channels) of ``images`` in that order or (frames, channels, height, width).

        int8 is taken as it is; real numbers are divided by ``input_scale``, rounded and clipped; uint8 are pixels
        where the network has a ``preprocessing``, which makes real numbers of them.

        Raises
        ------
        NetworkError
            See :func:`arrange_images`; or they are integers of another type, which could mean anything.
        """
        images = arrange_images(images, self.input_shape, what)
        if images.dtype == np.int8:
            return images
        if images.dtype == np.uint8 and self.preprocessing:
            images = self.preprocessing(images)
        if images.dtype.kind != "f":
            raise NetworkError(f"{what} are {images.dtype}: give int8 in the network's own scale and zero point, or "
                               "the real numbers (float32) that it was trained on" +
                               ("; pixels need a preprocessing (--range, or --mean and --std)"
                                if images.dtype == np.uint8 else ""))
        codes = np.rint(images / np.float32(self.input_scale)) + self.input_zero_point
        return np.clip(codes, -128, 127).astype(np.int8)

    @property
    def macs(self) -> int:
        """Multiply-accumulates a frame."""
        return sum(layer.macs for layer in self.layers)

    @property
    def parameters(self) -> int:
        """Bytes of weights."""
        return sum(layer.weights.size for layer in self.layers if isinstance(layer, (Convolution, Depthwise)))
