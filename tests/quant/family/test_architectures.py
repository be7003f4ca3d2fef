# SPDX-License-Identifier: Apache-2.0
"""MobileNetV2, residual networks and detectors: published counts, the same numbers in PyTorch, networks that run."""

import numpy as np
import pytest
from tepal.quant import SSD, Add, MobileNet, MobileNetV2, NetworkError, ResNet
from tepal.sim import golden

BLOCKS = ((64, 1), (64, 1), (128, 2), (128, 1))

SMALL = [
    MobileNet(0.25, 20, 5, blocks=BLOCKS, residual=True),
    MobileNet(0.25, 20, 5, 1, blocks=BLOCKS, residual=True, separable=False, activation="relu6"),
    MobileNetV2(0.35, 32, 7),
    MobileNetV2(0.35, 33, 7, 2, activation="relu"),
    ResNet(),
    ResNet(0.5, 9, 3, 1, count=2),
    SSD(MobileNet(0.25, 96), 4, 4),
    SSD(MobileNetV2(0.35, 96), 3, lite=True, maps=3),
    SSD(MobileNet(0.25, 40, blocks=BLOCKS, residual=True), 3, 2),
]


@pytest.mark.parametrize(("network", "macs", "weights"), [
    # torchvision's has 3,504,872 parameters, and so has this: see test_torchvision.
    (MobileNetV2(), 300_774_272, 3_469_760),
    (MobileNetV2(1.4), 582_195_824, 6_059_840),
    (MobileNetV2(0.75), 209_069_792, 2_608_784),
    (MobileNetV2(0.5, 160), 50_184_000, 1_949_136),
    (MobileNetV2(0.35, 160), 30_874_800, 1_662_048),
    (MobileNetV2(0.35, 96), 11_934_128, 1_662_048),
    (ResNet(), 12_501_632, 77_360),
    (MobileNet(residual=True), 568_740_352, 4_209_088),
    (SSD(MobileNet(1.0, 300)), 1_237_129_408, 5_405_120 + 1_386_240),
    (SSD(MobileNet(0.25, 300)), 109_471_792, 346_352 + 346_560),
    # Sandler et al., table 6: 0.8 and 1.3 billion multiply-adds, 4.3 and 5.1 million parameters, COCO's 80 classes.
    (SSD(MobileNetV2(1.0, 320), 81, lite=True), 788_830_144, 4_283_456),
    (SSD(MobileNet(1.0, 320), 81, lite=True), 1_309_162_944, 5_060_608),
], ids=lambda value: "" if isinstance(value, int) else value.name)
def test_counts(network, macs, weights):
    assert (network.macs, network.weights) == (macs, weights)


def test_published_parameters():
    """torchvision's ``mobilenet_v2``, and MLPerf Tiny's ResNet8 less the biases in front of its batch norms and what
    those remember (78,666 in all)."""
    assert MobileNetV2().parameters == 3_504_872
    normalised = 16 * 3 + 32 * 2 + 64 * 2
    assert ResNet().parameters == 78_666 - 3 * normalised


def test_table_2_of_v2():
    """Pixels across and channels of each line of the paper's table 2."""
    sizes = [(spec.out_size, spec.out_channels) for spec in MobileNetV2().layers
             if spec.name in ("stem", "last", "pool", "classifier") or spec.name.endswith("project")]
    assert list(dict.fromkeys(sizes)) == [(112, 32), (112, 16), (56, 24), (28, 32), (14, 64), (14, 96), (7, 160),
                                          (7, 320), (7, 1280), (1, 1280), (1, 1000)]
    assert sum(spec.kind == "add" for spec in MobileNetV2().layers) == 10
    assert sum(spec.kind == "add" for spec in MobileNet(residual=True).layers) == 8


@pytest.mark.parametrize(("wanted", "channels"), [(0.35, [16, 8, 8, 16, 24, 32, 56, 112, 1280]),
                                                  (1.4, [48, 24, 32, 48, 88, 136, 224, 448, 1792])])
def test_channels_of_v2(wanted, channels):
    """TensorFlow's and torchvision's; the last convolution gets no narrower."""
    found = [spec.out_channels for spec in MobileNetV2(wanted).layers
             if spec.name in ("stem", "last") or spec.name.endswith("project")]
    assert list(dict.fromkeys(found)) == list(dict.fromkeys(channels))


@pytest.mark.parametrize("network", SMALL, ids=lambda network: network.name)
def test_torch_computes_the_same(network):
    """A trained module, its batch norms in use, and the float network of its weights."""
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    module = network.torch()
    assert sum(parameter.numel() for parameter in module.parameters()) == network.parameters
    images = np.random.default_rng(0).standard_normal((4, network.resolution, network.resolution, network.channels),
                                                      np.float32)
    frames = torch.from_numpy(images.transpose(0, 3, 1, 2))
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += 0.1 * torch.rand_like(parameter)
        module.train()(frames)
        expected = module.eval()(frames)
    outputs = [expected] if isinstance(expected, torch.Tensor) else expected
    wanted = np.concatenate([np.moveaxis(output.numpy(), 1, -1).reshape(len(images), -1) for output in outputs], axis=1)
    made = network.trained(module)
    np.testing.assert_allclose(made.run(images), wanted, rtol=1e-3, atol=1e-3 * np.abs(wanted).max())
    assert made.outputs == network.outputs


