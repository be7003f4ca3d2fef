# SPDX-License-Identifier: Apache-2.0
"""``tepal completion``: what makes a shell complete ``tepal`` at the press of a key, by argcomplete.

The shell starts ``tepal`` itself for that, with the line so far in its environment: what is offered is what this
version takes, with its boards and those of packages."""

import os
from argparse import ArgumentParser
from collections.abc import Callable
from typing import Any

import argcomplete
from argcomplete.completers import FilesCompleter
from argcomplete.shell_integration import shellcode

from .arguments import path

__all__ = ["SHELLS", "add_arguments", "complete", "run"]

SHELLS = ("bash", "zsh", "fish")


def add_arguments(parser) -> None:
    """What ``tepal completion`` takes."""
    parser.add_argument("shell", choices=SHELLS, help="for bash and zsh, put eval \"$(tepal completion SHELL)\" into "
                        "what they read at their start (~/.bashrc; ~/.zshrc, behind compinit); for fish, write it to "
                        "~/.config/fish/completions/tepal.fish")


def run(arguments) -> int:
    """Print what the shell is to run."""
    print(shellcode(["tepal"], shell=arguments.shell), end="")
    return 0


def _boards(prefix: str, **_) -> list[str]:
    from tepal.boards.registry import BOARDS

    return [name for name in BOARDS if name.startswith(prefix)] + list(FilesCompleter(("py",))(prefix))


def _ports(prefix: str, **_) -> list[str]:
    from serial.tools import list_ports

    return [port.device for port in list_ports.comports() if port.device.startswith(prefix)]


def _nothing(**_) -> list[str]:
    return []


_COMPLETERS: dict[str, Callable[..., Any]] = {
    "board": _boards, "port": _ports, "model": FilesCompleter(("tflite", "onnx"))}
"""For arguments that are more than a choice or any file, by their names."""


def complete(parser: Callable[[str | None], ArgumentParser]) -> None:
    """Offer what may stand where the cursor is on the line that a shell gives, and end the process; ``parser`` knows
    the arguments of the command that it is given."""
    line = os.environ.get("COMP_LINE", "")
    words = line[:int(os.environ.get("COMP_POINT", len(line)))].split(" ")
    # The last one is what is being typed.
    command = next((word for word in words[1:-1] if word and not word.startswith("-")), None)
    top = parser(None)
    choices = next(action.choices for action in top._actions if isinstance(action.choices, dict))
    if command in choices:
        top = parser(command)
        choices = next(action.choices for action in top._actions if isinstance(action.choices, dict))
        for action in choices[command]._actions:
            if not action.choices:
                otherwise = FilesCompleter() if action.type is path else _nothing
                action.completer = _COMPLETERS.get(action.dest, otherwise)
    argcomplete.autocomplete(top, always_complete_options=False)
