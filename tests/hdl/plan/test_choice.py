# SPDX-License-Identifier: Apache-2.0
"""Passes are cut into bands so that cycles are few: those of computing, and those in which weights come again."""

from dataclasses import replace

import pytest
from tepal.hdl import EngineConfig, Formats, Schedule
from tepal.hdl.plan.choice import BEAT_CYCLES, _Choice, choose
from tepal.hdl.plan.tiling import Latencies
from tepal.quant import MobileNet, MobileNetV2
from tepal.sim import CycleModel

ENGINE = EngineConfig(8, 8, 4, requantisers=4)


def without_loading(monkeypatch) -> None:
    """Cycles in which weights come are not counted."""
    made = _Choice.__init__

    def ignoring(self, *given):
        made(self, *given)
        self.counts_loading = False

    monkeypatch.setattr(_Choice, "__init__", ignoring)


@pytest.mark.parametrize("activations", [800, 900])
def test_weights_that_come_again_are_counted(activations, monkeypatch):
    network = MobileNet(0.5, 64).network()
    config = replace(ENGINE, activation_words=activations, weight_words=1024)
    better = Schedule(network, config)
    without_loading(monkeypatch)
    before = Schedule(network, config, better.formats)
    assert better.groups != before.groups
    assert max(better.bank_depth, before.bank_depth) <= activations
    cycles, cycles_before = (CycleModel(each, BEAT_CYCLES).interval_cycles for each in (better, before))
    assert cycles < cycles_before


def test_nothing_else_changes(monkeypatch):
    """Where all weights are on the chip; and where maps are added."""
    chain, residual = Formats(MobileNet(0.5, 64).network()), Formats(MobileNetV2(0.35, 64).network())

    def chosen() -> list:
        return [choose(formats.passes, replace(ENGINE, activation_words=800, weight_words=words), Latencies())
                for formats, words in ((chain, None), (residual, 1024))]

    found = chosen()
    assert all(found)
    without_loading(monkeypatch)
    assert chosen() == found
