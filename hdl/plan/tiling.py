# SPDX-License-Identifier: Apache-2.0
"""How an engine divides a pass: into tiles of windows, steps, and column groups; and how long each takes.

Nothing in the engine depends on data, so all of it is fixed in advance.  A tile's stages:

1. the sequencer steps through windows, which are reduced (depthwise) or copied into the tile buffer;
2. the feeder sends the tile through the array once for every column group;
3. finished sums drain out of the array, are requantised and written to the activation memory.

An engine, here, is an :class:`~tepal.hdl.config.EngineConfig`, or has arrays in place of some of its integers: so are
the results then, for many engines at once.  The bounds below keep apart what happens within one pass;
those of :mod:`~tepal.hdl.plan.timeline` keep one pass apart from another.
"""

from dataclasses import dataclass
from functools import cached_property, reduce
from math import prod
from typing import Any

import numpy as np
from tepal.hdl.config import EngineConfig
from tepal.hdl.units.column_parameters import ColumnParameters
from tepal.hdl.units.depthwise import DepthwiseEngine
from tepal.hdl.units.drain import Drain
from tepal.hdl.units.elementwise import ElementwiseFormat, ElementwiseUnit
from tepal.hdl.units.lane_requantisers import LaneParameters, LaneRequantisers
from tepal.hdl.units.requantiser import RequantiserFormat
from tepal.hdl.units.sequencer import Sequencer
from tepal.hdl.units.serial_requantiser import SerialFormat
from tepal.hdl.units.systolic import SystolicArray
from tepal.hdl.units.tile_buffer import TileBuffer
from tepal.hdl.units.window import WindowGenerator

from .passes import Pass

__all__ = ["Latencies", "Tiling", "copied", "largest", "parameter_beats", "parameter_words", "period_bounds",
           "slot_bounds", "sum_cycles", "word_cycles"]


