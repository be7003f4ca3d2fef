# SPDX-License-Identifier: Apache-2.0
"""What a model file's outputs are made of, on the host: the network's results put together, and what comes after."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np

from .layer import Closing, Meaning, OnnxGraph, Shape, frozen

__all__ = ["Answer", "Arranged", "Dequantised", "Function", "Tabled", "dequantised", "of_integers", "split",
           "unnamed", "write_table"]

_INT32 = 6
"""Of onnx.TensorProto's numbers."""


@dataclass(frozen=True, eq=False)
class Answer:
    """One output of the model file.

    Parameters
    ----------
    name
        The model's own.
    parts
        Which of the network's outputs it is made of: numbers in the order of ``Network.output_layers``.
    shape
        Of one frame, of the parts' values one part behind another: each flattened in NHWC order to rows of
        ``shape[-1]`` values.
    closings
        What is done with these values, one after the other; it may change their shape.
    meaning
        Scale and zero point of the result in the file's own type; None of real numbers and of indices.
    """

    name: str
    parts: tuple[int, ...]
    shape: tuple[int, ...]
    closings: tuple[Closing, ...] = ()
    meaning: Meaning | None = None

    @classmethod
    def of_vector(cls, softmax: Closing, count: int) -> "Answer":
        """The probabilities that ``softmax`` makes of ``count`` logits, a network's one output."""
        return cls("probabilities", (0,), (count,), (softmax,), (1 / 256, -128))

    def __call__(self, outputs: Sequence[np.ndarray]) -> np.ndarray:
        """(frames, …) in the file's own shape and type, of the network's ``outputs``, each (frames, …), int8 ones or
        a float network's."""
        parts = [outputs[part].reshape(len(outputs[part]), -1) for part in self.parts]
        values = np.concatenate(parts, axis=1).reshape(-1, *self.shape)
        for closing in self.closings:
            values = closing(values)
        return values

    def quantised(self, meanings: Sequence[Meaning], shapes: Sequence[Shape]) -> "Answer":
        """This answer of a float network where the network's outputs, of these ``shapes``, are int8 values that mean
        ``meanings``: int8 too where all its parts mean the same and nothing makes real numbers of them."""
        if len({meanings[part] for part in self.parts}) == 1:
            closings, meaning = of_integers(self.closings, meanings[self.parts[0]])
            return replace(self, closings=closings, meaning=meaning)
        counts = [prod(shapes[part]) for part in self.parts]
        scales, zero_points = (np.repeat([meanings[part][number] for part in self.parts], counts)
                               for number in range(2))
        return replace(self, closings=(Dequantised(-1, -1, scales, zero_points), *self.closings), meaning=None)


def of_integers(closings: Sequence[Closing], meaning: Meaning) -> tuple[tuple[Closing, ...], Meaning | None]:
    """A float network's ``closings`` as they are for int8 values that mean ``meaning``, and what their int8 results
    mean; None where these are real numbers or indices."""
    made, means = [], meaning
    for closing in closings:
        if means is not None:
            closing, means = closing.quantised(means)
        made.append(closing)
    return tuple(made), means


