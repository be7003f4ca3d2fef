# SPDX-License-Identifier: Apache-2.0
"""The multipliers of the systolic array, as the part has them."""

from collections.abc import Callable
from itertools import count
from typing import Any

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.vendor import SiliconBluePlatform
from tepal.hdl.primitives import delay, is_ecp5

from .arithmetic import LogicMultiplier
from .instance_name import InstanceName

__all__ = ["DOT", "MULTIPLIER", "NAMES", "Dot", "LogicPair", "Multiplier", "MultiplierPair", "PackedDot",
           "PackedMultiplier", "WideMultiplier", "latency", "offset", "products"]

MULTIPLIER, PAIR, LOGIC = InstanceName("multiplier_{}"), InstanceName("multipliers_{}"), InstanceName("product_{}")
DOT = InstanceName("dot_{}", inside=(MULTIPLIER,))
NAMES = MULTIPLIER, PAIR, LOGIC, DOT
"""Names of what :func:`products` adds to a module, numbered in the order of the items; within a dot product, in that of
its operands."""

_INT8 = signed(8)


class Multiplier(wiring.Component):
    """``product = a * b``, registered at its inputs and at its output.

    Parameters
    ----------
    spread
        Registers on top of those two; the first one lies inside the multiplier where the part's have room for it.
    a, b
        Shapes of the factors, at most 18 bits wide.

    Members
    -------
    a, b : In
    product : Out(signed)
        :attr:`LATENCY` + ``spread`` cycles later.
    """

    LATENCY = 2
    """Cycles from the factors to the product, without ``spread``."""

    def __init__(self, spread: int = 0, a: Shape = _INT8, b: Shape = _INT8):
        self.spread = spread
        super().__init__({"a": In(a), "b": In(b), "product": Out(signed(a.width + b.width))})

    def elaborate(self, platform):
        m = Module()
        if is_ecp5(platform):
            product = Signal(36)
            inside = ("INPUTA", "INPUTB", "OUTPUT", "PIPELINE")[:4 if self.spread else 3]
            ports: dict[str, Any] = {f"o_P{i}": product[i] for i in range(36)}
            for name, value in (("A", self.a), ("B", self.b)):
                sign = value.shape().signed
                above = value[-1] if sign else Const(0, 1)
                ports |= {f"i_{name}{i}": value[i] if i < len(value) else above for i in range(18)}
                ports |= {f"i_SIGNED{name}": Const(sign, 1), f"i_SOURCE{name}": Const(0, 1)}
            ports |= {f"i_C{i}": Const(0, 1) for i in range(18)}
            ports |= {f"p_REG_{name}_CLK": "CLK0" for name in inside}
            m.submodules.multiplier = Instance("MULT18X18D", **ports, p_GSR="DISABLED", p_RESETMODE="SYNC",
                                               i_CLK0=ClockSignal(), i_CE0=Const(1, 1), i_RST0=Const(0, 1))
            m.d.comb += self.product.eq(delay(m, product[:len(self.product)], max(0, self.spread - 1), name="product"))
            return m
        a, b = Signal.like(self.a, reset_less=True), Signal.like(self.b, reset_less=True)
        product = Signal.like(self.product, reset_less=True)
        m.d.sync += [a.eq(self.a), b.eq(self.b), product.eq(a * b)]
        m.d.comb += self.product.eq(delay(m, product, self.spread, name="product"))
        return m


