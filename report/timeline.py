# SPDX-License-Identifier: Apache-2.0
"""When every pass runs, what binds it, and how busy each unit is."""

from collections import Counter

from markupsafe import Markup
from tepal.hdl.plan.binding import BINDINGS, slot_binding, start_binding
from tepal.hdl.plan.schedule import Schedule
from tepal.sim import CycleModel
from tepal.sim.occupancy import UNITS, Segment, pass_times, segments, utilisation

from .bars import Bar, bars
from .chart import Span, chart
from .layers import layer_title
from .table import Table, number, percent, shape

__all__ = ["binding_bars", "bindings", "pass_title", "passes", "timeline", "use"]

_KINDS = {"reading": "memory port", "lanes": "lanes", "array": "array", "results": "requantisers"}
"""Which pattern each unit has: that of what it may bind."""

_HEIGHT = 30


def pass_title(schedule: Schedule, number: int) -> str:
    """The layers that pass ``number`` does, and which part of them."""
    work, layers = schedule.passes[number].work, schedule.network.layers
    numbers = [work.reduction.layer if work.reduction else None, work.matrix.layer,
               *(work.elementwise.layers if work.elementwise else ())]
    text = " + ".join(layer_title(layers[layer]) for layer in dict.fromkeys(numbers) if layer is not None) or "copy"
    if schedule.wholes.count(schedule.wholes[number]) > 1:
        own, whole = work.output_shape, schedule.formats.passes[schedule.wholes[number]].output_shape
        if own[0] != whole[0]:
            text += f", rows {work.rows.start}-{work.rows.stop - 1}"
        if own[2] != whole[2]:
            text += f", channels {work.channels.start}-{work.channels.stop - 1}"
    return text


def _range(found: list[Segment]) -> tuple[int, int]:
    return found[0].first, found[-1].behind


def timeline(model: CycleModel, names: list[str]) -> Markup:
    """A row for what binds, and one for each unit; ``names`` are those of passes."""
    found, times = segments(model), pass_times(model)
    units = [unit for unit in UNITS if any(unit in each.units for each in times)]
    rows = ["bound by", *units]
    spans = []
    for each in found:
        spans.append(Span(each.first, each.behind, 2, _HEIGHT - 4, each.binding,
                          (f"{each.number}: {each.binding}", each.binding, str(each.number)),
                          f"pass {each.number} ({names[each.number]}) bound by {each.binding}: cycles {each.first:,} "
                          f"to {each.behind - 1:,}, {each.cycles:,} of them", each.number))
    for line, unit in enumerate(units, 1):
        for pass_number, each in enumerate(times):
            if (work := each.units.get(unit)) is None:
                continue
            told = (f"pass {pass_number} ({names[pass_number]}), {unit}: cycles {work.first:,} to {work.last:,}, busy "
                    f"in {work.active:,} of {work.last - work.first + 1:,}")
            spans.append(Span(work.first, work.last + 1, line * _HEIGHT + 2, _HEIGHT - 4, _KINDS[unit],
                              (f"{pass_number}: {names[pass_number]}", f"pass {pass_number}", str(pass_number)), told,
                              pass_number))
    if model.schedule.loads:
        rows.append("weights")
        spans += _arrivals(model, (len(rows) - 1) * _HEIGHT + 2)
    return chart("timeline", f"Timeline of {len(times)} passes, which the table below lists", *_range(found),
                 len(rows) * _HEIGHT, [(text, (line + 0.5) * _HEIGHT) for line, text in enumerate(rows)], spans)


def _arrivals(model: CycleModel, y: float) -> list[Span]:
    """Until when each portion of weights comes in, from the cycle in which the one before it was there."""
    frame, loads = model.frames(1)[0], model.schedule.loads
    assert loads is not None
    moments = [moment - frame.start + 1 for moment in frame.loaded]
    spans = []
    begins = [frame.first_beat - frame.start, *moments]
    for portion, before, moment in zip(loads.portions, begins, moments, strict=False):
        words = sum(each.words for each in portion.passages)
        spans.append(Span(before, moment, y, _HEIGHT - 4, "weights from outside", (f"for {portion.first}",
                          str(portion.first)), f"weights for pass {portion.first}, {words:,} words, are there from "
                          f"cycle {moment:,} on; those before them were so from {before:,} on", portion.first))
    return spans


