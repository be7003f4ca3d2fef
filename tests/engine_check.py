# SPDX-License-Identifier: Apache-2.0
"""A whole engine against the golden model and the cycle model."""

import numpy as np
from tepal.hdl import Schedule
from tepal.hdl.answer import pack_answer
from tepal.sim import CycleModel, golden, run_engine

__all__ = ["answers_of", "check"]


def answers_of(schedule: Schedule, images: np.ndarray) -> tuple[bytes, ...]:
    """What must come for ``images``, the first one the first frame since reset."""
    return tuple(pack_answer(results, number) for number, results in enumerate(golden.run(schedule.network, images)))


def check(schedule: Schedule, images: np.ndarray, stalls: int, *, interval: int = 1) -> None:
    """In Amaranth's simulator: the bytes, with waiting streams and without, and there the cycles of the model.
    Weights from outside come a beat in each ``interval`` cycles."""
    answers = answers_of(schedule, images)
    run = run_engine(schedule, images, interval=interval)
    assert run.answers == answers
    origin, size = run.cycles_of_beats[0], len(answers[0])
    for number, frame in enumerate(CycleModel(schedule, interval).frames(len(images))):
        beats = [beat - origin for beat in np.split(np.array(run.cycles_of_beats), len(images))[number]]
        assert (beats[0], beats[-1]) == (frame.first_beat, frame.last_beat)
        if frame.rows:
            of_row = len(beats) // len(frame.rows)
            assert tuple(beats[of_row - 1::of_row]) == frame.rows
        bytes_ = run.cycles_of_bytes[number * size:(number + 1) * size]
        assert (bytes_[0] - origin, bytes_[-1] - origin) == (frame.first_byte, frame.last_byte)
    assert run_engine(schedule, images, stalls=stalls, interval=interval).answers == answers
