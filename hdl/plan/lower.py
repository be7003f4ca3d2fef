# SPDX-License-Identifier: Apache-2.0
"""From a network's layers to the passes of the engine.

:data:`LOWERINGS` says of each kind of layer which part of a pass it becomes: a reduction of windows (the depthwise
engine's part) or a matrix (the array's).  A reduction and the 1x1 convolution after it share a pass; whatever part a
pass then lacks, it does without:

- depthwise + 1x1 convolution: the native case, one pass;
- any other convolution, and a fully connected layer: copied windows, then the matrix;
- an average pool, and a max pool: a reduction whose weights are all one;
- a reduction with no 1x1 convolution after it: the reduction, then an identity matrix;
- a network that doesn't begin with a single convolution: a pass in front of it copies the image.

Concatenations become sums (:mod:`.joined_maps`).  What :data:`~.elementwise.ELEMENTWISE` names is done to results on
their way to memory, at no cost of time where nothing else reads them.

The input memory of the first pass holds, for every output column, the row of ``kernel width * channels``
bytes that its window covers ("row im2col", done on the fly by the loader), so that few input channels
still fill a memory word.  Where a window covers the whole image, the image is a single pixel: a vector.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np
from tepal.hdl.units.depthwise import ACTIVATION_OFFSET, ReductionKind
from tepal.hdl.units.input_layout import InputLayout
from tepal.quant import AveragePool, Convolution, Depthwise, Layer, Network, NetworkError, Padding
from tepal.quant.layer import IMAGE
from tepal.quant.ops.max_pool import MaxPool

from .elementwise import Operands, elementwise
from .joined_maps import without_concatenations
from .order import memory_saving_order
from .passes import Elementwise, Matrix, Pass, Reduction, Window, identity, sum_range

__all__ = ["LOWERINGS", "lower"]


def _raw_constant(weights: np.ndarray, bias: np.ndarray, zero_point: int, axes) -> np.ndarray:
    """What to add to a sum of weight * raw activation for the sum of weight * (activation - zero point)."""
    return bias.astype(np.int64) - zero_point * weights.astype(np.int64).sum(axis=axes)


def _weighted_sum(number: int, layer, weights: np.ndarray, zero_point: int) -> Reduction:
    constant = _raw_constant(weights, layer.bias, zero_point + ACTIVATION_OFFSET, (0, 1))
    return Reduction(number, weights, constant, sum_range(weights, (0, 1), ACTIVATION_OFFSET), layer.requantise)


def _depthwise(number: int, layer: Depthwise) -> Reduction:
    return _weighted_sum(number, layer, layer.factors, layer.input_zero_point)


def _average_pool(number: int, layer: AveragePool) -> Reduction:
    # It sums raw values; its requantiser knows of no zero point.
    return _weighted_sum(number, layer, np.ones((*layer.window, layer.input_shape[2]), np.int8), 0)


def _max_pool(number: int, layer: MaxPool) -> Reduction:
    # The largest of several products with a weight of one is one of them.
    weights = np.ones((*layer.window, layer.input_shape[2]), np.int8)
    single = weights[0, :1]
    constant = _raw_constant(single, np.zeros(weights.shape[2]), layer.input_zero_point + ACTIVATION_OFFSET, 0)
    return Reduction(number, weights, constant, sum_range(single, 0, ACTIVATION_OFFSET), layer.requantise,
                     ReductionKind.MAXIMUM)


def _convolution(number: int, layer: Convolution) -> Matrix:
    factors = layer.factors
    return Matrix(number, factors.reshape(len(factors), -1),
                  _raw_constant(factors, layer.bias, layer.input_zero_point, (1, 2, 3)), layer.requantise)


LOWERINGS: dict[type[Layer], Callable[..., Reduction | Matrix]] = {
    Convolution: _convolution,
    Depthwise: _depthwise,
    AveragePool: _average_pool,
    MaxPool: _max_pool,
}
"""Kind of layer to what makes its part of a pass, of the layer's number and the layer."""


def _part(number: int, layer: Layer) -> Reduction | Matrix:
    if type(layer) not in LOWERINGS:
        raise NetworkError(f"layer {layer.index} ({layer.name}): the engine has no {type(layer).__name__}")
    return LOWERINGS[type(layer)](number, layer)


def _window(layer: Layer) -> Window:
    return Window(layer.input_shape, layer.output_shape[:2], layer.kernel, layer.stride,
                  (-layer.padding.top, -layer.padding.left), layer.border)


def _is_pointwise(layer: Layer) -> bool:
    return (layer.kernel == (1, 1) and layer.stride == (1, 1)
            and layer.output_shape[:2] == layer.input_shape[:2])


