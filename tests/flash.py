# SPDX-License-Identifier: Apache-2.0
"""An SPI flash memory made of Python, as far as a loader of weights asks."""

from collections.abc import Mapping

__all__ = ["FlashModel"]


class FlashModel:
    """Asleep at first, as an iCE40 leaves it, and for ``wake_steps`` after it is woken: then it answers nothing.

    ``contents`` maps an address to the bytes that begin there; all else is erased.  The first ``good_after`` reads get
    ``bad`` in place of what is there.  ``commands`` are those that came."""

    def __init__(self, contents: Mapping[int, bytes], *, wake_steps: int = 150, bad: Mapping[int, bytes] | None = None,
                 good_after: int = 0):
        self.contents, self.wake_steps, self.bad, self.good_after = contents, wake_steps, bad or {}, good_after
        self.commands: list[int] = []
        self._asleep, self._waking = True, 0
        self._clk, self._bits, self._shift, self._out = 0, 0, 0, 1

    def step(self, cs: int, clk: int, copi: int) -> int:
        """The level of ``cipo`` after a cycle with these at the other pins; mode 0, ``cs`` high while selected."""
        if self._waking:
            self._waking -= 1
            self._asleep = self._waking > 0
        if not cs:
            if self._bits == 8 and self._shift == 0xAB:
                self._waking = self.wake_steps
            self._bits, self._shift, self._out = 0, 0, 1
        elif clk and not self._clk:
            if self._bits < 32:
                self._shift = self._shift << 1 | copi
            self._bits += 1
            if self._bits == 8:
                self.commands.append(self._shift)
        elif self._clk and not clk and self._bits >= 32 and self._shift >> 24 == 0x03 and not self._asleep:
            byte, bit = divmod(self._bits - 32, 8)
            self._out = self._byte((self._shift & 0xFFFFFF) + byte) >> 7 - bit & 1
        self._clk = clk
        return self._out

    def _byte(self, address: int) -> int:
        contents = self.bad if self.commands.count(0x03) <= self.good_after else self.contents
        for start, held in contents.items():
            if start <= address < start + len(held):
                return held[address - start]
        return 0xFF
