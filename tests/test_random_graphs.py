# SPDX-License-Identifier: Apache-2.0
"""Random graphs are of every kind, and say what they are."""

import pytest
from graphs import RandomGraph, graphs
from hypothesis import given, settings
from tepal.quant import Add, AveragePool, Convolution, Depthwise, Network
from tepal.quant.layer import IMAGE
from tepal.quant.lookup import Lookup
from tepal.quant.ops.concatenation import Concatenation
from tepal.quant.ops.max_pool import MaxPool


@pytest.fixture(scope="module")
def drawn() -> list[RandomGraph]:
    found: list[RandomGraph] = []

    @settings(max_examples=64)
    @given(graphs())
    def draw(graph):
        found.append(graph)

    draw()
    return found


def reach(network: Network, number: int) -> set[int]:
    """All maps of which the number-th is made, itself among them."""
    found = {number}
    for layer in range(number, IMAGE, -1):
        if layer in found:
            found.update(network.sources[layer])
    return found


def residuals(network: Network) -> list[tuple[int, int]]:
    """(map, sum) of each sum of two maps one of which is made of the other."""
    return [(min(sources), number) for number, (layer, sources) in enumerate(
        zip(network.layers, network.sources, strict=True))
        if isinstance(layer, Add) and min(sources) != max(sources) and min(sources) in reach(network, max(sources))]


def two_armed(network: Network) -> bool:
    """Whether two maps are summed neither of which is made of the other, but both of a third."""
    sums = [sources for layer, sources in zip(network.layers, network.sources, strict=True) if isinstance(layer, Add)]
    return any(min(pair) not in reach(network, max(pair)) and reach(network, pair[0]) & reach(network, pair[1])
               for pair in sums)


def nested(network: Network) -> bool:
    """Whether a residual lies within another."""
    found = residuals(network)
    return any(first < begin and end < last for first, last in found for begin, end in found)


def test_every_kind_is_drawn(drawn):
    assert len(drawn) == 64
    networks = [graph.network for graph in drawn]
    assert {type(layer) for network in networks for layer in network.layers} == {
        Add, AveragePool, Concatenation, Convolution, Depthwise, Lookup, MaxPool}
    for kind in residuals, two_armed, nested, lambda network: len(network.output_layers) > 1:
        assert sum(bool(kind(network)) for network in networks) >= 3
    assert sum(len(network.layers) for network in networks) > 5 * len(networks)


def test_name(drawn):
    """It says all of the structure."""
    for graph in drawn:
        told = repr(graph)
        assert told.startswith(f"<graph of image {graph.network.input_shape}; 0: ")
        for number, (layer, sources) in enumerate(zip(graph.network.layers, graph.network.sources, strict=True)):
            assert f"; {number}: {type(layer).__name__} of {', '.join(map(str, sources))}" in told
        assert told.endswith(f"outputs {graph.network.output_layers}; seed {graph.seed}>")
