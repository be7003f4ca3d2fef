# SPDX-License-Identifier: Apache-2.0
"""The cycle model: when everything happens, from the schedule, without simulating.

The schedule fixes all distances within a frame.  What is left is how frames meet at the two streams, when
neither of them ever waits; and, where weights come from outside, when they do.  Where passes wait for rows of the
image, these come as there is room for them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil

from tepal.hdl.plan.portions import Passage
from tepal.hdl.plan.schedule import Schedule
from tepal.hdl.units.input_rows import InputRows
from tepal.hdl.units.loader import InputLoader
from tepal.hdl.units.sequencer import Sequencer
from tepal.hdl.units.streamer import OutputStreamer
from tepal.hdl.units.weight_loader import WeightLoader

__all__ = ["CycleModel", "FrameCycles", "LayerCycles"]


@dataclass(frozen=True)
class LayerCycles:
    """First cycle in which a layer computes and the one in which its last result is written, counted from
    the frame's first step; ``utilisation`` is multiply-accumulates / cycles / products of the array in a cycle.

    A fused pair overlaps: the pointwise layer begins when the first tile of its depthwise layer is there, an
    elementwise one with its first result.  So do layers that run in bands or in slices, by turns, from ``pass_number``
    to ``last_pass``."""

    layer: int
    pass_number: int
    last_pass: int
    start: int
    end: int
    macs: int
    utilisation: float

    @property
    def cycles(self) -> int:
        return self.end - self.start + 1


@dataclass(frozen=True)
class FrameCycles:
    """Cycles of one frame: first and last input beat, first step, each pass's first step, first and last output byte;
    where weights come from outside, those in which each portion's last beat is taken, and how many its first pass waits
    for it; and, where passes wait for rows, those in which each row's last beat is taken."""

    first_beat: int
    last_beat: int
    start: int
    steps: tuple[int, ...]
    first_byte: int
    last_byte: int
    loaded: tuple[int, ...] = ()
    waited: tuple[int, ...] = ()
    rows: tuple[int, ...] = ()

    @property
    def begin(self) -> int:
        """Cycle of the last input beat, or of the first step where that is earlier."""
        return min(self.last_beat, self.start)


class _Loading:
    """Cycles in which a weight loader takes the last beat of each portion, out of a memory that offers a beat
    ``interval`` cycles after it was rid of the one before, from cycle 0 on."""

    def __init__(self, schedule: Schedule, interval: Fraction | int):
        assert schedule.loads is not None
        self.plan, self.interval = schedule.loads, interval
        self.beats = schedule.word_beats
        # When the next beat is offered, and when the loader can begin with the next passage.
        self.offered: Fraction | int = 0
        self.idle = 0
        for passage in self.plan.prologue:
            self._load(0, passage)

    def _load(self, first: int, passage: Passage) -> None:
        """``first`` is the first cycle in which a beat may be taken."""
        beat = max(first, self.offered) + (passage.words * self.beats[passage.role] - 1) * self.interval
        self.offered, self.idle = beat + self.interval, ceil(beat) + 1

    def portions(self, ends: Sequence[int]) -> Iterator[int]:
        """Without end; ``ends``, to which those of passes are added as they become known, are cycles in which passes
        end."""
        before = 0
        while True:
            for portion in self.plan.portions:
                needed = before + portion.after
                begin = max(self.idle, ends[needed - 1] + 1 if needed > 0 else 0)
                for passage in portion.passages:
                    self._load(begin + WeightLoader.SETUP, passage)
                    begin = self.idle
                yield self.idle - 1
            before += self.plan.passes


class _Images:
    """Cycles in which a loader takes the beats of images, each when the one before has been read, from a source that
    never waits."""

    def __init__(self, schedule: Schedule):
        self.before, self.load, self.full = InputLoader.timing(schedule.layout, schedule.config.input_bytes)
        self.reading = schedule.latency.window
        self.reader = max(number for number, each in enumerate(schedule.passes) if each.work.source is None)
        self.first = [0]

    def claim(self, number: int) -> int:
        """First cycle in which the image is there that pass ``number`` reads."""
        return self.first[-1] + self.load - 1 + self.full

    def begin(self, number: int, start: int, last_step: int) -> None:
        """Pass ``number`` takes its steps from cycle ``start`` to ``last_step``."""
        if number == self.reader:
            self.first.append(max(self.claim(number), last_step + self.reading + 1) + self.before)

    def frame(self, number: int) -> tuple[int, int, tuple[int, ...]]:
        """(first beat of a frame, last beat, nothing)."""
        return self.first[number], self.first[number] + self.load - 1, ()


