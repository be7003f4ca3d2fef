# SPDX-License-Identifier: Apache-2.0
"""Sum of two maps, a residual connection: ADD of TensorFlow Lite, Add of ONNX; and ONNX's Add of a constant for each
channel, which becomes part of a bias."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import tflite as schema
from tepal.quant.arithmetic import Rounding, multiply_by_quantized_multiplier, quantize_multiplier
from tepal.quant.files.draft import Draft
from tepal.quant.files.functions import both, layered, same_source
from tepal.quant.files.tflite_file import Operator
from tepal.quant.files.tflite_graph import FloatGraph, IntegerGraph, TfliteGraph
from tepal.quant.layer import FloatLayer, Layer, Meaning, Place, Shape, frozen
from tepal.quant.lookup import CODES
from tepal.quant.rescale import Requantise, quantised_clamp

from .arithmetic import append_affine, constant_operand, constants_by_channel
from .depthwise import Depthwise
from .multiply import CONSTANTS, scaled
from .registry import onnx, tflite

if TYPE_CHECKING:
    from typing import Self

    from tepal.quant.files.draft import Value
    from tepal.quant.files.onnx_model import OnnxModel
    from tepal.quant.files.onnx_node import Node

__all__ = ["Add", "FloatAdd"]

_FRACTION = 20
"""Bits behind the point of an operand in steps of the result, where the scales alone say what is right: so a sum is
right unless it lies within 2**-20 steps of the middle between two results."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Add(Layer):
    """Sum of two maps of one shape.

    ``tables`` int64 (2, 256) say what each int8 value of either operand, from -128 on, adds to the sum that
    ``requantise`` takes; its multiplier and shift are those of all channels.  ``input_zero_point`` is the first
    operand's, ``other_zero_point`` the second one's."""

    tables: np.ndarray
    other_zero_point: int
    requantise: Requantise

    def __post_init__(self):
        object.__setattr__(self, "tables", frozen(self.tables, np.int64))

    @classmethod
    def of_scales(cls, geometry: dict[str, Any], first: Meaning, second: Meaning, result: Meaning, minimum: float,
                  maximum: float) -> Self:
        """The sum of a ``first`` and a ``second`` map of those meanings, clamped to ``minimum`` … ``maximum`` and
        rounded once to the meaning ``result``."""
        tables = [np.rint(np.ldexp(scale / result[0] * (CODES - zero_point), _FRACTION))
                  for scale, zero_point in (first, second)]
        channels = geometry["output_shape"][2]
        requantise = Requantise(np.full(channels, 1 << 30), np.full(channels, 1 - _FRACTION), result[1],
                                *quantised_clamp(minimum, maximum, *result), Rounding.SINGLE)
        return cls(**geometry, input_zero_point=first[1], other_zero_point=second[1], output_scale=result[0],
                   tables=np.clip(tables, -1 << 30, 1 << 30), requantise=requantise)

    @property
    def input_shapes(self) -> tuple[Shape, ...]:
        return self.input_shape, self.input_shape

    @property
    def kernel(self) -> tuple[int, int]:
        return 1, 1

    @property
    def output_zero_point(self) -> int:
        return self.requantise.zero_point

    def accumulate(self, *maps: np.ndarray) -> np.ndarray:
        first, second = (table[x.astype(np.intp) + 128] for table, x in zip(self.tables, maps, strict=True))
        return first + second

    def sum_range(self, *constants: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        def ends(end):
            # Of the one value that a constant channel has, else of all.
            first, second = (np.where(np.isnan(constant), end(table),
                                      table[np.nan_to_num(constant).astype(np.intp) + 128])
                             for table, constant in zip(self.tables, constants, strict=True))
            return first + second

        return ends(np.min), ends(np.max)

    def rebuilt(self, inputs: Sequence[np.ndarray], keep: np.ndarray, *constants: np.ndarray) -> Self:
        return replace(self, **self.kept_shapes(inputs[0], keep), requantise=self.requantise.select(keep))

    def resized(self, place: Place) -> Self:
        return replace(self, input_shape=place.input_shape, output_shape=place.output_shape,
                       requantise=self.requantise.first(self.output_shape[2], place.output_shape[2]))

    def sum_steps(self, *input_scales: float) -> np.ndarray:
        # In real numbers nothing is left of the fixed point.
        steps = self.output_scale * self.requantise.factor
        for table, scale in zip(self.tables, input_scales, strict=True):
            if abs(abs(int(table[-1] - table[0])) * steps[0] - 255 * scale) > 1e-4 * 255 * scale + 2 * steps[0]:
                raise self.unwritable("its tables don't follow from its scales")
        return steps

    def write_onnx(self, graph, values: Sequence[str], input_scales: Sequence[float], result: str, output: str) -> str:
        return graph.node("Sub" if self.tables[1][-1] < self.tables[1][0] else "Add", [*values], output)


@dataclass(frozen=True, eq=False, kw_only=True)
class FloatAdd(FloatLayer):
    """Sum of two maps of one shape, or their difference where ``sign`` is -1."""

    sign: int = 1

    @property
    def input_shapes(self) -> tuple[Shape, ...]:
        return self.input_shape, self.input_shape

    @property
    def kernel(self) -> tuple[int, int]:
        return 1, 1

    def sums(self, *maps: np.ndarray) -> np.ndarray:
        first, second = maps
        return first + self.sign * second

    def quantised(self, number: int, result: Meaning, *sources: Meaning) -> Add:
        first, second = sources
        layer = Add.of_scales(self.geometry(number), first, second, result, self.minimum, self.maximum)
        return layer if self.sign == 1 else replace(layer, tables=layer.tables * [[1], [-1]])


# ---- TensorFlow Lite ----

_LIMITS = ("two maps of one shape, or constants, one or one for each channel; NONE, RELU, RELU6 or RELU_N1_TO_1 "
           "fused")


@tflite("ADD", options=(schema.AddOptions, ("FusedActivationFunction",)), limits=_LIMITS)
@tflite("SUB", options=(schema.SubOptions, ("FusedActivationFunction",)), limits=_LIMITS)
def _add_or_subtract(graph: TfliteGraph, operator: Operator) -> None:
    constant = constant_operand(operator)
    if constant is None:
        _add_maps(graph, operator)
    elif isinstance(graph, FloatGraph):
        values = constants_by_channel(graph, operator, constant)
        # First minus second, or both.
        signs = [1, -1 if operator.name == "SUB" else 1]
        factor = np.full_like(values, signs[1 - constant])
        append_affine(graph, operator, 1 - constant, factor, values * signs[constant])
    elif isinstance(graph, IntegerGraph):
        _add_constants(graph, operator, constant, constants_by_channel(graph, operator, constant))


def _add_constants(graph: IntegerGraph, operator: Operator, constant: int, values: np.ndarray) -> None:
    """A table where all ``values`` are equal, else the sum with a map of them, whose layer has no weights but 0."""
    sign = -1 if operator.name == "SUB" else 1
    (source,), shape, value = graph.alike(operator, 1, 1 - constant)
    tables, requantise = _tflite_rule(graph, operator, shape[2], sign)
    if (values == values[0]).all():
        total = tables[1 - constant] + tables[constant][int(values[0]) + 128]
        graph.look_up(operator, requantise.first(shape[2], 1)(total[:, None])[:, 0], operator.name, 1 - constant)
        return
    tensor, fields = operator.input(constant), graph.fields(operator, [source], shape, shape, like=value)
    ones = np.ones(shape[2])
    held = graph.insert(Depthwise(
        **dict(fields, name=tensor.name, tensor=-1, output_scale=float(tensor.scale),
                    input_zero_point=operator.input(1 - constant).zero_point),
        weights=np.zeros((1, 1, shape[2])), bias=values.astype(np.int32) - tensor.zero_point,
        requantise=Requantise(ones * (1 << 30), ones, tensor.zero_point)))
    fields["inputs"] = (source, held) if constant else (held, source)
    graph.append(operator, Add(**fields, other_zero_point=operator.input(1).zero_point, tables=tables,
                               requantise=requantise), value)


def _add_maps(graph: TfliteGraph, operator: Operator) -> None:
    sources, shape, value = graph.alike(operator, 2)
    fields, sign = graph.fields(operator, sources, shape, shape, like=value), -1 if operator.name == "SUB" else 1
    if isinstance(graph, IntegerGraph):
        tables, requantise = _tflite_rule(graph, operator, shape[2], sign)
        layer = Add(**fields, other_zero_point=operator.input(1).zero_point, tables=tables, requantise=requantise)
    else:
        layer = FloatAdd(**fields, sign=sign)
    graph.append(operator, layer, value)


def _tflite_rule(graph: IntegerGraph, operator: Operator, channels: int, sign: int) -> tuple[np.ndarray, Requantise]:
    """Tables and requantiser as add.cc, sub.cc and reference/add.h have them: operands in steps of twice the larger
    scale, with 20 bits behind the point."""
    tensors = [operator.input(number) for number in range(2)]
    step = 2 * max(float(tensor.scale) for tensor in tensors)
    tables = []
    for tensor in tensors:
        multiplier, shift = quantize_multiplier(np.float64(tensor.scale) / step)
        shifted = (CODES - tensor.zero_point).astype(np.int64) << _FRACTION
        tables.append(multiply_by_quantized_multiplier(shifted, multiplier, shift, Rounding.DOUBLE))
    real = np.float64(step / ((1 << _FRACTION) * float(operator.output.scale)))
    if real >= 1:
        raise operator.error(f"has the output scale {operator.output.scale}, too small for its operands; LiteRT "
                             "can't run it either")
    multiplier, shift = (np.full(channels, number) for number in quantize_multiplier(real))
    requantise = Requantise(multiplier, shift, operator.output.zero_point, *graph.clamp(operator))
    return np.stack([tables[0], sign * tables[1]]), requantise


# ---- ONNX ----

@dataclass(eq=False, kw_only=True)
class AddDraft(Draft):
    """A sum of two maps in the making, or their difference where ``sign`` is -1."""

    sign: int

    def float_layer(self, index: int) -> FloatAdd:
        return FloatAdd(**self.geometry(index), **self.activation(), sign=self.sign)

    def layer(self, index: int) -> Add:
        sources, result = self.meanings()
        return self.float_layer(index).quantised(index, result, *sources)


@onnx("Add", constant_first=True, maps=2, elementwise=True, limits=f"two maps of one shape; or {CONSTANTS}")
def _add(model: OnnxModel, node: Node, value: Value, other: Value | None = None) -> Value:
    if other is None:
        return scaled(model, node, value, offset=model.other(node, "bias"))
    return _two_maps(model, node, value, other, np.add)


def _two_maps(model: OnnxModel, node: Node, value: Value, other: Value,
              compute: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Value:
    """The sum or difference of two maps, which is a table where both are functions of the same values."""
    if (value.pending or other.pending) and same_source(model, value, other):
        return both(node, model, value, other, compute)
    value, other = (layered(model, node, each) for each in (value, other))
    sizes = [model.started(node, each) for each in (value, other)]
    places = [model.places(each) for each in (value, other)]
    if sizes[0] != sizes[1] or places[0].shape != places[1].shape:
        raise node.error(f"takes a map of the shape {list(places[0].shape)} and one of {list(places[1].shape)}; only "
                         "maps of one shape can be added and subtracted")
    if not np.array_equal(places[0], places[1]):
        raise node.error("takes maps that hold their values in different orders; transpose and reshape both alike")
    return model.add(node, AddDraft(node=node, reads=(value, other), name=node.output, input_shape=sizes[0],
                                    output_shape=sizes[0], sign=1 if compute is np.add else -1), places[0])


@onnx("Sub", constant_first=True, maps=2, elementwise=True, limits=f"two maps of one shape; or {CONSTANTS}")
def _subtract(model: OnnxModel, node: Node, value: Value, other: Value | None = None) -> Value:
    if other is not None:
        return _two_maps(model, node, value, other, np.subtract)
    if node.inputs[0] in model.values:
        return scaled(model, node, value, mean=model.other(node, "subtrahend"))
    return scaled(model, node, value, -1.0, offset=model.other(node, "minuend"))
