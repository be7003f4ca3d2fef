# SPDX-License-Identifier: Apache-2.0
"""Slices: passes in turn for some output channels at a time, so that few of their weights are needed at once.

A slice is no new hardware, it is a pass: whole column groups of the array, written into the map that all slices of a
pass have in common, each from a word of its own on.  What a slice reads and reduces is read and reduced again for the
next one, while the array is busy with the one before: that costs nothing where the array is the slower of the two.

Where weights come from outside (:attr:`EngineConfig.weight_words <tepal.hdl.config.EngineConfig>`), a slice takes up to
half of the words that there are: those of the next one come meanwhile.  Parts of passes in bands are divided likewise,
where not all weights of the passes that take turns can stay on the chip.
"""

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from math import inf, lcm, prod

from tepal.hdl.config import EngineConfig
from tepal.quant import Network, NetworkError

from .bands import added_together
from .passes import Pass
from .tiling import sum_cycles

__all__ = ["loaded_words", "sliced"]


def _ceil(a: int, b: int) -> int:
    return -(-a // b)


def _pieces(work: Pass, config: EngineConfig) -> tuple[int, int]:
    """(pieces of which a pass can be divided into slices, words of weights in each): whole column groups of the array,
    and whole words of the map that is written.  An unrolled pass is one piece."""
    groups = _ceil(len(work.matrix.weights), config.columns)
    step = groups if work.pixels_per_window > 1 else min(groups, lcm(config.columns, config.lanes) // config.columns)
    return _ceil(groups, step), step * sum_cycles(work, config)


def sliced(network: Network, passes: Sequence[Pass], wholes: Sequence[int],
           config: EngineConfig) -> tuple[tuple[Pass, ...], tuple[int, ...], tuple[int, ...]]:
    """(``passes`` with those in slices whose weights are more than half of ``config.weight_words``, the number of the
    pass that each is or is a part of, the number of its weights in the array).

    The slices of a pass are about as large as each other.  Passes in bands stay whole, and their weights on the chip
    for all bands, if there is room for all that take turns; else those with the fewest parts are divided, and their
    weights come again for each part.  Passes with the same number of weights have them of one coming.

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
        return tuple(passes), tuple(wholes), tuple(_numbered(wholes))
    works = dict(zip(reversed(wholes), reversed(passes), strict=True))
    rooms = _rooms(works, wholes, config)
    counts = _counts(network, passes, wholes, rooms, config)
    made: list[Pass] = []
    parts_of: list[int] = []
    weights: list[tuple[int, int | None, int]] = []
    number_of: dict[int | None, int | None] = {None: None}
    for number, (work, whole) in enumerate(zip(passes, wholes, strict=True)):
        number_of[number] = len(made)
        slices = _slices(work.renumbered(number_of), len(made), counts[whole], config)
        weights += [(whole, None if rooms[whole] is None else number, piece) for piece in range(len(slices))]
        made += slices
        parts_of += [whole] * len(slices)
    return tuple(made), tuple(parts_of), tuple(_numbered(weights))


def loaded_words(works: Mapping[int, Pass], wholes: Sequence[int], config: EngineConfig) -> float:
    """Words of the array's weights that come from outside for a frame in which parts run of ``works``, by their
    numbers, in the order of ``wholes``: those that stay once, others for each part.  Infinite where they can't be
    divided into slices so small."""
    rooms, parts = _rooms(works, wholes, config), Counter(wholes)
    pieces = {whole: _pieces(works[whole], config) for whole in rooms}
    if max(_lacking(pieces, rooms, config).values()) > 0:
        return inf
    return sum(prod(each) * (1 if rooms[whole] is None else parts[whole]) for whole, each in pieces.items())


def _lacking(pieces: Mapping[int, tuple[int, int]], rooms: Mapping[int, int | None],
             config: EngineConfig) -> dict[int, int]:
    """Words by which each pass, of so many ``pieces``, has too little room for one that is used and one to come."""
    words = config.weight_words
    assert words is not None
    return {whole: prod(pieces[whole]) - words if room is None else 2 * pieces[whole][1] - room
            for whole, room in rooms.items()}


def _numbered(keys: Sequence[Hashable]) -> list[int]:
    """Each of ``keys`` as a number, in order of their first places."""
    numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    return [numbers[key] for key in keys]


def _slices(work: Pass, first: int, count: int, config: EngineConfig) -> list[Pass]:
    """So many slices of ``work``, the first of which gets the number ``first``."""
    if count == 1:
        return [work]
    pieces, _ = _pieces(work, config)
    ends = [pieces * part // count * lcm(config.columns, config.lanes) for part in range(count + 1)]
    return [replace(work, matrix=work.matrix.select(slice(begin, end)), first_channel=begin,
                    continues=first if begin and work.continues is None else work.continues)
            for begin, end in pairwise(ends)]


def _rooms(works: Mapping[int, Pass], wholes: Sequence[int], config: EngineConfig) -> dict[int, int | None]:
    """For each pass, by its number, words on the chip for the slices of it that are used and to come; None of one in
    bands whose weights stay."""
    words = config.weight_words
    assert words is not None
    parts: dict[int, list[int]] = {}
    for number, whole in enumerate(wholes):
        parts.setdefault(whole, []).append(number)
    rooms: dict[int, int | None] = dict.fromkeys(parts, words)
    for together in _taking_turns(parts):
        staying = {whole: prod(_pieces(works[whole], config)) for whole in together}
        if sum(staying.values()) > words:
            for whole in sorted(together, key=lambda whole: (len(parts[whole]), -staying[whole])):
                if 2 * sum(staying.values()) > words:
                    del staying[whole]
        left = words - sum(staying.values())
        rooms |= {whole: None if whole in staying else left for whole in together}
    return rooms


def _taking_turns(parts: Mapping[int, Sequence[int]]) -> list[list[int]]:
    """Passes of several ``parts``, the numbers of which are given; those that take turns together."""
    found: list[list[int]] = []
    for whole, numbers in sorted(parts.items()):
        if len(numbers) > 1:
            if not found or numbers[0] > max(parts[other][-1] for other in found[-1]):
                found.append([])
            found[-1].append(whole)
    return found


def _counts(network: Network, passes: Sequence[Pass], wholes: Sequence[int], rooms: Mapping[int, int | None],
            config: EngineConfig) -> dict[int, int]:
    """Slices of each pass, by its number: one of those whose weights stay."""
    words = config.weight_words
    assert words is not None
    works = {whole: passes[wholes.index(whole)] for whole in rooms}
    pieces = {whole: _pieces(work, config) for whole, work in works.items()}
    lacking = _lacking(pieces, rooms, config)
    counts = {whole: 1 if room is None else _ceil(pieces[whole][0], max(1, room // 2 // pieces[whole][1]))
              for whole, room in rooms.items()}
    worst = max(lacking, key=lambda whole: lacking[whole])
    if lacking[worst] > 0:
        raise NetworkError(f"{_named(network, works[worst])}: its weights can't be divided so that they take turns in "
                           f"{words} words on the chip: choose weight_words of {words + lacking[worst]} or more")
    for together in added_together(passes):
        # What is added is written in the order in which it is read: in equal slices.
        most = max(counts[wholes[number]] for number in together)
        counts |= {wholes[number]: most for number in together}
    return counts


def _named(network: Network, work: Pass) -> str:
    """A pass, by the layer whose weights the array has, or else another one."""
    for number in (work.matrix.layer, work.reduction and work.reduction.layer, work.layer):
        if number is not None:
            return f"layer {network.layers[number].index} ({network.layers[number].name})"
    return "the copy of the image"
