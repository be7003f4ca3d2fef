# SPDX-License-Identifier: Apache-2.0
"""From layers to passes: every layer once, and nothing but identities beside them."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from graphs import of_arms, random_add
from networks import depthwise, pointwise, random_network
from tepal.hdl.plan.lower import LOWERINGS, lower
from tepal.quant import Convolution, Network, NetworkError
from tepal.quant.layer import IMAGE
from tepal.quant.lookup import CODES, Lookup
from tepal.quant.ops.concatenation import Concatenation


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


def parts(passes) -> list[tuple]:
    """(source, added pass, layer whose results are written, where they go) of each pass."""
    return [(work.source, work.other, work.layer,
             "b" * work.banked + "a" * work.added + "o" * (work.output is not None)) for work in passes]


SHAPE = 3, 4, 4


@pytest.mark.parametrize(("arms", "wanted"), [
    # A residual: its sum belongs to the pass of its last convolution.
    ([(IMAGE,), (0,), (1,), (0, 2)],
     [(None, None, 0, "ba"), (0, None, 1, "b"), (1, 0, 3, "o")]),
    # Two arms: the longer one adds.
    ([(IMAGE,), (0,), (1,), (0,), (2, 3)],
     [(None, None, 0, "b"), (0, None, 1, "b"), (0, None, 3, "a"), (1, 2, 4, "o")]),
    # A map of which two sums are made, one behind the other.
    ([(IMAGE,), (0,), (0, 1), (2,), (0, 3)],
     [(None, None, 0, "ba"), (0, 0, 2, "b"), (1, 0, 4, "o")]),
    # Neither map is read by the sum alone: a pass of its own.
    ([(IMAGE,), (0,), (0, 1), (1,), (2, 3)],
     [(None, None, 0, "b"), (0, None, 1, "ba"), (0, 1, 2, "a"), (1, 2, 4, "o")]),
    # A map added to itself is a table.
    ([(IMAGE,), (0, 0)], [(None, None, 1, "o")]),
    # The image is added: it is copied first.
    ([(IMAGE,), (IMAGE, 0)], [(None, None, None, "ba"), (0, 0, 1, "o")]),
])
def test_sums(arms, wanted):
    _, passes = lower(of_arms(SHAPE, arms))
    assert parts(passes) == wanted


def test_outputs():
    """One that windows are read of is copied; one that is only added goes to two places at once."""
    network = replace(of_arms(SHAPE, [(IMAGE,), (0,), (1,), (0, 2)]), outputs=(0, 1, 3))
    _, passes = lower(network)
    assert parts(passes) == [(None, None, 0, "ba"), (0, None, None, "o"), (0, None, 1, "b"), (2, 0, 3, "o"),
                             (2, None, None, "o")]
    assert [work.output for work in passes if work.output is not None] == [0, 2, 1]
    added = replace(of_arms(SHAPE, [(IMAGE,), (IMAGE,), (0, 1)]), outputs=(0, 2))
    assert parts(lower(added)[1])[1:] == [(0, None, 0, "ao"), (0, 1, 2, "o")]


def test_tables():
    """Tables of tables are one; they are done where a map is made, or where it is added."""
    rng, network = np.random.default_rng(3), of_arms(SHAPE, [(IMAGE,), (0,)])
    first, second = network.layers

    def table(number, source):
        return Lookup(name=f"table{number}", index=number, inputs=(source,), input_shape=SHAPE, output_shape=SHAPE,
                      input_zero_point=0, table=rng.integers(-128, 128, 256), result_zero_point=0, function="table")

    one, two = table(1, 0), table(2, 1)
    _, passes = lower(replace(network, layers=(first, one, two, replace(second, inputs=(2,))), outputs=()))
    assert parts(passes) == [(None, None, 2, "b"), (0, None, 3, "o")]
    assert passes[0].elementwise is not None
    assert passes[0].elementwise.layers == (1, 2)
    assert (passes[0].elementwise.tables[0] == two.table[one.table.astype(int) + 128]).all()

    add = random_add(rng, {"name": "sum", "index": 3, "inputs": (2, 1)}, SHAPE, (0, 0, 0))
    layers = first, replace(second, index=1), replace(one, index=2, inputs=(0,)), add
    _, passes = lower(replace(network, layers=layers, outputs=()))
    assert parts(passes) == [(None, None, 0, "ba"), (0, 0, 3, "o")]
    assert passes[1].elementwise is not None
    assert passes[1].elementwise.layers == (2, 3)


def test_concatenation():
    """Parts that nothing else reads are widened where they are made, others are copied."""
    network = of_arms(SHAPE, [(IMAGE,), (0,), (0,)])
    whole = Concatenation(name="whole", index=3, inputs=(1, 0, 2), input_shape=SHAPE, output_shape=(3, 4, 12),
                          input_zero_point=0, channels=(4, 4, 4), tables=np.tile(CODES, (3, 1)), result_zero_point=0)
    _, passes = lower(replace(network, layers=(*network.layers, whole), outputs=(3,)))
    assert len(passes) == 4
    assert [work.output_shape for work in passes] == [SHAPE, *3 * [(3, 4, 12)]]
    assert [work.layer for work in passes if work.layer is not None] == [0, 3]
    assert sum(len(work.elementwise.layers) for work in passes if work.elementwise) == 2
