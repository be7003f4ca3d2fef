# SPDX-License-Identifier: Apache-2.0
"""The requantiser computes the exact rule, one value a cycle, ``latency`` cycles late."""

from dataclasses import replace

import numpy as np
import pytest
from networks import fast, random_requantise
from stepping import trace
from tepal.hdl.units.affine import find_affine
from tepal.hdl.units.requantiser import Requantiser, RequantiserFormat
from tepal.hdl.units.serial_requantiser import ParameterRom, SerialFormat, SerialRequantiser
from tepal.quant import Average, Requantise

CYCLES = 1500


def reachable(rng, rule, constant, low, high):
    """Random accumulators and channels, half of them beside a step of the rule."""
    channel = rng.integers(len(constant), size=CYCLES)
    acc = rng.integers(low[channel], high[channel] + 1)
    values = rule(np.arange(low.min(), high.max() + 1)[:, None] + constant)
    for i in range(0, CYCLES, 2):
        steps = np.flatnonzero(np.diff(values[:, channel[i]])) + low.min()
        if len(steps):
            acc[i] = np.clip(rng.choice(steps) + rng.integers(-1, 3), low[channel[i]], high[channel[i]])
    return channel, acc


def values(rng, **options):
    """Channels of three layers in turn: (proved requantisers, bits of an accumulator, layer, channel, accumulator and
    result of each value)."""
    channels, layers = 5, []
    for _ in range(3):
        spread = 10 ** rng.uniform(1, 4)
        reach = rng.integers(0, int(8 * spread), (2, channels))
        rule = random_requantise(rng, channels, spread, int(rng.integers(-128, 128)))
        if rng.random() < 0.3:
            rule = Average(int(rng.integers(1, 2 * spread)))
        layers.append((rule, rng.integers(-int(spread), int(spread), channels), -reach[0], reach[1]))
    affines = [find_affine(*layer, **options) for layer in layers]
    width = 1 + int(max(max(-low.min(), high.max() + 1) for _, _, low, high in layers)).bit_length()
    layer = rng.integers(len(layers), size=CYCLES)
    channel, acc = (np.choose(layer, choices) for choices in zip(
        *(reachable(rng, *layer) for layer in layers), strict=True))
    expected = [int(layers[n][0](layers[n][1] + a)[c]) for n, c, a in zip(layer, channel, acc, strict=True)]
    return affines, width, layer, channel, acc, expected


@pytest.mark.parametrize(("seed", "hard"), [*((seed, 0) for seed in range(6)), (0, 18), (1, 16), (2, 9)])
def test_requantiser(seed, hard):
    """Parameters change in every cycle."""
    affines, width, layer, channel, acc, expected = values(np.random.default_rng(seed))
    fmt = replace(RequantiserFormat.of(affines, width), hard=hard)
    words = [fmt.words(affine) for affine in affines]
    unit = Requantiser(fmt)
    rows = trace(unit, CYCLES, lambda cycle: [
        (unit.acc, acc[cycle]), (unit.parameters.as_value(), words[layer[cycle]][channel[cycle]])], [unit.result])
    latency = Requantiser.latency(fmt)
    assert [value for value, in rows[latency:]] == expected[:CYCLES - latency]


@pytest.mark.parametrize(("accumulator", "multiplier", "hard"), [
    (21, 25, 18), (19, 23, 18), (21, 25, 16), (18, 17, 18), (16, 1, 9), (24, 8, 9), (17, 31, 18), (19, 17, 18),
    (21, 25, 0)])
def test_extremes(accumulator, multiplier, hard):
    """Accumulators and parameters of all their bits, half of them with the values at the ends of their ranges and
    beside the bits between which a hardware multiplier and logic share the product."""
    rng = np.random.default_rng([accumulator, multiplier, hard])
    modes = (False, 3, -128, 127), (True, -128, -100, 101)
    fmt = RequantiserFormat(accumulator, multiplier, accumulator + multiplier - 1, accumulator + multiplier - 10,
                            (0, 1, 5), modes, hard)
    unit = Requantiser(fmt)

    def drawn(bits: int, sign: int):
        low, high = -(sign << bits - 1), (1 << bits - sign) - 1
        edges = [low, high, 0, 1, low + 1, *((1 << place) - less for place in range(1, bits - sign) for less in (0, 1))]
        return np.where(rng.random(CYCLES) < 0.5, rng.choice(edges, CYCLES), rng.integers(low, high + 1, CYCLES))

    acc = drawn(accumulator, 1)
    words = [fmt.layout.const({"multiplier": int(factor), "offset": int(offset), "right": int(right), "mode": int(mode)}
                              ).as_value().value
             for factor, offset, right, mode in zip(drawn(multiplier, 0), drawn(fmt.offset, 1),
                                                    rng.integers(3, size=CYCLES), rng.integers(2, size=CYCLES),
                                                    strict=True)]
    rows = trace(unit, CYCLES + fmt.latency, lambda cycle: [
        (unit.acc, acc[min(cycle, CYCLES - 1)]), (unit.parameters.as_value(), words[min(cycle, CYCLES - 1)])],
        [unit.result])
    found = [value for value, in rows[fmt.latency:]]
    assert found == fmt.requantise(words, acc).tolist()
    assert len(set(found)) > 100


