# SPDX-License-Identifier: Apache-2.0
"""``tepal boards``: what the boards offer."""

import json

from rich.table import Column, Table
from tepal.boards.registry import all_boards

from .console import out

__all__ = ["add_arguments", "run"]


def add_arguments(parser) -> None:
    """No arguments of its own."""


def run(arguments) -> int:
    """Print every board."""
    boards = [{"name": board.name, "part": board.part.name, "speed_grade": board.speed_grade,
               "multiplier": board.part.multiplier,
               "multipliers": board.part.primitives,
               "memories": {kind.name: kind.count for kind in board.part.memories},
               "engine": {"rows": board.config.rows, "columns": board.config.columns, "lanes": board.config.lanes}}
              for board in all_boards().values()]
    if arguments.json:
        print(json.dumps({"boards": boards}))
        return 0
    table = Table(Column("board", no_wrap=True), "part", "multipliers", "memories", "engine")
    for board in boards:
        engine = board["engine"]
        grade = f", grade {board['speed_grade']}" if board["speed_grade"] else ""
        table.add_row(board["name"], board["part"] + grade, f"{board['multipliers'] or 'any'} {board['multiplier']}",
                      ", ".join(f"{count} {name}" for name, count in board["memories"].items()) or "any",
                      f"{engine['rows']} x {engine['columns']} array, {engine['lanes']} lanes")
    out.print(table)
    return 0
