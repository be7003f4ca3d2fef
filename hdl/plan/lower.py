"""From a Network's layers to the blocks that the engine runs.

A block is what one pass through the engine computes: windows of the input feature map, either reduced by
the depthwise engine or copied as they are (im2col), and then multiplied by a matrix in the systolic array.
Everything a Network may hold is brought to this one form:

- depthwise + 1x1 convolution: the native case, one block;
- any other convolution, and a fully connected layer: copied windows, then the matrix;
- an average pool: a depthwise layer whose weights are all one;
- a depthwise layer or pool with no 1x1 convolution behind it: an identity matrix behind it;
- a network that begins with a depthwise layer: an identity block in front, which copies the image.

The input memory of the first block holds, for every output column, the row of ``kernel width * channels``
bytes that its window covers ("row im2col", done on the fly by the loader), so that few input channels
still fill a memory word.  Where a window covers the whole image, the image is a single pixel: a vector.  Many bytes
are stored in several words (:func:`~tepal.hdl.units.input_layout.split`), for memory blocks have many narrow words
rather than a few wide ones.

A first block of few output channels may be folded (:func:`fold`): neighbouring pixels become channels of one.
"""

from dataclasses import dataclass, replace

import numpy as np
from tepal.hdl.units.depthwise import ACTIVATION_OFFSET
from tepal.hdl.units.input_layout import InputLayout
from tepal.quant import Average, AveragePool, Convolution, Depthwise, Layer, Network, NetworkError, Padding, Requantise

__all__ = ["Block", "Matrix", "Reduction", "Window", "fold", "lower"]

@dataclass(frozen=True)
class Window:
    """How the windows of a block lie on its input map; ``zero_point`` is what lies beyond its edges."""

    input_shape: tuple[int, int, int]
    output_size: tuple[int, int]
    kernel: tuple[int, int]
    stride: tuple[int, int]
    origin: tuple[int, int]
    zero_point: int


@dataclass(frozen=True, eq=False)
class Reduction:
    """The depthwise engine's part: int8 ``weights`` (kernel height, kernel width, channels).

    ``constant`` (channels,) is added to the engine's sum of products before ``requantise``; ``layer`` is the
    Network's layer that this is."""

    layer: int
    weights: np.ndarray
    constant: np.ndarray
    requantise: Requantise | Average


@dataclass(frozen=True, eq=False)
class Matrix:
    """The systolic array's part: int8 ``weights`` (out channels, inner dimension), the rest as above.

    In a folded block the weights are those of ``fold`` pixels, all else is that of one.

    ``layer`` is None for an identity."""

    layer: int | None
    weights: np.ndarray
    constant: np.ndarray
    requantise: Requantise | Average


@dataclass(frozen=True, eq=False)
class Block:
    """One pass through the engine; without a ``reduction`` the windows are copied as they are.

    ``fold`` neighbouring pixels of a row are made from one window: the matrix has the weights of the first one's
    channels, then those of the second one's."""

    window: Window
    reduction: Reduction | None
    matrix: Matrix
    fold: int = 1

    @property
    def output_shape(self) -> tuple[int, int, int]:
        height, width = self.window.output_size
        return height, width * self.fold, self.matrix.weights.shape[0] // self.fold

    @property
    def windows(self) -> int:
        """Windows of the block: pixels of what the array makes, before they are unfolded."""
        return self.window.output_size[0] * self.window.output_size[1]


def _raw_constant(weights: np.ndarray, bias: np.ndarray, zero_point: int, axes) -> np.ndarray:
    """What to add to a sum of weight * raw activation for the sum of weight * (activation - zero point)."""
    return bias.astype(np.int64) - zero_point * weights.astype(np.int64).sum(axis=axes)


def _identity_matrix(channels: int) -> Matrix:
    unity = Requantise(np.full(channels, 1 << 30), np.ones(channels), zero_point=0)
    return Matrix(None, np.eye(channels, dtype=np.int8), np.zeros(channels, np.int64), unity)


def _window(layer: Layer) -> Window:
    return Window(layer.input_shape, layer.output_shape[:2], layer.kernel, layer.stride,
                  (-layer.padding.top, -layer.padding.left), layer.input_zero_point)


