# SPDX-License-Identifier: Apache-2.0
"""Tables that add two int8 values exactly: ``clamp((first[x1] + second[x2]) >> shift, minimum, maximum)``.

A sum of two maps of different scales rescales both operands and their sum, and rounds each time.  All of that is a
function of two bytes, and here tables are found whose sums, cut off after so many bits, have the same value for each of
the 65,536 pairs: rounding and zero point are in the tables.

A pair whose result is ``r`` asks for ``r << shift <= first[x1] + second[x2] < (r + 1) << shift``.  With the second
table negated these are difference constraints, which have a solution if and only if a graph of 512 nodes has no
negative cycle; the Bellman-Ford algorithm finds either (Cormen et al., Introduction to Algorithms, "Difference
constraints and shortest paths").  So the least shift is found that there is, most often 5 to 8 bits.  Where there is a
cycle, the algorithm would go round it once for every node; it is seen long before among the edges that were taken last
(Cherkassky and Goldberg, Negative-cycle detection algorithms, 1999).
"""

import numpy as np
from tepal.quant.layer import frozen

__all__ = ["MOST_SHIFT", "find_sum_tables"]

MOST_SHIFT = 24
"""Bits to try at most."""

_LIKELY_SHIFT = 8
"""Bits that are tried first."""

_NARROW = 16
"""Most bits of shift that are tried in int32, which is faster."""

_FIRST_LOOK = 4
"""Rounds before a negative cycle is looked for."""

_OVERFLOWING = -1 << 28
"""What a number falls below before int32 overflows: there is no solution, or none near the guess."""


def find_sum_tables(results: np.ndarray, guess: np.ndarray, minimum: int,
                    maximum: int) -> tuple[np.ndarray, int] | None:
    """Tables int64 (2, 256) and the least shift with which they give ``results``; None if there are none.

    Parameters
    ----------
    results
        Integers (256, 256) of every first and second value, from -128 on, within ``minimum`` … ``maximum``.
    guess
        float64 (2, 256): what each operand adds to the result, about; a bad one costs time alone.
    minimum, maximum
        The clamp.
    """
    low, high, found = 0, MOST_SHIFT, None
    # Most sums need few bits, and where there are none after all it takes long to see that.
    middle = _LIKELY_SHIFT
    while low < high or not found:
        tables = _solve(results, guess, minimum, maximum, middle)
        if tables is not None:
            found, high = (frozen(tables, np.int64), middle), middle
        elif middle == MOST_SHIFT:
            return None
        else:
            low = middle + 1
        middle = (low + high) // 2 if found else min(2 * middle, MOST_SHIFT)
    return found


def _solve(results: np.ndarray, guess: np.ndarray, minimum: int, maximum: int, shift: int) -> np.ndarray | None:
    kind = np.int32 if shift <= _NARROW else np.int64
    far = np.iinfo(kind).max // 4
    results = results.astype(kind)
    least = np.where(results > minimum, results << shift, -far)
    most = np.where(results < maximum, (results + 1 << shift) - 1, far)
    first, second = np.rint(np.ldexp(np.clip(guess, -512, 512), shift)).astype(kind)
    first, negated = first + (1 << shift >> 1), -second
    for done in range(len(first) + len(second)):
        lower = np.minimum(negated, (first[:, None] - least).min(axis=0))
        next_first = np.minimum(first, (lower[None, :] + most).min(axis=1))
        if (lower == negated).all() and (next_first == first).all():
            return _balanced(first, -negated)
        if kind is np.int32 and min(lower.min(), next_first.min()) < _OVERFLOWING:
            return None
        # Seldom enough to cost little, and never much later than there is something to see.
        if done >= _FIRST_LOOK and done.bit_count() == 1 and _has_negative_cycle(
                (first[:, None] - least).argmin(axis=0), (lower + most).argmin(axis=1), least, most,
                int((first - next_first).argmax())):
            return None
        first, negated = next_first, lower
    return None


def _has_negative_cycle(to_second: np.ndarray, to_first: np.ndarray, least: np.ndarray, most: np.ndarray,
                        node: int) -> bool:
    """Whether the way back from a ``node`` of the first table ends in a cycle of negative length.

    The shortest edge to each node comes from ``to_second`` (256,), a node of the first table, and ``to_first`` (256,),
    one of the second."""
    for _ in range(len(to_first)):
        node = int(to_second[to_first[node]])
    at, length = node, 0
    while True:
        second = int(to_first[at])
        before = int(to_second[second])
        length += int(most[at, second]) - int(least[before, second])
        at = before
        if at == node:
            return length < 0


def _balanced(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The tables with as much moved from one to the other as makes their widest values small."""
    def middle(table: np.ndarray) -> int:
        return (int(table.min()) + int(table.max())) // 2

    choices = [np.stack([first - moved, second + moved]) for moved in (middle(first), -middle(second))]
    return min(choices, key=lambda tables: int(np.abs(tables).max()))
