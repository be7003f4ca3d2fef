# SPDX-License-Identifier: Apache-2.0
"""The network so far while a ``.tflite`` file is read: what its operators find, and what they leave.

Integer and float layers differ in the types of their tensors and in what they know of scales.  The integers follow
TensorFlow Lite's ``Prepare`` functions (``kernel_util.cc``, ``quantization_util.cc``), so that the network gives the
bytes of LiteRT's reference kernels."""

from collections.abc import Callable
from dataclasses import replace
from math import inf, prod
from typing import Any

import numpy as np
import tflite as schema
from tepal.quant.answers import Arranged, Function, Tabled
from tepal.quant.arithmetic import Rounding, multiply_by_quantized_multiplier, quantize_multiplier
from tepal.quant.errors import NetworkError
from tepal.quant.layer import IMAGE, LARGEST_MAP, NO_PADDING, Closing, Padding, Shape
from tepal.quant.lookup import FloatLookup, Lookup
from tepal.quant.windows import same_padding

from .tflite_file import EXPORT_AGAIN, File, Operator, Tensor, names
from .values import TensorValue, cropped, in_order, in_space

__all__ = ["ACTIVATIONS", "DILATION_OPTIONS", "WINDOW_OPTIONS", "FloatGraph", "IntegerGraph", "TfliteGraph",
           "multiplied"]

ACTIVATIONS = {"NONE": (-inf, inf), "RELU": (0.0, inf), "RELU6": (0.0, 6.0), "RELU_N1_TO_1": (-1.0, 1.0)}
"""Lowest and highest result of each activation."""

WINDOW_OPTIONS = ("StrideH", "StrideW", "Padding", "FusedActivationFunction")
"""Fields of the options of every operator whose window moves over a map."""

DILATION_OPTIONS = ("DilationHFactor", "DilationWFactor")

_MOST_PARTS = 1024

_ACTIVATION_NAMES = names(schema.ActivationFunctionType)


