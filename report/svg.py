# SPDX-License-Identifier: Apache-2.0
"""Pictures as SVG that stands in the page itself, with the patterns that tell things apart without colour."""

from xml.etree import ElementTree

from markupsafe import Markup

from .table import clean

__all__ = ["LETTER", "MAP_PATTERNS", "PATTERNS", "add", "drawing", "fill", "markup", "patterns"]

LETTER = 7.6
"""Width of a letter in the pictures' units, on average, in a font as wide as there are."""

_DIAGONAL, _BACK = "M-2,10 L10,-2 M-2,2 L2,-2 M6,10 L10,6", "M-2,-2 L10,10 M6,-2 L10,2 M-2,6 L2,10"
_ACROSS, _DOWN = "M0,2 H8 M0,6 H8", "M2,0 V8 M6,0 V8"

PATTERNS = {
    "array": "",
    "requantisers": "M2,2 h0.01 M6,6 h0.01",
    "lanes": _DIAGONAL,
    "lane requantisers": _BACK,
    "memory port": _ACROSS,
    "parameters": _DOWN,
    "earlier results": "",
    "pipeline": "M4,4 h0.01",
    "weights from outside": f"{_DIAGONAL} {_BACK}",
}
"""What may bind a pass (:data:`tepal.hdl.plan.binding.BINDINGS`), and the lines or dots that are drawn over its
colour."""

MAP_PATTERNS = {"map 0": "", "map 1": _DIAGONAL, "map 2": "M2,2 h0.01 M6,6 h0.01", "map 3": _BACK, "map 4": _DOWN}
"""Feature maps take these in turn."""


def add(parent: ElementTree.Element, tag: str, text: str | None = None, /, **attributes: object) -> ElementTree.Element:
    """An element below ``parent``; names of ``attributes`` have _ for -, and one at the end where they are Python's."""
    given = {name.rstrip("_").replace("_", "-"): clean(f"{value:.2f}".rstrip("0").rstrip(".")
                                                       if isinstance(value, float) else str(value))
             for name, value in attributes.items()}
    child = ElementTree.SubElement(parent, tag, given)
    child.text = None if text is None else clean(text)
    return child


def drawing(title: str, width: float, height: float, **attributes: object) -> ElementTree.Element:
    """An empty picture, which screen readers call ``title``."""
    root = ElementTree.Element("svg")
    return add(root, "svg", None, viewBox=f"0 0 {width:g} {height:g}", role="img", aria_label=title, **attributes)


def markup(svg: ElementTree.Element) -> Markup:
    """For the template."""
    return Markup(ElementTree.tostring(svg, encoding="unicode", short_empty_elements=False))


def _slug(name: str) -> str:
    return name.replace(" ", "-")


def fill(name: str) -> str:
    """The attribute ``fill`` for one of the patterns."""
    return f"url(#fill-{_slug(name)})"


def patterns() -> Markup:
    """What :func:`fill` speaks of, in a picture of no size."""
    svg = ElementTree.Element("svg", {"width": "0", "height": "0", "aria-hidden": "true", "class": "patterns"})
    definitions = add(svg, "defs")
    for name, lines in {**PATTERNS, **MAP_PATTERNS}.items():
        pattern = add(definitions, "pattern", id=f"fill-{_slug(name)}", width=8, height=8,
                      patternUnits="userSpaceOnUse")
        add(pattern, "rect", width=8, height=8, class_=f"tint {_slug(name)}")
        if lines:
            add(pattern, "path", d=lines, class_="dots" if "h0.01" in lines else "lines")
    return markup(svg)
