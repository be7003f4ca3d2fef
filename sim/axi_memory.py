# SPDX-License-Identifier: Apache-2.0
"""A memory behind an AXI4 port, for whatever simulator Python drives: it answers reads, late and with gaps if asked to.

Nothing but Python is needed, so that a copy of this file works beside any bench.  ``axi_memory.v`` beside it does the
same inside a simulator, where nothing of Python slows it."""

from collections import deque

__all__ = ["AxiMemory"]

OKAY, SLVERR, DECERR = 0, 2, 3


class AxiMemory:
    """Answers one burst after the other.  ``arready``, ``rvalid``, ``rdata``, ``rresp`` and ``rlast`` are the memory's
    outputs in the present cycle; :meth:`step` goes on to the next one.  The first cycle after a reset is number 0.

    Parameters
    ----------
    contents
        Bytes from ``base`` on; anything else is answered with DECERR.
    latency
        Cycles from the one in which an address is accepted to that of its first beat, at least one.
    interval
        Cycles from a beat to the next one, at the least.
    seed
        Makes it wait at random besides: before it takes an address, before a burst's first beat, between beats.
    refresh, pause
        No beat comes in the first ``pause`` of each ``refresh`` cycles.  (One that waits to be taken stays.)
    error_at
        Address of a beat that is answered with SLVERR.
    """

    def __init__(self, contents: bytes, base: int = 0, *, latency: int = 1, interval: int = 1, seed: int = 0,
                 refresh: int = 0, pause: int = 20, error_at: int | None = None):
        self.contents, self.base, self.error_at = contents, base, error_at
        self.latency, self.interval, self.refresh, self.pause = latency, interval, refresh, pause
        self.arready, self.rvalid, self.rdata, self.rresp, self.rlast = int(seed == 0), 0, 0, OKAY, 0
        self.bursts: list[tuple[int, int]] = []
        """Address and beats of every burst that was asked for."""
        self._random = seed * 2654435761 & 0xFFFF_FFFF
        self._cycle, self._free = 0, 0
        self._waiting: deque[tuple[int, int, int]] = deque()
        self._held: tuple[int, int] | None = None

    def step(self, araddr: int, arlen: int, arvalid: int, rready: int) -> None:
        """The present cycle ends with these at the memory's inputs.

        Raises
        ------
        AssertionError
            They break a rule of AXI4.
        """
        assert self._held in (None, (araddr, arlen) if arvalid else ()), "an address changed before it was accepted"
        self._held = (araddr, arlen) if arvalid and not self.arready else None
        if arvalid and self.arready:
            assert araddr % 4096 + 8 * (arlen + 1) <= 4096, f"the burst at {araddr:#x} crosses a multiple of 4 KiB"
            self.bursts.append((araddr, arlen + 1))
            due = self._cycle + self.latency + self._draw()
            self._waiting += [(due, araddr + 8 * beat, int(beat == arlen)) for beat in range(arlen + 1)]
        if self.rvalid and rready:
            self._waiting.popleft()
            self._free, self.rvalid = self._cycle + self.interval + self._draw(), 0
        self._cycle += 1
        self.arready = int(not self._draw())
        if not self.rvalid and self._waiting:
            due, address, self.rlast = self._waiting[0]
            refreshing = self.refresh and self._cycle % self.refresh < self.pause
            self.rvalid = int(self._cycle >= max(due, self._free) and not refreshing)
            place = address - self.base
            inside = 0 <= place <= len(self.contents) - 8
            self.rdata = int.from_bytes(self.contents[place:place + 8], "little") if inside else 0
            self.rresp = SLVERR if address == self.error_at else OKAY if inside else DECERR

    def _draw(self) -> int:
        """Cycles to wait besides: mostly none, now and then many."""
        # Marsaglia's xorshift, "Xorshift RNGs" (2003): a few lines in any language.
        number = self._random
        number ^= number << 13 & 0xFFFF_FFFF
        number ^= number >> 17
        number ^= number << 5 & 0xFFFF_FFFF
        self._random = number
        return {4: 1, 5: 2, 6: 30}.get(number % 7, 0) if number else 0
