# SPDX-License-Identifier: Apache-2.0
"""Absolute counts of cycles: a schedule that becomes slower together with its hardware agrees with it all the same.

Who makes engines faster writes the new counts here; who did not mean to change them has found a mistake."""

from pathlib import Path

import pytest
from networks import random_case
from tepal.hdl import EngineConfig, Schedule
from tepal.quant import read_model
from tepal.sim import CycleModel

MODEL = Path(__file__).resolve().parents[2] / "examples" / "cifar10" / "models" / "large_0.50_32_int8.onnx"

ENGINES = {
    "wide": EngineConfig(9, 16, 8, (3, 3), 8, 4, spread=2, copy_lanes=9),
    "packed": EngineConfig(8, 16, 8, (3, 3), 8, 4, packing=2),
    "small": EngineConfig(4, 4, 4, (2, 2)),
    "frugal": EngineConfig(5, 3, 2, (1, 1), requantiser_cycles=3, lane_cycles=4, single_port=True, pipelined=False),
}


def counts(schedule: Schedule) -> tuple[int, int, int]:
    model = CycleModel(schedule)
    return model.cycles, model.in_memory_cycles, model.interval_cycles


@pytest.mark.parametrize(("engine", "wanted"), [
    ("wide", (54332, 52465, 52369)),
    ("packed", (58520, 56653, 56541)),
    ("small", (426283, 422047, 421962)),
    ("frugal", (637064, 632824, 632721)),
])
def test_mobilenet(engine, wanted):
    """Bundled, 32 x 32: cycles of a frame, of its computation, and from frame to frame."""
    assert counts(Schedule(read_model(MODEL), ENGINES[engine])) == wanted


@pytest.mark.parametrize(("seed", "frugal", "wanted"), [
    (1, False, (353, 249, 203)),
    (1, True, (537, 433, 398)),
    (6, False, (645, 541, 487)),
    (6, True, (693, 589, 543)),
    (8, False, (253, 189, 146)),
    (8, True, (617, 553, 519)),
    (15, False, (453, 304, 314)),
    (15, True, (2027, 1851, 1803)),
    (17, False, (561, 399, 353)),
    (17, True, (1090, 928, 884)),
    (24, False, (730, 684, 638)),
    (24, True, (981, 935, 897)),
])
def test_random_network(seed, frugal, wanted):
    network, config, _ = random_case(seed, frugal=frugal)
    assert counts(Schedule(network, config)) == wanted
