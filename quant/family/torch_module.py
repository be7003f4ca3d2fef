# SPDX-License-Identifier: Apache-2.0
"""Architectures in PyTorch, to train them; the one module here that imports it."""

from collections import OrderedDict

import numpy as np
from tepal.quant.layer import IMAGE, FloatLayer, Statistics
from tepal.quant.ops.add import FloatAdd
from tepal.quant.ops.average_pool import FloatAveragePool
from tepal.quant.ops.convolution import FloatConvolution
from tepal.quant.ops.depthwise import FloatDepthwise
from torch import nn  # pyright: ignore[reportMissingImports]

from .layers import LayerSpec
from .random_weights import bounds, geometry_of

__all__ = ["LayerModules", "float_layers"]

_EPSILON = 1e-5
"""What batch norm adds to a variance."""


class LayerModules(nn.Sequential):
    """See :meth:`~.architecture.Architecture.torch`: the modules of all layers in the order of execution, each layer's
    fed with what it reads."""

    def __init__(self, specs: tuple[LayerSpec, ...], outputs: tuple[int, ...]):
        stages = [_modules(spec) for spec in specs]
        super().__init__(OrderedDict(module for stage in stages for module in stage.items()))
        self.sources = [spec.sources(number) for number, spec in enumerate(specs)]
        self.stages = [[*stage] for stage in stages]
        self.outputs = outputs

    def forward(self, input):
        results = {IMAGE: input}
        for number, (sources, stage) in enumerate(zip(self.sources, self.stages, strict=True)):
            value = results[sources[0]]
            for source in sources[1:]:
                value = value + results[source]
            for name in stage:
                value = self.get_submodule(name)(value)
            results[number] = value
        return [results[number] for number in self.outputs] if self.outputs else results[len(self.stages) - 1]


def _modules(spec: LayerSpec) -> dict[str, nn.Module]:
    modules: dict[str, nn.Module] = {}
    match spec.kind:
        case "pool":
            modules["pool"] = nn.AdaptiveAvgPool2d(1)
            modules["flatten"] = nn.Flatten()
        case "dense":
            modules[spec.name] = nn.Linear(spec.in_channels, spec.out_channels)
        case "add":
            pass
        case _:
            modules[spec.name] = nn.Conv2d(spec.in_channels, spec.out_channels, spec.kernel, spec.stride,
                                           spec.padding.top, groups=spec.groups, bias=not spec.normalised)
            if spec.normalised:
                modules[f"{spec.name}_norm"] = nn.BatchNorm2d(spec.out_channels, _EPSILON)
    if spec.activation != "none":
        modules[f"{spec.name}_relu"] = (nn.ReLU6 if spec.activation == "relu6" else nn.ReLU)(inplace=True)
    return modules


def float_layers(specs: tuple[LayerSpec, ...], module: nn.Module) -> tuple[FloatLayer, ...]:
    """See :meth:`~.architecture.Architecture.trained`."""
    state = {name: tensor.cpu().numpy().astype(np.float64) for name, tensor in module.state_dict().items()}
    return tuple(_float_layer(number, spec, state) for number, spec in enumerate(specs))


def _float_layer(number: int, spec: LayerSpec, state: dict[str, np.ndarray]) -> FloatLayer:
    fields = geometry_of(spec, number) | bounds(spec.activation)
    if spec.kind == "pool":
        return FloatAveragePool(**fields, window=(spec.kernel, spec.kernel))
    if spec.kind == "add":
        return FloatAdd(**fields)
    weights = state[f"{spec.name}.weight"].reshape(spec.out_channels, -1, spec.kernel, spec.kernel)
    if spec.normalised:
        gain, shift, mean, variance = (state[f"{spec.name}_norm.{which}"]
                                       for which in ("weight", "bias", "running_mean", "running_var"))
        factor = gain / np.sqrt(variance + _EPSILON)
        weights, bias = weights * factor[:, None, None, None], shift - factor * mean
        fields["trained"] = Statistics(shift, np.abs(gain))
    else:
        bias = state[f"{spec.name}.bias"]
    if spec.kind == "depthwise":
        return FloatDepthwise(**fields, weights=weights[:, 0].transpose(1, 2, 0), bias=bias)
    return FloatConvolution(**fields, weights=weights.transpose(0, 2, 3, 1), bias=bias)
