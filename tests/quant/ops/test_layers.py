# SPDX-License-Identifier: Apache-2.0
"""What is asked of every kind of layer: the range of its sums, its float twin, factors, and its own size again."""

from dataclasses import replace

import numpy as np
import pytest
from networks import random_network
from tepal.quant import (
    AveragePool,
    Convolution,
    Depthwise,
    FloatAveragePool,
    FloatConvolution,
    FloatDepthwise,
    FloatLayer,
    Layer,
    Padding,
    Requantise,
)
from tepal.quant.layer import Place
from tepal.quant.ops.average_pool import Average

SEEDS = range(25)
RULE = Requantise([1 << 30] * 3, [-8] * 3, 5)
SMALL = {"name": "a", "index": 0, "input_shape": (4, 3, 3), "output_shape": (1, 1, 3)}


def layers(seed: int) -> tuple[Layer, ...]:
    return random_network(np.random.default_rng(seed)).layers


def images(layer: Layer, rng: np.random.Generator, frames: int = 4) -> np.ndarray:
    """Random ones, and the two of extremes."""
    x = rng.integers(-128, 128, (frames, *layer.input_shape), dtype=np.int8)
    x[0], x[1] = -128, 127
    return x


def one_window(kind: type[Layer], rng: np.random.Generator) -> Layer:
    """A layer of this ``kind`` whose only window is its whole input."""
    if kind is AveragePool:
        return AveragePool(**SMALL, input_zero_point=-7, window=(4, 3), bias=rng.integers(-99, 99, 3),
                           requantise=Average(12))
    shape = (3, 4, 3, 3) if kind is Convolution else (4, 3, 3)
    return kind(**SMALL, input_zero_point=-7, weights=rng.integers(-128, 128, shape), bias=rng.integers(-99, 99, 3),
                requantise=RULE)


@pytest.mark.parametrize("kind", [Convolution, Depthwise, AveragePool])
def test_range_is_reached(kind):
    """By the image of extremes that each channel's weights ask for, with one input channel held."""
    layer = one_window(kind, np.random.default_rng(0))
    held = np.array([np.nan, 30, np.nan])
    low, high = layer.sum_range(held)
    weights = np.ones((4, 3, 3)) if kind is AveragePool else layer.weights
    for channel in range(3):
        signs = weights[channel] if kind is Convolution else weights
        x = np.where(np.stack([signs < 0, signs > 0]), 127, -128).astype(np.int8)
        x[..., 1] = 30
        assert layer.accumulate(x)[:, 0, 0, channel].tolist() == [low[channel], high[channel]]
    if kind is not Convolution:
        assert low[1] == high[1]


@pytest.mark.parametrize("seed", SEEDS)
def test_sums_stay_in_their_range(seed):
    rng = np.random.default_rng(seed)
    for layer in layers(seed):
        held = np.where(rng.random(layer.input_shape[2]) < 0.5, rng.integers(-128, 128, layer.input_shape[2]), np.nan)
        if rng.random() < 0.5:
            held = np.where(np.isnan(held), held, layer.input_zero_point)
        x = images(layer, rng)
        x = np.where(np.isnan(held), x, np.nan_to_num(held)).astype(np.int8)
        low, high = layer.sum_range(held)
        total = layer.accumulate(x)
        assert ((low <= total) & (total <= high)).all()
        constants = layer.constants(held)
        assert (np.isnan(constants) | (layer(x) == np.nan_to_num(constants))).all()


@pytest.mark.parametrize("seed", SEEDS)
def test_own_size_again(seed):
    """At its own place a layer is what it is."""
    rng = np.random.default_rng(seed)
    for layer in layers(seed):
        place = Place(layer.input_shape, layer.output_shape, layer.kernel, layer.stride, layer.padding)
        same, x = layer.resized(place), images(layer, rng)
        assert (same(x) == layer(x)).all()
        assert layer.parameters_at(place) == layer.parameters == same.parameters


def float_layers() -> list[FloatLayer]:
    rng = np.random.default_rng(1)
    shape = {"name": "b", "index": 4, "input_shape": (5, 4, 3), "output_shape": (5, 4, 3)}
    bias, padding = rng.normal(size=3), Padding(1, 1, 1, 1)
    return [FloatConvolution(**shape, weights=rng.normal(size=(3, 3, 3, 3)), bias=bias, padding=padding),
            FloatDepthwise(**shape, weights=rng.normal(size=(3, 3, 3)), bias=bias, padding=padding),
            FloatAveragePool(**shape | {"output_shape": (4, 3, 3)}, window=(2, 2))]


@pytest.mark.parametrize("layer", float_layers(), ids=lambda layer: type(layer).__name__)
def test_twins(layer):
    """The integer layer has the same shape and means the same numbers, and its weights are those it was made of."""
    x = np.random.default_rng(2).normal(size=(6, *layer.input_shape)).astype(np.float32)
    source, result = (float(np.float32(0.05)), 3), (float(np.float32(0.125)), -4)
    integer = layer.quantised(9, result, source)
    assert (integer.kernel, integer.macs, integer.parameters) == (layer.kernel, layer.macs, layer.parameters)
    assert (integer.name, integer.index, integer.tensor) == ("b", 9, -1)
    assert (integer.input_zero_point, integer.output_scale, integer.output_zero_point) == (3, result[0], -4)
    codes = np.clip(np.rint(x / source[0]) + 3, -128, 127).astype(np.int8)
    exact = layer.rounded(result, source)((codes.astype(np.float32) - 3) * np.float32(source[0]))
    assert np.array_equal(exact, layer.rounded_as(integer)((codes.astype(np.float32) - 3) * np.float32(source[0])))
    inside = np.abs(exact) < 10
    assert inside.mean() > 0.5
    assert np.abs(result[0] * (integer(codes).astype(float) + 4) - exact)[inside].max() < 0.52 * result[0]


@pytest.mark.parametrize("layer", float_layers()[:2], ids=lambda layer: type(layer).__name__)
def test_factors_and_corrections(layer):
    assert layer.takes_factors
    x = np.random.default_rng(2).normal(size=(2, *layer.input_shape)).astype(np.float32)
    factor = np.array([0.25, 2, 8])
    np.testing.assert_allclose(layer.multiplied(factor)(x), layer((x * factor).astype(np.float32)), rtol=1e-4,
                               atol=1e-5)
    bounded = replace(layer, minimum=0.0, maximum=6.0)
    np.testing.assert_allclose(bounded.divided(factor)(x), np.maximum(layer(x), 0) / factor, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(layer.corrected(factor)(x), layer(x) + factor, rtol=1e-4, atol=1e-5)


def test_pools_take_neither():
    pool = float_layers()[2]
    assert not pool.takes_factors
    assert pool.corrected(np.ones(3)) is None
    assert pool.typical_bias is None
    assert pool.rounded((1.0, 0), (1.0, 0)) is pool
