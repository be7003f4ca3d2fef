# SPDX-License-Identifier: Apache-2.0
"""How many rows of each map are kept, where weights come from outside: as come again least often.

Where not all weights of the passes that take turns can stay on the chip, some come again for each part
(:mod:`~tepal.hdl.plan.slices`).  The more rows of the maps on both sides of a pass are stored, the fewer parts it has.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from math import prod
from operator import le, lt

from tepal.hdl.config import EngineConfig

from .bands import Group, banded, has_what_it_adds, last_strip, order_of_parts
from .passes import Pass
from .places import place_activations
from .slices import loaded_words

__all__ = ["with_fewest_loads"]


def with_fewest_loads(passes: Sequence[Pass], groups: Sequence[Group], config: EngineConfig) -> tuple[Group, ...]:
    """``groups`` with those that keep rows keeping others, in no more than ``config.activation_words``, so that few
    words of weights are loaded for a frame.  Unchanged where weights do not come from outside, or none comes less
    often."""
    if config.weight_words is None or config.activation_words is None:
        return tuple(groups)
    found = tuple(groups)
    for number, group in enumerate(groups):
        if group.kept:
            found = _grown(passes, found, number, config)
    return found


def _grown(passes: Sequence[Pass], groups: tuple[Group, ...], number: int, config: EngineConfig) -> tuple[Group, ...]:
    """``groups`` with as few rows kept in one of them as can be, and then more wherever a word of activations saves the
    most of weights; as they are if that is no better."""
    def with_rows(kept: Sequence[int], ahead: int | None = None) -> tuple[Group, ...]:
        return *groups[:number], replace(groups[number], kept=tuple(kept), ahead=ahead), *groups[number + 1:]

    def loads(groups: Sequence[Group]) -> float:
        return loaded_words(works, order_of_parts(passes, groups), config)

    too_many: list[tuple[int, ...]] = []

    @cache
    def fitting(kept: tuple[int, ...]) -> tuple[Group, ...] | None:
        # Where there is no room, there is none for as many rows of each map or more.
        if any(all(map(le, less, kept)) for less in too_many):
            return None
        ways = with_rows(kept), with_rows(kept, last_strip(passes, groups[number], config))
        found = next((way for way in ways if _fits(passes, way, number, config)), None)
        if found is None:
            too_many.append(kept)
        return found

    works = dict(enumerate(passes))
    kept = (config.window[0],) * len(groups[number].kept)
    found = groups
    while True:
        least, gains = loads(with_rows(kept)), []
        for more in _increments(passes, groups[number], kept, config):
            added = sum(words * (new - old) for words, new, old in zip(
                _row_words(passes, groups[number]), more, kept, strict=True))
            gains.append(((least - loads(with_rows(more))) / added, more))
        alone = [more for _, more in gains if sum(map(lt, kept, more)) == 1]
        # There is no room for several maps' rows where there is none for those of one of them, which more follows from.
        better = (way for gain, more in sorted(gains, reverse=True)
                  if gain > 0 and all(fitting(one) for one in alone if all(map(le, one, more)))
                  and (way := fitting(more)))
        if (best := next(better, None)) is None:
            return min(groups, found, key=loads)
        found, kept = best, best[number].kept


def _increments(passes: Sequence[Pass], group: Group, kept: Sequence[int],
                config: EngineConfig) -> Iterator[tuple[int, ...]]:
    """``kept`` with a row of banks more of some maps one behind the other."""
    banks = config.window[0]
    heights = [passes[number].window.output_size[0] for number in range(group.first, group.last)]
    for first in range(len(kept)):
        for end in range(first + 1, len(kept) + 1):
            if all(kept[number] < heights[number] for number in range(first, end)):
                yield tuple(rows + banks * (first <= number < end) for number, rows in enumerate(kept))


def _row_words(passes: Sequence[Pass], group: Group) -> list[int]:
    """What a row of each map of ``group`` takes, but of the last one's: in bytes."""
    return [prod(passes[number].output_shape[1:]) for number in range(group.first, group.last)]


def _fits(passes: Sequence[Pass], groups: Sequence[Group], number: int, config: EngineConfig) -> bool:
    """Whether ``groups``, one of which has other rows now, have all that they add, and room."""
    assert config.activation_words is not None
    return has_what_it_adds(passes, groups[number]) and sum(
        place_activations(banded(passes, groups)[0], config)[1]) <= config.activation_words
