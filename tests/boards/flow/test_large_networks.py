# SPDX-License-Identifier: Apache-2.0
"""Networks of the paper's size on a ULX3S, weights from its SDRAM: all memories fit, and cycles are as few as found."""

from dataclasses import replace

import pytest
from networks import fast
from tepal.boards.flow.fit import blocks, with_beat_for
from tepal.boards.parts.ecp5 import LOADED_85F
from tepal.boards.registry import get_board
from tepal.hdl import Schedule
from tepal.hdl.plan.descriptors import descriptor_memories
from tepal.quant import MobileNet

BOARD = get_board("ulx3s-85f")


@pytest.mark.parametrize(("architecture", "activations", "weights", "most", "cycles", "megabytes"), fast([
    (MobileNet(0.5, 160), 1024, 2048, 120, 420_000, 2.1),
    (MobileNet(1.0, 224), 3072, 3072, 205, 2_700_000, 11.4),
    (MobileNet(1.0, 192), 2560, 4096, 194, 1_850_000, 7.6),
    (MobileNet(0.75, 224), 3072, 3072, 204, 1_460_000, 4.3),
], 1))
def test_fits(architecture, activations, weights, most, cycles, megabytes):
    """Cycles are those of an ideal memory."""
    network = architecture.network()
    config = replace(LOADED_85F[0], activation_words=activations, weight_words=weights, input_rows=8)
    schedule = Schedule(network, with_beat_for(network, config))
    counted = [blocks(BOARD, use) for use in (*schedule.memories, *descriptor_memories(schedule))]
    assert {kind for kind, _ in counted} == {"DP16KD"}
    assert sum(count for _, count in counted) <= most <= BOARD.part.memories[0].count
    last = schedule.passes[-1]
    assert last.last_tile + last.last_slot <= cycles
    assert schedule.weight_bytes <= megabytes * 1e6
