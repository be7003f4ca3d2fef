# SPDX-License-Identifier: Apache-2.0
"""The engine for a network that does not fit on the chip, with weights from the board's memory.

Activations, the ring of weights and rows of the image share the memory blocks then.  Fewer words of activations mean
bands of fewer rows, whose weights may have to come more often; a small ring means that weights come no sooner than they
are needed; of the image, few rows will do.  Scheduling takes up to a second each time, so divisions of the blocks are
sketched first: which passes there are, which blocks they take at least, and about how many cycles, passes and memory
side by side.  Of the most promising ones that fit, the fastest is taken."""

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cache, cached_property
from itertools import accumulate, pairwise

from tepal.boards.board import Board
from tepal.boards.parts.part import MemoryKind
from tepal.hdl import ConfigError, EngineConfig, Formats, MemoryUse, Schedule
from tepal.hdl.memories.streamed import BEAT
from tepal.hdl.plan.bands import Group
from tepal.hdl.plan.choice import chosen
from tepal.hdl.plan.input_ring import by_rows, in_ring
from tepal.hdl.plan.kept_rows import with_fewest_loads
from tepal.hdl.plan.memories import FEW_WORDS
from tepal.hdl.plan.places import place
from tepal.hdl.plan.portions import ROLES, TABLES
from tepal.hdl.plan.slices import sliced
from tepal.hdl.plan.tiling import Latencies, Tiling, sum_cycles
from tepal.hdl.units.column_parameters import ColumnParameters
from tepal.quant import Network, NetworkError
from tepal.sim import CycleModel

from .fit import blocks, fit, for_weights, link_memories, memory_kind, with_beat_for

__all__ = ["room_for_weights", "with_weights_outside"]

_OVERHEAD = 4096
"""Bytes by which an image of weights is larger than those of a frame, at most: header, prologue, padding."""

_PATIENCE = 400
"""Passes that are scheduled, at least, before the best division so far is taken: several of small networks, one of
large ones."""


def room_for_weights(board: Board) -> int:
    """Bytes of weights for which ``board`` has room beside the FPGA: in its memory, and in the flash that fills it."""
    if board.memory is None or board.flash is None:
        return 0
    return min(board.memory.room, board.flash.room)


def with_weights_outside(network: Network, formats: Formats, board: Board,
                         engines: Sequence[EngineConfig] | None = None) -> Schedule | None:
    """The schedule with weights from the memory of ``board``, on the fastest one of ``engines`` (default: the board's)
    on which it fits, and of those there the one with the fewest cycles from frame to frame, as nearly as can be told
    without scheduling all; None if none fits, or if the board has no memory.  What an engine says of
    ``activation_words`` and ``input_rows`` stays as it is."""
    room = room_for_weights(board) - _OVERHEAD
    if engines is None:
        engines = [_frugal(for_weights(with_beat_for(network, config), formats))
                   for config in board.engines_for(network)]
    if not board.part.memories or network.parameters > room:
        return None
    divisions = [_Divisions(network, formats, board, config) for config in engines
                 if not config.single_port and config.requantiser_cycles == config.lane_cycles == 1]
    for each in sorted(divisions, key=lambda each: CycleModel(each.base).in_memory_cycles):
        found: list[tuple[int, Schedule]] = []
        passes = 0
        for sketch in sorted(each.sketches(), key=lambda sketch: sketch.cycles):
            if found and passes > _PATIENCE:
                break
            if sketch.bytes <= room and (schedule := sketch.schedule()):
                found.append((CycleModel(schedule, board.beat_cycles).interval_cycles, schedule))
                passes += len(schedule.passes)
        if found:
            return min(found, key=lambda pair: pair[0])[1]
    return None