def _ceil(a, b):
    return -(-a // b)


def largest(*values):
    """The largest of integers, or, one by one, of arrays and integers."""
    return reduce(np.maximum, values) if np.ndarray in map(type, values) else max(values)


@dataclass(frozen=True)
class Latencies:
    """Cycles from one fixed point of the pipeline to another: sums of what the units declare.

    ``read``: from a step to the reading of the activation or the input memory.  ``window``: from a step to its window.
    ``copy``: from a step to the write of a copied word into the tile buffer.
    ``sum``: from a step to the sum of the lanes that it ends.  ``reduce``: from such a step to the write of the last
    lane's result into the tile buffer.  ``drain``: from a sum's last operands, in the feeder, to the write of a tile's
    first result.  ``skip``: from the reading of the value that is added to a result to the result's write."""

    read: int = 0
    window: int = 0
    copy: int = 0
    sum: int = 0
    reduce: int = 0
    drain: int = 0
    skip: int = 0

    @classmethod
    def of(cls, config: EngineConfig, lane_format: RequantiserFormat | SerialFormat,
           column_format: RequantiserFormat | SerialFormat,
           elementwise_format: ElementwiseFormat | None = None) -> "Latencies":
        pipelined, entry = config.pipelined, TileBuffer.entry(config)
        window = WindowGenerator.latency(config)
        lanes_sum = window + DepthwiseEngine.latency(config.taps)
        drain = (TileBuffer.latency(pipelined) + 1
                 + SystolicArray.latency(config)
                 + Drain.latency(config, column_format, elementwise_format))
        skip = 0 if elementwise_format is None else (
            ElementwiseUnit.latency(elementwise_format, pipelined, config.scattered) + Drain.write(pipelined))
        # The address leaves the window generator's registers, and the memory takes it.  Where memories are scattered
        # that is a cycle later, and so is each write.
        return cls(read=1 + pipelined, window=window, copy=window + entry, sum=lanes_sum,
                   reduce=lanes_sum + LaneRequantisers.latency(config.lanes, lane_format) + entry, drain=drain,
                   skip=skip)


# -- what the lanes' requantisers need ---------------------------------------------------------------------


def parameter_words(engine):
    """Parameter words that the lanes' requantisers are given in a cycle."""
    if engine.lane_cycles > 1:
        return 1
    # A group of few chunks takes a cycle a row.
    return _ceil(engine.lanes, largest(1, engine.rows - LaneParameters.LATENCY))


def parameter_beats(engine):
    """Cycles in which a channel group's parameters are loaded."""
    return _ceil(engine.lanes, parameter_words(engine))


# -- what the array takes in a cycle -----------------------------------------------------------------------


def copied(work: Pass, most):
    """Bytes of a row of the first pass's window that are copied at once: no more than take as few cycles as ``most``
    do, which may be an array."""
    row = work.window.input_shape[2]
    return _ceil(row, _ceil(row, most))


def _word_lanes(work: Pass, engine):
    """Channels of a word that a pass reads: wide ones of the image, else those of memory."""
    return engine.tile_lanes if work.source is None else engine.lanes


def word_cycles(work: Pass, engine) -> tuple:
    """Cycles in which the array takes a word of the tile buffer, and a pixel's last word, which may be shorter."""
    lanes, channels = _word_lanes(work, engine), work.window.input_shape[2]
    return _ceil(lanes, engine.operands), _ceil((channels - 1) % lanes + 1, engine.operands)


def sum_cycles(work: Pass, engine):
    """Cycles in which the array takes the operands of a sum: each word's in cycles of its own."""
    lanes, channels = _word_lanes(work, engine), work.window.input_shape[2]
    whole, last = word_cycles(work, engine)
    return work.matrix.weights.shape[1] // channels * ((_ceil(channels, lanes) - 1) * whole + last)


# -- a pass on an engine -----------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Tiling:
    """A pass, divided for an engine: its tiles, and the cycles between things that happen in one of them.

    Of many engines at once, if ``engine`` has arrays in place of its integers."""

    work: Pass
    engine: Any
    latency: Latencies

    @property
    def reduces(self) -> bool:
        """Whether the depthwise engine takes part."""
        return self.work.reduction is not None

    @cached_property
    def groups(self):
        """Channel groups of a pixel that is read."""
        return _ceil(self.work.window.input_shape[2], _word_lanes(self.work, self.engine))

    @cached_property
    def tile_windows(self):
        """Windows in a tile, a row of the array each; the last tile may have fewer."""
        return _ceil(self.work.windows, _ceil(self.work.windows, self.engine.rows))

    @cached_property
    def tiles(self):
        return _ceil(self.work.windows, self.tile_windows)

    @property
    def neighbours(self) -> int:
        """Neighbouring pixels of the output whose results leave the array in the same turn of the requantisers."""
        work = self.work
        return max(1, self.engine.requantisers // work.output_shape[2]) if work.pixels_per_window > 1 else 1

    @property
    def tile_pixels(self):
        """Pixels of the output that a tile makes."""
        return self.tile_windows * self.work.pixels_per_window

    @cached_property
    def chunks(self) -> tuple:
        """(rows, columns) of steps that a window takes for each channel group."""
        kernel = self.work.window.kernel
        if not self.reduces:
            return kernel
        down, across = (_ceil(*pair) for pair in zip(kernel, self.engine.window, strict=True))
        # Sums must not come faster than they are requantised: rows of zero weights fill up the time.
        return largest(down, _ceil(LaneRequantisers.period(self.engine), across)), across

    @cached_property
    def group_period(self):
        """Cycles from a tile's first step for one channel group to that for the next."""
        period = self.tile_windows * prod(self.chunks)
        # The next group's parameters are fetched while this one is computed.
        return largest(period, parameter_beats(self.engine) + LaneParameters.LATENCY) if self.reduces else period

    @cached_property
    def steps(self):
        """Cycles from a tile's first step to its last, both counted."""
        return (self.groups - 1) * self.group_period + self.tile_windows * prod(self.chunks)

    @property
    def inner(self) -> int:
        """Operands of a sum."""
        return self.work.matrix.weights.shape[1]

    @cached_property
    def sum_cycles(self):
        """Cycles in which the array takes them; as many words of weights belong to a column group."""
        return sum_cycles(self.work, self.engine)

    @cached_property
    def column_groups(self):
        """Column groups of the pass, one output channel to a column of the array."""
        return _ceil(self.work.matrix.weights.shape[0], self.engine.columns)

    @cached_property
    def period(self):
        """Cycles from the first operands of one column group to those of the next."""
        return largest(*period_bounds(self).values())

    @cached_property
    def slot(self):
        """Cycles from one tile's first step to the next one's."""
        return largest(*slot_bounds(self).values())

    @property
    def to_last_tile(self):
        """Cycles from the first tile's first step to the last one's."""
        return (self.tiles - 1) * self.slot

    @property
    def busy(self):
        """Cycles for which all its tiles keep the sequencer, or the array, whichever is longer, at least."""
        return self.tiles * largest(self.steps, self.column_groups * self.period)

    @property
    def words(self):
        """Words that a pixel takes in the tile buffer."""
        return self.groups * (1 if self.reduces else prod(self.work.window.kernel))

    @property
    def tile_latency(self) -> int:
        """Cycles from the step that ends a word of the tile buffer to its write."""
        return self.latency.reduce if self.reduces else self.latency.copy

    @cached_property
    def filled(self):
        """Cycles from a tile's first step to the write of its last word into the tile buffer."""
        return self.steps - 1 + self.tile_latency

    @cached_property
    def fed(self):
        """Cycles from a tile's first step to the end of its way into the array."""
        return self.filled + 1 + self.column_groups * self.period

    @property
    def first_written(self):
        """Cycles from a tile's first step to the write of its first result."""
        return self.filled + self.period + self.latency.drain

    @property
    def last_written(self):
        """Cycles from a tile's first step to the write of its last result, if all columns have one."""
        return (self.fed - 1 + self.latency.drain
                + self.tile_windows * self.engine.drain_step - self.engine.requantiser_cycles)


# -- bounds ------------------------------------------------------------------------------------------------


def period_bounds(tiling: Tiling) -> dict[str, Any]:
    """Least cycles from one column group to the next."""
    engine = tiling.engine
    return {
        # A column takes so many operands in a cycle.
        "operands": tiling.sum_cycles,
        # Sums leave the array row by row, and the next ones must not overtake them.
        "drain": SystolicArray.draining(engine),
        # Where there are several column groups, each one's parameters enter column by column.
        "columns": ColumnParameters.loading(engine) * (tiling.column_groups > 1),
    }


def slot_bounds(tiling: Tiling) -> dict[str, Any]:
    """Least cycles from a tile's first step to the next one's."""
    return {
        # The sequencer takes one step at a time, and fetches each group's parameters while the one before is computed.
        "groups": tiling.groups * tiling.group_period,
        # The array takes one tile after the other.
        "array": tiling.column_groups * tiling.period,
        # A place in the tile buffer is written again when it has been read; rows are skewed alike in both.  Both
        # bounds above together imply it where there are four places, not where there are fewer.
        "tile buffer": _ceil(tiling.fed + 2 - tiling.tile_latency, TileBuffer.TILES),
        # The sequencer counts to the next tile.
        "sequencer": Sequencer.LEAST_SLOT,
    }
