# SPDX-License-Identifier: Apache-2.0
"""The quantiser: ranges, equalisation, bias correction, and the integers that come out."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from models import require_model
from networks import random_network
from tepal.quant import (
    CIFAR_BLOCKS,
    AveragePool,
    Calibration,
    Convolution,
    Depthwise,
    FloatAveragePool,
    FloatConvolution,
    FloatDepthwise,
    FloatNetwork,
    Method,
    MobileNet,
    Network,
    NetworkError,
    Padding,
    quantize,
    read_tflite,
)
from tepal.quant.arithmetic import accumulator_range
from tepal.quant.quantiser.quantise import _equalise, _Histogram, _scale
from tepal.sim import golden, measure_losses


def float_network(seed: int) -> FloatNetwork:
    """Any chain of layers, with weights that keep values about 1."""
    rng = np.random.default_rng(seed)
    layers = []
    for layer in random_network(rng).layers:
        common = {"name": layer.name, "index": layer.index, "input_shape": layer.input_shape,
                  "output_shape": layer.output_shape, "stride": layer.stride, "padding": layer.padding}
        if isinstance(layer, AveragePool):
            layers.append(FloatAveragePool(**common, window=layer.window))
            continue
        common["minimum"], common["maximum"] = [(-np.inf, np.inf), (0, np.inf), (0, 6), (-1, 1)][rng.integers(4)]
        terms = layer.weights.size / layer.weights.shape[0 if isinstance(layer, Convolution) else 2]
        weights = rng.normal(0, 1.4 / np.sqrt(terms), layer.weights.shape)
        bias = rng.normal(0, 0.3, layer.output_shape[2])
        kind = FloatConvolution if isinstance(layer, Convolution) else FloatDepthwise
        layers.append(kind(**common, weights=weights, bias=bias))
    return FloatNetwork("random", tuple(layers))


def pictures(network: FloatNetwork, frames: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 1, (frames, *network.input_shape)).astype(np.float32)


@pytest.fixture(scope="module")
def mobilenet() -> FloatNetwork:
    return MobileNet(0.25, 16, classes=10, stem_stride=1, blocks=CIFAR_BLOCKS[:5]).float_network()


def uneven(network: FloatNetwork, rng) -> FloatNetwork:
    """The same function with channels of very different ranges between the layers."""
    layers = list(network.layers)
    for number, (before, after) in enumerate(zip(layers, network.layers[1:], strict=False)):
        if isinstance(after, FloatAveragePool) or isinstance(before, FloatAveragePool):
            continue
        factor = np.exp2(rng.uniform(-4, 4, before.output_shape[2])).astype(np.float32)
        by_channel = factor if isinstance(before, FloatDepthwise) else factor[:, None, None, None]
        layers[number] = replace(before, weights=before.weights * by_channel, bias=before.bias * factor)
        layers[number + 1] = replace(after, weights=after.weights / factor)
    return network.with_layers(layers)


def ratio(exact: np.ndarray, approximate: np.ndarray) -> float:
    """Signal to noise, in dB."""
    return 10 * np.log10(np.sum(exact**2) / np.sum((exact - approximate) ** 2))


def real_logits(network: Network, images) -> np.ndarray:
    logits = golden.run(network, network.quantise_input(images)).astype(np.float32)
    return network.output_scale * (logits - network.output_zero_point)


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("method", Method)
def test_random_networks(seed, method):
    """Every layer's integers mean what the float network computes, to within a few steps."""
    network = float_network(seed)
    images = pictures(network, 24, seed)
    calibration = Calibration(method, equalise=seed % 2 == 0, correct_bias=seed % 3 == 0)
    quantisation = quantize(network, images, calibration)
    integer = quantisation.network
    for layer, wanted in zip(integer.layers, network.layers, strict=True):
        assert (layer.input_shape, layer.output_shape, layer.kernel, layer.stride, layer.padding) == (
            wanted.input_shape, wanted.output_shape, wanted.kernel, wanted.stride, wanted.padding)
    exact = network.run(images)
    np.testing.assert_allclose(quantisation.reference.run(images), exact, rtol=1e-3, atol=1e-3 * np.abs(exact).max())
    if exact.std() > 0.01:
        assert ratio(exact, real_logits(integer, images)) > 12