class PackedMultiplier(wiring.Component):
    """Two products by one factor, in one multiplier of 18 bits.

    One factor is ``a[1] + 128``, ten bits up, plus ``a[0] + 128``.  So ten bits of the lower product stand alone, and
    six lie upon the higher one's lowest six, which a few LUTs compute once more: the difference is what the lower one
    added.  (Packing two products into a multiplier is described by Fu et al., "Deep Learning with INT8 Optimization on
    Xilinx Devices", WP486, 2016, with more bits between them than there are here.)

    Parameters
    ----------
    spread
        As in :class:`Multiplier`.

    Members
    -------
    a : In(signed(8)) twice
    b : In(signed(8))
    product : Out(signed(16)) twice
        ``(a[i] + OFFSET) * b``, :attr:`LATENCY` + ``spread`` cycles later.
    """

    OFFSET = 128
    """What is added to one factor, so that it has no sign."""

    LATENCY = Multiplier.LATENCY + 2

    def __init__(self, spread: int = 0):
        self.spread = spread
        super().__init__({"a": In(signed(8)).array(2), "b": In(signed(8)), "product": Out(signed(16)).array(2)})

    def elaborate(self, platform):
        m = Module()
        low, high = (a.as_unsigned() ^ self.OFFSET for a in self.a)
        m.submodules.multiplier = multiplier = Multiplier(self.spread, unsigned(18), signed(8))
        # Signals, not expressions, cross a module's border, so that equal modules look equal.
        factor, packed = Signal(18), Signal(signed(26))
        m.d.comb += [factor.eq(Cat(low, C(0, 2), high)), multiplier.a.eq(factor), multiplier.b.eq(self.b),
                     packed.eq(multiplier.product)]

        # The higher product modulo 64, beside the multiplier.
        rows = []
        for place in range(0, 6, 2):
            row = Signal(6 - place, name=f"row_{place}", reset_less=True)
            m.d.sync += row.eq(Mux(self.b[place], high[:6], 0) + (Mux(self.b[place + 1], high[:6], 0) << 1))
            rows.append(row)
        modulo = Signal(6, reset_less=True)
        m.d.sync += modulo.eq(rows[0] + ((rows[1] + (rows[2] << 2)) << 2))
        modulo = delay(m, modulo, self.spread, name="modulo")

        # The lower product added a number from -32 … 31 to the higher one: the difference of the packed bits and the
        # higher product, modulo 64.  Where the difference is beyond -32 … 31, that addition carried into the bits
        # above, or borrowed from them.
        difference = Signal(signed(7), reset_less=True)
        m.d.sync += difference.eq(packed[10:16] - modulo)
        alone = delay(m, packed[:10], 1, name="alone")
        above = delay(m, packed[16:26], 1, name="above")
        modulo = delay(m, modulo, 1, name="modulo_of_difference")
        negative, carry, raised = difference[6], Signal(signed(2)), Signal(10, reset_less=True)
        with m.If(difference[5] != negative):
            m.d.comb += carry.eq(Mux(negative, -1, 1))
        m.d.sync += raised.eq(Value.cast(above) + carry)
        m.d.comb += [
            self.product[0].eq(delay(m, Cat(alone, difference[:6]), 1, name="low").as_signed()),
            self.product[1].eq(Cat(delay(m, modulo, 1, name="high_modulo"), raised).as_signed()),
        ]
        return m


class LogicPair(wiring.Component):
    """What a :class:`PackedMultiplier` makes, of logic, and :attr:`SOONER`."""

    SOONER = PackedMultiplier.LATENCY - LogicMultiplier.latency(8, joined=True)
    """Cycles by which products are there before those of a PackedMultiplier of the same ``spread``."""

    def __init__(self, spread: int = 0):
        self.spread = spread
        super().__init__({"a": In(signed(8)).array(2), "b": In(signed(8)), "product": Out(signed(16)).array(2)})

    def elaborate(self, platform):
        m = Module()
        for number in range(2):
            m.submodules[f"half_{number}"] = half = LogicMultiplier(8, 8, joined=True)
            m.d.comb += [half.a.eq(self.b), half.b.eq(self.a[number].as_unsigned() ^ PackedMultiplier.OFFSET),
                         self.product[number].eq(delay(m, half.product, self.spread, name=f"product_{number}"))]
        return m


class MultiplierPair(wiring.Component):
    """Two :class:`Multiplier` in one SB_MAC16, iCE40 UltraPlus' block of a multiplier and two adders.

    Members
    -------
    a, b : In(signed(8)) twice
    product : Out(signed(16)) twice
    """

    def __init__(self, spread: int = 0):
        self.spread = spread
        super().__init__({"a": In(signed(8)).array(2), "b": In(signed(8)).array(2),
                          "product": Out(signed(16)).array(2)})

    def elaborate(self, platform):
        m = Module()
        if isinstance(platform, SiliconBluePlatform):
            output = Signal(32)
            m.submodules.mac = _mac(Cat(*self.a), Cat(*self.b), output, halves=True)
            m.d.comb += [self.product[half].eq(delay(m, output.word_select(half, 16), self.spread,
                                                     name=f"product_{half}")) for half in range(2)]
        else:
            for half in range(2):
                m.submodules[f"half_{half}"] = multiplier = Multiplier(self.spread)
                m.d.comb += [multiplier.a.eq(self.a[half]), multiplier.b.eq(self.b[half]),
                             self.product[half].eq(multiplier.product)]
        return m


