# SPDX-License-Identifier: Apache-2.0
"""Engines whose input memory holds some rows of the image, simulated: every byte as the golden model says, every event
in its cycle; frames of a wrong length, resets, and sources that wait."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from engine_check import answers_of, check
from graphs import inverted_residuals, sliced_case
from networks import fast, random_case, random_engine
from tepal.boards.flow.yosys import to_verilog
from tepal.hdl import ConfigError, EngineConfig, Formats, Schedule, export_verilog
from tepal.hdl.answer import Status
from tepal.hdl.plan import input_ring
from tepal.hdl.plan.bands import Group, aligned, lasts
from tepal.quant import NetworkError
from tepal.sim import CycleModel, engine, golden, run_engine
from tepal.sim.hazards import conflicts
from tepal.sim.simulate import Build, simulate

FRAMES = 3


def with_ring(network, config: EngineConfig, rows: int, formats: Formats | None = None, groups=None) -> Schedule:
    """With so many rows in the input memory, or as few more as the network needs."""
    formats = formats or Formats(network)
    while True:
        try:
            return Schedule(network, replace(config, single_port=False, input_rows=rows), formats, groups=groups)
        except NetworkError as error:
            if "rows of the image at once" not in str(error):
                raise
            rows += 1


def random_ring(seed: int, rows: int) -> tuple[Schedule, np.ndarray]:
    network, config, images = random_case(seed, FRAMES)
    return with_ring(network, config, rows), images


def banded_ring(seed: int, rows: int) -> tuple[Schedule, np.ndarray]:
    """An inverted residual, its passes in bands of any height, one pass alone or several."""
    rng = np.random.default_rng([seed, 11])
    network = inverted_residuals(rng)
    config, formats = random_engine(rng, network), Formats(network)
    groups, number = [], 0
    while number < len(formats.passes):
        last = int(rng.choice([number, *lasts(formats.passes, number)]))
        height = formats.passes[last].window.output_size[0]
        if rng.random() < 0.7:
            groups.append(Group(number, last, int(rng.integers(1, height + 1))))
        number = last + 1
    images = rng.integers(-128, 128, (FRAMES, *network.input_shape), np.int8)
    return with_ring(network, config, rows, formats, aligned(formats.passes, groups)), images


def sliced_ring(seed: int, rows: int) -> tuple[Schedule, np.ndarray]:
    """With weights from outside."""
    network, config, images = sliced_case(seed, FRAMES)
    while True:
        try:
            return with_ring(network, config, rows), images
        except NetworkError:
            # What is divided into rows takes all of its weights at once.
            config = replace(config, weight_words=config.weight_words + 1)


CASES = [(random_ring, 15, 4), (banded_ring, 17, 2), (sliced_ring, 15, 4),
         *((random_ring, seed, rows) for seed, rows in (
             (15, 1), (15, 8), (15, 16), (1, 1), (3, 4), (9, 1), (9, 2), (12, 1), (36, 2), (68, 1), (64, 2))),
         # All rows have room, and there are several parts all the same.
         *((random_ring, seed, 99) for seed in (96, 93, 32, 64)),
         *((banded_ring, seed, 2) for seed in (16, 46, 97, 99, 121)),
         *((sliced_ring, seed, 2) for seed in (8, 30, 64))]


def sensitive(schedule: Schedule, images: np.ndarray) -> int:
    """How many rows of the image change the answer: where none do, a wrong row would not show."""
    first, *changed = images[0], *(images[0].copy() for _ in images[0])
    for row, image in enumerate(changed):
        image[row] = images[1][row]
    answers = golden.run(schedule.network, np.stack([first, *changed]))
    return sum(bool((answer != answers[0]).any()) for answer in answers[1:])


def test_cases():
    """Rings of every kind are among them."""
    kinds = Counter()
    for make, seed, rows in CASES:
        schedule, images = make(seed, rows)
        (height, *_), window = schedule.layout.shape, schedule.passes[0].work.window
        parts = [each.work for each in schedule.passes if each.work.source is None]
        model = CycleModel(schedule)
        gaps = np.diff([row for frame in model.frames(1) for row in frame.rows])
        assert sensitive(schedule, images) >= min(2, height)
        kinds.update(name for name, found in {
            "whole": schedule.layout.rows == height,
            "begun as rows arrive": schedule.layout.rows == height and len(parts) > 1,
            "wraps": schedule.layout.rows < height,
            "skips places": schedule.layout.beyond > 0, "padded rows": schedule.layout.pitch > schedule.layout.columns,
            "several words": schedule.layout.parts > 1, "strides": window.stride[0] > 1,
            "large kernels": window.kernel[0] > 3, "parts": len(parts) > 2,
            "parts in bands": any(work.map_row for work in parts),
            "bands": bool(schedule.groups) and schedule.groups[0].first == 0 < schedule.groups[0].last,
            "added": parts[0].added, "outputs in parts": schedule.first_output <= schedule.rows.last,
            "claims nothing": 0 in schedule.rows.claims[:schedule.rows.last],
            "rows that nothing reads": schedule.rows.ahead > 0,
            "waits for room": gaps.size > 0 and gaps.max() > gaps.min(),
            "weights": schedule.loads is not None, "unpipelined": not schedule.config.pipelined,
        }.items() if found)
    assert len(kinds) == 18, kinds


@pytest.mark.parametrize(("make", "seed", "rows"), fast(CASES, 3))
def test_ring(make, seed, rows):
    """In Amaranth's simulator: the bytes, with waiting streams and without, and there the cycles of the model."""
    schedule, images = make(seed, rows)
    assert conflicts(schedule) == []
    check(schedule, images, seed)


