# SPDX-License-Identifier: Apache-2.0
"""What a design takes of a part, by estimate and, where it was built, after routing; and what place and route found."""

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup
from tepal.boards.board import Board
from tepal.boards.flow.fit import blocks, fit
from tepal.boards.flow.lut_estimate import KINDS
from tepal.boards.flow.timing import describe_cell
from tepal.hdl import Schedule

from .bars import Bar, bars
from .table import Table, number, percent, short

__all__ = ["estimated", "memories", "path", "routed", "seeds"]


def _picture(title: str, names: Mapping[str, str], used: Mapping[str, int],
             available: Mapping[str, int | None]) -> tuple[Markup, list[list[str]]]:
    rows, cells = [], []
    for kind, count in used.items():
        limit = available.get(kind)
        share = count / limit if limit else 0.0
        over = ", more than there are" if limit is not None and count > limit else ""
        told = f"{count:,} of {limit:,}: {percent(share)}{over}" if limit else f"{count:,}"
        rows.append(Bar(names.get(kind, kind), share, told, "lanes" if kind in names else "array"))
        cells.append([names.get(kind, kind), number(count), number(limit) if limit else "any",
                      percent(share) if limit else ""])
    return bars(title, rows), cells


_COLUMNS = ("resource", "#used", "#available", "#share")


def estimated(schedule: Schedule, board: Board) -> tuple[Markup, Table]:
    """Before synthesis: blocks are counted, logic is estimated."""
    result = fit(schedule, board)
    picture, cells = _picture("Resources by estimate", {kind: f"{kind} (estimated)" for kind in KINDS}, result.used,
                              result.available)
    return picture, Table("resources", f"Resources of {board.part.name} before synthesis.", _COLUMNS, cells)


def routed(build: Mapping[str, Any]) -> tuple[Markup, Table]:
    """As place and route counted."""
    picture, cells = _picture("Resources after routing", {}, build["used"], build["available"])
    return picture, Table("routed", f"Resources of {build['part']} after routing.", _COLUMNS, cells)


def memories(schedule: Schedule, board: Board) -> Table:
    """Every memory of the accelerator."""
    rows = []
    for use in schedule.memories:
        kind, count = blocks(board, use) if board.part.memories else ("", 0)
        rows.append([use.role.replace("_", " "), number(use.count), number(use.depth), number(use.width),
                     number(use.count * use.depth * use.width), number(count) if kind else "", kind])
    return Table("memories", "Memories of the accelerator.",
                 ["memory", "#count", "#words", "#bits a word", "#bits", "#blocks", "of"], rows)


def seeds(build: Mapping[str, Any]) -> tuple[Markup, Table]:
    """The clock that each seed reached."""
    most = max([run["fmax_mhz"] or 0.0 for run in build["seeds"]], default=0.0) or 1.0
    rows, cells = [], []
    for run in build["seeds"]:
        kept, reached = " (kept)" if run["seed"] == build["best_seed"] else "", run["fmax_mhz"]
        told = f"{reached:.2f} MHz{kept}" if reached else "no result"
        rows.append(Bar(f"seed {run['seed']}", (reached or 0.0) / most, told, "array" if kept else "lanes"))
        cells.append([str(run["seed"]), number(reached, 2), kept.strip(" ()")])
    return bars("Clock by seed", rows), Table("seeds", "Clocks that place and route reached.", ["#seed", "#MHz", ""],
                                              cells)


def path(build: Mapping[str, Any]) -> tuple[Markup, Table] | None:
    """The slowest path, step by step; None where none is known."""
    found = build["critical_path"]
    if not found or not found["ns"] > 0:
        return None
    rows, cells = [], []
    for step in found["steps"]:
        at = describe_cell(step["at"])
        rows.append(Bar(step["kind"], step["ns"] / found["ns"], f"{step['ns']:.2f} ns, {short(at, 40)}",
                        "memory port" if step["kind"] == "routing" else "array"))
        cells.append([step["kind"], at, number(step["ns"], 3)])
    return bars("Slowest path, step by step", rows), Table(
        "path", f"Slowest path: {found['from']} to {found['to']}, {found['ns']:.2f} ns, "
        f"{found['routing_ns']:.2f} of them in wires.", ["step", "at", "#ns"], cells)
