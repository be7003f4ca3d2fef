# SPDX-License-Identifier: Apache-2.0
"""Tables that add two int8 values exactly: ``clamp((first[x1] + second[x2]) >> shift, minimum, maximum)``.

A sum of two maps of different scales rescales both operands and their sum, and rounds each time.  All of that is a
function of two bytes, and here tables are found whose sums, cut off after so many bits, have the same value for each of
the 65,536 pairs: rounding and zero point are in the tables.

A pair whose result is ``r`` asks for ``r << shift <= first[x1] + second[x2] < (r + 1) << shift``.  With the second
table negated these are difference constraints, which have a solution if and only if a graph of 512 nodes has no
negative cycle; the Bellman-Ford algorithm finds either (Cormen et al., Introduction to Algorithms, "Difference
constraints and shortest paths").  So the least shift is found that there is, most often 5 to 8 bits.
"""

import numpy as np

__all__ = ["MOST_SHIFT", "find_sum_tables"]

MOST_SHIFT = 24
"""Bits to try at most."""

_FAR = 1 << 50
"""Stands for no bound."""


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
    while low < high or not found:
        middle = (low + high) // 2
        tables = _solve(results.astype(np.int64), guess, minimum, maximum, middle)
        if tables is not None:
            found, high = (tables, middle), middle
        elif middle == MOST_SHIFT:
            return None
        else:
            low = middle + 1
    return found


def _solve(results: np.ndarray, guess: np.ndarray, minimum: int, maximum: int, shift: int) -> np.ndarray | None:
    least = np.where(results > minimum, results << shift, -_FAR)
    most = np.where(results < maximum, (results + 1 << shift) - 1, _FAR)
    first, second = np.rint(np.ldexp(guess, shift)).astype(np.int64)
    first, negated = first + (1 << shift >> 1), -second
    for _ in range(len(first) + len(second)):
        lower = np.minimum(negated, (first[:, None] - least).min(axis=0))
        next_first = np.minimum(first, (lower[None, :] + most).min(axis=1))
        if (lower == negated).all() and (next_first == first).all():
            return _balanced(first, -negated)
        first, negated = next_first, lower
    return None


def _balanced(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The tables with as much moved from one to the other as makes their widest values small."""
    def middle(table: np.ndarray) -> int:
        return (int(table.min()) + int(table.max())) // 2

    choices = [np.stack([first - moved, second + moved]) for moved in (middle(first), -middle(second))]
    return min(choices, key=lambda tables: int(np.abs(tables).max()))
