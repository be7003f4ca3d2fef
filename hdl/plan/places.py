# SPDX-License-Identifier: Apache-2.0
"""Where feature maps lie: each in words of its own for as long as it lives.

A map lives from the pass that writes it to the last one that reads it.  Maps that live at once lie in different regions
of the activation memory, others may share one; regions lie one behind the other, and each map begins at the first
word of its region.  So two maps share words if they share a region, and else they share none.

In a chain of passes these are two regions in turn: one is read while the other one is written.  Where passes run in
bands, maps of very different sizes live at once, and each lies wherever there is room for it (:func:`pack`).

A map whose values are added to another pass's results lies in the skip memory, in the order in which it is written:
that is the order in which the other pass writes, which may write a map of its own in its place.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from math import prod
from typing import Any

from tepal.hdl.config import EngineConfig
from tepal.hdl.primitives import bits_for
from tepal.hdl.units.input_layout import InputLayout

from .passes import Pass

__all__ = ["FeatureMap", "InputMap", "Lifetime", "Places", "Region", "allocate", "colour", "lifetimes", "outputs",
           "pack", "place", "place_activations", "skip_lifetimes", "skip_words"]

Region = tuple[str, int, int]
"""Words of a memory: its name, the first word, and the one behind the last."""


def _ceil(a: int, b: int) -> int:
    return -(-a // b)


@dataclass(frozen=True, eq=False)
class FeatureMap:
    """Where a feature map lies: in a ``memory`` (by its role) of ``banks`` (rows, columns), from word ``base`` in each.

    A pixel takes ``words`` words: one for each ``lanes`` channels, or a single wide one.  With an array of ``lanes``
    the words are arrays, too."""

    shape: tuple[int, int, int]
    banks: tuple[int, int]
    lanes: Any
    base: int = 0
    wide: bool = False
    memory: str = "activations"

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
        return _ceil(self.shape[0], self.banks[0]) * self.pitch

    @property
    def region(self) -> Region:
        return self.memory, self.base, self.base + self.depth

    def row(self, value: int) -> tuple[int, int, int]:
        """(value, remainder, address) of a row number or a difference of rows."""
        return value, value % self.banks[0], value // self.banks[0] * self.pitch

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
    own."""
    last = {work.other: work.writes(number) for number, work in enumerate(passes)}
    return {number: Lifetime(number, last[number]) for number, work in enumerate(passes)
            if work.added and work.continues is None}


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


def pack(lives: Sequence[Lifetime], depths: Sequence[int]) -> list[int]:
    """First word of each map, those that live at once in words of their own.

    The largest maps first, each takes the lowest words that are free while it lives (Pisarchyk and Lee: Efficient
    memory management for deep neural net inference, 2020, greedy by size)."""
    bases: dict[int, int] = {}
    for number in sorted(range(len(lives)), key=lambda number: -depths[number]):
        base = 0
        for other in sorted(bases, key=bases.__getitem__):
            if lives[other].meets(lives[number]) and bases[other] < base + depths[number]:
                base = max(base, bases[other] + depths[other])
        bases[number] = base
    return [bases[number] for number in range(len(lives))]


def _maps(passes: Sequence[Pass], config: EngineConfig) -> list[FeatureMap]:
    """The whole map that each pass writes, or a part of it."""
    # The last part of a map ends it.
    shapes = {work.writes(number): (work.target_row + work.output_shape[0], work.output_shape[1],
                                    work.target_channel + work.output_shape[2]) for number, work in enumerate(passes)}
    return [FeatureMap(shapes[work.writes(number)], config.window, config.lanes) for number, work in enumerate(passes)]


def place_activations(passes: Sequence[Pass], config: EngineConfig) -> tuple[dict[int, int], tuple[int, ...]]:
    """(first word of each map in the activation memory, words in each of its regions)."""
    lives, maps = lifetimes(passes), _maps(passes, config)
    depths = [maps[number].depth for number in lives]
    bases, region_depths = allocate([*lives.values()], depths, single_port=config.single_port)
    if config.activation_words is not None or any(work.continues is not None for work in passes):
        packed = pack([*lives.values()], depths)
        words = max((base + depth for base, depth in zip(packed, depths, strict=True)), default=1)
        # Where all maps are about as large, regions may leave fewer gaps.
        if words < sum(region_depths):
            bases, region_depths = packed, (words,)
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
    words = [prod(maps[number].shape[:2]) * _ceil(maps[number].shape[2], config.requantisers) for number in lives]
    bases, skip_depths = allocate([*lives.values()], words, in_place=True)
    skips = dict(zip(lives, bases, strict=True))
    for number in skips.keys() - activations.keys():
        maps[number] = replace(maps[number], base=skips[number], memory="skip")
    base = 0
    for number in outputs(passes):
        maps[number] = replace(maps[number], banks=(1, 1), base=base, memory="output")
        base += maps[number].depth

    # Parts of a map lie one behind the other in the skip memory, and so do those of the map that is added to it.
    before, written = [], defaultdict(int)
    for number, work in enumerate(passes):
        before.append(written[work.writes(number)])
        written[work.writes(number)] += skip_words(work, config)

    def words_of(number: int | None, part: int) -> int | None:
        """First word, in the skip memory, of what belongs to pass ``part`` of a map."""
        first = None if number is None else skips.get(number)
        return None if first is None else first + before[part]

    # A memory has a word, though nothing lie in it.
    return Places(image, tuple(maps[work.writes(number)] for number, work in enumerate(passes)), region_depths or (1,),
                  tuple(words_of(work.writes(number), number) for number, work in enumerate(passes)),
                  tuple(words_of(work.other, number) for number, work in enumerate(passes)), skip_depths)


def outputs(passes: Sequence[Pass]) -> list[int]:
    """Numbers of the passes that write the outputs, in the outputs' order."""
    return [number for _, number in sorted((work.output, number) for number, work in enumerate(passes)
                                           if work.output is not None and work.continues is None)]


def skip_words(work: Pass, config: Any) -> Any:
    """Words that a pass's results take in the skip memory, a chunk each; ``config`` may have arrays in place of its
    integers."""
    height, width, channels = work.output_shape
    return height * width * _ceil(channels, config.requantisers)
