"""``.tflite`` files to networks: int8 ones to :class:`~.network.Network`, float32 ones to
:class:`~.float_network.FloatNetwork`.

One walker checks the chain and works out its geometry; two subclasses say what integer and float files do
differently.  The integers follow TensorFlow Lite's ``Prepare`` functions (``kernel_util.cc``,
``quantization_util.cc``, ``fully_connected.cc``, ``reduce.cc``), so that the network gives the bytes of LiteRT's
reference kernels.
"""

from dataclasses import replace
from math import inf, isfinite, prod
from os import PathLike
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import tflite
from tepal.quant.arithmetic import Rounding, accumulator_range, fit_single_rounding, quantize_multiplier
from tepal.quant.errors import NetworkError
from tepal.quant.float_network import FloatNetwork
from tepal.quant.layer import LARGEST_MAP, FloatLayer, Layer, Padding, Shape
from tepal.quant.network import Network
from tepal.quant.ops.average_pool import Average, AveragePool, FloatAveragePool
from tepal.quant.ops.convolution import Convolution, FloatConvolution
from tepal.quant.ops.depthwise import Depthwise, FloatDepthwise
from tepal.quant.ops.softmax import Softmax
from tepal.quant.rescale import Requantise

from .obstacles import ARITHMETIC, BRANCHES, Format, Obstacle, Supported, check_operators, refuse
from .tflite_file import EXPORT_AGAIN, Entry, File, Operator, Tensor, names

__all__ = ["TFLITE_FORMATS", "read_tflite"]


def read_tflite(path: str | PathLike) -> Network | FloatNetwork:
    """The network of a ``.tflite`` file: a float one if its first operator computes float32, else an integer one.

    Parameters
    ----------
    path
        A chain of the operators in ``TFLITE_FORMATS``, batch 1, one input, one output; all int8, or all float32 (its
        weights may be stored as float16).

    Raises
    ------
    NetworkError
        One sentence: the file can't be read, is damaged, or holds something that isn't supported.
    """
    path = Path(path)
    try:
        file = File(path.read_bytes())
        first = next((entry for entry in file.listing() if not entry.widens), None)
        kind = _FloatChain if first and first.type == "FLOAT32" else _IntegerChain
        chain = kind(path.stem)
        chain.walk(file)
        return chain.network()
    except NetworkError as error:
        raise NetworkError(f"{path}: {error}") from None
    except OSError as error:
        raise NetworkError(f"{path}: can't be read ({error.strerror})") from None


_ACTIVATIONS = names(tflite.ActivationFunctionType)
_CLAMPS = {"NONE": (-inf, inf), "RELU": (0.0, inf), "RELU6": (0.0, 6.0), "RELU_N1_TO_1": (-1.0, 1.0)}
"""Lowest and highest result of each activation."""

_NO_PADDING = Padding()
_RESHAPES = ("RESHAPE", "SQUEEZE", "EXPAND_DIMS")

_FUSED = "NONE, RELU, RELU6 or RELU_N1_TO_1 fused"
_FLATTENS = "flattening; at the start of the model any shape"

_Layer = TypeVar("_Layer", Layer, FloatLayer)