def _frugal(config: EngineConfig) -> EngineConfig:
    """``config`` with no more requantisers than lanes, and no more columns abreast than they take results of: more save
    few cycles where weights come from outside, and take memory blocks for tables, parameters and results."""
    requantisers = min(config.requantisers, config.lanes)
    abreast = next(count for count in range(1, config.columns + 1)
                   if config.columns % count == 0 and count * config.rows >= requantisers)
    return replace(config, requantisers=requantisers, columns_abreast=min(config.columns_abreast, abreast))


class _NoRoom(NetworkError):
    """A division takes more blocks than there are."""


def _deepest(kind: MemoryKind, count: int, widths: Sequence[int], most: int) -> int:
    """Words of so many bits each of memories side by side, ``most`` at most, for which ``count`` blocks have room."""
    return bisect_right(range(most), count, key=lambda depth: sum(kind.blocks(depth + 1, width) for width in widths))


def _descriptors(passes: int) -> int:
    """About as many blocks as the tables of so many passes take: a word for each pass in blocks of 512 or 1,024."""
    if passes <= 64:
        return 0
    return 5 if passes <= 512 else 1 + 5 * -(-passes // 1024)


class _Divisions:
    """Divisions of a board's memory blocks for a network on the engine ``config``."""

    def __init__(self, network: Network, formats: Formats, board: Board, config: EngineConfig):
        self.board, self.asked = board, config
        self.base = Schedule(network, replace(config, activation_words=None, weight_words=None, input_rows=None),
                             formats)
        self.config = self.base.config
        self.passes = tuple(each.work for each in self.base.passes)
        self.uses = {use.role: self._from_outside(use) for use in self.base.memories}
        self.latency = Latencies.of(self.config, self.base.depthwise_format, self.base.matrix_format, None)
        self.kind = memory_kind(board, "matrix_weights")
        self.groups = cache(self._groups)

    def _from_outside(self, use: MemoryUse) -> MemoryUse:
        """A memory of the engine that has everything on the chip, as it is where weights come from outside."""
        if use.role not in ROLES or use.role == TABLES:
            return use
        return replace(use, beat=self.base.beat_bits[ROLES.index(use.role)])

    def sketches(self) -> Iterator["_Sketch"]:
        """Of all numbers of words of activations, and of few and all rows of the image, with the largest ring of
        weights that has room beside them."""
        before = None
        for words in self._words():
            try:
                groups = self.groups(words, self._ring_beside(words))
            except _NoRoom:
                continue
            if groups is None:
                # Nor do fewer words do.
                return
            if groups != before:
                yield from self._with_rows(words, groups)
            before = groups

    def _groups(self, words: int | None, ring: int) -> tuple[Group, ...] | None:
        """What a schedule with so many words of activations and such a ring of weights runs in bands; None if there is
        no way."""
        config = replace(self.config, activation_words=words, weight_words=ring)
        groups = chosen(self.passes, config, self.latency)
        return groups if groups is None else with_fewest_loads(self.passes, groups, config)

    def ring(self, count: int) -> int:
        """Words of the array's weights for which so many blocks have room."""
        use = self.uses["matrix_weights"]
        words = _deepest(self.kind, count, use.widths, use.depth)
        if not words:
            raise _NoRoom
        return words

    def _ring_beside(self, words: int | None) -> int:
        """Words of the ring beside so many of activations, about: bands are chosen for it before it is known."""
        use = self.uses["activations"]
        used = self._beside_weights + self.used([replace(use, depth=min(words or use.depth, use.depth))])
        return self.ring(self.kind.count - used[self.kind.name] - _descriptors(len(self.passes) << 4))

    def _words(self) -> Iterator[int | None]:
        """Words of activations, most first."""
        use, kind = self.uses["activations"], memory_kind(self.board, "activations")
        room = (kind.count - self._least[kind.name]) // use.count
        if self.asked.activation_words:
            yield self.asked.activation_words
            return
        if kind.blocks(use.depth, use.width) <= room:
            yield None
        for count in range(room, 0, -1):
            if deepest := _deepest(kind, count, use.widths, use.depth - 1):
                yield deepest

    def _with_rows(self, words: int | None, groups: tuple[Group, ...]) -> Iterator["_Sketch"]:
        """With the whole image in the input memory; and with the fewest rows that will do, and twice as many."""
        height, asked = self.base.layout.shape[0], self.asked.input_rows
        least = (self.passes[0].window.kernel[0] - 1).bit_length()
        fitting = 0
        for rows in [asked] if asked else [None, *(1 << power for power in range(least, (height - 1).bit_length()))]:
            try:
                yield _Sketch(self, words, groups, rows)
                fitting += rows is not None
            except _NoRoom:
                fitting += 2 * (rows is not None)
            except (ConfigError, NetworkError):
                # A pass needs more rows at once, or more weights.
                continue
            if fitting >= 2:
                return

    @cached_property
    def fixed(self) -> Counter[str]:
        """Blocks of each kind that every division takes, at least: what depends on how the network is divided counts
        as if all passes ran alone."""
        base, uses = self.base, self.uses
        layers = [each for each in base.stored if each.reduces]
        return self.used([
            *link_memories(self.board),
            *(replace(use, logic=use.role == "output" and use.depth <= FEW_WORDS) for use in base.memories
              if use.role in ("output", "tile_buffer")),
            *(replace(use, depth=min(use.depth, 256)) for use in base.memories if use.role == "elementwise_tables"),
            replace(uses["matrix_parameters"], depth=ColumnParameters.loading(base.config), logic=True),
            replace(uses["depthwise_weights"], depth=max([1, *(len(each.depthwise_words) for each in layers)])),
            replace(uses["depthwise_parameters"],
                    depth=max([1, *base.parameter_groups]) * base.parameter_beats)])

    @cached_property
    def _least(self) -> Counter[str]:
        """Blocks of each kind that are taken beside activations, at least."""
        weights = max(min(2, each.column_groups) * each.sum_cycles for each in self.base.passes)
        return self._beside_weights + self.used([replace(self.uses["matrix_weights"], depth=weights)])

    @cached_property
    def _beside_weights(self) -> Counter[str]:
        """Blocks of each kind that are taken beside activations and the array's weights, at least."""
        layout = in_ring(self.base.layout, self.asked.input_rows or self.passes[0].window.kernel[0])
        return self.fixed + self.used([MemoryUse("input", 1, layout.depth, 8 * layout.word_bytes)])

    def used(self, uses: Iterable[MemoryUse]) -> Counter[str]:
        """Blocks of each kind."""
        used: Counter[str] = Counter()
        for use in uses:
            kind, count = blocks(self.board, use)
            used[kind] += count
        return used


class _Sketch:
    """A division, before it is scheduled.

    Attributes
    ----------
    cycles : float
        From frame to frame, about.
    bytes : int
        Of weights, for every frame.

    Raises
    ------
    NetworkError
        The network can't run so; :class:`_NoRoom` if the board has too few blocks.
    """

    def __init__(self, divisions: _Divisions, words: int | None, groups: tuple[Group, ...], rows: int | None):
        self._divisions = divisions
        base = divisions.base
        self._layout = in_ring(base.layout, rows)
        self._config = replace(divisions.config, activation_words=words, input_rows=rows)
        self._whole = by_rows(divisions.passes, groups, self._layout, self._config)
        used = self._used()
        if any(used[kind.name] > kind.count for kind in divisions.board.part.memories):
            raise _NoRoom
        passes = len(self._whole[0])
        for _ in range(2):
            # In slices there are more passes.
            self._count = divisions.kind.count - used[divisions.kind.name] - _descriptors(passes)
            self._config = replace(self._config, weight_words=divisions.ring(self._count))
            self._parts = sliced(base.network, *self._whole, self._config)
            passes = len(self._parts[0])
        self._portions = self._of_portions()
        self.bytes = sum(beats for _, beats, _ in self._portions) * BEAT // 8
        self.cycles = self._cycles()

    def _used(self) -> Counter[str]:
        """Blocks of each kind, at least, but for the ring."""
        divisions, uses = self._divisions, self._divisions.uses
        places = place(self._whole[0], self._config, self._layout)
        return divisions.fixed + divisions.used([
            MemoryUse("input", 1, self._layout.depth, 8 * self._layout.word_bytes),
            replace(uses["activations"], depth=sum(places.region_depths), region_depths=places.region_depths),
            *(replace(use, depth=sum(places.skip_depths)) for role, use in uses.items() if role == "skip")])

    def _of_portions(self) -> list[tuple[int, int, int]]:
        """Of each portion: (its words of weights in the array, beats of all that is loaded with it, the last pass that
        uses it)."""
        base = self._divisions.base
        columns, loading = base.config.columns, ColumnParameters.loading(base.config)
        each_word = base.word_beats
        found: dict[int, tuple[int, int, int]] = {}
        begun = set()
        for number, (work, whole, portion) in enumerate(zip(*self._parts, strict=True)):
            words, beats, _ = found.get(portion, (0, 0, 0))
            if not words:
                groups = -(-len(work.matrix.weights) // columns)
                words = groups * sum_cycles(work, base.config)
                beats = words * each_word[0] + groups * loading * each_word[1]
            if whole not in begun and work.reduction is not None:
                begun.add(whole)
                beats += len(base.stored[whole].depthwise_words) * each_word[2]
                beats += base.parameter_groups[whole] * base.parameter_beats * each_word[3]
            found[portion] = words, beats, number
        return [*found.values()]

    def _cycles(self) -> float:
        """Passes one after the other, each when its weights are there; and weights as the memory gives them, as soon as
        those that lay in their places in the ring have been used.  The second frame counts."""
        divisions, portions = self._divisions, self._portions
        beat, ring = float(divisions.board.beat_cycles), self._config.weight_words or 0
        tilings = [Tiling(work, self._config, divisions.latency) for work in self._parts[0]]
        # A pass that reads the map of the one before waits for its last results.
        waits = [max(0, before.last_written - before.slot) if each.work.source == number else 0
                 for number, (before, each) in enumerate(pairwise(tilings))]
        busy = [each.tiles * each.slot + wait for each, wait in zip(tilings, (0, *waits), strict=True)]
        loaded = [0, *accumulate(words for words, _, _ in portions * 2)]
        ends: list[float] = []
        loader = moment = begun = free = 0.0
        number = freed = 0
        for frame in range(2):
            begun = moment
            for portion, cycles in zip(self._parts[2], busy, strict=True):
                if number == frame * len(portions) + portion:
                    while loaded[number + 1] - loaded[freed] > ring:
                        before, place = divmod(freed, len(portions))
                        last = before * len(busy) + portions[place][2]
                        free = max(free, ends[last] if last < len(ends) else moment)
                        freed += 1
                    loader = max(loader, free) + portions[portion][1] * beat
                    moment = max(moment, loader)
                    number += 1
                moment += cycles
                ends.append(moment)
        return moment - begun

    def schedule(self) -> Schedule | None:
        """With the largest ring with which it fits; None if there is none."""
        base, board, kind = self._divisions.base, self._divisions.board, self._divisions.kind
        count = self._count
        while True:
            try:
                config = replace(self._config, weight_words=(ring := self._divisions.ring(count)))
                if (groups := self._divisions.groups(config.activation_words, ring)) is None:
                    return None
                schedule = Schedule(base.network, config, base.formats, groups=groups)
            except (ConfigError, NetworkError):
                return None
            found = fit(schedule, board)
            if found.ok:
                return schedule
            if found.over != [kind.name]:
                return None
            # A smaller ring leaves less to be loaded ahead, so the other memories that are loaded shrink too.
            use = replace(self._divisions.uses["matrix_weights"], depth=config.weight_words or 0)
            taken = self._divisions.used([use])[kind.name]
            count = taken - -(-(found.used[kind.name] - kind.count) // 2)
