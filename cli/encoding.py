# SPDX-License-Identifier: Apache-2.0
"""Text for terminals that can't show all of it: what is not in their encoding is written in ASCII that reads well."""

import codecs
import unicodedata
from typing import TextIO

__all__ = ["plain", "soften"]

_NAME = "tepal"

_ASCII = {
    "█": "#", "▓": "*", "▒": ":", "░": ".", "·": ".", "•": "*", "…": "...", "≠": "!=", "≤": "<=", "≥": ">=", "±": "+-",
    "×": "x", "◄": "<", "►": ">", "←": "<-", "→": "->", "α": "alpha", "µ": "u", "μ": "u", "—": "-",
    "–": "-", "−": "-", "‘": "'", "’": "'", "“": '"', "”": '"',  # noqa: RUF001
}


def _ascii(character: str) -> str:
    if character in _ASCII:
        return _ASCII[character]
    name = unicodedata.name(character, "")
    if name.startswith("BOX DRAWINGS"):
        corner = " AND " in name
        return "+" if corner else "|" if "VERTICAL" in name else "-"
    if name.startswith("BRAILLE"):
        # Turning wheels are made of these.
        return "*"
    # A letter of somebody's file name, or a byte of one that is no text: told so that it can be told from others.
    return character.encode("ascii", "backslashreplace").decode()


def _degrade(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_ascii, error.object[error.start:error.end])), error.end


codecs.register_error(_NAME, _degrade)


def plain(text: str, encoding: str) -> str:
    """``text`` with all that ``encoding`` lacks in ASCII; before it is laid out, for ``...`` is wider than ``…``."""
    return text.encode(encoding, _NAME).decode(encoding)


def soften(stream: TextIO | None) -> None:
    """No text makes writing to ``stream`` fail from now on."""
    if (reconfigure := getattr(stream, "reconfigure", None)) is not None:
        reconfigure(errors=_NAME)