class _Chain(Generic[_Layer]):
    """Walks the operators and appends layers.

    ``start`` is the tensor that the network takes, ``tensor`` the result so far and ``shape`` its feature map;
    ``padding`` is what PAD left for the next convolution; ``flat`` says that a reshape made a vector of a map with
    several pixels, which only FULLY_CONNECTED may read; ``skipped`` that an operator was passed over."""

    SUPPORTED = {
        "CONV_2D": Supported("convolution", f"any kernel, stride and channels; no dilation, no groups; {_FUSED}"),
        "DEPTHWISE_CONV_2D": Supported("depthwise", "any kernel and stride; a depth multiplier above 1 runs as a dense "
                                       f"convolution; no dilation; {_FUSED}"),
        "FULLY_CONNECTED": Supported("fully_connected", f"of a vector or a whole map; {_FUSED}"),
        "AVERAGE_POOL_2D": Supported("average_pool", f"windows wholly inside the map, no padding; {_FUSED}"),
        "MEAN": Supported("mean", "over height and width"),
        "PAD": Supported("pad", "zeros around height and width, before a convolution"),
        "PADV2": Supported("pad", "zeros around height and width, before a convolution"),
        "RESHAPE": Supported("reshape", _FLATTENS), "SQUEEZE": Supported("reshape", _FLATTENS),
        "EXPAND_DIMS": Supported("reshape", _FLATTENS),
        "SOFTMAX": Supported("close", "of a vector, at the end; stays off the chip"),
    }
    """Each operator's method, and its limits in words; the subclasses add their own."""

    ELSEWHERE: dict[str, str] = {}
    """Of operators that only the other kind of file may hold: what is the matter and the way out."""

    WEIGHTS: str
    BIAS: str
    """Types of the constants; that of the weights is also the type of the activations."""

    def __init__(self, name: str):
        self.name = name
        self.layers: list[_Layer] = []
        self.started = False
        self.padding = _NO_PADDING
        self.padder: Operator | None = None
        self.flat = self.skipped = False
        self.softmax: Operator | None = None
        self.closed: Operator | None = None

    def walk(self, file: File) -> None:
        """Take the whole model."""
        self.check_listing(file)
        self.start = self.tensor = file.input
        obstacles: list[Obstacle] = []
        for operator in file.operators():
            try:
                self.step(operator)
            except Obstacle as obstacle:
                obstacles.append(obstacle)
                if not self.skip(operator):
                    break
            except NetworkError:
                # What was passed over may be the cause of what comes after it.
                refuse(obstacles)
                raise
            self.tensor = operator.output
        refuse(obstacles)
        if self.tensor is not file.output:
            raise NetworkError(f"the last operator gives tensor {self.tensor.index} but the model's output "
                               f"is tensor {file.output.index}")
        if not self.layers:
            raise NetworkError("has no layer to compute")
        if self.padder:
            raise self.padder.error("is the last operator; padding is only supported before a convolution")

    def check_listing(self, file: File) -> None:
        """Raises unless every operator has a method here."""
        def way(entry: Entry) -> str:
            if entry.name in self.ELSEWHERE:
                return self.ELSEWHERE[entry.name]
            if entry.name in ("ADD", "SUB", "MUL", "DIV", "MAXIMUM", "MINIMUM"):
                return BRANCHES if entry.computed > 1 else ARITHMETIC
            return ""

        check_operators((entry.name, way(entry)) for entry in file.listing()
                        if entry.name not in self.SUPPORTED and not entry.widens)

    def step(self, operator: Operator) -> None:
        """Take one operator."""
        if self.closed:
            raise self.closed.error(f"must be the last operator; {operator.name} follows")
        source = operator.input(0)
        if source is not self.tensor:
            raise operator.error(f"reads tensor {source.index}, not the result of the operator before "
                                 "it; only a single chain of operators is supported")
        if operator.name not in ("QUANTIZE", "DEQUANTIZE"):
            self.enter(operator)
        getattr(self, self.SUPPORTED[operator.name].method)(operator)

    def skip(self, operator: Operator) -> bool:
        """Go on behind an operator that can't be taken, with the shape that the file gives; False where there is
        none."""
        try:
            self.shape = self.map(operator, operator.output)
        except NetworkError:
            return False
        self.padding, self.padder, self.flat, self.skipped = _NO_PADDING, None, False, True
        return True

    def network(self) -> Network | FloatNetwork:
        """Of all that was walked."""
        raise NotImplementedError

    # ---- checks ----

    def enter(self, operator: Operator):
        """What holds for every operator that computes."""
        if not self.started:
            self.check_activation(operator, self.tensor)
            self.shape = self.map(operator, self.tensor)
            self.started = True
        self.check_activation(operator, operator.output)
        if self.softmax:
            raise operator.error("follows SOFTMAX, which is only supported at the end")
        if self.padder and operator.name not in ("CONV_2D", "DEPTHWISE_CONV_2D", "PAD", "PADV2"):
            raise self.padder.error(f"is followed by {operator.name}; padding is only supported "
                                    "before a convolution")
        if self.flat and operator.name not in ("FULLY_CONNECTED", *_RESHAPES):
            raise operator.error("reads a flattened map; only FULLY_CONNECTED can")

    def check_activation(self, operator: Operator, tensor: Tensor):
        """Raises unless ``tensor`` is a feature map of the right type."""
        raise NotImplementedError

    def check_weights(self, operator: Operator, tensor: Tensor, axis: int):
        """Raises unless ``tensor``, whose dimension ``axis`` is the output channel, has the right type."""
        raise NotImplementedError

    def check_unchanged(self, operator: Operator):
        """Raises if the operator gives its values another meaning."""

    def map(self, operator: Operator, tensor: Tensor) -> Shape:
        match tensor.shape:
            case (1, height, width, channels):
                return height, width, channels
            case (1, channels) | (channels,):
                return 1, 1, channels
            case (batch, _, _, _) | (batch, _):
                raise operator.error(f"works on a batch of {batch}; only batch 1 is supported")
        raise operator.error(f"works on the shape {list(tensor.shape)}; supported are [1, height, width, "
                             "channels] and [1, channels]")

    def activation(self, operator: Operator) -> tuple[float, float]:
        """Lowest and highest result of the fused activation; MEAN, whose options aren't read, has none."""
        if operator.options is None:
            return _CLAMPS["NONE"]
        number = operator.options.FusedActivationFunction
        name = _ACTIVATIONS.get(number, number)
        if name not in _CLAMPS:
            raise operator.obstacle(f"has the fused activation {name}; supported are NONE, RELU, RELU6 and "
                                    "RELU_N1_TO_1")
        return _CLAMPS[name]

    def window(self, operator: Operator, kernel: tuple[int, int]) -> tuple[tuple[int, int], Padding, tuple[int, int]]:
        """Stride, whole padding (of PAD too), and output height and width."""
        options = operator.options
        stride = options.StrideH, options.StrideW
        if min(stride) < 1:
            raise operator.error(f"has the stride {stride}")
        around, sizes = [], []
        before = ((self.padding.top, self.padding.bottom), (self.padding.left, self.padding.right))
        for size, extra, window, step in zip(self.shape, before, kernel, stride, strict=False):
            size += sum(extra)
            if options.Padding not in (tflite.Padding.SAME, tflite.Padding.VALID):
                raise operator.error(f"has the padding {options.Padding}; there are SAME (0) and VALID (1)")
            if options.Padding == tflite.Padding.SAME:
                result = -(-size // step)
                total = max((result - 1) * step + window - size, 0)
            else:
                result, total = (size - window) // step + 1, 0
            if result < 1:
                raise operator.error(f"has a window of {kernel[0]}x{kernel[1]}, larger than its input of "
                                     f"{self.shape[0]}x{self.shape[1]}")
            around += extra[0] + total // 2, extra[1] + total - total // 2
            sizes.append(result)
        return stride, Padding(*around), (sizes[0], sizes[1])

    def check_shape(self, operator: Operator, shape: Shape):
        """Raises unless the file agrees with the output shape worked out here."""
        if self.map(operator, operator.output) != shape:
            raise operator.error(f"should give the shape {[1, *shape]} but the file says "
                                 f"{list(operator.output.shape)}")

    # ---- layers ----

    def fields(self, operator: Operator, shape: Shape, stride=(1, 1), padding=_NO_PADDING) -> dict[str, Any]:
        """What all layers of this chain have; moves on to the output."""
        self.check_shape(operator, shape)
        fields = {"name": operator.output.name, "index": operator.index, "tensor": operator.output.index,
                  "input_shape": self.shape, "output_shape": shape, "stride": stride, "padding": padding,
                  **self.meaning(operator)}
        self.shape, self.padding, self.padder, self.flat = shape, _NO_PADDING, None, False
        return fields

    def meaning(self, operator: Operator) -> dict[str, Any]:
        """The fields that only layers of this chain have."""
        raise NotImplementedError

    def weighted(self, operator: Operator, weights: np.ndarray, bias: np.ndarray, fields: dict[str, Any]) -> _Layer:
        """A depthwise layer if ``weights`` has three dimensions, else a convolution."""
        raise NotImplementedError

    def averaged(self, operator: Operator, window: tuple[int, int], fields: dict[str, Any]) -> _Layer:
        """The layer of AVERAGE_POOL_2D or MEAN."""
        raise NotImplementedError

    def constants(self, operator: Operator, rank: int, axis: int) -> tuple[np.ndarray, np.ndarray]:
        """Weights and bias; ``axis`` is the output channel of the weights."""
        tensor = operator.input(1)
        if len(tensor.shape) != rank:
            raise operator.error(f"has weights of the shape {list(tensor.shape)}")
        self.check_weights(operator, tensor, axis)
        channels = tensor.shape[axis]
        bias = np.zeros(channels, self.BIAS.lower())
        if (given := operator.optional(2)) is not None:
            if given.type != self.BIAS or prod(given.shape) != channels:
                raise operator.error(f"has a bias of {prod(given.shape)} {given.type.lower()} values; "
                                     f"{channels} {self.BIAS.lower()} values are needed")
            bias = given.constant().reshape(channels)
        return tensor.constant(), bias

    def convolution(self, operator: Operator):
        weights, bias = self.constants(operator, rank=4, axis=0)
        if weights.shape[3] != self.shape[2]:
            raise operator.obstacle(f"takes {weights.shape[3]} channels of an input with {self.shape[2]}; "
                                    "grouped convolutions are not supported, but depthwise ones are")
        self.convolve(operator, weights, bias)

    def depthwise(self, operator: Operator):
        weights, bias = self.constants(operator, rank=4, axis=3)
        channels = self.shape[2]
        if weights.shape[0] != 1 or weights.shape[3] % channels:
            raise operator.error(f"has weights of the shape {list(weights.shape)} for {channels} channels")
        weights = weights[0]
        multiplier = weights.shape[2] // channels
        if multiplier > 1:
            # The same sums as a dense convolution whose other products are zero.
            if weights.size * channels > LARGEST_MAP:
                raise operator.obstacle(f"has the depth multiplier {multiplier} on {channels} channels, too "
                                     "large to be computed as a dense convolution")
            out = np.arange(weights.shape[2])
            dense = np.zeros((len(out), *weights.shape[:2], channels), weights.dtype)
            dense[out, :, :, out // multiplier] = weights.transpose(2, 0, 1)
            weights = dense
        self.convolve(operator, weights, bias)

    def convolve(self, operator: Operator, weights: np.ndarray, bias: np.ndarray):
        """Weights (out channels, height, width, in channels) or, depthwise, (height, width, channels)."""
        options = operator.options
        if (options.DilationHFactor, options.DilationWFactor) != (1, 1):
            raise operator.obstacle("is dilated; only a dilation of 1 is supported")
        stride, padding, size = self.window(operator, weights.shape[:2] if weights.ndim == 3 else weights.shape[1:3])
        fields = self.fields(operator, (*size, len(bias)), stride, padding)
        self.layers.append(self.weighted(operator, weights, bias, fields))

    def fully_connected(self, operator: Operator):
        weights, bias = self.constants(operator, rank=2, axis=0)
        if operator.options.WeightsFormat != tflite.FullyConnectedOptionsWeightsFormat.DEFAULT:
            raise operator.obstacle("has shuffled weights; only the default format is supported")
        if weights.shape[1] != prod(self.shape):
            raise operator.error(f"has rows of {weights.shape[1]} weights for {prod(self.shape)} values")
        weights = weights.reshape(len(bias), *self.shape)
        fields = self.fields(operator, (1, 1, len(bias)))
        self.layers.append(self.weighted(operator, weights, bias, fields))

    def average_pool(self, operator: Operator):
        self.check_unchanged(operator)
        window = operator.options.FilterHeight, operator.options.FilterWidth
        if min(window) < 1:
            raise operator.error(f"has a window of {window[0]}x{window[1]}")
        stride, padding, size = self.window(operator, window)
        if padding != _NO_PADDING:
            raise operator.obstacle("averages over padding; only windows wholly inside the map are supported")
        fields = self.fields(operator, (*size, self.shape[2]), stride)
        self.layers.append(self.averaged(operator, window, fields))

    def mean(self, operator: Operator):
        axes = operator.input(1)
        if axes.type != "INT32":
            raise operator.error(f"has {axes.type.lower()} axes; only int32 is supported")
        rank = len(self.tensor.shape)
        given = [int(axis) for axis in axes.constant().ravel()]
        if any(not -rank <= axis < rank for axis in given):
            raise operator.error(f"has the axes {given} for {rank} dimensions")
        if rank != 4 or sorted({axis % 4 for axis in given}) != [1, 2]:
            raise operator.obstacle("must average over height and width, no less and no more")
        height, width, channels = self.shape
        self.layers.append(self.averaged(operator, (height, width), self.fields(operator, (1, 1, channels))))

    # ---- what leaves no layer ----

    def pad(self, operator: Operator):
        self.check_unchanged(operator)
        amounts = operator.input(1)
        if amounts.type not in ("INT32", "INT64") or amounts.shape != (4, 2):
            raise operator.error(f"has {amounts.type.lower()} amounts of the shape {list(amounts.shape)}; "
                                 "four pairs of int32 are needed")
        amounts = amounts.constant()
        if (amounts < 0).any() or amounts[[0, 3]].any():
            raise operator.obstacle("pads something other than height and width")
        value, zero = operator.optional(2), self.zero(operator.output)
        if value is not None and (value.type != self.WEIGHTS or (value.constant() != zero).any()):
            raise operator.obstacle(f"pads with a value other than the zero point, {zero}")
        top, bottom, left, right = (int(amount) for amount in amounts[1:3].ravel())
        height, width, channels = self.shape
        before = self.padding
        self.padding = Padding(before.top + top, before.bottom + bottom,
                               before.left + left, before.right + right)
        self.check_shape(operator, (height + self.padding.top + self.padding.bottom,
                                    width + self.padding.left + self.padding.right, channels))
        self.padder = operator

    def zero(self, tensor: Tensor) -> int:
        """The value of an activation that means 0."""
        raise NotImplementedError

    def reshape(self, operator: Operator):
        self.check_unchanged(operator)
        if prod(operator.output.shape) != prod(self.shape):
            raise operator.error(f"makes {prod(operator.output.shape)} values of {prod(self.shape)}")
        after = self.map(operator, operator.output)
        if after == self.shape:
            self.flat = False
        elif after[:2] == (1, 1):
            self.flat = True
        elif not self.layers and not self.padder:
            self.shape = after
        else:
            raise operator.error(f"makes {list(after)} of {list(self.shape)}; only flattening is supported")

    def close(self, operator: Operator):
        """SOFTMAX stays off the chip."""
        if self.shape[:2] != (1, 1) or operator.output.shape != self.tensor.shape:
            raise operator.obstacle(f"works on a map of {self.shape[0]}x{self.shape[1]}; only vectors are "
                                 "supported")
        beta = operator.options.Beta
        if not isfinite(beta) or beta <= 0:
            raise operator.error(f"has the beta {beta}")
        self.softmax = operator


class _IntegerChain(_Chain[Layer]):
    """int8 activations and weights, int32 bias; QUANTIZE may come first and DEQUANTIZE last."""

    WEIGHTS, BIAS = "INT8", "INT32"
    SUPPORTED = _Chain.SUPPORTED | {
        "QUANTIZE": Supported("quantize", "float32 to int8, as the first operator"),
        "DEQUANTIZE": Supported("dequantize", "int8 to float32, as the last operator"),
    }
    ELSEWHERE = dict.fromkeys(_CLAMPS, "alone in an int8 model: convert again with a current TensorFlow, which fuses "
                                       "them into the layer before")

    OTHERS = {
        "UINT8": "uint8 values (the older quantisation, asymmetric weights); quantise the float model to int8 "
                 "(inference_input_type=tf.int8 and inference_output_type=tf.int8), or with 'tepal quantize'",
        "INT16": "int16 values (16x8 quantisation); convert with "
                 "supported_ops=[tf.lite.OpsSet.TFLITE_BUILTINS_INT8], which makes activations int8",
        "FLOAT16": "float16 values; export the model as float32 (weights alone may be stored as float16)",
        "FLOAT32": "float32 values; quantise the model to int8 activations throughout, with a representative data set "
                   "and supported_ops=[tf.lite.OpsSet.TFLITE_BUILTINS_INT8]",
    }
    """Activations that aren't int8: what they come of and the way out."""

    def network(self) -> Network:
        softmax = self.softmax and Softmax(self.softmax.index, self.softmax.output.index,
                                           float(self.softmax.input(0).scale), self.softmax.options.Beta)
        return Network(self.name, tuple(self.layers), *self.start.meaning, softmax)

    def check_activation(self, operator: Operator, tensor: Tensor):
        if tensor.type != "INT8":
            what = self.OTHERS.get(tensor.type, f"{tensor.type.lower()} values; quantise the model to int8 activations "
                                                "(inference_input_type=tf.int8)")
            raise operator.error(f"works on {what}")
        if len(tensor.scales) != 1 or len(tensor.zero_points) != 1:
            raise operator.error(f"reads or writes tensor {tensor.index}, which has {len(tensor.scales)} "
                                 f"scales and {len(tensor.zero_points)} zero points, not one")
        if not -128 <= tensor.zero_point <= 127:
            raise operator.error(f"has the zero point {tensor.zero_point}, outside int8")

    def check_weights(self, operator: Operator, tensor: Tensor, axis: int):
        if tensor.type != "INT8":
            raise operator.error(f"has {tensor.type.lower()} weights; only int8 is supported")
        channels = tensor.shape[axis]
        if len(tensor.scales) not in (1, channels) or (len(tensor.scales) > 1 and tensor.axis != axis):
            raise operator.error(f"has {len(tensor.scales)} weight scales along dimension {tensor.axis}; "
                                 f"supported are one, or one for each of the {channels} output channels")
        if tensor.zero_points.any():
            raise operator.obstacle("has weights with a zero point other than 0; quantise them symmetrically")

    def check_unchanged(self, operator: Operator):
        if operator.output.meaning != self.tensor.meaning:
            raise operator.obstacle("changes the scale or the zero point; only equal ones are supported")

    def zero(self, tensor: Tensor) -> int:
        return tensor.zero_point

    def meaning(self, operator: Operator) -> dict[str, Any]:
        return {"input_zero_point": self.tensor.zero_point, "output_scale": float(operator.output.scale)}

    def limits(self, operator: Operator) -> tuple[int, int]:
        """CalculateActivationRangeQuantized: the clamp of the fused activation."""
        scale, zero_point = operator.output.scale, operator.output.zero_point

        def quantised(real: float) -> int:
            # In float32 and half away from zero, like the C++.
            with np.errstate(over="ignore"):
                ratio = abs(float(np.float32(real) / scale))
            steps = int(min(ratio, 1e9) + 0.5)
            return zero_point + (steps if real > 0 else -steps)

        low, high = self.activation(operator)
        return max(-128, quantised(low)), min(127, quantised(high))

    def requantise(self, operator: Operator, weights: np.ndarray, bias: np.ndarray, scales: np.ndarray,
                   rounding: Rounding) -> Requantise:
        """``weights`` with the output channel first."""
        real = (np.float64(self.tensor.scale) * scales.astype(np.float64)
                / np.float64(operator.output.scale))
        low, high = accumulator_range(weights, bias, self.tensor.zero_point)
        clamp, zero_point = self.limits(operator), operator.output.zero_point
        if rounding is Rounding.SINGLE:
            limits = (limit - zero_point for limit in clamp)
            multiplier, shift, fits = fit_single_rounding(real, low, high, *limits)
        else:
            multiplier, shift = quantize_multiplier(real)
            fits = np.ones_like(shift, bool)
        if (overflowing := _overflows(low, high, shift)).any():
            raise operator.error(f"can overflow its 32-bit accumulator in channel {np.argmax(overflowing)}")
        if not fits.all():
            raise operator.error(f"has a scale in channel {np.argmin(fits)} that no integer multiplier "
                                 "reproduces exactly; quantise it again with less extreme scales")
        return Requantise(multiplier, shift, zero_point, *clamp, rounding)

    def weighted(self, operator: Operator, weights: np.ndarray, bias: np.ndarray, fields: dict[str, Any]) -> Layer:
        scales = np.broadcast_to(operator.input(1).scales, len(bias))
        rounding = Rounding.SINGLE if operator.name == "FULLY_CONNECTED" else Rounding.DOUBLE
        kind, by_channel = ((Depthwise, weights.transpose(2, 0, 1)) if weights.ndim == 3 else (Convolution, weights))
        requantise = self.requantise(operator, by_channel, bias, scales, rounding)
        return kind(**fields, weights=weights, bias=bias, requantise=requantise, weight_scales=scales)

    def averaged(self, operator: Operator, window: tuple[int, int], fields: dict[str, Any]) -> Layer:
        count, channels = prod(window), fields["output_shape"][2]
        if operator.name == "AVERAGE_POOL_2D":
            bias, requantise = np.zeros(channels), Average(count, *self.limits(operator))
        else:
            bias = np.full(channels, -count * self.tensor.zero_point)
            requantise = self.requantise_mean(operator, count, channels)
        return AveragePool(**fields, window=window, bias=bias, requantise=requantise)

    def requantise_mean(self, operator: Operator, count: int, channels: int) -> Requantise:
        """QuantizedMeanOrSum: the division by the number of pixels, truncated, goes into the multiplier."""
        real = np.float64(self.tensor.scale) / np.float64(operator.output.scale)
        multiplier, shift = (int(number) for number in quantize_multiplier(real))
        by = min(count.bit_length() - 1, 32, 31 + shift)
        multiplier, shift = (multiplier << by) // count, shift - by
        low, high = -count * (128 + self.tensor.zero_point), count * (127 - self.tensor.zero_point)
        if _overflows(low, high, shift).any():
            raise operator.error("can overflow its 32-bit accumulator")
        return Requantise(np.full(channels, multiplier), np.full(channels, shift), operator.output.zero_point)

    def close(self, operator: Operator):
        super().close(operator)
        if operator.output.meaning != (1 / 256, -128):
            raise operator.error("must have the output scale 1/256 and the zero point -128")
        if operator.options.Beta * float(self.tensor.scale) * 2**26 <= 1:
            raise operator.error(f"has the input scale {self.tensor.scale}, too small for its fixed point")

    def quantize(self, operator: Operator):
        if self.started:
            raise operator.error("is only supported as the first operator")
        source = operator.input(0)
        if source.type != "FLOAT32":
            raise operator.error(f"turns {source.type.lower()} into {operator.output.type.lower()}; convert "
                                 "the model with int8 input (inference_input_type=tf.int8)")
        self.check_activation(operator, operator.output)
        self.start = operator.output

    def dequantize(self, operator: Operator):
        """At the end: the accelerator delivers the int8 values before it."""
        self.closed = operator


def _overflows(low, high, shift) -> np.ndarray:
    """Whether an accumulator of ``low … high`` that is shifted to the left leaves int32."""
    widest = np.maximum(-np.asarray(low, np.int64), np.asarray(high, np.int64) + 1)
    return (np.asarray(shift) > 30) | (widest > (1 << 31) >> np.clip(shift, 0, 30))


class _FloatChain(_Chain[FloatLayer]):
    """float32 throughout; a ReLU may also stand alone."""

    WEIGHTS = BIAS = "FLOAT32"
    SUPPORTED = _Chain.SUPPORTED | dict.fromkeys(
        ("RELU", "RELU6", "RELU_N1_TO_1"), Supported("clamp", "fused into the layer before it"))
    ELSEWHERE = dict.fromkeys(("QUANTIZE", "DEQUANTIZE"), f"integers inside a float model: {EXPORT_AGAIN}")

    def network(self) -> FloatNetwork:
        beta = self.softmax.options.Beta if self.softmax else 1.0
        return FloatNetwork(self.name, tuple(self.layers), softmax=self.softmax is not None, beta=beta)

    def check_activation(self, operator: Operator, tensor: Tensor):
        if tensor.type != "FLOAT32":
            raise operator.error(f"works on {tensor.type.lower()} values in a float model; {EXPORT_AGAIN}")

    def check_weights(self, operator: Operator, tensor: Tensor, axis: int):
        if tensor.type != "FLOAT32":
            raise operator.error(f"has {tensor.type.lower()} weights for float32 values (dynamic-range "
                                 f"quantisation); {EXPORT_AGAIN}")

    def zero(self, tensor: Tensor) -> int:
        return 0

    def meaning(self, operator: Operator) -> dict[str, Any]:
        minimum, maximum = self.activation(operator)
        return {"minimum": minimum, "maximum": maximum}

    def weighted(self, operator: Operator, weights: np.ndarray, bias: np.ndarray,
                 fields: dict[str, Any]) -> FloatLayer:
        kind = FloatDepthwise if weights.ndim == 3 else FloatConvolution
        return kind(**fields, weights=weights, bias=bias)

    def averaged(self, operator: Operator, window: tuple[int, int], fields: dict[str, Any]) -> FloatLayer:
        return FloatAveragePool(**fields, window=window)

    def clamp(self, operator: Operator):
        """Fused here into the layer before it, which then gives the tensor of this operator."""
        if not self.layers:
            if self.skipped:
                return
            raise operator.error("has no layer before it to be fused into")
        self.check_shape(operator, self.shape)
        before, (low, high) = self.layers[-1], _CLAMPS[operator.name]
        self.layers[-1] = replace(before, name=operator.output.name, tensor=operator.output.index,
                                  minimum=min(max(before.minimum, low), high),
                                  maximum=min(max(before.maximum, low), high))


TFLITE_FORMATS = {
    "int8 TFLite": Format("one chain with one input and one output, batch 1; int8 activations, int8 symmetric weights "
                          "with a scale for each output channel or one for all, int32 biases", _IntegerChain.SUPPORTED),
    "float TFLite": Format("one chain with one input and one output, batch 1; float32, or float16 weights that "
                           "DEQUANTIZE widens; for 'tepal quantize'", _FloatChain.SUPPORTED),
}
"""What each kind of file may hold."""