class WideMultiplier(wiring.Component):
    """``product = a * b`` of signed factors, in one of the part's widest multipliers.

    Parameters
    ----------
    a, b
        Bits of the factors: at most 18, on an iCE40 16.
    spread
        Registers behind those of the multiplier.

    Members
    -------
    a, b : In(signed)
    product : Out(signed)
        :attr:`LATENCY` + ``spread`` cycles later.
    """

    LATENCY = Multiplier.LATENCY + 1
    """Cycles from the factors to the product: registers before, within and behind the multiplier."""

    def __init__(self, a: int, b: int, spread: int = 0):
        self.spread = spread
        super().__init__({"a": In(signed(a)), "b": In(signed(b)), "product": Out(signed(a + b))})

    def elaborate(self, platform):
        m = Module()
        if isinstance(platform, SiliconBluePlatform):
            output, (a, b) = Signal(32), (Signal(signed(16), name=name) for name in "ab")
            m.submodules.mac = _mac(a, b, output, halves=False, p_PIPELINE_16x16_MULT_REG1=1,
                                    p_PIPELINE_16x16_MULT_REG2=1)
            m.d.comb += [a.eq(self.a), b.eq(self.b),
                         self.product.eq(delay(m, output[:len(self.product)], self.spread, name="product"))]
        else:
            m.submodules.multiplier = multiplier = Multiplier(self.spread + 1, self.a.shape(), self.b.shape())
            m.d.comb += [multiplier.a.eq(self.a), multiplier.b.eq(self.b), self.product.eq(multiplier.product)]
        return m


def _mac(a, b, output, *, halves: bool, **parameters) -> Instance:
    """An SB_MAC16 of signed factors, or of the ``halves`` of either, with registers before and within it."""
    return Instance(
        "SB_MAC16",
        p_MODE_8x8=int(halves), p_A_SIGNED=1, p_B_SIGNED=1, p_A_REG=1, p_B_REG=1,
        p_TOP_8x8_MULT_REG=1, p_BOT_8x8_MULT_REG=1,
        # The products themselves, past the adders.
        p_TOPOUTPUT_SELECT=2 if halves else 3, p_BOTOUTPUT_SELECT=2 if halves else 3, **parameters,
        i_CLK=ClockSignal(), i_CE=1, i_A=a, i_B=b, i_C=Const(0, 16), i_D=Const(0, 16),
        **{f"i_{name}": 0 for name in (
            "AHOLD", "BHOLD", "CHOLD", "DHOLD", "IRSTTOP", "IRSTBOT", "ORSTTOP", "ORSTBOT", "OLOADTOP",
            "OLOADBOT", "ADDSUBTOP", "ADDSUBBOT", "OHOLDTOP", "OHOLDBOT", "CI", "ACCUMCI", "SIGNEXTIN")},
        o_O=output)


class Dot(wiring.Component):
    """Sums of several products, added by a tree of registers.

    Parameters
    ----------
    make
        Makes what multiplies one operand: a :class:`Multiplier`, or what has the members of a :class:`LogicPair`.
    operands, packing
        Products of a sum, and sums.
    b
        Bits of the second factors.
    spread
        Registers behind the sums.

    Members
    -------
    a : In(signed(8)) per operand and sum
    b : In(signed(b)) per operand
    product : Out(signed(8 + b + levels)) per sum
        :attr:`levels` + ``spread`` cycles later than the products of what ``make`` gives.
    """

    def __init__(self, make: Callable[[], Any], operands: int, packing: int = 1, b: int = 8, spread: int = 0):
        self.make, self.operands, self.packing, self.spread = make, operands, packing, spread
        super().__init__({"a": In(signed(8)).array(operands, packing), "b": In(signed(b)).array(operands),
                          "product": Out(signed(8 + b + self.levels(operands))).array(packing)})

    @staticmethod
    def levels(operands: int) -> int:
        """Of the tree."""
        return (operands - 1).bit_length()

    def elaborate(self, platform):
        m = Module()
        found = []
        for number in range(self.operands):
            m.submodules[MULTIPLIER(number)] = unit = self.make()
            m.d.comb += unit.b.eq(self.b[number])
            if self.packing > 1:
                m.d.comb += [unit.a[row].eq(self.a[number][row]) for row in range(self.packing)]
                found.append([unit.product[row] for row in range(self.packing)])
            else:
                m.d.comb += unit.a.eq(self.a[number][0])
                found.append([unit.product])
        m.d.comb += [self.product[row].eq(delay(m, _tree(m, [each[row] for each in found], name=f"sum_{row}"),
                                                self.spread, name=f"product_{row}")) for row in range(self.packing)]
        return m


