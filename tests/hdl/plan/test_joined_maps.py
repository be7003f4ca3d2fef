# SPDX-License-Identifier: Apache-2.0
"""A network without concatenations computes the same."""

import numpy as np
import pytest
from graphs import graph_case
from tepal.hdl.plan.joined_maps import without_concatenations
from tepal.quant.ops.concatenation import Concatenation
from tepal.sim import golden

SEEDS = [seed for seed in range(60) if any(isinstance(layer, Concatenation)
                                           for layer in graph_case(seed)[0].layers)]


@pytest.mark.parametrize("seed", SEEDS)
def test_same_results(seed):
    network, _, images = graph_case(seed, 3)
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
