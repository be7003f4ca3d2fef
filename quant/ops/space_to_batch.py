# SPDX-License-Identifier: Apache-2.0
"""SPACE_TO_BATCH_ND and BATCH_TO_SPACE_ND of TensorFlow Lite around a convolution: how TensorFlow writes a dilated one.

The first one deals the pixels out, every n-th to one map of a batch; a window on each of these sees pixels that lie n
apart.  So the convolution between the two is one with n times its dilation."""

from __future__ import annotations

from dataclasses import replace
from math import prod

import numpy as np
from tepal.quant.files.tflite_file import Operator
from tepal.quant.files.tflite_graph import TfliteGraph
from tepal.quant.files.values import TensorValue, in_batch, in_space, moved_to_batch
from tepal.quant.layer import IMAGE, LARGEST_MAP, Padding
from tepal.quant.weighted import FloatWeighted, Weighted

from .registry import tflite

_LIMITS = "around a convolution of stride 1 without padding of its own, as a dilated one"


@tflite("SPACE_TO_BATCH_ND", limits=_LIMITS)
def _space_to_batch(graph: TfliteGraph, operator: Operator) -> None:
    graph.check_unchanged(operator)
    value = graph.computable(operator)
    blocks, around = _parameters(operator)
    sizes = [size + sum(amounts) for size, amounts in zip(value.shape[1:3], around, strict=False)]
    if len(value.shape) != 4 or value.shape[0] != 1 or any(size % by for size, by in zip(sizes, blocks, strict=True)):
        raise operator.error(f"deals the shape {list(value.shape)} with the padding {around} out to {blocks} maps")
    if prod(sizes) * value.shape[3] > LARGEST_MAP:
        raise operator.error(f"makes a map of more than {LARGEST_MAP} values")
    value = graph.opened(operator, value, value.shape[1:])
    padded = np.pad(value.numbers, [(0, 0), *around, (0, 0)], constant_values=-1)
    graph.check_shape(operator, in_batch(padded, blocks).shape)
    graph.give(operator, replace(moved_to_batch(value, padded, blocks), maker=operator))


@tflite("BATCH_TO_SPACE_ND", limits=_LIMITS)
def _batch_to_space(graph: TfliteGraph, operator: Operator) -> None:
    graph.check_unchanged(operator)
    value, (blocks, crops) = graph.computable(operator), _parameters(operator)
    if value.blocks != blocks:
        raise operator.obstacle("isn't behind a SPACE_TO_BATCH_ND of the same blocks and a convolution; only such "
                                "three are supported, as a dilated convolution")
    (top, bottom), (left, right) = crops
    numbers = in_space(value.numbers, blocks)
    _, height, width, _ = numbers.shape
    if top + bottom >= height or left + right >= width:
        raise operator.error(f"cuts {crops} off a map of {height}x{width}")
    kept = numbers[:, top:height - bottom, left:width - right]
    graph.check_shape(operator, kept.shape)
    if kept.size < numbers.size:
        kept = _without(graph, operator, value, Padding(top, bottom, left, right))
    graph.give(operator, value.moved(kept))


def _parameters(operator: Operator) -> tuple[tuple[int, int], list[tuple[int, int]]]:
    """The blocks, and the pairs of amounts for height and width."""
    blocks, amounts = (operator.input(number).constant() for number in (1, 2))
    if blocks.shape != (2,) or amounts.shape != (2, 2) or (blocks < 1).any() or (amounts < 0).any():
        raise operator.obstacle(f"has the blocks {blocks.tolist()} and the amounts {amounts.tolist()}; two blocks and "
                                "two pairs of amounts are supported")
    return (int(blocks[0]), int(blocks[1])), [(int(before), int(after)) for before, after in amounts]


def _without(graph: TfliteGraph, operator: Operator, value: TensorValue, crop: Padding) -> np.ndarray:
    """The numbers of what is left once the layer before ``operator`` no longer computes the rows and columns that are
    cut off: of a window that moves by single pixels these come of as much padding."""
    (source,) = value.sources
    layer = None if source == IMAGE else graph.layers[source]
    cut = (crop.top, crop.bottom, crop.left, crop.right)
    if value.shared or not isinstance(layer, Weighted | FloatWeighted) or any(
            have < less for have, less in zip(_amounts(layer.padding), cut, strict=True)):
        raise operator.obstacle("cuts off more than the padding before the convolution made, or what others read; "
                                "convert the model with the convolution's own dilation")
    left = [have - less for have, less in zip(_amounts(layer.padding), cut, strict=True)]
    height, width, channels = layer.output_shape
    shape = height - crop.top - crop.bottom, width - crop.left - crop.right, channels
    graph.layers[source] = replace(layer, padding=Padding(*left), output_shape=shape)
    graph.sizes[source] = shape
    return np.arange(prod(shape), dtype=np.int32).reshape(1, *shape)


def _amounts(padding: Padding) -> tuple[int, int, int, int]:
    return padding.top, padding.bottom, padding.left, padding.right
