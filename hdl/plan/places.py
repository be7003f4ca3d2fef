# SPDX-License-Identifier: Apache-2.0
"""Where feature maps lie: each in words of its own for as long as it lives.

A map lives from the pass that writes it to the last one that reads it.  Maps that live at once lie in different regions
of the activation memory, others may share one; regions lie one behind the other, and each map begins at the first
word of its region.  So two maps share words if they share a region, and else they share none.

In a chain of passes these are two regions in turn: one is read while the other one is written.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any

from tepal.hdl.config import EngineConfig
from tepal.hdl.primitives import bits_for
from tepal.hdl.units.input_layout import InputLayout

from .passes import Pass

__all__ = ["FeatureMap", "Lifetime", "Places", "allocate", "colour", "lifetimes", "place"]


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
    def region(self) -> tuple[str, int]:
        """Maps with the same one share words, others share none."""
        return self.memory, self.base

    def row(self, value: int) -> tuple[int, int, int]:
        """(value, remainder, address) of a row number or a difference of rows."""
        return value, value % self.banks[0], value // self.banks[0] * self.pitch

    def column(self, value: int) -> tuple[int, int, int]:
        """(value, remainder, address) of a column number or a difference of columns."""
        return value, value % self.banks[1], value // self.banks[1] * self.words


@dataclass(frozen=True)
class Lifetime:
    """How long a map lives: the numbers of the pass that writes it and of the last one that reads it."""

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
    last = {work.source: number for number, work in enumerate(passes)}
    return [Lifetime(number, last.get(number, number)) for number in range(len(passes))]


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


def place(passes: Sequence[Pass], config: EngineConfig, layout: InputLayout) -> Places:
    """The image lies in the input memory, the last pass's map in the output memory, all others in the activation
    memory."""
    first = passes[0]
    image = FeatureMap(first.window.input_shape, (1, 1), config.tile_lanes, wide=layout.parts == 1, memory="input")
    maps = [FeatureMap(work.output_shape, config.window, config.lanes) for work in passes[:-1]]
    bases, region_depths = allocate(lifetimes(passes)[:-1], [each.depth for each in maps],
                                    single_port=config.single_port)
    maps = [replace(each, base=base) for each, base in zip(maps, bases, strict=True)]
    results = FeatureMap(passes[-1].output_shape, (1, 1), config.lanes, memory="output")
    # A memory has a word, though nothing lie in it.
    return Places(image, (*maps, results), region_depths or (1,))
