# SPDX-License-Identifier: Apache-2.0
"""A network without concatenations computes the same."""

from dataclasses import replace

import numpy as np
import pytest
from graphs import graph_case
from tepal.hdl.plan.joined_maps import without_concatenations
from tepal.quant import Convolution
from tepal.quant.ops.concatenation import Concatenation
from tepal.sim import golden

SEEDS = [seed for seed in range(60) if any(isinstance(layer, Concatenation)
                                           for layer in graph_case(seed)[0].layers)]


@pytest.mark.parametrize("zero_points", ["none", "of layers", "of channels"])
@pytest.mark.parametrize("seed", SEEDS)
def test_same_results(seed, zero_points):
    """Weights that stand for 0 are others than 0 where they have zero points."""
    network, _, images = graph_case(seed, 3)
    rng = np.random.default_rng(seed)
    if zero_points != "none":
        network = replace(network, layers=tuple(
            replace(layer, weight_zero_point=int(rng.integers(-128, 128)) if zero_points == "of layers" else
                    rng.integers(-128, 128, layer.bias.size))
            if isinstance(layer, Convolution) else layer for layer in network.layers))
    plain, originals = without_concatenations(network)
    assert not any(isinstance(layer, Concatenation) for layer in plain.layers)
    assert {number for number in originals if number is not None} <= {*range(len(network.layers))}
    expected, got = (golden.run(each, images, layers=True) for each in (network, plain))
    for number, original in enumerate(originals):
        if original is not None:
            assert (got[number] == expected[original]).all()
    for one, other in zip(plain.output_layers, network.output_layers, strict=True):
        assert (got[one] == expected[other]).all()


def test_nothing_to_do():
    network, _, _ = graph_case(next(seed for seed in range(60) if seed not in SEEDS))
    plain, originals = without_concatenations(network)
    assert plain is network
    assert originals == [*range(len(network.layers))]


def test_seeds():
    assert len(SEEDS) > 10
    assert np.max([len(graph_case(seed)[0].layers) for seed in SEEDS]) > 8
