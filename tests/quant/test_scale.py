# SPDX-License-Identifier: Apache-2.0
"""Other widths and image sizes: the shapes that the MobileNets have, and networks that run."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from float_graphs import integer_graph
from networks import fast, random_network
from tepal.quant import (
    SSD,
    Add,
    Architecture,
    Average,
    AveragePool,
    Convolution,
    MobileNet,
    MobileNetV2,
    Network,
    Requantise,
    ResNet,
    digest,
    simplify,
)
from tepal.quant.layer import IMAGE
from tepal.quant.scale import scaled, smaller
from tepal.sim import golden

BASE = MobileNet(1.0, 224, classes=10).network()


def shapes(network: Network) -> list:
    return [(type(layer), layer.input_shape, layer.output_shape, tuple(layer.kernel), layer.stride, layer.padding)
            for layer in network.layers]


@pytest.mark.parametrize(("width", "size"), [(0.75, 224), (0.5, 160), (0.25, 128), (1.0, 96), (0.5, 64)])
def test_mobilenets(width, size):
    """Where the multiple of 8 is the paper's own number, a scaled MobileNet is the MobileNet of that size."""
    found = scaled(BASE, width, (size, size))
    network = MobileNet(width, size, classes=10)
    assert shapes(found.network()) == shapes(network.network())
    assert (found.macs, found.parameters) == (network.macs, network.weights)
    assert str(found) == (f"{width:g} times the model's width at {size} x {size} pixels" if width < 1 else
                          f"the model's width at {size} x {size} pixels")


def test_channels():
    """Multiples of 8, at most a tenth below what was asked for, and never more than there were."""
    found = scaled(BASE, 0.3, (224, 224)).network()
    # 32 * 0.3 = 9.6: 8 would be 17 % less.
    assert [layer.output_shape[2] for layer in found.layers if isinstance(layer, Convolution)][:3] == [16, 24, 40]
    assert found.output_shape == BASE.output_shape
    narrow = MobileNet(0.1, 32, classes=3).network()
    assert all(layer.output_shape[2] <= before.output_shape[2] for layer, before in
               zip(scaled(narrow, 0.5, (32, 32)).network().layers, narrow.layers, strict=True))


@pytest.mark.parametrize("seed", range(60))
def test_any_network(seed):
    """Whatever the layers are: it is a network, it runs, and what was counted beforehand is what it has."""
    rng = np.random.default_rng(seed)
    network = random_network(rng)
    height, width, channels = network.input_shape
    for multiplier in (1.0, 0.6):
        image = int(rng.integers(1, height + 1)), int(rng.integers(1, width + 1))
        variant = scaled(network, multiplier, image)
        if variant is None:
            continue
        made = variant.network()
        assert (made.macs, made.parameters) == (variant.macs, variant.parameters)
        assert made.macs <= network.macs
        assert made.input_shape == (*image, channels)
        results = golden.run(made, rng.integers(-128, 128, (2, *made.input_shape), np.int8))
        assert results.shape == (2, made.result_bytes)
    assert shapes(scaled(network, 1.0, (height, width)).network()) == shapes(network)


def test_order():
    """Most work first, each shape once, nothing as large as the network."""
    found = smaller(BASE)
    assert len(found) > 100
    assert [item.macs for item in found] == sorted((item.macs for item in found), reverse=True)
    assert len({item.places for item in found}) == len(found)
    assert BASE.macs > found[0].macs


def test_vector():
    """Vectors have no size to change."""
    assert {item.image for item in smaller(dense(640, 128, 16))} == {(1, 1)}
    assert str(smaller(dense(640, 128, 16))[0]) == "0.95 times the model's width"


def dense(*sizes: int) -> Network:
    layers = [Convolution(
        name=f"dense{number}", index=number, input_shape=(1, 1, inputs), output_shape=(1, 1, outputs),
        input_zero_point=0, weights=np.ones((outputs, 1, 1, inputs)), bias=np.zeros(outputs),
        requantise=Requantise(np.full(outputs, 1 << 30), np.full(outputs, -6), 0))
        for number, (inputs, outputs) in enumerate(pairwise(sizes))]
    return Network("dense", tuple(layers), 1.0, 0)


def test_windows_that_do_not_fit():
    """A valid 5 x 5 window on what is left of the image: no network, and no guess at one."""
    rng = np.random.default_rng(0)
    layers, shape = [], (20, 20, 1)
    for number in range(4):
        output = (shape[0] - 4, shape[1] - 4, 8)
        layers.append(Convolution(
            name=f"layer{number}", index=number, input_shape=shape, output_shape=output, input_zero_point=0,
            weights=rng.integers(-9, 9, (8, 5, 5, shape[2])), bias=np.zeros(8),
            requantise=Requantise(np.full(8, 1 << 30), np.full(8, -6), 0)))
        shape = output
    network = Network("valid", tuple(layers), 1.0, 0)
    assert scaled(network, 1.0, (16, 16)) is None
    assert scaled(network, 1.0, (17, 18)).network().output_shape == (1, 2, 8)


