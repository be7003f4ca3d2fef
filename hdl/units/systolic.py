# SPDX-License-Identifier: Apache-2.0
"""The systolic 1x1 pointwise array."""

from typing import Any

import numpy as np
from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from tepal.hdl.config import EngineConfig
from tepal.hdl.primitives import delay

from . import multiplier
from .arithmetic import gated_sum
from .instance_name import InstanceName
from .multiplier import Dot

__all__ = ["ProcessingElement", "SystolicArray"]


def _shape(count: int, width: int) -> Shape:
    """Of so many signed integers of ``width`` bits, one beside the other: that of the integer, if it is one."""
    return signed(width) if count == 1 else unsigned(count * width)


def _parts(value, count: int) -> list:
    """Several integers of which :func:`_shape` is the shape."""
    return [value.word_select(number, len(value) // count).as_signed() for number in range(count)]


class ProcessingElement(wiring.Component):
    """An accumulator of the array, or one each for ``packing`` rows; their multipliers are beside it.

    Where there are several ``operands``, what is accumulated are sums of their products.  Operands are passed on,
    activations (with their flags) to the right, weights downwards.
    A finished sum is copied to the drain register, which ``take`` replaces by the one above.

    Parameters
    ----------
    config
        Of the array: operands are passed on a cycle later if it is pipelined, else at once.
    accumulator, weight
        Width of a sum, and of a weight, in bits.
    abreast
        The next element to the right takes its operands in the same cycle.

    Members
    -------
    x, take : In per row
        Activation, or so many side by side as there are operands, and drain command from the left.
    first, last : In(1)
        Place of the activations in their sums, from the left.
    w : In(signed(weight)), above : In(signed(accumulator))
        Weight, or as many as there are operands, and drain register from above.
    product : In(signed) per row
        ``x * w``, or the sum of as many as there are operands, of
        :func:`multiplier.latency <tepal.hdl.units.multiplier.latency>` cycles ago.
    drain : Out(signed(accumulator)) per row
    captured : Out(1)
        The drain registers take new sums at the end of this cycle.
    """

    def __init__(self, config: EngineConfig, accumulator: int, weight: int = 8, abreast: bool = False):
        self.config, self.accumulator, self.abreast, packing = config, accumulator, abreast, config.packing
        ports = {"first": In(1), "last": In(1), "w": In(_shape(config.operands, weight)),
                 **{f"x_{row}": In(_shape(config.operands, 8)) for row in range(packing)},
                 **{f"take_{row}": In(1) for row in range(packing)}}
        self.passed = list(ports)
        super().__init__({
            **ports, **{f"{name}_next": port.flip() for name, port in ports.items()},
            "product": In(signed(8 + weight + Dot.levels(config.operands))).array(packing),
            "above": In(signed(accumulator)),
            "drain": Out(signed(accumulator)).array(packing), "captured": Out(1),
        })

    @staticmethod
    def latency(config: EngineConfig) -> int:
        """Cycles from ``last`` at the input to ``captured``."""
        return multiplier.latency(config.spread, config.packing, config.operands) + 1

    def elaborate(self, platform):
        m = Module()
        now = {name: getattr(self, name) for name in self.passed}
        late = {name: Signal.like(value, name=f"{name}_late") for name, value in now.items()}
        m.d.sync += [late[name].eq(value) for name, value in now.items()]
        m.d.comb += [getattr(self, f"{name}_next").eq(
            (now if not self.config.pipelined or (self.abreast and name != "w") else late)[name]) for name in now]
        latency = self.latency(self.config)
        keep = delay(m, ~late["first"], latency - 2, name="keep")
        m.d.comb += self.captured.eq(delay(m, late["last"], latency - 1, name="last"))
        above = self.above
        for row in range(self.config.packing):
            acc = Signal(signed(self.accumulator), name=f"acc_{row}", reset_less=True)
            m.d.sync += acc.eq(gated_sum(m, platform, acc, keep, self.product[row]))
            with m.If(self.captured):
                m.d.sync += self.drain[row].eq(acc)
            with m.Elif(getattr(self, f"take_{row}")):
                m.d.sync += self.drain[row].eq(above)
            above = self.drain[row]
        return m


class SystolicArray(wiring.Component):
    """Output-stationary matrix engine: ``config.rows`` pixels by ``config.columns`` output channels, of each of which
    ``config.operands`` products are made in a cycle.

    If ``pipelined``, a row takes its activations a cycle after the one above it (after the two above it, if two share
    their multipliers), column c its weights ``config.lag(c)`` cycles after column 0 (the array delays them itself);
    element (r, c) multiplies what meets there.  Sums leave downwards, the last row first, one row every
    ``config.drain_step`` cycles, while the next ones are being made: column c shows them from one cycle after
    ``captured``, ``config.lag(c)`` cycles later than column 0.  Without ``pipelined``, rows and columns take their
    operands, and show their sums, in the same cycle each.

    ``config.multipliers`` multipliers, and others of logic in ``config.logic_columns`` columns, each with
    ``config.spread`` registers between it and its accumulators.  A sum of K cycles' products takes K cycles; sums may
    follow one another every ``max(K, draining(config))`` cycles.  Where ``config.packing`` rows share a multiplier,
    sums are of (x + :func:`multiplier.offset <tepal.hdl.units.multiplier.offset>`) * w.

    Parameters
    ----------
    config
        Shape of the engine.
    accumulator, weight
        Width of a sum, and of a weight, in bits; for a weight ``config.widest_weight`` at most.

    Members
    -------
    x : In(signed(8)), or as many side by side as there are operands, per row, first, last : In(1) per row
        Activation and whether it begins, ends a sum; row r lags r // ``config.packing`` cycles behind row 0.
    w : In(signed(weight)), or as many, per column
        Weights, all columns at once, with row 0's activation.
    bottom : Out(signed(accumulator)) per column
    captured : Out(1)
        Column 0 shows the first row of finished sums in the next cycle.
    ending : Out(1), with several ``config.columns_abreast`` alone
        So it does :meth:`ProcessingElement.latency` cycles later.
    """

    ELEMENT = InstanceName("element_{}_{}", "systolic array, element row {} column {}")
    NAME = InstanceName("array", "systolic array", "systolic array", (ELEMENT, *multiplier.NAMES))

    def __init__(self, config: EngineConfig, accumulator: int, weight: int = 8):
        self.config, self.accumulator, self.weight = config, accumulator, weight
        rows, columns = config.rows, config.columns
        super().__init__({
            "x": In(_shape(config.operands, 8)).array(rows), "first": In(1).array(rows), "last": In(1).array(rows),
            "w": In(_shape(config.operands, weight)).array(columns),
            "bottom": Out(signed(accumulator)).array(columns), "captured": Out(1),
            **({"ending": Out(1)} if config.columns_abreast > 1 else {}),
        })

    @staticmethod
    def latency(config: EngineConfig) -> int:
        """Cycles from row 0's last activations to ``captured``."""
        return (config.rows // config.packing - 1 if config.pipelined else 0) + ProcessingElement.latency(config)

    @staticmethod
    def draining(engine: Any) -> Any:
        """Cycles in which the sums of a column group leave, and after which the next ones may be finished.  ``engine``
        is a configuration, or has arrays in place of its integers."""
        return engine.rows * engine.drain_step

    @staticmethod
    def features(engine: Any, accumulator: int) -> dict[str, Any]:
        """Features for the LUT estimate; ``engine`` as of :meth:`draining`."""
        elements, operands = engine.rows * engine.columns, engine.operands
        hard, several = engine.rows * (engine.columns - engine.logic_columns), operands > 1
        found = {"elements": elements, "bits of sums": elements * accumulator,
                 "operands passed on": engine.rows * (engine.columns // engine.columns_abreast - 1) * operands,
                 "packed multipliers": hard // 2 * (engine.packing - 1) * (not several),
                 "delayed weights": engine.columns * (engine.columns // engine.columns_abreast - 1) // 2 * operands}
        if several:
            kind = "products of packed sums" if np.all(np.equal(engine.packing, 2)) else "products of sums"
            found[kind] = hard * operands
        if engine.logic_columns:
            found["products of logic"] = engine.rows * engine.logic_columns * operands
        return found

    def elaborate(self, platform):
        m = Module()
        grid = self._connect_elements(m, platform)
        self._drain(m, grid)
        return m

    def _connect_elements(self, m: Module, platform) -> list[list[ProcessingElement]]:
        config, packing = self.config, self.config.packing
        grid = [[ProcessingElement(config, self.accumulator, self.weight, config.lag(c) == config.lag(c + 1))
                 for c in range(config.columns)]
                for _ in range(config.rows // packing)]
        for r, line in enumerate(grid):
            rows = range(packing * r, packing * r + packing)
            for c, element in enumerate(line):
                m.submodules[self.ELEMENT(r, c)] = element
                if c:
                    m.d.comb += [getattr(element, name).eq(getattr(line[c - 1], f"{name}_next"))
                                 for name in element.passed if name != "w"]
                else:
                    m.d.comb += [element.first.eq(self.first[rows[0]]), element.last.eq(self.last[rows[0]]),
                                 *(getattr(element, f"x_{i}").eq(self.x[row]) for i, row in enumerate(rows))]
                if r:
                    m.d.comb += [element.w.eq(grid[r - 1][c].w_next), element.above.eq(grid[r - 1][c].drain[-1])]
                else:
                    lag = config.lag(c) if config.pipelined else 0
                    m.d.comb += element.w.eq(delay(m, self.w[c], lag, name=f"w_{c}"))
        elements = [element for line in grid for element in line]
        factors = [([getattr(element, f"x_{i}") for i in range(packing)], element.w) for element in elements]
        if config.operands > 1:
            factors = [([*zip(*(_parts(each, config.operands) for each in x), strict=True)], _parts(w, config.operands))
                       for x, w in factors]
        for element, results in zip(elements, multiplier.products(
                m, platform, factors, config.spread, packing, config.operands,
                lambda index: config.in_logic(index % config.columns)), strict=True):
            m.d.comb += [element.product[i].eq(product) for i, product in enumerate(results)]
        m.d.comb += [self.bottom[c].eq(grid[-1][c].drain[-1]) for c in range(config.columns)]
        m.d.comb += self.captured.eq(grid[-1][0].captured)
        if config.columns_abreast > 1:
            m.d.comb += self.ending.eq(grid[-1][0].last)
        return grid

    def _drain(self, m: Module, grid: list[list[ProcessingElement]]):
        """After a capture at the bottom, row r takes from above r times, once a drain step: just until the sums of
        row 0 have gone by, and never over a new sum of its own."""
        rows, step = self.config.rows, self.config.drain_step
        count = Signal(range(rows + 1))
        phase = Signal(range(max(2, step)))
        strobe = Signal()
        m.d.comb += strobe.eq((count != 0) & (phase == 0))
        with m.If(self.captured):
            m.d.sync += [count.eq(rows - 1), phase.eq(step - 1)]
        with m.Elif(count != 0):
            with m.If(phase == 0):
                m.d.sync += [count.eq(count - 1), phase.eq(step - 1)]
            with m.Else():
                m.d.sync += phase.eq(phase - 1)
        for r in range(rows):
            # The i-th strobe of rows - 1 comes with count rows - i; row r obeys the first r of them.
            line, row = divmod(r, self.config.packing)
            m.d.comb += getattr(grid[line][0], f"take_{row}").eq(strobe & (count >= rows - r))
