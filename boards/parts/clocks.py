# SPDX-License-Identifier: Apache-2.0
"""What the clocks of all families have in common."""

# Amaranth gives components their ports at run time.
# pyright: reportAttributeAccessIssue=false

from fractions import Fraction
from typing import Any

from amaranth import Module, Signal
from amaranth.lib import io

from .part import Pin

__all__ = ["MHZ", "is_pressed", "within"]

MHZ = 1_000_000


def within(value: Fraction | int, limits: tuple[int, int]) -> bool:
    """Whether a frequency keeps a data sheet's limits."""
    return limits[0] <= value <= limits[1]


def is_pressed(m: Module, platform: Any, button: Pin | None) -> Signal:
    """Whether a board's ``button`` is pressed: never, if it has none."""
    pressed = Signal()
    if button is not None:
        m.submodules.button = buffer = io.Buffer("i", platform.request(button.resource, button.number, dir="-"))
        m.d.comb += pressed.eq(buffer.i)
    return pressed
