# SPDX-License-Identifier: Apache-2.0
"""A generated core's ports for cocotb: AXI4-Stream's source and sink, which wait at random if they are asked to, and
the loading of weights.

All drive and look between two rising edges of the clock, where nothing of the other side's answer changes any more.
Nothing but cocotb is needed, so that a copy of this file works beside any bench."""

import random
from collections.abc import Iterable

from cocotb.triggers import FallingEdge, RisingEdge

__all__ = ["Sink", "Source", "Stalls", "load_weights"]

STALL_PROBABILITY = 0.5


class Stalls:
    """Random waiting: true in cycles in which a side does nothing, in runs short and long; never, without a seed.

    Parameters
    ----------
    seed
        The same cycles for the same seed, or None.
    side
        Makes the two sides of one seed wait at different times.
    """

    def __init__(self, seed: int | None = None, side: str = ""):
        self.random = None if seed is None else random.Random(f"{seed} {side}")
        self._left, self._stalled = 0, False

    def __bool__(self):
        if self.random is None:
            return False
        if not self._left:
            self._stalled = self.random.random() < STALL_PROBABILITY
            self._left = self.random.choice((1, 1, 2, 3, 20))
        self._left -= 1
        return self._stalled


class Source:
    """Offers beats at the sink ``prefix`` of a core, such as ``s_axis``.

    ``tvalid`` is low while it has nothing to offer; once it is high, the beat holds until it is taken."""

    def __init__(self, dut, prefix: str, stalls: Stalls | None = None):
        self.clock, self.stalls = dut.clk, stalls or Stalls()
        self.data, self.valid, self.ready, self.last = (
            getattr(dut, f"{prefix}_{name}") for name in ("tdata", "tvalid", "tready", "tlast"))
        self.valid.value = self.last.value = self.data.value = 0

    async def send(self, frame: Iterable[int]) -> None:
        """Send the beats of a frame, ``tlast`` beside the final one; returns when that has been taken."""
        beats = list(frame)
        for position, beat in enumerate(beats, 1):
            while self.stalls:
                self.valid.value = 0
                await FallingEdge(self.clock)
            self.valid.value, self.data.value, self.last.value = 1, beat, int(position == len(beats))
            while not self.ready.value:
                await RisingEdge(self.ready)
                await FallingEdge(self.clock)
            await FallingEdge(self.clock)
        self.valid.value = 0


class Sink:
    """Takes beats from the source ``prefix`` of a core, such as ``m_axis``; ready only while somebody waits for one."""

    def __init__(self, dut, prefix: str, stalls: Stalls | None = None):
        self.clock, self.stalls = dut.clk, stalls or Stalls()
        self.data, self.valid, self.ready, self.last = (
            getattr(dut, f"{prefix}_{name}") for name in ("tdata", "tvalid", "tready", "tlast"))
        self.ready.value = 0

    async def beat(self) -> tuple[int, bool]:
        """The next beat, and whether it had ``tlast``."""
        while True:
            ready = not self.stalls
            self.ready.value = int(ready)
            if ready and not self.valid.value and self.stalls.random is None:
                await RisingEdge(self.valid)
                await FallingEdge(self.clock)
            taken = None
            if ready and self.valid.value:
                taken = int(self.data.value), bool(self.last.value)
            await FallingEdge(self.clock)
            if taken is not None:
                self.ready.value = 0
                return taken

    async def packet(self) -> bytes:
        """All beats, a byte each, up to and with the next ``tlast``."""
        received, last = bytearray(), False
        while not last:
            byte, last = await self.beat()
            received.append(byte)
        return bytes(received)


async def load_weights(dut, words: Iterable[int], stalls: Stalls | None = None) -> None:
    """Give weights to a core whose memories come up blank, 16 bits of them at a time, and let it run."""
    for position, word in enumerate(words):
        while stalls:
            await FallingEdge(dut.clk)
        dut.load_tdata.value = word
        dut.load_tvalid.value, dut.load_tfirst.value = 1, int(position == 0)
        await FallingEdge(dut.clk)
        dut.load_tvalid.value = 0
        await FallingEdge(dut.clk)
    dut.run.value = 1
