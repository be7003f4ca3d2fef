# SPDX-License-Identifier: Apache-2.0
"""The live page of ``tepal serve``: pictures go to a device, and what it makes of them is shown."""

from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from tepal.host.web import LARGEST, File

from .table import clean

__all__ = ["live_files"]


def live_files(name: str, device: str, notes: Sequence[str], layers: Sequence[tuple[int, str]]) -> dict[str, File]:
    """The page's files by path, for :class:`tepal.host.web.WebServer`.

    Parameters
    ----------
    name, device
        Of the model's file, and what it runs on.
    notes
        Sentences to be read before anything is sent.
    layers
        (number, title) of those whose maps can be asked for.
    """
    folder = Path(__file__).parent
    environment = Environment(loader=FileSystemLoader(folder), autoescape=True, undefined=StrictUndefined,
                              trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
                              finalize=lambda value: clean(value) if type(value) is str else value)
    html = environment.get_template("live.html").render(name=name, device=device, notes=notes, layers=layers,
                                                        largest=LARGEST)
    style = "".join((folder / file).read_text(encoding="utf-8") for file in ("page.css", "live.css"))
    return {"/": File("text/html", html.encode("utf-8", "backslashreplace")),
            "/live.css": File("text/css", style.encode()),
            "/live.js": File("text/javascript", (folder / "live.js").read_bytes())}
