# SPDX-License-Identifier: Apache-2.0
"""The tables of a ``.tflite`` file: tensors and operators, as the flatbuffer schema of TensorFlow Lite
(``schema.fbs``) lays them down.  What they mean to a network is the business of :mod:`tepal.quant.ops`."""

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import prod
from types import SimpleNamespace
from typing import Any

import numpy as np
import tflite
from flatbuffers.number_types import Int32Flags
from tepal.quant.errors import NetworkError
from tepal.quant.layer import LARGEST_MAP, shortened

from .obstacles import Obstacle

__all__ = ["EXPORT_AGAIN", "Entry", "File", "Operator", "Options", "Tensor", "names"]

EXPORT_AGAIN = "export the model as float32, or as full int8 with a representative data set"
"""What to do about a model that mixes float and integer values."""


def names(enumeration) -> dict[int, str]:
    """Number to name of one of the schema's enumerations."""
    return {value: name for name, value in vars(enumeration).items() if isinstance(value, int)}


_TYPES = names(tflite.TensorType)
_OPERATORS = names(tflite.BuiltinOperator)
Options = tuple[type, tuple[str, ...]]
"""Table of an operator's options in the schema, and the fields of it that are read."""

_NEW_CODE = 10
"""Place of OperatorCode.builtin_code in the vtable: ``BuiltinCode()`` of the schema's classes doesn't look there while
the code fits the deprecated byte."""


@contextmanager
def _decoding(what: str):
    """Names the table that can't be read.

    The classes of the schema follow offsets unchecked, so a damaged file ends in any exception at all; nothing but
    their reading happens in here."""
    try:
        yield
    except NetworkError:
        raise
    except Exception as error:
        raise NetworkError(f"is damaged ({what} can't be read); export it again") from error


def _text(raw: bytes | None) -> str:
    text = (raw or b"").decode(errors="replace")
    return "".join(character if character.isprintable() else "?" for character in text)


def _type(table: Any) -> str:
    return _TYPES.get(table.Type(), f"type {table.Type()}")


def _label(index: int, name: str) -> str:
    """A tensor in a message."""
    return f"tensor {index} ({shortened(name)})"


@dataclass(frozen=True, eq=False)
class Tensor:
    """One tensor of the file; ``data`` its constant bytes (empty for an activation)."""

    index: int
    name: str
    type: str
    shape: tuple[int, ...]
    scales: np.ndarray
    zero_points: np.ndarray
    axis: int
    data: np.ndarray

    def constant(self) -> np.ndarray:
        """The constant values in the tensor's shape; its type must be one of NumPy's."""
        dtype = np.dtype(self.type.lower())
        wanted = prod(self.shape) * dtype.itemsize
        if len(self.data) != wanted:
            raise NetworkError(f"{_label(self.index, self.name)} needs {wanted} bytes of constant data "
                               f"and has {len(self.data)}")
        return np.frombuffer(self.data.tobytes(), dtype.newbyteorder("<")).reshape(self.shape)

    def real(self) -> np.ndarray:
        """The constant values as float32: what those of an INT8 or UINT8 tensor mean."""
        if self.type not in ("INT8", "UINT8"):
            return self.constant()
        shape = [1] * len(self.shape)
        if len(self.scales) > 1:
            shape[self.axis] = -1
        scales, zero_points = self.scales.reshape(shape), np.resize(self.zero_points, len(self.scales)).reshape(shape)
        return ((self.constant().astype(np.int64) - zero_points) * scales).astype(np.float32)

    def per_channel(self, axis: int) -> bool:
        """Whether it has one scale, or one for each index of dimension ``axis``, as a tensor of weights must."""
        return len(self.scales) == 1 or (self.axis == axis and len(self.scales) == self.shape[axis])

    def codes(self) -> np.ndarray:
        """The constant values of an INT8 or UINT8 tensor as int8: those of UINT8 less 128."""
        values = self.constant()
        return (values ^ 128).view(np.int8) if self.type == "UINT8" else values.astype(np.int8, copy=False)

    @property
    def scale(self) -> np.float32:
        """The one scale of an activation."""
        return self._only(self.scales)

    @property
    def zero_point(self) -> int:
        """The one zero point of an activation; UINT8 values are taken as int8, less 128."""
        return int(self._only(self.zero_points)) - self.offset

    def _only(self, numbers: np.ndarray) -> Any:
        if len(self.scales) != 1 or len(self.zero_points) != 1:
            raise NetworkError(f"{_label(self.index, self.name)} has {len(self.scales)} scales and "
                               f"{len(self.zero_points)} zero points, not one")
        return numbers[0]

    @property
    def offset(self) -> int:
        """What the file's values have more than those that the layers compute with."""
        return 128 if self.type == "UINT8" else 0

    @property
    def meaning(self) -> tuple[float, int]:
        """Scale and zero point of an activation."""
        return float(self.scale), self.zero_point


