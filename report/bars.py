# SPDX-License-Identifier: Apache-2.0
"""Bars of shares, one below the other."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from .svg import add, drawing, fill, markup

__all__ = ["Bar", "bars"]

_LEFT, _INNER, _RIGHT, _ROW = 190, 420, 330, 26


@dataclass(frozen=True)
class Bar:
    """``share`` of a whole, in the pattern ``kind``; a share above 1 fills it and is told by ``text`` alone."""

    label: str
    share: float
    text: str
    kind: str = "array"


def bars(title: str, rows: Sequence[Bar]) -> Markup:
    """A picture of ``rows``, each a line."""
    svg = drawing(title, _LEFT + _INNER + _RIGHT, _ROW * len(rows) + 4, class_="bars")
    for line, each in enumerate(rows):
        y = line * _ROW + 4
        add(svg, "text", each.label, x=_LEFT - 8, y=y + 14, text_anchor="end")
        add(svg, "rect", x=_LEFT, y=y, width=_INNER, height=_ROW - 7, class_="whole")
        if each.share > 0:
            add(svg, "rect", x=_LEFT, y=y, width=max(min(each.share, 1) * _INNER, 1.0), height=_ROW - 7,
                fill=fill(each.kind), class_="part")
        add(svg, "text", each.text, x=_LEFT + _INNER + 8, y=y + 14)
    return markup(svg)