class _Rows:
    """Cycles in which a loader takes the last beat of each row of the image, from a source that never waits; or, given
    those, what else follows from them."""

    def __init__(self, schedule: Schedule, given: Sequence[int] | None):
        assert schedule.rows is not None
        self.plan, self.layout, self.height = schedule.rows, schedule.layout, schedule.layout.shape[0]
        self.before, self.load, self.full = InputLoader.row_timing(schedule.layout, schedule.config.input_bytes)
        self.reading, self.latency = schedule.latency.window, Sequencer.latency(schedule.config.pipelined)
        self.given = iter(given) if given is not None else None
        # The last beat of each row of all frames; how many rows are claimed; and when each place is free.
        self.last: list[int] = []
        self.claimed, self.frame_free = 0, -self.before
        self.free: list[int] = [-self.before] * self.layout.rows

    def claim(self, number: int) -> int:
        """First cycle in which the rows are there that pass ``number`` waits for."""
        self.claimed += self.plan.claims[number]
        while len(self.last) < self.claimed:
            self._load()
        return self.last[-1] + self.full if self.claimed else 0

    def _load(self) -> None:
        frame, row = divmod(len(self.last), self.height)
        begin = self.free[frame * (self.height + self.layout.beyond) + row]
        if row == 0:
            begin = max(begin, self.frame_free)
        elif self.last:
            begin = max(begin, self.last[-1] + self.full + 1)
        self.last.append(begin + self.before + self.load - 1 if self.given is None else next(self.given))

    def begin(self, number: int, start: int, last_step: int) -> None:
        """Pass ``number`` takes its steps from cycle ``start`` to ``last_step``."""
        self.free += [last_step + self.reading + InputRows.LATENCY] * self.plan.frees[number]
        if number == self.plan.last:
            self.frame_free = start - self.latency + Sequencer.BEGUN

    def frame(self, number: int) -> tuple[int, int, tuple[int, ...]]:
        """(first beat of a frame, last beat, the last beat of each row)."""
        rows = self.last[number * self.height:(number + 1) * self.height]
        return rows[0] - self.load + 1, rows[-1], tuple(rows)


