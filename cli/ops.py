# SPDX-License-Identifier: Apache-2.0
"""``tepal ops``: what a model file may hold."""

import json

from rich.markup import escape
from rich.table import Column, Table
from tepal.quant import formats

from .console import out

__all__ = ["add_arguments", "run"]


def add_arguments(parser) -> None:
    """No arguments of its own."""


def run(arguments) -> int:
    """Print the operators of every format, each with its limits."""
    if arguments.json:
        print(json.dumps({"formats": {title: {"limits": form.limits, "operators": form.operators}
                                      for title, form in formats().items()}}))
        return 0
    for title, form in formats().items():
        out.print(f"[bold]{title}[/]: {escape(form.limits)}")
        table = Table(Column("operator", no_wrap=True), "limits")
        for name, limits in form.operators.items():
            table.add_row(name, escape(limits))
        out.print(table)
    return 0
