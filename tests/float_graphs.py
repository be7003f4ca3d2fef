# SPDX-License-Identifier: Apache-2.0
"""Random small float networks that are no chains: residuals, several outputs; one seed, one network."""

from functools import cache
from math import inf, prod

import numpy as np
from networks import KERNELS, _windows
from tepal.quant import (
    FloatAdd,
    FloatAveragePool,
    FloatConvolution,
    FloatDepthwise,
    FloatNetwork,
    Network,
    quantize,
)
from tepal.quant.layer import IMAGE, Shape
from tepal.quant.lookup import FloatLookup
from tepal.quant.ops.concatenation import FloatConcatenation

__all__ = ["float_graph", "integer_graph"]

CLAMPS = ((-inf, inf), (-inf, inf), (0, inf), (0, 6), (-1, 1))

STEPS = 9
"""That make a graph, at most."""


class _Growing:
    def __init__(self, rng: np.random.Generator, shape: Shape):
        self.rng = rng
        self.layers = []
        self.shapes = {IMAGE: shape}

    def any_of(self, shape: Shape | None = None, size: tuple[int, int] | None = None) -> int:
        """A map, mostly a late one; of ``shape``, or of ``size`` in pixels, if that is given."""
        numbers = [number for number, each in self.shapes.items() if shape in (None, each) and size in (None, each[:2])]
        return numbers[-1] if self.rng.random() < 0.6 else int(self.rng.choice(numbers))

    def append(self, kind, sources: tuple[int, ...], output_shape: Shape, **fields) -> int:
        number = len(self.layers)
        minimum, maximum = CLAMPS[self.rng.integers(len(CLAMPS))]
        self.layers.append(kind(
            name=f"layer{number}", index=number, inputs=() if sources == (number - 1,) else sources,
            input_shape=self.shapes[sources[0]], output_shape=output_shape, minimum=minimum, maximum=maximum, **fields))
        self.shapes[number] = output_shape
        return number

    def weighted(self, source: int, *, depthwise: bool, channels: int, kernel: tuple[int, int]) -> int:
        """Weights that keep values about 1."""
        shape = self.shapes[source]
        place = {"size": shape[:2]} if kernel == (1, 1) else _windows(self.rng, shape, kernel)
        terms, channels = prod(kernel) * (1 if depthwise else shape[2]), shape[2] if depthwise else channels
        weights = self.rng.normal(0, 1.4 / np.sqrt(terms),
                                  (*kernel, channels) if depthwise else (channels, *kernel, shape[2]))
        # Now and then channels of very different ranges, for equalisation to do something, or a dead one.
        factor = np.exp2(self.rng.uniform(-3, 3, channels)) if self.rng.random() < 0.2 else np.ones(channels)
        factor[self.rng.integers(channels)] *= self.rng.random() > 0.1
        weights *= factor if depthwise else factor[:, None, None, None]
        size = place.pop("size")
        return self.append(FloatDepthwise if depthwise else FloatConvolution, (source,), (*size, channels),
                           weights=weights, bias=factor * self.rng.normal(0, 0.3, channels), **place)

    def step(self) -> None:
        source = self.any_of()
        shape = self.shapes[source]
        match self.rng.choice(["dense", "depthwise", "pool", "lookup", "concatenation", "add", "arm"],
                              p=[.25, .2, .05, .1, .1, .1, .2]):
            case "dense" | "depthwise" as kind:
                kernel = KERNELS[self.rng.integers(3)]
                self.weighted(source, depthwise=kind == "depthwise", channels=int(self.rng.integers(1, 9)),
                              kernel=kernel)
            case "pool":
                self.append(FloatAveragePool, (source,), (1, 1, shape[2]), window=shape[:2])
            case "lookup":
                self.append(FloatLookup, (source,), shape, compute=lambda x: np.where(x < 0, x / 4, x),
                            function="leaky ReLU")
            case "concatenation":
                other = self.any_of(size=shape[:2])
                channels = shape[2], self.shapes[other][2]
                self.append(FloatConcatenation, (source, other), (*shape[:2], sum(channels)), channels=channels)
            case "add":
                self.append(FloatAdd, (source, self.any_of(shape)), shape)
            case _:
                arm = self.weighted(source, depthwise=False, channels=shape[2], kernel=(1, 1))
                self.append(FloatAdd, (source, arm) if self.rng.random() < 0.5 else (arm, source), shape)


    @property
    def unread(self) -> list[int]:
        """Numbers of the layers that none reads."""
        read = {source for number, layer in enumerate(self.layers) for source in layer.inputs or (number - 1,)}
        return [number for number in range(len(self.layers)) if number not in read]

    def join(self) -> None:
        """Vectors made of all that nothing reads yet, and their sum."""
        total = None
        for source in self.unread:
            shape = self.shapes[source]
            pooled = self.append(FloatAveragePool, (source,), (1, 1, shape[2]), window=shape[:2])
            vector = self.weighted(pooled, depthwise=False, channels=5, kernel=(1, 1))
            total = vector if total is None else self.append(FloatAdd, (total, vector), (1, 1, 5))


def float_graph(seed: int) -> FloatNetwork:
    """Layers that read any map before them, and often a sum of all in the end; what nothing reads is an output, and now
    and then what something does."""
    rng = np.random.default_rng([seed, 3])
    graph = _Growing(rng, (int(rng.integers(2, 8)), int(rng.integers(2, 8)), int(rng.integers(1, 6))))
    for _ in range(int(rng.integers(2, STEPS + 1))):
        graph.step()
    if rng.random() < 0.7:
        graph.join()
    outputs = tuple(number for number in range(len(graph.layers)) if number in graph.unread or rng.random() < 0.03)
    return FloatNetwork(f"graph{seed}", tuple(graph.layers), outputs=outputs)


@cache
def integer_graph(seed: int) -> Network:
    """:func:`float_graph` quantised."""
    network = float_graph(seed)
    images = np.random.default_rng(seed).normal(0, 1, (8, *network.input_shape)).astype(np.float32)
    return quantize(network, images).network
