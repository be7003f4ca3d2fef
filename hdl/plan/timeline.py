"""When everything happens: how a pass is divided into tiles, and the cycle at which each begins.

Nothing in the engine depends on data, so every cycle is fixed in advance.  The sequencer starts a tile every ``slot``
cycles, and the first tile of the next pass when that is safe; all else follows at fixed distances.  A tile's stages:

1. the sequencer steps through windows, which are reduced (depthwise) or copied into the tile buffer;
2. the feeder sends the tile through the array once for every group of output columns;
3. finished sums drain out of the array, are requantised and written to the activation memory.

What keeps one thing away from another is a bound with a name.  ``period_bounds``, ``slot_bounds``, ``start_bounds`` and
the hazards of maps (:func:`read_after_write`, :class:`Scoreboard`) are all that there are.  :mod:`tepal.sim.hazards`
finds the conflicts that they keep off without knowing of them; the tests take a cycle from each bound and see that it
is missed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from itertools import pairwise
from math import prod
from typing import Any

import numpy as np
from tepal.hdl.config import EngineConfig
from tepal.hdl.units.depthwise import DepthwiseEngine
from tepal.hdl.units.drain import Drain, LaneParameters
from tepal.hdl.units.requantiser import SELECT, RequantiserFormat
from tepal.hdl.units.serial_requantiser import SerialFormat
from tepal.hdl.units.systolic import SystolicArray
from tepal.hdl.units.tile_buffer import TileBuffer
from tepal.hdl.units.window import WindowGenerator

from .passes import Pass
from .places import FeatureMap, Places

__all__ = ["Latencies", "ScheduledPass", "Scoreboard", "Tiling", "largest", "needs", "parameter_beats",
           "parameter_words", "period_bounds", "read_after_write", "reduced_cycles", "slot_bounds", "start_bounds",
           "timeline"]


def _ceil(a, b):
    return -(-a // b)


def largest(*values):
    """The largest of integers, or, one by one, of arrays and integers."""
    return reduce(np.maximum, values) if any(isinstance(value, np.ndarray) for value in values) else max(values)


@dataclass(frozen=True)
class Latencies:
    """Cycles from one fixed point of the pipeline to another: sums of what the units declare.

    ``read``: from a step to the reading of the activation or the input memory.  ``window``: from a step to its window.
    ``copy``: from a step to the write of a copied word into the tile buffer.
    ``sum``: from a step to the sum of the lanes that it ends.  ``reduce``: from such a step to the write of the last
    lane's result into the tile buffer.  ``drain``: from a sum's last operands, in the feeder, to the write of a tile's
    first result."""

    read: int = 0
    window: int = 0
    copy: int = 0
    sum: int = 0
    reduce: int = 0
    drain: int = 0

    @classmethod
    def of(cls, config: EngineConfig, lane_format: RequantiserFormat | SerialFormat,
           column_format: RequantiserFormat | SerialFormat) -> "Latencies":
        pipelined, entry = config.pipelined, TileBuffer.entry(config.pipelined)
        window = WindowGenerator.latency(pipelined)
        lanes_sum = window + DepthwiseEngine.latency(config.taps)
        # A serial requantiser takes one lane after the other.
        last_lane = (config.lanes - 1) * config.lane_cycles if config.lane_cycles > 1 else 0
        select = Drain.PARAMETERS + SELECT if isinstance(column_format, RequantiserFormat) else 0
        drain = (TileBuffer.latency(pipelined) + 1
                 + SystolicArray.latency(config.rows, config.spread, config.packing, pipelined)
                 + (config.requantisers - 1) * config.turns + select + column_format.latency + Drain.write(pipelined))
        # The address leaves the window generator's registers, and the memory takes it.
        return cls(read=1 + pipelined, window=window, copy=window + entry, sum=lanes_sum,
                   reduce=lanes_sum + last_lane + lane_format.latency + entry, drain=drain)


# -- what the lanes' requantisers need ---------------------------------------------------------------------
# An engine, here and below, is an EngineConfig, or has arrays in place of its integers: so are the results then.


def reduced_cycles(engine):
    """Cycles that the lanes' requantisers need for a pixel."""
    return engine.lanes * engine.lane_cycles if engine.lane_cycles > 1 else 1


def parameter_words(engine):
    """Parameter words that the lanes' requantisers are given in a cycle."""
    if engine.lane_cycles > 1:
        return 1
    # A group of few chunks takes a cycle a row.
    return _ceil(engine.lanes, largest(1, engine.rows - LaneParameters.LATENCY))


