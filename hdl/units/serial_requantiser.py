# SPDX-License-Identifier: Apache-2.0
"""A small requantiser that spends several cycles on a value."""

from dataclasses import dataclass

import numpy as np
from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from tepal.hdl.memories.block import Rom
from tepal.hdl.primitives import bits_for, delay

from .affine import Affine, wide_sum
from .arithmetic import pipelined_sum
from .requantiser import fields_of

__all__ = ["ParameterRom", "SerialFormat", "SerialRequantiser"]

_RADIX = 2
"""Bits of a digit of the multiplier."""

_CHAIN = 3
"""Digits whose multiples are added in one cycle."""


def _digits(multiplier: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Digits -1 … 2 of int64 multipliers, lowest first, (digits, channels), and what the hardware's sums lack.

    It takes the complement for a product by -1, which is one too little."""
    rest, digits = multiplier.astype(np.int64), []
    while np.any(rest) or not digits:
        digit = rest & 3
        digit = np.where(digit == 3, -1, digit)
        digits.append(digit)
        rest = (rest - digit) >> _RADIX
    table = np.stack(digits)
    places = np.int64(1) << (_RADIX * np.arange(len(table)))
    return table, ((table == -1) * places[:, None]).sum(axis=0)


@dataclass(frozen=True)
class SerialFormat:
    """Widths and tables that the serial requantisers of a kind share; decided before synthesis.

    A value takes ``cycles``, in each of which ``digits`` digits of its multiplier are used up; the highest ones of
    all, beyond ``multiplier`` bits, are zero and not stored.  ``fraction`` bits are dropped from the ``total``-bit sum.
    Of an offset ``offset`` bits are stored, and below them ``zeros`` are zero.  ``modes`` holds the distinct (bits
    above the second rounding where it rounds halves away from zero, else 0; zero point, unless it is in the offset;
    minimum; maximum)."""

    accumulator: int
    cycles: int
    digits: int
    multiplier: int
    fraction: int
    total: int
    offset: int
    zeros: int
    modes: tuple[tuple[int, int, int, int], ...]

    @classmethod
    def of(cls, affines: list[Affine], accumulator: int, cycles: int) -> "SerialFormat":
        """The narrowest format that holds all of ``affines``."""
        if not affines:
            return cls(accumulator, cycles, 1, 2, 0, 2 * cycles + 2, 1, 0, ((0, 0, -128, 127),))
        fraction = int(max((a.fraction + a.right).max() for a in affines))
        modes = sorted({cls._mode(a, int(r)) for a in affines for r in a.right})
        draft = cls(accumulator, cycles, 1, 2, fraction, 64, 64, 0, tuple(modes))
        multipliers, lows, highs = zip(*map(draft._numbers, affines), strict=True)
        digits = max(len(_digits(m)[0]) for m in multipliers)
        low, high = np.concatenate(lows), np.concatenate(highs)
        zeros = 0
        while zeros < fraction and np.all((high >> (zeros + 1)) << (zeros + 1) >= low):
            zeros += 1
        offset = max(int(max(n, ~n)).bit_length() for n in (int(low.min()), int(high.max()))) + 1
        per_cycle = -(-digits // cycles)
        product = max(int(m.max()) for m in multipliers).bit_length() + accumulator
        total = 1 + max(product, offset, fraction + 9, _RADIX * per_cycle * cycles)
        return cls(accumulator, cycles, per_cycle, _RADIX * digits, fraction, total, offset - zeros, zeros,
                   tuple(modes))

    @staticmethod
    def _mode(affine: Affine, right: int) -> tuple[int, int, int, int]:
        if affine.away_from_zero:
            return right, affine.zero_point, affine.minimum, affine.maximum
        return 0, 0, affine.minimum, affine.maximum

    def _numbers(self, affine: Affine):
        """(multiplier, lowest and highest offset) with both roundings and the zero point in the offset."""
        wide = affine.widen(self.fraction - affine.right)
        half = ((np.int64(1) << wide.right) >> 1) << wide.fraction
        zero_point = 0 if wide.away_from_zero else wide.zero_point
        offset = wide.offset + half + (np.int64(zero_point) << self.fraction) + _digits(wide.multiplier)[1]
        return wide.multiplier, offset, offset + wide.slack

    @property
    def layout(self) -> data.StructLayout:
        """A parameter word."""
        mode = {"mode": unsigned(bits_for(len(self.modes)))} if len(self.modes) > 1 else {}
        return data.StructLayout({"multiplier": unsigned(self.multiplier), "offset": signed(self.offset)} | mode)

    @property
    def width(self) -> int:
        """Bits of a parameter word."""
        return self.layout.size

    @property
    def levels(self) -> int:
        """Cycles from a value's digits to their sum."""
        return 1 + (-(-self.digits // _CHAIN) - 1).bit_length()

    @property
    def latency(self) -> int:
        """Cycles from ``start`` to ``result``."""
        return 1 + self.levels + self.cycles + 1

    def words(self, affine: Affine) -> list[int]:
        """One parameter word per channel of ``affine``, proved to do what it has to.

        Raises ArithmeticError if they don't: :meth:`ExactRule.check <tepal.hdl.units.affine.ExactRule.check>`."""
        multipliers, low, high = self._numbers(affine)
        offsets = high >> self.zeros
        digits = _digits(multipliers)[0]
        codes = ((digits & 3) << (_RADIX * np.arange(len(digits)))[:, None]).sum(axis=0)
        modes = [self.modes.index(self._mode(affine, int(r))) for r in affine.right]
        assert np.all(offsets << self.zeros >= low)
        values = {"multiplier": codes, "offset": offsets, "mode": modes}
        fields = [name for name, _ in self.layout]
        words = [self.layout.const({name: int(values[name][channel]) for name in fields}).as_value().value
                 for channel in range(len(codes))]
        affine.exact.check(lambda acc: self.requantise(words, acc))
        return words

    def requantise(self, words: list[int], acc: np.ndarray) -> np.ndarray:
        """int8 of an integer array of accumulators, last axis the channel: what a :class:`SerialRequantiser` makes of
        them with each channel's parameter word."""
        word = fields_of(self.layout, words)
        multiplier, offset = np.zeros(len(words), np.int64), word["offset"] << self.zeros
        for place in range(0, self.multiplier, _RADIX):
            code = word["multiplier"] >> place & 3
            multiplier += np.where(code == 3, -1, code).astype(np.int64) << place
            offset = offset - ((code == 3).astype(np.int64) << place)
        right, zero_point, minimum, maximum = np.array(self.modes)[word.get("mode", np.zeros(len(words), int))].T
        total = wide_sum(acc, multiplier, offset)
        # Halves of negative values where they go away from zero: all that the offset can't do.
        tie = ((right > 0) & (total < (1 << self.fraction - 1 if self.fraction else 0))
               & ((total >> self.fraction - right) & (1 << right) - 1 == 0))
        return np.clip((total >> self.fraction) - tie + zero_point, minimum, maximum).astype(np.int8)


class SerialRequantiser(wiring.Component):
    """``clamp(((acc * multiplier + offset) >> fraction) + zero_point)``, several digits of the multiplier a cycle.

    Exactly :class:`~tepal.hdl.units.affine.Affine`, as the pipelined
    :class:`~tepal.hdl.units.requantiser.Requantiser` is: both of its roundings are one here, but where halves go away
    from zero, which is put right in the end.

    The most significant digits come first.  A digit of -1 is stored as 3, and the accumulator's complement stands for
    its product, which is one too little; the offset holds the sum of these ones.

    Members
    -------
    start : In(1)
        ``acc`` is there; again after ``fmt.cycles`` at the earliest.
    acc : In(signed(fmt.accumulator))
    parameters : In(fmt.layout)
        Of the value, in ``fmt.cycles`` cycles from ``start`` on.
    advance : Out(1)
        The last of those cycles.
    result : Out(signed(8)), done : Out(1)
        ``fmt.latency`` cycles after ``start``; the result stays until the next one.
    """

    def __init__(self, fmt: SerialFormat):
        self.format = fmt
        super().__init__({"start": In(1), "acc": In(signed(fmt.accumulator)), "parameters": In(fmt.layout),
                          "advance": Out(1), "result": Out(signed(8)), "done": Out(1)})

    def elaborate(self, platform):
        m = Module()
        fmt = self.format
        chunk = _RADIX * fmt.digits
        strobes = [self.start]
        for index in range(fmt.latency):
            strobes.append(delay(m, strobes[-1], 1, name=f"start_{index}"))
        beats = strobes[:fmt.cycles]
        m.d.comb += [self.advance.eq(beats[-1]), self.done.eq(strobes[-1])]

        # The next cycle's digits, and the sum of this one's multiples.
        acc = Signal.like(self.acc, reset_less=True)
        with m.If(self.start):
            m.d.sync += acc.eq(self.acc)
        digits, value = Signal(chunk, reset_less=True), 0
        for index, beat in enumerate(reversed(beats)):
            value |= Mux(beat, self.parameters.multiplier[chunk * index:chunk * (index + 1)], 0)
        m.d.sync += digits.eq(value)
        sums = []
        for low in range(0, fmt.digits, _CHAIN):
            total = 0
            for place, index in enumerate(range(low, min(low + _CHAIN, fmt.digits))):
                code = digits.word_select(index, _RADIX)
                multiple = Signal(signed(fmt.accumulator + 1), name=f"multiple_{index}")
                m.d.comb += multiple.eq(Mux(code[1], Mux(code[0], ~acc, acc << 1), Mux(code[0], acc, 0)))
                total += multiple << _RADIX * place
            register = Signal(Value.cast(total).shape(), name=f"sum_{low}", reset_less=True)
            m.d.sync += register.eq(total)
            sums.append((register, _RADIX * low))
        product, levels = pipelined_sum(m, sums, name="product")
        assert levels + 1 == fmt.levels

        # The product so far, moved up by a beat's bits, which the offset fills; above those it begins the sum.
        mode = self.parameters.mode if len(fmt.modes) > 1 else Const(0, 1)
        late = Cat(self.parameters.offset, mode)
        if fmt.levels >= fmt.cycles:
            # By then the parameters are the next value's.
            held = Signal.like(late, name="held", reset_less=True)
            with m.If(beats[-1]):
                m.d.sync += held.eq(late)
            late = held
        mode = late[fmt.offset:]
        offset = Signal(fmt.total, reset_less=True)
        with m.If(strobes[fmt.levels]):
            m.d.sync += offset.eq(late[:fmt.offset].as_signed() << fmt.zeros)
        with m.Else():
            m.d.sync += offset.eq(offset << chunk)
        above = fmt.total - chunk * fmt.cycles
        so_far, begun = Signal(signed(fmt.total), reset_less=True), Signal(signed(fmt.total - chunk))
        m.d.comb += begun.eq(Mux(strobes[fmt.levels + 1], offset[fmt.total - above:].as_signed(), so_far))
        m.d.sync += so_far.eq(Cat(offset[fmt.total - above - chunk:fmt.total - above], begun).as_signed() + product)

        # Both roundings are in the offset; only where the second one goes away from zero is something left to do.
        for moment in (fmt.levels, fmt.levels + fmt.cycles):
            held = Signal.like(mode, name=f"mode_{moment}", reset_less=True)
            with m.If(strobes[moment]):
                m.d.sync += held.eq(mode)
            mode = held

        def of_mode(values, width):
            return values[0] if len(set(values)) == 1 else Array([Const(v, width) for v in values])[mode]

        rights, zero_points, lows, highs = zip(*fmt.modes, strict=True)
        rounded = Signal(signed(fmt.total - fmt.fraction + 1))
        m.d.comb += rounded.eq(so_far[fmt.fraction:].as_signed())
        if any(zero_points) and not any(rights):
            m.d.comb += rounded.eq(so_far[fmt.fraction:].as_signed() + of_mode(zero_points, signed(9)))
        if any(rights):
            negative = so_far < (1 << fmt.fraction - 1)
            exact = [negative & (so_far[fmt.fraction - r:fmt.fraction] == 0) if r else Const(0) for r in rights]
            tie = exact[0] if len(set(rights)) == 1 else Array(exact)[mode]
            m.d.comb += rounded.eq(so_far[fmt.fraction:].as_signed() - tie + of_mode(zero_points, signed(9)))
        with m.If(strobes[-2]):
            low, high = of_mode(lows, signed(9)), of_mode(highs, signed(9))
            m.d.sync += self.result.eq(Mux(rounded < low, low, Mux(rounded > high, high, rounded)))
        return m


class ParameterRom(wiring.Component):
    """A ROM of parameter words, read in passages as a :class:`~tepal.hdl.memories.block.ReplayRom`, each of which is
    made of parts that are repeated before the next one follows.

    ``data`` always shows the current word.  With ``advance`` the next cycle shows the word after it, or with one
    of these beside it: ``repeat``, the part's first word; ``onward``, the word after it, where the next part begins;
    ``rewind``, the passage's first word; ``commit``, the word after it, where a new passage begins, or with ``jumps``
    the word ``base``, another input; ``restart``, the very first word.
    """

    def __init__(self, name: str, width: int, words: list[int], *, jumps: bool = False):
        self.rom, self.jumps = Rom(name, width, words), jumps
        super().__init__({"advance": In(1), "repeat": In(1), "onward": In(1), "rewind": In(1), "commit": In(1),
                          "restart": In(1), "data": Out(width),
                          **({"base": In(len(self.rom.address))} if jumps else {})})

    def elaborate(self, platform):
        m = Module()
        m.submodules.rom = rom = self.rom
        here, part, passage, after = (Signal.like(rom.address, name=name)
                                      for name in ("here", "part", "passage", "after"))
        m.d.comb += [after.eq(here + 1), rom.address.eq(here), self.data.eq(rom.data)]
        with m.If(self.advance):
            with m.If(self.restart):
                m.d.comb += rom.address.eq(0)
            with m.Elif(self.rewind):
                m.d.comb += rom.address.eq(passage)
            with m.Elif(self.repeat):
                m.d.comb += rom.address.eq(part)
            with m.Else():
                m.d.comb += rom.address.eq(Mux(self.commit, self.base, after) if self.jumps else after)
            with m.If(self.restart | self.rewind | self.onward | self.commit):
                m.d.sync += part.eq(rom.address)
            with m.If(self.restart | self.commit):
                m.d.sync += passage.eq(rom.address)
        m.d.sync += here.eq(rom.address)
        return m
