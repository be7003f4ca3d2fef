"""The requantiser: accumulator to int8, exactly, one value a cycle."""

from dataclasses import dataclass

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .affine import Affine
from .primitives import LogicMultiplier, bits_for, delay, pipelined_sum

__all__ = ["Requantiser", "RequantiserFormat"]

_SLICE = 7
"""Bits of the multiplier that one partial product takes."""


@dataclass(frozen=True)
class RequantiserFormat:
    """Widths and tables that a group of requantisers shares; decided before synthesis.

    ``accumulator``, ``multiplier`` (unsigned) and ``offset`` are widths in bits, ``fraction`` the bits dropped
    after the multiplication, ``rights`` the distinct right shifts, ``modes`` the distinct (away from zero,
    zero point, minimum, maximum).  A parameter word holds indices into the last two."""

    accumulator: int
    multiplier: int
    offset: int
    fraction: int
    rights: tuple[int, ...]
    modes: tuple[tuple[bool, int, int, int], ...]

    @classmethod
    def of(cls, affines: list[Affine], accumulator: int) -> "RequantiserFormat":
        """The narrowest format that holds all of ``affines`` (whose fractions may differ)."""
        if not affines:
            return cls(accumulator, 1, 1, 0, (0,), ((False, 0, -128, 127),))
        fraction = max(a.fraction for a in affines)
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
    def latency(self) -> int:
        """Cycles from an accumulator to its result."""
        return Requantiser.latency(self)

    def words(self, affine: Affine) -> list[int]:
        """One parameter word per channel of ``affine``."""
        affine = affine.widen(self.fraction)
        mode = self.modes.index(self._mode(affine))
        return [self.layout.const({"multiplier": int(m), "offset": int(o), "right": self.rights.index(int(r)),
                                   "mode": mode}).as_value().value
                for m, o, r in zip(affine.multiplier, affine.offset, affine.right, strict=True)]


class Requantiser(wiring.Component):
    """``clamp(round(((acc * multiplier + offset) >> fraction) / 2**right) + zero_point)``, pipelined.

    Exactly :class:`~tepal.hdl.affine.Affine`, which is proved equal to TensorFlow Lite's rule when parameters
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
        terms = -(-fmt.multiplier // _SLICE) + 1
        return 1 + (terms - 1).bit_length() + 3

    def elaborate(self, platform):
        m = Module()
        fmt = self.format
        # Partial products of narrow slices: small multipliers, made of logic, with registers between them.
        terms = []
        for low in range(0, fmt.multiplier, _SLICE):
            factor = Cat(self.parameters.multiplier[low:low + _SLICE], C(0, 1))
            m.submodules[f"multiplier_{low}"] = multiplier = LogicMultiplier(fmt.accumulator, len(factor))
            m.d.comb += [multiplier.a.eq(self.acc), multiplier.b.eq(factor)]
            product = Signal(multiplier.product.shape(), name=f"product_{low}", reset_less=True)
            m.d.sync += product.eq(multiplier.product)
            terms.append(product << low)
        terms.append(delay(m, self.parameters.offset, 1, name="offset"))
        total, levels = pipelined_sum(m, terms, name="total")
        right = delay(m, self.parameters.right, 1 + levels, name="right")
        mode = delay(m, self.parameters.mode, 1 + levels, name="mode")

        high = Signal(signed(max(2, len(total) - fmt.fraction)))
        half = Signal(max(fmt.rights) + 1)
        away = Signal()
        m.d.comb += [
            high.eq(total >> fmt.fraction),
            half.eq(Array([Const((1 << r) >> 1, len(half)) for r in fmt.rights])[right]),
            away.eq(Array([Const(bool(r), 1) for r in fmt.rights])[right]
                    & Array([Const(mode[0], 1) for mode in fmt.modes])[mode]),
        ]
        rounded = Signal(signed(len(high) + 1), reset_less=True)
        m.d.sync += rounded.eq(high + half - (away & (high < 0)))
        right, mode = delay(m, right, 1, name="right_rounded"), delay(m, mode, 1, name="mode_rounded")

        shifted = Signal(signed(max(10, len(rounded) - min(fmt.rights))), reset_less=True)
        m.d.sync += shifted.eq(Array([rounded >> r for r in fmt.rights])[right])
        mode = delay(m, mode, 1, name="mode_shifted")

        def of_mode(field):
            return Array([Const(entry[field], signed(9)) for entry in fmt.modes])[mode]

        placed = Signal(signed(len(shifted) + 1))
        m.d.comb += placed.eq(shifted + of_mode(1))
        with m.If(placed < of_mode(2)):
            m.d.sync += self.result.eq(of_mode(2))
        with m.Elif(placed > of_mode(3)):
            m.d.sync += self.result.eq(of_mode(3))
        with m.Else():
            m.d.sync += self.result.eq(placed)
        return m
