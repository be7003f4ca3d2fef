"""int8 ``.tflite`` files to :class:`~.network.Network`.

The numbers follow TensorFlow Lite's ``Prepare`` functions (``kernel_util.cc``, ``quantization_util.cc``,
``fully_connected.cc``, ``reduce.cc``), so that the network gives the bytes of LiteRT's reference kernels.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import isfinite, prod
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import tflite

from .arithmetic import Rounding, accumulator_range, fit_single_rounding, quantize_multiplier
from .network import (
    Average,
    AveragePool,
    Convolution,
    Depthwise,
    Layer,
    Network,
    NetworkError,
    Padding,
    Requantise,
    Shape,
    Softmax,
)

__all__ = ["read_tflite"]

LARGEST_MAP = 1 << 26
"""Values in one feature map, and weights of one layer; keeps a damaged file from asking for all memory."""


def read_tflite(path: str | PathLike) -> Network:
    """The integer network of an int8 ``.tflite`` file.

    Parameters
    ----------
    path
        A chain of the operators in ``SUPPORTED``, batch 1, one input, one output.

    Raises
    ------
    NetworkError
        One sentence: the file can't be read, is damaged, or holds something that isn't supported.
    """
    path = Path(path)
    try:
        return _Chain(path.stem).read(_File(path.read_bytes()))
    except NetworkError as error:
        raise NetworkError(f"{path}: {error}") from None
    except OSError as error:
        raise NetworkError(f"{path}: can't be read ({error.strerror})") from None
    except Exception as error:
        # The flatbuffer classes follow offsets unchecked; a damaged file ends in any exception at all.
        raise NetworkError(f"{path}: is damaged (its tables can't be read); export it again") from error


def _names(enumeration) -> dict[int, str]:
    return {value: name for name, value in vars(enumeration).items() if isinstance(value, int)}


_TYPES = _names(tflite.TensorType)
_OPERATORS = _names(tflite.BuiltinOperator)
_ACTIVATIONS = _names(tflite.ActivationFunctionType)
_OPTIONS = {"CONV_2D": tflite.Conv2DOptions, "DEPTHWISE_CONV_2D": tflite.DepthwiseConv2DOptions,
            "AVERAGE_POOL_2D": tflite.Pool2DOptions, "FULLY_CONNECTED": tflite.FullyConnectedOptions,
            "SOFTMAX": tflite.SoftmaxOptions}


_NO_PADDING = Padding()


def _text(raw: bytes | None) -> str:
    text = (raw or b"").decode(errors="replace")
    return "".join(character if character.isprintable() else "?" for character in text)


def _label(index: int, name: str) -> str:
    """A tensor in a message; fused layers bear the names of all they were made of."""
    return f"tensor {index} ({name if len(name) <= 60 else name[:60] + '…'})"


@dataclass(frozen=True, eq=False)
class _Tensor:
    """One tensor of the file; ``data`` its constant bytes (empty for an activation)."""

    index: int
    name: str
    type: str
    shape: tuple[int, ...]
    scales: np.ndarray
    zero_points: np.ndarray
    axis: int
    data: np.ndarray

    def constant(self, dtype) -> np.ndarray:
        """The constant values in the tensor's shape."""
        wanted = prod(self.shape) * np.dtype(dtype).itemsize
        if len(self.data) != wanted:
            raise NetworkError(f"{_label(self.index, self.name)} needs {wanted} bytes of constant data "
                               f"and has {len(self.data)}")
        return np.frombuffer(self.data.tobytes(), np.dtype(dtype).newbyteorder("<")).reshape(self.shape)

    @property
    def scale(self) -> np.float32:
        return self.scales[0]

    @property
    def zero_point(self) -> int:
        return int(self.zero_points[0])

    @property
    def meaning(self) -> tuple[float, int]:
        return float(self.scale), self.zero_point


