# SPDX-License-Identifier: Apache-2.0
"""Portions of weights, for engines whose weights come from outside: what is loaded when, and where to.

A portion is what must be on the chip before a pass begins, if no pass before it has had it loaded: its words of each of
the memories :data:`ROLES`.  They have places of their own in them, the same in every frame, so that reading needs no
more than it does in a ROM.  Each memory is a ring in which what belongs together lies in one piece: behind what was
loaded before, or at the ring's begin where it would not fit before its end.

Portions are loaded in a fixed order, frame after frame, each as soon as those passes have ended that read what lay in
its places.  So nothing is overwritten before it has been used up, and a pass waits for its portion alone.  A portion
that would have to wait for a pass that needs it itself is no plan: :func:`load_plan` raises an error instead.

What the lanes' requantisers are given for a pass is fetched while the pass before it that reduces still runs, so it is
loaded with that one's portion.  That of a frame's first such pass is loaded once before all frames, the *prologue*, and
stays.  So do the elementwise unit's tables for passes whose results stay as they are.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise
from math import gcd

import numpy as np
from tepal.quant import NetworkError

__all__ = ["ROLES", "TABLES", "LoadPlan", "Passage", "Portion", "Words", "load_plan"]

TABLES = "elementwise_tables"

ROLES = "matrix_weights", "matrix_parameters", "depthwise_weights", "depthwise_parameters", TABLES
"""Memories that are loaded, in the order in which a portion's words come; the last one with an elementwise unit
alone."""


@dataclass(frozen=True)
class Words:
    """What passes ``first`` to ``last``, both counted, read: so many words in each of one or two memories."""

    first: int
    last: int
    words: tuple[int, ...]


@dataclass(frozen=True)
class _Use:
    """Words of one memory that are loaded with the portion ``portion``, before pass ``first``, and read for the last
    time by pass ``last``."""

    number: int
    words: int
    portion: int
    first: int
    last: int


@dataclass(frozen=True)
class Passage:
    """Words of one memory, ``role`` in :data:`ROLES`, that are loaded one after the other from the word ``base`` on.

    They belong to the portion ``number`` where they are the array's, to the layer ``number`` of those that the lanes
    reduce, in the order in which they run, where they are the lanes', and else to the tables ``number``."""

    role: int
    number: int
    base: int
    words: int


@dataclass(frozen=True)
class Portion:
    """Passages that are loaded before pass ``first`` begins, once ``after`` passes of the frame have ended; where that
    is negative, so many less than all of those of the frame before."""

    first: int
    after: int
    passages: tuple[Passage, ...]


@dataclass(frozen=True)
class LoadPlan:
    """What is loaded, in order.

    Attributes
    ----------
    prologue : tuple of Passage
        Once before all frames.
    portions : tuple of Portion
        In every frame.
    depths : tuple of int
        Words of each memory of :data:`ROLES` that there is.
    passes : int
        Of a frame.
    """

    prologue: tuple[Passage, ...]
    portions: tuple[Portion, ...]
    depths: tuple[int, ...]
    passes: int

    @property
    def waits(self) -> tuple[int, ...]:
        """For each portion, how many more passes must have ended than for the one before it: as many in a frame as it
        has."""
        moments = [self.portions[-1].after - self.passes, *(portion.after for portion in self.portions)]
        return tuple(after - before for before, after in pairwise(moments))

    @property
    def ended(self) -> int:
        """How many passes count as ended, and as not waited for yet, when the first frame begins."""
        return self.passes - self.portions[-1].after

    def bases(self, role: int) -> dict[int, int]:
        """First words in a memory, by ``number``."""
        passages = [*self.prologue, *(each for portion in self.portions for each in portion.passages)]
        return {each.number: each.base for each in passages if each.role == role}


class _Ring:
    """Places of the ``uses`` of a memory of ``depth`` words, of which the first ``kept`` ones are not theirs.

    Attributes
    ----------
    bases : list of int
        First word of each use.
    """

    def __init__(self, uses: Sequence[_Use], depth: int, kept: int, passes: int):
        self.bases: list[int] = []
        self._uses, self._passes = uses, passes
        end, live = kept, []
        for use in uses:
            # What this pass or later ones read as well stays where it is.
            live = [(base, behind, last) for base, behind, last in live if last >= use.first]
            self.bases.append(self._place(use.words, end, sorted(live), depth, kept))
            end = self.bases[-1] + use.words
            live.append((self.bases[-1], end, use.last))

    def waits(self) -> Iterator[int]:
        """For each use, how many passes of its frame must have ended before it is loaded."""
        begins, last = np.array(self.bases), np.array([use.last for use in self._uses])
        ends = begins + [use.words for use in self._uses]
        # Of itself and of those behind it in the order, those of the frame before are there.
        there = last - self._passes
        for number in range(len(begins)):
            meets = (begins < ends[number]) & (begins[number] < ends)
            yield int(there[meets].max()) + 1
            there[number] = last[number]

    @cached_property
    def after(self) -> list[int]:
        """All :meth:`waits`."""
        return [*self.waits()]

    @staticmethod
    def _place(words: int, end: int, live: Sequence[tuple[int, int, int]], depth: int, kept: int) -> int:
        """First word, from ``end`` on or else from the ring's begin on, of so many words none of which is ``live``;
        where there is no such word, the first one that would be if nothing were."""
        for begin in (end, kept):
            for low, high, _ in live:
                if low < begin + words and begin < high:
                    begin = high
            if begin + words <= depth:
                return begin
        return end if end + words <= depth else kept


