# SPDX-License-Identifier: Apache-2.0
"""Names of instances, declared once, in the class whose module has them.

The hardware takes its instances' names from the declaration, and so does whatever looks for their cells in a netlist:
the timing report, the LUT estimate and the placement."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

__all__ = ["InstanceName", "follow", "pattern"]


@dataclass(frozen=True)
class InstanceName:
    """What equal instances in a module are called.

    Parameters
    ----------
    name
        ``{}`` stands for a number, such as that of an array's row.
    title
        What a report calls them, with the same numbers; without one, the words of the name follow the title of the
        module around.
    part
        Part of the LUT estimate to which their cells count; without one, that of the module around.
    inside
        Names within.  A signal with fields counts as an instance: tools name each field as if it lay in one.
    """

    name: str
    title: str = ""
    part: str = ""
    inside: tuple["InstanceName", ...] = ()

    def __call__(self, *numbers: int) -> str:
        """The name with its numbers."""
        return self.name.format(*numbers)

    @property
    def pattern(self) -> str:
        """Regular expression of the name, a group for each number."""
        return re.escape(self.name).replace(r"\{\}", r"(\d+)")


def follow(names: Iterable[InstanceName], path: Sequence[str]) -> list[tuple[InstanceName, tuple[str, ...]]]:
    """The declared names on a hierarchical ``path``, outermost first, each with its numbers; it begins with one of
    ``names`` and ends where nothing more is declared."""
    for name in names if path else ():
        if match := re.fullmatch(name.pattern, path[0]):
            return [(name, match.groups()), *follow(name.inside, path[1:])]
    return []


def pattern(*names: InstanceName) -> re.Pattern:
    """Finds what lies in instances called ``names``, outermost first, in a cell's hierarchical name."""
    return re.compile("".join(rf"\.{name.pattern}" for name in names) + r"\.")
