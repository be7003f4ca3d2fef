# SPDX-License-Identifier: Apache-2.0
"""From a network's layers to the passes of the engine.

:data:`LOWERINGS` says of each kind of layer which part of a pass it becomes: a reduction of windows (the depthwise
engine's part) or a matrix (the array's).  A reduction and the 1x1 convolution after it share a pass; whatever part a
pass then lacks, it does without:

- depthwise + 1x1 convolution: the native case, one pass;
- any other convolution, and a fully connected layer: copied windows, then the matrix;
- an average pool, and a max pool: a reduction whose weights are all one;
- a reduction with no 1x1 convolution after it: the reduction, then an identity matrix;
- a network that begins with a reduction: a pass in front of it copies the image.

The input memory of the first pass holds, for every output column, the row of ``kernel width * channels``
bytes that its window covers ("row im2col", done on the fly by the loader), so that few input channels
still fill a memory word.  Where a window covers the whole image, the image is a single pixel: a vector.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from tepal.hdl.units.depthwise import ACTIVATION_OFFSET, ReductionKind
from tepal.hdl.units.input_layout import InputLayout
from tepal.quant import AveragePool, Convolution, Depthwise, Layer, Network, NetworkError, Padding
from tepal.quant.ops.max_pool import MaxPool

from .passes import Matrix, Pass, Reduction, Window, identity, sum_range

__all__ = ["LOWERINGS", "lower"]


def _raw_constant(weights: np.ndarray, bias: np.ndarray, zero_point: int, axes) -> np.ndarray:
    """What to add to a sum of weight * raw activation for the sum of weight * (activation - zero point)."""
    return bias.astype(np.int64) - zero_point * weights.astype(np.int64).sum(axis=axes)


def _weighted_sum(number: int, layer, weights: np.ndarray, zero_point: int) -> Reduction:
    constant = _raw_constant(weights, layer.bias, zero_point + ACTIVATION_OFFSET, (0, 1))
    return Reduction(number, weights, constant, sum_range(weights, (0, 1), ACTIVATION_OFFSET), layer.requantise)


def _depthwise(number: int, layer: Depthwise) -> Reduction:
    return _weighted_sum(number, layer, layer.weights, layer.input_zero_point)


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
    return Matrix(number, layer.weights.reshape(layer.weights.shape[0], -1),
                  _raw_constant(layer.weights, layer.bias, layer.input_zero_point, (1, 2, 3)),
                  layer.requantise)


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


def _of_rows(first: Convolution) -> tuple[InputLayout, Pass]:
    """The first layer, a convolution: its windows' rows lie side by side in the input memory."""
    first = _flat(first)
    (height, _, channels), (kernel_height, kernel_width) = first.input_shape, first.kernel
    layout = InputLayout(first.input_shape, first.output_shape[1], kernel_width, first.stride[1],
                         first.padding.left, first.input_zero_point)
    window = Window((height, first.output_shape[1], kernel_width * channels), first.output_shape[:2],
                    (kernel_height, 1), (first.stride[0], 1), (-first.padding.top, 0), first.input_zero_point)
    return layout, Pass(None, window, None, _convolution(0, first))


def _copied(network: Network) -> tuple[InputLayout, Pass]:
    """The image as it is, copied to the activation memory."""
    height, width, channels = network.input_shape
    layout = InputLayout(network.input_shape, width, 1, 1, 0, network.input_zero_point)
    window = Window(network.input_shape, (height, width), (1, 1), (1, 1), (0, 0), 0)
    return layout, Pass(None, window, None, identity(channels))


def lower(network: Network) -> tuple[InputLayout, tuple[Pass, ...]]:
    """Passes of ``network`` in order, and the layout of the image for the first of them.

    Raises
    ------
    NetworkError
        A layer that the engine can't run.
    """
    parts = [(layer, _part(number, layer)) for number, layer in enumerate(network.layers)]
    first = network.layers[0]
    if isinstance(parts[0][1], Matrix):
        assert isinstance(first, Convolution)
        layout, first_pass = _of_rows(first)
        del parts[0]
    else:
        layout, first_pass = _copied(network)
    passes = [first_pass]
    while parts:
        layer, part = parts.pop(0)
        reduction, matrix = (part, None) if isinstance(part, Reduction) else (None, part)
        if reduction and parts:
            following, its_part = parts[0]
            if isinstance(its_part, Matrix) and _is_pointwise(following):
                matrix = its_part
                del parts[0]
        passes.append(Pass(len(passes) - 1, _window(layer), reduction, matrix or identity(layer.output_shape[2])))
    return layout, tuple(passes)
