# SPDX-License-Identifier: Apache-2.0
"""The design of a board, simulated, on a port of this computer: ``tepal simulate --serve`` and ``tepal serve``."""

import contextlib
import json
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

from rich.markup import escape
from tepal.boards.board import Board
from tepal.boards.flow import yosys
from tepal.boards.flow.folder import write_files
from tepal.boards.flow.serve import BIT, patience, simulated_top
from tepal.hdl import Schedule, export_component
from tepal.hdl.plan.flash_image import flash_image
from tepal.hdl.streamed import image_of
from tepal.processes import keep, temporary_folder
from tepal.quant import NetworkError, Preprocessing
from tepal.sim import Server, SimulationError

from .console import out, step

__all__ = ["check_serve_arguments", "interruptible", "serve", "simulated_board", "workplace"]


def check_serve_arguments(arguments) -> None:
    """Raise NetworkError for options that only go with images of one's own."""
    for name in ("frames", "stalls", "waves", "classes", *Preprocessing.OPTIONS):
        if getattr(arguments, name) is not None:
            raise NetworkError(f"--{name} does not go with --serve: images come over the port, from tepal run")


@contextlib.contextmanager
def workplace(kept: Path | None) -> Iterator[Path]:
    """``kept``, or a temporary folder, left behind only with the log of a simulator that failed."""
    if kept is not None:
        yield kept
        return
    with temporary_folder() as directory:
        try:
            yield directory
        except SimulationError:
            # What is worth keeping of a failure is its log.
            for path in directory.iterdir():
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
            keep(directory)
            raise


def simulated_board(board: Board, schedule: Schedule, directory: Path, *, debug: bool) -> tuple[Server, int]:
    """The simulator of ``board``'s design, built in ``directory``, and the seconds within which it answers."""
    sdram, flash = None, None
    if schedule.loads and board.memory:
        sdram, flash = board.memory.timing, image_of(schedule).data
    elif schedule.config.single_port:
        flash = flash_image(schedule)
    with step("Making Verilog"):
        top = simulated_top(schedule, sdram=sdram, debug=debug)
        write_files(export_component(top, yosys.to_verilog).files(), directory, also=Server.FILES)
    with step("Building the simulator (a minute or two)"):
        return Server(directory, BIT, flash, sdram), patience(schedule, sdram)


def serve(arguments, board: Board, schedule: Schedule, directory: Path) -> int:
    """Build in ``directory``, say where the port is, and serve until Ctrl-C or SIGTERM."""
    server, seconds = simulated_board(board, schedule, directory, debug=arguments.debug)
    with server, contextlib.suppress(KeyboardInterrupt), interruptible():
        if arguments.json:
            print(json.dumps({"model": str(arguments.model), "board": arguments.board, "port": server.port,
                              "timeout": seconds}), flush=True)
        else:
            out.print(f"The simulated board is on {server.port}, until Ctrl-C. In another shell:\n"
                      f"  tepal run {escape(str(arguments.model))} INPUT --port {server.port} --timeout {seconds}",
                      soft_wrap=True)
        server.wait()
    return 0


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """In here SIGTERM and SIGHUP raise KeyboardInterrupt as Ctrl-C does, which ends serving well."""
    numbers = [number for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
               if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, signal.default_int_handler) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
