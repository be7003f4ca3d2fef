# SPDX-License-Identifier: Apache-2.0
"""The fixed-point rules against plain-integer and exact-fraction definitions of them."""

from fractions import Fraction
from math import floor

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import example, given
from tepal.quant.arithmetic import (
    Rounding,
    accumulator_range,
    fit_single_rounding,
    multiply_by_quantized_multiplier,
    quantize_multiplier,
    round_half_away_divide,
)

int32 = st.integers(-(1 << 31), (1 << 31) - 1)
reals = st.floats(2.0**-40, 2.0**20)


def half_up(value: Fraction) -> int:
    return (value + Fraction(1, 2)).__floor__()


def half_away(value: Fraction) -> int:
    return half_up(value) if value >= 0 else -half_up(-value)


@given(int32, st.integers(0, (1 << 31) - 1), st.integers(-31, 30))
def test_single_rounding_is_half_up(acc, multiplier, shift):
    got = multiply_by_quantized_multiplier(acc, multiplier, shift, Rounding.SINGLE)
    assert got == half_up(Fraction(acc * multiplier) * Fraction(2) ** (shift - 31))


@given(int32, st.integers(0, (1 << 31) - 1), st.integers(-31, 30))
def test_double_rounding_is_half_up_then_half_away(acc, multiplier, shift):
    acc >>= max(shift, 0)
    high = half_up(Fraction((acc << max(shift, 0)) * multiplier, 1 << 31))
    got = multiply_by_quantized_multiplier(acc, multiplier, shift, Rounding.DOUBLE)
    assert got == half_away(Fraction(high, 1 << max(-shift, 0)))


@given(int32, st.integers(1, 1 << 16))
def test_average_is_half_away(total, count):
    assert round_half_away_divide(total, count) == half_away(Fraction(total, count))


@given(reals)
@example(1.0)
@example(2.0**-32)
@example(1 - 2.0**-40)
@example(2.0**-33)
def test_quantize_multiplier_is_the_nearest(real):
    multiplier, shift = (int(number) for number in quantize_multiplier(real))
    if multiplier == 0:
        assert shift == 0
        assert real < 2.0**-32
    else:
        assert 1 << 30 <= multiplier < 1 << 31
        unit = Fraction(2) ** (shift - 31)
        assert abs(multiplier * unit - Fraction(real)) <= unit / 2


@pytest.mark.parametrize("real", [0.5, 2.0**-9, 3 * 2.0**-7, 0.1, 0.0123, 1.5, 2.0**-33])
def test_fitted_multiplier_rounds_like_float64(real):
    """Half away from zero on both sides, where the nearest multiplier rounds negative ties up."""
    acc = np.arange(-40_000, 40_000)
    multiplier, shift, fits = fit_single_rounding([real], acc[:1], acc[-1:], -200, 200)
    expected = [half_away(Fraction(value) * Fraction(real)) for value in acc.tolist()]
    got = multiply_by_quantized_multiplier(acc, multiplier, shift, Rounding.SINGLE)
    assert fits.all()
    assert np.array_equal(np.clip(got, -200, 200), np.clip(expected, -200, 200))


@pytest.mark.parametrize("middle", [254.5, 128.5, -254.5, -128.5])
def test_fitted_multipliers_on_both_sides_of_a_step(middle):
    """Of sums near 2**31 a multiplier that is right on one side of a step may be wrong on the other; where the middle
    is an integer, a tie, or float64 makes it one, that side is the accumulator before it or the second behind it."""
    steps = np.random.default_rng(0).integers(1 << 30, (1 << 31) - 16, 4000)
    real = abs(middle) / steps
    real = np.concatenate([real, np.nextafter(real, 0), np.nextafter(real, 1)])
    acc = int(np.sign(middle)) * np.tile(steps, 3)[:, None] + np.arange(-8, 9)
    clamp = floor(middle), floor(middle) + 1
    multiplier, shift, fits = fit_single_rounding(real, acc[:, 0], acc[:, -1], *clamp)
    got = multiply_by_quantized_multiplier(acc, multiplier[:, None], shift[:, None], Rounding.SINGLE)
    scaled = acc * real[:, None]
    wanted = np.sign(scaled) * np.floor(np.abs(scaled) + 0.5)
    wrong = (np.clip(got, *clamp) != np.clip(wanted, *clamp)).any(axis=1)
    assert 0.2 < fits.mean() < 1
    assert not wrong[fits].any()
    assert wrong[~fits].all()


def test_scales_fit_up_to_sums_of_2000_products():
    real = np.exp(np.random.default_rng(0).uniform(np.log(2.0**-20), 0, 1000))
    *_, fits = fit_single_rounding(real, np.full(1000, -(1 << 26)), np.full(1000, 1 << 26), -255, 255)
    assert fits.all()


def test_large_sums_take_a_longer_multiplier():
    multiplier, *_, fits = fit_single_rounding(np.geomspace(2.0**-17, 2.0**-16, 50), np.full(50, -(1 << 25)),
                                               np.full(50, 1 << 25), -255, 255)
    assert fits.all()
    assert (multiplier >= 1 << 31).any()
    assert (multiplier < 1 << 36).all()


def test_a_scale_that_does_not_fit_is_reported():
    """Steps near 2**31 lie closer together than 31 bits can tell apart, and longer products leave int64."""
    *_, fits = fit_single_rounding([2.0**-24 / 0.7], [-(1 << 31) + 1], [(1 << 31) - 1], -255, 255)
    assert not fits.any()


@given(st.lists(st.integers(-128, 127), min_size=1, max_size=6), int32, st.integers(-128, 127),
       st.integers(0, 2**32 - 1))
def test_accumulator_range_is_reached_and_never_left(weights, bias, zero_point, seed):
    weights = np.array(weights)
    (low,), (high,) = accumulator_range(weights[None], [bias], zero_point)
    worst = np.where(weights > 0, -128, 127)
    assert low == bias + weights @ (worst - zero_point)
    assert high == bias + weights @ (-1 - worst - zero_point)
    x = np.random.default_rng(seed).integers(-128, 128, len(weights))
    assert low <= bias + weights @ (x - zero_point) <= high
    assert low <= bias <= high