@dataclass(frozen=True, eq=False)
class _Operator:
    index: int
    name: str
    inputs: tuple[_Tensor | None, ...]
    output: _Tensor
    options: Any

    def error(self, text: str) -> NetworkError:
        return NetworkError(f"operator {self.index} ({self.name}) {text}")

    def input(self, number: int) -> _Tensor:
        """A mandatory input."""
        tensor = self.optional(number)
        if tensor is None:
            raise self.error(f"has no input {number}")
        return tensor

    def optional(self, number: int) -> _Tensor | None:
        return self.inputs[number] if number < len(self.inputs) else None


class _File:
    """The flatbuffer: tensors and operators, nothing interpreted."""

    def __init__(self, content: bytes):
        if len(content) < 8 or content[4:8] != b"TFL3":
            raise NetworkError("isn't a .tflite file (it has no TFL3 mark)")
        self.size = len(content)
        self.model: Any = tflite.Model.GetRootAs(content, 0)
        if (subgraphs := self.model.SubgraphsLength()) != 1:
            raise NetworkError(f"has {subgraphs} subgraphs; only models of one are supported")
        self.graph: Any = self.model.Subgraphs(0)
        self.count = self.bounded(self.graph.OperatorsLength())
        self.tensors: dict[int, _Tensor] = {}

    def bounded(self, length: int) -> int:
        """``length`` of a vector of tables, unless the file can't hold it."""
        if not 0 <= length <= self.size // 4:
            raise NetworkError("is damaged (a table is longer than the file); export it again")
        return length

    def end(self, numbers, what: str) -> _Tensor:
        """The model's one input or output."""
        if np.size(numbers) != 1 or np.ndim(numbers) != 1:
            raise NetworkError(f"has {np.size(numbers) * np.ndim(numbers)} {what}s; "
                               f"only models with one {what} are supported")
        return self.tensor(int(numbers[0]))

    @property
    def input(self) -> _Tensor:
        return self.end(self.graph.InputsAsNumpy(), "input")

    @property
    def output(self) -> _Tensor:
        return self.end(self.graph.OutputsAsNumpy(), "output")

    def tensor(self, index: int) -> _Tensor:
        if index not in self.tensors:
            self.tensors[index] = self._tensor(index)
        return self.tensors[index]

    def _tensor(self, index: int) -> _Tensor:
        if not 0 <= index < self.graph.TensorsLength():
            raise NetworkError(f"is damaged (it has no tensor {index}); export it again")
        table = self.graph.Tensors(index)
        name = _text(table.Name())
        label = _label(index, name)
        if table.ShapeLength() > 8:
            raise NetworkError(f"{label} has {table.ShapeLength()} dimensions; at most 4 are supported")
        shape = tuple(int(size) for size in table.ShapeAsNumpy()) if table.ShapeLength() else ()
        if any(size < 1 for size in shape) or prod(shape) > LARGEST_MAP:
            raise NetworkError(f"{label} has the shape {list(shape)}; every dimension must "
                               f"be fixed and at least 1, and all together at most {LARGEST_MAP} values")
        if table.Sparsity() is not None:
            raise NetworkError(f"{label} is sparse; store its zeros")
        scales, zero_points, axis = np.empty(0, np.float32), np.empty(0, np.int64), 0
        if (quantisation := table.Quantization()) is not None:
            axis = quantisation.QuantizedDimension()
            if quantisation.ScaleLength():
                scales = np.array(quantisation.ScaleAsNumpy(), np.float32)
            if quantisation.ZeroPointLength():
                zero_points = np.array(quantisation.ZeroPointAsNumpy(), np.int64)
            if not np.isfinite(scales).all() or (scales <= 0).any():
                raise NetworkError(f"{label} has a scale that isn't a positive number")
        if not 0 <= table.Buffer() < self.model.BuffersLength():
            raise NetworkError(f"{label} names buffer {table.Buffer()}, which doesn't exist")
        buffer = self.model.Buffers(table.Buffer())
        data = buffer.DataAsNumpy() if buffer.DataLength() else np.empty(0, np.uint8)
        return _Tensor(index, name, _TYPES.get(table.Type(), f"type {table.Type()}"), shape, scales,
                       zero_points, axis, data)

    def operators(self) -> Iterator[_Operator]:
        """In the order of the file, which is the order of execution."""
        for index in range(self.count):
            table = self.graph.Operators(index)
            if not 0 <= table.OpcodeIndex() < self.model.OperatorCodesLength():
                raise NetworkError(f"is damaged (operator {index} has no operator code); export it again")
            code = self.model.OperatorCodes(table.OpcodeIndex())
            # Old converters fill the deprecated byte only, new ones both as far as a byte reaches.
            number = max(code.DeprecatedBuiltinCode(), code.BuiltinCode())
            name = _OPERATORS.get(number, f"builtin code {number}")
            if name == "CUSTOM":
                name = _text(code.CustomCode() or b"CUSTOM")[:40]
            if name not in _Chain.SUPPORTED:
                raise NetworkError(f"operator {index} ({name}) is not supported; supported are "
                                   f"{', '.join(_Chain.SUPPORTED)}")
            options = None
            if kind := _OPTIONS.get(name):
                union, expected = table.BuiltinOptions(), getattr(tflite.BuiltinOptions, kind.__name__)
                if union is None or table.BuiltinOptionsType() != expected:
                    raise NetworkError(f"operator {index} ({name}) has no {kind.__name__}")
                options = kind()
                options.Init(union.Bytes, union.Pos)
            if table.OutputsLength() != 1 or not 1 <= self.bounded(table.InputsLength()) <= 8:
                raise NetworkError(f"operator {index} ({name}) has {table.InputsLength()} inputs and "
                                   f"{table.OutputsLength()} outputs")
            inputs = tuple(None if number == -1 else self.tensor(int(number))
                           for number in table.InputsAsNumpy())
            yield _Operator(index, name, inputs, self.tensor(table.Outputs(0)), options)


