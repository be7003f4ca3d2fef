# SPDX-License-Identifier: Apache-2.0
"""The MobileNet family: the paper's counts, PyTorch's, and random networks that every other part takes."""

from dataclasses import replace

import numpy as np
import pytest
from tepal.hdl import EngineConfig, Schedule
from tepal.quant import (
    CIFAR_BLOCKS,
    IMAGENET_BLOCKS,
    Convolution,
    MobileNet,
    NetworkError,
    Padding,
)
from tepal.sim import CycleModel, golden

SHALLOW = MobileNet(blocks=IMAGENET_BLOCKS[:6] + IMAGENET_BLOCKS[11:])
CONVOLUTIONS = MobileNet(separable=False)

SMALL = [
    MobileNet(0.25, 32, classes=10),
    MobileNet(0.35, 33, classes=7, channels=1),
    MobileNet(0.35, 30, classes=3, channels=2),
    MobileNet(0.1, 1, classes=5),
    MobileNet(0.02, 7, classes=4),
    MobileNet(0.5, 32, classes=10, stem_stride=1, blocks=CIFAR_BLOCKS),
    MobileNet(0.25, 20, classes=10, stem_stride=3, blocks=CIFAR_BLOCKS),
    MobileNet(0.1, 24, classes=6, separable=False),
]
"""Even and odd sizes, widths that are no whole numbers, a single pixel, layers of one channel, any stem."""


# -- counts --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("network", "macs", "weights", "parameters"), [
    (MobileNet(), 568_740_352, 4_209_088, 4_231_976),
    (MobileNet(0.75), 325_400_448, 2_568_144, 2_585_560),
    (MobileNet(0.5), 149_497_088, 1_319_648, 1_331_592),
    (MobileNet(0.25), 41_030_272, 463_600, 470_072),
    (MobileNet(resolution=192), 418_121_728, 4_209_088, 4_231_976),
    (MobileNet(resolution=160), 290_675_200, 4_209_088, 4_231_976),
    (MobileNet(resolution=128), 186_400_768, 4_209_088, 4_231_976),
    (MobileNet(0.5, 160), 76_524_800, 1_319_648, 1_331_592),
    (SHALLOW, 307_323_392, 2_875_328, 2_887_976),
    (CONVOLUTIONS, 4_867_293_184, 29_281_120, 29_294_088),
], ids=lambda value: value.name if isinstance(value, MobileNet) else "")
def test_counts(network, macs, weights, parameters):
    assert (network.macs, network.weights, network.parameters) == (macs, weights, parameters)


def test_shares():
    """The paper's table 2: it counts the classifier in, and nothing but weights.  (It gives 3x3 convolutions
    1.19 % of the multiply-adds; its own shares then add up to 99.29 %.)"""
    network = MobileNet()

    def shares(attribute: str) -> dict[str, str]:
        return {kind: f"{100 * count / getattr(network, attribute):.2f}"
                for kind in ("pointwise", "depthwise", "convolution", "dense")
                for count in [sum(getattr(layer, attribute) for layer in network.layers if layer.kind == kind)]}
    assert shares("macs") == {"pointwise": "94.86", "depthwise": "3.06", "convolution": "1.91", "dense": "0.18"}
    assert shares("weights") == {"pointwise": "74.59", "depthwise": "1.06", "convolution": "0.02", "dense": "24.33"}


def test_shapes():
    """The paper's table 1."""
    layers = MobileNet().layers
    assert [layer.out_size for layer in layers] == [112] * 3 + [56] * 4 + [28] * 4 + [14] * 12 + [7] * 4 + [1, 1]
    assert layers[-2].kind == "pool"
    assert [(layer.in_channels, layer.out_channels) for layer in layers[-2:]] == [(1024, 1024), (1024, 1000)]


def test_width():
    network = MobileNet(0.35)
    assert [network.width(channels) for channels in (1, 2, 32, 64, 1024)] == [1, 1, 11, 22, 358]
    assert network.layers[0].out_channels == 11


@pytest.mark.parametrize(("arguments", "message"), [
    ({"alpha": 0}, "the width multiplier must be above 0 and at most 16, not 0"),
    ({"alpha": -1.0}, "width multiplier"), ({"alpha": float("nan")}, "width multiplier"),
    ({"alpha": float("inf")}, "width multiplier"),
    ({"resolution": 0}, "resolution must be 1 to 4096, not 0"), ({"resolution": 10**6}, "not 1000000"),
    ({"classes": 0}, "classes must be 1 to 65536, not 0"), ({"channels": -3}, "channels must be 1 to 4096, not -3"),
    ({"blocks": ((64, 3),)}, "every block is .channels, stride.: at least 1 channel, stride 1 or 2"),
])
def test_out_of_range(arguments, message):
    with pytest.raises(NetworkError, match=message):
        MobileNet(**arguments)


# -- networks ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("network", SMALL)
def test_torch(network):
    torch = pytest.importorskip("torch")
    module = network.torch().eval()
    assert sum(parameter.numel() for parameter in module.parameters()) == network.parameters
    shapes = []
    for child in module:
        if isinstance(child, torch.nn.Conv2d):
            child.register_forward_hook(lambda _module, _inputs, output: shapes.append(tuple(output.shape[1:])))
    with torch.no_grad():
        assert module(torch.zeros(2, network.channels, *[network.resolution] * 2)).shape == (2, network.classes)
    assert shapes == [(spec.out_channels, spec.out_size, spec.out_size) for spec in network.layers
                      if spec.kind not in ("pool", "dense")]