def test_one_layer_is_exact():
    """Scales and codes of a layer that integers represent without error."""
    layer = FloatConvolution(name="a", index=7, input_shape=(1, 2, 1), output_shape=(1, 2, 2), minimum=0, maximum=6,
                             weights=np.array([127, -63.5]).reshape(2, 1, 1, 1) / 64, bias=np.array([0.5, 1]))
    images = np.array([[[[-1.0], [127 / 128]]]], np.float32)
    network = quantize(FloatNetwork("x", (layer,)), images, Calibration(Method.MINMAX, correct_bias=False)).network
    (integer,) = network.layers
    assert (network.input_scale, network.input_zero_point) == (1 / 128, 0)
    assert integer.weights.ravel().tolist() == [127, -127]
    assert integer.weight_scales.tolist() == [1 / 64, 1 / 128]
    assert integer.bias.tolist() == [0.5 * 128 * 64, 128 * 128]
    assert integer.index == 0
    assert integer.output_zero_point == -128
    assert (integer.requantise.minimum, integer.requantise.maximum) == (-128, 127)
    exact = network_output = layer.activate(images @ (layer.weights[:, 0, 0, 0][None]) + layer.bias)
    codes = golden.run(network, network.quantise_input(images))
    np.testing.assert_allclose(integer.output_scale * (codes.reshape(exact.shape) + 128.0), network_output,
                               atol=integer.output_scale / 2)


def test_equalising_changes_nothing_in_float(mobilenet):
    network = uneven(mobilenet, np.random.default_rng(5))
    images = pictures(network, 8)
    exact = network.run(images)
    equalised = _equalise(network, images, lambda *_: None)
    np.testing.assert_allclose(equalised.run(images), exact, rtol=1e-4, atol=1e-4 * np.abs(exact).max())
    peaks = []
    equalised.trace(images, lambda number, x: peaks.append(x.max(axis=(0, 1, 2))))
    # Before a depthwise layer, channels end at the same value, but for those that were all but silent.
    for number, layer in enumerate(equalised.layers[1:]):
        if isinstance(layer, FloatDepthwise):
            alive = peaks[number][peaks[number] > 0]
            assert np.mean(alive > 0.999 * alive.max()) > 0.9


def test_equalising_pays(mobilenet):
    network = uneven(mobilenet, np.random.default_rng(3))
    images = pictures(network, 16)
    exact = network.run(images)
    plain, equalised = (ratio(exact, real_logits(quantize(network, images, Calibration(equalise=on)).network, images))
                        for on in (False, True))
    assert equalised > plain + 6


def test_bounds_that_bind_are_not_equalised(mobilenet):
    """ReLU6 does not move with a channel, so where it clips nothing is scaled."""
    layers = [replace(layer, maximum=0.5) if layer.minimum == 0 else layer for layer in mobilenet.layers]
    network = mobilenet.with_layers(layers)
    images = pictures(network, 8)
    equalised = _equalise(network, images, lambda *_: None)
    exact = network.run(images)
    np.testing.assert_allclose(equalised.run(images), exact, rtol=1e-4, atol=1e-4 * np.abs(exact).max())
    assert any(layer.maximum == 0.5 for layer in equalised.layers)


def test_bias_correction(mobilenet):
    """Weights that all round one way move the mean of every sum; the bias takes it back."""
    rng = np.random.default_rng(0)
    layers = []
    for layer in mobilenet.layers:
        if isinstance(layer, FloatConvolution | FloatDepthwise):
            # Most weights lie 0.4 of a step above the code that they round to.
            step = np.float32(abs(layer.weights).max() / 127)
            coarse = np.rint(layer.weights / step) + 0.4 * (rng.random(layer.weights.shape) < 0.9)
            weights = np.clip(coarse, -127, 127) * step
            weights.reshape(-1)[0] = 127 * step
            layer = replace(layer, weights=weights)
        layers.append(layer)
    network = mobilenet.with_layers(layers)
    images = pictures(network, 32)
    means = {}
    for on in (False, True):
        integer = quantize(network, images, Calibration(equalise=False, correct_bias=on)).network
        means[on] = np.abs((real_logits(integer, images) - network.run(images)).mean(axis=0)).max()
    assert means[True] < 0.6 * means[False]


def histogram(values: np.ndarray) -> _Histogram:
    made = _Histogram(float(values.min()), float(values.max()), np.zeros(2048, np.int64))
    made.add(values)
    return made


def test_ranges():
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(0, 1, 100_000), [30.0, -20.0]])
    made = histogram(values)
    assert made.range(Calibration(Method.MINMAX)) == (-20, 30)
    low, high = made.range(Calibration(Method.PERCENTILE, 99.9))
    np.testing.assert_allclose([low, high], [-3.09, 3.09], atol=0.15)
    assert made.range(Calibration(Method.PERCENTILE, 100)) == (-20, 30)

    def error(low, high):
        scale, zero_point = _scale(low, high)
        codes = np.clip(np.rint(values / scale) + zero_point, -128, 127)
        return np.mean((scale * (codes - zero_point) - values) ** 2)

    best = error(*made.range(Calibration(Method.MSE)))
    assert best < error(-20, 30)
    assert best < error(low, high)