class PackedDot(wiring.Component):
    """Two sums of several products each, whose operands have second factors in common.

    As a :class:`PackedMultiplier` does, one multiplier an operand; what they give is added as it is, and only the sum
    is taken apart: the higher sum's lowest bits, as many as the lower sum may reach into, are computed by LUTs.

    Parameters
    ----------
    spread
        As in :class:`Multiplier`.
    operands
        Products of a sum.
    b
        Bits of the second factors.

    Members
    -------
    a : In(signed(8)) per operand, twice
    b : In(signed(b)) per operand
    product : Out(signed) twice
        Sums of ``(a[k][i] + OFFSET) * b[k]``, :func:`latency` cycles later.
    """

    def __init__(self, spread: int, operands: int, b: int = 8):
        self.spread, self.operands = spread, operands
        super().__init__({"a": In(signed(8)).array(operands, 2), "b": In(signed(b)).array(operands),
                          "product": Out(signed(8 + b + Dot.levels(operands))).array(2)})

    def elaborate(self, platform):
        m = Module()
        # The lower sum is from -32,640 to 32,385 for each operand, or twice that for each bit that the second factor
        # has beyond 8: so many times 1,024 that it takes so many bits.
        second, width = len(self.b[0]), len(self.product[0])
        bits = second - 2 + Dot.levels(self.operands)
        packed, rows = [], []
        for number in range(self.operands):
            low, high = (value.as_unsigned() ^ PackedMultiplier.OFFSET for value in self.a[number])
            m.submodules[MULTIPLIER(number)] = multiplier = Multiplier(self.spread, unsigned(18), signed(second))
            factor = Signal(18, name=f"factor_{number}")
            m.d.comb += [factor.eq(Cat(low, C(0, 2), high)), multiplier.a.eq(factor), multiplier.b.eq(self.b[number])]
            packed.append(multiplier.product)
            # Two bits of one factor make a row, as far as it counts; of the factor's sign there are as many as count.
            wide = Cat(self.b[number], self.b[number][-1].replicate(max(0, bits - second)))
            for place in range(0, bits, 2):
                row = Signal(bits - place, name=f"row_{number}_{place}", reset_less=True)
                m.d.sync += row.eq(Mux(wide[place], high, 0) + (Mux(wide[place + 1] if place + 1 < bits else 0, high, 0)
                                                                << 1))
                rows.append((row, place))
        total = _tree(m, packed, name="packed")
        modulo = self._modulo(m, rows, bits)
        # What the lower sum added to the higher one: the difference modulo its bits, which has a sign.
        above, alone = total[10:], delay(m, total[:10], 1, name="alone")
        carried = Signal(signed(bits), reset_less=True)
        m.d.sync += carried.eq(above[:bits] - modulo)
        higher = Signal(signed(width), reset_less=True)
        m.d.sync += higher.eq(delay(m, above, 1, name="above").as_signed() - carried)
        m.d.comb += [self.product[0].eq(delay(m, Cat(alone, carried), 1, name="low").as_signed()),
                     self.product[1].eq(higher)]
        return m

    def _modulo(self, m: Module, rows: list, bits: int):
        """The higher sum modulo 2 ** ``bits``, of the ``rows`` of a cycle ago, when all that is packed is added."""
        level, left = [row << place if place else row for row, place in rows], Multiplier.LATENCY - 1 + self.spread
        left += Dot.levels(self.operands)
        # As many at a time as it takes to be there in time: two, with registers between multipliers and accumulators.
        size = next(size for size in count(2) if size ** left >= len(level))
        while len(level) > 1:
            groups = [level[at:at + size] for at in range(0, len(level), size)]
            level = [Signal(bits, name=f"modulo_{left}_{at}", reset_less=True) for at in range(len(groups))]
            m.d.sync += [result.eq(sum(group[1:], group[0])) for result, group in zip(level, groups, strict=True)]
            left -= 1
        return delay(m, level[0], left, name="modulo")


