# SPDX-License-Identifier: Apache-2.0
"""Runs a component cycle by cycle in Amaranth's simulator."""

from amaranth import ClockDomain, Module
from amaranth.sim import Simulator

__all__ = ["trace"]


def trace(design, cycles: int, drive, watch) -> list[list]:
    """Values of the signals ``watch`` in each of ``cycles`` cycles.

    ``drive(cycle)`` gives (signal, value) pairs to set at the beginning of that cycle; what is not set again
    stays.  A register between input and output shows as one row between the two."""
    rows = []

    async def bench(ctx):
        for cycle in range(cycles):
            for signal, value in drive(cycle):
                ctx.set(signal, value if isinstance(value, dict) else int(value))
            _, _, *values = await ctx.tick().sample(*watch)
            rows.append(values)

    m = Module()
    # A design without registers has no clock of its own.
    m.domains.sync = ClockDomain()
    m.submodules.design = design
    simulator = Simulator(m)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return rows
