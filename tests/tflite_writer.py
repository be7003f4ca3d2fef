# SPDX-License-Identifier: Apache-2.0
"""Writes small ``.tflite`` files for tests, good and bad ones.

Two levels: :func:`write` makes a file of any tensors and operators, without a look at whether they make
sense; :class:`Chain` builds a valid int8 chain, one operator a call, :class:`FloatChain` a float32 one.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import flatbuffers
import numpy as np
import tflite

__all__ = ["Chain", "FloatChain", "Operator", "Tensor", "Uint8Chain", "damaged", "write"]

DTYPES = {"INT8": np.int8, "UINT8": np.uint8, "INT16": np.int16, "INT32": np.int32, "INT64": np.int64,
          "FLOAT16": np.float16, "FLOAT32": np.float32}
OPTIONS = {"CONV_2D": "Conv2DOptions", "DEPTHWISE_CONV_2D": "DepthwiseConv2DOptions",
           "MEAN": "ReducerOptions", "AVERAGE_POOL_2D": "Pool2DOptions", "MAX_POOL_2D": "Pool2DOptions",
           "FULLY_CONNECTED": "FullyConnectedOptions",
           "SOFTMAX": "SoftmaxOptions", "RESHAPE": "ReshapeOptions", "PAD": "PadOptions", "ADD": "AddOptions",
           "PADV2": "PadV2Options", "SQUEEZE": "SqueezeOptions", "QUANTIZE": "QuantizeOptions",
           "DEQUANTIZE": "DequantizeOptions", "SUB": "SubOptions",
           "CONCATENATION": "ConcatenationOptions", "LEAKY_RELU": "LeakyReluOptions", "MUL": "MulOptions",
           "DIV": "DivOptions", "TRANSPOSE": "TransposeOptions", "STRIDED_SLICE": "StridedSliceOptions",
           "PACK": "PackOptions", "GATHER": "GatherOptions",
           "ARG_MAX": "ArgMaxOptions"}


@dataclass(eq=False)
class Tensor:
    """``scale`` and ``zero_point`` one number, or one per channel along ``axis``; constant with ``data``."""

    shape: tuple[int, ...]
    type: str = "INT8"
    scale: object = None
    zero_point: object = 0
    axis: int = 0
    data: object = None
    name: str = ""


@dataclass(eq=False)
class Operator:
    """``options`` by their names in the schema, as in ``{"StrideH": 2, "Padding": "SAME"}``."""

    name: str
    inputs: list[Tensor | None]
    outputs: list[Tensor]
    options: dict = field(default_factory=dict)
    custom: str | None = None
    custom_options: bytes = b""


def write(operators: list[Operator], inputs: list[Tensor], outputs: list[Tensor], *, subgraphs: int = 1,
          codes_in: str = "both") -> bytes:
    """A ``.tflite`` file of ``subgraphs`` equal graphs.

    ``codes_in`` says which fields hold the operator codes: the deprecated byte as far as it reaches (``old``), the
    field that replaced it (``new``) or ``both``; ``zero`` is ``old`` with a 0 written into the new field."""
    used = [tensor for operator in operators for tensor in (*operator.inputs, *operator.outputs)]
    tensors = list(dict.fromkeys(tensor for tensor in (*inputs, *used, *outputs) if tensor is not None))
    number = {tensor: index for index, tensor in enumerate(tensors)} | {None: -1}
    b = flatbuffers.Builder(1024)
    b.ForceDefaults(codes_in == "zero")

    def table(kind, **values):
        getattr(tflite, f"{kind}Start")(b)
        for name, value in values.items():
            if value is not None:
                getattr(tflite, f"{kind}Add{name}")(b, value)
        return getattr(tflite, f"{kind}End")(b)

    def offsets(items):
        b.StartVector(4, len(items), 4)
        for item in reversed(items):
            b.PrependUOffsetTRelative(item)
        return b.EndVector()

    def numbers(values, dtype):
        return b.CreateNumpyVector(np.asarray(values, dtype).ravel())

    def buffer(tensor):
        data = np.asarray(tensor.data, DTYPES[tensor.type])
        return table("Buffer", Data=numbers(np.frombuffer(data.tobytes(), np.uint8), np.uint8))

    constants = [tensor for tensor in tensors if tensor.data is not None]
    buffers = offsets([table("Buffer"), *map(buffer, constants)])
    place = {tensor: index for index, tensor in enumerate(constants, start=1)}

    def quantisation(tensor):
        if tensor.scale is None:
            return None
        scale = np.atleast_1d(np.asarray(tensor.scale, np.float32))
        zero_point = np.broadcast_to(tensor.zero_point, scale.shape)
        return table("QuantizationParameters", Scale=numbers(scale, np.float32),
                     ZeroPoint=numbers(zero_point, np.int64), QuantizedDimension=tensor.axis)

    def tensor_table(tensor):
        return table("Tensor", Name=b.CreateString(tensor.name or f"t{number[tensor]}"),
                     Shape=numbers(tensor.shape, np.int32), Type=getattr(tflite.TensorType, tensor.type),
                     Buffer=place.get(tensor, 0), Quantization=quantisation(tensor))

    def option(name, value):
        if not isinstance(value, str):
            return value
        enumeration = {"Padding": tflite.Padding, "FusedActivationFunction": tflite.ActivationFunctionType}
        return getattr(enumeration[name], value)

    def operator_table(operator):
        union = {}
        if kind := OPTIONS.get(operator.name):
            chosen = {name: option(name, value) for name, value in operator.options.items()}
            union = {"BuiltinOptionsType": getattr(tflite.BuiltinOptions, kind),
                     "BuiltinOptions": table(kind, **chosen)}
        if operator.custom_options:
            union["CustomOptions"] = b.CreateByteVector(operator.custom_options)
        return table("Operator", OpcodeIndex=codes.index((operator.name, operator.custom)),
                     Inputs=numbers([number[tensor] for tensor in operator.inputs], np.int32),
                     Outputs=numbers([number[tensor] for tensor in operator.outputs], np.int32), **union)

    def code_table(name, custom):
        code = getattr(tflite.BuiltinOperator, name)
        return table("OperatorCode", CustomCode=custom and b.CreateString(custom), Version=1,
                     DeprecatedBuiltinCode=None if codes_in == "new" else min(code, 127),
                     BuiltinCode={"old": None, "zero": 0}.get(codes_in, code))

    def graph():
        return table("SubGraph", Tensors=offsets([tensor_table(tensor) for tensor in tensors]),
                     Inputs=numbers([number[tensor] for tensor in inputs], np.int32),
                     Outputs=numbers([number[tensor] for tensor in outputs], np.int32),
                     Operators=offsets([operator_table(operator) for operator in operators]))

    codes = list(dict.fromkeys((operator.name, operator.custom) for operator in operators))
    b.Finish(table("Model", Version=3, OperatorCodes=offsets([code_table(*code) for code in codes]),
                   Subgraphs=offsets([graph() for _ in range(subgraphs)]), Buffers=buffers), b"TFL3")
    return bytes(b.Output())


class Chain:
    """A chain of int8 operators on one input of the shape (height, width, channels).

    Each method appends an operator; ``scale`` and ``zero_point`` are those of its result. ``operators``,
    ``input`` and ``tensor`` (the result so far) may be changed before :meth:`write` to make bad models."""

    TYPE = "INT8"

    def __init__(self, *shape: int, scale: float | None = 0.05, zero_point: int = 0):
        self.input = self.tensor = Tensor((1, *shape), self.TYPE, scale=scale, zero_point=zero_point, name="input")
        self.operators: list[Operator] = []

    def __repr__(self):
        steps = [f"{operator.name} {operator.options} {operator.outputs[0].shape}"
                 for operator in self.operators]
        return " -> ".join([str(self.input.shape), *steps])

    def write(self, **how) -> bytes:
        return write(self.operators, [self.input], [self.tensor], **how)

    def change(self, **fields):
        """Sets fields of tensors by their names, as in ``input__scale=0``; of several namesakes the first."""
        tensors = {tensor.name: tensor for operator in reversed(self.operators)
                   for tensor in (*operator.inputs, *operator.outputs) if tensor}
        for key, value in fields.items():
            name, attribute = key.split("__")
            setattr(tensors[name], attribute, value)
        return self

    def append(self, name: str, shape, *constants: Tensor | None, scale=None, zero_point=None, **options):
        """Any operator on the result so far; the quantisation stays the same unless given."""
        before = self.tensor
        self.tensor = Tensor(tuple(int(size) for size in shape), self.TYPE,
                             scale=before.scale if scale is None else scale,
                             zero_point=before.zero_point if zero_point is None else zero_point,
                             name=f"{name.lower()}_{len(self.operators)}")
        self.operators.append(Operator(name, [before, *constants], [self.tensor], options))
        return self

    def _slide(self, name, kernel, channels, constants, stride, padding, activation, **options):
        sizes = [-(-size // step) if padding == "SAME" else (size - window) // step + 1
                 for size, window, step in zip(self.tensor.shape[1:3], kernel, stride, strict=True)]
        return self.append(name, (1, *sizes, channels), *constants, StrideH=stride[0], StrideW=stride[1],
                           Padding=padding, FusedActivationFunction=activation, **options)

    def convolution(self, weights, bias=None, *, weight_scale=0.01, stride=(1, 1), padding="SAME",
                    activation="NONE", **result):
        """``weights`` int8 (out channels, height, width, in channels)."""
        return self._slide("CONV_2D", weights.shape[1:3], len(weights),
                           self._constants(weights, bias, weight_scale, 0), stride, padding, activation,
                           DilationHFactor=1, DilationWFactor=1, **result)

    def depthwise(self, weights, bias=None, *, weight_scale=0.01, stride=(1, 1), padding="SAME",
                  activation="NONE", **result):
        """``weights`` int8 (height, width, channels x depth multiplier)."""
        channels = weights.shape[2]
        return self._slide("DEPTHWISE_CONV_2D", weights.shape[:2], channels,
                           self._constants(weights[None], bias, weight_scale, 3), stride, padding, activation,
                           DepthMultiplier=channels // self.tensor.shape[3], DilationHFactor=1,
                           DilationWFactor=1, **result)

    def fully_connected(self, weights, bias=None, *, weight_scale=0.01, activation="NONE", **result):
        """``weights`` int8 (outputs, inputs)."""
        return self.append("FULLY_CONNECTED", (1, len(weights)),
                           *self._constants(weights, bias, weight_scale, 0),
                           FusedActivationFunction=activation, **result)

    def average_pool(self, window, *, stride=(1, 1), padding="VALID", activation="NONE"):
        return self._slide("AVERAGE_POOL_2D", window, self.tensor.shape[3], (), stride, padding, activation,
                           FilterHeight=window[0], FilterWidth=window[1])

    def max_pool(self, window, *, stride=(1, 1), padding="VALID", activation="NONE"):
        return self._slide("MAX_POOL_2D", window, self.tensor.shape[3], (), stride, padding, activation,
                           FilterHeight=window[0], FilterWidth=window[1])

    def mean(self, *, keep_dims=False, axes=(1, 2), **result):
        channels = self.tensor.shape[3]
        return self.append("MEAN", (1, 1, 1, channels) if keep_dims else (1, channels),
                           Tensor((len(axes),), "INT32", data=axes), KeepDims=keep_dims, **result)

    def pad(self, top, bottom, left, right):
        _, height, width, channels = self.tensor.shape
        amounts = ((0, 0), (top, bottom), (left, right), (0, 0))
        return self.append("PAD", (1, height + top + bottom, width + left + right, channels),
                           Tensor((4, 2), "INT32", data=amounts))

    def reshape(self, *shape):
        return self.append("RESHAPE", shape, Tensor((len(shape),), "INT32", data=shape))

    def softmax(self, beta=1.0):
        return self.append("SOFTMAX", self.tensor.shape, scale=1 / 256, zero_point=-128, Beta=beta)

    def _constants(self, weights, bias, scale, axis):
        tensors = [Tensor(weights.shape, scale=scale, axis=axis, data=weights, name="weights")]
        if bias is not None:
            product = np.float32(self.tensor.scale) * np.asarray(scale, np.float32)
            tensors.append(Tensor(np.shape(bias), "INT32", scale=product, data=bias, name="bias"))
        return tensors


class Uint8Chain(Chain):
    """The same of uint8 operators, with weights that have a zero point, as TensorFlow 1 quantised."""

    TYPE = "UINT8"

    def __init__(self, *shape: int, scale: float = 0.05, zero_point: int = 128, weight_zero_point: int = 128):
        super().__init__(*shape, scale=scale, zero_point=zero_point)
        self.weight_zero_point = weight_zero_point

    def softmax(self, beta=1.0):
        return self.append("SOFTMAX", self.tensor.shape, scale=1 / 256, zero_point=0, Beta=beta)

    def _constants(self, weights, bias, scale, axis):
        tensors = [Tensor(weights.shape, "UINT8", scale=scale, zero_point=self.weight_zero_point, data=weights,
                          name="weights")]
        if bias is not None:
            product = np.float32(self.tensor.scale) * np.float32(scale)
            tensors.append(Tensor(np.shape(bias), "INT32", scale=product, data=bias, name="bias"))
        return tensors


class FloatChain(Chain):
    """The same of float32 operators; what int8 has in scales is left out."""

    TYPE = "FLOAT32"

    def __init__(self, *shape: int):
        super().__init__(*shape, scale=None)

    def activation(self, name):
        """A ReLU that stands alone."""
        return self.append(name, self.tensor.shape)

    def softmax(self, beta=1.0):
        return self.append("SOFTMAX", self.tensor.shape, Beta=beta)

    def _constants(self, weights, bias, scale, axis):
        return [Tensor(np.shape(values), self.TYPE, data=values, name=name)
                for name, values in (("weights", weights), ("bias", bias)) if values is not None]


def damaged(content: bytes, count: int) -> Iterator[bytes]:
    """``count`` variants: truncated, bytes changed, words replaced by telling values."""
    random = np.random.default_rng(1)
    for number in range(count):
        data = bytearray(content)
        if number % 4 == 0:
            del data[random.integers(len(data)):]
        elif number % 4 == 1:
            for place in random.integers(len(data), size=random.integers(1, 20)):
                data[place] = random.integers(256)
        else:
            for place in random.integers(len(data) // 4, size=random.integers(1, 6)):
                word = random.choice([0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x7F800000, len(data)])
                data[4 * place:4 * place + 4] = int(word).to_bytes(4, "little")
        yield bytes(data)