@pytest.mark.parametrize("network", SMALL[:6])
def test_torch_computes_the_same(network):
    """The float network's weights in PyTorch's, batch norm left out: the same windows, the same numbers."""
    torch = pytest.importorskip("torch")
    made, module = network.float_network(3), network.torch().eval()
    state = module.state_dict()
    for layer in made.layers:
        if f"{layer.name}.weight" not in state:
            continue
        weights = torch.from_numpy(layer.weights.copy())
        weights = weights.permute(2, 0, 1)[:, None] if weights.ndim == 3 else weights.permute(0, 3, 1, 2)
        state[f"{layer.name}.weight"] = weights.reshape(state[f"{layer.name}.weight"].shape)
        bias = f"{layer.name}.bias" if f"{layer.name}.bias" in state else f"{layer.name}_norm.bias"
        state[bias] = torch.from_numpy(layer.bias.copy())
        if f"{layer.name}_norm.running_var" in state:
            state[f"{layer.name}_norm.running_var"] = torch.full(layer.bias.shape, 1 - module[1].eps)
    module.load_state_dict(state)
    images = np.random.default_rng(0).standard_normal((2, *made.input_shape), np.float32)
    with torch.no_grad():
        expected = module(torch.from_numpy(images.transpose(0, 3, 1, 2))).numpy()
    np.testing.assert_allclose(made.run(images), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("network", [*SMALL, MobileNet(), CONVOLUTIONS])
def test_geometry(network):
    """Integer and float networks have the shapes that were counted, and windows that tile their padded inputs."""
    integer = network.network()
    assert (integer.macs, integer.parameters) == (network.macs, network.weights)
    assert integer.input_shape == (network.resolution, network.resolution, network.channels)
    assert integer.result_bytes == network.classes
    for layer, spec in zip(integer.layers, network.layers, strict=True):
        assert (layer.name, layer.output_shape) == (spec.name, spec.output_shape)
        for size, kernel, stride, around, result in zip(
                layer.input_shape[:2], layer.kernel, layer.stride,
                [(layer.padding.top, layer.padding.bottom), (layer.padding.left, layer.padding.right)],
                layer.output_shape[:2], strict=True):
            assert around[0] == (1 if spec.kernel == 3 and spec.kind != "pool" else 0)
            read = (result - 1) * stride + kernel
            assert read <= size + sum(around) < read + stride
            assert around[1] == 0 or size + sum(around) == read


def test_padding_that_no_window_reaches():
    """PyTorch's padding of one on each side, as files that come from there say it, is the same network."""
    network = MobileNet(0.25, 32, classes=10).network()
    padded = replace(network, layers=tuple(
        replace(layer, padding=Padding(1, 1, 1, 1)) if layer.kernel == (3, 3) else layer for layer in network.layers))
    assert {layer.padding for layer in network.layers} == {Padding(), Padding(1, 1, 1, 1), Padding(1, 0, 1, 0)}
    images = np.random.default_rng(0).integers(-128, 128, (2, *network.input_shape), np.int8)
    np.testing.assert_array_equal(golden.run(padded, images), golden.run(network, images))
    config = EngineConfig(rows=4, columns=8, lanes=4, requantisers=4)
    cycles = [CycleModel(Schedule(each, config)).interval_cycles for each in (network, padded)]
    assert cycles[0] == cycles[1]


@pytest.mark.parametrize("network", SMALL)
@pytest.mark.parametrize("window", [(3, 3), (1, 1)], ids=str)
def test_random_network_runs(network, window):
    integer = network.network(1)
    config = EngineConfig(rows=4, columns=8, lanes=4, window=window, requantisers=4)
    model = CycleModel(Schedule(integer, config))
    dense = sum(layer.macs for layer in integer.layers if isinstance(layer, Convolution))
    assert dense / config.multipliers < model.in_memory_cycles < model.cycles
    images = np.random.default_rng(2).integers(-128, 128, (4, *integer.input_shape), np.int8)
    logits = golden.run(integer, images)
    assert logits.shape == (4, network.classes)
    assert (logits != logits[:, :1]).any(axis=1).all()


def test_random_activations_fill_int8():
    """Every layer of a deep network still tells images apart, and seldom leaves the range."""
    network = MobileNet(0.5, 64).network()
    images = np.random.default_rng(0).integers(-128, 128, (4, *network.input_shape), np.int8)
    for layer, result in zip(network.layers, golden.run(network, images, layers=True), strict=True):
        assert np.ptp(result.astype(int), axis=0).max() > 5, layer.name
        assert np.mean(result == 127) < 0.1, layer.name
        assert len(np.unique(result)) > 30, layer.name


def test_rounded_network_is_the_float_one():
    family = MobileNet(0.5, 64, classes=10)
    network, made = family.network(4), family.float_network(4)
    images = np.random.default_rng(0).integers(-128, 128, (4, *network.input_shape), np.int8)
    wanted = made.run(images.astype(np.float32) * np.float32(network.input_scale))
    got = golden.run(network, images) * network.output_scale
    assert np.corrcoef(got.ravel(), wanted.ravel())[0, 1] > 0.98


def test_random_networks_are_deterministic():
    family = MobileNet(0.25, 32, classes=10)
    for make in (family.network, family.float_network):
        for first, second, other in zip(make().layers, make(0).layers, make(1).layers, strict=True):
            if not hasattr(first, "weights"):
                continue
            np.testing.assert_array_equal(first.weights, second.weights)
            np.testing.assert_array_equal(first.bias, second.bias)
            assert not np.array_equal(first.weights, other.weights)
