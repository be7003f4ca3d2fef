"""The streaming depthwise-convolution engine."""

from typing import Any

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from tepal.hdl.primitives import delay

from .arithmetic import LogicMultiplier, gated_sum, pipelined_sum
from .instance_name import InstanceName

__all__ = ["ACTIVATION_OFFSET", "DepthwiseEngine"]

ACTIVATION_OFFSET = 128
"""What is added to activations before they are multiplied: unsigned factors make smaller multipliers."""


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

    Members
    -------
    windows, weights : In(8 * lanes) per tap
        int8 of each lane, lane 0 lowest.
    first, last : In(1)
        The window begins, ends a sum.
    acc : Out(signed(accumulator)) per lane
    """

    NAME = InstanceName("depthwise", "depthwise engine", "depthwise engine")

    def __init__(self, lanes: int, taps: int, accumulator: int):
        self.lanes, self.taps, self.accumulator = lanes, taps, accumulator
        super().__init__({
            "windows": In(8 * lanes).array(taps), "weights": In(8 * lanes).array(taps),
            "first": In(1),
            "acc": Out(signed(accumulator)).array(lanes),
        })

    @staticmethod
    def latency(taps: int) -> int:
        """Cycles from a window to its sum: multiplier, adder tree, accumulator."""
        return LogicMultiplier.latency(8) + (taps - 1).bit_length() + 1

    @staticmethod
    def features(engine: Any, accumulator: int) -> dict[str, Any]:
        """Of the LUT estimate."""
        return {"products": engine.lanes * engine.taps, "bits of sums": engine.lanes * accumulator}

    def elaborate(self, platform):
        m = Module()
        keep = delay(m, ~self.first, self.latency(self.taps) - 1, name="keep")
        for lane in range(self.lanes):
            byte = slice(8 * lane, 8 * lane + 8)
            products = []
            for tap in range(self.taps):
                m.submodules[f"multiplier_{lane}_{tap}"] = multiplier = LogicMultiplier(8, 8)
                m.d.comb += [multiplier.a.eq(self.weights[tap][byte]),
                             multiplier.b.eq(self.windows[tap][byte] ^ ACTIVATION_OFFSET)]
                products.append((multiplier.product, 0))
            total, _ = pipelined_sum(m, products, name=f"total_{lane}")
            m.d.sync += self.acc[lane].eq(gated_sum(m, platform, self.acc[lane], keep, total))
        return m
