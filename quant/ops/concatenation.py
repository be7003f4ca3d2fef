# SPDX-License-Identifier: Apache-2.0
"""Maps put together channel by channel: CONCATENATION of TensorFlow Lite, Concat of ONNX."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf, prod
from typing import TYPE_CHECKING, Any

import numpy as np
import tflite as schema
from tepal.quant.files.draft import Draft, Value
from tepal.quant.files.tflite_file import Operator
from tepal.quant.files.tflite_graph import IntegerGraph, TfliteGraph
from tepal.quant.layer import LARGEST_MAP, FloatLayer, Geometry, Layer, Meaning, Place, Shape, frozen
from tepal.quant.lookup import CODES, quantised_codes

from .registry import onnx, tflite

if TYPE_CHECKING:
    from typing import Self

    from tepal.quant.files.onnx_model import OnnxModel
    from tepal.quant.files.onnx_node import Node

__all__ = ["Concatenation", "FloatConcatenation"]


class _Parts(Geometry):
    """``channels``: how many each of the maps has that are put together, in their order."""

    if TYPE_CHECKING:
        channels: tuple[int, ...]

    @property
    def input_shapes(self) -> tuple[Shape, ...]:
        height, width, _ = self.input_shape
        return tuple((height, width, count) for count in self.channels)

    @property
    def kernel(self) -> tuple[int, int]:
        return 1, 1

    @property
    def starts(self) -> np.ndarray:
        """Number of the first channel of each part but the first one."""
        return np.cumsum(self.channels)[:-1]


@dataclass(frozen=True, eq=False, kw_only=True)
class Concatenation(_Parts, Layer):
    """The channels of several maps of one height and width, one map's behind another's.

    ``tables`` int8 (parts, 256) hold what each int8 value of a part, from -128 on, becomes, where its scale or zero
    point isn't the result's; of the others they hold the value itself.  ``input_zero_point`` is the first part's,
    ``result_zero_point`` the result's."""

    channels: tuple[int, ...]
    tables: np.ndarray
    result_zero_point: int

    def __post_init__(self):
        object.__setattr__(self, "tables", frozen(self.tables, np.int8))

    @classmethod
    def of_scales(cls, geometry: dict[str, Any], channels: tuple[int, ...], sources: Sequence[Meaning],
                  result: Meaning, minimum: float = -inf, maximum: float = inf) -> Self:
        """Parts that mean ``sources``, in real numbers clamped to ``minimum`` … ``maximum`` and rounded half to even to
        the meaning ``result``, as a QuantizeLinear does it."""
        tables = []
        for scale, zero_point in sources:
            real = np.clip((CODES - zero_point).astype(np.float32) * np.float32(scale), minimum, maximum)
            tables.append(quantised_codes(real, result))
        return cls(**geometry, input_zero_point=sources[0][1], output_scale=result[0], channels=channels,
                   tables=np.stack(tables), result_zero_point=result[1])

    @property
    def output_zero_point(self) -> int:
        return self.result_zero_point

    @property
    def unchanged(self) -> tuple[bool, ...]:
        """Which parts keep their values."""
        return tuple(np.array_equal(table, CODES) for table in self.tables)

    def __call__(self, *maps: np.ndarray) -> np.ndarray:
        parts = [table[x.astype(np.intp) + 128] for table, x in zip(self.tables, maps, strict=True)]
        return np.concatenate(parts, axis=-1)

    def accumulate(self, *maps: np.ndarray) -> np.ndarray:
        return self(*maps).astype(np.int64)

    def sum_range(self, *constants: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        def ends(end) -> np.ndarray:
            # Of the one value that a constant channel has, else of all.
            return np.concatenate([np.where(np.isnan(constant), end(table),
                                            table[np.nan_to_num(constant).astype(np.intp) + 128])
                                   for table, constant in zip(self.tables, constants, strict=True)]).astype(np.int64)

        return ends(np.min), ends(np.max)

    def constants(self, *constants: np.ndarray) -> np.ndarray:
        low, high = self.sum_range(*constants)
        return np.where(low == high, low.astype(float), np.nan)

    def needed(self, keep: np.ndarray, *constants: np.ndarray) -> tuple[np.ndarray, ...]:
        parts = tuple(part.copy() for part in np.split(keep, self.starts))
        for part in parts:
            # No part goes wholly.
            part[0] |= not part.any()
        return parts

    def tied(self, *inputs: np.ndarray) -> np.ndarray:
        return np.concatenate(inputs)

    def rebuilt(self, inputs: Sequence[np.ndarray], keep: np.ndarray, *constants: np.ndarray) -> Self:
        return replace(self, **self.kept_shapes(inputs[0], keep), channels=tuple(int(part.sum()) for part in inputs))

    def resized(self, place: Place) -> Self:
        return replace(self, input_shape=place.input_shape, output_shape=place.output_shape,
                       channels=tuple(shape[2] for shape in (place.input_shape, *place.others)))

    def sum_steps(self, *input_scales: float) -> np.ndarray:
        zero_points, result = np.arange(-128, 128)[:, None], (self.output_scale, self.output_zero_point)
        for table, scale in zip(self.tables, input_scales, strict=True):
            real = np.float32(scale) * (CODES - zero_points).astype(np.float32)
            if not (quantised_codes(real, result) == table).all(axis=1).any():
                raise self.unwritable("what becomes of a part's values doesn't follow from the scales")
        return np.full(self.output_shape[2], self.output_scale)

    def write_onnx(self, graph, values: Sequence[str], input_scales: Sequence[float], result: str, output: str) -> str:
        return graph.node("Concat", [*values], output, axis=1)


@dataclass(frozen=True, eq=False, kw_only=True)
class FloatConcatenation(_Parts, FloatLayer):
    """The channels of several maps of one height and width, one map's behind another's."""

    channels: tuple[int, ...]

    def sums(self, *maps: np.ndarray) -> np.ndarray:
        return np.concatenate(maps, axis=-1)

    def result_meaning(self, measured: Meaning, *sources: Meaning) -> Meaning:
        # Nothing is lost where all parts mean the same.
        return sources[0] if len(set(sources)) == 1 else measured

    def quantised(self, number: int, result: Meaning, *sources: Meaning) -> Concatenation:
        return Concatenation.of_scales(self.geometry(number), self.channels, sources, result, self.minimum,
                                       self.maximum)


# ---- TensorFlow Lite ----

@tflite("CONCATENATION", options=(schema.ConcatenationOptions, ("Axis", "FusedActivationFunction")),
        limits="maps along their channels, int8 ones of one scale; at the end along any dimension, off the chip")
def _concatenation(graph: TfliteGraph, operator: Operator) -> None:
    """A layer only once one reads the whole, which finds there where its values stand in the parts: the parts of what
    is an output stay outputs of their own."""
    graph.check_activation(operator, operator.output)
    values = [graph.computable(operator, number) for number in range(len(operator.inputs))]
    rank, axis = len(values[0].shape), operator.options.Axis
    if not -rank <= axis < rank:
        raise operator.error(f"has the axis {axis} for {rank} dimensions")
    if graph.activation(operator) != (-inf, inf):
        raise operator.obstacle("has a fused activation; put it into a layer of its own")
    integer = isinstance(graph, IntegerGraph)
    tables = np.concatenate([np.tile(_tflite_table(operator, number), (len(value.sources), 1))
                             for number, value in enumerate(values)]) if integer else CODES[None]

    def join(sources: tuple[int, ...]) -> Concatenation | FloatConcatenation:
        sizes = [graph.sizes[source] for source in sources]
        channels = tuple(size[2] for size in sizes)
        fields = graph.fields(operator, [*sources], sizes[0], (*sizes[0][:2], sum(channels)), like=joint)
        if not integer:
            return FloatConcatenation(**fields, channels=channels)
        return Concatenation(**fields, channels=channels, tables=tables,
                             result_zero_point=operator.output.zero_point)

    joint = graph.joint(operator, values, axis % rank, join)
    graph.give(operator, joint if (tables == CODES).all() else graph.settled(operator, joint))


def _tflite_table(operator: Operator, number: int) -> np.ndarray:
    """What the values of input ``number`` become, by ConcatenationWithScaling of reference/concatenation.h, which only
    uint8 has: in float32, rounded half away from zero."""
    source, result = operator.input(number), operator.output
    if source.meaning == result.meaning:
        return CODES
    if result.type == "INT8":
        raise operator.obstacle("puts int8 maps of different scales together, which LiteRT can't; put a QUANTIZE "
                                "before it")
    scale = np.float32(source.scale) * (np.float32(1) / np.float32(result.scale))
    real = np.arange(256).astype(np.float32) * scale + np.float32(-(source.zero_point + 128)) * scale
    return np.clip(np.copysign(np.floor(np.abs(real) + np.float32(0.5)), real) + result.zero_point, -128, 127)


# ---- ONNX ----

@dataclass(eq=False, kw_only=True)
class ConcatenationDraft(Draft):
    """Maps put together in the making."""

    channels: tuple[int, ...]

    def float_layer(self, index: int) -> FloatConcatenation:
        return FloatConcatenation(**self.geometry(index), **self.activation(), channels=self.channels)

    def layer(self, index: int) -> Concatenation:
        sources, result = self.meanings()
        return self.float_layer(index).quantised(index, result, *sources)


@onnx("Concat", constant_first=True, on_integers=True, maps=LARGEST_MAP,
      limits="maps along their channels; at the end along any dimension, off the chip")
def _concat(model: OnnxModel, node: Node, *values: Value) -> Value:
    if len(values) < len(node.inputs):
        raise node.obstacle("puts constants beside maps; only maps can be put together")
    if len(values) == 1:
        return values[0]
    sizes = [model.started(node, value) for value in values]
    axis = node.axis(node.attributes["axis"], values[0].places.ndim)
    shapes = {value.places.shape[:axis] + value.places.shape[axis + 1:] for value in values}
    if len(shapes) > 1:
        raise node.error("puts together maps of the shapes "
                         + " and ".join(str(list(value.places.shape)) for value in values))
    if len({size[:2] for size in sizes}) > 1 or any(value.parts for value in values):
        # What each part holds stays apart: only a host can put them together.
        counts = [sum(prod(model.started(node, part)) for part in value.parts or (value,)) for value in values]
        starts = np.cumsum(counts) - counts
        whole = np.concatenate([model.places(value) + start for value, start in zip(values, starts, strict=True)],
                               axis=axis)
        return replace(values[0], places=whole, parts=sum(((value.parts or (value,)) for value in values), ()))
    channels = tuple(size[2] for size in sizes)
    places, first = [], 0
    for value, count in zip(values, channels, strict=True):
        numbers = model.places(value)
        places.append(numbers // count * sum(channels) + first + numbers % count)
        first += count
    meaning = values[0].meaning if values[0].integers else None
    if any(value.integers != values[0].integers or (meaning and value.meaning != meaning) for value in values):
        raise node.error("puts integers of different scales and zero points together; quantise them alike")
    result = model.add(node, ConcatenationDraft(
        node=node, reads=values, name=node.output, input_shape=sizes[0], output_shape=(*sizes[0][:2], sum(channels)),
        channels=channels, result=meaning), np.concatenate(places, axis=axis))
    return replace(result, meaning=meaning, integers=meaning is not None, integer_type=values[0].integer_type)
