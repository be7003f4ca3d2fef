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
    known = all_boards().values()
    boards = [{"name": board.name, "part": board.part.name, "speed_grade": board.speed_grade,
               "multiplier": board.part.multiplier,
               "multipliers": board.part.primitives,
               "memories": {kind.name: kind.count for kind in board.part.memories},
               "engine": {name: getattr(board.config, name) for name in ("rows", "columns", "operands", "lanes")}}
              for board in known]
    if arguments.json:
        print(json.dumps({"boards": boards}))
        return 0
    table = Table(Column("board", no_wrap=True), "part", "multipliers", "memories", "engine")
    for board, config in zip(boards, (each.config for each in known), strict=True):
        grade = f", grade {board['speed_grade']}" if board["speed_grade"] else ""
        table.add_row(board["name"], board["part"] + grade, f"{board['multipliers'] or 'any'} {board['multiplier']}",
                      ", ".join(f"{count} {name}" for name, count in board["memories"].items()) or "any",
                      f"{config.shape} array, {config.lanes} lanes")
    out.print(table)
    return 0
