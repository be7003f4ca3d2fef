# SPDX-License-Identifier: Apache-2.0
"""The command line: which commands there are, and how they end.

Each command is a module beside this one with two functions: ``add_arguments(parser)`` and ``run(arguments)``, which
returns the exit code.  Only the module of the command that is asked for is imported."""

import argparse
import contextlib
import gc
import os
import re
import sys
import textwrap
import traceback
from collections.abc import Iterable
from difflib import get_close_matches
from importlib import import_module

from .encoding import soften
from .exit_codes import BAD_INPUT, INTERNAL, INTERRUPTED, NO_READER

__all__ = ["COMMANDS", "main", "parser"]

COMMANDS = {
    "boards": "list the boards and their resources",
    "ops": "list the operators of a model that are supported",
    "quantize": "turn a float model into an int8 one",
    "evaluate": "measure a model's accuracy with the golden model",
    "family": "count MobileNets of any size beside the paper's tables, and their cycles",
    "explore": "search for engines: the fewest cycles for every number of LUTs",
    "estimate": "say which boards a network fits, and the cycles of every layer",
    "report": "draw a page to look at: timeline, memory map, resources, network",
    "generate": "write Verilog, ROMs, a FuseSoC core and a JSON description",
    "simulate": "simulate the generated Verilog and compare every byte and every cycle",
    "build": "make a bitstream: synthesis, place and route, clock, report",
    "serve": "serve a page in a browser: pictures and the camera, on a board or a simulated one",
    "run": "classify images on a board that is connected to a serial port",
    "program": "write a bitstream, and what belongs to it, onto a board",
    "completion": "print what makes bash, zsh or fish complete commands, options, boards and files",
}
"""Name to what it does, in the order of the help."""


class _Formatter(argparse.HelpFormatter):
    """Breaks lines between words alone: names of boards and options have hyphens."""

    def _split_lines(self, text, width):
        return textwrap.wrap(text, width, break_on_hyphens=False, break_long_words=False)

    def _fill_text(self, text, width, indent):
        return textwrap.fill(text, width, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False,
                             break_long_words=False)


class _Parser(argparse.ArgumentParser):
    """Mistakes on the command line are told in one sentence, like all others."""

    def __init__(self, **options):
        super().__init__(formatter_class=_Formatter, **options)

    def error(self, message):
        self.exit(BAD_INPUT, f"{self.prog}: {message}; see '{self.prog} --help'\n")

    def _print_message(self, message, file=None):
        # argparse hides what goes wrong here: a full disk, or a reader that has gone.
        if file is not None:
            file.write(message)

    def parse_known_args(self, args=None, namespace=None):  # pyright: ignore[reportIncompatibleMethodOverride]
        arguments, extra = super().parse_known_args(args, namespace)
        # Asked here, where the command's own options are known.
        for word in extra:
            if word.startswith("--"):
                options = re.findall(r"--[\w-]+", self.format_usage())
                self.error(f"there is no option {word.partition('=')[0]}{_like(word.partition('=')[0], options)}")
        return arguments, extra


class _Version(argparse.Action):
    def __call__(self, parser, *_):
        import tepal

        print(f"tepal {tepal.__version__}")
        parser.exit()


def _like(word: str, known: Iterable[str]) -> str:
    matches = get_close_matches(word, known, 1)
    return f"; did you mean {matches[0]}?" if matches else ""


