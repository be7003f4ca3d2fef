# SPDX-License-Identifier: Apache-2.0
"""Where feature maps lie: each in words of its own for as long as it lives.

A map lives from the pass that writes it to the last one that reads it.  Maps that live at once lie in different regions
of the activation memory, others may share one; regions lie one behind the other, and each map begins at the first
word of its region.  So two maps share words if they share a region, and else they share none.

In a chain of passes these are two regions in turn: one is read while the other one is written.  Where passes run in
bands, maps of very different sizes live at once, and each lies wherever there is room for it (:func:`pack`).  If that
is not enough room, each row of banks of a map counts for itself (:class:`Strip`): the last rows of one map may lie
where the first ones of another have been read.

A map whose values are added to another pass's results lies in the skip memory, in the order in which it is written:
that is the order in which the other pass writes, which may write a map of its own in its place.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import Any

from tepal.hdl.config import EngineConfig
from tepal.hdl.primitives import bits_for
from tepal.hdl.units.input_layout import InputLayout

from .passes import Pass, covered

__all__ = ["FeatureMap", "InputMap", "Lifetime", "Places", "Region", "Strip", "allocate", "colour", "lifetimes",
           "outputs", "pack", "place", "place_activations", "skip_lifetimes", "skip_words", "strips"]

Region = tuple[str, int, int]
"""Words of a memory: its name, the first word, and the one behind the last."""


def _ceil(a: int, b: int) -> int:
    return -(-a // b)


@dataclass(frozen=True, eq=False)
class FeatureMap:
    """Where a feature map lies: in a ``memory`` (by its role) of ``banks`` (rows, columns), from word ``base`` in each.

    A pixel takes ``words`` words: one for each ``lanes`` channels, or a single wide one.  With an array of ``lanes``
    the words are arrays, too.

    Of ``kept`` rows, a whole number of rows of banks, there is room for so many at a time, a ring; None: for all.

    If ``turned``, each channel group of a pixel lies a bank column further on than the one before, round and round, at
    the same address as it otherwise would: so two neighbouring ones may be written at once."""

    shape: tuple[int, int, int]
    banks: tuple[int, int]
    lanes: Any
    base: int = 0
    wide: bool = False
    memory: str = "activations"
    kept: int | None = None
    turned: bool = False

    @property
    def groups(self) -> int:
        """Channel groups of a pixel."""
        return _ceil(self.shape[2], self.lanes)

    @property
    def words(self) -> int:
        return 1 if self.wide else self.groups

    @property
    def pitch(self) -> int:
        """Words from one row of a bank to the next."""
        return _ceil(self.shape[1], self.banks[1]) * self.words

    @property
    def depth(self) -> int:
        """Words in each bank."""
        return _ceil(min(self.shape[0], self.kept or self.shape[0]), self.banks[0]) * self.pitch

    @property
    def region(self) -> Region:
        return self.memory, self.base, self.base + self.depth

    def row(self, value: int, lap: int = 0) -> tuple[int, int, int]:
        """(value, remainder, address) of a row number, in this lap of the ring, or of a difference of rows."""
        return value, value % self.banks[0], value // self.banks[0] * self.pitch - lap * self.lap_words

    def lap(self, row: int) -> int:
        """How often the ring has been filled before the map's ``row``; rows above the map come before its first."""
        return max(row, 0) // self.kept if self.kept else 0

    @property
    def lap_words(self) -> int:
        """Words from the ring's begin to its end; none if there is no ring."""
        return (self.kept or 0) // self.banks[0] * self.pitch

    def turn(self, group: int) -> int:
        """Bank columns by which a pixel's channel group lies further on than its first one."""
        return group % self.banks[1] if self.turned else 0

    def column(self, value: int) -> tuple[int, int, int]:
        """(value, remainder, address) of a column number or a difference of columns."""
        return value, value % self.banks[1], value // self.banks[1] * self.words


@dataclass(frozen=True, eq=False)
class InputMap(FeatureMap):
    """The image, in the ``layout`` of the input memory, whose rows may be fewer than the image's."""

    memory: str = "input"
    layout: InputLayout = field(kw_only=True)

    @property
    def pitch(self) -> int:
        return self.layout.pitch

    @property
    def depth(self) -> int:
        return self.layout.depth


