"""The multipliers of the systolic array, as the part has them."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.vendor import SiliconBluePlatform

__all__ = ["Multiplier", "MultiplierPair", "products"]


class Multiplier(wiring.Component):
    """``product = a * b`` of int8 values, registered at its inputs and at its output.

    Members
    -------
    a, b : In(signed(8))
    product : Out(signed(16))
    """

    LATENCY = 2
    """Cycles from the factors to the product."""

    a: In(signed(8))
    b: In(signed(8))
    product: Out(signed(16))

    def elaborate(self, platform):
        m = Module()
        a, b = Signal.like(self.a, reset_less=True), Signal.like(self.b, reset_less=True)
        product = Signal.like(self.product, reset_less=True)
        m.d.sync += [a.eq(self.a), b.eq(self.b), product.eq(a * b)]
        m.d.comb += self.product.eq(product)
        return m


class MultiplierPair(wiring.Component):
    """Two :class:`Multiplier` in one SB_MAC16, iCE40 UltraPlus' block of a multiplier and two adders.

    Members
    -------
    a, b : In(signed(8)) twice
    product : Out(signed(16)) twice
    """

    LATENCY = Multiplier.LATENCY

    a: In(signed(8)).array(2)
    b: In(signed(8)).array(2)
    product: Out(signed(16)).array(2)

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
            m.d.comb += [self.product[half].eq(output.word_select(half, 16)) for half in range(2)]
        else:
            for half in range(2):
                m.submodules[f"half_{half}"] = multiplier = Multiplier()
                m.d.comb += [multiplier.a.eq(self.a[half]), multiplier.b.eq(self.b[half]),
                             self.product[half].eq(multiplier.product)]
        return m


def products(m: Module, platform, factors) -> list:
    """The products of ``factors``, pairs of int8 values, :attr:`Multiplier.LATENCY` cycles later."""
    result = []
    if not isinstance(platform, SiliconBluePlatform):
        for index, (a, b) in enumerate(factors):
            m.submodules[f"multiplier_{index}"] = multiplier = Multiplier()
            m.d.comb += [multiplier.a.eq(a), multiplier.b.eq(b)]
            result.append(multiplier.product)
        return result
    for index in range(0, len(factors), 2):
        m.submodules[f"multipliers_{index // 2}"] = pair = MultiplierPair()
        for half, (a, b) in enumerate(factors[index:index + 2]):
            m.d.comb += [pair.a[half].eq(a), pair.b[half].eq(b)]
            result.append(pair.product[half])
    return result
