# SPDX-License-Identifier: Apache-2.0
"""Networks of random weights whose activations neither vanish nor grow."""

from dataclasses import fields
from math import inf, prod, sqrt
from typing import Any

import numpy as np
from tepal.quant.arithmetic import quantize_multiplier
from tepal.quant.float_network import FloatNetwork
from tepal.quant.layer import IMAGE, FloatLayer, Geometry, Layer, Meaning
from tepal.quant.network import Network
from tepal.quant.ops.add import FloatAdd
from tepal.quant.ops.average_pool import Average, AveragePool, FloatAveragePool
from tepal.quant.ops.convolution import FloatConvolution
from tepal.quant.ops.depthwise import FloatDepthwise
from tepal.quant.rescale import Requantise
from tepal.quant.weighted import FloatWeighted

from .layers import Activation, LayerSpec

__all__ = ["bounds", "geometry_of", "random_float_network", "random_network"]

_INPUT_SCALE, _ACTIVATION_SCALE = 3 / 255, 6 / 255
"""One step of a random integer network's image, and of an activation whose mean square is one, as the image's is."""

_BIAS_DEVIATION = 0.1
"""Of random biases; without any, a network of few channels may be stuck at zero."""


def geometry_of(spec: LayerSpec, index: int) -> dict[str, Any]:
    """The fields of :class:`~tepal.quant.layer.Geometry` of layer ``index``."""
    return {"name": spec.name, "index": index, "inputs": spec.inputs, "input_shape": spec.input_shape,
            "output_shape": spec.output_shape, "stride": (spec.stride, spec.stride), "padding": spec.padding}


def bounds(activation: Activation) -> dict[str, Any]:
    """``minimum`` and ``maximum`` of a float layer."""
    return {"minimum": -inf if activation == "none" else 0.0, "maximum": 6.0 if activation == "relu6" else inf}


def random_float_network(name: str, specs: tuple[LayerSpec, ...], outputs: tuple[int, ...], seed: int) -> FloatNetwork:
    """See :meth:`~.architecture.Architecture.float_network`."""
    rng, squares = np.random.default_rng(seed), _mean_squares(specs)
    layers = tuple(_random_layer(rng, index, spec, squares[spec.sources(index)[0]])
                   for index, spec in enumerate(specs))
    return FloatNetwork(name, layers, outputs=outputs)


def random_network(name: str, specs: tuple[LayerSpec, ...], outputs: tuple[int, ...], seed: int) -> Network:
    """See :meth:`~.architecture.Architecture.network`."""
    squares, layers = _mean_squares(specs), []
    meanings = {IMAGE: (_INPUT_SCALE, 0)}
    for number, layer in enumerate(random_float_network(name, specs, outputs, seed).layers):
        sources = [meanings[source] for source in specs[number].sources(number)]
        layers.append(_integer_layer(number, layer, _ACTIVATION_SCALE * sqrt(squares[number]), sources))
        meanings[number] = layers[-1].output_scale, layers[-1].output_zero_point
    return Network(name, tuple(layers), *meanings[IMAGE], outputs=outputs)


def _mean_squares(specs: tuple[LayerSpec, ...]) -> dict[int, float]:
    """Expected mean square of the image and of each layer's results: weights keep it at one, sums add theirs."""
    squares = {IMAGE: 1.0}
    for number, spec in enumerate(specs):
        read = [squares[source] for source in spec.sources(number)]
        squares[number] = 1.0 if spec.weighted else sum(read)
    return squares


def _random_layer(rng: np.random.Generator, index: int, spec: LayerSpec, square: float) -> FloatLayer:
    """A layer for inputs of the mean ``square``."""
    geometry = geometry_of(spec, index)
    if spec.kind == "pool":
        return FloatAveragePool(**geometry, window=(spec.kernel, spec.kernel))
    if spec.kind == "add":
        return FloatAdd(**geometry, **bounds(spec.activation))
    # Padding adds nothing to a sum, and ReLU halves the mean square.
    on_map = 1 - (spec.padding.top + spec.padding.bottom) / (spec.out_size * spec.kernel)
    gain = 1 if spec.activation == "none" else 2
    deviation = np.float32(sqrt(gain * spec.out_channels / spec.weights / square) / on_map)
    weights = rng.standard_normal(spec.weight_shape, np.float32) * deviation
    bias = rng.standard_normal(spec.out_channels, np.float32) * np.float32(_BIAS_DEVIATION)
    kind = FloatDepthwise if spec.kind == "depthwise" else FloatConvolution
    return kind(**geometry, **bounds(spec.activation), weights=weights, bias=bias)


def _integer_layer(number: int, layer: FloatLayer, output_scale: float, sources: list[Meaning]) -> Layer:
    """``layer`` in integers, from maps that mean ``sources``; a sixfold root mean square is the largest result."""
    zero_point = 0 if layer.minimum == -inf else -128
    if isinstance(layer, FloatAdd):
        return layer.quantised(number, (output_scale, zero_point), *sources)
    ((scale, input_zero_point),) = sources
    common = {field.name: getattr(layer, field.name) for field in fields(Geometry)}
    common |= {"input_zero_point": input_zero_point, "output_scale": output_scale}
    if not isinstance(layer, FloatWeighted):
        return AveragePool(**common, window=layer.kernel, bias=np.zeros(layer.input_shape[2]),
                           requantise=Average(prod(layer.kernel)))
    steps = np.abs(layer.channel_first(layer.weights)).reshape(len(layer.bias), -1).max(axis=1) / np.float32(127)
    sum_steps = scale * steps.astype(np.float64)
    requantise = Requantise(*quantize_multiplier(sum_steps / output_scale), zero_point)
    return layer.integer(**common, weights=np.rint(layer.weights / layer.by_channel(steps)), weight_scales=steps,
                         bias=np.rint(layer.bias / sum_steps), requantise=requantise)
