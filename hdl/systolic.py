"""The systolic 1x1 pointwise array."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .multiplier import Multiplier, products
from .primitives import delay, gated_sum

__all__ = ["ProcessingElement", "SystolicArray"]


class ProcessingElement(wiring.Component):
    """One accumulator of the array; its multiplier is beside it.

    Operands are passed on, activations (with their flags) to the right, weights downwards.
    A finished sum is copied to the drain register, which ``take`` replaces by the one above.

    Parameters
    ----------
    accumulator
        Width of the sum in bits.
    spread
        Further registers between multiplier and accumulator.
    pipelined
        Operands are passed on a cycle later; else at once.

    Members
    -------
    x, first, last, take : In
        Activation, its place in the sum, and the drain command, from the left.
    w, above : In
        Weight and drain register from above.
    product : In(signed(16))
        ``x * w`` of :attr:`Multiplier.LATENCY <tepal.hdl.multiplier.Multiplier.LATENCY>` + ``spread`` cycles ago.
    captured : Out(1)
        The drain register takes a new sum at the end of this cycle.
    """

    def __init__(self, accumulator: int, spread: int = 0, pipelined: bool = True):
        self.accumulator, self.spread, self.pipelined = accumulator, spread, pipelined
        operands = {"x": signed(8), "first": 1, "last": 1, "take": 1, "w": signed(8)}
        super().__init__({
            **{name: In(shape) for name, shape in operands.items()},
            **{f"{name}_next": Out(shape) for name, shape in operands.items()},
            "product": In(signed(16)), "above": In(signed(accumulator)),
            "drain": Out(signed(accumulator)), "captured": Out(1),
        })

    @staticmethod
    def latency(spread: int) -> int:
        """Cycles from ``last`` at the input to ``captured``."""
        return Multiplier.LATENCY + spread + 1

    def elaborate(self, platform):
        m = Module()
        now = {name: getattr(self, name) for name in ("x", "first", "last", "take", "w")}
        late = {name: Signal.like(value, name=f"{name}_late") for name, value in now.items()}
        m.d.sync += [late[name].eq(value) for name, value in now.items()]
        m.d.comb += [getattr(self, f"{name}_next").eq((late if self.pipelined else now)[name]) for name in now]
        acc = Signal(signed(self.accumulator), reset_less=True)
        latency = self.latency(self.spread)
        keep = delay(m, ~late["first"], latency - 2, name="keep")
        m.d.sync += acc.eq(gated_sum(m, platform, acc, keep, self.product))
        m.d.comb += self.captured.eq(delay(m, late["last"], latency - 1, name="last"))
        with m.If(self.captured):
            m.d.sync += self.drain.eq(acc)
        with m.Elif(self.take):
            m.d.sync += self.drain.eq(self.above)
        return m


class SystolicArray(wiring.Component):
    """Output-stationary matrix engine: ``rows`` pixels by ``columns`` output channels.

    If ``pipelined``, row r takes its activations r cycles after row 0, column c its weights c cycles after column 0
    (the array delays them itself); element (r, c) multiplies what meets there.  Sums leave downwards, row ``rows`` - 1
    first, one row every ``step`` cycles, while the next ones are being made: column c shows them from one
    cycle after ``captured``, c cycles later than column 0.

    ``rows * columns`` multipliers.  A sum of K products takes K cycles; sums may follow one another every
    ``max(K, rows * step)`` cycles.

    Parameters
    ----------
    rows, columns
        Shape of the array.
    step
        Cycles between two rows at the bottom.
    accumulator
        Width of a sum in bits.
    spread
        Registers between each multiplier and its accumulator, for parts on which they lie far from each other.
    pipelined
        Without, rows and columns take their operands, and show their sums, in the same cycle each.

    Members
    -------
    x : In(signed(8)) per row, first, last : In(1) per row
        Activation and whether it begins, ends a sum; row r lags r cycles behind row 0.
    w : In(signed(8)) per column
        Weights, all columns at once, with row 0's activation.
    bottom : Out(signed(accumulator)) per column
    captured : Out(1)
        Column 0 shows the first row of finished sums in the next cycle.
    """

    def __init__(self, rows: int, columns: int, step: int, accumulator: int, spread: int = 0, pipelined: bool = True):
        self.rows, self.columns, self.step, self.accumulator, self.spread = rows, columns, step, accumulator, spread
        self.pipelined = pipelined
        super().__init__({
            "x": In(signed(8)).array(rows), "first": In(1).array(rows), "last": In(1).array(rows),
            "w": In(signed(8)).array(columns),
            "bottom": Out(signed(accumulator)).array(columns), "captured": Out(1),
        })

    @staticmethod
    def latency(rows: int, spread: int = 0, pipelined: bool = True) -> int:
        """Cycles from row 0's last activation to ``captured``."""
        return (rows - 1 if pipelined else 0) + ProcessingElement.latency(spread)

    def elaborate(self, platform):
        m = Module()
        grid = [[ProcessingElement(self.accumulator, self.spread, self.pipelined) for _ in range(self.columns)]
                for _ in range(self.rows)]
        for r, line in enumerate(grid):
            for c, element in enumerate(line):
                m.submodules[f"element_{r}_{c}"] = element
                left = grid[r][c - 1]
                if c:
                    m.d.comb += [element.x.eq(left.x_next), element.first.eq(left.first_next),
                                 element.last.eq(left.last_next), element.take.eq(left.take_next)]
                else:
                    m.d.comb += [element.x.eq(self.x[r]), element.first.eq(self.first[r]),
                                 element.last.eq(self.last[r])]
                if r:
                    m.d.comb += [element.w.eq(grid[r - 1][c].w_next), element.above.eq(grid[r - 1][c].drain)]
                else:
                    m.d.comb += element.w.eq(delay(m, self.w[c], c if self.pipelined else 0, name=f"w_{c}"))
        elements = [element for line in grid for element in line]
        factors = [(element.x, element.w) for element in elements]
        for element, product in zip(elements, products(m, platform, factors, self.spread), strict=True):
            m.d.comb += element.product.eq(product)
        m.d.comb += [self.bottom[c].eq(grid[-1][c].drain) for c in range(self.columns)]
        m.d.comb += self.captured.eq(grid[-1][0].captured)

        # After a capture at the bottom, row r takes from above r times, every ``step`` cycles: just until
        # the sums of row 0 have gone by, and never over a new sum of its own.
        count = Signal(range(self.rows + 1))
        phase = Signal(range(max(2, self.step)))
        strobe = Signal()
        m.d.comb += strobe.eq((count != 0) & (phase == 0))
        with m.If(self.captured):
            m.d.sync += [count.eq(self.rows - 1), phase.eq(self.step - 1)]
        with m.Elif(count != 0):
            with m.If(phase == 0):
                m.d.sync += [count.eq(count - 1), phase.eq(self.step - 1)]
            with m.Else():
                m.d.sync += phase.eq(phase - 1)
        for r in range(self.rows):
            # The i-th strobe of rows - 1 comes with count rows - i; row r obeys the first r of them.
            m.d.comb += grid[r][0].take.eq(strobe & (count >= self.rows - r))
        return m
