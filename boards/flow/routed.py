# SPDX-License-Identifier: Apache-2.0
"""Clocks that place and route has reached, by board: what times are reckoned at before a design is routed."""

import json
from dataclasses import dataclass
from pathlib import Path

from tepal.boards.board import Board

__all__ = ["ROUTED", "Clock", "clock_of"]

ROUTED = Path(__file__).with_name("routed.json")
"""Board to the fastest clock in MHz that ``make bench`` has seen a design reach on it, and which design."""


@dataclass(frozen=True)
class Clock:
    """A frequency in MHz (None: none is known), and a clause that says where it is from."""

    mhz: float | None
    told: str

    def milliseconds(self, cycles: int) -> float | None:
        """Time that so many cycles take."""
        return round(cycles / self.mhz / 1e3, 6) if self.mhz else None

    def rate(self, cycles: int) -> float | None:
        """How often a second something happens that takes so many cycles."""
        return round(self.mhz * 1e6 / cycles, 3) if self.mhz else None


def clock_of(board: Board, asked: float | None = None) -> Clock:
    """The clock that is ``asked`` for, in MHz, or else the recorded one.

    Boards that share a part share no clock: their speed grades differ."""
    if asked:
        return Clock(asked, f"{asked:g} MHz, as asked for")
    known = json.loads(ROUTED.read_text(encoding="utf-8")).get(board.name)
    if known is None:
        return Clock(None, f"no clock: none has been recorded for {board.name}, and --clock gives none")
    return Clock(known["clock_mhz"], f"{known['clock_mhz']:.2f} MHz, which {known['design']} reached after routing")
