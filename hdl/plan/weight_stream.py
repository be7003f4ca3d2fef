# SPDX-License-Identifier: Apache-2.0
"""What an engine whose weights come from outside is sent: beats of 64 bits, in the order in which it loads them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate

from tepal.hdl.memories.streamed import BEAT, beats_of

from . import rom_contents
from .portions import Passage
from .schedule import Schedule

__all__ = ["WeightStream", "weight_stream"]


@dataclass(frozen=True)
class WeightStream:
    """Bytes of whole beats, the lowest first: the ``prologue`` once, and then ``frame`` again and again."""

    prologue: bytes
    frame: bytes


def weight_stream(schedule: Schedule) -> WeightStream:
    """The words of each passage of ``schedule.loads``."""
    loads = schedule.loads
    assert loads is not None
    contents = (rom_contents.matrix_weights(schedule), rom_contents.matrix_parameters(schedule),
                rom_contents.depthwise_weights(schedule), rom_contents.depthwise_parameters(schedule),
                rom_contents.elementwise_tables(schedule))
    passages = [*loads.prologue, *(each for portion in loads.portions for each in portion.passages)]
    starts = [_starts(passages, role) for role in range(len(contents))]

    def beats(of: Iterable[Passage]) -> bytes:
        size = [beats * BEAT // 8 for beats in schedule.word_beats]
        return b"".join(_in_beats(word, schedule.beat_bits[each.role]).to_bytes(size[each.role], "little")
                        for each in of
                        for word in contents[each.role][starts[each.role][each.number]:][:each.words])

    return WeightStream(beats(loads.prologue), beats(each for portion in loads.portions for each in portion.passages))


def _in_beats(word: int, bits: int) -> int:
    """``word`` with so many bits of it in each beat; weights that come as bytes are bytes already."""
    if bits >= BEAT:
        return word
    parts = range(beats_of(max(1, word.bit_length()), bits))
    return sum((word >> bits * part & (1 << bits) - 1) << BEAT * part for part in parts)


def _starts(passages: Sequence[Passage], role: int) -> dict[int, int]:
    """Where in a memory's contents, which are in the order of their numbers, each passage's are."""
    words = {each.number: each.words for each in passages if each.role == role}
    numbers = sorted(words)
    return dict(zip(numbers, accumulate((words[number] for number in numbers), initial=0), strict=False))