def _reduction(number: int, layer: Depthwise | AveragePool) -> Reduction:
    if isinstance(layer, Depthwise):
        weights, zero_point = layer.weights, layer.input_zero_point
    else:
        # An average pool sums raw values; its requantiser knows of no zero point.
        weights, zero_point = np.ones((*layer.window, layer.input_shape[2]), np.int8), 0
    constant = _raw_constant(weights, layer.bias, zero_point + ACTIVATION_OFFSET, (0, 1))
    return Reduction(number, weights, constant, layer.requantise)


def _matrix(number: int, layer: Convolution) -> Matrix:
    return Matrix(number, layer.weights.reshape(layer.weights.shape[0], -1),
                  _raw_constant(layer.weights, layer.bias, layer.input_zero_point, (1, 2, 3)),
                  layer.requantise)


def _is_pointwise(layer: Convolution) -> bool:
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


def lower(network: Network) -> tuple[InputLayout, tuple[Block, ...]]:
    """Blocks of ``network`` in order, and the layout of the image for the first of them.

    Raises
    ------
    NetworkError
        A layer that the engine can't run.
    """
    layers = list(network.layers)
    blocks: list[Block] = []
    number = 0
    first = layers[0]
    if isinstance(first, Convolution):
        first = _flat(first)
        (height, _, channels), (kernel_height, kernel_width) = first.input_shape, first.kernel
        layout = InputLayout(first.input_shape, first.output_shape[1], kernel_width, first.stride[1],
                             first.padding.left, first.input_zero_point)
        window = Window((height, first.output_shape[1], kernel_width * channels), first.output_shape[:2],
                        (kernel_height, 1), (first.stride[0], 1), (-first.padding.top, 0), first.input_zero_point)
        blocks.append(Block(window, None, _matrix(0, first)))
        number = 1
    else:
        height, width, channels = network.input_shape
        layout = InputLayout(network.input_shape, width, 1, 1, 0, network.input_zero_point)
        window = Window(network.input_shape, (height, width), (1, 1), (1, 1), (0, 0), 0)
        blocks.append(Block(window, None, _identity_matrix(channels)))
    while number < len(layers):
        layer = layers[number]
        if isinstance(layer, Convolution):
            blocks.append(Block(_window(layer), None, _matrix(number, layer)))
        elif isinstance(layer, Depthwise | AveragePool):
            reduction = _reduction(number, layer)
            following = layers[number + 1] if number + 1 < len(layers) else None
            if isinstance(following, Convolution) and _is_pointwise(following):
                number += 1
                blocks.append(Block(_window(layer), reduction, _matrix(number, following)))
            else:
                blocks.append(Block(_window(layer), reduction, _identity_matrix(layer.output_shape[2])))
        else:
            raise NetworkError(f"layer {layer.index} ({layer.name}): the engine has no {type(layer).__name__}")
        number += 1
    return layout, tuple(blocks)


def fold(layout: InputLayout, block: Block, count: int) -> tuple[InputLayout, Block]:
    """The first block with ``count`` neighbouring pixels of each row as channels of one, and the image for it.

    A window covers all that they cover, and each has zero weights for what only the others do.  So the array makes
    ``count`` times as many channels of as many fewer pixels, from fewer bytes than before.  Sums are the same."""
    height, width, row = block.window.input_shape
    out, across = len(block.matrix.weights), layout.stride * layout.shape[2]
    weights = block.matrix.weights.reshape(out, block.window.kernel[0], row)
    folded = np.zeros((count, *weights.shape[:2], row + (count - 1) * across), np.int8)
    for number in range(count):
        folded[number, :, :, number * across:number * across + row] = weights
    window = replace(block.window, input_shape=(height, width // count, folded.shape[-1]),
                     output_size=(block.window.output_size[0], block.window.output_size[1] // count))
    return (replace(layout, columns=layout.columns // count, kernel=layout.kernel + (count - 1) * layout.stride,
                    stride=count * layout.stride),
            replace(block, window=window, fold=count,
                    matrix=replace(block.matrix, weights=folded.reshape(count * out, -1))))
