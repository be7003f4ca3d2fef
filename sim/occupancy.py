# SPDX-License-Identifier: Apache-2.0
"""Where a frame's cycles go: when each unit works for each pass, what binds it, and how long maps live.

All cycles are those of the cycle model's frame with the image in memory, counted from its first step; weights from
outside, if there are any, come from the model's memory, which is never late."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from math import prod

from tepal.hdl.plan.binding import slot_binding, start_binding, tile_bindings
from tepal.hdl.plan.places import FeatureMap
from tepal.hdl.plan.schedule import Schedule
from tepal.hdl.units.sequencer import Sequencer
from tepal.quant import Convolution

from .cycles import CycleModel

__all__ = ["UNITS", "MapSpan", "PassTimes", "Segment", "Work", "map_spans", "pass_times", "segments", "utilisation"]

UNITS = ("reading", "lanes", "array", "results")
"""What works for a pass: the memory's port for reading; the depthwise lanes; the array; the requantisers behind it,
with the memory's port for writing."""


@dataclass(frozen=True)
class Work:
    """A unit works for a pass from cycle ``first`` to ``last``, both counted, and in ``active`` of them."""

    first: int
    last: int
    active: int


@dataclass(frozen=True)
class PassTimes:
    """``start`` is the cycle of the pass's first step, ``end`` that in which its last result is written; ``waited``
    are the cycles for which weights from outside kept it.  ``units`` by name (:data:`UNITS`) do what is to be done."""

    start: int
    end: int
    waited: int
    units: dict[str, Work]


@dataclass(frozen=True)
class Segment:
    """Cycles from ``first`` to before ``behind``, and what binds them (:data:`~tepal.hdl.plan.binding.BINDINGS`): pass
    ``number`` runs meanwhile, or is waited for."""

    first: int
    behind: int
    binding: str
    number: int

    @property
    def cycles(self) -> int:
        return self.behind - self.first


@dataclass(frozen=True)
class MapSpan:
    """A feature map lies in ``memory`` from word ``base`` on, of each bank, ``depth`` words, from the cycle ``first``,
    in which it is first written, to ``last``, in which it is read for the last time.

    ``number`` is that of the pass that writes it, None of the image; ``readers`` are passes that read it."""

    number: int | None
    memory: str
    shape: tuple[int, int, int]
    base: int
    depth: int
    first: int
    last: int
    readers: tuple[int, ...]


def pass_times(model: CycleModel) -> list[PassTimes]:
    """Every pass, in order."""
    schedule, frame = model.schedule, model.in_memory
    config, result = schedule.config, []
    # The first pass is ready when the image is in its memory, or its first rows are.
    ready = min(0, frame.last_beat + model.load_timing[2] + Sequencer.latency(config.pipelined) - frame.start)
    for number, (scheduled, step) in enumerate(zip(schedule.passes, frame.steps, strict=True)):
        start = step - frame.start
        end = start + model.last_write(number)
        last_tile = start + scheduled.to_last_tile
        steps = scheduled.work.windows * prod(scheduled.chunks) * scheduled.groups
        chunks = -(-len(scheduled.work.matrix.weights) // config.requantisers)
        latency = scheduled.latency
        units = {"reading": Work(start + latency.read, last_tile + scheduled.steps - 1 + latency.read, steps)}
        if scheduled.reduces:
            units["lanes"] = Work(start + latency.window, last_tile + scheduled.steps - 1 + latency.window, steps)
        units["array"] = Work(start + scheduled.filled + 1, last_tile + scheduled.fed - 1,
                              scheduled.tiles * scheduled.column_groups * scheduled.sum_cycles)
        units["results"] = Work(start + scheduled.first_written, end,
                                scheduled.work.windows * chunks * config.requantiser_cycles)
        result.append(PassTimes(start, end, start - ready, units))
        ready = start + scheduled.to_last_tile + scheduled.last_slot
    return result


def segments(model: CycleModel) -> list[Segment]:
    """All of ``model.in_memory_cycles``, up to the first byte of the answer, one segment behind the other; what
    is before the first step has negative numbers.

    What waits for the results of a pass, another pass or the host, waits for what that one's last tile is bound by, and
    only then for the results to be written."""
    schedule, frame, times = model.schedule, model.in_memory, pass_times(model)
    passes = schedule.passes
    found = [Segment(frame.begin - frame.start, -times[0].waited, "pipeline", 0),
             Segment(-times[0].waited, 0, "weights from outside", 0)]
    for number, (scheduled, own) in enumerate(zip(passes, times, strict=True)):
        last_tile = own.start + scheduled.to_last_tile
        found.append(Segment(own.start, last_tile, slot_binding(scheduled), number))
        following = min(number + 1, len(passes) - 1)
        ends = following == number
        moment, ready = last_tile, frame.first_byte - frame.start if ends else last_tile + scheduled.last_slot
        binding = "pipeline" if ends else start_binding(passes[following], scheduled)
        if ends or binding == "earlier results":
            for cycles, own_binding in tile_bindings(scheduled):
                found.append(Segment(moment, max(moment, min(last_tile + cycles, ready)), own_binding, number))
                moment = found[-1].behind
        found.append(Segment(moment, ready, binding, following))
        if not ends:
            found.append(Segment(ready, times[following].start, "weights from outside", following))
    return _joined(each for each in found if each.cycles)


def _joined(found: Iterable[Segment]) -> list[Segment]:
    """With neighbours of one pass and one binding in one."""
    result: list[Segment] = []
    for each in found:
        if result and (result[-1].binding, result[-1].number) == (each.binding, each.number):
            each = replace(result.pop(), behind=each.behind)
        result.append(each)
    return result


def map_spans(model: CycleModel) -> list[MapSpan]:
    """Every map in every memory where it lies, the image first: one that is both read and added lies in two."""
    schedule, frame, times = model.schedule, model.in_memory, pass_times(model)
    readers, adders, writers = defaultdict(list), defaultdict(list), defaultdict(list)
    for number, scheduled in enumerate(schedule.passes):
        work = scheduled.work
        readers[work.source].append(number)
        if work.other is not None:
            adders[work.other].append(number)
        writers[work.writes(number)].append(number)

    def read(numbers: list[int]) -> int:
        return max(times[number].units["reading"].last for number in numbers)

    image = schedule.input_map
    spans = [MapSpan(None, "input", schedule.layout.shape, 0, schedule.layout.depth, frame.first_beat - frame.start,
                     read(readers[None]), tuple(readers[None]))]
    assert image.memory == "input"
    for number, parts in writers.items():
        target: FeatureMap = schedule.passes[parts[-1]].target
        first = times[parts[0]].units["results"].first
        if target.memory == "output":
            spans.append(MapSpan(number, "output", target.shape, target.base, target.depth, first,
                                 frame.last_byte - frame.start, ()))
        elif readers[number]:
            spans.append(MapSpan(number, target.memory, target.shape, target.base, target.depth, first,
                                 read(readers[number]), tuple(readers[number])))
        base = schedule.passes[parts[0]].added
        if base is not None and adders[number]:
            words = prod(target.shape[:2]) * -(-target.shape[2] // schedule.config.requantisers)
            last = max(times[each].end - schedule.latency.skip for each in adders[number])
            spans.append(MapSpan(number, "skip", target.shape, base, words, first, last, tuple(adders[number])))
    return spans


def utilisation(schedule: Schedule, cycles: int) -> float:
    """Share of the array's products in use; the depthwise layers' products are made elsewhere, of logic."""
    macs = sum(layer.macs for layer in schedule.network.layers if isinstance(layer, Convolution))
    return macs / cycles / schedule.config.products
