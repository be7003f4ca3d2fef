"""The streaming depthwise-convolution engine."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .primitives import LogicMultiplier, delay, pipelined_sum

__all__ = ["DepthwiseEngine"]


class DepthwiseEngine(wiring.Component):
    """Depthwise sums of ``lanes`` channels at once, all ``taps`` of each in one cycle.

    A kernel of more taps than that takes several cycles, from ``first`` to ``last``.  One window a cycle;
    the sum stands at ``acc`` :meth:`latency` cycles after its last window.  ``lanes * taps`` small
    multipliers of logic.  Sums are of raw int8 products: zero points are the requantiser's business.

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
        return 1 + (taps - 1).bit_length() + 1

    def elaborate(self, platform):
        m = Module()
        first = delay(m, self.first, self.latency(self.taps) - 1, name="first")
        for lane in range(self.lanes):
            byte = slice(8 * lane, 8 * lane + 8)
            products = []
            for tap in range(self.taps):
                product = Signal(signed(16), name=f"product_{lane}_{tap}", reset_less=True)
                m.submodules[f"multiplier_{lane}_{tap}"] = multiplier = LogicMultiplier(8, 8)
                m.d.comb += [multiplier.a.eq(self.windows[tap][byte]), multiplier.b.eq(self.weights[tap][byte])]
                m.d.sync += product.eq(multiplier.product)
                products.append(product)
            total, _ = pipelined_sum(m, products, name=f"total_{lane}")
            m.d.sync += self.acc[lane].eq(Mux(first, 0, self.acc[lane]) + total)
        return m
