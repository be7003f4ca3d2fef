# SPDX-License-Identifier: Apache-2.0
"""Simplified networks compute the same bytes with fewer channels."""

from dataclasses import replace

import models
import numpy as np
import pytest
from networks import random_network
from tepal.quant import Convolution, Depthwise, Network, Padding, Requantise, read_tflite, simplify
from tepal.sim import golden


def images(network, count, seed):
    return np.random.default_rng(seed).integers(-128, 128, (count, *network.input_shape), dtype=np.int8)


def kill(network: Network, rng: np.random.Generator) -> Network:
    """``network`` with about half of its channels constant: all weights zero."""
    layers = []
    for layer in network.layers:
        if isinstance(layer, Convolution | Depthwise):
            weights = layer.weights.copy()
            axis = 2 if isinstance(layer, Depthwise) else 0
            dead = rng.random(weights.shape[axis]) < 0.5
            weights[(..., dead) if axis else dead] = 0
            layer = replace(layer, weights=weights)
        layers.append(layer)
    return replace(network, layers=tuple(layers))


@pytest.mark.parametrize("seed", range(150))
def test_same_bytes(seed):
    rng = np.random.default_rng(seed)
    network = kill(random_network(rng), rng)
    result = simplify(network)
    pictures = images(network, 5, seed)
    assert (golden.run(result.network, pictures) == golden.run(network, pictures)).all()
    assert result.network.input_shape == network.input_shape
    assert result.network.output_shape == network.output_shape


def chain(zero_point: int) -> Network:
    """Two channels, the second one always 7, into a padded depthwise layer whose zero point is given."""
    shape = (3, 3, 2)
    scale = Requantise([1 << 30] * 2, [1] * 2, 0)
    one = Requantise([1 << 30], [1], 0)
    return Network("chain", (
        Convolution(name="a", index=0, input_shape=(3, 3, 1), output_shape=shape, input_zero_point=0,
                    weights=np.array([[[[1]]], [[[0]]]]), bias=np.array([0, 7]), requantise=scale),
        Depthwise(name="b", index=1, input_shape=shape, output_shape=shape, padding=Padding(1, 1, 1, 1),
                  input_zero_point=zero_point, weights=np.ones((3, 3, 2)), bias=np.zeros(2), requantise=scale),
        Convolution(name="c", index=2, input_shape=shape, output_shape=(3, 3, 1), input_zero_point=0,
                    weights=np.array([[[[1, 1]]]]), bias=np.zeros(1), requantise=one),
    ), 1.0, 0)


@pytest.mark.parametrize(("zero_point", "removed"), [(7, 2), (0, 0)])
def test_borders(zero_point, removed):
    """A constant is constant behind a padded layer only if it is that layer's zero point."""
    network = chain(zero_point)
    result = simplify(network)
    assert result.removed == removed
    pictures = images(network, 4, 0)
    assert (golden.run(result.network, pictures) == golden.run(network, pictures)).all()


@pytest.mark.parametrize(("value", "weight", "removed"), [
    (100, 1, 1), (101, 1, 0), (-100, -1, 1), (-101, -1, 0), (-100, 1, 1), (-102, 1, 0)])
def test_a_folded_bias_at_the_end_of_its_range(value, weight, removed):
    """The second channel is constant; with what it adds, the bias of the last layer is at or beyond the end of int32.
    Beyond it the network stays as it is."""
    end = 2**31 - 1 - 100 if value * weight > 0 else -(2**31) + 101
    network = Network("ends", (
        Convolution(name="a", index=0, input_shape=(1, 1, 1), output_shape=(1, 1, 2), input_zero_point=0,
                    weights=np.array([[[[1]]], [[[0]]]]), bias=np.array([0, value]),
                    requantise=Requantise([1 << 30] * 2, [1] * 2, 0)),
        Convolution(name="b", index=1, input_shape=(1, 1, 2), output_shape=(1, 1, 1), input_zero_point=0,
                    weights=np.array([[[[1, weight]]]]), bias=np.array([end]),
                    requantise=Requantise([1 << 30], [-25], 0)),
    ), 1.0, 0)
    result = simplify(network)
    assert result.removed == removed
    pictures = images(network, 20, 0)
    assert (golden.run(result.network, pictures) == golden.run(network, pictures)).all()


@pytest.mark.model
def test_vww():
    folder = models.require_model("mlperf_vww_int8")
    network = read_tflite(folder / "model.tflite")
    result = simplify(network)
    assert result.network.macs <= 3_733_073
    pictures = np.concatenate([np.load(folder / "inputs.npy"), images(network, 20, 1)])
    assert (golden.run(result.network, pictures) == golden.run(network, pictures)).all()