class TfliteGraph:
    """``layers`` so far, and ``values``: what each tensor of the file holds, by its number.

    ``start`` is the tensor whose values the network takes.  A layer that couldn't be made is None, so that the walk can
    go on to what else stands in the way."""

    bias_type: str
    """Type of the biases."""

    def __init__(self, file: File):
        self.start = file.input
        if len(self.start.shape) > 1 and self.start.shape[0] != 1:
            raise NetworkError(f"works on a batch of {self.start.shape[0]}; only batch 1 is supported")
        self.readers = file.readers()
        self.layers: list[Any] = []
        self.sizes: dict[int, Shape] = {}
        self.values = {file.input.index: TensorValue((IMAGE,), file.input.shape, shared=True)}
        # The layers that put sources together, by what makes them.
        self._joined: dict[Callable[[tuple[int, ...]], Any], int] = {}
        # Where the image's values, in the order of the file, stand in its map; None if they are in order.
        self._image_order: np.ndarray | None = None

    @property
    def channels_first(self) -> bool:
        """Whether the file takes its images as [1, channels, height, width]."""
        return self._image_order is not None

    # ---- what differs ----

    def check_activation(self, operator: Operator, tensor: Tensor) -> None:
        """Raises unless ``tensor`` is a feature map of the right type."""
        raise NotImplementedError

    def check_weights(self, operator: Operator, tensor: Tensor, axis: int) -> None:
        """Raises unless ``tensor``, whose dimension ``axis`` is the output channel, has the right type."""
        raise NotImplementedError

    def check_unchanged(self, operator: Operator) -> None:
        """Raises if the operator gives its values another type or meaning."""
        source, result = operator.input(0), operator.output
        if source.type != result.type:
            raise operator.error(f"makes {result.type.lower()} values of {source.type.lower()} ones")

    def zero(self, tensor: Tensor) -> int:
        """The value of an activation that means 0."""
        raise NotImplementedError

    def meaning(self, operator: Operator) -> dict[str, Any]:
        """The fields that only layers of this graph have."""
        raise NotImplementedError

    # ---- values ----

    def value(self, operator: Operator, number: int = 0) -> TensorValue:
        """What input ``number`` of ``operator`` holds."""
        tensor = operator.input(number)
        if tensor.index not in self.values:
            if len(tensor.data):
                raise operator.obstacle(f"reads the constant tensor {tensor.index} where only what the image or a "
                                        "layer gives is supported")
            raise operator.error(f"reads tensor {tensor.index}, which no operator before it gives")
        return self.values[tensor.index]

    def give(self, operator: Operator, value: TensorValue, result: int = 0) -> None:
        """The operator's ``result`` of that number is ``value``."""
        tensor = operator.outputs[result]
        if tensor.index in self.values or len(tensor.data):
            raise operator.error(f"writes tensor {tensor.index}, which is the model's input, a constant, or written by "
                                 "another operator too")
        self.values[tensor.index] = replace(value, shared=value.shared or self.readers[tensor.index] > 1)

    def computable(self, operator: Operator, number: int = 0, *, padded: bool = False) -> TensorValue:
        """As :meth:`value`, of a single source: what a layer can read."""
        self.check_activation(operator, operator.input(number))
        value = self.value(operator, number)
        if value.closings:
            raise operator.error(f"follows {value.closings[-1].title}, which is only supported at the end")
        if value.padded and not padded:
            raise value.maker.error(f"is followed by {operator.name}; padding is only supported before a convolution")
        return value

    def opened(self, operator: Operator, value: TensorValue, shape: Shape | None = None) -> TensorValue:
        """``value`` with the image's values in the order of its map.  The first operator that reads the image tells
        which of its dimensions is what, if it takes it as a map of this ``shape``."""
        if value.sources != (IMAGE,):
            return value
        if IMAGE not in self.sizes:
            self._open(operator, None if shape is None else cropped(value.numbers.reshape(shape))[0])
        if self._image_order is None:
            return value
        return value.moved(np.where(value.numbers < 0, -1, self._image_order[value.numbers]))

    def _open(self, operator: Operator, image: np.ndarray | None) -> None:
        """Learn what the dimensions of the image are from the places of its values in the map that an operator reads,
        or, where that takes any, from the file's shape."""
        given = self.start.shape
        if image is None:
            match given:
                case (1, height, width, channels):
                    self.sizes[IMAGE] = height, width, channels
                case (1, height, width):
                    self.sizes[IMAGE] = height, width, 1
                case _:
                    self.sizes[IMAGE] = 1, 1, prod(given)
        elif in_order(image):
            self.sizes[IMAGE] = image.shape
        elif in_order(image.transpose(2, 0, 1)):
            self.sizes[IMAGE] = image.shape
            self._image_order = np.empty(image.size, np.int32)
            self._image_order[image.ravel()] = np.arange(image.size, dtype=np.int32)
        else:
            raise operator.error(f"reads an input of the shape {list(given)} with its values in another order; only "
                                 "[1, height, width, channels] and [1, channels, height, width] are supported")

    def joint(self, operator: Operator, values: list[TensorValue], axis: int,
              join: Callable[[tuple[int, ...]], Any]) -> TensorValue:
        """The ``values`` one behind the other along ``axis``; ``join`` makes the layer that puts their sources together
        channel by channel, once one is wanted."""
        values = [self.opened(operator, value) for value in values]
        first = values[0].shape
        if any(len(value.shape) != len(first) or value.shape[:axis] + value.shape[axis + 1:]
               != first[:axis] + first[axis + 1:] for value in values):
            shapes = " and ".join(str(list(value.shape)) for value in values)
            raise operator.error(f"puts the shapes {shapes} together along dimension {axis}; the others must be equal")
        sources = [source for value in values for source in value.sources]
        if prod(self.sizes[sources[0]]) * len(sources) > LARGEST_MAP or len(sources) > _MOST_PARTS:
            raise operator.error("puts too much together")
        counts = [sum(prod(self.sizes[source]) for source in value.sources) for value in values]
        starts = np.cumsum(counts) - counts
        places = np.concatenate([np.where(value.numbers < 0, -1, value.numbers + start)
                                 for value, start in zip(values, starts, strict=True)], axis=axis)
        self.check_shape(operator, places.shape)
        whole = TensorValue(tuple(sources), places.shape, maker=operator, join=join)
        return whole.moved(places.astype(np.int32))

    def settled(self, operator: Operator, value: TensorValue) -> TensorValue:
        """``value`` of one layer: of several sources the one that puts them together."""
        if len(value.sources) == 1:
            return value
        assert value.join is not None
        sizes = [self.sizes[source] for source in value.sources]
        if any(size[:2] != sizes[0][:2] for size in sizes):
            shapes = " and ".join(f"{height}x{width}" for height, width, _ in sizes)
            raise value.maker.obstacle(f"puts maps of {shapes} pixels together, which {operator.name} reads; only maps "
                                       "of one size can be, channel by channel")
        # What stands where once the sources are one map.
        starts = np.cumsum([prod(size) for size in sizes]) - [prod(size) for size in sizes]
        order = np.concatenate([np.arange(prod(size), dtype=np.int32).reshape(size) + start
                                for size, start in zip(sizes, starts, strict=True)], axis=2).ravel()
        numbers = np.empty_like(order)
        numbers[order] = np.arange(order.size, dtype=np.int32)
        if value.join not in self._joined:
            self._joined[value.join] = self.insert(value.join(value.sources))
        whole = replace(value, sources=(self._joined[value.join],), join=None)
        return whole.moved(np.where(value.numbers < 0, -1, numbers[value.numbers]))

    def map(self, operator: Operator, number: int = 0, *, padded: bool = False,
            dealt: bool = False) -> tuple[int, Shape, Padding]:
        """Of the map that is input ``number``: its layer, its height, width and channels, and the zeros around it if
        it may be ``padded``; if its pixels may be ``dealt`` out to a batch, of them all together."""
        value = self.computable(operator, number, padded=padded)
        if dealt and value.blocks:
            value = value.moved(in_space(value.numbers, value.blocks))
        match value.shape:
            case (1, height, width, channels):
                shape = height, width, channels
            case (1, channels) | (channels,):
                shape = 1, 1, channels
            case (batch, _, _, _) | (batch, _):
                raise operator.error(f"works on a batch of {batch}; only batch 1 is supported")
            case _:
                raise operator.error(f"works on the shape {list(value.shape)}; supported are [1, height, width, "
                                     "channels] and [1, channels]")
        value = self.settled(operator, self.opened(operator, value, shape))
        (source,) = value.sources
        size, fits, padding = self.sizes[source], shape == self.sizes[source], NO_PADDING
        if value.places is not None:
            image, padding = cropped(value.numbers.reshape(shape))
            fits = image.shape == size and in_order(image)
        if fits:
            return source, size, padding
        if size[:2] == (1, 1):
            raise operator.obstacle(f"reads a vector of {size[2]} values as a map of {shape[0]}x{shape[1]}x{shape[2]}; "
                                    "no layer gives a vector in the shape of a map: keep the map up to there, without "
                                    "FULLY_CONNECTED or a pool over all of it before this operator")
        raise operator.error(f"reads a map of {size[0]}x{size[1]}x{size[2]} (height, width, channels) that was "
                             "reshaped, or padded in its channels; only FULLY_CONNECTED can")

    def whole(self, operator: Operator, number: int = 0) -> tuple[int, Shape, np.ndarray]:
        """Of the values that are input ``number``, in any order: their layer, the size of its map, and the number of
        each in it (a flat array)."""
        value = self.read(operator, number)
        (source,) = value.sources
        return source, self.sizes[source], value.numbers.ravel()

    def read(self, operator: Operator, number: int = 0) -> TensorValue:
        """Input ``number`` as one layer's values, in any order."""
        return self.settled(operator, self.opened(operator, self.computable(operator, number)))

    def alike(self, operator: Operator, count: int, first: int = 0) -> tuple[list[int], Shape, TensorValue]:
        """Of ``count`` inputs from the ``first`` on, whose values must be in one order: their layers, the size of their
        maps, and the first one's value, to which the result's is equal in order and shape."""
        values = [self.read(operator, number) for number in range(first, first + count)]
        like = values[0]
        sizes = [self.sizes[value.sources[0]] for value in values]
        if any(value.shape != like.shape for value in values):
            shapes = " and ".join(str(list(value.shape)) for value in values)
            raise operator.obstacle(f"works on the shapes {shapes}; they must be equal")
        if any(size != sizes[0] or not _equal(value.places, like.places)
               for value, size in zip(values, sizes, strict=True)):
            raise operator.obstacle("works on maps whose values stand in different orders; leave out what reshapes or "
                                    "transposes one of them")
        return [value.sources[0] for value in values], sizes[0], like

    def move(self, operator: Operator, move: Callable[[np.ndarray], np.ndarray]) -> None:
        """Go on with the same values at other places: ``move`` works on their numbers."""
        value = self.value(operator)
        places = move(value.numbers)
        self.check_shape(operator, places.shape)
        if not value.closings:
            self.give(operator, value.moved(places))
        else:
            self.close(operator, value, Arranged(operator.index, operator.output.index, places.shape[1:],
                                                 None if in_order(places) else places.ravel()))

    def off_chip(self, value: TensorValue) -> bool:
        """Whether only a host can compute with ``value``: after closings, or of maps of several sizes."""
        return bool(value.closings) or len({self.sizes[source][:2] for source in value.sources
                                            if source in self.sizes}) > 1

    def close(self, operator: Operator, value: TensorValue, closing: Closing) -> None:
        """Go on with what ``closing`` makes of ``value`` on the host."""
        self.give(operator, value.closed().behind(closing, operator.output.shape))

    # ---- what an operator asks for ----

    def activation(self, operator: Operator) -> tuple[float, float]:
        """Lowest and highest result of the fused activation; an operator whose options aren't read has none."""
        if operator.options is None or not hasattr(operator.options, "FusedActivationFunction"):
            return ACTIVATIONS["NONE"]
        number = operator.options.FusedActivationFunction
        name = _ACTIVATION_NAMES.get(number, number)
        if name not in ACTIVATIONS:
            raise operator.obstacle(f"has the fused activation {name}; supported are NONE, RELU, RELU6 and "
                                    "RELU_N1_TO_1")
        return ACTIVATIONS[name]

    def window(self, operator: Operator, kernel: tuple[int, int], shape: Shape,
               before: Padding) -> tuple[tuple[int, int], Padding, tuple[int, int]]:
        """Stride, whole padding and output height and width of a window that moves over a map of ``shape`` with the
        zeros ``before`` around it."""
        options = operator.options
        stride = options.StrideH, options.StrideW
        if min(stride) < 1:
            raise operator.error(f"has the stride {stride}")
        around, sizes = [], []
        extras = ((before.top, before.bottom), (before.left, before.right))
        for size, extra, window, step in zip(shape, extras, kernel, stride, strict=False):
            size += sum(extra)
            if options.Padding not in (schema.Padding.SAME, schema.Padding.VALID):
                raise operator.error(f"has the padding {options.Padding}; there are SAME (0) and VALID (1)")
            pads = same_padding(size, window, step) if options.Padding == schema.Padding.SAME else (0, 0)
            result = (size + sum(pads) - window) // step + 1
            if result < 1:
                raise operator.error(f"has a window of {kernel[0]}x{kernel[1]}, larger than its input of "
                                     f"{shape[0]}x{shape[1]}")
            around += extra[0] + pads[0], extra[1] + pads[1]
            sizes.append(result)
        return stride, Padding(*around), (sizes[0], sizes[1])

    def check_shape(self, operator: Operator, shape: tuple[int, ...]) -> None:
        """Raises unless the file agrees with the output ``shape`` worked out here, apart from sizes of 1."""
        if [size for size in operator.output.shape if size != 1] != [size for size in shape if size != 1]:
            raise operator.error(f"should give the shape {[1, *shape] if len(shape) == 3 else list(shape)} but the "
                                 f"file says {list(operator.output.shape)}")

    # ---- layers ----

    def fields(self, operator: Operator, sources: list[int], input_shape: Shape, shape: Shape, stride=(1, 1),
               padding=NO_PADDING, like: TensorValue | None = None) -> dict[str, Any]:
        """The fields that all layers of this graph have, for the one that makes a map of ``shape`` of the layers
        ``sources``, its values in the order and the shape of ``like`` if that is given."""
        self.check_activation(operator, operator.output)
        self.check_shape(operator, like.shape if like else shape)
        return {"name": operator.output.name, "index": operator.index, "tensor": operator.output.index,
                "inputs": tuple(sources), "input_shape": input_shape, "output_shape": shape, "stride": stride,
                "padding": padding, **self.meaning(operator)}

    def append(self, operator: Operator, layer: Any, like: TensorValue | None = None) -> None:
        """Go on with ``layer``, which gives the operator's result, its values in the order of those of ``like``."""
        number = self.insert(layer)
        placed = TensorValue((number,), operator.output.shape)
        if like is not None and like.places is not None:
            placed = replace(placed.moved(like.places), blocks=like.blocks)
        self.give(operator, placed)

    def insert(self, layer: Any) -> int:
        """Go on with a ``layer`` whose result no tensor of the file holds; its number."""
        self.layers.append(layer)
        self.sizes[len(self.layers) - 1] = layer.output_shape
        return len(self.layers) - 1

    def skip(self, operator: Operator) -> None:
        """Go on after an operator that can't be taken, with the shapes that the file gives."""
        for tensor in operator.outputs:
            height, width, channels = (1, 1, 1, *tensor.shape)[-3:]
            self.layers.append(None)
            self.sizes[len(self.layers) - 1] = height, width, channels
            self.values[tensor.index] = TensorValue((len(self.layers) - 1,), tensor.shape)