def parameter_beats(engine):
    """Cycles in which a channel group's parameters are loaded."""
    return _ceil(engine.lanes, parameter_words(engine))


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
        lanes = self.engine.tile_lanes if self.work.source is None else self.engine.lanes
        return _ceil(self.work.window.input_shape[2], lanes)

    @cached_property
    def tile_windows(self):
        """Windows in a tile, a row of the array each; the last tile may have fewer."""
        return _ceil(self.work.windows, _ceil(self.work.windows, self.engine.rows))

    @cached_property
    def tiles(self):
        return _ceil(self.work.windows, self.tile_windows)

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
        return largest(down, _ceil(reduced_cycles(self.engine), across)), across

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
    def column_groups(self):
        """Groups of output channels, one channel to a column of the array."""
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

    @property
    def filled(self):
        """Cycles from a tile's first step to the write of its last word into the tile buffer."""
        return self.steps - 1 + self.tile_latency

    @property
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


@dataclass(frozen=True, eq=False)
class ScheduledPass(Tiling):
    """A pass in its place and at its time.

    ``start`` is the cycle of its first step, counted from the frame's first; ``last_slot`` the cycles from the last
    tile's first step to the next pass's."""

    source: FeatureMap
    target: FeatureMap
    start: int
    last_slot: int

    @property
    def last_tile(self) -> int:
        """Cycle of the last tile's first step."""
        return self.start + (self.tiles - 1) * self.slot

    @cached_property
    def depthwise_words(self) -> np.ndarray:
        """int8 (words, taps, lanes): weights of each channel group and each chunk of the kernel, in order.

        A single word where all are equal, and one group's where all groups' are: so are an average pool's."""
        rows, columns = self.source.banks
        assert self.work.reduction is not None
        weights, lanes, groups = self.work.reduction.weights, self.source.lanes, self.groups
        height, width, channels = weights.shape
        down, across = self.chunks
        padded = np.zeros((down * rows, across * columns, groups * lanes), np.int8)
        padded[:height, :width, :channels] = weights
        # Lanes beyond the last channel may hold anything; this lets an average pool's words be equal.
        padded[:height, :width, channels:] = weights[:, :, -1:]
        padded = padded.reshape(down, rows, across, columns, groups, lanes).transpose(4, 0, 2, 1, 3, 5)
        words = padded.reshape(groups, down * across, rows * columns, lanes)
        if (words == words[0, 0]).all():
            return words[0, :1]
        return words[0] if (words == words[0]).all() else words.reshape(-1, rows * columns, lanes)

    @property
    def weights_again(self) -> bool:
        """Whether each channel group has the same several words of depthwise weights."""
        return self.reduces and 1 < len(self.depthwise_words) < self.groups * prod(self.chunks)


# -- bounds ------------------------------------------------------------------------------------------------


def period_bounds(tiling: Tiling) -> dict[str, Any]:
    """Least cycles from one column group to the next."""
    engine = tiling.engine
    return {
        # A column takes one operand in a cycle.
        "operands": tiling.inner,
        # Sums leave the array row by row, and the next ones must not overtake them.
        "drain": engine.rows * engine.drain_step,
        # Where there are several column groups, each one's parameters enter column by column.
        "columns": engine.columns * (tiling.column_groups > 1),
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
        "sequencer": 4,
    }


def start_bounds(before: ScheduledPass, following: Tiling) -> dict[str, int]:
    """First cycles at which ``following`` may take its first step, behind the pass ``before``: both use the same
    units."""
    last_tile = before.last_tile
    # Parameters of columns are loaded at each sum where there are several column groups, else at the first sum only.
    loaded = last_tile + before.fed if before.column_groups > 1 else before.start + before.filled + 1 + before.period
    return {
        # As from tile to tile.
        "groups": last_tile + before.groups * before.group_period,
        # Constants of a pass are held while its last windows are read.
        "constants": last_tile + before.steps + before.latency.window + 1,
        # The array is busy with the tile before.
        "array": last_tile + before.fed - following.filled - 1,
        # Words enter the tile buffer in order, whichever way they come.
        "order": last_tile + before.filled + 1 - following.tile_latency,
        # Parameters enter column by column, and those of the pass before are all in.
        "columns": loaded + before.engine.columns - following.filled - 1 - following.period,
        # Each place in the tile buffer has been read when the first tile that takes it is written.
        "tile buffer": max(_buffer_bounds(before, following)),
    }


