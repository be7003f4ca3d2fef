# SPDX-License-Identifier: Apache-2.0
"""The arrivals of weights as they are computed, against the reader's in simulation: each of them, to the cycle."""

from itertools import islice

import numpy as np
import pytest
from axi import image_of, run_reader
from networks import fast
from tepal.hdl.memories.axi_reader import AxiReader
from tepal.sim.arrivals import arrivals
from tepal.sim.axi_memory import AxiMemory

CASES = [
    # Beats of prologue and frame; latency, interval; bursts of the reader's; share of cycles in which no beat is taken.
    (16, 33, 7, 1, 4, 0),
    (3, 50, 40, 1, 4, 0.3),
    (0, 1, 1, 3, 4, 0.8),
    (40, 200, 46, 1, 4, 0),
    (40, 200, 45, 1, 4, 0.05),
    (0, 16, 1, 1, 4, 0.3),
    (0, 1, 1, 1, 4, 0),
    (3, 50, 120, 1, 8, 0),
    (16, 33, 30, 1, 1, 0.3),
    (40, 200, 30, 4, 4, 0.8),
    (5, 333, 88, 1, 8, 0.3),
    (17, 31, 3, 2, 2, 0.5),
]


@pytest.mark.parametrize(("prologue", "frame", "latency", "interval", "bursts", "waits"), fast(CASES, 3))
def test_exact(prologue, frame, latency, interval, bursts, waits):
    """With an engine that always takes a beat, and with one that does not in some cycles, at random."""
    image = image_of(prologue, frame)
    open_in = np.random.default_rng(latency).random(100_000) >= waits
    memory = AxiMemory(image.data, latency=latency, interval=interval)
    run = run_reader(AxiReader(image, bursts=bursts), memory, beats=300, ready=lambda cycle: open_in[cycle])
    beats = arrivals(prologue, frame, latency, interval, bursts)
    assert run.there == [next(beats), *map(beats.send, run.taken[:-1])]
    if not waits:
        assert run.taken == list(islice(arrivals(prologue, frame, latency, interval, bursts), 300))


@pytest.mark.parametrize("latency", [1, 40, 45])
def test_full_rate(latency):
    """A beat in every cycle; frames whose beats are no multiple of 16 too."""
    beats = list(islice(arrivals(16, 320, latency), 2000))
    assert np.diff(beats).max() == 1
    assert np.diff(list(islice(arrivals(5, 333, 40), 2000))).max() == 1


def test_late_memory():
    """More than 45 cycles from an address to its first beat, and beats wait."""
    assert np.diff(list(islice(arrivals(16, 320, 46), 2000))).max() == 2
