"""A fitted requantiser equals the exact rule at every accumulator that can occur."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tepal.hdl.affine import fit
from tepal.quant import Average, Requantise, Rounding

ALL = 1 << 17
"""Ranges up to this many accumulators are looked at one by one."""


@st.composite
def rules(draw):
    """A rule of one channel, the constant, and the range of the accumulator."""
    size = draw(st.integers(0, 26))
    low = -draw(st.integers(0, 1 << size))
    high = draw(st.integers(0, 1 << size))
    constant = draw(st.integers(-1 << size, 1 << size))
    minimum = draw(st.sampled_from([-128, -128, -3, 0, 127]))
    maximum = draw(st.integers(minimum, 127))
    if draw(st.booleans()) and high - low <= 128 << 10:
        return Average(draw(st.integers(1, 1 << 10)), minimum, maximum), constant, low, high
    # Whatever makes the range some results wide, give or take.
    shift = int(np.clip(draw(st.integers(-3, 4)) + 8 - size, -31, 12))
    multiplier = draw(st.one_of(st.just(0), st.integers(1 << 30, (1 << 31) - 1), st.just(1 << 30),
                                st.integers(1, 1 << 31)))
    return Requantise([multiplier], [shift], draw(st.integers(-128, 127)), minimum, maximum,
                      draw(st.sampled_from(Rounding))), constant, low, high


def points(rule, constant, low, high) -> np.ndarray:
    """All accumulators, or those around every step, found by bisection, and others at random."""
    if high - low < ALL:
        return np.arange(low, high + 1)
    levels = np.arange(-128, 128)
    below, reached = np.full(256, low), np.full(256, high)
    while np.any(reached - below > 1):
        middle = (below + reached) // 2
        hit = rule(middle[:, None] + constant)[:, 0] >= levels
        below, reached = np.where(hit, below, middle), np.where(hit, middle, reached)
    around = (reached[:, None] + np.arange(-2, 3)).reshape(-1)
    others = np.random.default_rng(0).integers(low, high + 1, 5000)
    return np.clip(np.concatenate([around, others, [low, high]]), low, high)


@settings(max_examples=300)
@given(rules())
def test_fit(case):
    rule, constant, low, high = case
    affine = fit(rule, np.array([constant]), np.array([low]), np.array([high]))
    acc = points(rule, constant, low, high)[:, None]
    assert (affine(acc) == rule(acc + constant)).all()
    assert (affine.widen(affine.fraction + 5)(acc) == rule(acc + constant)).all()
    assert affine.multiplier[0] >= 0
    assert 0 <= affine.fraction <= 31


@pytest.mark.parametrize("rounding", Rounding)
def test_channels_are_independent(rounding):
    """Dead, constant, saturating and shifting-left channels side by side."""
    multiplier = np.array([0, 1 << 30, (1 << 31) - 1, 1 << 30, 1234567890, 5])
    shift = np.array([0, -7, -3, 3, -9, -2])
    constant = np.array([100, -3000, 0, 1, 77777, 0])
    low, high = np.array([-500, -4000, -90000, -40, -900, -10]), np.array([500, 4000, 0, 40, 90000, 10])
    rule = Requantise(multiplier, shift, -5, -100, 90, rounding)
    affine = fit(rule, constant, low, high)
    for channel in range(len(low)):
        acc = np.arange(low[channel], high[channel] + 1)
        padded = np.zeros((len(acc), len(low)), np.int64)
        padded[:, channel] = acc
        assert (affine(padded)[:, channel] == rule(padded + constant)[:, channel]).all()


@pytest.mark.parametrize("seed", range(6))
def test_many_channels(seed):
    """Short ranges, all of every one: where the narrowest multiplier that fits is hard to find."""
    rng = np.random.default_rng(seed)
    channels, reach = 400, 2000
    multiplier, shift = rng.integers(1 << 30, 1 << 31, channels), rng.integers(-9, -1, channels)
    constant = rng.integers(-reach, reach, channels)
    low, high = -rng.integers(0, reach, channels), rng.integers(0, reach, channels)
    rule = Requantise(multiplier, shift, int(rng.integers(-128, 128)), rounding=list(Rounding)[seed % 2])
    if seed < 2:
        rule = Average(int(rng.integers(1, 50)))
    affine = fit(rule, constant, low, high)
    acc = np.arange(-reach, reach)[:, None]
    inside = (acc >= low) & (acc <= high)
    assert ((affine(acc) == rule(acc + constant)) | ~inside).all()
