# SPDX-License-Identifier: Apache-2.0
"""Simplified networks compute the same bytes with fewer channels."""

from dataclasses import replace

import models
import numpy as np
import pytest
from float_graphs import integer_graph
from networks import fast, random_network
from tepal.quant import (
    SSD,
    Add,
    Architecture,
    Convolution,
    Depthwise,
    MobileNet,
    MobileNetV2,
    Network,
    Padding,
    Requantise,
    ResNet,
    read_tflite,
    simplify,
)
from tepal.quant.layer import IMAGE
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


# -- graphs --------------------------------------------------------------------------------------------


def dead_graph(seed: int) -> Network:
    """A random graph, about half of whose channels are dead; some layers are clamped to one value instead."""
    rng = np.random.default_rng(seed)
    network = kill(integer_graph(seed), rng)
    clamped = [replace(layer, requantise=replace(layer.requantise, minimum=5, maximum=5))
               if isinstance(layer, Convolution | Depthwise | Add) and rng.random() < 0.08 else layer
               for layer in network.layers]
    return replace(network, layers=tuple(clamped))


def check(network: Network, seed: int = 0) -> Network:
    """Simplify, and compare bytes: those of the outputs, and of every channel that is left."""
    result = simplify(network)
    simplified, pictures = result.network, images(network, 6, seed)
    assert (golden.run(simplified, pictures) == golden.run(network, pictures)).all()
    assert (simplified.input_shape, simplified.output_shapes) == (network.input_shape, network.output_shapes)
    assert (simplified.sources, simplified.output_layers) == (network.sources, network.output_layers)
    both = [[layer.output_shape[2] for layer in each.layers] for each in (network, simplified)]
    assert (result.channels, result.removed) == (sum(both[0]), sum(both[0]) - sum(both[1]))
    assert simplified.macs <= network.macs
    return simplified


@pytest.mark.parametrize("seed", fast(range(180), 80))
def test_graphs_give_the_same_bytes(seed):
    network = dead_graph(seed)
    again = simplify(check(network, seed))
    assert golden.run(again.network, images(network, 2, 1)).shape == (2, network.result_bytes)


def test_graphs_lose_channels():
    """So that the test before tells something: many are simplified, also around sums."""
    graphs = [dead_graph(seed) for seed in range(40)]
    removed = [simplify(graph).removed for graph in graphs]
    assert sum(count > 0 for count in removed) > 16
    sums = sum(count > 0 and any(isinstance(layer, Add) for layer in graph.layers)
               for count, graph in zip(removed, graphs, strict=True))
    assert sums > 10


def test_removing_too_much_is_noticed(monkeypatch):
    """A simplifier that let the arms of a sum keep channels of their own would be found out."""
    monkeypatch.setattr(Add, "tied", lambda self, *inputs: np.zeros(self.output_shape[2], bool))
    monkeypatch.setattr(Add, "needed", lambda self, keep, *constants: tuple(
        keep & np.isnan(constant) for constant in constants))
    wrong = 0
    for seed in range(40):
        try:
            check(dead_graph(seed))
        except (AssertionError, ValueError, IndexError):
            wrong += 1
    assert wrong > 5


SIX = Requantise([1 << 30] * 6, [-6] * 6, -3)


def conv(number: int, weights: np.ndarray, *inputs: int, bias=None, zero_point: int = -3, minimum: int = -128
         ) -> Convolution:
    """A 1x1 convolution on 3 x 3 pixels."""
    outputs, channels = weights.shape
    return Convolution(
        name=f"conv{number}", index=number, inputs=inputs, input_shape=(3, 3, channels), output_shape=(3, 3, outputs),
        input_zero_point=zero_point, weights=weights[:, None, None], requantise=Requantise(
            [1 << 30] * outputs, [-6] * outputs, -3, minimum),
        bias=np.zeros(outputs) if bias is None else bias)


def add(number: int, first: int, second: int, channels: int = 6, *, minimum: int = -128) -> Add:
    return Add.of_scales({"name": f"add{number}", "index": number, "inputs": (first, second),
                          "input_shape": (3, 3, channels), "output_shape": (3, 3, channels)},
                         (0.5, -3), (0.25, -3), (0.5, -3), 0.5 * (minimum + 3), np.inf)


def arms(*, dead: int, bias: int = 40, clamp: int = -128) -> Network:
    """Two arms of six channels behind the image, of which the first ``dead`` ones of the second are constant; then a
    sum, and a convolution of it."""
    rng = np.random.default_rng(0)
    weights = [rng.integers(-90, 90, shape) for shape in ((6, 2), (6, 2), (4, 6))]
    weights[1][:dead] = 0
    return Network("arms", (
        conv(0, weights[0], IMAGE), conv(1, weights[1], IMAGE, bias=np.full(6, bias)), add(2, 0, 1, minimum=clamp),
        conv(3, weights[2])), 0.5, -3)