def _equal(places: np.ndarray | None, others: np.ndarray | None) -> bool:
    if places is None or others is None:
        return places is others
    return np.array_equal(places, others)


class IntegerGraph(TfliteGraph):
    """int8 or uint8 activations and weights, int32 bias; QUANTIZE may come first and DEQUANTIZE last.

    All of uint8 is turned into int8 by taking 128 off: values, zero points, and the weights with theirs."""

    bias_type = "INT32"

    OTHERS = {
        "INT16": "int16 values (16x8 quantisation); convert with "
                 "supported_ops=[tf.lite.OpsSet.TFLITE_BUILTINS_INT8], which makes activations int8",
        "FLOAT16": "float16 values; export the model as float32 (weights alone may be stored as float16)",
        "FLOAT32": "float32 values; quantise the model to int8 activations throughout, with a representative data set "
                   "and supported_ops=[tf.lite.OpsSet.TFLITE_BUILTINS_INT8]",
    }
    """Activations that are neither: what they come of and the way out."""

    def check_activation(self, operator: Operator, tensor: Tensor) -> None:
        if tensor.type not in ("INT8", "UINT8"):
            what = self.OTHERS.get(tensor.type, f"{tensor.type.lower()} values; quantise the model to int8 activations "
                                                "(inference_input_type=tf.int8)")
            raise operator.error(f"works on {what}")
        if len(tensor.scales) != 1 or len(tensor.zero_points) != 1:
            raise operator.error(f"reads or writes tensor {tensor.index}, which has {len(tensor.scales)} "
                                 f"scales and {len(tensor.zero_points)} zero points, not one")
        if not -128 <= tensor.zero_point <= 127:
            raise operator.error(f"has the zero point {tensor.zero_points[0]}, outside {tensor.type.lower()}")

    def check_weights(self, operator: Operator, tensor: Tensor, axis: int) -> None:
        kind, channels = operator.input(0).type, tensor.shape[axis]
        if tensor.type != kind:
            raise operator.error(f"has {tensor.type.lower()} weights for {kind.lower()} values; only {kind.lower()} is "
                                 "supported")
        counts = (1, channels) if kind == "INT8" else (1,)
        if len(tensor.scales) not in counts or (len(tensor.scales) > 1 and tensor.axis != axis):
            raise operator.error(f"has {len(tensor.scales)} weight scales along dimension {tensor.axis}; "
                                 f"supported are one, or, of int8, one for each of the {channels} output channels")
        if kind == "INT8" and tensor.zero_points.any():
            raise operator.obstacle("has int8 weights with a zero point other than 0; quantise them symmetrically")
        if kind == "UINT8" and (len(tensor.zero_points) != 1 or not -128 <= tensor.zero_point <= 127):
            raise operator.error(f"has weights with the zero points {tensor.zero_points[:4].tolist()}; one uint8 is "
                                 "needed")

    def check_unchanged(self, operator: Operator) -> None:
        super().check_unchanged(operator)
        source, result = operator.input(0), operator.output
        if source.type != "FLOAT32" and not (np.array_equal(source.scales, result.scales)
                                             and np.array_equal(source.zero_points, result.zero_points)):
            raise operator.obstacle("changes the scale or the zero point; only equal ones are supported")

    def zero(self, tensor: Tensor) -> int:
        return tensor.zero_point

    def meaning(self, operator: Operator) -> dict[str, Any]:
        if operator.output.type != operator.input(0).type and operator.name != "QUANTIZE":
            raise operator.error(f"makes {operator.output.type.lower()} values of {operator.input(0).type.lower()} "
                                 "ones; only QUANTIZE can")
        return {"input_zero_point": operator.input(0).zero_point, "output_scale": float(operator.output.scale)}

    def clamp(self, operator: Operator, bounds: tuple[float, float] | None = None) -> tuple[int, int]:
        """CalculateActivationRangeQuantized: the clamp to real ``bounds``, else of the fused activation, of int8
        values."""
        scale, zero_point = operator.output.scale, operator.output.zero_point

        def quantised(real: float) -> int:
            # In float32 and half away from zero, like the C++.
            with np.errstate(over="ignore"):
                ratio = abs(float(np.float32(real) / scale))
            steps = int(min(ratio, 1e9) + 0.5)
            return zero_point + (steps if real > 0 else -steps)

        low, high = bounds or self.activation(operator)
        return max(-128, quantised(low)), min(127, quantised(high))


    def look_up(self, operator: Operator, results: np.ndarray, function: str, number: int = 0) -> None:
        """Go on with a table of the ``results``, clipped to int8, of all int8 values of input ``number``: on the host
        where no layer can have them all."""
        self.check_activation(operator, operator.input(number))
        value = self.value(operator, number)
        if self.off_chip(value):
            self.check_activation(operator, operator.output)
            self.check_shape(operator, value.shape)
            table = np.clip(results, -128, 127).astype(np.int8)
            self.close(operator, value, Tabled(operator.index, operator.output.index, table, function,
                                               operator.input(number).meaning, operator.output.meaning))
            return
        (source,), shape, value = self.alike(operator, 1, number)
        fields = self.fields(operator, [source], shape, shape, like=value)
        fields["input_zero_point"] = operator.input(number).zero_point
        self.append(operator, Lookup(**fields, table=np.clip(results, -128, 127), function=function,
                                     result_zero_point=operator.output.zero_point), value)


