# SPDX-License-Identifier: Apache-2.0
"""Random small networks and engines, made without a model file: one seed, one network.

Where a function takes a ``structure`` beside its generator, that one draws shapes and windows, and the generator
numbers alone (see graphs.py)."""

from dataclasses import replace
from math import inf, prod

import numpy as np
import pytest
from tepal.hdl.config import EngineConfig
from tepal.quant import Average, AveragePool, Convolution, Depthwise, Network, Padding, Requantise, Rounding
from tepal.quant.arithmetic import quantize_multiplier
from tepal.quant.ops.add import Add
from tepal.quant.ops.max_pool import MaxPool
from tepal.quant.windows import same_padding

__all__ = ["chain", "depthwise", "fast", "max_pool_case", "pointwise", "random_case", "random_engine", "random_network",
           "random_requantise", "uint8_case", "wide_case", "with_sum"]

KERNELS = ((1, 1), (3, 3), (5, 5), (1, 3), (3, 1), (4, 1), (1, 2), (2, 2), (2, 3), (7, 2))
ZERO_POINTS = (-128, 127, 0, -128, -3, 40)
LAYERS = 6


def random_requantise(rng: np.random.Generator, channels: int, spread: float, zero_point: int) -> Requantise:
    """A rule for sums of about ``spread``: mostly sensible, now and then saturating, dead or shifting left."""
    factor = 40 / spread * np.exp2(rng.uniform(-2, 2, channels))
    multiplier, shift = quantize_multiplier(np.minimum(factor, 1000.0))
    if rng.random() < 0.2:
        multiplier[rng.integers(channels)] = 0
    minimum, maximum = -128, 127
    match rng.integers(4):
        case 0:  # ReLU
            minimum = max(minimum, zero_point)
        case 1:  # ReLU6 and worse
            minimum = max(minimum, min(zero_point, 120))
            maximum = int(rng.integers(minimum, 128))
    return Requantise(multiplier, shift, zero_point, minimum, maximum, Rounding(rng.choice(["double", "single"])))


def _weights(rng, shape, channel_axis) -> np.ndarray:
    """int8, of a magnitude that varies from layer to layer; sometimes a channel of zeros or of extremes."""
    limit = int(rng.choice([1, 7, 127, 127]))
    weights = rng.integers(-limit - (limit == 127), limit + 1, shape)
    if rng.random() < 0.3:
        channel = [slice(None)] * len(shape)
        channel[channel_axis] = rng.integers(shape[channel_axis])
        weights[tuple(channel)] = rng.choice([0, -128, 127])
    return weights.astype(np.int8)


def _bias(rng, spread, channels) -> np.ndarray:
    return rng.integers(-int(spread) - 1, int(spread) + 2, channels)