def test_zero_is_always_exact():
    for low, high in [(0.5, 2), (-3, -1), (-1, 1), (0, 0), (-1e-30, 1e-30), (-1, 1e6)]:
        scale, zero_point = _scale(low, high)
        assert scale > 0
        assert -128 <= zero_point <= 127
        assert isinstance(zero_point, int)


def chain(*weights: np.ndarray, bias=None) -> FloatNetwork:
    """1x1 convolutions with ReLU between them, on 4 x 4 pixels."""
    layers = []
    for number, matrix in enumerate(weights):
        outputs, inputs = matrix.shape
        layers.append(FloatConvolution(
            name=f"layer{number}", index=number, input_shape=(4, 4, inputs), output_shape=(4, 4, outputs), minimum=0,
            weights=matrix.reshape(outputs, 1, 1, inputs), bias=np.zeros(outputs) if bias is None else bias))
    return FloatNetwork("chain", tuple(layers))


def test_dead_and_vanishing_channels():
    """A channel of zeros, one of all but zero weights with a large bias, a whole layer that gives nothing."""
    weights = np.ones((3, 2))
    weights[0] = 0
    weights[1] = 1e-30
    network = chain(weights, np.full((2, 3), -1.0), np.ones((2, 2)), bias=None)
    network = network.with_layers([replace(network.layers[0], bias=np.array([0.25, 1.5, 0])), *network.layers[1:]])
    images = pictures(network, 4)
    integer = quantize(network, images).network
    for layer in integer.layers:
        low, high = accumulator_range(layer.weights, layer.bias, layer.input_zero_point)
        assert max(-low.min(), high.max()) < 1 << 28
    outputs = golden.run(integer, integer.quantise_input(images), layers=True)
    first = integer.layers[0].output_scale * (outputs[0].astype(float) - integer.layers[0].output_zero_point)
    exact = []
    quantize(network, images).reference.trace(images, lambda number, x: exact.append(x))
    np.testing.assert_allclose(first, exact[0], atol=2 * integer.layers[0].output_scale)
    assert not (outputs[2].astype(int) - integer.layers[2].output_zero_point).any()


@pytest.mark.parametrize(("images", "sentence"), [
    (np.zeros((3, 4, 4, 2), np.float32), "the calibration images are all 0: give some that the network will meet"),
    (np.zeros((3, 4, 5, 2), np.float32), r"the calibration images must be numbers of the shape \(frames, 4, 4, 2\) or "
                                         r"\(frames, 2, 4, 4\), not float32 \(3, 4, 5, 2\)"),
    (np.zeros((0, 4, 4, 2), np.float32), "the calibration images hold no frames"),
    (np.full((1, 4, 4, 2), np.nan), "the calibration images hold values that are NaN or infinite"),
    (np.full((1, 4, 4, 2), 1e300), "the calibration images hold values too large for float32"),
    (np.array(["a"]), "the calibration images must be numbers"),
])
def test_bad_images(images, sentence):
    with pytest.raises(NetworkError, match=sentence):
        quantize(chain(np.ones((2, 2))), images)


@pytest.mark.parametrize("percentile", [50, 0, 101, np.nan])
def test_bad_percentile(percentile):
    with pytest.raises(NetworkError, match="the percentile must be above 50 and at most 100"):
        Calibration(Method.PERCENTILE, percentile)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_bad_weights(value):
    weights = np.ones((2, 2))
    weights[1, 0] = value
    with pytest.raises(NetworkError, match=r"layer 0 \(layer0\) has 1 weights that are NaN or infinite"):
        chain(weights)


def test_weights_out_of_range():
    with pytest.raises(NetworkError, match=r"layer 1 \(layer1\) gives NaN or infinite values on the calibration"):
        quantize(chain(np.full((2, 2), 1e30), np.full((2, 2), 1e30)), np.ones((1, 4, 4, 2)) * [1, 2])


