"""The requantiser computes the exact rule, one value a cycle, ``latency`` cycles late."""

import numpy as np
import pytest
from networks import random_requantise
from stepping import trace
from tepal.hdl.affine import fit
from tepal.hdl.requantiser import Requantiser, RequantiserFormat
from tepal.quant import Average

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


@pytest.mark.parametrize("seed", range(6))
def test_requantiser(seed):
    """Channels of three layers in turn, their parameters changing in every cycle."""
    rng = np.random.default_rng(seed)
    channels, layers = 5, []
    for _ in range(3):
        spread = 10 ** rng.uniform(1, 4)
        reach = rng.integers(0, int(8 * spread), (2, channels))
        rule = random_requantise(rng, channels, spread, int(rng.integers(-128, 128)))
        if rng.random() < 0.3:
            rule = Average(int(rng.integers(1, 2 * spread)))
        layers.append((rule, rng.integers(-int(spread), int(spread), channels), -reach[0], reach[1]))
    affines = [fit(*layer) for layer in layers]
    width = 1 + int(max(max(-low.min(), high.max() + 1) for _, _, low, high in layers)).bit_length()
    fmt = RequantiserFormat.of(affines, width)
    words = [fmt.words(affine) for affine in affines]
    layer = rng.integers(len(layers), size=CYCLES)
    channel, acc = (np.choose(layer, choices) for choices in zip(
        *(reachable(rng, *layer) for layer in layers), strict=True))
    expected = [int(layers[n][0](layers[n][1] + a)[c]) for n, c, a in zip(layer, channel, acc, strict=True)]

    unit = Requantiser(fmt)
    rows = trace(unit, CYCLES, lambda cycle: [
        (unit.acc, acc[cycle]), (unit.parameters.as_value(), words[layer[cycle]][channel[cycle]])], [unit.result])
    latency = Requantiser.latency(fmt)
    assert [value for value, in rows[latency:]] == expected[:CYCLES - latency]


def test_format_of_nothing():
    """A network without depthwise layers still has its requantisers: they do no harm."""
    fmt = RequantiserFormat.of([], 16)
    unit = Requantiser(fmt)
    assert trace(unit, 10, lambda cycle: [(unit.acc, cycle)], [unit.result])[-1] == [0]