def multiplied(operator: Operator, values: np.ndarray, real: np.float64) -> np.ndarray:
    """``values`` times the factor ``real``, not below 0, as MultiplyByQuantizedMultiplier has it, int64.

    Raises
    ------
    NetworkError
        The factor is so large that a product leaves 32 bits.
    """
    multiplier, shift = quantize_multiplier(real)
    if not np.isfinite(real) or np.abs(values).max() << max(0, min(int(shift), 40)) >= 1 << 31:
        raise operator.error("can overflow its 32-bit products; quantise it again with less extreme scales")
    return multiply_by_quantized_multiplier(values, multiplier, shift, Rounding.DOUBLE)


class FloatGraph(TfliteGraph):
    """float32 throughout; a ReLU may also stand alone."""

    bias_type = "FLOAT32"

    def check_activation(self, operator: Operator, tensor: Tensor) -> None:
        if tensor.type != "FLOAT32":
            raise operator.error(f"works on {tensor.type.lower()} values in a float model; {EXPORT_AGAIN}")

    def check_weights(self, operator: Operator, tensor: Tensor, axis: int) -> None:
        # Weights alone quantised (the "dynamic range" of TensorFlow Lite) are what they mean.
        if tensor.type == "INT8" and len(tensor.scales) and tensor.per_channel(axis):
            return
        if tensor.type != "FLOAT32":
            raise operator.error(f"has {tensor.type.lower()} weights for float32 values; {EXPORT_AGAIN}")

    def zero(self, tensor: Tensor) -> int:
        return 0

    def meaning(self, operator: Operator) -> dict[str, Any]:
        minimum, maximum = self.activation(operator)
        return {"minimum": minimum, "maximum": maximum}

    def look_up(self, operator: Operator, compute: Callable[[np.ndarray], np.ndarray], function: str) -> None:
        """Go on with ``compute`` of each value of the one input: on the host where no layer can have them all."""
        self.check_activation(operator, operator.input(0))
        if self.off_chip(value := self.value(operator)):
            self.check_activation(operator, operator.output)
            self.check_shape(operator, value.shape)
            self.close(operator, value, Function(operator.index, operator.output.index, compute, function))
            return
        (source,), shape, value = self.alike(operator, 1)
        fields = self.fields(operator, [source], shape, shape, like=value)
        self.append(operator, FloatLookup(**fields, compute=compute, function=function), value)
