# SPDX-License-Identifier: Apache-2.0
"""A picture of what happens in which cycle, left to right; the page's script zooms all of them together.

The script places spans anew by their numbers of cycles (``data-a``, ``data-b``), by the same rules as here."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from xml.etree import ElementTree

from markupsafe import Markup

from .svg import LETTER, add, drawing, fill, markup

__all__ = ["LEFT", "WIDTH", "Span", "chart", "ticks"]

LEFT, RIGHT, WIDTH, TOP = 104, 8, 1120, 24
"""Margins for the rows' names, at the right, and for the axis above; width with both."""

THIN = 4
"""Spans that are less wide have no outline: many side by side would be nothing but that."""


@dataclass(frozen=True)
class Span:
    """From cycle ``first`` to before ``behind``, at ``y`` and ``height`` below the axis, in the pattern ``kind``.

    ``labels``, the longest first, are texts of which the first one that has room is shown; ``told`` is what a pointer
    is told there.  ``number`` is the pass that it belongs to."""

    first: int
    behind: int
    y: float
    height: float
    kind: str
    labels: Sequence[str]
    told: str
    number: int | None = None


def ticks(first: int, behind: int) -> list[int]:
    """Round numbers of cycles for an axis: nine at most."""
    steps = (base * 10 ** power for power in count() for base in (1, 2, 5))
    step = next(step for step in steps if behind - first <= 9 * step)
    return list(range(-(-first // step) * step, behind, step))


def chart(name: str, title: str, first: int, behind: int, height: float, rows: Sequence[tuple[str, float]],
          spans: Sequence[Span]) -> Markup:
    """``rows`` are (name, middle below the axis)."""
    svg = drawing(title, WIDTH, height + TOP + 4, class_="cycles", data_first=first, data_behind=behind, data_left=LEFT,
                  data_right=WIDTH - RIGHT, data_letter=LETTER, data_thin=THIN, data_height=height, data_top=TOP)
    inner = WIDTH - RIGHT - LEFT
    scale = inner / max(1, behind - first)
    definitions = add(svg, "defs")
    add(add(definitions, "clipPath", id=f"clip-{name}"), "rect", x=LEFT, y=0, width=inner, height=height + TOP + 4)
    axis = add(svg, "g", class_="axis")
    for cycle in ticks(first, behind):
        x = LEFT + (cycle - first) * scale
        add(axis, "line", x1=x, x2=x, y1=TOP - 4, y2=TOP + height)
        # One at the end would be cut off.
        if x < WIDTH - 30:
            add(axis, "text", f"{cycle:,}", x=x, y=TOP - 8, text_anchor="middle")
    for text, middle in rows:
        add(svg, "text", text, x=LEFT - 8, y=TOP + middle + 4, text_anchor="end", class_="row")
    inside = add(svg, "g", clip_path=f"url(#clip-{name})")
    for span in spans:
        _span(inside, span, LEFT + (span.first - first) * scale, (span.behind - span.first) * scale)
    return markup(svg)


def _span(parent: ElementTree.Element, span: Span, x: float, width: float) -> None:
    numbered = {} if span.number is None else {"data_pass": span.number}
    name = "span thin" if width < THIN else "span"
    group = add(parent, "g", class_=name, data_a=span.first, data_b=span.behind, **numbered)
    add(group, "title", span.told)
    add(group, "rect", x=x, y=TOP + span.y, width=max(width, 0.7), height=span.height, fill=fill(span.kind))
    # Only what lies in the picture has room for text.
    left, right = max(x, LEFT), min(x + width, WIDTH - RIGHT)
    fits = [text for text in span.labels if len(text) * LETTER + 6 <= right - left and span.height >= 11]
    labels = {f"data_{depth}": text for depth, text in enumerate(span.labels)} if span.height >= 11 else {}
    if labels:
        add(group, "text", fits[0] if fits else "", x=(left + right) / 2, y=TOP + span.y + span.height / 2 + 4,
            text_anchor="middle", **labels)
