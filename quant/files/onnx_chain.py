# SPDX-License-Identifier: Apache-2.0
"""The network so far while an ``.onnx`` file is read: what its operators find, and what they leave."""

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator
from tepal.quant.layer import LARGEST_MAP, Meaning, Padding, Shape
from tepal.quant.windows import same_padding

from .draft import Constant, Draft
from .onnx_node import Node, text

__all__ = ["OnnxChain", "in_order"]


def in_order(numbers: np.ndarray) -> bool:
    """Whether they count from 0."""
    return np.array_equal(numbers.ravel(), np.arange(numbers.size))


class OnnxChain:
    """Layers in the making, ``drafts``, and the result so far.

    ``value`` is the name of the result so far.  ``places`` tells what it holds: an integer array of its shape (batch
    1) with, for each value, its number in the NHWC map of ``size``, and -1 in padding.  So whatever only moves values
    about is computed on ``places``, and a layer sees there whether they are where it needs them.  Up to the first
    layer ``size`` is None, and the numbers are those of the model's input, whose shape is ``given``, in its own order.

    ``meaning`` is set where ``value`` is int8 numbers (``integers``, in the file of the type ``integer_type``), or real
    ones that stand for them exactly; ``start`` is that of the model's input.  ``constants`` are known by their names,
    and ``shapes`` those of the values that aren't.  ``padder`` is the node that has padded ``value``.  ``closing`` is
    what came at the end and stays off the chip: it makes a layer of its number and the scale of the logits.

    Parameters
    ----------
    opset
        Version of ONNX's operators.
    own
        Whether this package has written the file.
    constants
        By name.
    """

    def __init__(self, opset: int, own: bool, constants: dict[str, Constant]):
        self.opset, self.own, self.constants = opset, own, constants
        self.drafts: list[Draft] = []
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.size: Shape | None = None
        self.channels_first = False
        self.start: Meaning | None = None
        self.meaning: Meaning | None = None
        self.padder: Node | None = None
        self.closing: Callable[[int, float], Any] | None = None

    def open(self, name: str, shape: tuple[int, ...], integer_type: np.dtype | None) -> None:
        """Begin with the model's input ``name``, of real numbers if it has no ``integer_type``."""
        self.value, self.given = name, shape
        self.places = np.arange(prod(shape), dtype=np.int32).reshape(1, *shape)
        self.integers, self.integer_type = integer_type is not None, integer_type or np.dtype(np.int8)
        self.shapes[name] = self.places.shape

    def go_on(self, node: Node) -> None:
        """The result so far is that of ``node``."""
        self.value = node.output
        self.shapes[node.output] = self.places.shape

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

    # ---- the map ----

    def started(self, node: Node, image: np.ndarray | None = None) -> Shape:
        """The size of the map; before the first layer, which of the input's dimensions is what, from the part of
        ``places`` that this layer takes as ``image`` (height, width, channels)."""
        if self.size is not None:
            return self.size
        if len(self.given) == 1:
            self.size = size = (1, 1, self.given[0])
            return size
        a, b, c = self.given
        for channels_first, size in ((True, (b, c, a)), (False, (a, b, c))):
            numbers = np.arange(prod(size), dtype=np.int32).reshape(size)
            numbers = (numbers.transpose(2, 0, 1) if channels_first else numbers).ravel()
            if image is None or (image.shape == size and in_order(numbers[image])):
                self.places = np.where(self.places < 0, -1, numbers[self.places])
                self.size, self.channels_first = size, channels_first
                return size
        raise node.error(f"reads an input of the shape {list(self.given)} with its values in another order; only "
                         "[channels, height, width] and [height, width, channels] are supported")

    def image(self, node: Node) -> tuple[Shape, Padding]:
        """Size of the map that ``node`` reads, channels first, and the zeros that Pad put around it."""
        if self.places.ndim != 4 or self.places.shape[0] != 1:
            raise node.error(f"reads the shape {list(self.places.shape)}; only images, [1, channels, height, width], "
                             "are supported")
        image = self.places[0].transpose(1, 2, 0)
        rows, columns = (np.flatnonzero((image >= 0).any(axis=axes)) for axes in ((1, 2), (0, 2)))
        padding = Padding(int(rows[0]), int(image.shape[0] - 1 - rows[-1]),
                          int(columns[0]), int(image.shape[1] - 1 - columns[-1]))
        image = image[rows[0]:rows[-1] + 1, columns[0]:columns[-1] + 1]
        size = self.started(node, image)
        image = self.places[0].transpose(1, 2, 0)[rows[0]:rows[-1] + 1, columns[0]:columns[-1] + 1]
        if image.shape != size or not in_order(image):
            raise node.error(f"reads a map of {size[0]}x{size[1]}x{size[2]} (height, width, channels) that was "
                             "reshaped, or padded in its channels; only Gemm and MatMul can")
        return size, padding

    def window(self, node: Node, kernel: tuple[int, int], size: Shape,
               before: Padding) -> tuple[tuple[int, int], Padding, tuple[int, int]]:
        """Stride, whole padding and height and width of the result of a window that moves over the map."""
        down, across = stride = node.integers("strides", (1, 1))
        if min(stride) < 1 or min(kernel) < 1:
            raise node.error(f"has a window of {kernel[0]}x{kernel[1]} and the stride {stride}")
        if node.integers("dilations", (1, 1)) != (1, 1):
            raise node.obstacle("is dilated; only a dilation of 1 is supported")
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

    def append(self, node: Node, draft: Draft, places: np.ndarray | None = None) -> None:
        """Go on with a new layer; its result is an image, channels first, unless ``places`` says otherwise."""
        if prod(draft.output_shape) > LARGEST_MAP:
            raise node.error(f"gives a map of more than {LARGEST_MAP} values")
        draft.source, self.meaning = self.meaning, None
        self.drafts.append(draft)
        self.size, self.padder = draft.output_shape, None if places is None else self.padder
        if places is None:
            places = np.arange(prod(self.size), dtype=np.int32).reshape(1, *self.size).transpose(0, 3, 1, 2)
        self.places = places

    def by_channel(self, node: Node, values: np.ndarray) -> np.ndarray:
        """(channels,) of ``values`` that broadcast to the shape of the result so far."""
        assert self.size is not None
        full = np.empty(prod(self.size))
        try:
            full[self.places.ravel()] = np.broadcast_to(values, self.places.shape).ravel()
        except ValueError:
            raise node.error(f"has values of the shape {list(values.shape)} for {list(self.places.shape)}") from None
        full = full.reshape(-1, self.size[2])
        if not (full == full[0]).all():
            raise node.error("has values that differ from pixel to pixel, or aren't finite; only one number for each "
                             "channel is supported")
        return full[0]
