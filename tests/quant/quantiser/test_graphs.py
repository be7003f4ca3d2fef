# SPDX-License-Identifier: Apache-2.0
"""The quantiser on networks that are no chains."""

from dataclasses import replace

import numpy as np
import pytest
from float_graphs import float_graph
from networks import fast
from tepal.quant import (
    SSD,
    Add,
    Calibration,
    FloatAdd,
    FloatConvolution,
    FloatNetwork,
    Method,
    MobileNet,
    MobileNetV2,
    Network,
    ResNet,
    implausible,
    quantize,
)
from tepal.quant.layer import IMAGE, Statistics
from tepal.quant.quantiser.quantise import _equalise
from tepal.sim import golden, measure_losses


def pictures(network: FloatNetwork, frames: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 1, (frames, *network.input_shape)).astype(np.float32)


def results(network: FloatNetwork, images: np.ndarray) -> list[np.ndarray]:
    found = []
    network.trace(images, lambda _, result: found.append(result))
    return found


def real(network: Network, number: int, codes: np.ndarray) -> np.ndarray:
    layer = network.layers[number]
    return np.float32(layer.output_scale) * (codes.astype(np.float32) - layer.output_zero_point)


def ratio(exact: np.ndarray, approximate: np.ndarray) -> float:
    """Signal to noise, in dB."""
    return 10 * np.log10(np.sum(exact**2) / max(np.sum((exact - approximate) ** 2), 1e-30))


@pytest.mark.parametrize("seed", fast(range(120), 40))
def test_random_graphs(seed):
    """Every layer's integers mean what the float network computes."""
    network = float_graph(seed)
    images = pictures(network, 24, seed)
    calibration = Calibration([*Method][seed % 3], equalise=seed % 2 == 0, correct_bias=seed % 5 != 0)
    quantisation = quantize(network, images, calibration)
    integer, exact = quantisation.network, results(quantisation.reference, images)
    assert (integer.sources, integer.outputs) == (network.sources, network.outputs)
    for number, wanted in zip(network.output_layers, network.trace(images, lambda *_: None), strict=True):
        np.testing.assert_allclose(exact[number], wanted, rtol=1e-3, atol=1e-3 * np.abs(wanted).max() + 1e-9)
    for number, codes in enumerate(golden.run(integer, integer.quantise_input(images), layers=True)):
        if exact[number].std() > 0.01:
            assert ratio(exact[number], real(integer, number, codes)) > 12, integer.layers[number].name


@pytest.mark.parametrize("seed", range(0, 60, 2))
def test_equalising_leaves_what_is_read_twice(seed):
    """A tensor with two readers, or that is an output, keeps its values, channel by channel; so does what an Add
    reads or gives."""
    network = float_graph(seed)
    images = pictures(network, 8)
    equalised = _equalise(network, images, lambda *_: None)
    before, after = results(network, images), results(equalised, images)
    for number, layer in enumerate(network.layers):
        readers = network.readers[number]
        if number in network.output_layers or len(readers) > 1 or isinstance(layer, FloatAdd) or any(
                isinstance(network.layers[reader], FloatAdd) for reader in readers):
            np.testing.assert_allclose(after[number], before[number], rtol=1e-3,
                                       atol=1e-3 * np.abs(before[number]).max() + 1e-9)


def test_equalising_scales_the_rest():
    """So that the test before can fail: somewhere, values do move."""
    moved = 0
    for seed in range(0, 60, 2):
        network = float_graph(seed)
        images = pictures(network, 8)
        both = zip(results(network, images), results(_equalise(network, images, lambda *_: None), images), strict=True)
        moved += sum(not np.allclose(first, second, rtol=1e-2) for first, second in both)
    assert moved > 5


def _scaled_arms(factor: float) -> FloatNetwork:
    """The image, plus a 1x1 convolution of it whose results are ``factor`` times as large."""
    rng = np.random.default_rng(0)
    arm = FloatConvolution(name="arm", index=0, input_shape=(4, 4, 6), output_shape=(4, 4, 6),
                           weights=factor * rng.normal(0, 0.4, (6, 1, 1, 6)), bias=np.zeros(6))
    return FloatNetwork("arms", (arm, FloatAdd(name="add", index=1, inputs=(IMAGE, 0), input_shape=(4, 4, 6),
                                               output_shape=(4, 4, 6), minimum=0)))


