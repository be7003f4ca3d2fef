# SPDX-License-Identifier: Apache-2.0
"""When every pass begins: as early as its bounds allow.

The sequencer starts a tile every ``slot`` cycles, and the first tile of the next pass when that is safe; all else
follows at fixed distances (:mod:`~tepal.hdl.plan.tiling`).  What keeps one thing away from another is a bound with a
name: ``period_bounds`` and ``slot_bounds`` within a pass, :func:`start_bounds` between neighbours, which share all
units, and the hazards of maps (:func:`read_after_write`, :func:`add_after_write`, :class:`Scoreboard`) between any two
passes.

:mod:`tepal.sim.hazards` finds the conflicts that they keep off without knowing of them; the tests take a cycle from
each bound and see that it is missed.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from math import prod

import numpy as np
from tepal.hdl.units.column_parameters import ColumnParameters
from tepal.hdl.units.tile_buffer import TileBuffer

from .passes import Window
from .places import FeatureMap, Places, Region, skip_words
from .tiling import Tiling

__all__ = ["ScheduledPass", "Scoreboard", "Touched", "add_after_write", "last_pixels", "needs", "read_after_write",
           "start_bounds", "timeline"]


@dataclass(frozen=True, eq=False)
class ScheduledPass(Tiling):
    """A pass in its place and at its time.

    ``start`` is the cycle of its first step, counted from the frame's first; ``last_slot`` the cycles from the last
    tile's first step to the next pass's.  ``other`` and ``added`` are first words in the skip memory, of the map whose
    values are added and of its own; None if there is none.  ``held_by`` names the bound that keeps it from starting any
    earlier; the frame's first pass has none."""

    source: FeatureMap
    target: FeatureMap
    start: int
    last_slot: int
    other: int | None = None
    added: int | None = None
    held_by: str | None = None

    @property
    def last_tile(self) -> int:
        """Cycle of the last tile's first step."""
        return self.start + self.to_last_tile

    @cached_property
    def depthwise_words(self) -> np.ndarray:
        """int16 (words, taps, lanes): weights of each channel group and each chunk of the kernel, in order.

        A single word where all are equal, and one group's where all groups' are: so are an average pool's."""
        rows, columns = self.source.banks
        assert self.work.reduction is not None
        weights, lanes, groups = self.work.reduction.weights, self.source.lanes, self.groups
        height, width, channels = weights.shape
        down, across = self.chunks
        padded = np.zeros((down * rows, across * columns, groups * lanes), np.int16)
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


def start_bounds(before: Tiling, start: int, following: Tiling) -> dict[str, int]:
    """First cycles at which ``following`` may take its first step after the pass ``before``, whose own first step is at
    ``start``: both use the same units."""
    last_tile = start + before.to_last_tile
    # Parts of the pass that reads the image have the same constants.
    differ = before.work.source is not None or following.work.source is not None
    # Parameters of columns are loaded at each sum where there are several column groups, else at the first sum only.
    loaded = last_tile + before.fed if before.column_groups > 1 else start + before.filled + 1 + before.period
    return {
        # As from tile to tile.
        "groups": last_tile + before.groups * before.group_period,
        # Constants of a pass are held while its last windows are read.
        **({"constants": last_tile + before.steps + before.latency.window + 1} if differ else {}),
        # The array is busy with the tile before.
        "array": last_tile + before.fed - following.filled - 1,
        # Words enter the tile buffer in order, whichever way they come.
        "order": last_tile + before.filled + 1 - following.tile_latency,
        # Parameters enter column by column, and those of the pass before are all in.
        "columns": loaded + ColumnParameters.loading(before.engine) - following.filled - 1 - following.period,
        # Each place in the tile buffer has been read when the first tile that takes it is written.
        "tile buffer": max(_buffer_bounds(before, start, following)),
    }


def _buffer_bounds(before: Tiling, start: int, following: Tiling):
    """For each place in the tile buffer, the first cycle at which ``following`` may start for its tile there."""
    # Its tiles go where the last ones of ``before`` were, or else others before them, which have been fed when the
    # first of ``before`` is.  Where there are four places, the bounds on the array and on the order imply these.
    for place in range(TileBuffer.TILES):
        back = TileBuffer.TILES - 1 - place
        fed = start + (before.to_last_tile - back * before.slot + before.fed if back < before.tiles
                       else before.filled + 1)
        yield fed + 1 - following.tile_latency - place * following.slot


def last_pixels(window: Window) -> np.ndarray:
    """For each window, in order, the number of the last pixel of the map that it or one before it covers."""
    height, width, _ = window.input_shape
    out_height, out_width = window.output_size
    bottom = np.minimum(np.arange(out_height) * window.stride[0] + window.origin[0] + window.kernel[0], height) - 1
    right = np.minimum(np.arange(out_width) * window.stride[1] + window.origin[1] + window.kernel[1], width) - 1
    last = np.maximum(bottom[:, None], 0) * width + np.maximum(right[None, :], 0)
    return np.maximum.accumulate(last.ravel())


def needs(writer: Tiling, reader: Tiling) -> np.ndarray:
    """For each tile of ``reader``, the last tile of ``writer``, whose map it reads, that it or one before it needs;
    negative if none."""
    last = last_pixels(reader.work.window)
    ends = np.minimum(np.arange(1, reader.tiles + 1) * reader.tile_windows, last.size) - 1
    height, width, _ = writer.work.output_shape
    return np.minimum(last[ends] - writer.work.target_row * width, height * width - 1) // writer.tile_pixels