def _axis(rng, size: int, kernel: int) -> tuple[int, int, int, int]:
    """(output size, stride, padding before, padding after) along one axis; the kernel may need padding to fit."""
    stride = int(rng.choice([1, 1, 2, 3]))
    match rng.integers(4):
        case 0 | 1:  # SAME
            total = max(0, (-(-size // stride) - 1) * stride + kernel - size)
            before = total // 2
        case 2:  # VALID
            total = before = 0
        case _:  # explicit
            total = int(rng.integers(0, 2 * kernel + 3))
            before = int(rng.integers(0, total + 1))
    total = max(total, kernel - size)
    return (size + total - kernel) // stride + 1, stride, before, total - before


def _windows(rng, shape, kernel) -> dict:
    (rows, down, top, bottom), (columns, across, left, right) = (
        _axis(rng, shape[axis], kernel[axis]) for axis in range(2))
    return {"size": (rows, columns), "stride": (down, across), "padding": Padding(top, bottom, left, right)}


def _convolution(rng, common, shape, channels, kernel, zero_point, *, fully_connected=False, structure=None
                 ) -> Convolution:
    structure = structure or rng
    if fully_connected:
        place = {"size": (1, 1), "stride": (1, 1), "padding": Padding()}
    elif kernel == (1, 1) and structure.random() < 0.8:
        place = {"size": shape[:2], "stride": (1, 1), "padding": Padding()}
    else:
        place = _windows(structure, shape, kernel)
    weights = _weights(rng, (channels, *kernel, shape[2]), 0)
    spread = np.sqrt(weights[0].size) * 60 * max(1, abs(weights.astype(int)).mean())
    return Convolution(**common, input_shape=shape, output_shape=(*place["size"], channels),
                       stride=place["stride"], padding=place["padding"], weights=weights,
                       bias=_bias(rng, spread, channels),
                       requantise=random_requantise(rng, channels, spread, zero_point))


def _depthwise(rng, common, shape, zero_point, *, structure=None) -> Depthwise:
    structure = structure or rng
    kernel = KERNELS[structure.integers(len(KERNELS))]
    place = _windows(structure, shape, kernel)
    weights = _weights(rng, (*kernel, shape[2]), 2)
    spread = np.sqrt(prod(kernel)) * 60 * max(1, abs(weights.astype(int)).mean())
    return Depthwise(**common, input_shape=shape, output_shape=(*place["size"], shape[2]), stride=place["stride"],
                     padding=place["padding"], weights=weights, bias=_bias(rng, spread, shape[2]),
                     requantise=random_requantise(rng, shape[2], spread, zero_point))


def _pool(rng, common, shape, zero_point, *, structure=None) -> tuple[AveragePool, int]:
    """The pool and its output's zero point, which AVERAGE_POOL_2D does not change."""
    structure = structure or rng
    whole = structure.random() < 0.6
    window = shape[:2] if whole else tuple(int(structure.integers(1, n + 1)) for n in shape[:2])
    stride = tuple(int(structure.integers(1, 4)) for _ in range(2))
    size = tuple((n - k) // s + 1 for n, k, s in zip(shape, window, stride, strict=False))
    count, channels = prod(window), shape[2]
    if rng.random() < 0.5:
        minimum = int(rng.integers(-128, 0)) if rng.random() < 0.3 else -128
        bias, requantise, zero_point = np.zeros(channels), Average(count, minimum), common["input_zero_point"]
    else:
        multiplier, shift = quantize_multiplier(np.full(channels, rng.uniform(0.3, 1.7) / count))
        bias = np.full(channels, -common["input_zero_point"] * count)
        requantise = Requantise(multiplier, shift, zero_point)
    return AveragePool(**common, input_shape=shape, output_shape=(*size, channels), stride=stride,
                       padding=Padding(), window=window, bias=bias, requantise=requantise), zero_point


def random_network(rng: np.random.Generator, shape: tuple[int, int, int] | None = None,
                   first: str | None = None) -> Network:
    """Up to ``LAYERS`` layers of every kind, in any order that the engine takes; of images of ``shape``, the first
    layer of the kind ``first``, if these are given."""
    if shape is None:
        height, width = (int(rng.choice([1, 2, 3, 4, 5, 6, 7, 9])) for _ in range(2))
        shape = height, width, int(rng.choice([1, 2, 3, 4, 7]))
    zero_point = first_zero_point = int(rng.choice(ZERO_POINTS))
    layers = []
    count = int(rng.integers(1, LAYERS + 1))
    while len(layers) < count:
        after = int(rng.choice(ZERO_POINTS))
        channels = int(rng.integers(1, 12))
        common = {"name": f"layer{len(layers)}", "index": len(layers), "tensor": -1, "input_zero_point": zero_point}
        kind = rng.choice(["dense", "depthwise", "pointwise", "pool", "full"], p=[0.2, 0.35, 0.3, 0.08, 0.07])
        if first and not layers:
            kind = first
        if kind == "dense":
            layer = _convolution(rng, common, shape, channels, KERNELS[rng.integers(len(KERNELS))], after)
        elif kind == "depthwise":
            layer = _depthwise(rng, common, shape, after)
        elif kind == "pointwise":
            layer = _convolution(rng, common, shape, channels, (1, 1), after)
        elif kind == "pool":
            layer, after = _pool(rng, common, shape, after)
        else:
            layer = _convolution(rng, common, shape, channels, shape[:2], after, fully_connected=True)
        layers.append(layer)
        shape, zero_point = layer.output_shape, after
        if prod(shape) > 700:
            break
    return Network("random", tuple(layers), 1.0, first_zero_point)


def random_engine(rng: np.random.Generator, network: Network, *, frugal: bool | None = None) -> EngineConfig:
    """Any small engine that takes the network's images.

    ``frugal``: of the kind that iCE40 parts get, with serial requantisers, single-port memories or few registers, each
    of them or not; by default one engine of three is."""
    columns, lanes = (int(rng.integers(1, 7)) for _ in range(2))
    requantisers = [r for r in range(1, 7) if columns % r == 0 and lanes % r == 0]
    _, width, channels = network.input_shape
    beats = [beat for beat in (1, 2, 4) if width * channels % beat == 0]
    windows = ((1, 1), (3, 3), (3, 3), (2, 1), (1, 3), (2, 2))
    rows = int(rng.integers(1, 6))
    config = EngineConfig(rows, columns, lanes, windows[rng.integers(len(windows))],
                          int(rng.choice(requantisers)), int(rng.choice(beats)), spread=int(rng.integers(2)),
                          copy_lanes=int(rng.integers(1, 10)), packing=2 if rows % 2 == 0 else 1)
    # By a generator of its own: either kind has the same shape, and leaves the same images to be drawn.
    rng = rng.spawn(1)[0]
    if frugal is None:
        frugal = rng.random() < 1 / 3
    if not frugal:
        return config
    slow, slow_lanes = (int(rng.choice([1, 3, 4, 5])) for _ in range(2))
    single_port, pipelined = (bool(rng.integers(2)) for _ in range(2))
    return replace(config, requantisers=config.requantisers if slow == 1 and pipelined else 1, requantiser_cycles=slow,
                   lane_cycles=slow_lanes, single_port=single_port, pipelined=pipelined)


def random_case(seed: int, frames: int = 3, *, frugal: bool | None = None) -> tuple[Network, EngineConfig, np.ndarray]:
    """Network, engine and int8 images of ``seed``; ``frugal`` as for :func:`random_engine`."""
    rng = np.random.default_rng(seed)
    network = random_network(rng)
    config = random_engine(rng, network, frugal=frugal)
    return network, config, rng.integers(-128, 128, (frames, *network.input_shape), np.int8)


def _max_pool(rng, common, shape, zero_point, *, structure=None) -> MaxPool:
    structure = structure or rng
    window = tuple(int(structure.integers(1, min(size, 5) + 1)) for size in shape[:2])
    stride = tuple(int(step) for step in structure.integers(1, 4, 2))
    padding, size = Padding(), tuple((n - k) // s + 1 for n, k, s in zip(shape, window, stride, strict=False))
    if structure.random() < 0.5:
        padding = Padding(*same_padding(shape[0], window[0], stride[0]), *same_padding(shape[1], window[1], stride[1]))
        size = tuple(-(-n // s) for n, s in zip(shape, stride, strict=False))
    channels = shape[2]
    multiplier, shift = np.full(channels, 1 << 30), np.ones(channels)
    if rng.random() < 0.3:
        # Of another scale than the map that is pooled, as ONNX may have it.
        multiplier, shift = quantize_multiplier(np.full(channels, rng.uniform(0.3, 1.7)))
    else:
        zero_point = common["input_zero_point"]
    low, high = sorted(int(bound) for bound in rng.integers(-128, 128, 2)) if rng.random() < 0.3 else (-128, 127)
    return MaxPool(**common, input_shape=shape, output_shape=(*size, channels), stride=stride, padding=padding,
                   window=window, requantise=Requantise(multiplier, shift, zero_point, low, high, Rounding.SINGLE))


def max_pool_case(seed: int, frames: int = 3, *, frugal: bool | None = None
                  ) -> tuple[Network, EngineConfig, np.ndarray]:
    """As :func:`random_case`, of networks with max pools among convolutions and depthwise layers, or of them alone."""
    rng = np.random.default_rng(seed)
    shape = tuple(int(size) for size in rng.integers(1, 9, 3))
    input_zero_point = zero_point = int(rng.choice(ZERO_POINTS))
    layers, count = [], int(rng.integers(1, LAYERS))
    always = int(rng.integers(count))
    for number in range(count):
        common = {"name": f"layer{number}", "index": number, "input_zero_point": zero_point}
        following = int(rng.choice(ZERO_POINTS))
        kind = rng.random() if number != always else 0.0
        if kind < 0.4:
            layer = _max_pool(rng, common, shape, following)
        elif kind < 0.7:
            layer = _depthwise(rng, common, shape, following)
        else:
            kernel = KERNELS[rng.integers(2)]
            layer = _convolution(rng, common, shape, int(rng.integers(1, 9)), kernel, following)
        layers.append(layer)
        shape, zero_point = layer.output_shape, layer.output_zero_point
    network = Network(f"pooled{seed}", tuple(layers), 1.0, input_zero_point)
    config = random_engine(rng, network, frugal=frugal)
    return network, config, rng.integers(-128, 128, (frames, *network.input_shape), np.int8)


def uint8_case(seed: int, frames: int = 3) -> tuple[Network, EngineConfig, np.ndarray]:
    """As :func:`random_case`, of weights with zero points, one for a layer or one for each output channel; every engine
    has a multiplier for each product."""
    network, config, images = random_case(seed, frames, frugal=False)
    rng = np.random.default_rng([seed, 2])
    layers = tuple(replace(layer, weight_zero_point=(
        int(rng.integers(-128, 128)) if rng.random() < 0.5 else rng.integers(-128, 128, layer.bias.size)))
        if isinstance(layer, Convolution | Depthwise) else layer for layer in network.layers)
    return replace(network, layers=layers), replace(config, packing=1), images


def wide_case(seed: int, frames: int = 3) -> tuple[Network, EngineConfig, np.ndarray]:
    """As :func:`random_case`, of images with many bytes to a window: vectors, images that the first layer's only window
    covers, and pixels of many channels."""
    rng = np.random.default_rng([seed, 1])
    kind = ("full", "pointwise", "depthwise", "dense")[seed % 4]
    if seed % 8 < 3:
        shape = (1, 1, int(rng.integers(17, 90)))
    else:
        height, width = (int(n) for n in rng.integers(1, 5, 2))
        shape = height, width, int(rng.integers(9, 40))
    network = random_network(rng, shape, kind)
    config = random_engine(rng, network)
    return network, config, rng.integers(-128, 128, (frames, *network.input_shape), np.int8)


def pointwise(shape: tuple[int, int, int], channels: int, *, around: tuple[int, int, int, int] = (0, 0, 0, 0),
              stride: tuple[int, int] = (1, 1)) -> Network:
    """A network of one 1x1 convolution, always the same weights; ``around`` as in :class:`Padding`."""
    rng, padding = np.random.default_rng(0), Padding(*around)
    size = (shape[0] + padding.top + padding.bottom - 1) // stride[0] + 1, (
        shape[1] + padding.left + padding.right - 1) // stride[1] + 1
    layer = Convolution(name="layer0", index=0, input_shape=shape, output_shape=(*size, channels), stride=stride,
                        padding=padding, input_zero_point=5,
                        weights=rng.integers(-128, 128, (channels, 1, 1, shape[2])),
                        bias=rng.integers(-999, 999, channels),
                        requantise=random_requantise(rng, channels, 5000 * np.sqrt(shape[2]), 0))
    return Network("pointwise", (layer,), 1.0, 5)


def with_sum(network: Network) -> Network:
    """``network`` and the sum of two maps that 1x1 convolutions make of what it gives."""
    last = network.layers[-1]
    shape, meaning = last.output_shape, (1.0, last.output_zero_point)
    arms = [Convolution(name=f"arm{number}", index=len(network.layers) + number, inputs=(len(network.layers) - 1,),
                        input_shape=shape, output_shape=shape, input_zero_point=meaning[1],
                        weights=np.eye(shape[2], dtype=np.int8).reshape(shape[2], 1, 1, -1), bias=np.zeros(shape[2]),
                        requantise=Requantise(np.full(shape[2], 1 << 30), np.ones(shape[2]), meaning[1]))
            for number in range(2)]
    count = len(network.layers) + 2
    total = Add.of_scales({"name": "sum", "index": count, "inputs": (count - 2, count - 1), "input_shape": shape,
                           "output_shape": shape}, meaning, meaning, (1.5, 3), -inf, inf)
    return replace(network, name="sum", layers=(*network.layers, *arms, total))


def depthwise(shape: tuple[int, int, int], kernels: list[tuple[int, int]]) -> Network:
    """A network of depthwise convolutions without padding, always the same weights."""
    rng, layers = np.random.default_rng(0), []
    for kernel in kernels:
        size = tuple(extent - taps + 1 for extent, taps in zip(shape, kernel, strict=False))
        layers.append(Depthwise(name=f"layer{len(layers)}", index=len(layers), input_shape=shape,
                                output_shape=(*size, shape[2]), input_zero_point=5,
                                weights=rng.integers(-128, 128, (*kernel, shape[2])),
                                bias=rng.integers(-999, 999, shape[2]),
                                requantise=random_requantise(rng, shape[2], 5000 * np.sqrt(prod(kernel)), 5)))
        shape = layers[-1].output_shape
    return Network("depthwise", tuple(layers), 1.0, 5)


def abreast(config: EngineConfig, most: int) -> EngineConfig:
    """The engine with as many columns side by side as divide those that it has, ``most`` at most."""
    return replace(config, columns_abreast=max(n for n in range(1, most + 1) if config.columns % n == 0))


def doubled(config: EngineConfig, lanes: int, groups: int, window: tuple[int, int]) -> EngineConfig:
    """The engine with ``lanes``, two words to a chunk, and ``groups`` chunks to a column group."""
    return replace(config, lanes=lanes, columns=2 * lanes * groups, requantisers=2 * lanes, window=window,
                   single_port=False, pipelined=True, requantiser_cycles=1, lane_cycles=1)


def chain(shape: tuple[int, int, int], count: int) -> Network:
    """A network of 1x1 convolutions and now and then a depthwise one, all of whose maps have the same ``shape``."""
    rng, layers = np.random.default_rng(0), []
    for number in range(count):
        common = {"name": f"layer{number}", "index": number, "input_shape": shape, "output_shape": shape,
                  "input_zero_point": 5, "bias": rng.integers(-999, 999, shape[2]),
                  "requantise": random_requantise(rng, shape[2], 9e4, 5)}
        if number % 3 == 2:
            layers.append(Depthwise(**common, padding=Padding(1, 1, 1, 1),
                                    weights=rng.integers(-128, 128, (3, 3, shape[2]))))
        else:
            layers.append(Convolution(**common, weights=rng.integers(-128, 128, (shape[2], 1, 1, shape[2]))))
    return Network("chain", tuple(layers), 1.0, 5)


def fast(cases, count: int) -> list:
    """``cases`` of a test, all but the first ``count`` slow: many find what few have missed, but rarely."""
    return [pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=pytest.mark.slow)
            if number >= count else case for number, case in enumerate(cases)]
