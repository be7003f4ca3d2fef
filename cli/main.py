"""The command line: which commands there are, and how they end.

Each command is a module beside this one with two functions: ``add_arguments(parser)`` and ``run(arguments)``, which
returns the exit code.  Only the module of the command that is asked for is imported."""

import argparse
import sys
from importlib import import_module

from .exit_codes import BAD_INPUT

__all__ = ["COMMANDS", "main", "parser"]

COMMANDS = {
    "boards": "list the boards and their resources",
    "quantize": "turn a float model into an int8 one",
    "evaluate": "measure a model's accuracy with the golden model",
    "family": "count MobileNets of any size beside the paper's tables, and their cycles",
    "explore": "search for engines: the fewest cycles for every number of LUTs",
    "estimate": "say which boards a network fits, and the cycles of every layer",
    "generate": "write Verilog, ROMs, a FuseSoC core and a JSON description",
    "simulate": "simulate the generated Verilog and compare every byte and every cycle",
    "build": "make a bitstream: synthesis, place and route, clock, report",
    "run": "classify images on a board that is connected to a serial port",
    "program": "write a bitstream, and what belongs to it, onto a board",
}
"""Name to what it does, in the order of the help."""


class _Parser(argparse.ArgumentParser):
    """Mistakes on the command line are told in one sentence, like all others."""

    def error(self, message):
        self.exit(BAD_INPUT, f"{self.prog}: {message}; see '{self.prog} --help'\n")


def parser(command: str | None = None) -> argparse.ArgumentParser:
    """Knows every command, and the arguments of ``command``."""
    top = _Parser(prog="tepal", description="Turn a MobileNet-class network into an FPGA accelerator, and prove that "
                  "it computes the right bytes.")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, text in COMMANDS.items():
        sub = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        sub.add_argument("--json", action="store_true", help="one JSON object on stdout, all else on stderr")
        if name == command:
            module = import_module(f".{name}", __package__)
            module.add_arguments(sub)
            sub.set_defaults(run=module.run)
    return top


def _expected() -> tuple[type[Exception], ...]:
    """What is told in one sentence.  Imported when it is needed: whoever asks for help need not wait for it."""
    from tepal.boards.host import HostError
    from tepal.boards.tools import ToolError
    from tepal.hdl import ConfigError
    from tepal.quant import NetworkError
    from tepal.sim import SimulationError

    return NetworkError, ConfigError, HostError, SimulationError, ToolError, ArithmeticError


def _sentence(error: OSError) -> str:
    where = f": {error.filename}" if error.filename else ""
    return f"{error.strerror or error}{where}"


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    argv = sys.argv[1:] if argv is None else argv
    command = next((word for word in argv if not word.startswith("-")), None)
    try:
        arguments = parser(command).parse_args(argv)
        return arguments.run(arguments)
    except KeyboardInterrupt:
        told = "interrupted"
    except OSError as error:
        told = _sentence(error)
    except Exception as error:
        if not isinstance(error, _expected()):
            raise
        told = str(error)
    from .console import err

    err.print(f"tepal: {told}", style="red", markup=False)
    return BAD_INPUT
