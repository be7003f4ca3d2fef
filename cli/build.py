# SPDX-License-Identifier: Apache-2.0
"""``tepal build``: a bitstream, by synthesis, place and route."""

import json

from rich.table import Table
from tepal.boards.flow.build import AT_ONCE, STEPS, build, file_names, require_memory, require_platform
from tepal.boards.flow.folder import require_room, write_files
from tepal.boards.flow.shortage import require_fit

from .arguments import add_model_arguments, add_output_argument, count, mhz
from .console import Steps, err, out, step
from .exit_codes import TOO_SLOW
from .files import check_folder
from .scheduling import asked_board, load
from .spreading import add_scheduler_argument, asked_workers
from .tables import share_bar

__all__ = ["add_arguments", "run"]


def add_arguments(parser) -> None:
    """What ``tepal build`` takes."""
    add_model_arguments(parser)
    add_output_argument(parser)
    parser.add_argument("--debug", action="store_true", help="build the debug tap in, for tepal run --compare")
    parser.add_argument("--test-memory", action="store_true",
                        help="write and read all of the board's memory of weights whenever the design starts")
    parser.add_argument("--seeds", type=count, default=1, metavar="N",
                        help="place and route from N seeds and keep the fastest (default: %(default)s)")
    parser.add_argument("--clock", type=mhz, metavar="MHZ",
                        help="the clock to reach and to set (default: the highest that is reached)")
    add_scheduler_argument(parser, "place and route of the seeds")


def run(arguments) -> int:
    """Schedule, build, write, report."""
    board = asked_board(arguments)
    family = require_platform(board)
    board, schedule = load(arguments)
    require_memory(schedule, board)
    with step("Counting what the board has room for"):
        require_fit(schedule, board)
    check_folder(arguments.output)
    require_room(file_names(family), arguments.output)
    with asked_workers(arguments, threads=AT_ONCE) as workers:
        result = build(schedule, board, count=arguments.seeds, wanted=arguments.clock, debug=arguments.debug,
                       test_memory=arguments.test_memory, workers=workers, step=Steps(STEPS))
    write_files(result.files, arguments.output)
    report = {"model": str(arguments.model), "directory": str(arguments.output), "files": sorted(result.files),
              **result.report}
    if arguments.json:
        print(json.dumps(report))
    else:
        _show(report)
    if report["problem"]:
        err.print(f"tepal: {report['problem']}", style="red", markup=False)
    return 0 if result.passed else TOO_SLOW


def _show(report: dict) -> None:
    table = Table("resource", "used", "available", "", title=f"{report['board']} ({report['part']})")
    for kind, used in report["used"].items():
        limit = report["available"][kind]
        table.add_row(kind, f"{used:,}", f"{limit:,}", share_bar(used / limit))
    out.print(table)
    out.print(", ".join(f"{name} {tool['version']} ({tool['from']})" for name, tool in report["tools"].items()))
    for run in report["seeds"]:
        told = f"{run['fmax_mhz']:.2f} MHz" if run["fmax_mhz"] else run["problem"]
        out.print(f"seed {run['seed']}: {told}" + (" (kept)" if run["seed"] == report["best_seed"] else ""),
                  markup=False)
    if len(report["seeds"]) > 1:
        out.print(f"{report['spread_mhz']:.2f} MHz from the slowest to the fastest.")
    if path := report["critical_path"]:
        out.print(f"Slowest path: {path['from']} to {path['to']}, {path['ns']:.2f} ns, {path['routing_ns']:.2f} of "
                  "them in wires.", markup=False)
    out.print(f"[bold]{report['clock_mhz']:.3f} MHz[/]: {report['in_memory_ms']:.3f} ms in memory, "
              f"{report['last_byte_ms']:.3f} ms from the last byte, "
              f"{report['frames_per_second']:,.0f} frames a second; {report['line_frames_per_second']:,.0f} over the "
              f"serial line at {report['baud']:,} baud.")
    out.print(f"Wrote {report['directory']}: {', '.join(report['files'])}", markup=False)
    if report["notes"]:
        out.print(f"Note: {report['notes']}.", markup=False)
