# SPDX-License-Identifier: Apache-2.0
"""The blocks of MobileNetV2, V3 and V4 as both of PyTorch's exporters write them, against ONNX Runtime."""

import warnings

import numpy as np
import pytest
from networks import fast
from onnx_models import run
from tepal.quant import FloatNetwork, quantize, read_onnx
from tepal.quant.ops.add import FloatAdd
from tepal.sim import golden

torch = pytest.importorskip("torch", reason="needs PyTorch, which isn't installed")
nn = torch.nn


def convolution(before: int, after: int, kernel: int = 1, stride: int = 1, groups: int = 1, act=nn.ReLU6):
    return nn.Sequential(nn.Conv2d(before, after, kernel, stride, kernel // 2, groups=groups, bias=False),
                         nn.BatchNorm2d(after), act())


class Inverted(nn.Module):
    """Sandler et al. 2018, with the activation ``act``."""

    def __init__(self, before: int, after: int, stride: int, act):
        super().__init__()
        wide = 3 * before
        self.layers = nn.Sequential(convolution(before, wide, act=act), convolution(wide, wide, 3, stride, wide, act),
                                    convolution(wide, after, act=nn.Identity))
        self.residual = stride == 1 and before == after

    def forward(self, x):
        return x + self.layers(x) if self.residual else self.layers(x)


class Network(nn.Module):
    """A small network of them, ended like torchvision's: ``flatten`` and Dropout before the classifier."""

    def __init__(self, act):
        super().__init__()
        self.features = nn.Sequential(convolution(3, 6, 3, 2, act=act), Inverted(6, 8, 1, act), Inverted(8, 8, 1, act),
                                      Inverted(8, 12, 2, act), Inverted(12, 12, 1, act), convolution(12, 20, act=act))
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(20, 10))

    def forward(self, x):
        return self.classifier(torch.flatten(nn.functional.adaptive_avg_pool2d(self.features(x), (1, 1)), 1))


ACTIVATIONS = {"ReLU6": nn.ReLU6, "Hardswish": nn.Hardswish, "SiLU": nn.SiLU, "GELU": nn.GELU,
               "LeakyReLU": nn.LeakyReLU, "PReLU": nn.PReLU, "Hardsigmoid": nn.Hardsigmoid, "Mish": nn.Mish,
               "ELU": nn.ELU}


def exported(path, act, *, dynamo: bool) -> None:
    torch.manual_seed(0)
    network = Network(act).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(network, (torch.zeros(1, 3, 24, 20),), str(path), dynamo=dynamo)


@pytest.mark.parametrize("dynamo", [False, True])
@pytest.mark.parametrize("name", fast(ACTIVATIONS, 2))
def test_inverted_residuals(tmp_path, name, dynamo):
    if dynamo:
        pytest.importorskip("onnxscript", reason="PyTorch's newer exporter needs onnxscript, which isn't installed")
    path = tmp_path / "model.onnx"
    exported(path, ACTIVATIONS[name], dynamo=dynamo)
    network, batch = read_onnx(path), np.random.default_rng(0).normal(size=(24, 3, 24, 20)).astype(np.float32)
    assert isinstance(network, FloatNetwork)
    (expected,) = run(path.read_bytes(), batch[:4], folder=tmp_path)
    assert np.abs(network.run(network.images(batch[:4])) - expected).max() <= 2e-5 * np.abs(expected).max()
    assert sum(isinstance(layer, FloatAdd) for layer in network.layers) == 2
    # The first and the last convolution, three of each block, mean, classifier and two sums; an activation that is no
    # clamp is a table.
    assert len(network.layers) == 1 + 1 + 3 * 4 + 1 + 1 + 2 + (0 if name == "ReLU6" else 10)
    result = quantize(network, batch[:16]).network
    wanted = network.run(network.images(batch))
    got = golden.run(result, result.quantise_input(network.images(batch))).astype(float) - result.output_zero_point
    error = result.output_scale * got.reshape(wanted.shape) - wanted
    assert 10 * np.log10((wanted ** 2).sum() / (error ** 2).sum()) > 20