def _flat(first: Convolution) -> Convolution:
    """A convolution whose only window covers the whole image as one of a single pixel: the same bytes in the same
    order.  What the window covers beside the image is padding, and adds nothing to a sum."""
    (height, width, _), (rows, columns) = first.input_shape, first.kernel
    top, left = first.padding.top, first.padding.left
    if first.output_shape[:2] != (1, 1) or top + height > rows or left + width > columns:
        return first
    weights = first.weights[:, top:top + height, left:left + width]
    weights = weights.reshape(len(weights), 1, 1, -1)
    return replace(first, input_shape=(1, 1, weights.shape[3]), weights=weights, stride=(1, 1), padding=Padding())


def _of_rows(number: int, first: Convolution) -> tuple[InputLayout, Window, Matrix]:
    """The only layer that reads the image, a convolution: its windows' rows lie side by side in the input memory."""
    first = _flat(first)
    (height, _, channels), (kernel_height, kernel_width) = first.input_shape, first.kernel
    layout = InputLayout(first.input_shape, first.output_shape[1], kernel_width, first.stride[1],
                         first.padding.left, first.input_zero_point)
    window = Window((height, first.output_shape[1], kernel_width * channels), first.output_shape[:2],
                    (kernel_height, 1), (first.stride[0], 1), (-first.padding.top, 0), first.input_zero_point)
    return layout, window, _convolution(number, first)


def _copying(shape: tuple[int, int, int]) -> Window:
    """Windows of single pixels."""
    return Window(shape, shape[:2], (1, 1), (1, 1), (0, 0), 0)


@dataclass(eq=False)
class _Draft:
    """A pass whose number is not known yet: layers stand for the passes that make their maps.

    It makes the map of ``layer`` of that of ``source``, and adds that of ``other``; None: it reads the input memory,
    and adds nothing."""

    layer: int
    source: int | None
    window: Window
    reduction: Reduction | None
    matrix: Matrix
    elementwise: Elementwise | None = None
    other: int | None = None
    copies: bool = False

    @property
    def shape(self) -> tuple[int, int, int]:
        return *self.window.output_size, len(self.matrix.weights)


def lower(network: Network) -> tuple[InputLayout, tuple[Pass, ...]]:
    """Passes of ``network`` in order, and the layout of the image for the first of them.

    The order keeps few maps alive at once (:func:`~.order.memory_saving_order`); outputs have the numbers that they
    have among ``network.outputs``.

    Raises
    ------
    NetworkError
        A layer that the engine can't run.
    """
    plain, originals = without_concatenations(network)
    layout, passes = _Lowering(plain).passes()
    return layout, passes if plain is network else tuple(_renumbered(work, originals) for work in passes)


def _renumbered(work: Pass, numbers: Sequence[int | None]) -> Pass:
    """A pass whose layers have other ``numbers``."""
    def renumbered(part):
        return part and replace(part, layer=None if part.layer is None else numbers[part.layer])

    elementwise = work.elementwise and replace(
        work.elementwise, layers=tuple(None if n is None else numbers[n] for n in work.elementwise.layers))
    return replace(work, reduction=renumbered(work.reduction), matrix=renumbered(work.matrix), elementwise=elementwise)


