# SPDX-License-Identifier: Apache-2.0
"""An order of passes in which few bytes are alive at once: any order is right in which each reads what is there."""

from collections.abc import Sequence

__all__ = ["memory_saving_order"]

_BEAM = 64
"""Sets of passes, of those that may have been run after so many, that are followed further."""


def memory_saving_order(reads: Sequence[frozenset[int]], sizes: Sequence[int]) -> list[int]:
    """Numbers of things in an order in which each follows those that it ``reads``, with little alive at once.

    A result, of ``sizes`` bytes, is alive from the thing that makes it to the last one that reads it.  The most bytes
    that are ever alive count, then their sum over time, then the given order.  The search follows the best ones of the
    sets of things that can have been done (a beam search): for all but very wide graphs that is all of them.
    """
    readers = [frozenset(reader for reader, sources in enumerate(reads) if number in sources)
               for number in range(len(reads))]
    # Done, alive -> (most bytes, sum of bytes, order).
    states: dict[frozenset[int], tuple[int, int, tuple[int, ...]]] = {frozenset(): (0, 0, ())}
    for _ in reads:
        following: dict[frozenset[int], tuple[int, int, tuple[int, ...]]] = {}
        for done, (most, total, order) in states.items():
            alive = sum(sizes[number] for number in done if not readers[number] <= done)
            for number in range(len(reads)):
                if number in done or not reads[number] <= done:
                    continue
                now = alive + sizes[number]
                cost, after = (max(most, now), total + now, (*order, number)), done | {number}
                if after not in following or cost < following[after]:
                    following[after] = cost
        kept = sorted(following.items(), key=lambda item: item[1])[:_BEAM]
        states = dict(kept)
    ((_, _, order),) = states.values()
    return [*order]