def passes(model: CycleModel, names: list[str]) -> Table:
    """Every pass: its cycles, and what binds it."""
    schedule, times = model.schedule, pass_times(model)
    waits = schedule.loads is not None
    rows = []
    for pass_number, (scheduled, each) in enumerate(zip(schedule.passes, times, strict=True)):
        source = scheduled.work.source
        before = schedule.passes[pass_number - 1] if pass_number else None
        rows.append([
            str(pass_number), names[pass_number], "image" if source is None else f"map\N{NO-BREAK SPACE}{source}",
            shape(scheduled.work.output_shape), number(each.start), number(each.end),
            number(scheduled.to_last_tile + scheduled.last_slot), number(scheduled.tiles), number(scheduled.slot),
            slot_binding(scheduled) if scheduled.tiles > 1 else "one tile", start_binding(scheduled, before),
            *([number(each.waited)] if waits else []),
            *(percent(work.active / (work.last - work.first + 1)) if (work := each.units.get(unit)) else ""
              for unit in UNITS)])
    return Table("passes", "Passes; a unit's share is of the cycles in which it works for the pass.",
                 ["#pass", "layers", "reads", "result", "#first step", "#last result", "#cycles to the next", "#tiles",
                  "#cycles a tile", "tiles bound by", "start bound by", *(["#waits for weights"] if waits else []),
                  *(f"#{unit}" for unit in UNITS)], rows, range(len(rows)))


def _cycles(model: CycleModel) -> list[tuple[str, int]]:
    """Cycles by what binds them, the most first."""
    counts = Counter({name: 0 for name in BINDINGS})
    for each in segments(model):
        counts[each.binding] += each.cycles
    return [(name, cycles) for name, cycles in counts.most_common() if cycles]


def bindings(model: CycleModel) -> Table:
    """Where the cycles to the answer go, with the image in memory."""
    return Table("bindings", f"What binds the {model.in_memory_cycles:,} cycles to the answer, the image in memory.",
                 ["bound by", "#cycles", "#share", "that is"],
                 [[name, number(cycles), percent(cycles / model.in_memory_cycles), BINDINGS[name]]
                  for name, cycles in _cycles(model)])


def binding_bars(model: CycleModel) -> Markup:
    """The same as a picture, which is the timeline's legend, too."""
    shares = [(name, cycles, cycles / model.in_memory_cycles) for name, cycles in _cycles(model)]
    return bars("Cycles by what binds them", [Bar(name, share, f"{percent(share)}, {cycles:,} cycles", name)
                                              for name, cycles, share in shares])


def use(model: CycleModel) -> tuple[Markup, Table]:
    """How busy each unit is over the frame."""
    schedule, times, cycles = model.schedule, pass_times(model), model.in_memory_cycles
    told = {
        "reading": "reads a word of each bank of the activation memory, or of the input memory",
        "lanes": f"{schedule.config.lanes} depthwise lanes multiply",
        "array": f"{schedule.config.rows} × {schedule.config.columns} elements take "
                 f"{schedule.config.operands} operand{'s' * (schedule.config.operands > 1)} each",
        "results": f"{schedule.config.requantisers} requantisers give results, which are written",
    }
    busy = {unit: sum(each.units[unit].active for each in times if unit in each.units) for unit in UNITS}
    products = utilisation(schedule, cycles)
    rows = [[unit, told[unit], number(count), percent(count / cycles)] for unit, count in busy.items()]
    rows.append(["products", f"of the array's {schedule.config.products:,} a cycle, those that the network has",
                 "", percent(products)])
    picture = bars("Use of each unit", [*(Bar(unit, count / cycles, percent(count / cycles), _KINDS[unit])
                                          for unit, count in busy.items()),
                                        Bar("array's products", products, percent(products), "array")])
    return picture, Table("use", f"Use of each unit over {cycles:,} cycles.",
                          ["unit", "which", "#busy cycles", "#share"], rows)
