# SPDX-License-Identifier: Apache-2.0
"""What memories an accelerator has, and how deep and wide they are."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from tepal.hdl.units.tile_buffer import TileBuffer

from .timeline import ScheduledPass

__all__ = ["FEW_WORDS", "MemoryUse", "parameter_groups", "tile_buffers", "tile_row_words"]

FEW_WORDS = 192
"""Most words of an output memory, or of columns' parameters, that is made of LUTs where weights come from outside: it
would leave most of its blocks empty, of which there are too few then."""

_LEAST_DEPTH = 256
"""Words of a memory block where there are fewest: a shallower memory takes as much."""


@dataclass(frozen=True)
class MemoryUse:
    """``count`` equal memories of the accelerator. ``region_depths`` adds up to ``depth``: regions of which one
    is read while another one is written, never both at once.

    Words that come from outside come in beats of ``beat`` bits, each of which goes to memories of its own; 0 of other
    memories.  ``logic``: it is made of LUTs."""

    role: str
    count: int
    depth: int
    width: int
    region_depths: tuple[int, ...] = ()
    beat: int = 0
    logic: bool = False

    @property
    def widths(self) -> tuple[int, ...]:
        """Bits of a word of each memory of which one is made."""
        if not self.beat:
            return (self.width,)
        return tuple(min(self.beat, self.width - begin) for begin in range(0, self.width, self.beat))

    @property
    def regions(self) -> int:
        return len(self.region_depths)


def tile_row_words(passes: Sequence[ScheduledPass], rows: int) -> tuple[int, ...]:
    """Words of a pixel for which each row of the tile buffer has room: none where no tile has so many pixels."""
    least = min(max(each.words for each in passes), _LEAST_DEPTH // TileBuffer.TILES)
    needed = (max((each.words for each in passes if each.tile_windows > pixel), default=0)
              for pixel in reversed(range(rows)))
    return tuple(words and max(words, least) for words in needed)


def tile_buffers(row_words: Sequence[int], width: int) -> list[MemoryUse]:
    """The memories of the tile buffer's rows, deepest first."""
    depths = Counter(TileBuffer.depth(words) for words in row_words if words)
    return [MemoryUse("tile_buffer", count, depth, width) for depth, count in sorted(depths.items(), reverse=True)]


def parameter_groups(affines: Sequence, passes: Sequence[ScheduledPass]) -> tuple[int, ...]:
    """Channel groups of each pass whose parameters are stored: one where all channels' are equal, as an average
    pool's are.  ``affines`` are the depthwise requantisers', None where a pass has none."""
    return tuple(0 if affine is None else 1 if affine.uniform else each.groups
                 for affine, each in zip(affines, passes, strict=True))
