# SPDX-License-Identifier: Apache-2.0
"""Where feature maps lie: each in words of its own for as long as it lives.

A map lives from the pass that writes it to the last one that reads it.  Maps that live at once lie in different regions
of the activation memory, others may share one; regions lie one behind the other, and each map begins at the first
word of its region.  So two maps share words if they share a region, and else they share none.

In a chain of passes these are two regions in turn: one is read while the other one is written.  Where passes run in
bands, maps of very different sizes live at once, and each lies wherever there is room for it (:func:`pack`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any

from tepal.hdl.config import EngineConfig
from tepal.hdl.primitives import bits_for
from tepal.hdl.units.input_layout import InputLayout

from .passes import Pass

__all__ = ["FeatureMap", "Lifetime", "Places", "allocate", "colour", "lifetimes", "pack", "place",
           "place_activations"]


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
    def region(self) -> tuple[str, int, int]:
        """Its memory and words there, first and behind the last."""
        return self.memory, self.base, self.base + self.depth

    def row(self, value: int) -> tuple[int, int, int]:
        """(value, remainder, address) of a row number or a difference of rows."""
        return value, value % self.banks[0], value // self.banks[0] * self.pitch

    def column(self, value: int) -> tuple[int, int, int]:
        """(value, remainder, address) of a column number or a difference of columns."""
        return value, value % self.banks[1], value // self.banks[1] * self.words


@dataclass(frozen=True)
class Lifetime:
    """How long a map lives: the numbers of the pass that writes it, the first one if it has several, and of the last
    one that reads it."""

    written: int
    read: int

    def meets(self, other: "Lifetime") -> bool:
        """Whether both live during some pass; one that reads the one map and writes the other is such a pass."""
        return self.written <= other.read and other.written <= self.read


@dataclass(frozen=True)
class Places:
    """Where the image and the map of each pass lie, and the words in each region of the activation memory."""

    image: FeatureMap
    maps: tuple[FeatureMap, ...]
    region_depths: tuple[int, ...]


def lifetimes(passes: Sequence[Pass]) -> list[Lifetime]:
    """The lifetime of each pass's map; one that no pass reads lives as long as it is written."""
    last = {}
    for number, work in enumerate(passes):
        last |= {work.source: number, work.writes(number): number}
    return [Lifetime(work.writes(number), last[work.writes(number)]) for number, work in enumerate(passes)]


def colour(lives: Sequence[Lifetime]) -> list[int]:
    """Region of each map, as few regions as there can be.

    Colours an interval graph greedily (the left-edge algorithm): in the order in which they are written, each map
    takes the first region whose maps are dead."""
    region_of: dict[int, int] = {}
    for number in sorted(range(len(lives)), key=lambda number: lives[number].written):
        taken = {region for other, region in region_of.items() if lives[other].meets(lives[number])}
        region_of[number] = next(region for region in range(len(lives)) if region not in taken)
    return [region_of[number] for number in range(len(lives))]


def allocate(lives: Sequence[Lifetime], depths: Sequence[int], *,
             single_port: bool = False) -> tuple[list[int], tuple[int, ...]]:
    """Maps to regions: (first word of each map, words in each region).

    Parameters
    ----------
    lives, depths
        Of each map: its lifetime, and its words in each bank.
    single_port
        Regions are memories of their own, which upper bits of an address tell apart: all but the last one are equally
        deep, a power of two.
    """
    regions = colour(lives)
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


def place(passes: Sequence[Pass], config: EngineConfig, layout: InputLayout) -> Places:
    """The image lies in the input memory, the last pass's map in the output memory, all others in the activation
    memory."""
    first = passes[0]
    image = FeatureMap(first.window.input_shape, (1, 1), config.tile_lanes, wide=layout.parts == 1, memory="input")
    maps, region_depths = place_activations(passes, config)
    results = FeatureMap(passes[-1].output_shape, (1, 1), config.lanes, memory="output")
    # A memory has a word, though nothing lie in it.
    return Places(image, (*maps, results), region_depths or (1,))


def place_activations(passes: Sequence[Pass], config: EngineConfig) -> tuple[list[FeatureMap], tuple[int, ...]]:
    """(the map of each pass but the last, words in each region) of the activation memory."""
    lives, passes = lifetimes(passes)[:-1], passes[:-1]
    maps = [FeatureMap(work.output_shape, config.window, config.lanes) for work in passes]
    if config.activation_words is None and all(work.continues is None for work in passes):
        bases, region_depths = allocate(lives, [each.depth for each in maps], single_port=config.single_port)
        return [replace(each, base=base) for each, base in zip(maps, bases, strict=True)], region_depths
    heights = {}
    for number, work in enumerate(passes):
        heights[work.writes(number)] = work.target_row + work.output_shape[0]
    whole = {number: replace(maps[number], shape=(height, *maps[number].shape[1:]))
             for number, height in heights.items()}
    bases = pack([lives[number] for number in whole], [each.depth for each in whole.values()])
    whole = {number: replace(each, base=base) for (number, each), base in zip(whole.items(), bases, strict=True)}
    return ([whole[work.writes(number)] for number, work in enumerate(passes)],
            (max((each.base + each.depth for each in whole.values()), default=1),))
