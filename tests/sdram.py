# SPDX-License-Identifier: Apache-2.0
"""An SDRAM with its controller, and times to try it with."""

from dataclasses import replace

from amaranth import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import Out
from tepal.hdl.memories.sdram import SdramController
from tepal.hdl.memories.sdram_timing import ULX3S_CHIPS, SdramTiming, strictest
from tepal.sim.sdram_model import RULES, SdramModel

__all__ = ["CLOCKS", "SMALL", "SdramMemory", "ulx3s"]

CLOCKS = [100_000_000, 133_333_333]


def ulx3s(frequency: int, **changes) -> SdramTiming:
    """The times of the chips that a ULX3S may have."""
    return replace(SdramTiming.of(strictest(*ULX3S_CHIPS), frequency), **changes)


SMALL = ulx3s(CLOCKS[0], rows=4, columns=16, refresh_interval=150, pause=100, first_refreshes=2)
"""64 words of 64 bits, four in a row, and refreshes all the time."""


class SdramMemory(wiring.Component):
    """A controller with a memory, whose times may be others; ``registers`` lie in each way between the two, and
    ``low`` is a pin and its bit that never get to be high there."""

    def __init__(self, timing: SdramTiming, asked: SdramTiming | None = None, registers: int = 0,
                 read_delay: int | None = None, low: tuple[str, int] = ("", 0)):
        self.registers, self.low = registers, low
        self.controller = SdramController(timing, 2 * registers if read_delay is None else read_delay)
        self.model = SdramModel(asked or timing)
        streams = {name: self.controller.signature.members[name] for name in ("access", "write", "read")}
        super().__init__({**streams, "broken": Out(len(RULES)), "ready": Out(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.controller, m.submodules.model = self.controller, self.model
        for name in "access", "write", "read":
            wiring.connect(m, wiring.flipped(getattr(self, name)), getattr(self.controller, name))
        m.d.comb += [self.broken.eq(self.model.broken), self.ready.eq(self.controller.ready)]
        here, there = self.controller.pins, self.model.pins
        for name, member in here.signature.members.items():
            ends = (getattr(here, name), getattr(there, name))
            source, sink = ends if member.flow == Out else ends[::-1]
            for number in range(self.registers):
                late = source.like(source, name=f"{name}_{number}")
                m.d.sync += late.eq(source)
                source = late
            m.d.comb += sink.eq(source & ~(1 << self.low[1]) if name == self.low[0] else source)
        return m
