# SPDX-License-Identifier: Apache-2.0
"""Replays a schedule: every access to every memory and register that two things share, and by how many cycles each
keeps clear of the others.

The timeline (:mod:`tepal.hdl.plan.timeline`) says of each pass when it may begin, by bounds; here nothing is known of
bounds.  Two frames are played as close together as they can be, word by word, and whatever is read must be what was
written for it: after its write, and before anything else is written there.  ROMs are left out: they have one port, and
nobody writes them.
"""

from collections import defaultdict
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from math import prod

from tepal.hdl import Schedule
from tepal.hdl.answer import Trailer
from tepal.hdl.plan.places import Region
from tepal.hdl.plan.tiling import parameter_beats
from tepal.hdl.plan.timeline import ScheduledPass
from tepal.hdl.units.column_parameters import ColumnParameters
from tepal.hdl.units.lane_requantisers import LaneParameters, LaneRequantisers
from tepal.hdl.units.loader import InputLoader
from tepal.hdl.units.streamer import OutputStreamer
from tepal.hdl.units.tile_buffer import TileBuffer

from .cycles import CycleModel

__all__ = ["KINDS", "conflicts", "slacks"]

_BETWEEN = {"groups": "of two channel groups", "tiles": "of two tiles of a pass", "passes": "of two passes",
            "sums": "of two sums of a pass"}

KINDS = {
    "steps": "two steps fall into the same cycle",
    "sequencer": "a tile begins before the sequencer has counted to it",
    "constants": "a pass's constants change while its windows are still read",
    "lane parameters": "the lanes' parameters are taken before they are loaded",
    "lanes": "a sum of the lanes ends before the one before it is requantised",
    "order": "words enter the tile buffer out of order",
    "array": "a tile enters the array while another one is still fed",
    "operands": "a column group's operands meet those of the next",
    "columns": "parameters of the columns are loaded while others still are",
    "drain": "sums are ready before those above them have left the array",
    "tile buffer": "a place in the tile buffer is written before it has been read",
    "tile buffer filled": "a word of the tile buffer is read before it is written",
    "banks": "a bank of the activation memory is read, or written, at two addresses in one cycle",
    "places": "an activation is read where it was not written",
    "read after write": "an activation is read before it is written",
    "write after read": "an activation is overwritten before it is read",
    "write after write": "an activation is written before the one that it replaces",
    "skip places": "a value is added in another place than that of its own map",
    "skip read after write": "a value is added before it is written",
    "skip write after read": "a value is overwritten before it is added",
    "skip write after write": "a value to be added is written before the one that it replaces",
    "single port": "a region of single-port memory is read before it is all written",
    "input after loading": "the image is read before it is loaded",
    "loading after input": "the next image is loaded before this one is read",
    "input places": "a row of the image is read where it was not loaded",
    "input read after write": "a row of the image is read before it is loaded",
    "input write after read": "a row of the image is loaded over one that is still to be read",
    "input write after write": "a row of the image is loaded over one that is still being loaded",
    "output after results": "an answer is sent before it is written",
    "results after output": "results are written before the answer before them is sent",
}
"""What goes wrong in each kind of conflict.  Some kinds are counted apart for things of one pass and of two:
"array of tiles" and "array of passes"."""

_UNTIMED = {"banks", "places", "skip places", "input places"}
"""Conflicts that no wait would avoid."""


@dataclass(frozen=True)
class _Tile:
    """A tile of a pass in some frame; ``start`` is the cycle of its first step."""

    frame: int
    number: int
    tile: int
    start: int
    scheduled: ScheduledPass

    @property
    def windows(self) -> range:
        first = self.tile * self.scheduled.tile_windows
        return range(first, min(self.scheduled.work.windows, first + self.scheduled.tile_windows))

    def sums(self) -> list[int]:
        """Cycles in which the last operands of its sums are fed."""
        first, period = self.start + self.scheduled.filled, self.scheduled.period
        return [first + group * period for group in range(1, self.scheduled.column_groups + 1)]

    def reductions(self) -> Iterator[int]:
        """Cycles of the steps that end the lanes' sums."""
        for group in range(self.scheduled.groups):
            for place in range(1, self.scheduled.tile_windows + 1):
                yield self.start + group * self.scheduled.group_period + place * prod(self.scheduled.chunks) - 1


