# SPDX-License-Identifier: Apache-2.0
"""What goes by rows of the image between the loader and the sequencer: which have come, and for how many there is
room."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .input_layout import InputLayout
from .instance_name import InstanceName

__all__ = ["InputRows"]


class InputRows(wiring.Component):
    """Counts the rows of an input memory that is a ring (:attr:`InputLayout.ring`).

    Parameters
    ----------
    layout
        Of the input memory.
    ahead
        Rows that are freed before they are stored, at most: those that nothing reads.

    Members
    -------
    written : In(1)
        A row's last word is stored in this cycle.
    ends : In(1)
        That row is its image's last one.
    claimed : In
        Rows for which a pass has waited that begins.
    freed : In
        Rows that are read no more; with an image's last ones, the places that it leaves empty behind them.
    wanted : In, there : Out(1)
        So many rows are stored and not claimed.
    room : Out(1)
        The next row may be stored: what lay in its place is freed.
    """

    NAME = InstanceName("input_rows", "rows of the image", "image loader")

    LATENCY = 2
    """Cycles from what is freed to the first one in which a row may be stored there."""

    def __init__(self, layout: InputLayout, ahead: int = 0):
        self.rows, self.beyond, self.ahead = layout.rows, layout.beyond, ahead
        super().__init__({
            "written": In(1), "ends": In(1), "claimed": In(range(self.rows + ahead + 1)),
            "freed": In(range(self.rows + self.beyond + ahead + 1)),
            "wanted": In(range(self.rows + ahead + 1)), "there": Out(1), "room": Out(1, init=1),
        })

    def elaborate(self, platform):
        m = Module()
        taken = Signal(range(-self.ahead, self.rows + self.beyond + 1))
        stored = Signal(range(self.rows + self.ahead + 1))
        m.d.comb += self.there.eq(stored >= self.wanted)
        m.d.sync += [
            # A register, for the loader does much with it.  It pauses for a cycle between two rows, so that a row that
            # has just been stored counts in time.
            self.room.eq(taken < self.rows),
            stored.eq(stored + self.written - self.claimed),
            # Each image begins in the first place, as if it had filled up all of them before.
            taken.eq(taken + Mux(self.written, Mux(self.ends, 1 + self.beyond, 1), 0) - self.freed),
        ]
        return m