class _Lowering:
    """Drafts of a network's passes, then passes."""

    def __init__(self, network: Network):
        self.network, self.operands = network, Operands(network)
        self._parts: dict[int, Reduction | Matrix] = {}
        # Layers on the longest way to each from the image.
        self.depths = {IMAGE: 0}
        for number, sources in enumerate(network.sources):
            self.depths[number] = 1 + max(self.depths[source] for source in sources)
        # Elementwise layer to the map whose pass does it on the way to memory.
        self.hosts = {number: host for number in self.operands.of if (host := self._host(number)) is not None}
        self.layout, self.drafts = self._begin()
        hosted = dict(zip(self.hosts.values(), self.hosts, strict=True))
        inner = set()
        for number in self.operands.kept:
            if number in self.hosts or number in inner or self.drafts[0].layer == number:
                continue
            if number in self.operands.of:
                self.drafts.append(self._apart(number))
                continue
            following = self._pointwise_behind(number)
            if following is not None:
                inner.add(following)
            self.drafts.append(self._windowed(number, following))
        for draft in self.drafts:
            if draft.layer in hosted:
                self._add_elementwise(draft, hosted[draft.layer])
        self._copy_outputs()

    def _users(self, number: int) -> list[int]:
        return self.operands.users[number]

    def _private(self, number: int) -> bool:
        """Whether only one layer reads a map, and it isn't an output."""
        return len(self._users(number)) == 1 and number not in self.network.output_layers

    def _host(self, number: int) -> int | None:
        """Of an elementwise layer's maps one that nothing else reads, whose pass can go on with it: the one with the
        most layers before it, so that the other one's passes can run while it waits for its own."""
        able = [each.base for each in self.operands.of[number]
                if self._private(each.base) and each.base not in self.operands.of]
        return max(able, key=lambda base: (self.depths[base], base), default=None)

    def _begin(self) -> tuple[InputLayout, list[_Draft]]:
        readers = self._users(IMAGE)
        first = self.network.layers[readers[0]]
        if len(readers) == 1 and isinstance(first, Convolution):
            layout, window, matrix = _of_rows(readers[0], first)
            return layout, [_Draft(readers[0], None, window, None, matrix)]
        shape = self.network.input_shape
        layout = InputLayout(shape, shape[1], 1, 1, 0, self.network.input_zero_point)
        return layout, [_Draft(IMAGE, None, _copying(shape), None, identity(shape[2]))]

    def _pointwise_behind(self, number: int) -> int | None:
        """The 1x1 convolution that alone reads a reduction's results."""
        if not isinstance(self._part(number), Reduction) or not self._private(number):
            return None
        (following,) = self._users(number)
        layer = self.network.layers[following]
        return following if isinstance(layer, Convolution) and _is_pointwise(layer) else None

    def _part(self, number: int) -> Reduction | Matrix:
        if number not in self._parts:
            self._parts[number] = _part(number, self.network.layers[number])
        return self._parts[number]

    def _windowed(self, number: int, following: int | None) -> _Draft:
        layer, part, (source,) = self.network.layers[number], self._part(number), self.network.sources[number]
        if isinstance(part, Matrix):
            return _Draft(number, source, _window(layer), None, part)
        if following is None:
            return _Draft(number, source, _window(layer), part, identity(layer.output_shape[2]))
        matrix = self._part(following)
        assert isinstance(matrix, Matrix)
        return _Draft(following, source, _window(layer), part, matrix)

    def _add_elementwise(self, draft: _Draft, number: int) -> None:
        """Let the pass that makes one of an elementwise layer's maps go on with it."""
        operands = self.operands.of[number]
        draft.elementwise = elementwise(self.network, number, operands, draft.layer)
        draft.other = next((each.base for each in operands if each.base != draft.layer), None)
        draft.layer = number

    def _apart(self, number: int) -> _Draft:
        """An elementwise layer as a pass of its own, of one map through windows: rather one that windows are read of
        anyhow, and no output, which would have to be copied."""
        shape = self.network.layers[number].output_shape
        source = max((each.base for each in self.operands.of[number]),
                     key=lambda base: (self._windows_read(base), base not in self.network.output_layers))
        draft = _Draft(source, source, _copying(shape), None, identity(shape[2]))
        self._add_elementwise(draft, number)
        return draft

    def _windows_read(self, number: int) -> bool:
        return any(user not in self.operands.of for user in self._users(number))

    def _copy_outputs(self) -> None:
        """An output that windows are read of lies in the activation memory: a pass of its own copies it."""
        read = {draft.source for draft in self.drafts}
        for number in self.network.output_layers:
            if number in read:
                shape = self.network.layers[number].output_shape
                self.drafts.append(_Draft(number, number, _copying(shape), None, identity(shape[2]), copies=True))

    def passes(self) -> tuple[InputLayout, tuple[Pass, ...]]:
        """The layout of the image, and the passes in order."""
        makers = {draft.layer: number for number, draft in enumerate(self.drafts) if not draft.copies}
        reads = [frozenset(makers[layer] for layer in (draft.source, draft.other) if layer is not None)
                 for draft in self.drafts]
        # A tile is filled before the array works on it, so behind a long wait the smaller windows come first.
        order = memory_saving_order(reads, [prod(draft.shape) for draft in self.drafts],
                                    [draft.window.input_shape[2] * prod(draft.window.kernel) for draft in self.drafts])
        drafts = [self.drafts[number] for number in order]
        numbers = {draft.layer: number for number, draft in enumerate(drafts) if not draft.copies}
        outputs = {layer: number for number, layer in enumerate(self.network.output_layers)}
        banked, added = ({getattr(draft, name) for draft in drafts} for name in ("source", "other"))
        passes = []
        for draft in drafts:
            source = None if draft.source is None else numbers[draft.source]
            other = None if draft.other is None else numbers[draft.other]
            leaves = draft.copies or draft.layer not in banked
            passes.append(Pass(
                source, draft.window, draft.reduction, draft.matrix,
                elementwise=draft.elementwise and replace(draft.elementwise, other=other),
                banked=not draft.copies and draft.layer in banked, added=not draft.copies and draft.layer in added,
                output=outputs.get(draft.layer) if leaves else None))
        return self.layout, tuple(passes)
