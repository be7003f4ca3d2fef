# SPDX-License-Identifier: Apache-2.0
"""Adders made of an ECP5's cells equal their plain twins, for all operands: proved with yosys' model of the cell."""

import pytest
from amaranth import Cat, Module, signed
from amaranth.back import rtlil
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from tepal.boards.flow.tools import find
from tepal.hdl.units.arithmetic import LogicMultiplier, gated_sum


class ECP5:
    """Enough of a platform to be taken for one."""

    device = "LFE5U-85F"


class Twins(wiring.Component):
    """``same`` tells whether both ways to a sum or product agree."""

    def __init__(self, ways, ports):
        self.ways = ways
        super().__init__({name: In(shape) for name, shape in ports.items()} | {"same": Out(1)})

    def elaborate(self, platform):
        m = Module()
        plain, vendors = self.ways(m, None, self, "plain"), self.ways(m, ECP5(), self, "vendor")
        m.d.comb += self.same.eq(plain == vendors)
        return m


def proved(twins: Twins, folder) -> bool:
    """Whether no operands make ``same`` false."""
    (folder / "twins.il").write_text(rtlil.convert(twins, name="twins", emit_src=False))
    script = ["read_rtlil twins.il", "read_verilog +/ecp5/common_sim.vh +/ecp5/ccu2c_sim.vh", "hierarchy -top twins",
              "proc", "flatten", "opt", "dffunmap", "clk2fflogic", "opt", "select -module twins",
              "sat -seq 2 -prove same 1"]
    printed = find("yosys").run(["-p", "; ".join(script)], folder)
    return "SUCCESS!" in printed


def accumulated(width, operand):
    def ways(m, platform, twins, name):
        return gated_sum(m, platform, twins.a, twins.keep, twins.b)

    return Twins(ways, {"a": signed(width), "keep": 1, "b": signed(operand)})


def multiplied(a, b, *, joined=False):
    def ways(m, platform, twins, name):
        return Cat(value for value, _ in LogicMultiplier.rows(m, platform, twins.a, twins.b, joined=joined))

    return Twins(ways, {"a": signed(a), "b": b})


@pytest.mark.parametrize("twins", [accumulated(21, 16), accumulated(18, 18), accumulated(17, 16), multiplied(8, 8),
                                   multiplied(21, 5), multiplied(18, 4), multiplied(8, 8, joined=True)],
                         ids=["21+16", "18+18", "17+16", "8x8", "21x5", "18x4", "8x8 joined"])
def test_equal(twins, tmp_path):
    assert proved(twins, tmp_path)


def test_proof_can_fail(tmp_path):
    def ways(m, platform, twins, name):
        return twins.a + twins.b if platform else gated_sum(m, platform, twins.a, twins.keep, twins.b)

    assert not proved(Twins(ways, {"a": signed(6), "keep": 1, "b": signed(6)}), tmp_path)