def test_mean_of_fewer_pixels():
    """A pool over a quarter of the pixels still gives the mean, whichever rule it has."""
    common = {"name": "pool", "index": 0, "input_shape": (8, 8, 16), "output_shape": (1, 1, 16), "stride": (8, 8),
              "input_zero_point": -4, "window": (8, 8)}
    rules = ((Average(64), np.zeros(16)), (Requantise(np.full(16, 1 << 30), np.full(16, -5), -4), np.full(16, 4 * 64)))
    for rule, bias in rules:
        pool = Network("pool", (AveragePool(**common, bias=bias, requantise=rule),), 1.0, -4)
        made = scaled(pool, 1.0, (4, 4)).network()
        for value in (-128, -4, 3, 127):
            before, after = (golden.run(network, np.full((1, *network.input_shape), value, np.int8))
                             for network in (pool, made))
            assert (before.ravel() == after.ravel()).all()


def test_original_of_simplified():
    """A simplified network says what it was made of; the identity of a design does not depend on that."""
    network = dense(32, 16, 8)
    dead = replace(network.layers[0], weights=np.where(np.arange(16)[:, None, None, None] < 3, 0,
                                                       network.layers[0].weights))
    network = replace(network, layers=(dead, *network.layers[1:]))
    simplified = simplify(network).network
    assert simplified.layers[0].output_shape[2] == 13
    assert simplified.original is network
    assert simplify(simplified).network.original is network
    assert digest(simplified) == digest(replace(simplified, original=None))


# -- graphs --------------------------------------------------------------------------------------------

BLOCKS = ((64, 1), (64, 1), (128, 2), (128, 1), (256, 2))


@pytest.mark.parametrize(("whole", "half"), [
    (ResNet(), ResNet(0.5, 24)),
    (MobileNet(1.0, 32, 5, blocks=BLOCKS, residual=True), MobileNet(0.5, 24, 5, blocks=BLOCKS, residual=True)),
    (SSD(MobileNet(1.0, 160, blocks=BLOCKS), 7), SSD(MobileNet(0.5, 144, blocks=BLOCKS), 7)),
], ids=lambda architecture: architecture.name)
def test_architectures(whole: Architecture, half: Architecture):
    """Both arms of a sum get as many channels, outputs keep theirs: what comes out is the architecture at that size."""
    found = scaled(whole.network(), 0.5, half.network().input_shape[:2])
    assert shapes(found.network()) == shapes(half.network())
    assert (found.macs, found.parameters) == (half.macs, half.weights)
    assert found.network().outputs == half.outputs


def test_bottlenecks():
    """MobileNetV2 scaled afterwards: projections as wide as the family's, in every one of its widths."""
    network = MobileNetV2(1.0, 96, 10)
    for width in (0.75, 0.5, 0.35):
        found, family = scaled(network.network(), width, (96, 96)), MobileNetV2(width, 96, 10)
        assert [place.output_shape for place, spec in zip(found.places, network.layers, strict=True)
                if spec.name.endswith(("stem", "project", "add", "classifier"))] == [
                    spec.output_shape for spec in family.layers
                    if spec.name.endswith(("stem", "project", "add", "classifier"))]


@pytest.mark.parametrize("seed", fast(range(120), 50))
def test_any_graph(seed):
    """As of chains: it is a network, it runs, and what was counted beforehand is what it has."""
    rng, network = np.random.default_rng(seed), integer_graph(seed)
    height, width, channels = network.input_shape
    for multiplier in (1.0, 0.6, 0.3):
        image = int(rng.integers(1, height + 1)), int(rng.integers(1, width + 1))
        for size in (image, (height, width)):
            variant = scaled(network, multiplier, size)
            if variant is None:
                assert size != (height, width)
                continue
            made = variant.network()
            assert (made.macs, made.parameters) == (variant.macs, variant.parameters)
            assert made.macs <= network.macs
            assert (made.input_shape, made.sources, made.outputs) == ((*size, channels), network.sources,
                                                                      network.outputs)
            assert [shape[2] for shape in made.output_shapes] == [shape[2] for shape in network.output_shapes]
            results = golden.run(made, rng.integers(-128, 128, (2, *made.input_shape), np.int8))
            assert results.shape == (2, made.result_bytes)
    assert shapes(scaled(network, 1.0, (height, width)).network()) == shapes(network)


def test_sum_with_the_image():
    """What is added to the image keeps the image's channels, and what is added to an output the output's."""
    geometry = {"name": "add", "index": 1, "inputs": (IMAGE, 0), "input_shape": (2, 2, 24), "output_shape": (2, 2, 24)}
    layers = tuple(replace(layer, input_shape=(2, 2, layer.input_shape[2]), output_shape=(2, 2, layer.output_shape[2]))
                   for layer in dense(24, 24, 32, 24, 24).layers)
    total = Add.of_scales(geometry, (1.0, 0), (1.0, 0), (1.0, 0), -np.inf, np.inf)
    network = Network("sum", (layers[0], total, *layers[1:], replace(total, inputs=(4, 3), name="last")), 1.0, 0)
    assert [layer.output_shape[2] for layer in scaled(network, 0.5, (2, 2)).network().layers] == [24, 24, 16, 24, 24,
                                                                                                  24]
