# SPDX-License-Identifier: Apache-2.0
"""The requantiser: accumulator to int8, exactly, one value a cycle."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from tepal.hdl.primitives import bits_for, delay

from .affine import Affine, wide_sum
from .arithmetic import LogicMultiplier, pipelined_sum
from .multiplier import WideMultiplier

__all__ = ["SELECT", "Requantiser", "RequantiserFormat", "fields_of"]

SELECT = 1
"""Cycles to select one of several accumulators for a requantiser."""

_HARD = WideMultiplier.LATENCY + 1
"""Cycles that a hardware multiplier is given at least: a register lies between it and the sum, for it may be far from
the logic."""


def fields_of(layout: data.StructLayout, words: list[int]) -> dict[str, np.ndarray]:
    """What ``words`` hold, by name: integer arrays, of Python's integers where a field has more than 63 bits."""
    fields = {}
    for name, field in layout:
        values = [word >> field.offset & (1 << field.width) - 1 for word in words]
        if Shape.cast(field.shape).signed:
            values = [value - (value >> field.width - 1 << field.width) for value in values]
        fields[name] = np.array(values, np.int64 if field.width < 64 else object)
    return fields


@dataclass(frozen=True)
class RequantiserFormat:
    """Widths and tables that a group of requantisers shares; decided before synthesis.

    ``accumulator``, ``multiplier`` (unsigned) and ``offset`` are widths in bits, ``fraction`` the bits dropped
    after the multiplication, ``rights`` the distinct right shifts, ``modes`` the distinct (away from zero,
    zero point, minimum, maximum).  A parameter word holds indices into the last two.

    ``hard`` is the bits of either factor of a hardware multiplier, which takes the highest bits of accumulator and
    multiplier; logic multiplies what is below.  0: logic alone."""

    accumulator: int
    multiplier: int
    offset: int
    fraction: int
    rights: tuple[int, ...]
    modes: tuple[tuple[bool, int, int, int], ...]
    hard: int = 0

    @classmethod
    def of(cls, affines: list[Affine], accumulator: int) -> "RequantiserFormat":
        """The narrowest format that holds all of ``affines`` (whose fractions may differ)."""
        if not affines:
            return cls(accumulator, 1, 1, 0, (0,), ((False, 0, -128, 127),))
        fraction = int(max(np.max(a.fraction) for a in affines))
        wide = [a.widen(fraction) for a in affines]
        offset = max(max(int(a.offset.max()).bit_length(), int((~a.offset).max()).bit_length()) for a in wide)
        return cls(accumulator, max(1, *(int(a.multiplier.max()).bit_length() for a in wide)), offset + 1,
                   fraction, tuple(sorted({int(r) for a in wide for r in a.right})),
                   tuple(sorted({cls._mode(a) for a in wide})))

    @staticmethod
    def _mode(affine: Affine):
        return affine.away_from_zero, affine.zero_point, affine.minimum, affine.maximum

    @property
    def layout(self) -> data.StructLayout:
        """A parameter word."""
        return data.StructLayout({
            "multiplier": unsigned(self.multiplier), "offset": signed(self.offset),
            "right": unsigned(bits_for(len(self.rights))), "mode": unsigned(bits_for(len(self.modes))),
        })

    @property
    def width(self) -> int:
        """Bits of a parameter word."""
        return self.layout.size

    @property
    def below(self) -> tuple[int, int]:
        """Lowest bits of accumulator and multiplier of which a hardware multiplier takes none.  It is signed, and the
        multiplier is not: of that it takes one bit less."""
        return max(0, self.accumulator - self.hard), max(0, self.multiplier - (self.hard - 1))

    @property
    def bits_in_logic(self) -> int:
        """Of the product of accumulator and multiplier, the products of a bit with another one that logic makes."""
        if not self.hard:
            return self.multiplier * self.accumulator
        low, factor = self.below
        return factor * self.accumulator + low * (self.multiplier - factor)

    @property
    def latency(self) -> int:
        """Cycles from an accumulator to its result."""
        return Requantiser.latency(self)

    def words(self, affine: Affine) -> list[int]:
        """One parameter word per channel of ``affine``, proved to do what it has to.

        Raises ArithmeticError if they don't: :meth:`ExactRule.check <tepal.hdl.units.affine.ExactRule.check>`."""
        affine = affine.widen(self.fraction)
        mode = self.modes.index(self._mode(affine))
        words = [self.layout.const({"multiplier": int(m), "offset": int(o), "right": self.rights.index(int(r)),
                                    "mode": mode}).as_value().value
                 for m, o, r in zip(affine.multiplier, affine.offset, affine.right, strict=True)]
        affine.exact.check(lambda acc: self.requantise(words, acc))
        return words

    def requantise(self, words: list[int], acc: np.ndarray) -> np.ndarray:
        """int8 of an integer array of accumulators, last axis the channel: what a :class:`Requantiser` makes of them
        with each channel's parameter word."""
        word = fields_of(self.layout, words)
        right = np.array(self.rights)[word["right"]]
        away_from_zero, zero_point, minimum, maximum = np.array(self.modes, np.int64)[word["mode"]].T
        total = wide_sum(acc, word["multiplier"], word["offset"])
        half = (1 << right) >> 1
        less = np.where(away_from_zero != 0, np.maximum(half - 1, 0), half)
        rounded = ((total >> self.fraction) + np.where(total < 0, less, half)) >> right
        return np.clip(rounded + zero_point, minimum, maximum).astype(np.int8)


