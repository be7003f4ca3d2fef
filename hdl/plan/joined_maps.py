# SPDX-License-Identifier: Apache-2.0
"""Concatenations along channels, in terms of what the engine has: sums of maps that are zero where another one is not.

Each part is widened to all channels, with zeros in those of the other parts: by the convolution that makes it, whose
further channels are biases alone, where nothing else reads it; else by a 1x1 convolution, which copies it.  The sum of
the widened maps is the whole.
"""

from dataclasses import replace

import numpy as np
from tepal.quant import Convolution, Layer, Network, Requantise
from tepal.quant.layer import IMAGE
from tepal.quant.lookup import CODES, Lookup
from tepal.quant.ops.add import Add
from tepal.quant.ops.concatenation import Concatenation

__all__ = ["without_concatenations"]


def without_concatenations(network: Network) -> tuple[Network, list[int | None]]:
    """``network`` without any, and for each of its layers the number that it has in ``network``; None of one whose
    results are none of ``network``'s."""
    if not any(isinstance(layer, Concatenation) for layer in network.layers):
        return network, [*range(len(network.layers))]
    return _Rewriting(network).result()


class _Rewriting:
    def __init__(self, network: Network):
        self.network = network
        self.layers: list[Layer] = []
        self.originals: list[int | None] = []
        # Of the image and each layer of the network, the layer that gives its map now.
        self.now = {IMAGE: IMAGE}
        for number, layer in enumerate(network.layers):
            sources = tuple(self.now[source] for source in network.sources[number])
            if isinstance(layer, Concatenation):
                self.now[number] = self._join(number, layer, sources)
            else:
                self.now[number] = self._add(replace(layer, inputs=sources), number)

    def result(self) -> tuple[Network, list[int | None]]:
        outputs = tuple(self.now[number] for number in self.network.output_layers)
        return replace(self.network, layers=tuple(self.layers), outputs=outputs, original=None), self.originals

    def _add(self, layer: Layer, original: int | None = None) -> int:
        self.layers.append(layer)
        self.originals.append(original)
        return len(self.layers) - 1

    def _join(self, number: int, layer: Concatenation, sources: tuple[int, ...]) -> int:
        ends, whole = np.cumsum(layer.channels), None
        parts = self.network.sources[number]
        for source, part, table, unchanged, end, count in zip(sources, parts, layer.tables, layer.unchanged, ends,
                                                              layer.channels, strict=True):
            shape = (*layer.input_shape[:2], count)
            common = {"name": layer.name, "index": layer.index, "output_scale": layer.output_scale}
            channels = np.arange(end - count, end)
            place = {"input_shape": shape, "output_shape": shape, "input_zero_point": 0}
            if not unchanged:
                source = self._add(Lookup(**common, **place, inputs=(source,), table=table, result_zero_point=0,
                                          function="a change of scale"))
            if not unchanged or not self._private(part):
                source = self._add(Convolution(
                    **common, **place, inputs=(source,), weights=np.eye(count, dtype=np.int8)[:, None, None],
                    bias=np.zeros(count), requantise=Requantise(np.full(count, 1 << 30), np.ones(count), 0)))
            self._widen(source, channels, layer.output_shape[2])
            whole = source if whole is None else self._sum(common, layer, whole, source)
        assert whole is not None
        self.originals[whole] = number
        return whole

    def _private(self, part: int) -> bool:
        """Whether a layer's results can be made wider where they are made."""
        if part == IMAGE or part in self.network.output_layers:
            return False
        layer, reads = self.network.layers[part], sum(sources.count(part) for sources in self.network.sources)
        return (reads == 1 and isinstance(layer, Convolution)
                and layer.requantise.minimum <= 0 <= layer.requantise.maximum)

    def _widen(self, number: int, channels: np.ndarray, count: int) -> None:
        """Let a convolution's results be ``channels`` of so many, all others of which are zero."""
        layer = self.layers[number]
        assert isinstance(layer, Convolution)
        rule = layer.requantise

        def wide(values, rest) -> np.ndarray:
            values = np.broadcast_to(values, (len(channels), *np.shape(values)[1:]))
            found = np.full((count, *values.shape[1:]), rest, values.dtype)
            found[channels] = values
            return found

        self.layers[number] = replace(
            layer, output_shape=(*layer.output_shape[:2], count), weights=wide(layer.weights, 0),
            bias=wide(layer.bias, -rule.zero_point), weight_scales=1.0,
            # Weights of 0 stand for 0 in the further channels, whatever they stand for in the others.
            weight_zero_point=wide(layer.weight_zero_point, 0) if np.any(layer.weight_zero_point) else 0,
            requantise=replace(rule, multiplier=wide(rule.multiplier, 1 << 30), shift=wide(rule.shift, 1)))
        self.originals[number] = None

    def _sum(self, common: dict, layer: Concatenation, one: int, other: int) -> int:
        count = layer.output_shape[2]
        return self._add(Add(
            **common, inputs=(one, other), input_shape=layer.output_shape, output_shape=layer.output_shape,
            input_zero_point=0, other_zero_point=0, tables=np.stack([CODES, CODES]),
            requantise=Requantise(np.full(count, 1 << 30), np.ones(count), 0)))