@dataclass(frozen=True)
class Lifetime:
    """How long a map lives: the numbers of the pass that writes it, the first one if it has several, and of the last
    one that reads it."""

    written: int
    read: int

    def meets(self, other: "Lifetime", *, in_place: bool = False) -> bool:
        """Whether both live during some pass; one that reads the one map and writes the other is such a pass, unless
        it may do so ``in_place``."""
        return self.written + in_place <= other.read and other.written + in_place <= self.read


@dataclass(frozen=True)
class Strip:
    """Words ``begin`` to ``end`` of a map, in each bank, that live for the same time."""

    begin: int
    end: int
    life: Lifetime


@dataclass(frozen=True)
class Places:
    """Where the image and the map of each pass lie, and the words in each region of the activation memory.

    ``skips`` are the first words in the skip memory that each pass writes, ``others`` those that it reads, None where
    there are none; ``skip_depths`` the words in each of its regions, of as many bytes as the engine has
    requantisers."""

    image: FeatureMap
    maps: tuple[FeatureMap, ...]
    region_depths: tuple[int, ...]
    skips: tuple[int | None, ...]
    others: tuple[int | None, ...]
    skip_depths: tuple[int, ...]


def lifetimes(passes: Sequence[Pass]) -> dict[int, Lifetime]:
    """The lifetime of each map in the activation memory; one that no pass reads lives as long as it is written."""
    last = {}
    for number, work in enumerate(passes):
        last |= {work.source: number, work.writes(number): number}
    return {number: Lifetime(number, last[number]) for number, work in enumerate(passes)
            if work.banked and work.continues is None}


def skip_lifetimes(passes: Sequence[Pass]) -> dict[int, Lifetime]:
    """The same in the skip memory.  All parts of a pass count as the first one: what each adds and writes is its
    own.  Where parts that write a map and such that add it take turns, it lives until the last one of these."""
    adders, written = defaultdict(list), {}
    for number, work in enumerate(passes):
        adders[work.other].append(number)
        written[work.writes(number)] = number

    def read(number: int) -> int:
        first, last = adders[number][0], adders[number][-1]
        return last if written[number] > first else passes[last].writes(last)

    return {number: Lifetime(number, read(number)) for number, work in enumerate(passes)
            if work.added and work.continues is None}


def _stored_at_once(passes: Sequence[Pass], number: int, config: EngineConfig) -> int:
    """Words of the map ``number`` that lie in the skip memory at a time, most: those that have been written and are
    still to be added.  So many words are a ring, in which parts of one size lie without a gap."""
    written, most, sizes = 0, 0, set()
    added = {work.writes(part): 0 for part, work in enumerate(passes) if work.other == number}
    for part, work in enumerate(passes):
        words = skip_words(work, config)
        if work.writes(part) == number:
            written, sizes = written + words, sizes | {words}
            most = max(most, written - min(added.values()))
        if work.other == number:
            added[work.writes(part)] += words
    return most if len(sizes) == 1 else written


def colour(lives: Sequence[Lifetime], *, in_place: bool = False) -> list[int]:
    """Region of each map, as few regions as there can be.

    Colours an interval graph greedily (the left-edge algorithm): in the order in which they are written, each map
    takes the first region whose maps are dead; ``in_place``, also that of the one that is read for the last time."""
    region_of: dict[int, int] = {}
    for number in sorted(range(len(lives)), key=lambda number: lives[number].written):
        taken = {region for other, region in region_of.items() if lives[other].meets(lives[number], in_place=in_place)}
        region_of[number] = next(region for region in range(len(lives)) if region not in taken)
    return [region_of[number] for number in range(len(lives))]


def allocate(lives: Sequence[Lifetime], depths: Sequence[int], *, single_port: bool = False,
             in_place: bool = False) -> tuple[list[int], tuple[int, ...]]:
    """Maps to regions: (first word of each map, words in each region).

    Parameters
    ----------
    lives, depths
        Of each map: its lifetime, and its words in each bank.
    single_port
        Regions are memories of their own, which upper bits of an address tell apart: all but the last one are equally
        deep, a power of two.
    in_place
        As for :func:`colour`.
    """
    regions = colour(lives, in_place=in_place)
    region_depths = [max(depth for depth, region in zip(depths, regions, strict=True) if region == each)
                     for each in range(len(set(regions)))]
    if single_port:
        region_depths[:-1] = [1 << bits_for(max(region_depths[:-1], default=1))] * (len(region_depths) - 1)
    bases = [0, *accumulate(region_depths)]
    return [bases[region] for region in regions], tuple(region_depths)