def test_a_dead_channel_that_feeds_a_sum_stays():
    """The other arm isn't constant there; the sum, and so the channel, is needed."""
    simplified = check(arms(dead=2))
    assert [layer.output_shape[2] for layer in simplified.layers] == [6, 6, 6, 4]


def test_a_constant_arm():
    """A whole arm of one value is needed as long as the sum isn't constant."""
    assert [layer.output_shape[2] for layer in check(arms(dead=6)).layers] == [6, 6, 6, 4]


def test_a_sum_of_two_constants_goes():
    network = arms(dead=2)
    first = network.layers[0]
    weights = first.weights.copy()
    weights[:3] = 0
    network = replace(network, layers=(replace(first, weights=weights), *network.layers[1:]))
    assert [layer.output_shape[2] for layer in check(network).layers] == [4, 4, 4, 4]


def test_what_the_clamp_leaves_constant_goes():
    """Where the second arm's constant drives the sum beyond its clamp whatever the first one gives, the sum's channel
    is constant, and so both arms' channels go."""
    network = arms(dead=6, bias=-(1 << 20), clamp=125)
    check(network)
    network = replace(network, layers=(*network.layers[:2], replace(
        network.layers[2], requantise=replace(network.layers[2].requantise, minimum=127)), network.layers[3]))
    assert [layer.output_shape[2] for layer in check(network).layers] == [1, 1, 1, 4]


def test_two_readers_with_different_needs():
    """One reader of the map needs its first half, the other one its second half, an output all of it."""
    rng = np.random.default_rng(1)
    halves = [rng.integers(-90, 90, (6, 6)) for _ in range(2)]
    halves[0][:, 3:], halves[1][:, :3] = 0, 0
    layers = (conv(0, rng.integers(-90, 90, (6, 2)), IMAGE), conv(1, halves[0], 0), conv(2, halves[1], 0), add(3, 1, 2))
    network = Network("halves", layers, 0.5, -3)
    assert [layer.output_shape[2] for layer in check(network).layers] == [6, 6, 6, 6]
    # Of the first half alone, three channels are left of the map, unless it is an output.
    halves[1][:] = halves[0]
    network = replace(network, layers=(layers[0], conv(1, halves[0], 0), conv(2, halves[1], 0), layers[3]))
    assert [layer.output_shape[2] for layer in check(network).layers] == [3, 6, 6, 6]
    assert [layer.output_shape[2] for layer in check(replace(network, outputs=(0, 3))).layers] == [6, 6, 6, 6]


def test_a_depthwise_reader_ties_its_channels():
    """A map that is read by a depthwise layer, which needs one channel, and by a sum, which needs all."""
    rng = np.random.default_rng(2)
    first = rng.integers(-90, 90, (6, 2))
    last = np.zeros((2, 6), int)
    last[:, 0] = 50
    depthwise = Depthwise(name="dw", index=1, inputs=(0,), input_shape=(3, 3, 6), output_shape=(3, 3, 6),
                          padding=Padding(1, 1, 1, 1), input_zero_point=-3, weights=rng.integers(-90, 90, (3, 3, 6)),
                          bias=np.zeros(6), requantise=SIX)
    layers = (conv(0, first, IMAGE), depthwise, conv(2, last, 1), conv(3, rng.integers(-90, 90, (2, 6)), 0),
              add(4, 2, 3, 2))
    assert [layer.output_shape[2] for layer in check(Network("tied", layers, 0.5, -3)).layers] == [6, 6, 2, 2, 2]


@pytest.mark.parametrize("architecture", [
    MobileNet(0.25, 20, 5, blocks=((64, 1), (64, 1), (128, 2), (128, 1)), residual=True), MobileNetV2(0.35, 32, 7),
    ResNet(), SSD(MobileNetV2(0.35, 64), 3, 2)], ids=lambda architecture: architecture.name)
def test_architectures(architecture: Architecture):
    """With dead channels, each of them gets smaller; detectors keep all outputs."""
    network = kill(architecture.network(), np.random.default_rng(0))
    assert check(network).macs < 0.9 * network.macs


@pytest.mark.model
def test_vww():
    folder = models.require_model("mlperf_vww_int8")
    network = read_tflite(folder / "model.tflite")
    result = simplify(network)
    assert result.network.macs <= 3_733_073
    pictures = np.concatenate([np.load(folder / "inputs.npy"), images(network, 20, 1)])
    assert (golden.run(result.network, pictures) == golden.run(network, pictures)).all()