def _buffer_bounds(before: ScheduledPass, following: Tiling):
    """For each place in the tile buffer, the first cycle at which ``following`` may start for its tile there."""
    # Its tiles go where the last ones of ``before`` were, or else others before them, which have been fed when the
    # first of ``before`` is.  Where there are four places, the bounds on the array and on the order imply these.
    for place in range(TileBuffer.TILES):
        back = TileBuffer.TILES - 1 - place
        fed = (before.last_tile - back * before.slot + before.fed if back < before.tiles
               else before.start + before.filled + 1)
        yield fed + 1 - following.tile_latency - place * following.slot


def needs(writer: Tiling, reader: Tiling) -> np.ndarray:
    """For each tile of ``reader``, the last tile of ``writer``, whose map it reads, that it or one before it needs."""
    window = reader.work.window
    height, width, _ = window.input_shape
    out_height, out_width = window.output_size
    bottom = np.minimum(np.arange(out_height) * window.stride[0] + window.origin[0] + window.kernel[0], height) - 1
    right = np.minimum(np.arange(out_width) * window.stride[1] + window.origin[1] + window.kernel[1], width) - 1
    last = np.maximum(bottom[:, None], 0) * width + np.maximum(right[None, :], 0)
    last = np.maximum.accumulate(last.ravel())
    ends = np.minimum(np.arange(1, reader.tiles + 1) * reader.tile_windows, last.size) - 1
    return last[ends] // writer.tile_pixels


def read_after_write(writer: ScheduledPass, reader: Tiling) -> int:
    """First cycle at which ``reader`` may take its first step, for each of its tiles to find what ``writer`` has
    written, be that the pass just before it or an earlier one."""
    written = writer.start + needs(writer, reader) * writer.slot + writer.last_written
    begins = np.arange(reader.tiles) * reader.slot
    return int((written - begins).max()) + 1


class Scoreboard:
    """Until when the passes so far read and write each region.

    No pass may touch a region in a way that meets those before it, however many passes lie between.  In a chain of
    passes the bounds on neighbours imply these: all share the array, which takes one tile after the other."""

    def __init__(self):
        self._read: dict[tuple[str, int], int] = {}
        self._written: dict[tuple[str, int], int] = {}

    def add(self, scheduled: ScheduledPass) -> None:
        """Note what a pass touches."""
        read, written = scheduled.source.region, scheduled.target.region
        last_read = scheduled.last_tile + scheduled.steps - 1 + scheduled.latency.read
        self._read[read] = max(last_read, self._read.get(read, 0))
        self._written[written] = max(scheduled.last_tile + scheduled.last_written, self._written.get(written, 0))

    def bounds(self, tiling: Tiling, source: FeatureMap, target: FeatureMap) -> dict[str, int]:
        """First cycles at which a pass that reads ``source`` and writes ``target`` may take its first step."""
        bounds = {}
        if target.region in self._read:
            # What is overwritten has been read.
            bounds["write after read"] = self._read[target.region] + 1 - tiling.first_written
        if target.region in self._written:
            # What is overwritten has been written before.
            bounds["write after write"] = self._written[target.region] + 1 - tiling.first_written
        if tiling.engine.single_port and source.region in self._written:
            # No region is read while it is still being written.
            bounds["single port"] = self._written[source.region] + 1
        return bounds


# -- the timeline ------------------------------------------------------------------------------------------


def timeline(tilings: Sequence[Tiling], places: Places) -> tuple[ScheduledPass, ...]:
    """Every pass as early as the bounds allow, the next frame's first pass behind the last one."""
    maps = [(places.image if tiling.work.source is None else places.maps[tiling.work.source], target)
            for tiling, target in zip(tilings, places.maps, strict=True)]
    board, done = Scoreboard(), []

    def scheduled(number: int, start: int, last_slot: int = 0) -> ScheduledPass:
        tiling = tilings[number]
        return ScheduledPass(tiling.work, tiling.engine, tiling.latency, *maps[number], start, last_slot)

    for number, tiling in enumerate(tilings):
        bounds = {}
        if done:
            bounds = start_bounds(done[-1], tiling) | board.bounds(tiling, *maps[number])
        if tiling.work.source is not None:
            bounds["read after write"] = read_after_write(done[tiling.work.source], tiling)
        done.append(scheduled(number, max(bounds.values(), default=0)))
        board.add(done[-1])
    # The next frame takes the same cycles, none of its passes any nearer to what this frame's touch.
    again = [max(start_bounds(done[-1], tilings[0]).values())]
    for each in done:
        again += [bound - each.start for bound in board.bounds(each, each.source, each.target).values()]
    starts = [*(each.start for each in done), max(again)]
    return tuple(scheduled(number, start, after - done[number].last_tile)
                 for number, (start, after) in enumerate(pairwise(starts)))
