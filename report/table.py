# SPDX-License-Identifier: Apache-2.0
"""Tables of the page, and how it writes numbers and names."""

from collections.abc import Sequence
from dataclasses import dataclass, field

__all__ = ["Table", "clean", "number", "percent", "shape", "short"]

_NO_BREAK = "\N{NO-BREAK SPACE}"


@dataclass(frozen=True)
class Table:
    """``columns`` are headers, of which those that begin with ``#`` are of numbers; ``rows`` are of texts.  ``passes``
    are the numbers of the passes that rows speak of, for the page to find them; ``name`` is the table's in its links.
    """

    name: str
    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    passes: Sequence[int] = field(default=())

    @property
    def headers(self) -> list[str]:
        return [column.removeprefix("#") for column in self.columns]

    @property
    def numeric(self) -> list[bool]:
        """Which columns hold numbers."""
        return [column.startswith("#") for column in self.columns]


def clean(text: str) -> str:
    """``text`` without what can't be printed: damaged files hold any characters."""
    return "".join(each if each.isprintable() or each == _NO_BREAK else "\N{REPLACEMENT CHARACTER}" for each in text)


def short(text: str, most: int = 44) -> str:
    """Begin and end of a long name, of which either may tell it from others."""
    text = clean(text)
    half = (most - 1) // 2
    return text if len(text) <= most else f"{text[:half]}…{text[-half:]}"


def number(value: float | int | None, digits: int = 0) -> str:
    """With commas; nothing for None."""
    return "" if value is None else f"{value:,.{digits}f}"


def percent(share: float) -> str:
    return f"{share:.1%}"


def shape(sizes: Sequence[int]) -> str:
    return f"{_NO_BREAK}×{_NO_BREAK}".join(map(str, sizes))