def test_report_names_the_costliest_layer(mobilenet):
    """A layer whose weights differ a hundredfold within each filter costs most."""
    layers = list(mobilenet.layers)
    number = next(n for n, layer in enumerate(layers) if layer.name == "block3_pointwise")
    weights = layers[number].weights.copy()
    weights[:, 0, 0, 0] *= 60
    before = layers[number - 1]
    layers[number] = replace(layers[number], weights=weights)
    # … while the channel that meets the large ones is all but silent.
    small = np.ones(before.output_shape[2])
    small[0] = 1e-3
    layers[number - 1] = replace(before, weights=before.weights * small, bias=before.bias * small)
    network = mobilenet.with_layers(layers)
    images = pictures(network, 8)
    report = measure_losses(quantize(network, images, Calibration(equalise=False)), images)
    assert report.costliest.name in ("block3_pointwise", "block3_depthwise")
    assert len(report.layers) == len(network.layers)
    assert all(0 <= layer.saturated < 0.01 for layer in report.layers)
    assert all(layer.low <= 0 or layer.low <= layer.high for layer in report.layers)


def test_channels_first(mobilenet):
    """Images may come in either order of dimensions."""
    images = pictures(mobilenet, 6)
    assert (quantize(mobilenet, images).network.layers[0].weights
            == quantize(mobilenet, images.transpose(0, 3, 1, 2)).network.layers[0].weights).all()


@pytest.mark.parametrize(("offset", "spread"), [(1e5, 0.02), (1, 1e-7), (0, 1e-38), (-1e6, 1)])
def test_narrow_ranges(offset, spread):
    """Values that differ little beside their distance from zero."""
    images = (offset + spread * np.random.default_rng(0).normal(size=(4, 4, 4, 2))).astype(np.float32)
    for method in Method:
        network = chain(np.ones((2, 2)), np.full((2, 2), 0.5))
        integer = quantize(network, images, Calibration(method)).network
        exact = network.run(images)
        assert np.abs(real_logits(integer, images) - exact).max() <= max(0.02 * np.abs(exact).max(), 1e-30)


def test_vectors():
    """A network of fully connected layers takes its inputs as vectors."""
    layer = FloatConvolution(name="a", index=0, input_shape=(1, 1, 6), output_shape=(1, 1, 2),
                             weights=np.arange(12).reshape(2, 1, 1, 6) - 5, bias=np.zeros(2))
    network = FloatNetwork("vectors", (layer,))
    images = np.random.default_rng(0).normal(size=(9, 6)).astype(np.float32)
    integer = quantize(network, images).network
    exact = images @ (np.arange(12).reshape(2, 6) - 5).T
    assert ratio(exact, real_logits(integer, images)) > 30


def test_padding_is_zero():
    """What surrounds a map is the zero point, whatever the range."""
    layer = FloatDepthwise(name="a", index=0, input_shape=(1, 1, 1), output_shape=(3, 3, 1),
                           padding=Padding(2, 2, 2, 2), weights=np.ones((3, 3, 1)), bias=np.array([0.5]))
    images = np.array([3.0, 5.0], np.float32).reshape(2, 1, 1, 1)
    integer = quantize(FloatNetwork("pad", (layer,)), images, Calibration(Method.MINMAX)).network
    assert isinstance(integer.layers[0], Depthwise)
    np.testing.assert_allclose(real_logits(integer, images), np.repeat([[3.5], [5.5]], 9, axis=1), atol=0.03)


@pytest.mark.model
@pytest.mark.parametrize("method", Method)
def test_vww(method):
    """A real float model: the classes stay, and the logits are nearer to its own than the official int8 model's."""
    folder = require_model("mlperf_vww_float")
    network = read_tflite(folder / "model.tflite")
    images = np.load(folder / "inputs.npy")
    exact = network.run(images)
    official = read_tflite(require_model("mlperf_vww_int8") / "model.tflite")
    limit = np.abs(real_logits(official, images) - exact).mean()
    logits = real_logits(quantize(network, images, Calibration(method)).network, images)
    assert (logits.argmax(axis=1) == np.load(folder / "outputs.npy").argmax(axis=1)).all()
    assert (logits.argmax(axis=1) == np.load(folder / "labels.npy")).mean() >= (
        exact.argmax(axis=1) == np.load(folder / "labels.npy")).mean()
    assert np.abs(logits - exact).mean() < limit / 4


FULL_SIZE = """
import resource, time
import numpy as np
from tepal.quant import MobileNet, quantize
from tepal.sim import measure_losses
network = MobileNet().float_network()
images = np.random.default_rng(0).normal(size=(16, 224, 224, 3)).astype(np.float32)
measure_losses(quantize(network, images), images)
print(network.macs, time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
def test_full_size():
    """MobileNetV1 1.0-224, report and all, within a minute of processor time (whatever else runs) and 6 GB."""
    result = subprocess.run([sys.executable, "-c", FULL_SIZE], capture_output=True, text=True, check=True)
    macs, seconds, kilobytes = map(float, result.stdout.split())
    assert macs == 568_740_352
    assert seconds < 60
    assert kilobytes < 6e6
