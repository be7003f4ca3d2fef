# SPDX-License-Identifier: Apache-2.0
"""Slices: passes in turn for some output channels at a time, so that few of their weights are needed at once.

A slice is no new hardware, it is a pass: whole column groups of the array, written into the map that all slices of a
pass have in common, each from a word of its own on.  What a slice reads and reduces is read and reduced again for the
next one, while the array is busy with the one before: that costs nothing where the array is the slower of the two.

Where weights come from outside (:attr:`EngineConfig.weight_words <tepal.hdl.config.EngineConfig>`), a slice takes up to
half of the words that there are: those of the next one come meanwhile.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from math import lcm

from tepal.hdl.config import EngineConfig
from tepal.quant import Network, NetworkError

from .bands import added_together
from .passes import Pass

__all__ = ["sliced"]


def _ceil(a: int, b: int) -> int:
    return -(-a // b)


def _pieces(work: Pass, config: EngineConfig) -> tuple[int, int]:
    """(pieces of which a pass can be divided into slices, words of weights in each): whole column groups of the array,
    and whole words of the map that is written.  An unrolled pass is one piece."""
    groups = _ceil(len(work.matrix.weights), config.columns)
    step = groups if work.pixels_per_window > 1 else min(groups, lcm(config.columns, config.lanes) // config.columns)
    return _ceil(groups, step), step * work.matrix.weights.shape[1]


def sliced(network: Network, passes: Sequence[Pass], wholes: Sequence[int],
           config: EngineConfig) -> tuple[tuple[Pass, ...], tuple[int, ...]]:
    """(``passes`` with those in slices whose weights are more than half of ``config.weight_words``, the number of the
    pass that each is or is a part of).

    The slices of a pass are about as large as each other.  Passes in bands are never divided: each band needs all of
    their weights again.

    Parameters
    ----------
    network
        Whose passes they are.
    passes, wholes
        What :func:`~tepal.hdl.plan.bands.banded` gives.
    config
        The engine; without ``weight_words`` nothing is divided.

    Raises
    ------
    NetworkError
        A pass can't be divided into slices so small; the message says how many words there must be at least.
    """
    if config.weight_words is None:
        return tuple(passes), tuple(wholes)
    counts = _counts(network, passes, [wholes.count(whole) > 1 for whole in wholes], config)
    made: list[Pass] = []
    parts_of: list[int] = []
    number_of: dict[int | None, int | None] = {None: None}
    for number, (work, whole, count) in enumerate(zip(passes, wholes, counts, strict=True)):
        number_of[number] = len(made)
        made += _slices(work.renumbered(number_of), len(made), count, config)
        parts_of += [whole] * count
    return tuple(made), tuple(parts_of)


def _slices(work: Pass, first: int, count: int, config: EngineConfig) -> list[Pass]:
    """So many slices of ``work``, the first of which gets the number ``first``."""
    if count == 1:
        return [work]
    pieces, _ = _pieces(work, config)
    ends = [pieces * part // count * lcm(config.columns, config.lanes) for part in range(count + 1)]
    return [replace(work, matrix=work.matrix.select(slice(begin, end)), first_channel=begin,
                    continues=first if begin else None) for begin, end in pairwise(ends)]


def _counts(network: Network, passes: Sequence[Pass], in_bands: Sequence[bool], config: EngineConfig) -> list[int]:
    """Slices of each pass; one of those that are ``in_bands``."""
    words = config.weight_words
    assert words is not None
    pieces = [_pieces(work, config) for work in passes]
    needed = [number * each if whole else 2 * each for (number, each), whole in zip(pieces, in_bands, strict=True)]
    if (most := max(needed)) > words:
        raise NetworkError(f"{_named(network, passes[needed.index(most)])}: its weights can't be divided so that they "
                           f"take turns in {words} words on the chip: choose weight_words of {most} or more")
    counts = [1 if whole else _ceil(number, words // 2 // each)
              for (number, each), whole in zip(pieces, in_bands, strict=True)]
    for together in added_together(passes):
        # What is added is written in the order in which it is read: in equal slices.
        most = max(counts[number] for number in together)
        counts = [most if number in together else count for number, count in enumerate(counts)]
    return counts


def _named(network: Network, work: Pass) -> str:
    """A pass, by the layer whose weights the array has, or else another one."""
    for number in (work.matrix.layer, work.reduction and work.reduction.layer, work.layer):
        if number is not None:
            return f"layer {network.layers[number].index} ({network.layers[number].name})"
    return "the copy of the image"
