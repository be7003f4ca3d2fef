# SPDX-License-Identifier: Apache-2.0
"""The streaming depthwise-convolution engine, which also finds the largest value of windows."""

from collections.abc import Sequence
from enum import Enum
from typing import Any

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from tepal.hdl.primitives import delay

from .arithmetic import LogicMultiplier, gated_sum, pipelined_sum
from .instance_name import InstanceName

__all__ = ["ACTIVATION_OFFSET", "DepthwiseEngine", "ReductionKind"]

ACTIVATION_OFFSET = 128
"""What is added to activations before they are multiplied: unsigned factors make smaller multipliers."""


class ReductionKind(Enum):
    """What a lane makes of a window's products of weight and activation."""

    SUM = "sum"
    MAXIMUM = "maximum"
    """The largest: of activations, with weights of 1 where they count and 0 where they don't, which gives the least
    product that there can be."""


class DepthwiseEngine(wiring.Component):
    """Depthwise sums of ``lanes`` channels at once, all ``taps`` of each in one cycle.

    A kernel of more taps than that takes several cycles, from ``first`` to ``last``.  One window a cycle;
    the sum stands at ``acc`` :meth:`latency` cycles after its last window.  ``lanes * taps`` small
    multipliers of logic.  Sums are of weight * (activation + :data:`ACTIVATION_OFFSET`): this offset and zero
    points are the requantiser's business.

    Parameters
    ----------
    lanes, taps
        Shape of the engine.
    accumulator
        Width of a sum in bits; the caller sizes it from the weights.
    kinds
        What it must be able to make; nothing is built for others.
    weight
        Width of a weight in bits.

    Members
    -------
    windows, weights : In(8 * lanes), In(weight * lanes) per tap
        Signed values of each lane, lane 0 lowest.
    first, last : In(1)
        The window begins, ends a sum.
    kind : In
        Which of ``kinds`` the window is for; only where there are several.
    acc : Out(signed(accumulator)) per lane
    """

    NAME = InstanceName("depthwise", "depthwise engine", "depthwise engine")

    def __init__(self, lanes: int, taps: int, accumulator: int,
                 kinds: Sequence[ReductionKind] = (ReductionKind.SUM,), weight: int = 8):
        self.lanes, self.taps, self.accumulator, self.kinds = lanes, taps, accumulator, kinds
        self.weight = weight
        super().__init__({
            "windows": In(8 * lanes).array(taps), "weights": In(weight * lanes).array(taps),
            "first": In(1),
            "acc": Out(signed(accumulator)).array(lanes),
            **({"kind": In(range(len(kinds)))} if len(kinds) > 1 else {}),
        })

    @staticmethod
    def latency(taps: int) -> int:
        """Cycles from a window to its sum: multiplier, adder tree, accumulator."""
        return LogicMultiplier.latency(8) + (taps - 1).bit_length() + 1

    @staticmethod
    def features(engine: Any, accumulator: int, kinds: Sequence[ReductionKind]) -> dict[str, Any]:
        """Features for the LUT estimate."""
        return {"products": engine.lanes * engine.taps, "bits of sums": engine.lanes * accumulator,
                **({"compared products": engine.lanes * engine.taps} if ReductionKind.MAXIMUM in kinds else {})}

    def _compares(self, m: Module) -> list:
        """For each level of the tree, and the accumulator behind it, whether it takes the larger of two values."""
        if len(self.kinds) == 1:
            return [C(1, 1)] * (1 + (self.taps - 1).bit_length())
        compares = [delay(m, self.kind == self.kinds.index(ReductionKind.MAXIMUM), LogicMultiplier.latency(8),
                          name="compare")]
        for level in range((self.taps - 1).bit_length()):
            compares.append(delay(m, compares[-1], 1, name=f"compare_{level}"))
        return compares

    @staticmethod
    def _larger(a, b):
        """The larger of two products of an activation and 1 or 0: eight bits each."""
        return Mux(a[:8] > b[:8], a[:8], b[:8])

    def _sum_or_largest(self, m: Module, values: list, compares: list, *, name: str):
        """What is made of ``values``, by a tree as that of :func:`~tepal.hdl.units.arithmetic.pipelined_sum`."""
        for level, compare in enumerate(compares[:-1]):
            results = []
            for i in range(0, len(values), 2):
                value = values[i]
                if i + 1 < len(values):
                    value = Mux(compare, self._larger(value, values[i + 1]), value + values[i + 1])
                register = Signal(value.shape(), name=f"{name}_l{level}_{i // 2}", reset_less=True)
                m.d.sync += register.eq(value)
                results.append(register)
            values = results
        return values[0]

    def elaborate(self, platform):
        m = Module()
        keep = delay(m, ~self.first, self.latency(self.taps) - 1, name="keep")
        compares = self._compares(m) if ReductionKind.MAXIMUM in self.kinds else []
        for lane in range(self.lanes):
            byte = slice(8 * lane, 8 * lane + 8)
            products = []
            for tap in range(self.taps):
                m.submodules[f"multiplier_{lane}_{tap}"] = multiplier = LogicMultiplier(self.weight, 8)
                m.d.comb += [multiplier.a.eq(self.weights[tap].word_select(lane, self.weight)),
                             multiplier.b.eq(self.windows[tap][byte] ^ ACTIVATION_OFFSET)]
                products.append(multiplier.product)
            acc = self.acc[lane]
            if compares:
                total = self._sum_or_largest(m, products, compares, name=f"total_{lane}")
                largest = Mux(keep, self._larger(acc, total), total[:8])
                m.d.sync += acc.eq(Mux(compares[-1], largest, gated_sum(m, platform, acc, keep, total)))
            else:
                total, _ = pipelined_sum(m, [(product, 0) for product in products], name=f"total_{lane}")
                m.d.sync += acc.eq(gated_sum(m, platform, acc, keep, total))
        return m