def whole(schedule: Schedule) -> Schedule:
    """The same with a whole image in the input memory."""
    return Schedule(schedule.network, replace(schedule.config, input_rows=None), schedule.formats,
                    groups=schedule.groups)


@pytest.mark.parametrize(("make", "seed", "rows"), fast(
    [(random_ring, 15, 4), (random_ring, 96, 99), (random_ring, 15, 16), (random_ring, 9, 1), (banded_ring, 17, 2)], 2))
@pytest.mark.parametrize("stalls", [None, 3])
def test_wrong_lengths(make, seed, rows, stalls):
    """Frames that end early or late are told as by an engine that waits for whole images, and every other one is
    answered right."""
    schedule, images = make(seed, rows)
    rng = np.random.default_rng(seed)
    frames = [images[0].tobytes()]
    size, beat = len(frames[0]), schedule.config.input_bytes
    for length in [0, 0, 1, *rng.integers(-size // beat, size // beat, 6), 2 * size // beat, -1, 0]:
        # One beat at least.
        beats = max(size // beat + int(length), 1)
        frames.append(rng.bytes(beats * beat))
    # Two beats that end bring any sender back into step.
    frames += [bytes(beat), bytes(beat), images[1].tobytes()]
    expected = run_engine(whole(schedule), frames, stalls=stalls)
    run = run_engine(schedule, frames, stalls=stalls)
    assert (run.answers, run.rest, run.frame_error) == (expected.answers, b"", True)
    assert {answer[-1] for answer in run.answers} >= {0, Status.TOO_LONG, Status.ABANDONED}
    assert run.answers[-1][:-2] == answers_of(schedule, images[1:])[0][:-2]


@pytest.mark.parametrize(("make", "seed", "rows"), fast(
    [(random_ring, 15, 4), (random_ring, 93, 99), (banded_ring, 17, 2)], 1))
def test_reset(make, seed, rows):
    """A reset at any time: within rows, parts and answers; but of an answer that has several bytes, which would leave a
    packet that says it was cut off."""
    schedule, images = make(seed, rows)
    answers = answers_of(schedule, images)
    cycles = CycleModel(schedule).frames(1)[0]
    behind = cycles.first_byte if rows == 99 else cycles.last_byte
    for moment in np.random.default_rng(seed).integers(1, behind, 8).tolist():
        run = run_engine(schedule, images, reset=(moment, 1), answers=FRAMES - 1)
        assert [answer[:-2] for answer in run.answers] == [answer[:-2] for answer in answers[1:]], moment
        assert [answer[-2:] for answer in run.answers] == [bytes([number, 0]) for number in range(FRAMES - 1)], moment


@pytest.mark.parametrize(("make", "seed", "rows"), fast(
    [(random_ring, 15, 4), (random_ring, 12, 1), (random_ring, 9, 1), (banded_ring, 17, 2)], 1))
def test_source_that_waits(make, seed, rows, monkeypatch):
    """Cycles are those of the model, given when rows arrive."""
    schedule, images = make(seed, rows)
    waits = engine._Driver._waits
    monkeypatch.setattr(engine._Driver, "_waits", lambda driver, side: side == 0 and waits(driver, side))
    run = run_engine(schedule, images, stalls=seed)
    origin, size = run.cycles_of_beats[0], len(run.answers[0])
    beats = len(run.cycles_of_beats) // (FRAMES * schedule.layout.shape[0])
    arrived = [cycle - origin for cycle in run.cycles_of_beats[beats - 1::beats]]
    predicted = CycleModel(schedule).frames(FRAMES, rows=arrived)
    assert [frame.first_byte for frame in predicted] == [cycle - origin for cycle in run.cycles_of_bytes[::size]]
    assert predicted != CycleModel(schedule).frames(FRAMES)


@pytest.mark.parametrize("seed", [96, 41, 86, 32, 55])
def test_begun_on_arrival(seed):
    """The image in memory, parts take not a cycle more than the whole; and with it streaming in, no other parts of
    which that is true end sooner, or they are more."""
    network, config, _ = random_case(seed, 1)
    config, formats = replace(config, single_port=False), Formats(network)
    before, chosen = CycleModel(Schedule(network, config, formats)), arriving(network, config, formats)
    height = formats.passes[0].window.output_size[0]
    assert chosen.in_memory_cycles <= before.in_memory_cycles == before.last_byte_cycles
    assert chosen.last_byte_cycles < before.last_byte_cycles

    def cost(model: CycleModel) -> int:
        return model.last_byte_cycles + input_ring._WORTH * sum(
            each.work.source is None for each in model.schedule.passes)

    for cut in range(1 << height - 1):
        ends = [*(row for row in range(1, height) if cut >> row - 1 & 1), height]
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(input_ring, "_arriving", lambda *_, ends=ends: ends)
            other = arriving(network, config, formats)
        if other.in_memory_cycles <= chosen.in_memory_cycles:
            # The pipeline's latency, which the choice leaves out, may count here and not there.
            assert cost(chosen) <= cost(other) + 2 * input_ring._WORTH, ends


def arriving(network, config: EngineConfig, formats: Formats) -> CycleModel:
    return CycleModel(Schedule(network, replace(config, input_rows=999), formats))


def test_image_in_memory():
    """A frame whose image waits for it takes what is told of an image in memory; the first one, whose rows it waits
    for, less from the last byte."""
    schedule, images = random_ring(96, 99)
    model, run = CycleModel(schedule), run_engine(schedule, images)
    size = len(run.answers[0])
    first, *others = model.frames(FRAMES)
    assert run.cycles_of_bytes[0] - run.cycles_of_beats[len(run.cycles_of_beats) // FRAMES - 1] == (
        model.last_byte_cycles)
    assert model.last_byte_cycles < model.in_memory_cycles
    waited = [frame.first_byte - frame.start for frame in others if frame.last_beat + 10 < frame.start]
    begin = model.in_memory.start - model.in_memory.last_beat
    assert {begin + cycles for cycles in waited} == {model.in_memory_cycles}
    assert [cycle - run.cycles_of_beats[0] for cycle in run.cycles_of_bytes[::size]] == [
        frame.first_byte for frame in (first, *others)]


def test_refusals():
    network, config, _ = random_case(3, 1)
    with pytest.raises(NetworkError, match=r"^the first layer needs 4 rows of the image at once, and the input memory "
                                           r"holds 2: choose input_rows of 4 or more$"):
        Schedule(network, replace(config, single_port=False, input_rows=3))
    for rows in (0, -1, 1.5):
        with pytest.raises(ConfigError, match="input_rows must be a positive integer"):
            EngineConfig(1, 1, 1, input_rows=rows)
    with pytest.raises(ConfigError, match="input_rows need memories with two ports"):
        EngineConfig(1, 1, 1, input_rows=4, single_port=True)


@pytest.mark.rtl
@pytest.mark.usefixtures("compile_quickly")
@pytest.mark.parametrize(("make", "seed", "rows"), fast(
    [(random_ring, 9, 1), (random_ring, 96, 99), (banded_ring, 17, 2), (sliced_ring, 15, 4)], 0))
def test_verilog(make, seed, rows, tmp_path):
    """What every stage writes, and every layer's first and last cycle."""
    schedule, images = make(seed, rows)
    for name, text in export_verilog(schedule, to_verilog).files().items():
        (tmp_path / name).write_text(text)
    build = Build(tmp_path, schedule)
    report = simulate(build, schedule, images)
    assert report.first_mismatch is None, report.first_mismatch.describe(schedule.network)
    assert (report.mismatches, report.cycle_errors, report.problems) == (0, [], [])
    assert simulate(build, schedule, images, stalls=seed).mismatches == 0
