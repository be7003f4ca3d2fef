"""What a design may be called in Verilog."""

import re

from pygments.lexers.hdl import SystemVerilogLexer
from pygments.token import Name

from .config import ConfigError

__all__ = ["LONGEST", "name_from", "require_name"]

LONGEST = 64
"""Characters of a name. Modules and files add some, and tools and file systems set a limit to each."""


def _is_keyword(word: str) -> bool:
    """Whether Verilog or SystemVerilog keeps ``word`` for itself."""
    return next(iter(SystemVerilogLexer().get_tokens(word)))[0] not in Name


def require_name(name: str) -> None:
    """Raise :class:`ConfigError` unless ``name`` is one for a module, in every tool.

    Verilog lets names have dollar signs, which file names and FuseSoC's had better not."""
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) or len(name) > LONGEST:
        raise ConfigError(f"name {name!r} is none for a Verilog module: give one of ASCII letters, digits and underscores "
                          f"that does not begin with a digit, of at most {LONGEST} characters")
    if _is_keyword(name):
        raise ConfigError(f"name {name!r} is a keyword of Verilog or SystemVerilog: give another one")


def name_from(text: str) -> str:
    """A name for a module that is as near to ``text``, any text, as can be; always the same for the same text."""
    name = re.sub(r"[^A-Za-z0-9_]", "_", text) or "_"
    name = re.sub(r"^(?=\d)", "_", name)[:LONGEST]
    return name + "_" * _is_keyword(name)