def _deep_enough(uses: Sequence[_Use], kept: int, passes: int, after: Sequence[int]) -> tuple[int, _Ring]:
    """(fewest words of a memory, their places) for no use to be loaded later than its portion is anyhow; or else so
    many that each has words of its own.  A portion waits for ``after`` passes."""
    words = [use.words for use in uses]
    total = kept + sum(words)
    # All places are multiples of so many words behind the first ones.
    for depth in range(kept + max(words, default=0), total, gcd(*words) or 1):
        ring = _Ring(uses, depth, kept, passes)
        if all(own <= after[use.portion] for own, use in zip(ring.waits(), uses, strict=True)):
            return depth, ring
    return total, _Ring(uses, total, kept, passes)


def load_plan(portions: Sequence[Words], reduced: Sequence[Words], reducing: Sequence[int], tables: Sequence[Words],
              passes: int, weight_words: int) -> LoadPlan:
    """Places and order of all that is loaded.

    Parameters
    ----------
    portions
        Words of weights and of column parameters, in the order of their first passes, of which no two are the same.
    reduced
        Words of weights and of lane parameters of each layer that the lanes reduce, in the order of their first passes.
    reducing
        Numbers of all passes that reduce, in order.
    tables
        Words of the tables of elementwise layers, in the order of their first passes, behind those that stay; none
        without an elementwise unit.
    passes
        Of a frame.
    weight_words
        Of the memory of the array's weights, at most.  The other ones are as deep as it takes for none of them to be
        waited for.

    Raises
    ------
    NetworkError
        ``weight_words`` are too few; the message says how many there must be at least.
    """
    firsts = [each.first for each in portions]

    def portion_of(moment: int) -> int:
        """The last portion that is there when pass ``moment`` begins."""
        return int(np.searchsorted(firsts, moment, side="right")) - 1

    def later(each: Words) -> int:
        """The portion of the pass that reduces before ``each``."""
        return portion_of(reducing[reducing.index(each.first) - 1])

    def used(number: int, words: int, portion: int, last: int) -> _Use:
        return _Use(number, words, portion, firsts[portion], last)

    uses = [[used(number, each.words[role], number, each.last) for number, each in enumerate(portions)]
            for role in range(2)]
    uses += [[used(number, each.words[0], portion_of(each.first), each.last) for number, each in enumerate(reduced)],
             [used(number, each.words[1], later(each), each.last) for number, each in enumerate(reduced) if number]]
    kept = [0, 0, 0, reduced[0].words[1] if reduced else 0]
    if tables:
        uses.append([used(number, each.words[0], portion_of(each.first), each.last)
                     for number, each in enumerate(tables) if number])
        kept.append(tables[0].words[0])

    def possible(depth: int) -> _Ring | None:
        ring = _Ring(uses[0], depth, 0, passes)
        fits = all(base + use.words <= depth for base, use in zip(ring.bases, uses[0], strict=True))
        return ring if fits and all(own <= first for own, first in zip(ring.waits(), firsts, strict=True)) else None

    # More words may be worse: what does not fit before a ring's end begins anew, over what lies there.
    most = max(each.words for each in uses[0])
    depth, weights = next(((depth, ring) for depth in range(weight_words, most - 1, -1) if (ring := possible(depth))),
                          (0, None))
    if weights is None:
        least = next(depth for depth in range(weight_words + 1, 1 << 30) if possible(depth))
        raise NetworkError(f"the weights that passes need at once do not fit into {weight_words} words on the chip: "
                           f"choose weight_words of {least} or more")
    after = list(accumulate(weights.after, max))
    found = [(depth, weights),
             *(_deep_enough(each, kept[role], passes, after) for role, each in enumerate(uses[1:], 1))]
    for (_, ring), each in zip(found, uses, strict=True):
        for own, use in zip(ring.after, each, strict=True):
            after[use.portion] = max(after[use.portion], own)
    after = list(accumulate(after, max))
    after = [max(own, after[-1] - passes) for own in after]
    passages = [[] for _ in portions]
    for role, ((_, ring), each) in enumerate(zip(found, uses, strict=True)):
        for base, use in zip(ring.bases, each, strict=True):
            if use.words:
                passages[use.portion].append(Passage(role, use.number, base, use.words))
    return LoadPlan(tuple(Passage(role, 0, 0, words) for role, words in enumerate(kept) if words),
                    tuple(Portion(*each) for each in zip(firsts, after, map(tuple, passages), strict=True)),
                    tuple(depth or 1 for depth, _ in found), passes)