class CycleModel:
    """Cycle counts of ``schedule``; what the simulator must agree with, to the cycle.

    ``in_memory_cycles``: from the image to the first output byte, where all of it is in the input memory before the
    frame begins; where that holds only some rows, from the first step on, while the others stream in.
    ``last_byte_cycles``: from the last input beat to the first output byte, with the image streaming in.  They differ
    where the first pass begins as rows arrive.
    ``cycles``: from the first input beat to the last output byte, both counted; ``interval_cycles``: from one frame to
    the next in the steady state.  ``load_timing``, ``send_timing``: those of the input loader and of the output
    streamer.  ``in_memory``: the frame of ``in_memory_cycles``.

    Weights from outside come from a memory that is never late: it offers a beat in every ``interval`` cycles, on
    average where that is a fraction.

    Examples
    --------
    A quarter of MobileNet on 96 x 96 pixels, with weights at random, on which no cycle depends:

    >>> from tepal.hdl import EngineConfig
    >>> from tepal.quant import MobileNet
    >>> network = MobileNet(0.25, 96, classes=2).network()
    >>> engine = EngineConfig(rows=8, columns=16, lanes=8, requantisers=8)
    >>> CycleModel(Schedule(network, engine)).in_memory_cycles
    66771
    """

    def __init__(self, schedule: Schedule, interval: Fraction | int = 1):
        self.schedule, self.interval = schedule, interval
        self.load_timing = InputLoader.timing(schedule.layout, schedule.config.input_bytes)
        self.send_timing = OutputStreamer.timing([each.shape for each in schedule.output_maps],
                                                  schedule.config.written_bytes)
        frames = self.frames(4)
        self.in_memory = self._image_in_memory(frames[0])
        self.in_memory_cycles = self.in_memory.first_byte - self.in_memory.begin
        self.last_byte_cycles = frames[0].first_byte - frames[0].last_beat
        self.cycles = frames[0].last_byte - frames[0].first_beat + 1
        self.interval_cycles = frames[3].first_byte - frames[2].first_byte

    def _image_in_memory(self, streamed: FrameCycles) -> FrameCycles:
        """As ``streamed``, but all rows of the image are there when its last beat comes, if there is room for all."""
        layout = self.schedule.layout
        if self.schedule.rows is None or layout.rows < layout.shape[0]:
            return streamed
        whole = self.frames(1, rows=[streamed.last_beat] * layout.rows)[0]
        return replace(whole, first_beat=streamed.first_beat, rows=streamed.rows)

    def last_write(self, number: int) -> int:
        """Cycles from a pass's first step to the write of its last result: its last column group may be narrower, its
        last tile shorter than :attr:`ScheduledPass.last_written` allows for."""
        scheduled, config = self.schedule.passes[number], self.schedule.config
        chunks = -(-len(scheduled.work.matrix.weights) // config.requantisers)
        window = (scheduled.work.windows - 1) % scheduled.tile_windows
        element = (window * config.turns + (chunks - 1) % config.turns) * config.requantiser_cycles
        return scheduled.to_last_tile + scheduled.fed - 1 + self.schedule.latency.drain + element

    def frames(self, count: int, loaded: Sequence[int] | None = None,
               rows: Sequence[int] | None = None) -> list[FrameCycles]:
        """``count`` frames back to back, the first beat of the first in cycle 0.

        ``loaded`` are cycles in which the last beats of portions of weights were taken, out of any memory; by default
        they are those of the memory that is never late.  ``rows``, where passes wait for rows, are cycles in which the
        last beats of those were taken, from any source; by default they come as soon as there is room."""
        passes, last, first_output = self.schedule.passes, len(self.schedule.passes) - 1, self.schedule.first_output
        result: list[FrameCycles] = []
        latency = Sequencer.latency(self.schedule.config.pipelined)
        source = _Images(self.schedule) if self.schedule.rows is None else _Rows(self.schedule, rows)
        idle, output_free = 0, 0
        ends: list[int] = []
        loads = self.schedule.loads
        begin_portions = {portion.first for portion in loads.portions} if loads else set()
        arrivals = iter(loaded) if loaded is not None else (
            _Loading(self.schedule, self.interval).portions(ends) if loads else iter(()))
        for _ in range(count):
            complete, waited, steps, moment = [], [], [], idle
            for number, scheduled in enumerate(passes):
                if scheduled.work.source is None:
                    moment = max(moment, source.claim(number) + latency)
                if number == first_output:
                    moment = max(moment, output_free)
                if number in begin_portions:
                    complete.append(next(arrivals))
                    there = complete[-1] + WeightLoader.LATENCY + latency
                    waited.append(max(0, there - moment))
                    moment = max(moment, there)
                steps.append(moment)
                ends.append(moment + self.last_write(number))
                source.begin(number, moment, moment + scheduled.to_last_tile + scheduled.steps - 1)
                moment += scheduled.to_last_tile + scheduled.last_slot
            idle = moment
            first_byte = steps[-1] + self.last_write(last) + self.send_timing[0]
            last_byte = first_byte + self.send_timing[1]
            output_free = last_byte + 1 + latency
            first_beat, last_beat, of_rows = source.frame(len(result))
            result.append(FrameCycles(first_beat, last_beat, steps[0], tuple(steps), first_byte, last_byte,
                                      tuple(complete), tuple(waited), of_rows))
        return result

    def waits(self) -> dict[int, int]:
        """Pass number to the cycles by which it begins later for its weights, in each of many frames; without those
        that do not wait."""
        loads = self.schedule.loads
        waited = zip(loads.portions, self.frames(4)[3].waited, strict=True) if loads else ()
        return {portion.first: cycles for portion, cycles in waited if cycles}

    def layers(self) -> list[LayerCycles]:
        """Every layer of the network, in order, from the frame's first step."""
        schedule = self.schedule
        # A layer that several passes do is told of the first one, and its other parts where that runs in several.
        found: dict[int, tuple[int, list[tuple[int, int, int]]]] = {}
        for number, scheduled in enumerate(schedule.passes):
            reduction, matrix, elementwise = (getattr(scheduled.work, name)
                                              for name in ("reduction", "matrix", "elementwise"))
            end = scheduled.start + self.last_write(number)
            spans = [(reduction.layer if reduction else None, scheduled.start, scheduled.last_tile + scheduled.filled),
                     (matrix.layer, scheduled.start + scheduled.filled + 1, end),
                     *((layer, scheduled.start + scheduled.first_written, end)
                       for layer in (elementwise.layers if elementwise else ()))]
            for layer, start, end in spans:
                if layer is not None:
                    whole, parts = found.setdefault(layer, (schedule.wholes[number], []))
                    if whole == schedule.wholes[number]:
                        parts.append((number, start, end))
        result = []
        for layer, (_, parts) in found.items():
            (first, start, _), (last, _, end) = parts[0], parts[-1]
            macs = schedule.network.layers[layer].macs
            result.append(LayerCycles(layer, first, last, start, end, macs,
                                      macs / (end - start + 1) / schedule.config.products))
        return result
