# SPDX-License-Identifier: Apache-2.0
"""A fitted requantiser equals the exact rule at every accumulator that can occur."""

import inspect
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tepal.hdl.units import affine as affine_module
from tepal.hdl.units.affine import Sums, find_affine, find_affines
from tepal.hdl.units.requantiser import RequantiserFormat
from tepal.hdl.units.serial_requantiser import SerialFormat
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
    affine = find_affine(rule, np.array([constant]), np.array([low]), np.array([high]))
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
    affine = find_affine(rule, constant, low, high)
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
    affine = find_affine(rule, constant, low, high)
    acc = np.arange(-reach, reach)[:, None]
    inside = (acc >= low) & (acc <= high)
    assert ((affine(acc) == rule(acc + constant)) | ~inside).all()


@st.composite
def layers(draw):
    """(rule, constant, low, high) of one to five channels with ranges so short that every accumulator is looked at:
    narrow clamps, few steps, powers of two (ties), left shifts, multipliers of zero, averages."""
    channels = draw(st.integers(1, 5))

    def each(strategy):
        return np.array(draw(st.lists(strategy, min_size=channels, max_size=channels)))

    minimum = draw(st.sampled_from([-128, -128, -5, 0, 3, 126]))
    maximum = min(127, minimum + draw(st.sampled_from([0, 1, 2, 7, 255, 255])))
    reach = draw(st.sampled_from([3, 40, 300]))
    constant, low, high = each(st.integers(-reach, reach)), -each(st.integers(0, reach)), each(st.integers(0, reach))
    if draw(st.integers(0, 3)) == 0:
        rule = Average(draw(st.integers(1, 64)), minimum, maximum)
    else:
        multiplier = each(st.one_of(st.sampled_from([0, 1 << 30, 1 << 30, 3 << 29]),
                                    st.integers(1 << 30, (1 << 31) - 1)))
        rule = Requantise(multiplier, each(st.integers(-9, 5)), draw(st.integers(-128, 127)), minimum, maximum,
                          draw(st.sampled_from(Rounding)))
    return rule, constant, low, high


def differences(function, rule, constant, low, high) -> list[int]:
    """Channels on whose range ``function`` is not the rule, all of every range looked at."""
    acc = np.arange(low.min(), high.max() + 1)[:, None]
    inside = (acc >= low) & (acc <= high)
    return np.flatnonzero(((function(acc) != rule(acc + constant)) & inside).any(axis=0)).tolist()


@settings(max_examples=400)
@given(layers(), st.booleans(), st.integers(0, 9))
def test_few_steps(case, one_shift, more):
    """Any offset within the slack is right, and so is what is made of it: more fraction, both formats' words."""
    affine = find_affine(*case, one_shift=one_shift)
    different = affine.fraction + np.arange(len(case[1]))
    for function in (affine, affine.widen(affine.fraction + more), affine.widen(different)):
        assert differences(function, *case) == []
        assert differences(replace(function, offset=function.offset + function.slack), *case) == []
    for fmt in (RequantiserFormat.of([affine], 16), SerialFormat.of([affine], 16, 3)):
        words = fmt.words(affine)
        assert differences(partial(fmt.requantise, words), *case) == []


def same(one, other) -> bool:
    """Whether two requantisers have the same parameters, and the same steps to keep to."""
    return all(np.array_equal(getattr(one, name), getattr(other, name))
               for name in ("multiplier", "offset", "right", "slack", "fraction")) and np.array_equal(
        one.exact.steps, other.exact.steps)


@given(layers(), st.booleans(), st.data())
def test_moved_and_found_again(case, one_shift, data):
    """What was found for other sums of the same rule is what a search of its own finds."""
    rule, constant, low, high = case
    affine = find_affine(*case, one_shift=one_shift)
    more = np.array(data.draw(st.lists(st.integers(-500, 500), min_size=len(constant), max_size=len(constant))))
    elsewhere = rule, constant - more, low + more, high + more
    moved = affine.moved(constant - more)
    assert same(moved, find_affine(*elsewhere, one_shift=one_shift))
    assert differences(moved, *elsewhere) == []
    assert same(find_affine(*elsewhere, one_shift=not one_shift, exact=moved.exact),
                find_affine(*elsewhere, one_shift=not one_shift))


@settings(max_examples=100)
@given(st.lists(layers(), max_size=5), st.booleans())
def test_layers_side_by_side(cases, one_shift):
    """Of other clamps, so many levels and shifts, some constant: each as if it were alone."""
    found = find_affines([Sums(*case) for case in cases], one_shift=one_shift)
    for affine, case in zip(found, cases, strict=True):
        assert same(affine, find_affine(*case, one_shift=one_shift))


@pytest.mark.parametrize("seed", range(4))
def test_fewest_bits(seed):
    """With a bit less no multiplier near the factor has an offset, whichever channels were thought to be the hardest
    ones: all channels are asked, at every accumulator."""
    rng = np.random.default_rng(seed)
    channels, reach = 60, 400
    case = (Requantise(rng.integers(1 << 30, 1 << 31, channels), rng.integers(-4, -1, channels), 0,
                       rounding=Rounding.SINGLE),
            rng.integers(-reach, reach, channels), -rng.integers(0, reach, channels), rng.integers(0, reach, channels))
    affine = find_affine(*case, one_shift=True)
    bits, acc = affine.fraction - 1, np.arange(-reach, reach)
    nearest = np.rint(np.ldexp(case[0].factor, bits)).astype(np.int64)
    exact = np.zeros(channels, bool)
    for near in range(-1, 2):
        for channel in np.flatnonzero(~exact):
            inside = acc[(acc >= case[2][channel]) & (acc <= case[3][channel])]
            wanted = case[0].select([channel])(inside[:, None] + case[1][channel])[:, 0].astype(np.int64)
            # The offsets that are right for each accumulator are a range, wherever the clamp begins.
            low = np.where(wanted > -128, (wanted << bits) - inside * (nearest[channel] + near), -1 << 62)
            high = np.where(wanted < 127, (wanted + 1 << bits) - 1 - inside * (nearest[channel] + near), 1 << 62)
            exact[channel] = low.max() <= high.min()
    assert not exact.all()