@pytest.mark.parametrize("one_shift", [False, True])
@pytest.mark.parametrize(("cycles", "digits"), [(3, 0), (4, 0), (7, 0), (3, 7), (3, 13)])
@pytest.mark.parametrize("seed", fast(range(4), 2))
def test_serial(seed, cycles, digits, one_shift):
    """Values follow each other at once or later; parameters are right only while they must be."""
    rng = np.random.default_rng(seed)
    affines, width, layer, channel, acc, expected = values(rng, one_shift=one_shift)
    fmt = SerialFormat.of(affines, width, cycles)
    if digits:
        # As for a longer multiplier, whose digits are added up when the next value's parameters are there.
        fmt = replace(fmt, digits=digits, total=max(fmt.total, 1 + 2 * digits * cycles))
        assert fmt.levels >= cycles
    words = [fmt.words(affine) for affine in affines]
    starts = np.cumsum(cycles + rng.integers(0, 3, 200) * rng.integers(0, 2, 200))
    value = {int(start): number for number, start in enumerate(starts)}
    unit = SerialRequantiser(fmt)

    def drive(cycle):
        now = value.get(cycle)
        yield unit.start, now is not None
        yield unit.acc, rng.integers(-4, 4) if now is None else acc[now]
        using = next((value[cycle - ago] for ago in range(cycles) if cycle - ago in value), None)
        yield unit.parameters.as_value(), (rng.integers(1 << 20) if using is None
                                           else words[layer[using]][channel[using]])

    rows = trace(unit, int(starts[-1]) + fmt.latency + 1, drive, [unit.result, unit.advance])
    assert [rows[start + fmt.latency][0] for start in starts] == expected[:len(starts)]
    assert [cycle for cycle, row in enumerate(rows) if row[1]] == [start + cycles - 1 for start in starts]
    # A result stays until the next one.
    assert all(rows[later + fmt.latency - 1][0] == expected[number] for number, later in enumerate(starts[1:]))


def test_parameter_rom():
    """Passages of parts, each repeated."""
    rom = ParameterRom("words", 8, list(range(100, 110)))
    moves = [  # (what goes beside the advance, word that follows)
        ("", 101), ("repeat", 100), ("", 101), ("onward", 102), ("", 103), ("repeat", 102), ("", 103),
        ("rewind", 100), ("", 101), ("repeat", 100), ("", 101), ("onward", 102), ("", 103), ("commit", 104),
        ("", 105), ("rewind", 104), ("", 105), ("onward", 106), ("repeat", 106), ("restart", 100), ("", 101),
        ("repeat", 100), ("rewind", 100)]

    def drive(cycle):
        # One cycle for the first word; every move is followed by a cycle of rest.
        number, moving = divmod(cycle, 2)
        yield rom.advance, moving
        for name in ("repeat", "onward", "rewind", "commit", "restart"):
            yield getattr(rom, name), bool(moving) and moves[number][0] == name

    rows = trace(rom, 2 * len(moves), drive, [rom.data])
    assert [row[0] for row in rows[2::2]] == [word for _, word in moves[:-1]]


def test_format_of_nothing():
    """A network without depthwise layers still has its requantisers: they do no harm."""
    fmt = RequantiserFormat.of([], 16)
    unit = Requantiser(fmt)
    assert trace(unit, 10, lambda cycle: [(unit.acc, cycle)], [unit.result])[-1] == [0]


@pytest.mark.parametrize("cycles", [3, 4])
@pytest.mark.parametrize("zero_point", [127, -3, 0])
def test_serial_constant(zero_point, cycles):
    """Channels that all have the factor 0 under a rule that rounds halves away from zero: the result is the zero point
    alone, and there is no second rounding to add it with."""
    affine = find_affine(Requantise(np.zeros(2), np.full(2, -3), zero_point), np.array([53, -9]), np.full(2, -2000),
                         np.full(2, 2000), one_shift=True)
    fmt = SerialFormat.of([affine], 16, cycles)
    unit, word = SerialRequantiser(fmt), fmt.words(affine)[0]
    rows = trace(unit, 40, lambda cycle: [(unit.start, cycle % 10 == 0), (unit.acc, 100 - cycle),
                                          (unit.parameters.as_value(), word)], [unit.result])
    assert {value for value, in rows[10 + fmt.latency:]} == {zero_point}
