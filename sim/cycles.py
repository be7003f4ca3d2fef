# SPDX-License-Identifier: Apache-2.0
"""The cycle model: when everything happens, from the schedule, without simulating.

The schedule fixes all distances within a frame.  What is left is how frames meet at the two streams, when
neither of them ever waits; and, where weights come from outside, when they do."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tepal.hdl.memories.streamed import beats_of
from tepal.hdl.plan.portions import Passage
from tepal.hdl.plan.schedule import Schedule
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
    and, where weights come from outside, those in which each portion's last beat is taken."""

    first_beat: int
    last_beat: int
    start: int
    steps: tuple[int, ...]
    first_byte: int
    last_byte: int
    loaded: tuple[int, ...] = ()


class _Loading:
    """Cycles in which a weight loader takes the last beat of each portion, out of a memory that offers a beat
    ``interval`` cycles after it was rid of the one before, from cycle 0 on."""

    def __init__(self, schedule: Schedule, interval: int):
        assert schedule.loads is not None
        self.plan, self.interval = schedule.loads, interval
        self.beats = [beats_of(bits) for bits in schedule.word_bits]
        # When the next beat is offered, and when the loader can begin with the next passage.
        self.offered = self.idle = 0
        for passage in self.plan.prologue:
            self._load(0, passage)

    def _load(self, first: int, passage: Passage) -> None:
        """``first`` is the first cycle in which a beat may be taken."""
        beat = max(first, self.offered) + (passage.words * self.beats[passage.role] - 1) * self.interval
        self.offered, self.idle = beat + self.interval, beat + 1

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


class CycleModel:
    """Cycle counts of ``schedule``; what the simulator must agree with, to the cycle.

    ``compute_cycles``: from the last input beat to the first output byte; ``cycles``: from the first input beat
    to the last output byte, both counted; ``interval_cycles``: from one frame to the next in the steady state.
    ``load_timing``, ``send_timing``: those of the input loader and of the output streamer.

    Weights from outside come from a memory that is never late: it offers a beat in every ``interval`` cycles.

    Examples
    --------
    A quarter of MobileNet on 96 x 96 pixels, with weights at random, on which no cycle depends:

    >>> from tepal.hdl import EngineConfig
    >>> from tepal.quant import MobileNet
    >>> network = MobileNet(0.25, 96, classes=2).network()
    >>> engine = EngineConfig(rows=8, columns=16, lanes=8, requantisers=8)
    >>> CycleModel(Schedule(network, engine)).compute_cycles
    66771
    """

    def __init__(self, schedule: Schedule, interval: int = 1):
        self.schedule, self.interval = schedule, interval
        self.load_timing = InputLoader.timing(schedule.layout, schedule.config.input_bytes)
        self.send_timing = OutputStreamer.timing([each.shape for each in schedule.output_maps], schedule.config.lanes)
        frames = self.frames(4)
        self.compute_cycles = frames[0].first_byte - frames[0].last_beat
        self.cycles = frames[0].last_byte - frames[0].first_beat + 1
        self.interval_cycles = frames[3].first_byte - frames[2].first_byte

    def _last_write(self, number: int) -> int:
        """Cycles from a pass's first step to the write of its last result: its last column group may be narrower, its
        last tile shorter than :attr:`ScheduledPass.last_written` allows for."""
        scheduled, config = self.schedule.passes[number], self.schedule.config
        chunks = -(-len(scheduled.work.matrix.weights) // config.requantisers)
        window = (scheduled.work.windows - 1) % scheduled.tile_windows
        element = (window * config.turns + (chunks - 1) % config.turns) * config.requantiser_cycles
        return scheduled.to_last_tile + scheduled.fed - 1 + self.schedule.latency.drain + element

    def frames(self, count: int, loaded: Sequence[int] | None = None) -> list[FrameCycles]:
        """``count`` frames back to back, the first beat of the first in cycle 0.

        ``loaded`` are cycles in which the last beats of portions of weights were taken, out of any memory; by default
        they are those of the memory that is never late."""
        passes = self.schedule.passes
        reader = max(number for number, each in enumerate(passes) if each.work.source is None)
        result: list[FrameCycles] = []
        before, load, full = self.load_timing
        latency = Sequencer.latency(self.schedule.config.pipelined)
        beat, idle, output_free = 0, 0, 0
        ends: list[int] = []
        loads = self.schedule.loads
        begin_portions = {portion.first for portion in loads.portions} if loads else set()
        arrivals = iter(loaded) if loaded is not None else (
            _Loading(self.schedule, self.interval).portions(ends) if loads else iter(()))
        for _ in range(count):
            complete = []
            last_beat = beat + load - 1
            moment = max(last_beat + full + latency, idle)
            steps = []
            for number, scheduled in enumerate(passes):
                if number == self.schedule.first_output:
                    moment = max(moment, output_free)
                if number in begin_portions:
                    complete.append(next(arrivals))
                    moment = max(moment, complete[-1] + WeightLoader.LATENCY + latency)
                steps.append(moment)
                ends.append(moment + self._last_write(number))
                moment += scheduled.to_last_tile + scheduled.last_slot
            idle = moment
            first_byte = steps[-1] + self._last_write(len(passes) - 1) + self.send_timing[0]
            last_byte = first_byte + self.send_timing[1]
            output_free = last_byte + 1 + latency
            result.append(FrameCycles(beat, last_beat, steps[0], tuple(steps), first_byte, last_byte, tuple(complete)))
            released = steps[reader] + passes[reader].to_last_tile + passes[reader].steps - 1
            beat = max(last_beat + full, released + self.schedule.latency.window + 1) + before
        return result

    def layers(self) -> list[LayerCycles]:
        """Every layer of the network, in order, from the frame's first step."""
        schedule = self.schedule
        # A layer that several passes do is told of the first one, and its other parts where that runs in several.
        found: dict[int, tuple[int, list[tuple[int, int, int]]]] = {}
        for number, scheduled in enumerate(schedule.passes):
            reduction, matrix, elementwise = (getattr(scheduled.work, name)
                                              for name in ("reduction", "matrix", "elementwise"))
            end = scheduled.start + self._last_write(number)
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