@dataclass(frozen=True, eq=False)
class Operator:
    """One operator; ``options`` has the fields of its table in the schema that this package reads, ``custom`` what one
    that isn't in the schema has in their place."""

    index: int
    name: str
    inputs: tuple[Tensor | None, ...]
    outputs: tuple[Tensor, ...]
    options: Any
    custom: bytes = b""

    @property
    def output(self) -> Tensor:
        """The first result, of most operators the only one."""
        return self.outputs[0]

    @property
    def label(self) -> str:
        """The operator in a message."""
        return f"operator {self.index} ({self.name})"

    def error(self, text: str) -> NetworkError:
        """The file can't be read on from here."""
        return NetworkError(f"{self.label} {text}")

    def obstacle(self, text: str) -> Obstacle:
        """The operator is valid, but isn't supported as it stands here."""
        return Obstacle("operator", self.index, self.label, text)

    def input(self, number: int) -> Tensor:
        """A mandatory input (a NetworkError names the operator without it)."""
        tensor = self.optional(number)
        if tensor is None:
            raise self.error(f"has no input {number}")
        return tensor

    def optional(self, number: int) -> Tensor | None:
        """An input that may be absent."""
        return self.inputs[number] if number < len(self.inputs) else None


@dataclass(frozen=True)
class Entry:
    """An operator as the file lists it: whether it widens stored weights, how many of its inputs are computed, the type
    of its result, and the numbers of the tensors that it reads."""

    name: str
    widens: bool
    computed: int
    type: str
    inputs: tuple[int, ...]