class _Chain:
    """Walks the operators and appends layers.

    ``shape`` is the feature map so far, ``padding`` what PAD left for the next convolution; ``flat`` says
    that a reshape made a vector of a map with several pixels, which only FULLY_CONNECTED may read."""

    def __init__(self, name: str):
        self.name = name
        self.layers: list[Layer] = []
        self.padding = _NO_PADDING
        self.padder: _Operator | None = None
        self.flat = False
        self.softmax: Softmax | None = None

    def read(self, file: _File) -> Network:
        start = self.tensor = file.input
        last, closed = None, None
        for operator in file.operators():
            if closed:
                raise closed.error(f"must be the last operator; {operator.name} follows")
            source = operator.input(0)
            if source is not self.tensor:
                raise operator.error(f"reads tensor {source.index}, not the result of the operator before "
                                     "it; only a single chain of operators is supported")
            handler = self.SUPPORTED[operator.name]
            if handler is _Chain._quantize:
                if last is not None:
                    raise operator.error("is only supported as the first operator")
                self._quantize(operator)
                start = operator.output
            elif handler is _Chain._dequantize:
                closed = operator
            else:
                if last is None:
                    self._check_activation(operator, source)
                    self.shape = self._map(operator, source)
                self._check_activation(operator, operator.output)
                if self.softmax:
                    raise operator.error("follows SOFTMAX, which is only supported at the end")
                if self.padder and operator.name not in ("CONV_2D", "DEPTHWISE_CONV_2D", "PAD", "PADV2"):
                    raise self.padder.error(f"is followed by {operator.name}; padding is only supported "
                                            "before a convolution")
                if self.flat and operator.name not in ("FULLY_CONNECTED", *_RESHAPES):
                    raise operator.error("reads a flattened map; only FULLY_CONNECTED can")
                handler(self, operator)
                last = operator
            self.tensor = operator.output
        if self.tensor is not file.output:
            raise NetworkError(f"the last operator gives tensor {self.tensor.index} but the model's output "
                               f"is tensor {file.output.index}")
        if not self.layers:
            raise NetworkError("has no layer to compute")
        if self.padder:
            raise self.padder.error("is the last operator; padding is only supported before a convolution")
        return Network(self.name, tuple(self.layers), *start.meaning, self.softmax)

    # ---- checks ----

    def _check_activation(self, operator: _Operator, tensor: _Tensor):
        if tensor.type != "INT8":
            weights = operator.optional(1)
            if tensor.type.startswith("FLOAT"):
                what = f"{tensor.type.lower()} values"
                if weights is not None and weights.type.startswith("FLOAT"):
                    what = f"{weights.type.lower()} weights"
                raise NetworkError(f"is a float model (operator {operator.index}, {operator.name}, has "
                                   f"{what}): quantise it first, to full int8 with a representative data set")
            raise operator.error(f"works on {tensor.type.lower()} values; quantise the model to int8 "
                                 "activations (inference_input_type=tf.int8)")
        if len(tensor.scales) != 1 or len(tensor.zero_points) != 1:
            raise operator.error(f"reads or writes tensor {tensor.index}, which has {len(tensor.scales)} "
                                 f"scales and {len(tensor.zero_points)} zero points, not one")
        if not -128 <= tensor.zero_point <= 127:
            raise operator.error(f"has the zero point {tensor.zero_point}, outside int8")

    def _map(self, operator: _Operator, tensor: _Tensor) -> Shape:
        match tensor.shape:
            case (1, height, width, channels):
                return height, width, channels
            case (1, channels) | (channels,):
                return 1, 1, channels
            case (batch, _, _, _) | (batch, _):
                raise operator.error(f"works on a batch of {batch}; only batch 1 is supported")
        raise operator.error(f"works on the shape {list(tensor.shape)}; supported are [1, height, width, "
                             "channels] and [1, channels]")

    def _unchanged(self, operator: _Operator):
        if operator.output.meaning != self.tensor.meaning:
            raise operator.error("changes the scale or the zero point; only equal ones are supported")

    def _activation(self, operator: _Operator) -> tuple[int, int]:
        """CalculateActivationRangeQuantized: the clamp of the fused activation."""
        number = operator.options.FusedActivationFunction()
        scale, zero_point = operator.output.scale, operator.output.zero_point

        def quantised(real):
            # In float32 and half away from zero, like the C++.
            with np.errstate(over="ignore"):
                ratio = abs(float(np.float32(real) / scale))
            steps = int(min(ratio, 1e9) + 0.5)
            return zero_point + (steps if real > 0 else -steps)

        match _ACTIVATIONS.get(number):
            case "NONE":
                return -128, 127
            case "RELU":
                return zero_point, 127
            case "RELU6":
                return zero_point, min(127, quantised(6))
            case "RELU_N1_TO_1":
                return max(-128, quantised(-1)), min(127, quantised(1))
        raise operator.error(f"has the fused activation {_ACTIVATIONS.get(number, number)}; supported are "
                             "NONE, RELU, RELU6 and RELU_N1_TO_1")

    def _window(self, operator: _Operator, kernel: tuple[int, int]) -> tuple[tuple[int, int], Padding, Shape]:
        """Stride, whole padding (of PAD too) and output size; the depth is left 0."""
        options = operator.options
        stride = options.StrideH(), options.StrideW()
        if min(stride) < 1:
            raise operator.error(f"has the stride {stride}")
        around, sizes = [], []
        before = ((self.padding.top, self.padding.bottom), (self.padding.left, self.padding.right))
        for size, extra, window, step in zip(self.shape, before, kernel, stride, strict=False):
            size += sum(extra)
            if options.Padding() == tflite.Padding.SAME:
                result = -(-size // step)
                total = max((result - 1) * step + window - size, 0)
            else:
                result, total = (size - window) // step + 1, 0
            if result < 1:
                raise operator.error(f"has a window of {kernel[0]}x{kernel[1]}, larger than its input of "
                                     f"{self.shape[0]}x{self.shape[1]}")
            around += extra[0] + total // 2, extra[1] + total - total // 2
            sizes.append(result)
        return stride, Padding(*around), (*sizes, 0)

    # ---- layers ----

    def _common(self, operator: _Operator, shape: Shape, stride=(1, 1),
                padding=_NO_PADDING) -> dict[str, Any]:
        """The fields of :class:`Layer`; moves on to the output."""
        if self._map(operator, operator.output) != shape:
            raise operator.error(f"should give the shape {[1, *shape]} but the file says "
                                 f"{list(operator.output.shape)}")
        fields = {"name": operator.output.name, "index": operator.index, "tensor": operator.output.index,
                  "input_shape": self.shape, "output_shape": shape, "stride": stride, "padding": padding,
                  "input_zero_point": self.tensor.zero_point, "output_scale": float(operator.output.scale)}
        self.shape, self.padding, self.padder, self.flat = shape, _NO_PADDING, None, False
        return fields

    def _weights(self, operator: _Operator, rank: int, axis: int) -> tuple[np.ndarray, ...]:
        """int8 weights, int32 bias and float32 scales of the weights; ``axis`` is the output channel."""
        tensor = operator.input(1)
        if tensor.type != "INT8":
            raise operator.error(f"has {tensor.type.lower()} weights; only int8 is supported")
        weights = tensor.constant(np.int8)
        if weights.ndim != rank:
            raise operator.error(f"has weights of the shape {list(tensor.shape)}")
        channels = weights.shape[axis]
        if len(tensor.scales) not in (1, channels) or (len(tensor.scales) > 1 and tensor.axis != axis):
            raise operator.error(f"has {len(tensor.scales)} weight scales along dimension {tensor.axis}; "
                                 f"supported are one, or one for each of the {channels} output channels")
        if tensor.zero_points.any():
            raise operator.error("has weights with a zero point other than 0; quantise them symmetrically")
        bias = np.zeros(channels, np.int32)
        if (given := operator.optional(2)) is not None:
            if given.type != "INT32" or prod(given.shape) != channels:
                raise operator.error(f"has a bias of {prod(given.shape)} {given.type.lower()} values; "
                                     f"{channels} int32 values are needed")
            bias = given.constant(np.int32).reshape(channels)
        return weights, bias, np.broadcast_to(tensor.scales, channels)

    def _requantise(self, operator: _Operator, weights, bias, scales, rounding: Rounding) -> Requantise:
        """``weights`` with the output channel first."""
        real = (np.float64(self.tensor.scale) * scales.astype(np.float64)
                / np.float64(operator.output.scale))
        low, high = accumulator_range(weights, bias, self.tensor.zero_point)
        clamp, zero_point = self._activation(operator), operator.output.zero_point
        if rounding is Rounding.SINGLE:
            limits = (limit - zero_point for limit in clamp)
            multiplier, shift, fits = fit_single_rounding(real, low, high, *limits)
        else:
            multiplier, shift = quantize_multiplier(real)
            fits = np.ones_like(shift, bool)
        widest = np.maximum(-low, high + 1) << np.clip(shift, 0, 30)
        if (overflowing := (shift > 30) | (widest > 1 << 31)).any():
            raise operator.error(f"can overflow its 32-bit accumulator in channel {np.argmax(overflowing)}")
        if not fits.all():
            raise operator.error(f"has a scale in channel {np.argmin(fits)} that no integer multiplier "
                                 "reproduces exactly; quantise it again with less extreme scales")
        return Requantise(multiplier, shift, zero_point, *clamp, rounding)

    def _convolution(self, operator: _Operator):
        weights, bias, scales = self._weights(operator, rank=4, axis=0)
        if weights.shape[3] != self.shape[2]:
            raise operator.error(f"takes {weights.shape[3]} channels of an input with {self.shape[2]}; "
                                 "grouped convolutions are not supported")
        self._convolve(operator, weights, bias, scales)

    def _convolve(self, operator: _Operator, weights, bias, scales):
        options = operator.options
        if (options.DilationHFactor(), options.DilationWFactor()) != (1, 1):
            raise operator.error("is dilated; only a dilation of 1 is supported")
        depthwise = weights.ndim == 3
        stride, padding, size = self._window(operator, weights.shape[:2] if depthwise else weights.shape[1:3])
        by_channel = weights.transpose(2, 0, 1) if depthwise else weights
        requantise = self._requantise(operator, by_channel, bias, scales, Rounding.DOUBLE)
        fields = self._common(operator, (*size[:2], len(bias)), stride, padding)
        kind = Depthwise if depthwise else Convolution
        self.layers.append(kind(**fields, weights=weights, bias=bias, requantise=requantise, weight_scales=scales))

    def _depthwise(self, operator: _Operator):
        weights, bias, scales = self._weights(operator, rank=4, axis=3)
        channels = self.shape[2]
        if weights.shape[0] != 1 or weights.shape[3] % channels:
            raise operator.error(f"has weights of the shape {list(weights.shape)} for {channels} channels")
        weights = weights[0]
        multiplier = weights.shape[2] // channels
        if multiplier > 1:
            # The same sums as a dense convolution whose other products are zero.
            if weights.size * channels > LARGEST_MAP:
                raise operator.error(f"has the depth multiplier {multiplier} on {channels} channels, too "
                                     "large to be computed as a dense convolution")
            out = np.arange(weights.shape[2])
            dense = np.zeros((len(out), *weights.shape[:2], channels), np.int8)
            dense[out, :, :, out // multiplier] = weights.transpose(2, 0, 1)
            weights = dense
        self._convolve(operator, weights, bias, scales)

    def _fully_connected(self, operator: _Operator):
        weights, bias, scales = self._weights(operator, rank=2, axis=0)
        if operator.options.WeightsFormat() != tflite.FullyConnectedOptionsWeightsFormat.DEFAULT:
            raise operator.error("has shuffled weights; only the default format is supported")
        if weights.shape[1] != prod(self.shape):
            raise operator.error(f"has rows of {weights.shape[1]} weights for {prod(self.shape)} values")
        requantise = self._requantise(operator, weights, bias, scales, Rounding.SINGLE)
        weights = weights.reshape(len(bias), *self.shape)
        fields = self._common(operator, (1, 1, len(bias)))
        self.layers.append(Convolution(**fields, weights=weights, bias=bias, requantise=requantise,
                                       weight_scales=scales))

    def _average_pool(self, operator: _Operator):
        self._unchanged(operator)
        window = operator.options.FilterHeight(), operator.options.FilterWidth()
        if min(window) < 1:
            raise operator.error(f"has a window of {window[0]}x{window[1]}")
        stride, padding, size = self._window(operator, window)
        if padding != _NO_PADDING:
            raise operator.error("averages over padding; only windows wholly inside the map are supported")
        average = Average(prod(window), *self._activation(operator))
        bias = np.zeros(self.shape[2], np.int32)
        fields = self._common(operator, (*size[:2], len(bias)), stride)
        self.layers.append(AveragePool(**fields, window=window, bias=bias, requantise=average))

    def _mean(self, operator: _Operator):
        axes = operator.input(1)
        if axes.type != "INT32":
            raise operator.error(f"has {axes.type.lower()} axes; only int32 is supported")
        rank = len(self.tensor.shape)
        if rank != 4 or sorted({int(axis) % 4 for axis in axes.constant(np.int32).ravel()}) != [1, 2]:
            raise operator.error("must average over height and width, no less and no more")
        height, width, channels = self.shape
        count = height * width
        real = np.float64(self.tensor.scale) / np.float64(operator.output.scale)
        multiplier, shift = (int(number) for number in quantize_multiplier(real))
        # QuantizedMeanOrSum: the division by the number of pixels, truncated, goes into the multiplier.
        by = min(count.bit_length() - 1, 32, 31 + shift)
        multiplier, shift = (multiplier << by) // count, shift - by
        largest = count * max(128 + self.tensor.zero_point, 127 - self.tensor.zero_point)
        if shift > 30 or largest << max(shift, 0) >= 1 << 31:
            raise operator.error("can overflow its 32-bit accumulator")
        requantise = Requantise(np.full(channels, multiplier), np.full(channels, shift),
                                operator.output.zero_point)
        bias = np.full(channels, -count * self.tensor.zero_point)
        fields = self._common(operator, (1, 1, channels))
        self.layers.append(AveragePool(**fields, window=(height, width), bias=bias, requantise=requantise))

    # ---- what leaves no layer ----

    def _pad(self, operator: _Operator):
        self._unchanged(operator)
        amounts = operator.input(1)
        if amounts.type not in ("INT32", "INT64") or amounts.shape != (4, 2):
            raise operator.error(f"has {amounts.type.lower()} amounts of the shape {list(amounts.shape)}; "
                                 "four pairs of int32 are needed")
        amounts = amounts.constant(np.int32 if amounts.type == "INT32" else np.int64)
        if (amounts < 0).any() or amounts[[0, 3]].any():
            raise operator.error("pads something other than height and width")
        value = operator.optional(2)
        if value is not None and (value.type != "INT8"
                                  or (value.constant(np.int8) != operator.output.zero_point).any()):
            raise operator.error("pads with a value other than the zero point")
        top, bottom, left, right = (int(amount) for amount in amounts[1:3].ravel())
        height, width, channels = self.shape
        before = self.padding
        self.padding = Padding(before.top + top, before.bottom + bottom,
                               before.left + left, before.right + right)
        padded = (height + self.padding.top + self.padding.bottom,
                  width + self.padding.left + self.padding.right, channels)
        if self._map(operator, operator.output) != padded:
            raise operator.error(f"should give the shape {[1, *padded]} but the file says "
                                 f"{list(operator.output.shape)}")
        self.padder = operator

    def _reshape(self, operator: _Operator):
        self._unchanged(operator)
        if prod(operator.output.shape) != prod(self.shape):
            raise operator.error(f"makes {prod(operator.output.shape)} values of {prod(self.shape)}")
        after = self._map(operator, operator.output)
        if after == self.shape:
            self.flat = False
        elif after[:2] == (1, 1):
            self.flat = True
        elif not self.layers and not self.padder:
            self.shape = after
        else:
            raise operator.error(f"makes {list(after)} of {list(self.shape)}; only flattening is supported")

    def _softmax(self, operator: _Operator):
        if self.shape[:2] != (1, 1) or operator.output.shape != self.tensor.shape:
            raise operator.error(f"works on a map of {self.shape[0]}x{self.shape[1]}; only vectors are "
                                 "supported")
        if operator.output.meaning != (1 / 256, -128):
            raise operator.error("must have the output scale 1/256 and the zero point -128")
        beta = operator.options.Beta()
        if not isfinite(beta) or beta <= 0:
            raise operator.error(f"has the beta {beta}")
        if beta * float(self.tensor.scale) * 2**26 <= 1:
            raise operator.error(f"has the input scale {self.tensor.scale}, too small for its fixed point")
        self.softmax = Softmax(operator.index, operator.output.index, float(self.tensor.scale), beta)

    def _quantize(self, operator: _Operator):
        source = operator.input(0)
        if source.type != "FLOAT32":
            raise operator.error(f"turns {source.type.lower()} into {operator.output.type.lower()}; convert "
                                 "the model with int8 input (inference_input_type=tf.int8)")
        self._check_activation(operator, operator.output)

    def _dequantize(self, operator: _Operator):
        """At the end: the accelerator delivers the int8 values before it."""

    SUPPORTED = {
        "CONV_2D": _convolution, "DEPTHWISE_CONV_2D": _depthwise, "FULLY_CONNECTED": _fully_connected,
        "AVERAGE_POOL_2D": _average_pool, "MEAN": _mean, "PAD": _pad, "PADV2": _pad, "RESHAPE": _reshape,
        "SQUEEZE": _reshape, "EXPAND_DIMS": _reshape, "SOFTMAX": _softmax, "QUANTIZE": _quantize,
        "DEQUANTIZE": _dequantize,
    }
    """Handler of each operator."""


_RESHAPES = ("RESHAPE", "SQUEEZE", "EXPAND_DIMS")
