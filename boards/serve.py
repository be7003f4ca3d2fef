"""``tepal simulate --serve``: the design of a board, simulated, on a port of this computer."""

import contextlib
import json
import signal
from fractions import Fraction
from math import prod
from pathlib import Path

from rich.markup import escape
from tepal.hdl import Schedule, export_component
from tepal.hdl.flash import FlashLoader, flash_image
from tepal.hdl.protocol import Packet
from tepal.hdl.uart import LINE_BITS
from tepal.quant import NetworkError
from tepal.sim import CycleModel, Server

from . import yosys
from .console import out, step
from .generate import write_files
from .top import BUFFER, MOST, Top

__all__ = ["BIT", "check_serve_arguments", "patience", "serve", "simulated_top"]

BIT = 2
"""Clock cycles of a bit: line and design have one clock, so that two are enough, and time on the line costs most."""


_PACE = 20_000
"""Cycles a second: a sixth of what an idle core simulates of the largest engine."""


def simulated_top(schedule: Schedule, *, debug: bool = False) -> Top:
    """A board's design for :class:`tepal.sim.Server`, with room for as many images as may be under way."""
    room = MOST * Packet.line_bytes(prod(schedule.network.input_shape))
    return Top(schedule, Fraction(BIT), max(BUFFER, room), debug=debug)


def patience(schedule: Schedule) -> int:
    """Seconds within which even a busy computer should have simulated an image, the first one too."""
    request = Packet.line_bytes(prod(schedule.network.input_shape))
    loading = FlashLoader.cycles(flash_image(schedule)) if schedule.config.single_port else 0
    return 2 + (loading + request * LINE_BITS * BIT + CycleModel(schedule).compute_cycles) // _PACE


def check_serve_arguments(arguments) -> None:
    """Raise NetworkError for options that only go with images of one's own."""
    for name in ("frames", "stalls", "waves", "classes"):
        if getattr(arguments, name) is not None:
            raise NetworkError(f"--{name} does not go with --serve: images come over the port, from tepal run")


def serve(arguments, schedule: Schedule, directory: Path) -> int:
    """Build in ``directory``, say where the port is, and serve until Ctrl-C or SIGTERM."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with step("Making Verilog"):
            top = simulated_top(schedule, debug=arguments.debug)
            write_files(export_component(top, yosys.to_verilog).files(), directory)
        with step("Building the simulator (a minute or two)"):
            server = Server(directory, BIT, flash_image(schedule) if schedule.config.single_port else None)
        with server:
            seconds = patience(schedule)
            if arguments.json:
                print(json.dumps({"model": str(arguments.model), "board": arguments.board, "port": server.port,
                                  "timeout": seconds}), flush=True)
            else:
                out.print(f"The simulated board is on {server.port}, until Ctrl-C. In another shell:\n"
                          f"  tepal run {escape(str(arguments.model))} INPUT --port {server.port} --timeout {seconds}")
            with contextlib.suppress(KeyboardInterrupt):
                server.wait()
        return 0
    finally:
        signal.signal(signal.SIGTERM, before)
