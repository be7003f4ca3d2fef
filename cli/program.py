# SPDX-License-Identifier: Apache-2.0
"""``tepal program``: a bitstream onto a board."""

import json
import shutil
from pathlib import Path
from typing import Any

from tepal.boards.board import Board
from tepal.boards.flow.build import REPORT, bitstream_name, require_platform
from tepal.boards.flow.tools import ToolError
from tepal.boards.programmer import Programmer, dfu_suffix
from tepal.boards.registry import all_boards, get_board
from tepal.hdl import TOP
from tepal.processes import run as run_tool
from tepal.processes import temporary_folder
from tepal.quant import NetworkError

from .arguments import path
from .console import err, out, step

__all__ = ["add_arguments", "run"]

_SECTOR = 1 << 16
"""Bytes of a flash memory that openFPGALoader erases at a time."""


def add_arguments(parser) -> None:
    """What ``tepal program`` takes."""
    parser.add_argument("built", type=path, nargs="?", default=Path(), metavar="DIR",
                        help="folder that tepal build wrote, or a bitstream (default: the current folder)")
    parser.add_argument("--board", required=True, metavar="B",
                        help=f"which board it is: {', '.join(_known())}; without what follows the hyphen, any of them")
    parser.add_argument("--flash", action="store_true", help="write it to the board's flash memory, so that it "
                        "survives a power cycle")


def run(arguments) -> int:
    """Find the files and the tool, and write."""
    boards = _boards(arguments.board)
    programmer = boards[0].programmer
    if programmer is None:
        way_out = boards[0].notes or f"known: {', '.join(_known())}"
        raise NetworkError(f"--board {arguments.board}: it can't be programmed from here ({way_out})")
    if any(board.programmer != programmer for board in boards):
        raise NetworkError(f"--board {arguments.board}: say which one ({', '.join(board.name for board in boards)}), "
                           "for they are programmed in different ways")
    if arguments.flash and programmer.keep is None:
        raise NetworkError(f"--flash: on {arguments.board} a bitstream is always written to the flash memory; leave it "
                           "out")
    writes = _writes(arguments, programmer, boards)
    tool = shutil.which(programmer.tool)
    if tool is None:
        raise ToolError(f"{programmer.tool} was not found: install it with 'apt-get install {programmer.package}'")
    with temporary_folder() as folder:
        for file, offset in writes:
            if programmer.usb is not None:
                content = file.read_bytes()
                source, file = file, folder / f"{TOP}.dfu"
                file.write_bytes(content + dfu_suffix(content, *programmer.usb))
            else:
                source = file
                if str(file).startswith("-"):
                    # Or it would be taken for an option.
                    file = Path.cwd() / file
            command = programmer.arguments(file, offset)
            if arguments.flash and offset is None:
                command[-1:-1] = programmer.keep or []
            with step(f"Writing {source}"):
                _write(tool, programmer.tool, command)
    report = {"board": arguments.board, "tool": tool, "files": [str(file) for file, _ in writes]}
    if arguments.json:
        print(json.dumps(report))
    else:
        out.print(f"Programmed {arguments.board} with {' and '.join(report['files'])}.", markup=False)
    return 0


def _known() -> list[str]:
    """Boards that can be programmed."""
    return [board.name for board in all_boards().values() if board.programmer]


def _boards(name: str) -> list[Board]:
    """The board called ``name``, or all variants of it; NetworkError if there is neither."""
    boards = all_boards()
    variants = [board for board in boards.values() if board.name.startswith(f"{name}-")]
    return [boards[name]] if name in boards else variants or [get_board(name)]


def _writes(arguments, programmer: Programmer, boards: list[Board]) -> list[tuple[Path, int | None]]:
    """(file, offset into the flash memory, None for the bitstream) in order of writing: a board starts when its
    bitstream is there, and wants everything else by then.  What was built must be for one of ``boards``."""
    built: Path = arguments.built
    bitstream, names = bitstream_name(require_platform(boards[0])), [board.name for board in boards]
    suffix = Path(bitstream).suffix
    if not built.is_dir():
        if not built.is_file():
            raise NetworkError(f"there is no folder or bitstream {built}: make one with tepal build")
        if built.suffix != suffix:
            raise NetworkError(f"{built} is no bitstream for {arguments.board}, whose names end in {suffix}")
        if programmer.flash:
            raise NetworkError(f"{built}: give the folder that tepal build wrote, for {arguments.board} needs the "
                               "weights in it as well")
        return [(built, None)]
    report = _report(built / REPORT)
    if report.get("board", names[0]) not in names:
        raise NetworkError(f"{built} was built for {report['board']}, not for {arguments.board}")
    if not report.get("passed", True):
        err.print(f"{built} was built for a clock that it does not reach: it may compute wrongly.", style="yellow",
                  markup=False)
    writes: list[tuple[Path, int | None]] = []
    if (flash := report.get("flash")) is not None:
        writes.append(_flash(built, flash))
    writes.append((built / bitstream, None))
    for file, _ in writes:
        if not file.is_file():
            raise NetworkError(f"there is no {file}: make it with tepal build --board {arguments.board} -o {built}")
    return writes


def _report(path: Path) -> dict[str, Any]:
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise NetworkError(f"{path} can't be read ({error.strerror or error}): give the folder that tepal build "
                           "wrote") from None
    except ValueError:
        report = None
    if not isinstance(report, dict) or not isinstance(report.get("board", ""), str):
        raise NetworkError(f"{path} is damaged: build again")
    return report


def _flash(built: Path, flash: Any) -> tuple[Path, int]:
    """The file beside a bitstream, and where it goes."""
    match flash:
        case {"file": str(name), "offset": int(offset)} if Path(name).name == name and offset > 0:
            if offset % _SECTOR:
                raise NetworkError(f"{built / REPORT}: flash offset {offset} is no multiple of {_SECTOR}, so "
                                   "that writing there would erase what is before it")
            return built / name, offset
    raise NetworkError(f"{built / REPORT} is damaged: build again")


def _write(tool: str, name: str, arguments: list[str]) -> None:
    done = run_tool([tool, *arguments])
    if done.returncode:
        lines = (done.stderr.strip() or done.stdout.strip()).splitlines() or ["no message"]
        raise ToolError(f"{name} failed ({lines[-1].strip()}): is the board connected, and may you use it?")