class Requantiser(wiring.Component):
    """``clamp(round(((acc * multiplier + offset) >> fraction) / 2**right) + zero_point)``, pipelined.

    Exactly :class:`~tepal.hdl.units.affine.Affine`, which is proved equal to TensorFlow Lite's rule when parameters
    are made.  A value and its parameters enter every cycle; the result leaves ``latency(fmt)`` cycles later.

    Members
    -------
    acc : In(signed(fmt.accumulator))
    parameters : In(fmt.layout)
    result : Out(signed(8))
    """

    def __init__(self, fmt: RequantiserFormat):
        self.format = fmt
        super().__init__({"acc": In(signed(fmt.accumulator)), "parameters": In(fmt.layout),
                          "result": Out(signed(8))})

    @staticmethod
    def latency(fmt: RequantiserFormat) -> int:
        """Cycles from ``acc`` to ``result``."""
        return Requantiser._sum_latency(fmt) + 5

    @staticmethod
    def _sum_latency(fmt: RequantiserFormat) -> int:
        """Cycles from ``acc`` to the sum of product and offset."""
        low, factor = fmt.below if fmt.hard else (0, fmt.multiplier)
        logic = 1 + (-(-factor // 2) + -(-low // 2)).bit_length()
        return max(logic, _HARD) + 1 if fmt.hard else logic

    @staticmethod
    def features(used: Sequence[tuple[Any, Any]]) -> dict[str, Any]:
        """Features for the LUT estimate of ``used``, pairs of a count and a format: of pipelines, or of serial ones."""
        beside = " beside multipliers" if any(getattr(fmt, "hard", 0) for _, fmt in used) else ""
        return {f"units{beside}": sum(count for count, _ in used),
                f"bits of products{beside}": sum(count * getattr(fmt, "bits_in_logic", fmt.multiplier * fmt.accumulator)
                                                 for count, fmt in used)}

    def elaborate(self, platform):
        m = Module()
        fmt = self.format
        total, levels = self._sum(m, platform)
        # What rounding adds, to values of either sign, is known a cycle before the sum is.
        right = delay(m, self.parameters.right, levels - 1, name="right")
        mode = delay(m, self.parameters.mode, levels - 1, name="mode")
        half = Signal(max(fmt.rights) + 1, reset_less=True)
        less = Signal.like(half, reset_less=True)
        away = Array([Const(entry[0], 1) for entry in fmt.modes])[mode]
        m.d.sync += [half.eq(Array([(1 << r) >> 1 for r in fmt.rights])[right]),
                     less.eq(Mux(away, Array([max(0, ((1 << r) >> 1) - 1) for r in fmt.rights])[right],
                                 Array([(1 << r) >> 1 for r in fmt.rights])[right]))]
        right, mode = delay(m, right, 1, name="right_summed"), delay(m, mode, 1, name="mode_summed")

        high = Signal(signed(max(2, len(total) - fmt.fraction)))
        m.d.comb += high.eq(total >> fmt.fraction)
        rounded = Signal(signed(len(high) + 1), reset_less=True)
        m.d.sync += rounded.eq(high + Mux(total[-1], less, half))
        mode = delay(m, mode, 1, name="mode_rounded")

        # Shifted by the least of all, and further in two steps, by no more than 3 in the first one.
        least = min(fmt.rights)
        further = Signal(bits_for(max(fmt.rights) - least + 1), reset_less=True)
        m.d.sync += further.eq(Array([r - least for r in fmt.rights])[right])
        nearly = Signal(signed(len(rounded) - least), reset_less=True)
        m.d.sync += nearly.eq(Array([rounded >> least + r for r in range(1 << min(2, len(further)))])[further[:2]])
        shifted = Signal(signed(max(10, len(nearly))), reset_less=True)
        rest = delay(m, further[2:], 1, name="further_rest") if len(further) > 2 else C(0, 1)
        m.d.sync += shifted.eq(Array([nearly >> 4 * r for r in range(1 << len(rest))])[rest])
        mode = delay(m, mode, 2, name="mode_shifted")

        # Clamped before the zero point is added: comparison and addition side by side.
        def of_mode(value, width):
            return Array([Const(value(*entry[1:]), signed(width)) for entry in fmt.modes])[mode]

        below, above = Signal(reset_less=True), Signal(reset_less=True)
        placed = Signal(8, reset_less=True)
        m.d.sync += [below.eq(shifted < of_mode(lambda zero_point, low, high: low - zero_point, 10)),
                     above.eq(shifted > of_mode(lambda zero_point, low, high: high - zero_point, 10)),
                     placed.eq(shifted[:8] + of_mode(lambda zero_point, low, high: zero_point, 9))]
        mode = delay(m, mode, 1, name="mode_placed")
        with m.If(below):
            m.d.sync += self.result.eq(of_mode(lambda zero_point, low, high: low, 9))
        with m.Elif(above):
            m.d.sync += self.result.eq(of_mode(lambda zero_point, low, high: high, 9))
        with m.Else():
            m.d.sync += self.result.eq(placed)
        return m

    def _sum(self, m: Module, platform):
        """(product and offset, cycles later)."""
        fmt, acc, multiplier = self.format, self.acc, self.parameters.multiplier
        cycles = self._sum_latency(fmt)
        low, factor = fmt.below if fmt.hard else (0, fmt.multiplier)
        rows = LogicMultiplier.rows(m, platform, acc, multiplier[:factor])
        offset = delay(m, self.parameters.offset, 1, name="offset")
        if not fmt.hard:
            return pipelined_sum(m, [(offset, 0), *rows], name="total")[0], cycles
        high = Signal(signed(fmt.multiplier - factor + 1))
        m.d.comb += high.eq(multiplier[factor:])
        m.submodules.multiplier = hard = WideMultiplier(fmt.accumulator - low, len(high),
                                                        cycles - 1 - WideMultiplier.LATENCY)
        m.d.comb += [hard.a.eq(acc[low:]), hard.b.eq(high)]
        rows += [(row, factor + place)
                 for row, place in LogicMultiplier.rows(m, platform, high, acc[:low], name="low_row")]
        rest, levels = pipelined_sum(m, [(offset, 0), *rows], name="rest")
        rest = delay(m, rest, cycles - 2 - levels, name="rest")
        total, _ = pipelined_sum(m, [(rest.as_signed(), 0), (hard.product, low + factor)], name="total")
        # The sum of two values of so many bits; partial sums may have room for more.
        return total[:max(fmt.accumulator + fmt.multiplier, fmt.offset) + 1].as_signed(), cycles
