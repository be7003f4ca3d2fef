# SPDX-License-Identifier: Apache-2.0
"""An SDRAM's pins on a board, with the registers that lie in them."""

from amaranth import *
from amaranth.lib import io, wiring
from amaranth.lib.wiring import In

from .sdram import SdramPins
from .sdram_timing import SdramTiming

__all__ = ["READ_DELAY", "SdramPads"]

READ_DELAY = 2
"""Of a controller behind these pads, for clocks about 100 MHz.

A command leaves its pin a cycle after it left the controller, half a cycle before the memory's clock rises.  A word is
at the FPGA's pin from some 5.4 ns (tAC) behind the edge before the one that it is meant for until 2.5 ns (tOH) behind
that, and later by what the clock takes to get out of the FPGA, about half a cycle: the edge in the middle of that time
takes it, and the controller sees it in the next cycle.  It is reckoned from data sheets, not measured: a board whose
memory fails its test may need one less or more."""


class SdramPads(wiring.Component):
    """Registers in an SDRAM's pins, and the memory's clock.

    The clock goes out by a cell for double data rate, so that it leaves as late as everything else: the inverse of
    ``sync``, half a cycle behind the commands.  That is for up to 100 MHz; above, ``clock`` names a domain a quarter of
    a cycle behind ``sync``, as LiteDRAM takes for the board ULX3S.

    Parameters
    ----------
    timing
        The memory's.
    port
        The pins, by the names of :func:`amaranth_boards.resources.memory.SDRAMResource`.
    clock
        Domain whose rising edges go out; without one, falling edges of ``sync``.

    Members
    -------
    pins : In(:class:`~tepal.hdl.memories.sdram.SdramPins`)
    """

    def __init__(self, timing: SdramTiming, port, clock: str = ""):
        self.port, self.clock = port, clock
        super().__init__({"pins": In(SdramPins(timing))})

    def elaborate(self, platform):
        m, port = Module(), self.port
        for name in "clk_en", "cs", "ras", "cas", "we", "ba", "a", "dqm":
            m.submodules[name] = pad = io.FFBuffer("o", getattr(port, name))
            m.d.comb += pad.o.eq(getattr(self.pins, name))
        m.submodules.dq = data = io.FFBuffer("io", port.dq)
        m.d.comb += [data.o.eq(self.pins.dq_o), data.oe.eq(self.pins.dq_oe), self.pins.dq_i.eq(data.i)]
        m.submodules.clk = clock = io.DDRBuffer("o", port.clk, o_domain=self.clock or "sync")
        m.d.comb += [clock.o[0].eq(bool(self.clock)), clock.o[1].eq(not self.clock)]
        return m
