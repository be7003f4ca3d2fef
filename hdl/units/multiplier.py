# SPDX-License-Identifier: Apache-2.0
"""The multipliers of the systolic array, as the part has them."""

from collections.abc import Callable
from typing import Any

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.vendor import SiliconBluePlatform
from tepal.hdl.primitives import delay, is_ecp5

from .arithmetic import LogicMultiplier
from .instance_name import InstanceName

__all__ = ["MULTIPLIER", "NAMES", "LogicPair", "Multiplier", "MultiplierPair", "PackedMultiplier", "latency", "offset",
           "products"]

MULTIPLIER, PAIR, LOGIC = InstanceName("multiplier_{}"), InstanceName("multipliers_{}"), InstanceName("product_{}")
NAMES = MULTIPLIER, PAIR, LOGIC
"""Names of what :func:`products` adds to a module, numbered in the order of the factors."""

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
    """What a :class:`PackedMultiplier` makes, as late, of logic."""

    def __init__(self, spread: int = 0):
        self.spread = spread
        super().__init__({"a": In(signed(8)).array(2), "b": In(signed(8)), "product": Out(signed(16)).array(2)})

    def elaborate(self, platform):
        m = Module()
        assert LogicMultiplier.latency(8) == PackedMultiplier.LATENCY
        for number in range(2):
            m.submodules[f"half_{number}"] = half = LogicMultiplier(8, 8)
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
            m.submodules.mac = Instance(
                "SB_MAC16",
                p_MODE_8x8=1, p_A_SIGNED=1, p_B_SIGNED=1, p_A_REG=1, p_B_REG=1,
                p_TOP_8x8_MULT_REG=1, p_BOT_8x8_MULT_REG=1,
                # The products themselves, past the adders.
                p_TOPOUTPUT_SELECT=2, p_BOTOUTPUT_SELECT=2,
                i_CLK=ClockSignal(), i_CE=1, i_A=Cat(*self.a), i_B=Cat(*self.b), i_C=Const(0, 16), i_D=Const(0, 16),
                **{f"i_{name}": 0 for name in (
                    "AHOLD", "BHOLD", "CHOLD", "DHOLD", "IRSTTOP", "IRSTBOT", "ORSTTOP", "ORSTBOT", "OLOADTOP",
                    "OLOADBOT", "ADDSUBTOP", "ADDSUBBOT", "OHOLDTOP", "OHOLDBOT", "CI", "ACCUMCI", "SIGNEXTIN")},
                o_O=output)
            m.d.comb += [self.product[half].eq(delay(m, output.word_select(half, 16), self.spread,
                                                     name=f"product_{half}")) for half in range(2)]
        else:
            for half in range(2):
                m.submodules[f"half_{half}"] = multiplier = Multiplier(self.spread)
                m.d.comb += [multiplier.a.eq(self.a[half]), multiplier.b.eq(self.b[half]),
                             self.product[half].eq(multiplier.product)]
        return m


def latency(spread: int, packing: int) -> int:
    """Cycles from the factors to :func:`products`."""
    return (PackedMultiplier if packing > 1 else Multiplier).LATENCY + spread


def offset(packing: int) -> int:
    """What :func:`products` adds to each of the ``packing`` values of an item."""
    return PackedMultiplier.OFFSET if packing > 1 else 0


def products(m: Module, platform, factors, spread: int = 0, packing: int = 1,
             logic: Callable[[int], bool] = lambda index: False) -> list:
    """Products of ``factors``, :func:`latency` cycles later.

    Each item of ``factors`` is (``packing`` int8 values, one signed value) and gives the products of the latter with
    each of the former, to which :func:`offset` is added.  An item takes one multiplier; without packing, two
    share an iCE40's.  The one value is int8 too where multipliers are shared.  With packing, those items for whose
    indices ``logic`` is true take logic."""
    result = []
    pairs = packing == 1 and isinstance(platform, SiliconBluePlatform) and len(factors[0][1]) == 8
    for index, (a, b) in enumerate(factors if not pairs else ()):
        name = LOGIC if packing > 1 and logic(index) else MULTIPLIER
        m.submodules[name(index)] = unit = (
            LogicPair(spread) if name is LOGIC else
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