class File:
    """The flatbuffer of a model with one graph and one input.

    Parameters
    ----------
    content
        Bytes of the whole file.
    options
        Of the operators that have any.

    Raises
    ------
    NetworkError
        One sentence, here and from every method; of a damaged file it names the table that can't be read.
    """

    def __init__(self, content: bytes, options: Mapping[str, Options]):
        if len(content) < 8 or content[4:8] != b"TFL3":
            raise NetworkError("isn't a .tflite file (it has no TFL3 mark)")
        self.size, self.options = len(content), options
        self.tensors: dict[int, Tensor] = {}
        with _decoding("its first table"):
            self.model: Any = tflite.Model.GetRootAs(content, 0)
            if (subgraphs := self.model.SubgraphsLength()) != 1:
                raise NetworkError(f"has {subgraphs} subgraphs; only models of one are supported")
            self.graph: Any = self.model.Subgraphs(0)
            self.count = self.bounded(self.graph.OperatorsLength())

    def bounded(self, length: int) -> int:
        """``length`` of a vector of tables, unless the file can't hold it."""
        if not 0 <= length <= self.size // 4:
            raise NetworkError("is damaged (a table is longer than the file); export it again")
        return length

    @property
    def input(self) -> Tensor:
        """What the model takes."""
        with _decoding("the list of its inputs"):
            numbers = self.graph.InputsAsNumpy()
            if np.ndim(numbers) != 1 or np.size(numbers) != 1:
                raise NetworkError(f"has {np.size(numbers) * np.ndim(numbers)} inputs; only models with one input are "
                                   "supported")
            return self.tensor(int(numbers[0]))

    @property
    def outputs(self) -> tuple[Tensor, ...]:
        """What the model gives, in its own order."""
        with _decoding("the list of its outputs"):
            numbers = self.graph.OutputsAsNumpy() if self.bounded(self.graph.OutputsLength()) else ()
            if not len(numbers):
                raise NetworkError("has no outputs")
            return tuple(self.tensor(int(number)) for number in numbers)

    def readers(self) -> Counter[int]:
        """How often each tensor is read for its values, by its number; what is an output is read there."""
        counts = Counter(tensor.index for tensor in self.outputs)
        for entry in self.listing():
            if entry.name != "SHAPE":
                counts.update(entry.inputs)
        return counts

    def tensor(self, index: int) -> Tensor:
        """The tensor with this number; the same object each time."""
        if index not in self.tensors:
            with _decoding(f"tensor {index}"):
                self.tensors[index] = self._tensor(index)
        return self.tensors[index]

    def _table(self, index: int) -> Any:
        if not 0 <= index < self.graph.TensorsLength():
            raise NetworkError(f"is damaged (it has no tensor {index}); export it again")
        return self.graph.Tensors(index)

    def _buffer(self, table: Any) -> Any:
        if not 0 <= table.Buffer() < self.model.BuffersLength():
            raise NetworkError(f"is damaged (a tensor names buffer {table.Buffer()}, which doesn't exist); export it "
                               "again")
        return self.model.Buffers(table.Buffer())

    def _tensor(self, index: int) -> Tensor:
        table = self._table(index)
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
        buffer = self._buffer(table)
        data = buffer.DataAsNumpy() if buffer.DataLength() else np.empty(0, np.uint8)
        return Tensor(index, name, _type(table), shape, scales, zero_points, axis, data)

    def _name(self, index: int, table: Any) -> str:
        """What operator ``index`` is called: after its custom code if it has one."""
        if not 0 <= table.OpcodeIndex() < self.model.OperatorCodesLength():
            raise NetworkError(f"is damaged (operator {index} has no operator code); export it again")
        code = self.model.OperatorCodes(table.OpcodeIndex())
        # The schema's rule: old converters fill the deprecated byte alone, new ones both as far as a byte reaches, and
        # others the new field alone; the larger of the two is meant.
        number, place = code.DeprecatedBuiltinCode(), code._tab.Offset(_NEW_CODE)
        if place:
            number = max(number, code._tab.Get(Int32Flags, place + code._tab.Pos))
        name = _OPERATORS.get(number, f"builtin code {number}")
        return _text(code.CustomCode() or b"CUSTOM")[:40] if name == "CUSTOM" else name

    def _inputs(self, name: str, index: int, table: Any) -> list[int]:
        if not 1 <= self.bounded(table.OutputsLength()) <= 8 or not 1 <= self.bounded(table.InputsLength()) <= 64:
            raise NetworkError(f"operator {index} ({name}) has {table.InputsLength()} inputs and "
                               f"{table.OutputsLength()} outputs")
        return [int(number) for number in table.InputsAsNumpy()]

    def listing(self) -> list[Entry]:
        """All operators, those that aren't supported too, with as little of their tables as that takes."""
        entries = []
        for index in range(self.count):
            with _decoding(f"operator {index}"):
                table = self.graph.Operators(index)
                numbers = table.InputsAsNumpy() if self.bounded(table.InputsLength()) else ()
                tensors = [self._table(int(number)) for number in numbers if number != -1]
                computed = sum(not self._buffer(tensor).DataLength() for tensor in tensors)
                name = self._name(index, table)
                kind = _type(self._table(table.Outputs(0))) if table.OutputsLength() else ""
                read = tuple(int(number) for number in numbers if number != -1)
                entries.append(Entry(name, name == "DEQUANTIZE" and not computed, computed, kind, read))
        return entries

    def operators(self) -> Iterator[Operator]:
        """In the order of the file, which is the order of execution.

        Weights stored in half precision are float32 to the operators: the DEQUANTIZE that widens them is left out."""
        for index in range(self.count):
            with _decoding(f"operator {index}"):
                operator = self._operator(index)
            if operator.name == "DEQUANTIZE" and len(operator.input(0).data):
                self.tensors[operator.output.index] = self._widened(operator)
            else:
                yield operator

    def _operator(self, index: int) -> Operator:
        table = self.graph.Operators(index)
        name, options = self._name(index, table), None
        if name in self.options:
            kind, fields = self.options[name]
            union, expected = table.BuiltinOptions(), getattr(tflite.BuiltinOptions, kind.__name__)
            if union is None or table.BuiltinOptionsType() != expected:
                raise NetworkError(f"operator {index} ({name}) has no {kind.__name__}")
            found = kind()
            found.Init(union.Bytes, union.Pos)
            options = SimpleNamespace(**{field: getattr(found, field)() for field in fields})
        inputs = tuple(None if number == -1 else self.tensor(number) for number in self._inputs(name, index, table))
        outputs = tuple(self.tensor(table.Outputs(number)) for number in range(table.OutputsLength()))
        custom = table.CustomOptionsAsNumpy().tobytes() if table.CustomOptionsLength() else b""
        return Operator(index, name, inputs, outputs, options, custom)

    def _widened(self, operator: Operator) -> Tensor:
        """The float32 constant that DEQUANTIZE makes of a float16 one, or of an int8 one with scales."""
        weights = operator.input(0)
        whole = weights.type in ("INT8", "UINT8") and 0 <= weights.axis < max(1, len(weights.shape)) and len(
            weights.scales) and weights.per_channel(weights.axis)
        if weights.type != "FLOAT16" and not whole:
            raise operator.error(f"makes {operator.output.type.lower()} weights of {weights.type.lower()} ones; "
                                 f"{EXPORT_AGAIN}")
        data = weights.real().astype("<f4").reshape(-1).view(np.uint8)
        return replace(operator.output, data=data)
