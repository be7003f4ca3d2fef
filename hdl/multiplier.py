"""The multipliers of the systolic array, as the part has them."""

from typing import Any

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.vendor import SiliconBluePlatform

from .primitives import delay, is_ecp5

__all__ = ["Multiplier", "MultiplierPair", "products"]


class Multiplier(wiring.Component):
    """``product = a * b`` of int8 values, registered at its inputs and at its output.

    Parameters
    ----------
    spread
        Registers on top of those two; the first one lies inside the multiplier where the part's have room for it.

    Members
    -------
    a, b : In(signed(8))
    product : Out(signed(16))
        :attr:`LATENCY` + ``spread`` cycles later.
    """

    LATENCY = 2
    """Cycles from the factors to the product, without ``spread``."""

    def __init__(self, spread: int = 0):
        self.spread = spread
        super().__init__({"a": In(signed(8)), "b": In(signed(8)), "product": Out(signed(16))})

    def elaborate(self, platform):
        m = Module()
        if is_ecp5(platform):
            product = Signal(36)
            inside = ("INPUTA", "INPUTB", "OUTPUT", "PIPELINE")[:4 if self.spread else 3]
            ports: dict[str, Any] = {f"o_P{i}": product[i] for i in range(36)}
            for name, value in (("A", self.a), ("B", self.b)):
                ports |= {f"i_{name}{i}": value[min(i, 7)] for i in range(18)} | {f"i_SIGNED{name}": Const(1, 1),
                                                                                 f"i_SOURCE{name}": Const(0, 1)}
            ports |= {f"i_C{i}": Const(0, 1) for i in range(18)}
            ports |= {f"p_REG_{name}_CLK": "CLK0" for name in inside}
            m.submodules.multiplier = Instance("MULT18X18D", **ports, p_GSR="DISABLED", p_RESETMODE="SYNC",
                                               i_CLK0=ClockSignal(), i_CE0=Const(1, 1), i_RST0=Const(0, 1))
            m.d.comb += self.product.eq(delay(m, product[:16], max(0, self.spread - 1), name="product"))
            return m
        a, b = Signal.like(self.a, reset_less=True), Signal.like(self.b, reset_less=True)
        product = Signal.like(self.product, reset_less=True)
        m.d.sync += [a.eq(self.a), b.eq(self.b), product.eq(a * b)]
        m.d.comb += self.product.eq(delay(m, product, self.spread, name="product"))
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


def products(m: Module, platform, factors, spread: int = 0) -> list:
    """The products of ``factors``, pairs of int8 values, :attr:`Multiplier.LATENCY` + ``spread`` cycles later."""
    result = []
    if not isinstance(platform, SiliconBluePlatform):
        for index, (a, b) in enumerate(factors):
            m.submodules[f"multiplier_{index}"] = multiplier = Multiplier(spread)
            m.d.comb += [multiplier.a.eq(a), multiplier.b.eq(b)]
            result.append(multiplier.product)
        return result
    for index in range(0, len(factors), 2):
        m.submodules[f"multipliers_{index // 2}"] = pair = MultiplierPair(spread)
        for half, (a, b) in enumerate(factors[index:index + 2]):
            m.d.comb += [pair.a[half].eq(a), pair.b[half].eq(b)]
            result.append(pair.product[half])
    return result
