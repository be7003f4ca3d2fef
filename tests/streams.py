# SPDX-License-Identifier: Apache-2.0
"""Feeds and empties a component's streams in Amaranth's simulator, each with its own random pauses."""

import numpy as np
from amaranth.sim import Simulator

__all__ = ["run_streams"]


def run_streams(dut, sources: list, sinks: list, *, stall: float, seed: int, watch=(), idle: int = 200,
                top=None) -> tuple[list[list], list]:
    """What each stream of ``sinks`` gave, as integers, and the values of ``watch`` whenever one of them was set.

    ``sources`` are (stream, integers) pairs.  Each stream waits in a share ``stall`` of the cycles.  The run ends when
    all is sent and nothing has come out for ``idle`` cycles.  A payload that changes or goes away before it was
    accepted fails an assertion."""
    taken: list[list] = [[] for _ in sinks]
    seen: list = []
    last = {"cycle": 0, "open": len(sources)}

    def bits(payload):
        return payload.as_value() if hasattr(payload, "as_value") else payload

    def send(stream, values, rng):
        async def process(ctx):
            for value in values:
                while rng.random() < stall:
                    await ctx.tick()
                ctx.set(bits(stream.payload), value)
                ctx.set(stream.valid, 1)
                await ctx.tick().until(stream.ready)
                ctx.set(stream.valid, 0)
            last["open"] -= 1
        return process

    def receive(stream, into, rng):
        async def process(ctx):
            held, cycle = None, 0
            while last["open"] or cycle - last["cycle"] < idle:
                ctx.set(stream.ready, int(rng.random() >= stall))
                _, _, valid, ready, payload = await ctx.tick().sample(stream.valid, stream.ready, bits(stream.payload))
                assert held is None or (valid and payload == held), "the payload changed before it was accepted"
                held = payload if valid and not ready else None
                if valid and ready:
                    into.append(payload)
                cycle += 1
                if valid or last["open"]:
                    last["cycle"] = cycle
        return process

    async def watching(ctx):
        async for _, _, *values in ctx.tick().sample(*watch):
            if any(values):
                seen.append(tuple(values))

    simulator = Simulator(top or dut)
    simulator.add_clock(1e-6)
    rngs = iter(np.random.default_rng(seed).spawn(len(sources) + len(sinks)))
    for stream, values in sources:
        simulator.add_testbench(send(stream, values, next(rngs)))
    for stream, into in zip(sinks, taken, strict=True):
        simulator.add_testbench(receive(stream, into, next(rngs)))
    if watch:
        simulator.add_testbench(watching, background=True)
    simulator.run()
    return taken, seen
