# SPDX-License-Identifier: Apache-2.0
"""Sums, remainders and products, made of logic: plain expressions, and a vendor's cells where the platform is a part
that has them."""

from typing import Any

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from tepal.hdl.primitives import delay, is_ecp5

__all__ = ["LogicMultiplier", "gated_sum", "modular_sum", "pipelined_sum"]


def _carry_chain(m: Module, table: int, bits):
    """Bits of an ECP5 carry chain of cells CCU2C, two bits a cell.

    ``bits`` are (A, B, C, D) from the lowest; ``table`` is their truth table, whose value is the sum without
    carry, and with C and D at zero the carry that a bit without propagation makes."""
    bits = list(bits)
    sums = Signal(len(bits) + len(bits) % 2)
    zero = (Const(0, 1),) * 4
    carry = Const(0, 1)
    for i in range(0, len(bits), 2):
        low, high = bits[i], bits[i + 1] if i + 1 < len(bits) else zero
        leaving = Signal()
        ports: dict[str, Any] = {f"i_{name}{half}": bit for half, four in enumerate((low, high))
                                 for name, bit in zip("ABCD", four, strict=True)}
        ports |= {f"p_INIT{half}": Const(table, 16) for half in range(2)}
        m.submodules += Instance("CCU2C", **ports, p_INJECT1_0="NO", p_INJECT1_1="NO", i_CIN=carry,
                                 o_S0=sums[i], o_S1=sums[i + 1], o_COUT=leaving)
        carry = leaving
    return sums[:len(bits)]


def _row_pair(m: Module, platform, a, pair):
    """``a * pair`` of a signed value and two bits, as one carry chain: two rows of a multiplication."""
    if not is_ecp5(platform):
        return (Mux(pair[0], a, 0) + (Mux(pair[1], a, 0) << 1))[:len(a) + 2].as_signed()
    wide = Cat(a, a[-1].replicate(2))
    return _carry_chain(m, 0x7888, ((wide[i], pair[0], wide[i - 1] if i else Const(0, 1), pair[1])
                                    for i in range(len(wide)))).as_signed()


def gated_sum(m: Module, platform, a, keep, b):
    """``(a if keep else 0) + b`` of signed values, as wide as ``a``: an accumulator's sum, one cell a bit where the
    part has such."""
    if not is_ecp5(platform):
        # In this form the choice and the adder share a LUT.
        return Mux(keep, a + b, b)[:len(a)].as_signed()
    wide = Cat(b, b[-1].replicate(max(0, len(a) - len(b))))
    return _carry_chain(m, 0x7878, ((a[i], keep, wide[i], Const(0, 1)) for i in range(len(a)))).as_signed()


def modular_sum(m: Module, a, b, modulus: int, *, name: str):
    """((a + b) mod ``modulus``, whether it wrapped) of two remainders, as tables: adders would be slower."""
    total, wrapped = Signal(range(max(2, modulus)), name=f"{name}_remainder"), Signal(name=f"{name}_wrapped")
    with m.Switch(Cat(a, b)):
        for i in range(min(modulus, 1 << len(a))):
            for j in range(min(modulus, 1 << len(b))):
                with m.Case(i | j << len(a)):
                    m.d.comb += [total.eq((i + j) % modulus), wrapped.eq(i + j >= modulus)]
    return total, wrapped


def _joined(terms):
    """One term, or the sum of two, as a term."""
    value, low = terms[0]
    if len(terms) > 1:
        # What lies below the higher term's lowest bit needs no adder.
        other, high = terms[1]
        value = Cat(value[:high - low], (value >> (high - low)) + other).as_signed()
    return value, low


def pipelined_sum(m: Module, terms, *, name: str):
    """Sum of signed values, each shifted left, by a tree of registered adders: (signal, latency in cycles).

    ``terms`` are (value, shift) with shifts that don't fall."""
    latency = 0
    while len(terms) > 1:
        sums = []
        for i in range(0, len(terms), 2):
            value, low = _joined(terms[i:i + 2])
            register = Signal(value.shape(), name=f"{name}_l{latency}_{i // 2}", reset_less=True)
            m.d.sync += register.eq(value)
            sums.append((register, low))
        terms, latency = sums, latency + 1
    value, low = terms[0]
    return Cat(C(0, low), value).as_signed() if low else value, latency


class LogicMultiplier(wiring.Component):
    """``product = a * b`` of a signed and an unsigned value, made of logic, pipelined.

    A part's multipliers belong to the systolic array; tools would spend them on any other product too.  Two bits
    of ``b`` make a row, a carry chain; the rows are added by a tree.  A row and its sum with another would be two carry
    chains in a cycle, so rows have registers of their own, unless they are ``joined``.

    Parameters
    ----------
    a, b
        Bits of the factors.
    joined
        Add every two rows in the cycle that makes them, where flip-flops are scarce: a register of both has no more
        bits than one of either.

    Members
    -------
    a : In(signed(a)), b : In(b)
    product : Out(signed(a + b))
        ``latency(b, joined)`` cycles later.
    """

    def __init__(self, a: int, b: int, *, joined: bool = False):
        self.joined = joined
        super().__init__({"a": In(signed(a)), "b": In(b), "product": Out(signed(a + b))})

    @staticmethod
    def rows(m: Module, platform, a, b, name: str = "row", *, joined: bool = False):
        """Partial products of the cycle before, as :func:`pipelined_sum` takes them."""
        rows = [(_row_pair(m, platform, a, Cat(b[low:low + 2], C(0, 1))[:2]), low) for low in range(0, len(b), 2)]
        if joined:
            pairs = [_joined(rows[at:at + 2]) for at in range(0, len(rows), 2)]
            rows = [(value[:len(a) + 4].as_signed(), low) for value, low in pairs]
        return [(delay(m, value, 1, name=f"{name}_{low}"), low) for value, low in rows]

    @staticmethod
    def latency(b: int, joined: bool = False) -> int:
        """Cycles from the operands to the product: registers of its own, for operands come from afar, rows, tree."""
        return 2 + (-(-b // (4 if joined else 2)) - 1).bit_length()

    def elaborate(self, platform):
        m = Module()
        a, b = (delay(m, value, 1, name=name) for name, value in (("a", self.a), ("b", self.b)))
        total, _ = pipelined_sum(m, self.rows(m, platform, a.as_signed(), b, joined=self.joined), name="product")
        m.d.comb += self.product.eq(total)
        return m
