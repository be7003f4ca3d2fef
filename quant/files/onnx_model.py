# SPDX-License-Identifier: Apache-2.0
"""The network so far while an ``.onnx`` file is read: what its operators find, and what they leave."""

from collections.abc import Mapping
from copy import copy
from dataclasses import replace
from math import prod

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator
from tepal.quant.layer import LARGEST_MAP, Meaning, Padding, Shape
from tepal.quant.windows import same_padding

from .draft import INT8, Constant, Draft, Pending, Value
from .onnx_node import Node, text
from .values import cropped, in_order

__all__ = ["OnnxModel"]


def _sizes(given: tuple[int, ...]) -> list[tuple[bool, Shape]]:
    """What an image of this shape may be in height, width and channels, the likeliest first, and whether its channels
    stand first."""
    if len(given) == 3:
        a, b, c = given
        return [(True, (b, c, a)), (False, (a, b, c))]
    a, b = given
    return [(False, (a, b, 1)), (True, (1, b, a)), (False, (1, a, b)), (True, (b, 1, a)), (False, (a, 1, b))]


class OnnxModel:
    """Layers in the making, ``drafts``, in the order of execution; ``values`` and ``constants`` by their names;
    ``lookups``, the results of functions of each value that are layers already.

    ``given`` is the shape of the image in the file's own order of dimensions, ``size`` its height, width and channels,
    known from the first layer that reads it on; ``start`` says what its int8 values mean where it is quantised.

    Parameters
    ----------
    opset
        Version of ONNX's operators.
    own
        Whether this package has written the file.
    quantised
        Whether nodes of it quantise.
    constants
        By name.
    readers
        How many nodes and outputs read each value.
    """

    def __init__(self, opset: int, own: bool, quantised: bool, constants: dict[str, Constant],
                 readers: Mapping[str, int]):
        self.opset, self.own, self.quantised, self.constants, self.readers = opset, own, quantised, constants, readers
        self.drafts: list[Draft] = []
        self.values: dict[str, Value] = {}
        self.given: tuple[int, ...] = ()
        self.size: Shape | None = None
        self.channels_first = False
        self.start: Meaning | None = None
        self.lookups: dict[Pending, Value] = {}
        self._order: np.ndarray | None = None
        self._variants: dict[tuple[Draft, Meaning], Draft] = {}

    def open(self, name: str, shape: tuple[int, ...], integer_type: np.dtype | None) -> None:
        """Begin with the model's image ``name``, of real numbers if it has no ``integer_type``."""
        self.given = shape
        self.define(name, Value(places=np.arange(prod(shape), dtype=np.int32).reshape(1, *shape),
                                integers=integer_type is not None, integer_type=integer_type or INT8))

    def define(self, name: str, value: Value) -> None:
        """``value`` is what ``name`` stands for."""
        self.values[name] = replace(value, alone=value.alone and self.readers.get(name, 0) <= 1)

    # ---- constants ----

    def constant(self, node: Node, number: int, what: str) -> Constant:
        """Input ``number``, which must be constant."""
        name = node.inputs[number] if number < len(node.inputs) else ""
        if name not in self.constants:
            raise node.error(f"has no constant {what}; export the trained model with its weights and statistics")
        values = self.constants[name].values
        if values.dtype.kind not in "fiub":
            raise node.error(f"has {values.dtype} values for its {what}; numbers of the usual types are needed")
        return self.constants[name]

    def other(self, node: Node, what: str) -> np.ndarray:
        """The constant of two inputs, as real numbers."""
        return self.constant(node, 0 if node.inputs[1] in self.values else 1, what).real

    def parameter(self, node: Node, name: str, number: int, default) -> np.ndarray:
        """An attribute that newer versions of the operator take as input ``number``."""
        if name in node.attributes:
            return np.asarray(node.attributes[name])
        if number >= len(node.inputs) or not node.inputs[number]:
            return np.asarray(default)
        return self.constant(node, number, name).real

    def evaluate(self, node: Node, inputs: dict[str, np.ndarray]) -> np.ndarray:
        """The first output of ``node``."""
        empty = onnx.helper.make_empty_tensor_value_info
        graph = onnx.helper.make_graph([node.proto], "node", [empty(name) for name in inputs], [empty(node.output)])
        try:
            (result,) = ReferenceEvaluator(graph, opsets={"": self.opset}).run(None, inputs)
            result = np.asarray(result)
        except Exception:
            raise node.misfit() from None
        if result.size > LARGEST_MAP:
            raise node.error(f"makes more than {LARGEST_MAP} values")
        return result

    # ---- maps ----

    def started(self, node: Node, value: Value, image: np.ndarray | None = None) -> Shape:
        """The size of the map that ``value`` is; where that is the model's image, the first layer that reads it says
        which of its dimensions is what, by the part of ``places`` that it takes as ``image`` (height, width,
        channels)."""
        if value.draft is not None:
            return value.draft.output_shape
        if self.size is not None:
            return self.size
        if len(self.given) == 1:
            self.size, self._order = (1, 1, self.given[0]), np.arange(self.given[0], dtype=np.int32)
            return self.size
        for channels_first, size in _sizes(self.given):
            numbers = np.arange(prod(size), dtype=np.int32).reshape(size)
            numbers = (numbers.transpose(2, 0, 1) if channels_first else numbers).ravel()
            if image is None or (image.shape == size and in_order(numbers[image])):
                self.size, self._order, self.channels_first = size, numbers, channels_first
                return size
        raise node.error(f"reads an input of the shape {list(self.given)} with its values in another order; only "
                         "[channels, height, width], [height, width, channels], [channels, length], [length, channels] "
                         "and [height, width] are supported")

    def places(self, value: Value) -> np.ndarray:
        """Those of ``value`` as numbers in its map of NHWC."""
        if value.draft is not None or self._order is None:
            return value.places
        return np.where(value.places < 0, -1, self._order[value.places])

    def image(self, node: Node, value: Value) -> tuple[Shape, Padding]:
        """Size of the map that ``node`` reads, channels first, and the zeros that Pad put around it."""
        if value.places.ndim != 4 or value.places.shape[0] != 1:
            raise node.error(f"reads the shape {list(value.places.shape)}; only images, [1, channels, height, width], "
                             "are supported")
        size = self.started(node, value, cropped(value.places[0].transpose(1, 2, 0))[0])
        image, padding = cropped(self.places(value)[0].transpose(1, 2, 0))
        if image.shape != size or not in_order(image):
            if size[:2] == (1, 1):
                shape = "x".join(map(str, image.shape))
                raise node.obstacle(f"reads a vector of {size[2]} values as a map of {shape} (height, width, "
                                    "channels); no layer gives a vector in the shape of a map: keep the map up to "
                                    "there, without Gemm, MatMul or a pool over all of it before this node")
            raise node.error(f"reads a map of {size[0]}x{size[1]}x{size[2]} (height, width, channels) that was "
                             "reshaped, or padded in its channels; only Gemm and MatMul can")
        return size, padding

    def window(self, node: Node, kernel: tuple[int, int], size: Shape,
               before: Padding) -> tuple[tuple[int, int], Padding, tuple[int, int]]:
        """Stride, whole padding and height and width of the result of a window that moves over the map."""
        down, across = stride = node.integers("strides", (1, 1))
        if min(stride) < 1 or min(kernel) < 1:
            raise node.error(f"has a window of {kernel[0]}x{kernel[1]} and the stride {stride}")
        given = np.array(node.integers("pads", (0, 0, 0, 0))).reshape(2, 2).T
        if (given < 0).any():
            raise node.obstacle("has negative padding, which crops; only padding from 0 is supported")
        auto = node.attributes.get("auto_pad", b"NOTSET")
        around, result = [], []
        for axis, extra in enumerate(((before.top, before.bottom), (before.left, before.right))):
            length = size[axis] + sum(extra)
            match auto:
                case b"NOTSET":
                    pads = [int(amount) for amount in given[axis]]
                case b"VALID":
                    pads = [0, 0]
                case b"SAME_UPPER" | b"SAME_LOWER":
                    pads = sorted(same_padding(length, kernel[axis], stride[axis]), reverse=auto == b"SAME_LOWER")
                case _:
                    raise node.error(f"has the auto_pad {text(str(auto))}; supported are NOTSET, VALID, SAME_UPPER "
                                     "and SAME_LOWER")
            steps = length + sum(pads) - kernel[axis]
            if steps < 0:
                raise node.error(f"has a window of {kernel[0]}x{kernel[1]}, larger than its input of "
                                 f"{size[0]}x{size[1]}")
            if node.attributes.get("ceil_mode") and steps % stride[axis]:
                raise node.obstacle("has windows that reach over the edge (ceil_mode); only whole windows are "
                                    "supported")
            around += extra[0] + pads[0], extra[1] + pads[1]
            result.append(steps // stride[axis] + 1)
        padding = Padding(*around)
        padded = (size[0] + padding.top + padding.bottom) * (size[1] + padding.left + padding.right) * size[2]
        if padded > LARGEST_MAP:
            raise node.error(f"reads a map of more than {LARGEST_MAP} values")
        return (down, across), padding, (result[0], result[1])

    def broadcast(self, node: Node, value: Value, numbers: np.ndarray) -> np.ndarray:
        """``numbers`` in the shape of ``value``."""
        try:
            return np.broadcast_to(numbers, value.places.shape)
        except ValueError:
            raise node.error(f"has values of the shape {list(numbers.shape)} for {list(value.places.shape)}") from None

    def by_channel(self, node: Node, value: Value, numbers: np.ndarray) -> np.ndarray:
        """(channels,) of ``numbers`` that broadcast to the shape of ``value``."""
        size = self.started(node, value)
        full = np.empty(prod(size))
        full[self.places(value).ravel()] = self.broadcast(node, value, numbers).ravel()
        full = full.reshape(-1, size[2])
        if not (full == full[0]).all():
            raise node.error("has values that differ from pixel to pixel, or aren't finite; only one number for each "
                             "channel is supported")
        return full[0]

    # ---- layers ----

    def add(self, node: Node, draft: Draft, places: np.ndarray | None = None) -> Value:
        """The result of a new layer: an image, channels first, unless ``places`` says otherwise."""
        if prod(draft.output_shape) > LARGEST_MAP:
            raise node.error(f"gives a map of more than {LARGEST_MAP} values")
        self.drafts.append(draft)
        if places is None:
            numbers = np.arange(prod(draft.output_shape), dtype=np.int32).reshape(1, *draft.output_shape)
            return Value(places=numbers.transpose(0, 3, 1, 2), draft=draft)
        return Value(places=places, draft=draft, padder=draft.reads[0].padder)

    def variant(self, value: Value, meaning: Meaning) -> Draft:
        """The layer whose real results are ``value``, which are quantised to ``meaning``: one of its own for each
        meaning where others read them too."""
        assert value.draft is not None
        if value.alone:
            return value.draft
        key = value.draft, meaning
        if key not in self._variants:
            self._variants[key] = self.twin(value.draft)
        return self._variants[key]

    def twin(self, draft: Draft) -> Draft:
        """Another layer that computes the same."""
        self.drafts.append(copy(draft))
        return self.drafts[-1]
