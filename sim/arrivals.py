# SPDX-License-Identifier: Apache-2.0
"""When the beats of an engine's weights arrive from an ideal memory behind an AXI4 port."""

from collections import deque
from collections.abc import Generator, Iterator
from itertools import chain, cycle, repeat

from tepal.hdl.memories.axi_reader import AxiReader
from tepal.hdl.memories.weight_image import BEAT_BYTES, BLOCK

__all__ = ["arrivals"]


def arrivals(prologue: int, frame: int, latency: int, interval: int = 1,
             bursts: int = AxiReader.BURSTS) -> Generator[int, int | None]:
    """In which cycle each beat is first there at the output of an :class:`~tepal.hdl.memories.axi_reader.AxiReader`:
    those of the prologue, then those of one frame after the other, without end.

    Cycles are counted as the reader's are.  A beat is taken as soon as it is there, unless a later cycle is sent back::

        beats = arrivals(prologue=0, frame=1000, latency=30)
        there = next(beats)             # the first beat's
        there = beats.send(there + 5)   # the second one's, if the first is taken 5 cycles late
        there = next(beats)             # the third one's, if the second is taken at once

    Parameters
    ----------
    prologue, frame
        Beats of the image's parts, without padding.
    latency
        Cycles from the one in which the memory accepts an address, which it does at once, to that of its first beat.
    interval
        Cycles from a beat to the next one, of whatever burst.
    bursts
        The reader's.
    """
    depth = AxiReader.BURST * bursts
    # When the latest beats left: the oldest of these made the room that a burst waits for.
    left = deque([-1], maxlen=depth - AxiReader.BURST + 1)
    decided, came, judged = 0, -interval, False
    for beats, streamed in _asked(prologue, frame):
        if streamed and not judged:
            decided, judged = left[-1] + AxiReader.JUDGEMENT - 1, True
        decided += 1
        if len(left) == left.maxlen:
            decided = max(decided, left[0] + 1)
        for _ in range(beats):
            came = max(came + interval, decided + 1 + latency)
            there = max(came + AxiReader.PIPELINE, left[-1] + 1)
            taken = (yield there) if streamed else None
            left.append(there if taken is None else taken)


def _asked(prologue: int, frame: int) -> Iterator[tuple[int, bool]]:
    """(beats, whether they are streamed) of each burst."""
    def parts(beats: int) -> list[int]:
        return [min(AxiReader.BURST, beats - start) for start in range(0, beats, AxiReader.BURST)]

    image = sum(map(len, (parts(BLOCK // BEAT_BYTES), parts(prologue), parts(frame))))
    yield from repeat((AxiReader.BURST, False), image)
    yield from ((beats, True) for beats in chain(parts(prologue), cycle(parts(frame))))
