# SPDX-License-Identifier: Apache-2.0
"""The page itself: what is known, section by section, in the template ``page.html``.

The same input gives the same bytes: no time, no path of this computer, nothing from elsewhere."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from tepal.boards.board import Board
from tepal.boards.flow.fit import fit
from tepal.boards.flow.routed import Clock
from tepal.hdl import Schedule
from tepal.sim import CycleModel
from tepal.sim.occupancy import utilisation
from tepal.sim.ranges import LayerRange

from . import quantised, resources
from .layers import graph, layers
from .memory_map import maps, memory_maps
from .svg import patterns
from .table import Table, clean, number, percent, shape
from .timeline import binding_bars, bindings, pass_title, passes, timeline, use

__all__ = ["Given", "Section", "page", "sections"]


@dataclass(frozen=True)
class Given:
    """What is known beside the schedule, all of it optional.

    ``build``, ``simulation`` and ``losses`` are what the commands say of which :mod:`.given` knows the form; ``ranges``
    are measured on ``frames`` images; ``accuracies`` are shares of right classes, by network, and of how many images.
    """

    build: Mapping[str, Any] | None = None
    simulation: Mapping[str, Any] | None = None
    losses: Mapping[str, Any] | None = None
    ranges: Sequence[LayerRange] = ()
    frames: int = 0
    accuracies: Mapping[str, tuple[float, int | None]] = field(default_factory=dict)


@dataclass(frozen=True)
class Part:
    """A picture (None for none) under a heading ("" for none), and the table that says the same; ``open`` if the table
    is shown at once."""

    heading: str = ""
    picture: Markup | None = None
    table: Table | None = None
    open: bool = False
    zooms: bool = False


@dataclass(frozen=True)
class Section:
    """A chapter of the page, by a name that links have, with a sentence or two of introduction."""

    name: str
    title: str
    text: str
    parts: Sequence[Part]


def _network(model: CycleModel) -> Section:
    network = model.schedule.network
    return Section("network", "Network", "Each box is a layer, in the order in which they run; results are height × "
                   "width × channels, a byte each. Boxes with a heavy border are the network's outputs.",
                   [Part(picture=graph(network)), Part("All layers", table=layers(model))])


def _timeline(model: CycleModel, names: list[str]) -> Section:
    text = ("The engine runs one pass after the other; a pass does one layer, or a few. The first row says what binds "
            "the engine in each cycle: what would have to be faster for the frame to be done sooner. The rows below it "
            "say when each unit works for which pass. Cycle 0 is that of the frame's first step.")
    return Section("timeline", "Timeline", text, [
        Part(picture=timeline(model, names), zooms=True),
        Part("What binds the frame", binding_bars(model), bindings(model), open=True),
        Part("All passes", table=passes(model, names))])


def _use(model: CycleModel) -> Section:
    schedule, picture_table = model.schedule, use(model)
    text = "Each unit's share of the cycles to the answer, with the image in memory."
    if schedule.loads:
        text += (f" {schedule.weight_bytes:,} bytes of weights come from outside for every frame, "
                 f"{schedule.weight_bytes / model.interval_cycles:.2f} a cycle on average; cycles are those of a "
                 "memory that gives 8 in each.")
    return Section("use", "Use of the engine", text, [Part("", *picture_table, open=True)])


def _memory(model: CycleModel) -> Section:
    text = ("Left to right are cycles, as in the timeline, and top to bottom words: a map lies in its words from the "
            "cycle in which it is first written to that in which it is last read.")
    return Section("memory", "Memory over time", text,
                   [*(Part(heading, picture, zooms=True) for heading, picture in memory_maps(model)),
                    Part("All maps", table=maps(model))])


def _resources(schedule: Schedule, board: Board, build: Mapping[str, Any] | None) -> Section:
    parts = [Part("By estimate", *resources.estimated(schedule, board), open=True),
             Part("All memories", table=resources.memories(schedule, board))]
    if build is not None:
        parts.insert(0, Part("After routing", *resources.routed(build), open=True))
    return Section("resources", "Resources", f"What the design takes of {board.part.name}, the part on {board.name}.",
                   parts)


def _build(build: Mapping[str, Any]) -> Section:
    tools = ", ".join(f"{name} {tool['version']}" for name, tool in build["tools"].items())
    text = (f"Place and route reached {build['fmax_mhz']:.2f} MHz; the clock is {build['clock_mhz']:.3f} MHz, "
            f"{build['in_memory_ms']:.3f} ms in memory, {build['last_byte_ms']:.3f} ms from the last byte, "
            f"{build['frames_per_second']:,.1f} frames a second. "
            + ("" if build["passed"] else "That is less than was asked for. ") + f"Tools: {tools}.")
    parts = [Part("Seeds", *resources.seeds(build))]
    if (path := resources.path(build)) is not None:
        parts.append(Part("Slowest path", *path))
    return Section("build", "Build", text, parts)


def _quantisation(schedule: Schedule, given: Given) -> Section:
    parts = []
    if given.ranges:
        parts.append(Part(f"Values on {given.frames:,} image{'s' * (given.frames != 1)}",
                          table=quantised.ranges(schedule.network, given.ranges)))
    if given.losses is not None:
        parts.append(Part("Float network and int8 network", table=quantised.losses(given.losses)))
    return Section("quantisation", "Quantisation", "", parts)


def _simulation(found: Mapping[str, Any]) -> Section:
    verdict = "All bytes and cycles agree with the golden model and the cycle model." if not (
        found["mismatches"] or found["cycle_errors"] or found["problems"]) else "The simulation differs:"
    rows = [["first difference", found["first_mismatch"] or "none"],
            ["values that differ", f"{found['mismatches']:,} of {found['compared']:,}"]]
    for name, text in (("in_memory_cycles", "cycles, in memory"),
                       ("last_byte_cycles", "cycles, from the last byte"), ("cycles", "cycles with the image"),
                       ("interval_cycles", "cycles from frame to frame")):
        if found[name] is not None:
            rows.append([text, f"{found[name]:,} ({found[f'predicted_{name}']:,} predicted)"])
    rows += [["problem", line] for line in (*found["problems"], *found["cycle_errors"])]
    return Section("simulation", "Simulation",
                   f"The generated Verilog ran on {found['frames']:,} image{'s' * (found['frames'] != 1)}. {verdict}",
                   [Part(table=Table("simulation", "What the simulation found.", ["", "found"], rows), open=True)])


def sections(model: CycleModel, board: Board, given: Given) -> list[Section]:
    """All that there is something to say about."""
    schedule = model.schedule
    names = [pass_title(schedule, each) for each in range(len(schedule.passes))]
    found = [_timeline(model, names), _use(model), _memory(model), _resources(schedule, board, given.build),
             _network(model)]
    if given.build is not None:
        found.append(_build(given.build))
    if given.ranges or given.losses is not None:
        found.append(_quantisation(schedule, given))
    if given.accuracies:
        table = quantised.accuracies(given.accuracies)
        found.append(Section("accuracy", "Accuracy", "", [Part(table=table, open=True)]))
    if given.simulation is not None:
        found.append(_simulation(given.simulation))
    return found


def _figures(model: CycleModel, board: Board, clock: Clock) -> list[tuple[str, str]]:
    """(what, how much) at the head of the page."""
    schedule, config = model.schedule, model.schedule.config
    counts = ("in memory", model.in_memory_cycles), ("from the last byte", model.last_byte_cycles)
    timed = [*((f"ms, {name}", f"{clock.milliseconds(cycles):,.3f}") for name, cycles in counts),
             ("frames a second", number(clock.rate(model.interval_cycles), 1))] if clock.mhz else []
    return [*timed, *((f"cycles, {name}", number(cycles)) for name, cycles in counts),
            ("cycles from frame to frame", number(model.interval_cycles)),
            ("array in use", percent(utilisation(schedule, model.in_memory_cycles))),
            ("multiply-accumulates", number(schedule.network.macs)), ("weights", number(schedule.network.parameters)),
            ("passes", number(len(schedule.passes))),
            ("array", config.shape.replace("x", "×")), ("lanes", number(config.lanes)),
            ("requantisers", number(config.requantisers)), ("image", shape(schedule.network.input_shape))]


def page(model: CycleModel, board: Board, name: str, clock: Clock, given: Given,
         found: Sequence[Section] | None = None) -> str:
    """HTML of the network on ``board``, under the ``name`` of the model's file; times are those of ``clock``.

    ``found`` are its :func:`sections`, if there are any already."""
    folder = Path(__file__).parent
    environment = Environment(loader=FileSystemLoader(folder), autoescape=True, undefined=StrictUndefined,
                              trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
                              finalize=lambda value: clean(value) if type(value) is str else value)
    result = fit(model.schedule, board)
    lacking = ", ".join(f"{result.used[kind]:,} of {result.available[kind]:,} {kind}" for kind in result.over)
    return environment.get_template("page.html").render(
        name=name, board=board, clock=clock, lacking=lacking, patterns=patterns(),
        figures=_figures(model, board, clock), sections=sections(model, board, given) if found is None else found,
        style=Markup((folder / "page.css").read_text(encoding="utf-8")),
        script=Markup((folder / "page.js").read_text(encoding="utf-8")))