def _tree(m: Module, values: list, *, name: str):
    """The sum of signed values of one width, by adders of two with a register behind each."""
    level = 0
    while len(values) > 1:
        level += 1
        groups = [values[at:at + 2] for at in range(0, len(values), 2)]
        values = [Signal(signed(len(values[0]) + 1), name=f"{name}_{level}_{at}", reset_less=True)
                  for at in range(len(groups))]
        m.d.sync += [total.eq(sum(group[1:], group[0])) for total, group in zip(values, groups, strict=True)]
    return values[0]


def latency(spread: int, packing: int, operands: int = 1) -> int:
    """Cycles from the factors to :func:`products`."""
    return (PackedMultiplier if packing > 1 else Multiplier).LATENCY + spread + Dot.levels(operands)


def offset(packing: int) -> int:
    """What :func:`products` adds to each of the ``packing`` values of an item."""
    return PackedMultiplier.OFFSET if packing > 1 else 0


def products(m: Module, platform, factors, spread: int = 0, packing: int = 1, operands: int = 1,
             logic: Callable[[int], bool] = lambda index: False) -> list:
    """Products of ``factors``, or sums of so many ``operands`` products, :func:`latency` cycles later.

    Each item of ``factors`` is (``packing`` int8 values, one signed value) and gives the products of the latter with
    each of the former, to which :func:`offset` is added.  An item takes one multiplier; without packing, two
    share an iCE40's.  Where multipliers are shared, the one value is int8 too, unless there are several operands; in
    logic it always is.  With packing, those items for whose indices ``logic`` is true take logic.  Of several operands,
    an item has a list of each."""
    result = []
    if operands > 1:
        for index, (a, b) in enumerate(factors):
            m.submodules[DOT(index)] = unit = _dot(spread, packing, operands, len(b[0]), logic(index))
            m.d.comb += [unit.b[number].eq(value) for number, value in enumerate(b)]
            m.d.comb += [unit.a[number][row].eq(value) for number, values in enumerate(a)
                         for row, value in enumerate(values)]
            result.append([unit.product[row] for row in range(packing)])
        return result
    pairs = packing == 1 and isinstance(platform, SiliconBluePlatform) and len(factors[0][1]) == 8
    for index, (a, b) in enumerate(factors if not pairs else ()):
        name = LOGIC if packing > 1 and logic(index) else MULTIPLIER
        m.submodules[name(index)] = unit = (
            LogicPair(spread + LogicPair.SOONER) if name is LOGIC else
            PackedMultiplier(spread) if packing > 1 else Multiplier(spread, b=signed(len(b))))
        m.d.comb += unit.b.eq(b)
        if packing > 1:
            m.d.comb += [unit.a[i].eq(value) for i, value in enumerate(a)]
            result.append([unit.product[i] for i in range(packing)])
        else:
            m.d.comb += unit.a.eq(a[0])
            result.append([unit.product])
    for index in range(0, len(factors) if pairs else 0, 2):
        m.submodules[PAIR(index // 2)] = pair = MultiplierPair(spread)
        for half, (a, b) in enumerate(factors[index:index + 2]):
            m.d.comb += [pair.a[half].eq(a[0]), pair.b[half].eq(b)]
            result.append([pair.product[half]])
    return result


def _dot(spread: int, packing: int, operands: int, width: int, logic: bool) -> Dot | PackedDot:
    if packing == 1:
        return Dot(lambda: Multiplier(spread, b=signed(width)), operands, b=width)
    # Logic is near what takes its sums, and these are fewer bits than products: registers stand behind them.
    return (Dot(LogicPair, operands, packing, spread=spread + LogicPair.SOONER) if logic else
            PackedDot(spread, operands, width))
