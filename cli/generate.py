"""``tepal generate``: Verilog, ROMs, a FuseSoC core and a JSON description."""

import json

from tepal.boards.board import require_fit
from tepal.boards.generate import generate, write_files
from tepal.hdl.names import name_from, require_name

from .arguments import add_model_arguments, add_output_argument
from .console import out, step
from .files import check_folder
from .scheduling import load

__all__ = ["add_arguments", "run"]


def add_arguments(parser) -> None:
    """What ``tepal generate`` takes."""
    add_model_arguments(parser)
    add_output_argument(parser)
    parser.add_argument("--name", help="of the top module and the FuseSoC core; all other modules and files begin with "
                        "it (default: MODEL's file name)")


def run(arguments) -> int:
    """Schedule, generate, write."""
    name = name_from(arguments.model.stem) if arguments.name is None else arguments.name
    require_name(name)
    board, schedule = load(arguments)
    require_fit(schedule, board)
    check_folder(arguments.output)
    with step("Making Verilog"):
        files = generate(schedule, board.name, name)
    write_files(files, arguments.output)
    report = {"directory": str(arguments.output), "top": name, "files": {n: len(t) for n, t in sorted(files.items())}}
    if arguments.json:
        print(json.dumps(report))
    else:
        out.print(f"Wrote {arguments.output}: {', '.join(sorted(files))}", markup=False)
    return 0
