# SPDX-License-Identifier: Apache-2.0
"""Which map lies where in the memories, from which cycle to which."""

from markupsafe import Markup
from tepal.sim import CycleModel
from tepal.sim.occupancy import MapSpan, map_spans, segments

from .chart import Span, chart
from .svg import MAP_PATTERNS
from .table import Table, number, shape

__all__ = ["maps", "memory_maps"]

_HEIGHTS = {"activations": 220, "skip": 110}
"""Memories that are drawn, and how high."""


def _name(span: MapSpan) -> str:
    return "image" if span.number is None else f"map {span.number}"


def memory_maps(model: CycleModel) -> list[tuple[str, Markup]]:
    """(heading, picture) of each memory in which maps take each other's place."""
    schedule, found = model.schedule, segments(model)
    first, behind = found[0].first, found[-1].behind
    bounds = {"activations": schedule.region_depths, "skip": (schedule.skip_depth,)}
    pictures = []
    for memory, height in _HEIGHTS.items():
        maps = [span for span in map_spans(model) if span.memory == memory]
        if not maps:
            continue
        words = sum(bounds[memory])
        scale, edges, base = height / words, [0], 0
        for depth in bounds[memory]:
            base += depth
            # Names that would lie over each other are left out; the last one is how deep the memory is.
            while len(edges) > 1 and (base - edges[-1]) * scale < 13:
                edges.pop()
            edges.append(base)
        rows = [(f"word {edge:,}", min(max(edge * scale, 5), height - 3)) for edge in edges]
        spans = [Span(each.first, each.last + 1, each.base * scale, each.depth * scale, _pattern(count),
                      (f"{_name(each)}: {shape(each.shape)}", _name(each), str(each.number)),
                      f"{_name(each)}, {shape(each.shape)}: words {each.base:,} to {each.base + each.depth - 1:,}, "
                      f"cycles {each.first:,} to {each.last:,}", each.number) for count, each in enumerate(maps)]
        banks = f"each of {schedule.config.taps} banks" if memory == "activations" else "the memory"
        title = {"activations": "Activation memory", "skip": "Skip memory"}[memory]
        pictures.append((f"{title}: {words:,} words in {banks}",
                         chart(f"map-{memory}", f"{title} over time: {len(maps)} maps, which the table below lists",
                               first, behind, height, rows, spans)))
    return pictures


def _pattern(count: int) -> str:
    return [*MAP_PATTERNS][count % len(MAP_PATTERNS)]


def maps(model: CycleModel) -> Table:
    """Every map in every memory."""
    rows = []
    for each in map_spans(model):
        reading = ", ".join(map(str, each.readers)) if len(each.readers) <= 8 else \
            f"{each.readers[0]} … {each.readers[-1]} ({len(each.readers)})"
        rows.append([_name(each), shape(each.shape), each.memory, number(each.base), number(each.depth),
                     number(each.first), number(each.last), f"passes {reading}" if each.readers else "the host"])
    return Table("maps", "Maps; words are those of each bank, and a map has the number of the pass that begins it.",
                 ["map", "size", "memory", "#first word", "#words", "#from cycle", "#to cycle", "read by"], rows)