def parser(command: str | None = None) -> argparse.ArgumentParser:
    """Knows every command, and the arguments of ``command``."""
    top = _Parser(prog="tepal", description="Turn a MobileNet-class network into an FPGA accelerator, and prove that "
                  "it computes the right bytes.")
    top.add_argument("--json", action="store_true", help="as of each command, which it may stand before")
    top.add_argument("--quiet", action="store_true", help="as of each command, which it may stand before")
    top.add_argument("--json-progress", action="store_true", help="as of each command, which it may stand before")
    top.add_argument("--version", action=_Version, nargs=0, help="show the version and exit")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, text in COMMANDS.items():
        sub = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        sub.add_argument("--json", action="store_true", default=argparse.SUPPRESS,
                         help="one JSON object on stdout, all else on stderr")
        sub.add_argument("--quiet", action="store_true", default=argparse.SUPPRESS,
                         help="show no progress on a terminal either; elsewhere it is never shown")
        sub.add_argument("--json-progress", action="store_true", default=argparse.SUPPRESS,
                         help="tell of progress on stderr as lines of JSON, {\"progress\": WHAT}, with done and total, "
                         "with the stage of a long step, or with seconds when it is over")
        if name == command:
            module = import_module(f".{name}", __package__)
            module.add_arguments(sub)
            sub.set_defaults(run=module.run)
    return top


def _expected(error: Exception) -> bool:
    """Whether ``error`` is told in one sentence.  Imports are in here, so that help need not wait for them."""
    try:
        from tepal.boards.flow.tools import ToolError
        from tepal.hdl import ConfigError
        from tepal.host.device import HostError
        from tepal.quant import NetworkError
        from tepal.scheduler import SchedulerError
        from tepal.sim import SimulationError
    except ImportError:
        return False
    # An ArithmeticError is a requantiser's; a division by zero and the like are ours.
    return (isinstance(error, (NetworkError, ConfigError, HostError, SchedulerError, SimulationError, ToolError))
            or type(error) is ArithmeticError)


def _sentence(error: OSError) -> str:
    where = f": {error.filename}" if error.filename else ""
    return f"{error.strerror or error}{where}"


def _run(argv: list[str]) -> int:
    if "_ARGCOMPLETE" in os.environ:
        from .completion import complete

        complete(parser)
    command = next((word for word in argv if not word.startswith("-")), None)
    if not argv:
        parser().print_help()
        return 0
    try:
        top = parser(command)
        if command is not None and command not in COMMANDS:
            top.error(f"there is no command {command!r}{_like(command, COMMANDS)}")
        arguments = top.parse_args(argv)
    except SystemExit as error:
        # Only argparse ends so, after its help or a complaint.
        return int(error.code or 0)
    # Every command has imported it by now.
    from .console import choose_progress
    choose_progress(quiet=arguments.quiet, lines=arguments.json_progress)
    try:
        return arguments.run(arguments)
    except SystemExit as error:
        raise RuntimeError(f"a library ended the program ({error})") from error


def _mute(stream) -> None:
    """Nothing more is written to what can't be written to, not even at the end of the process."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        handle = os.open(os.devnull, os.O_WRONLY)
        os.dup2(handle, stream.fileno())
        os.close(handle)


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    soften(sys.stdout)
    soften(sys.stderr)
    # Networks and schedules are many small objects with hardly any circles among them: Python would look for these so
    # often that a short command took noticeably longer.
    gc.set_threshold(100_000)
    code, told = BAD_INPUT, None
    try:
        code = _run(sys.argv[1:] if argv is None else argv)
        if sys.stdout is not None:
            sys.stdout.flush()
        return code
    except BrokenPipeError:
        _mute(sys.stdout)
        return NO_READER
    except KeyboardInterrupt:
        code, told = INTERRUPTED, "interrupted"
    except OSError as error:
        code, told = BAD_INPUT, _sentence(error)
    except MemoryError:
        code, told = BAD_INPUT, "out of memory"
    except Exception as error:
        if _expected(error):
            told = str(error)
        else:
            what = " ".join(f"{type(error).__name__}: {error}".split())
            code, told = INTERNAL, (f"a mistake in Tepal itself ({what}): please report it, with this command line and "
                                    "what it prints with TEPAL_DEBUG=1 set")
            if os.environ.get("TEPAL_DEBUG"):
                traceback.print_exc()
    _tell(told)
    return code


def _tell(text: str) -> None:
    from .console import err

    try:
        err.print(f"tepal: {text}", style="red", markup=False)
    except OSError:
        _mute(sys.stderr)
    if sys.stdout is not None:
        try:
            sys.stdout.flush()
        except OSError:
            _mute(sys.stdout)
