# SPDX-License-Identifier: Apache-2.0
"""The design of a board as ``tepal simulate --serve`` simulates it, on a port of this computer."""

from fractions import Fraction
from math import prod

from tepal.hdl import Schedule
from tepal.hdl.link.protocol import Packet
from tepal.hdl.link.uart import LINE_BITS
from tepal.hdl.memories.flash import FlashLoader
from tepal.hdl.memories.sdram import word_cycles
from tepal.hdl.memories.sdram_timing import SdramTiming
from tepal.hdl.memories.sdram_weights import SdramWeights
from tepal.hdl.plan.flash_image import flash_image
from tepal.hdl.primitives import bits_for
from tepal.hdl.streamed import image_of
from tepal.sim import CycleModel

from .top import BUFFER, MOST, Top

__all__ = ["BIT", "patience", "simulated_top"]

BIT = 2
"""Clock cycles of a bit: line and design have one clock, so that two are enough, and time on the line costs most."""

_PACE = 20_000
"""Cycles a second: a sixth of what an idle core simulates of the largest engine."""


def simulated_top(schedule: Schedule, *, sdram: SdramTiming | None = None, debug: bool = False) -> Top:
    """A board's design for :class:`tepal.sim.Server`, with room for as many images as may be under way.  ``sdram`` are
    the times of the memory that it has weights in, if they come from outside."""
    room = MOST * Packet.line_bytes(prod(schedule.network.input_shape))
    return Top(schedule, Fraction(BIT), max(BUFFER, 1 << bits_for(room)), sdram=sdram, debug=debug)


def patience(schedule: Schedule, sdram: SdramTiming | None = None) -> int:
    """Seconds within which even a busy computer should have simulated an image, the first one too."""
    request = Packet.line_bytes(prod(schedule.network.input_shape))
    loading = FlashLoader.cycles(flash_image(schedule)) if schedule.config.single_port else 0
    if sdram:
        loading = SdramWeights.cycles(sdram, image_of(schedule))
    beat = word_cycles(sdram) if sdram else 1
    return 2 + (loading + request * LINE_BITS * BIT + CycleModel(schedule, beat).in_memory_cycles) // _PACE
