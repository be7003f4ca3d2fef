# SPDX-License-Identifier: Apache-2.0
"""From layers to passes: every layer once, and nothing but identities beside them."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from networks import depthwise, pointwise, random_network
from tepal.hdl.plan.lower import LOWERINGS, lower
from tepal.quant import Convolution, Network, NetworkError


@pytest.mark.parametrize("seed", range(60))
def test_every_layer_once(seed):
    network = random_network(np.random.default_rng(seed))
    _, passes = lower(network)
    parts = [part for work in passes for part in (work.reduction, work.matrix) if part]
    assert [part.layer for part in parts if part.layer is not None] == list(range(len(network.layers)))
    assert passes[-1].output_shape == network.layers[-1].output_shape
    assert [work.source for work in passes] == [None, *range(len(passes) - 1)]
    for before, after in pairwise(passes):
        # In the network a fully connected layer may read a map as one pixel of all its bytes.
        assert np.prod(before.output_shape) == np.prod(after.window.input_shape)


def joined(*networks: Network) -> Network:
    return Network("joined", tuple(layer for network in networks for layer in network.layers), 1.0, 5)


@pytest.mark.parametrize(("network", "parts"), [
    (pointwise((4, 4, 3), 5), [(None, 0)]),
    (depthwise((4, 4, 3), [(2, 2)]), [(None, None), (0, None)]),
    (joined(pointwise((4, 4, 3), 5), depthwise((4, 4, 5), [(2, 2)]), pointwise((3, 3, 5), 2)), [(None, 0), (1, 2)]),
    (joined(pointwise((4, 4, 3), 5), pointwise((4, 4, 5), 2)), [(None, 0), (None, 1)]),
    # A stride or an edge: the matrix behind a reduction takes its pixels as they are.
    (joined(pointwise((4, 4, 3), 5), depthwise((4, 4, 5), [(2, 2)]), pointwise((3, 3, 5), 2, stride=(2, 2))),
     [(None, 0), (1, None), (None, 2)]),
    (joined(depthwise((4, 4, 5), [(2, 2), (1, 2)])), [(None, None), (0, None), (1, None)]),
])
def test_parts(network, parts):
    """(layer of the reduction, layer of the matrix) of each pass; None: there is none, or it is an identity."""
    _, passes = lower(network)
    assert [(work.reduction.layer if work.reduction else None, work.matrix.layer) for work in passes] == parts


class Strange(Convolution):
    """A layer of which the engine knows nothing."""


def test_unknown_layer():
    network = joined(pointwise((4, 4, 3), 5), pointwise((4, 4, 5), 2))
    known, last = network.layers
    strange = Strange(**{**vars(last), "index": 7, "name": "odd"})
    assert Strange not in LOWERINGS
    with pytest.raises(NetworkError, match=r"^layer 7 \(odd\): the engine has no Strange$"):
        lower(replace(network, layers=(known, strange)))