@pytest.mark.parametrize("network", SMALL, ids=lambda network: network.name)
def test_random_networks(network):
    """They have what was counted, tell images apart in every layer, and both forms agree."""
    integer, made = network.network(0), network.float_network(0)
    assert (integer.macs, integer.parameters) == (made.macs, made.parameters) == (network.macs, network.weights)
    images = np.random.default_rng(0).integers(-128, 128, (4, *integer.input_shape), np.int8)
    results = golden.run(integer, images, layers=True)
    for layer, spec, result in zip(integer.layers, network.layers, results, strict=True):
        assert (layer.name, layer.output_shape) == (spec.name, spec.output_shape)
        assert isinstance(layer, Add) == (spec.kind == "add")
        assert np.ptp(result.astype(int), axis=0).max() > 2, layer.name
        assert np.mean(result == 127) < 0.1, layer.name
    exact = []
    made.trace(images.astype(np.float32) * np.float32(integer.input_scale), lambda _, result: exact.append(result))
    for number in integer.output_layers:
        real = integer.layers[number].output_scale * (results[number].astype(float) - integer.layers[
            number].output_zero_point)
        assert np.corrcoef(real.ravel(), exact[number].ravel())[0, 1] > 0.9


def test_residuals_skip():
    """Without what a block adds, a residual network's sum is its skipped map."""
    network = MobileNet(0.25, 16, 5, blocks=BLOCKS, residual=True)
    assert [spec.name for spec in network.layers if spec.kind == "add"] == ["block2_add", "block4_add"]
    for spec, number in zip(network.layers, range(len(network.layers)), strict=True):
        if spec.kind == "add":
            assert spec.sources(number) == (number - 3, number - 1)
            assert (network.layers[number - 1].activation, spec.activation) == ("none", "relu")


# -- detectors -----------------------------------------------------------------------------------------


def test_maps_of_ssd():
    """The published one's maps and anchors; predictors come right behind what they read."""
    detector = SSD(MobileNet(1.0, 300))
    assert detector.sizes == (19, 10, 5, 3, 2, 1)
    assert detector.anchors.shape == (1917, 4)
    outputs = [detector.layers[number] for number in detector.outputs]
    assert [(spec.out_size, spec.out_channels) for spec in outputs] == [
        pair for size, anchors in zip(detector.sizes, (3, 6, 6, 6, 6, 6), strict=True)
        for pair in ((size, 4 * anchors), (size, 91 * anchors))]
    assert detector.layers[detector.outputs[0] - 1].name == "block11_pointwise"
    assert SSD(MobileNetV2(1.0, 320), lite=True).layers[47].name == "block14_expand"
    assert sum(spec.out_size**2 * spec.out_channels for spec in outputs) == 1917 * (4 + 91)


def test_anchors():
    """Huang et al.'s: sizes 0.2 to 0.95, three small anchors on the first map, six on each other one."""
    anchors = SSD(MobileNet(0.25, 300)).anchors
    middle = 0.5 / 19
    np.testing.assert_allclose(anchors[:4], [
        (middle, middle, 0.1, 0.1), (middle, middle, 0.1414214, 0.2828427), (middle, middle, 0.2828427, 0.1414214),
        (middle, 3 * middle, 0.1, 0.1)], rtol=1e-6)
    second = 19 * 19 * 3
    np.testing.assert_allclose(anchors[second:second + 6, 2:], [
        (0.35, 0.35), (0.35 / 2**0.5, 0.35 * 2**0.5), (0.35 * 2**0.5, 0.35 / 2**0.5), (0.35 / 3**0.5, 0.35 * 3**0.5),
        (0.35 * 3**0.5, 0.35 / 3**0.5), ((0.35 * 0.5)**0.5, (0.35 * 0.5)**0.5)], rtol=1e-4)
    np.testing.assert_allclose(anchors[-6], (0.5, 0.5, 0.95, 0.95))
    np.testing.assert_allclose(anchors[-1, 2:], 0.95**0.5)


# -- bad input -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("make", "message"), [
    (lambda: MobileNetV2(0), "the width multiplier must be above 0 and at most 16, not 0"),
    (lambda: MobileNetV2(bottlenecks=((6, 16, 1, 3),)), "stride 1 or 2"),
    (lambda: MobileNetV2(bottlenecks=((0, 16, 1, 1),)), "each at least 1"),
    (lambda: MobileNetV2(stem_stride=0), "stem_stride must be 1 to 4096, not 0"),
    (lambda: MobileNetV2(last_channels=0), "last_channels must be 1 to 4096, not 0"),
    (lambda: ResNet(count=0), "a stack has 1 to 256 blocks, not 0"),
    (lambda: ResNet(stacks=((16, 0),)), "every stack is .channels, stride."),
    (lambda: ResNet(resolution=-1), "resolution must be 1 to 4096, not -1"),
    (lambda: SSD(MobileNet(0.25, 64)), "map 3 of 6 is a single pixel at 64 x 64 pixels: give a larger resolution, or "
                                       "fewer maps"),
    (lambda: SSD(MobileNet(0.25, 64), 1), "a detector's classes must be 2 to 4096"),
    (lambda: SSD(MobileNet(0.25, 64), maps=7), "a detector has 2 to 6 maps, not 7"),
    (lambda: SSD(MobileNet(0.25, 64, stem_stride=1, blocks=((8, 1),))), "has no map before a last halving"),
])
def test_out_of_range(make, message):
    with pytest.raises(NetworkError, match=message):
        make()
