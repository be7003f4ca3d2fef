# SPDX-License-Identifier: Apache-2.0
"""What place and route reports, in names that a person knows."""

import re
from dataclasses import dataclass

from tepal.hdl import Accelerator
from tepal.hdl.units.instance_name import follow

__all__ = ["Path", "clock_mhz", "critical_path", "describe_cell", "driven_by", "part_of"]

_ACCELERATOR = re.compile(r"top\.link\.accelerator(?:\.|$)")
_LINK = re.compile(r"top\.(?:link\.)?")

# A cell that has no name of its own is called after a net that it drives or that drives it.  This is what yosys and
# nextpnr add to that net's name.
_DERIVED = re.compile(r"_(?:LUT4|PFUMX|L6MUX21|CCU2C|TRELLIS_\w+?|MULT18X18D|ALU54B|DP16KD|PDPW16KD|SB_[A-Z0-9]+"
                      r"|LUT[1-3]|ALU|DFF[A-Z]*|MUX2_LUT[5-8]|MULT9X9|S?D?PX9B?|RAM16SDP4)_.*$"
                      r"|_(?:DFFLC|LC|PLL|RAM)$")

# What tells blocks of one memory, and signals of one name, apart.
_NUMBERS = re.compile(r"(?:\.\d+)+$|\$\d+$")


def _place(name: str) -> tuple[bool, list[str], str]:
    """A cell's or net's hierarchical name as (whether it is inside the accelerator; the instances around it, from there
    or from the board; the signal)."""
    place, _, signal = _NUMBERS.sub("", _DERIVED.sub("", name)).rpartition(".")
    inside = _ACCELERATOR.match(place)
    path = place[inside.end():] if inside else _LINK.sub("", place, count=1)
    return bool(inside), [instance for instance in path.split(".") if instance], signal


def part_of(name: str, *, alone: bool = False) -> str:
    """The part of the LUT estimate that a cell's hierarchical name belongs to, as the units declare it; or "", if it
    belongs to none.  ``alone``: the netlist is the accelerator's, with no board around it."""
    inside, path, _ = _place(f"top.link.accelerator.{name}" if alone else name)
    parts = [instance.part for instance, _ in follow(Accelerator.NAMES, path) if instance.part] if inside else []
    return parts[-1] if parts else ""


def describe_cell(name: str) -> str:
    """A cell's or net's hierarchical name as unit and signal: ``systolic array, element row 3 column 5: product``."""
    inside, path, signal = _place(name)
    titles, rest = ["accelerator"] if inside else [], path
    for depth, (instance, numbers) in enumerate(follow(Accelerator.NAMES, path) if inside else ()):
        if instance.title:
            titles, rest = [instance.title.format(*numbers)], path[depth + 1:]
    unit = ", ".join([*titles, *(instance.replace("_", " ") for instance in rest)]) or "board"
    return unit if not signal or signal.startswith("$") else f"{unit}: {signal}"


@dataclass(frozen=True)
class Path:
    """The slowest path from register to register of a clock; times in ns.

    ``steps`` are (kind, name, time): ``clk-to-q``, ``routing``, ``logic``, ``setup`` as nextpnr names them."""

    start: str
    end: str
    logic: float
    routing: float
    through: tuple[str, ...]
    steps: tuple[tuple[str, str, float], ...]

    @property
    def total(self) -> float:
        return self.logic + self.routing

    def as_json(self) -> dict:
        return {"from": self.start, "to": self.end, "through": list(self.through), "ns": round(self.total, 3),
                "logic_ns": round(self.logic, 3), "routing_ns": round(self.routing, 3),
                "steps": [{"kind": kind, "at": name, "ns": round(time, 3)} for kind, name, time in self.steps]}


def driven_by(netlist: dict, kind: str, port: str) -> list[str]:
    """The names of the net behind ``port`` of the one cell of type ``kind`` in a netlist of yosys; ``kind`` may be
    several, with ``|`` between them."""
    cell, = (cell for cell in netlist["cells"].values() if cell["type"] in kind.split("|"))
    return [name for name, net in netlist["netnames"].items() if net["bits"] == cell["connections"][port]]


def _is(clock: str, names: list[str]) -> bool:
    return clock.split()[-1].removeprefix("$glbnet$") in names


def clock_mhz(report: dict, clock: list[str]) -> float:
    """What the net of these names reaches."""
    reached, = (item["achieved"] for name, item in report["fmax"].items() if _is(name, clock))
    return reached


def critical_path(report: dict, clock: list[str]) -> Path | None:
    """The slowest path from register to register of the clock whose net has these names; None if there is none."""
    found = [item["path"] for item in report["critical_paths"]
             if _is(item["from"], clock) and _is(item["to"], clock)]
    if not found or not found[0]:
        return None
    path = found[0]
    # A register's own name is that of its output net, if that has one that was given to it.
    start = next((step["net"] for step in path if "net" in step), "")
    if not start or _DERIVED.search(start):
        start = path[0]["from"]["cell"]
    end = path[-1]["to"]["cell"]
    units = [describe_cell(step["to"]["cell"]).partition(":")[0] for step in path]
    through = tuple(dict.fromkeys(units))
    routing = sum(step["delay"] for step in path if step["type"] == "routing")
    steps = tuple((step["type"], step.get("net", step["to"]["cell"]), step["delay"]) for step in path)
    logic = sum(step["delay"] for step in path) - routing
    return Path(describe_cell(start), describe_cell(end), logic, routing, through, steps)