def read_after_write(writer: Tiling, start: int, reader: Tiling) -> int:
    """First cycle at which ``reader`` may take its first step so that each of its tiles finds what ``writer`` has
    written.  ``writer``, the pass just before it or an earlier one, takes its own first step at ``start``."""
    needed = needs(writer, reader)
    written = start + needed * writer.slot + writer.last_written
    begins = np.arange(reader.tiles) * reader.slot
    return int((written - begins).max(where=needed >= 0, initial=-1)) + 1


def add_after_write(writer: Tiling, start: int, adder: Tiling) -> int:
    """First cycle at which ``adder`` may take its first step so that each value of the map of ``writer``, which takes
    its own at ``start``, is there when it is added.  Both write chunks in the same order, in equal tiles."""
    later = max(tile * (writer.slot - adder.slot) + group * (writer.period - adder.period)
                for tile in (0, writer.tiles - 1) for group in (0, writer.column_groups - 1))
    return start + writer.first_written + later - (adder.first_written - adder.latency.skip) + 1


@dataclass(frozen=True)
class Touched:
    """What a pass reads and writes: its ``source`` map, its ``target``, and, by their first words in the skip memory,
    the map whose values are added and its own, of ``skip_words`` each."""

    source: FeatureMap
    target: FeatureMap
    other: int | None = None
    added: int | None = None
    skip_words: int = 0

    def skip(self, first: int) -> Region:
        """Of a map that begins there."""
        return "skip", first, first + self.skip_words

    @property
    def written(self) -> set[Region]:
        return {self.target.region} | ({self.skip(self.added)} if self.added is not None else set())


class Scoreboard:
    """Until when the passes so far read and write each region.

    No pass may touch a region in a way that meets those before it, however many passes lie between.  In a chain of
    passes the bounds on neighbours imply these: all share the array, which takes one tile after the other."""

    def __init__(self):
        self._read: dict[Region, int] = {}
        self._written: dict[Region, int] = {}

    def add(self, tiling: Tiling, start: int, maps: Touched) -> None:
        """Note that a pass whose first step is at ``start`` touches ``maps``."""
        last_tile = start + tiling.to_last_tile
        last_written = last_tile + tiling.last_written
        reads = {maps.source.region: last_tile + tiling.steps - 1 + tiling.latency.read}
        if maps.other is not None:
            reads[maps.skip(maps.other)] = last_written - tiling.latency.skip
        for region, moment in reads.items():
            self._read[region] = max(moment, self._read.get(region, 0))
        for region in maps.written:
            self._written[region] = max(last_written, self._written.get(region, 0))

    def bounds(self, tiling: Tiling, maps: Touched) -> dict[str, int]:
        """First cycles at which a pass that touches ``maps`` may take its first step."""
        bounds = {}
        if read := self._of(self._read, *maps.written):
            # What is overwritten has been read.
            bounds["write after read"] = max(read) + 1 - tiling.first_written
        if written := self._of(self._written, *maps.written):
            # What is overwritten has been written before.
            bounds["write after write"] = max(written) + 1 - tiling.first_written
        if tiling.engine.single_port and (written := self._of(self._written, maps.source.region)):
            # No region is read while it is still being written.
            bounds["single port"] = max(written) + 1
        return bounds

    @staticmethod
    def _of(moments: dict[Region, int], *regions: Region) -> list[int]:
        """The ``moments`` of regions that share words with these, once for each of these."""
        return [moment for where, begin, behind in regions for (memory, first, end), moment in moments.items()
                if memory == where and first < behind and begin < end]


def timeline(tilings: Sequence[Tiling], places: Places) -> tuple[ScheduledPass, ...]:
    """Every pass as early as the bounds allow, the next frame's first pass after the last one."""
    maps = [Touched(places.image if tiling.work.source is None else places.maps[tiling.work.source], target,
                    places.others[number], places.skips[number], skip_words(tiling.work, tiling.engine))
            for number, (tiling, target) in enumerate(zip(tilings, places.maps, strict=True))]
    board, starts, writers = Scoreboard(), [], defaultdict(list)
    held_by: list[str | None] = []
    for number, (tiling, own) in enumerate(zip(tilings, maps, strict=True)):
        bounds, source = board.bounds(tiling, own), tiling.work.source
        if number:
            bounds |= start_bounds(tilings[number - 1], starts[-1], tiling)
        if source is not None:
            bounds["read after write"] = 0
            # Of many parts of a map the last ones are waited for: those of no consequence are passed over unseen.
            for writer in reversed(writers[source]):
                before = tilings[writer]
                if starts[writer] + before.to_last_tile + before.last_written >= bounds["read after write"]:
                    bounds["read after write"] = max(bounds["read after write"],
                                                     read_after_write(before, starts[writer], tiling))
        if tiling.work.other is not None:
            # Of several parts, the one that writes the same rows and channels.
            writer = next(writer for writer in writers[tiling.work.other]
                          if tilings[writer].work.target_row == tiling.work.target_row
                          and tilings[writer].work.target_channel == tiling.work.target_channel)
            bounds["add after write"] = add_after_write(tilings[writer], starts[writer], tiling)
        starts.append(max(bounds.values(), default=0))
        held_by.append(max(bounds, key=bounds.__getitem__, default=None))
        board.add(tiling, starts[-1], own)
        writers[tiling.work.writes(number)].append(number)
    # The next frame takes the same cycles, none of its passes any nearer to what this frame's touch.
    again = list(start_bounds(tilings[-1], starts[-1], tilings[0]).values())
    for tiling, own, start in zip(tilings, maps, starts, strict=True):
        again += [bound - start for bound in board.bounds(tiling, own).values()]
    return tuple(ScheduledPass(tiling.work, tiling.engine, tiling.latency, own.source, own.target, start,
                               after - start - tiling.to_last_tile, own.other, own.added, held)
                 for tiling, own, (start, after), held in zip(tilings, maps, pairwise([*starts, max(again)]), held_by,
                                                              strict=True))