@dataclass(frozen=True, eq=False)
class Arranged(Closing):
    """The same values in another ``shape`` (of one frame) and, if it is given, ``order``: for each value of the
    result the number of the one that it is."""

    name = "RESHAPE"

    shape: tuple[int, ...]
    order: np.ndarray | None = None

    def __call__(self, logits: np.ndarray) -> np.ndarray:
        values = logits.reshape(len(logits), -1)
        return (values if self.order is None else values[:, self.order]).reshape(-1, *self.shape)

    @property
    def _turned(self) -> int:
        """How many rows the values have whose transposition is the order; 0 if none is."""
        assert self.order is not None
        row = int(self.order.flat[1]) if self.order.size > 1 else 0
        turned = row > 1 and self.order.size % row == 0 and np.array_equal(
            self.order.ravel(), np.arange(self.order.size).reshape(-1, row).T.ravel())
        return self.order.size // row if turned else 0

    def quantised(self, meaning: Meaning) -> tuple[Closing, Meaning | None]:
        return self, meaning

    def write_onnx(self, graph: OnnxGraph, value: str, scale: float, output: str) -> str:
        if self.order is not None and (rows := self._turned):
            shape = graph.constant(f"{output}/rows", [0, rows, self.order.size // rows], np.int64)
            flat = graph.node("Reshape", [value, shape], graph.unique(f"{output}/flat"))
            value = graph.node("Transpose", [flat], graph.unique(f"{output}/turned"), perm=[0, 2, 1])
        elif self.order is not None:
            flat = graph.node("Flatten", [value], graph.unique(f"{output}/flat"), axis=1)
            order = graph.constant(f"{output}/order", self.order, np.int64)
            value = graph.node("Gather", [flat, order], graph.unique(f"{output}/ordered"), axis=1)
        shape = graph.constant(f"{output}/shape", [0, *self.shape], np.int64)
        return graph.node("Reshape", [value, shape], output)


@dataclass(frozen=True, eq=False)
class Tabled(Closing):
    """Each int8 value, of the meaning ``source``, replaced by what ``table`` (256,) of any type holds for it, from -128
    on; ``function`` is what people call it, and ``result`` what its integers mean, None of real numbers."""

    name = "table"

    table: np.ndarray
    function: str
    source: Meaning
    result: Meaning | None = None

    @property
    def title(self) -> str:
        return self.function

    def __post_init__(self):
        object.__setattr__(self, "table", frozen(self.table, self.table.dtype))

    def __call__(self, logits: np.ndarray) -> np.ndarray:
        return self.table[logits.astype(np.intp) + 128]

    def write_onnx(self, graph: OnnxGraph, value: str, scale: float, output: str) -> str:
        real = self.table.astype(np.float32)
        if self.result:
            real = np.float32(self.result[0]) * (real - np.float32(self.result[1]))
        if np.array_equal(real, dequantised(self.source).table):
            return graph.node("Identity", [value], output)
        return write_table(graph, value, self.source, real, self.function, output, output)


def dequantised(meaning: Meaning, index: int = -1, tensor: int = -1) -> Tabled:
    """The real numbers that int8 values of this ``meaning`` stand for."""
    scale, zero_point = meaning
    table = np.float32(scale) * (np.arange(-128, 128) - zero_point).astype(np.float32)
    return Tabled(index, tensor, table, "DEQUANTIZE", meaning)


def write_table(graph: OnnxGraph, value: str, source: Meaning, table: np.ndarray, function: str, output: str,
                name: str) -> str:
    """The nodes that make ``output``: what ``table`` (256,) holds for the int8 value of each real number called
    ``value``, which means ``source``; constants are called after ``name``."""
    # The integers themselves count the entries of the table.
    meaning = [graph.constant(f"{name}/input_scale", source[0], np.float32),
               graph.constant(f"{name}/input_zero_point", source[1], np.int8)]
    codes = graph.node("QuantizeLinear", [value, *meaning], graph.unique(f"{name}/codes"))
    wide = graph.node("Cast", [codes], graph.unique(f"{name}/wide"), to=_INT32)
    places = graph.node("Add", [wide, graph.constant(f"{name}/first", 128, np.int32)],
                        graph.unique(f"{name}/places"))
    return graph.node("Gather", [graph.constant(f"{name}/table", table, np.float32), places], output, axis=0,
                      doc_string=function)


@dataclass(frozen=True, eq=False)
class Dequantised(Closing):
    """The real numbers that int8 values stand for, where these have several meanings: ``scales`` and ``zero_points``
    float64 (values,), in the order of the answer's parts."""

    name = "DEQUANTIZE"

    scales: np.ndarray
    zero_points: np.ndarray

    def __post_init__(self):
        for name in ("scales", "zero_points"):
            object.__setattr__(self, name, frozen(getattr(self, name), np.float64))

    def __call__(self, logits: np.ndarray) -> np.ndarray:
        values = logits.reshape(len(logits), -1)
        return (self.scales * (values - self.zero_points)).astype(np.float32).reshape(logits.shape)


@dataclass(frozen=True, eq=False)
class Function(Closing):
    """``compute`` of each real value, an array in float32 to one of the same shape; ``function`` is what people call
    it."""

    name = "function"

    compute: Callable[[np.ndarray], np.ndarray]
    function: str

    @property
    def title(self) -> str:
        return self.function

    def __call__(self, logits: np.ndarray) -> np.ndarray:
        # What isn't finite the file's own runtime gives as well.
        with np.errstate(all="ignore"):
            return self.compute(logits.astype(np.float32, copy=False)).astype(np.float32, copy=False)

    def quantised(self, meaning: Meaning) -> tuple[Closing, Meaning | None]:
        return Tabled(self.index, self.tensor, self(dequantised(meaning).table), self.function, meaning), None


def unnamed(shapes: Sequence[Shape]) -> tuple[Answer, ...]:
    """What an ``.onnx`` file calls the outputs, of these ``shapes``, of a network without answers: each a vector."""
    names = ["logits"] if len(shapes) == 1 else [f"logits{part}" for part in range(len(shapes))]
    return tuple(Answer(name, (part,), (prod(shape),))
                 for part, (name, shape) in enumerate(zip(names, shapes, strict=True)))


def split(results: np.ndarray, shapes: Sequence[tuple[int, ...]]) -> list[np.ndarray]:
    """The outputs of ``shapes`` that ``results`` (frames, bytes) hold one behind the other."""
    ends = np.cumsum([prod(shape) for shape in shapes])
    return [part.reshape(len(results), *shape)
            for part, shape in zip(np.split(results, ends[:-1], axis=1), shapes, strict=True)]