def pack(maps: Sequence[Sequence[Strip]], words: int | None = None) -> list[int]:
    """First word of each map, of which the strips are given; those that live at once lie in words of their own.

    The largest maps first, each takes the lowest words that are free while it lives (Pisarchyk and Lee: Efficient
    memory management for deep neural net inference, 2020, greedy by size).  If more than ``words`` are taken so, a map
    that lies beyond them comes before all others, and all are placed again: some times, while that helps."""
    order = sorted(range(len(maps)), key=lambda number: -maps[number][-1].end)
    found = []
    for _ in range(1 if words is None else 16):
        bases = _placed_in_order(maps, order)
        ends = [base + pieces[-1].end for base, pieces in zip(bases, maps, strict=True)]
        found.append((max(ends, default=0), bases))
        beyond = [number for number in order if words is not None and ends[number] > words]
        if not beyond:
            break
        order.remove(beyond[0])
        order.insert(0, beyond[0])
    return min(found, key=lambda way: way[0])[1]


def _placed_in_order(maps: Sequence[Sequence[Strip]], order: Sequence[int]) -> list[int]:
    """First word of each map, the lowest that there is when all before it in the ``order`` have theirs."""
    bases: dict[int, int] = {}
    for number in order:
        # Between these, not counted, a first word would put a strip upon another one.
        barred = sorted((base + there.begin - strip.end, base + there.end - strip.begin)
                        for other, base in bases.items() for there in maps[other] for strip in maps[number]
                        if there.life.meets(strip.life))
        bases[number] = 0
        for low, high in barred:
            if low < bases[number] < high:
                bases[number] = high
    return [bases[number] for number in range(len(maps))]


def _maps(passes: Sequence[Pass], config: EngineConfig) -> list[FeatureMap]:
    """The whole map that each pass writes, or a part of it."""
    shapes: dict[int, tuple[int, int, int]] = {}
    for number, work in enumerate(passes):
        height, width, channels = work.output_shape
        before = shapes.get(work.writes(number), (0, 0, 0))
        shapes[work.writes(number)] = (max(before[0], work.target_row + height), width,
                                       max(before[2], work.target_channel + channels))
    return [FeatureMap(shapes[work.writes(number)], config.window, config.lanes, kept=work.kept,
                       turned=config.written_words > 1) for number, work in enumerate(passes)]


def strips(passes: Sequence[Pass], config: EngineConfig) -> dict[int, list[Strip]]:
    """Of each map in the activation memory, by the number of the pass that writes it first: its rows of banks; a ring
    is one strip."""
    maps, touching = _maps(passes, config), defaultdict(list)
    for number, work in enumerate(passes):
        rows = range(work.target_row, work.target_row + work.output_shape[0])
        for touched, lines in ((work.writes(number), rows),
                               (work.source, covered(work.window, range(work.window.output_size[0])))):
            touching[touched].append((number, lines))
    found = {}
    for number in lifetimes(passes):
        place = maps[number]
        rows, words = (place.shape[0], place.depth) if place.kept else (place.banks[0], place.pitch)
        users = [[user for user, lines in touching[number] if lines.start < first + rows and first < lines.stop]
                 for first in range(0, place.shape[0], rows)]
        found[number] = [Strip(piece * words, (piece + 1) * words, Lifetime(min(each), max(each)))
                         for piece, each in enumerate(users) if each]
    return found


def place_activations(passes: Sequence[Pass], config: EngineConfig) -> tuple[dict[int, int], tuple[int, ...]]:
    """(first word of each map in the activation memory, words in each of its regions)."""
    lives, maps = lifetimes(passes), _maps(passes, config)
    depths = [maps[number].depth for number in lives]
    bases, region_depths = allocate([*lives.values()], depths, single_port=config.single_port)

    def packed(pieces: Sequence[Sequence[Strip]], words: int | None = None) -> tuple[list[int], tuple[int, ...]]:
        found = pack(pieces, words)
        return found, (max((base + depth for base, depth in zip(found, depths, strict=True)), default=1),)

    ways = [(bases, region_depths)]
    if config.activation_words is not None or any(work.continues is not None for work in passes):
        # Where all maps are about as large, regions may leave fewer gaps.
        ways.append(packed([[Strip(0, depth, life)] for life, depth in zip(lives.values(), depths, strict=True)]))
    if config.activation_words is not None and all(sum(words) > config.activation_words for _, words in ways):
        ways.append(packed([*strips(passes, config).values()], config.activation_words))
    bases, region_depths = min(ways, key=lambda way: sum(way[1]))
    return dict(zip(lives, bases, strict=True)), region_depths