@pytest.mark.parametrize("factor", [0.01, 1, 50])
def test_sums_have_scales_of_their_own(factor):
    """Each operand's step is that of its tensor, the result's that of the sum, whatever they are."""
    network = _scaled_arms(factor)
    images = pictures(network, 30)
    integer = quantize(network, images, Calibration(Method.MINMAX)).network
    arm, add = integer.layers
    assert isinstance(add, Add)
    exact = results(network, images)
    for layer, values in ((arm, exact[0]), (add, exact[1])):
        np.testing.assert_allclose(layer.output_scale, (max(values.max(), 0) - min(values.min(), 0)) / 255, rtol=0.02)
    assert (add.input_zero_point, add.other_zero_point) == (integer.input_zero_point, arm.output_zero_point)
    # One step of either operand is so many of the sum's.
    steps = np.diff(add.tables, axis=1).mean(axis=1) * add.requantise.factor[0]
    np.testing.assert_allclose(steps, np.array([integer.input_scale, arm.output_scale]) / add.output_scale, rtol=1e-3)
    codes = golden.run(integer, integer.quantise_input(images), layers=True)[1]
    assert np.abs(real(integer, 1, codes) - exact[1]).max() < 2 * (
        integer.input_scale + arm.output_scale + add.output_scale)


def test_bias_correction_in_an_arm():
    """An arm's weights that all round one way move the sum's mean; the arm's bias takes it back."""
    network = _scaled_arms(1)
    arm = network.layers[0]
    step = np.float32(np.abs(arm.weights).max() / 127)
    weights = np.clip(np.rint(arm.weights / step) + 0.4, -127, 127) * step
    weights[:, 0, 0, 0] = 127 * step
    network = network.with_layers([replace(arm, weights=weights), replace(network.layers[1], minimum=-np.inf)])
    images = pictures(network, 40) + 1
    means = []
    for on in (False, True):
        integer = quantize(network, images, Calibration(equalise=False, correct_bias=on)).network
        codes = golden.run(integer, integer.quantise_input(images), layers=True)[1]
        means.append(np.abs((real(integer, 1, codes) - results(network, images)[1]).mean(axis=(0, 1, 2))).max())
    assert means[1] < 0.5 * means[0]


@pytest.mark.parametrize("architecture", [
    MobileNet(0.5, 20, 5, blocks=((64, 1), (64, 1), (128, 2), (128, 1)), residual=True), MobileNetV2(0.35, 32, 7),
    ResNet(0.5, 16),
    SSD(MobileNet(0.5, 20, blocks=((32, 1), (64, 2), (64, 1))), 3, 3, lite=True),
], ids=lambda architecture: architecture.name)
def test_architectures(architecture):
    network = architecture.float_network()
    images = pictures(network, 12)
    quantisation = quantize(network, images)
    report = measure_losses(quantisation, images)
    assert [layer.name for layer in report.layers] == [spec.name for spec in architecture.layers]
    assert all(layer.sqnr > 15 for layer in report.layers)
    # What no output shows any more costs nothing; all else costs something.
    assert all(10 < layer.alone <= 200 for layer in report.layers)
    exact = np.concatenate([each.reshape(len(images), -1) for each in network.trace(images, lambda *_: None)], axis=1)
    np.testing.assert_allclose(network.run(images), exact)


def test_losses_name_the_arm_that_costs_most():
    """An arm of very uneven channels, read by an Add, whose values no equalisation may even out."""
    network = _scaled_arms(1)
    arm = network.layers[0]
    factor = np.ones(6)
    factor[0] = 200
    network = network.with_layers([replace(arm, weights=arm.weights * factor[:, None, None, None]),
                                   network.layers[1]])
    images = pictures(network, 10)
    report = measure_losses(quantize(network, images), images)
    assert report.costliest.name in ("arm", "add")
    assert report.layers[0].sqnr > 25


# -- plausibility --------------------------------------------------------------------------------------


def _trained(network: FloatNetwork, images: np.ndarray) -> FloatNetwork:
    """``network`` with statistics of ``images``, as batch norms would have left them."""
    totals, seen = [], {IMAGE: images}

    for number, (layer, sources) in enumerate(zip(network.layers, network.sources, strict=True)):
        totals.append(layer.sums(*(seen[source] for source in sources)))
        seen[number] = layer.activate(totals[-1])
    return network.with_layers(
        replace(layer, trained=Statistics(*(function(total.astype(np.float64), axis=(0, 1, 2))
                                            for function in (np.mean, np.std))))
        if isinstance(layer, FloatConvolution) else layer for layer, total in zip(network.layers, totals, strict=True))


@pytest.mark.parametrize("architecture", [ResNet(), MobileNetV2(0.35, 32, 5), SSD(MobileNet(0.5, 64), 3, 3)],
                         ids=lambda architecture: architecture.name)
def test_plausible_images(architecture):
    """Residual networks and detectors tell the images that they were trained on from others."""
    network = architecture.float_network()
    images = pictures(network, 20)
    trained = _trained(network, images)
    assert implausible(trained, pictures(network, 20, 1)) == ""
    assert "(stem) vary 100 times as much as they did in training" in implausible(trained, 100 * images)