def _tiles(schedule: Schedule, frames: int = 2) -> list[_Tile]:
    """The tiles, in order, of frames that are as close together as they can be."""
    found, begin = [], 0
    for frame in range(frames):
        for number, scheduled in enumerate(schedule.passes):
            found += [_Tile(frame, number, tile, begin + scheduled.start + tile * scheduled.slot, scheduled)
                      for tile in range(scheduled.tiles)]
        last = schedule.passes[-1]
        begin += last.last_tile + last.last_slot
    return found


def _reads(schedule: Schedule, tile: _Tile) -> Iterator[tuple[int, int, int, int]]:
    """(cycle, row, column, channel group) of what a tile reads and needs of its source map."""
    scheduled = tile.scheduled
    window, (height, width, _) = scheduled.work.window, scheduled.source.shape
    taps = schedule.config.window if scheduled.reduces else (1, 1)
    for group in range(scheduled.groups):
        for place, number in enumerate(tile.windows):
            row, column = divmod(number, window.output_size[1])
            for down in range(window.kernel[0]):
                for across in range(window.kernel[1]):
                    y = row * window.stride[0] + window.origin[0] + down
                    x = column * window.stride[1] + window.origin[1] + across
                    chunk = (place * scheduled.chunks[0] + down // taps[0]) * scheduled.chunks[1] + across // taps[1]
                    if 0 <= y < height and 0 <= x < width:
                        yield tile.start + group * scheduled.group_period + chunk + schedule.latency.read, y, x, group


def _writes(schedule: Schedule, tile: _Tile) -> Iterator[tuple[int, int, int, int]]:
    """(cycle, row, column, first channel) of what a tile writes to its target map, in order."""
    scheduled, config = tile.scheduled, schedule.config
    pixels, width, neighbours = scheduled.work.pixels_per_window, scheduled.target.shape[1], scheduled.neighbours
    chunks = -(-scheduled.work.output_shape[2] // config.requantisers)
    turns = config.turns * neighbours // pixels
    for group, summed in enumerate(tile.sums()):
        for place, window in enumerate(tile.windows):
            for turn in range(config.turns):
                chunk = group * turns + turn % turns
                if chunk < chunks:
                    element = place * config.turns + turn
                    for beside in range(neighbours):
                        pixel = window * pixels + turn // turns * neighbours + beside
                        yield (summed + schedule.latency.drain + element * config.requantiser_cycles,
                               scheduled.work.target_row + pixel // width, pixel % width,
                               scheduled.work.first_channel + chunk * config.requantisers)


def _buffer_writes(schedule: Schedule, tile: _Tile) -> Iterator[tuple[int, tuple[int, int]]]:
    """(cycle, (pixel, word)) of what enters the tile buffer, in order."""
    scheduled = tile.scheduled
    if scheduled.reduces:
        for number, cycle in enumerate(tile.reductions()):
            group, pixel = divmod(number, scheduled.tile_windows)
            yield cycle + schedule.latency.reduce, (pixel, group)
        return
    taps = prod(scheduled.chunks)
    for group in range(scheduled.groups):
        for step in range(scheduled.tile_windows * taps):
            pixel, tap = divmod(step, taps)
            yield (tile.start + group * scheduled.group_period + step + schedule.latency.copy,
                   (pixel, tap * scheduled.groups + group))


def _operand_words(scheduled: ScheduledPass) -> list[int]:
    """Word of the tile buffer that the array takes operands from, in each cycle of a sum."""
    channels, lanes = scheduled.work.window.input_shape[2], scheduled.source.lanes
    words = [word for word in range(scheduled.groups)
             for _ in range(0, min(lanes, channels - word * lanes), scheduled.engine.operands)]
    return [tap * scheduled.groups + word for tap in range(scheduled.inner // channels) for word in words]


class _Slacks(dict[str, int]):
    """Kind of conflict to the least cycles by which it was avoided."""

    def keep(self, kind: str, cycles: int) -> None:
        self[kind] = min(cycles, self.get(kind, cycles))


def slacks(schedule: Schedule) -> dict[str, int]:
    """By how many cycles each kind of conflict (:data:`KINDS`) is avoided at the closest; below zero the hardware would
    go wrong."""
    found, tiles = _Slacks(), _tiles(schedule)
    _sequencer(found, tiles)
    _lanes(found, schedule, tiles)
    _tile_buffer(found, schedule, tiles)
    _array(found, schedule, tiles)
    _activations(found, schedule, tiles)
    _skips(found, schedule, tiles)
    _streams(found, schedule)
    return dict(found)


def conflicts(schedule: Schedule) -> list[str]:
    """A sentence for each kind of conflict that ``schedule`` runs into; none if it is right."""
    told = []
    for kind, cycles in slacks(schedule).items():
        if cycles < 0:
            what, _, between = kind.partition(" of ")
            told.append(KINDS[what] + (f" ({_BETWEEN[between]})" if between else "")
                        + ("" if what in _UNTIMED else f": {-cycles} cycles too early"))
    return told


def _constants(tile: _Tile) -> tuple:
    """What the window generator and the depthwise engine look at while a pass's windows are read: of passes that read
    the image the same, if these values are; of others at least where they lie in a ring may differ."""
    work = tile.scheduled.work
    return ((work.window.border, work.window.input_shape[:2], work.reduction and work.reduction.kind)
            if work.source is None else (tile.number,))


def _sequencer(found: _Slacks, tiles: list[_Tile]) -> None:
    for one, other in pairwise(tiles):
        where = "tiles" if other.tile else "passes"
        last_step = one.start + one.scheduled.steps - 1
        # One step in a cycle; the sequencer counts at least three to the next tile.
        found.keep(f"steps of {where}", other.start - last_step - 1)
        found.keep(f"sequencer of {where}", other.start - one.start - 3)
        if not other.tile and _constants(one) != _constants(other):
            # The next pass's zero point is there a cycle before its first step; the last window's border is made of
            # this pass's two cycles before the window is out.
            found.keep("constants", other.start - 1 - (last_step + one.scheduled.latency.window - 2) - 1)


def _lanes(found: _Slacks, schedule: Schedule, tiles: list[_Tile]) -> None:
    """The depthwise engine's requantisers, and their parameters."""
    config = schedule.config
    reducing = [tile for tile in tiles if tile.scheduled.reduces]
    ends = [cycle for tile in reducing for cycle in tile.reductions()]
    for one, other in pairwise(ends):
        found.keep("lanes", other - one - LaneRequantisers.period(config))
    if config.lane_cycles > 1:
        # A serial requantiser's parameters come by a ROM of their own, one value after the other.
        return
    begins = [(tile.start + group * tile.scheduled.group_period, tile, group)
              for tile in reducing for group in range(tile.scheduled.groups)]
    for (one, _, _), (other, tile, group) in pairwise(begins):
        where = "groups" if group else "tiles" if tile.tile else "passes"
        found.keep(f"lane parameters of {where}", other - one - parameter_beats(config) - LaneParameters.LATENCY)


def _tile_buffer(found: _Slacks, schedule: Schedule, tiles: list[_Tile]) -> None:
    spans = []
    for tile in tiles:
        writes = list(_buffer_writes(schedule, tile))
        spans.append((writes[0][0], writes[-1][0]))
        # Rows are skewed alike for writing and for reading.
        written = {word: cycle for cycle, (_, word) in writes}
        first = tile.sums()[0] - tile.scheduled.sum_cycles + 1
        for number, word in enumerate(_operand_words(tile.scheduled)):
            found.keep("tile buffer filled", first + number - written[word] - 1)
    for ((_, last), (first, _)), (_, other) in zip(pairwise(spans), pairwise(tiles), strict=True):
        # One word in a cycle.
        found.keep(f"order of {'tiles' if other.tile else 'passes'}", first - last - 1)
    # A place is read for the last time, then written.
    for one, other, (first, _) in zip(tiles, tiles[TileBuffer.TILES:], spans[TileBuffer.TILES:], strict=False):
        where = "tiles" if other.tile >= TileBuffer.TILES else "passes"
        found.keep(f"tile buffer of {where}", first - one.sums()[-1] - 1)


def _array(found: _Slacks, schedule: Schedule, tiles: list[_Tile]) -> None:
    """Operands, sums, and the parameters of columns."""
    config = schedule.config
    for one, other in pairwise(tiles):
        # A tile's end is told in the last cycle of the one that is fed, or later.
        found.keep(f"array of {'tiles' if other.tile else 'passes'}",
                   other.start + other.scheduled.filled - one.sums()[-1])
    sums = [(cycle, tile) for tile in tiles for cycle in tile.sums()]
    for (one, tile), (other, following) in pairwise(sums):
        found.keep("operands", other - one - following.scheduled.sum_cycles)
        # The row above comes down when all columns of a pixel have been taken.
        found.keep("drain", other - one - tile.scheduled.tile_windows * config.drain_step)
    if config.requantiser_cycles > 1:
        # A serial requantiser's parameters come by a ROM of their own.
        return
    # A single column group's parameters stay for all tiles of the pass.
    loads = [(cycle, tile.number) for cycle, tile in sums
             if tile.scheduled.column_groups > 1 or tile.tile == 0]
    for (one, number), (other, following) in pairwise(loads):
        found.keep(f"columns of {'sums' if number == following else 'passes'}",
                   other - one - ColumnParameters.loading(config))


class _Memory:
    """What lies in each word of a memory, from when to when: written and read by owners, as what they are of."""

    def __init__(self):
        # (first write, last write, whose word it is), for each word, in the order of the passes.
        self._contents: dict[Hashable, list[list]] = defaultdict(list)
        self._holder: dict[tuple, tuple[Hashable, int]] = {}
        self._reading: list[tuple[int, Hashable, tuple]] = []

    def write(self, cycle: int, place: Hashable, owner: tuple) -> None:
        entries = self._contents[place]
        if not entries or entries[-1][2] != owner:
            entries.append([cycle, cycle, owner])
            self._holder[owner] = place, len(entries) - 1
        entries[-1][1] = cycle

    def read(self, cycle: int, place: Hashable, owner: tuple) -> None:
        """The word of ``owner`` is looked for in ``place``."""
        self._reading.append((cycle, place, owner))

    def look(self, found: _Slacks, prefix: str = "") -> None:
        """Note how near accesses of a word are to each other."""
        for cycle, place, owner in self._reading:
            if owner not in self._holder:
                found.keep(f"{prefix}places", -1)
                continue
            written, index = self._holder[owner]
            entries = self._contents[written]
            found.keep(f"{prefix}places", 0 if written == place else -1)
            found.keep(f"{prefix}read after write", cycle - entries[index][1] - 1)
            if index + 1 < len(entries):
                found.keep(f"{prefix}write after read", entries[index + 1][0] - cycle - 1)
        for entries in self._contents.values():
            for one, other in pairwise(entries):
                found.keep(f"{prefix}write after write", other[0] - one[1] - 1)


def _activations(found: _Slacks, schedule: Schedule, tiles: list[_Tile]) -> None:
    config, memory = schedule.config, _Memory()
    region_written: dict[Region, int] = {}
    for tile in tiles:
        source, target = tile.scheduled.source, tile.scheduled.target
        if tile.scheduled.work.source is not None:
            addresses = defaultdict(set)
            for cycle, *word in _reads(schedule, tile):
                place = _word(source, word)
                memory.read(cycle, place, (tile.frame, tile.scheduled.work.source, *word))
                addresses[cycle, place[:2]].add(place[2])
                if config.single_port and source.region in region_written:
                    found.keep("single port", cycle - region_written[source.region] - 1)
            for asked in addresses.values():
                found.keep("banks", 1 - len(asked))
        if tile.scheduled.work.banked:
            end, places = tile.scheduled.work.channels.stop, defaultdict(list)
            for cycle, row, column, channel in _writes(schedule, tile):
                behind = min(end, channel + config.requantisers)
                for group in range(channel // config.lanes, -(-behind // config.lanes)):
                    word = row, column, group
                    places[cycle].append(place := _word(target, word))
                    memory.write(cycle, place, (tile.frame, tile.scheduled.work.writes(tile.number), *word))
                region_written[target.region] = max(cycle, region_written.get(target.region, cycle))
            # What is written at once goes to as many banks.
            for taken in places.values():
                found.keep("banks", len({place[:2] for place in taken}) - len(taken))
    memory.look(found)


def _skips(found: _Slacks, schedule: Schedule, tiles: list[_Tile]) -> None:
    """The skip memory, which is counted through in the order of writing."""
    memory, count = _Memory(), 0
    for tile in tiles:
        count = count if tile.tile else 0
        other, added = tile.scheduled.other, tile.scheduled.added
        for cycle, *chunk in _writes(schedule, tile) if (other, added) != (None, None) else ():
            if other is not None:
                memory.read(cycle - schedule.latency.skip, other + count,
                            (tile.frame, tile.scheduled.work.other, *chunk))
            if added is not None:
                memory.write(cycle, added + count, (tile.frame, tile.scheduled.work.writes(tile.number), *chunk))
            count += 1
    memory.look(found, "skip ")


def _word(place, word) -> tuple[int, int, int]:
    """(bank's row, bank's column, address) of (row, column, channel group) of a map."""
    (_, bank_row, down), (_, bank_column, across) = place.row(word[0], place.lap(word[0])), place.column(word[1])
    bank_column = (bank_column + place.turn(word[2])) % place.banks[1]
    return bank_row, bank_column, place.base + down + across + word[2]


def _streams(found: _Slacks, schedule: Schedule) -> None:
    """Input and output memory, of frames whose streams never wait."""
    config = schedule.config
    model = CycleModel(schedule)
    before, _, full = model.load_timing
    last_reader = max(number for number, each in enumerate(schedule.passes) if each.work.source is None)
    writers = [number for number, scheduled in enumerate(schedule.passes) if scheduled.work.output is not None]

    def cycles(action, number: int, begin: int) -> list[int]:
        scheduled = schedule.passes[number]
        tiles = (_Tile(0, number, tile, begin + tile * scheduled.slot, scheduled) for tile in range(scheduled.tiles))
        return [cycle for tile in tiles for cycle, *_ in action(schedule, tile)]

    if schedule.rows is not None:
        _input_rows(found, schedule, model)
    for frame, following in pairwise(model.frames(4)):
        if schedule.rows is None:
            read = cycles(_reads, 0, following.start)
            found.keep("input after loading",
                       min(read, default=following.start) - (following.last_beat + full - 1 + config.pipelined) - 1)
            # The loader may store windows of padding before the first beat.
            read = cycles(_reads, last_reader, frame.steps[last_reader])
            found.keep("loading after input",
                       following.first_beat - before + config.pipelined - max(read, default=frame.start) - 1)
        # The streamer fetches a word two cycles before its first byte; the index of the largest follows the last word.
        fetched = frame.last_byte - model.send_timing[1] - 2
        found.keep("output after results",
                   fetched - max(max(cycles(_writes, number, frame.steps[number])) for number in writers) - 1)
        tail = (schedule.output_maps[-1].shape[2] - 1) % config.written_bytes + 1
        fetched = frame.last_byte - Trailer.BYTES - OutputStreamer.COMPARE - tail - 1
        begins = min(min(cycles(_writes, number, following.steps[number])) for number in writers)
        found.keep("results after output", begins - fetched - 1)


def _input_rows(found: _Slacks, schedule: Schedule, model: CycleModel) -> None:
    """The input memory, of frames whose rows are loaded one in the place of another, each as a whole."""
    memory, layout, image = _Memory(), schedule.layout, schedule.input_map
    before, load, full = InputLoader.row_timing(layout, schedule.config.input_bytes)
    for number, frame in enumerate(model.frames(4)):
        for row, last_beat in enumerate(frame.rows):
            owner, place = (number, row), row % layout.rows
            # The loader may store windows of padding before a row's first beat.
            memory.write(last_beat - load - before + 1 + schedule.config.pipelined, place, owner)
            memory.write(last_beat + full - 1 + schedule.config.pipelined, place, owner)
        for which, scheduled in enumerate(schedule.passes):
            if scheduled.work.source is not None:
                continue
            reads: dict[int, list[int]] = {}
            for tile in range(scheduled.tiles):
                begin = frame.steps[which] + tile * scheduled.slot
                for cycle, row, *_ in _reads(schedule, _Tile(number, which, tile, begin, scheduled)):
                    first, last = reads.get(row, (cycle, cycle))
                    reads[row] = [min(first, cycle), max(last, cycle)]
            for row, cycles in reads.items():
                for cycle in cycles:
                    memory.read(cycle, image.row(row)[2] % layout.depth // layout.pitch, (number, row))
    memory.look(found, "input ")