def place(passes: Sequence[Pass], config: EngineConfig, layout: InputLayout) -> Places:
    """The image lies in the input memory, outputs in the output memory, one behind the other, all other maps in the
    activation memory, the skip memory, or both."""
    first = passes[0]
    image = InputMap(first.window.input_shape, (1, 1), config.tile_lanes, wide=layout.parts == 1, layout=layout)
    maps = _maps(passes, config)
    activations, region_depths = place_activations(passes, config)
    for number, base in activations.items():
        maps[number] = replace(maps[number], base=base)
    lives = skip_lifetimes(passes)
    words = {number: _stored_at_once(passes, number, config) for number in lives}
    skips, skip_depths = _place_skips(passes, lives, words)
    for number in skips.keys() - activations.keys():
        maps[number] = replace(maps[number], base=skips[number], memory="skip")
    base = 0
    for number in outputs(passes):
        maps[number] = replace(maps[number], banks=(1, 1), lanes=config.written_bytes, base=base, memory="output",
                               turned=False)
        base += maps[number].depth

    # Parts of a map lie one behind the other in the skip memory, round and round where there is room for a few; and so
    # do those of the map that is added to it.
    before, written = [], defaultdict(int)
    for number, work in enumerate(passes):
        before.append(written[work.writes(number)])
        written[work.writes(number)] += skip_words(work, config)

    def words_of(number: int | None, part: int) -> int | None:
        """First word, in the skip memory, of what belongs to pass ``part`` of a map."""
        if number is None or number not in skips:
            return None
        return skips[number] + before[part] % words[number]

    # A memory has a word, though nothing lie in it.
    return Places(image, tuple(maps[work.writes(number)] for number, work in enumerate(passes)), region_depths or (1,),
                  tuple(words_of(work.writes(number), number) for number, work in enumerate(passes)),
                  tuple(words_of(work.other, number) for number, work in enumerate(passes)), skip_depths)


def _place_skips(passes: Sequence[Pass], lives: Mapping[int, Lifetime],
                 words: Mapping[int, int]) -> tuple[dict[int, int], tuple[int, ...]]:
    """(first word of each map in the skip memory, words in each of its regions)."""
    bases, depths = allocate([*lives.values()], [*words.values()], in_place=True)
    if any(work.kept for work in passes):
        # Maps that are written in one another's place, by the first of them.
        heads: dict[int, int] = {}
        for number in lives:
            other = passes[number].other
            heads[number] = number
            if other is not None and other in heads and lives[other].read == number and words[other] == words[number]:
                heads[number] = heads[other]
        firsts = sorted({*heads.values()})
        spans = [Lifetime(first, max(lives[number].read for number in lives if heads[number] == first))
                 for first in firsts]
        pieces = [[Strip(0, words[first], span)] for first, span in zip(firsts, spans, strict=True)]
        packed = dict(zip(firsts, pack(pieces), strict=True))
        most = max((packed[heads[number]] + words[number] for number in lives), default=0)
        # Where few rows of a map are stored, regions would be as deep as the largest map in them.
        if most < sum(depths):
            return {number: packed[heads[number]] for number in lives}, (most,)
    return dict(zip(lives, bases, strict=True)), depths


def outputs(passes: Sequence[Pass]) -> list[int]:
    """Numbers of the passes that write the outputs, in the outputs' order."""
    return [number for _, number in sorted((work.output, number) for number, work in enumerate(passes)
                                           if work.output is not None and work.continues is None)]


def skip_words(work: Pass, config: Any) -> Any:
    """Words that a pass's results take in the skip memory, a chunk each; ``config`` may have arrays in place of its
    integers."""
    height, width, channels = work.output_shape
    return height * width * _ceil(channels, config.requantisers)