def test_layers_are_named():
    """What is wrong with one of several layers is said of that one."""
    rule = Requantise([1 << 30, 1234567890], [-5, -6], 3)
    case = rule, np.array([7, -90]), np.array([-3000, -5000]), np.array([4000, 3000])
    right = find_affine(*case).exact
    wrong = replace(right, steps=right.steps + np.array([0, 1]))
    with pytest.raises(ArithmeticError, match=r"^pass 8: channel 1 "):
        find_affines([Sums(*case, right, "pass 7"), Sums(*case, wrong, "pass 8")])


@settings(max_examples=400)
@given(layers(), st.data())
def test_check_is_a_proof(case, data):
    """A requantiser that is a little off is refused if, and only if, it is wrong for some accumulator that can occur;
    places of steps that are wrong never let a wrong one pass."""
    affine = find_affine(*case)
    channel = data.draw(st.integers(0, len(case[1]) - 1))
    change = np.zeros(len(case[1]), np.int64)
    change[channel] = data.draw(st.integers(-3, 3)) << data.draw(st.integers(0, affine.fraction + 1))
    field = data.draw(st.sampled_from(["offset", "multiplier", "zero_point", "minimum", "maximum"]))
    if field in ("offset", "multiplier"):
        wrong = replace(affine, **{field: np.maximum(getattr(affine, field) + change, 0) if field == "multiplier"
                                   else affine.offset + change})
    else:
        wrong = replace(affine, **{field: getattr(affine, field) + data.draw(st.integers(-1, 1))})
    channels = differences(wrong, *case)
    if channels:
        with pytest.raises(ArithmeticError, match=f"channel {channels[0]} "):
            affine.exact.check(wrong)
    else:
        affine.exact.check(wrong)
    elsewhere = replace(affine.exact, steps=np.clip(affine.exact.steps + data.draw(st.integers(-400, 400)), *case[2:]))
    try:
        elsewhere.check(wrong)
    except ArithmeticError:
        return
    assert not channels


def test_a_wrong_derivation_is_refused():
    """``find_affine`` with a mistake in how it derives its parameters says so, instead of giving back what is wrong."""
    source = inspect.getsource(affine_module)
    right = "where=numbers <= first)"
    assert source.count(right) == 1
    mistaken: dict = {}
    exec(source.replace(right, "where=numbers <= first + 1)"), mistaken)
    rng, refused = np.random.default_rng(0), 0
    for _ in range(100):
        constant, low, high = rng.integers(-300, 300, 4), -rng.integers(0, 300, 4), rng.integers(0, 300, 4)
        rule = Requantise(rng.integers(1 << 30, 1 << 31, 4), rng.integers(-9, 0, 4), int(rng.integers(-128, 128)))
        find_affine(rule, constant, low, high)
        try:
            affine = mistaken["find_affine"](rule, constant, low, high)
        except ArithmeticError:
            refused += 1
        else:
            assert differences(affine, rule, constant, low, high) == []
    assert refused > 3


def test_wrong_words_are_refused():
    """What is checked is what the hardware gets."""
    rule = Requantise([1 << 30, 1234567890], [-5, -6], 3)
    affine = find_affine(rule, np.array([7, -90]), np.array([-3000, -5000]), np.array([4000, 3000]))
    more = np.array([0, 1])
    parallel, serial = RequantiserFormat.of([affine], 16), SerialFormat.of([affine], 16, 4)
    # All bits of the offset are stored, so that it is the largest one of all.
    serial = replace(serial, offset=serial.offset + serial.zeros, zeros=0)
    for fmt, wrong in ((parallel, replace(affine, offset=affine.offset + more * (affine.slack + 1))),
                       (parallel, replace(affine, multiplier=affine.multiplier + more)),
                       (serial, replace(affine, slack=affine.slack + more))):
        fmt.words(affine)
        with pytest.raises(ArithmeticError, match="channel 1 "):
            fmt.words(wrong)


def test_sums_beyond_64_bits():
    """Far beyond the clamp sums may be wider than numpy's integers; results are right all the same."""
    rule = Requantise([(1 << 31) - 1, 1 << 30], [12, -14], 0)
    case = rule, np.zeros(2, np.int64), np.array([-1 << 19, -1 << 22]), np.array([1 << 19, 1 << 22])
    affine = find_affine(*case).widen(34)
    acc = np.array([[-1 << 19, -1 << 22], [-1, -8193], [0, -8192], [1, 8192], [1 << 19, 1 << 22]])
    assert (1 << 19) * int(affine.multiplier[0]) >= 1 << 63
    assert (affine(acc) == rule(acc)).all()
    assert (affine(acc[:, :1] * [1, 0]) == rule(acc[:, :1] * [1, 0])).all()
