# SPDX-License-Identifier: Apache-2.0
"""``tepal explore``: the fewest cycles for every number of LUTs, with the options that make each engine."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import partial

import numpy as np
from tepal.boards.board import Board
from tepal.boards.flow.bounds import OPTIONS
from tepal.boards.flow.build import Step, build, require_platform
from tepal.boards.flow.explore import CLOSE, Point, explore, options
from tepal.boards.flow.fit import default_engine, fit, on_arrival
from tepal.boards.flow.routed import Clock, clock_of
from tepal.boards.flow.tools import ToolError, find
from tepal.boards.flow.variant import Forms, choose
from tepal.hdl import EngineConfig, Schedule
from tepal.hdl.config import RARE
from tepal.quant import NetworkError

from .arguments import add_model_arguments, chosen, count, mhz
from .console import bar, err, out, seen, step
from .scheduling import asked_board, on_board, read_forms
from .spreading import add_scheduler_argument, asked_workers

__all__ = ["add_arguments", "run"]


def _limit(text: str) -> tuple[str, int]:
    kind, _, count = text.partition("=")
    if not (kind and count.isdecimal()):
        raise ValueError
    return kind, int(count)


_limit.__name__ = "limit, such as LUT4=60000"


def add_arguments(parser) -> None:
    """What ``tepal explore`` takes."""
    add_model_arguments(parser)
    parser.add_argument("--limit", type=_limit, action="append", default=[], metavar="KIND=N",
                        help="use at most N of a resource (as tepal estimate names it), such as LUT4=60000; may be "
                        "repeated")
    parser.add_argument("--points", type=count, default=16, metavar="N",
                        help="show so many engines (default: %(default)s; --json has all)")
    parser.add_argument("--clock", type=mhz, metavar="MHZ",
                        help="clock to turn cycles into time (default: the one recorded for the board, if any is)")
    parser.add_argument("--build", action="store_true",
                        help="place and route each engine of the front that is shown, as tepal build does from one "
                        "seed, and tell the clock that each reaches; the default too if it is one of them")
    add_scheduler_argument(parser, "the engines that --build builds")


def run(arguments) -> int:
    """Search, build if that is asked for, print."""
    board = asked_board(arguments)
    if arguments.scheduler and not arguments.build:
        raise NetworkError("--scheduler is for what --build does: give --build too, or leave --scheduler out")
    if arguments.build:
        family = require_platform(board)
        for tool in ("yosys", family.place_and_route, family.packer):
            find(tool)
    if board.name == "generic" and board.part.logic is None:
        raise NetworkError("generic has no limits to look for engines within: give its --part, such as XC7A35T, or "
                           "name a board that has")
    forms, given = read_forms(arguments), chosen(arguments)
    with step("Scheduling"):
        scheduled, told = on_board(arguments, board, forms, default_engine)
    if told and fit(scheduled, board).ok:
        err.print(told)
    network, formats = scheduled.network, scheduled.formats
    usual = default_engine(board, network, formats)
    # Any engine that has what is given: the rest of its size is searched for.
    shape = {"rows": 2, "packing": 2} if given.get("logic_columns") and usual.packing == 1 else {}
    base = replace(usual, **shape, **{name: value for name, value in given.items() if name not in OPTIONS})
    bases = [base] if given.keys() & set(RARE) else [base, base.plain]
    with bar() as progress:
        front = explore(network, board, formats, bases=bases, limits=dict(arguments.limit), progress=progress,
                        fixed={name: value for name, value in given.items() if name in OPTIONS})
        front = _in_best_form(front, board, forms, partial(progress, "Scheduling the front"))
    default = Point.of(network, usual, board, formats)
    clock = clock_of(board, arguments.clock)
    entry_of = partial(_entry, usual=usual, clock=clock)
    # The generic board has no engine of its own.
    own = board.name != "generic"
    entries = [{**entry_of(point), "default": own and point.config == default.config} for point in front]
    beside = {**entry_of(default), "default": True} if own and not any(
        entry["default"] for entry in entries) else None
    shown = _spread(entries, arguments.points)
    if beside and not arguments.build:
        shown = sorted([*shown, beside], key=lambda entry: -entry["in_memory_cycles"])
    seconds = None
    if arguments.build:
        begun = time.monotonic()
        configs = {options(point.config, usual): point.config for point in front}
        _build_all(arguments, board, forms, shown, [configs[entry["options"]] for entry in shown])
        seconds = round(time.monotonic() - begun, 1)
    if arguments.json:
        print(json.dumps({"model": str(arguments.model), "board": board.name, "part": board.part.name,
                          "clock_mhz": clock.mhz,
                          "clock": clock.told, "available": default.fit.available, "front": entries,
                          "default": beside, "build_seconds": seconds}))
        return 0
    if arguments.build:
        _show_built(shown)
        out.print(f"Place and route of {len(shown)} engine{'s' if len(shown) > 1 else ''} took {seconds} s. MHz is the "
                  "clock that the PLL is set to after routing from one seed, ms are with the image in memory.")
        return 0
    kinds = list(default.fit.available)
    rows = [["cycles", *(["ms"] if clock.mhz else []), *kinds]]
    rows += [[f"{entry['in_memory_cycles']:,}", *([f"{entry['in_memory_ms']:.3f}"] if clock.mhz else []),
              *(f"{entry['used'][kind]:,}" for kind in kinds)] for entry in shown]
    _print_engines(rows, shown)
    left_out = f" ({len(shown)} of {len(entries)} are shown)" if len(shown) < len(entries) else ""
    out.print(f"Engines that fit and that no smaller one matches to {CLOSE:.0%}{left_out}. Cycles are exact, with "
              f"the image in memory, and LUTs and flip-flops estimated. "
              f"{'Time is at' if clock.mhz else 'There is'} {clock.told}"
              f"{', and not the clock that each engine would reach' * bool(clock.mhz)}.")
    return 0


def _print_engines(rows: list[list[str]], shown: list[dict]) -> None:
    """A header and a row of figures for each of ``shown``, and the options that make it."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    engines = ["engine", *(entry["options"] + "  (default)" * entry["default"] for entry in shown)]
    # No table of Rich's: options are there to be copied, and get a line of their own where there is no room beside.
    beneath = out.is_terminal and sum(widths) + 2 * len(widths) + max(map(len, engines)) > out.width
    for number, (row, engine) in enumerate(zip(rows, engines, strict=True)):
        figures = "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        out.print(f"{figures}\n{engine}" if beneath else f"{figures}  {engine}", style=None if number else "bold",
                  markup=False)


def _build_all(arguments, board: Board, forms: Forms, shown: list[dict], configs: list[EngineConfig]) -> None:
    """Add ``built`` to each of ``shown``: what ``tepal build`` reports of it, or the problem that it ends in.

    Raises
    ------
    ToolError
        Not one can be built.
    """
    schedules = [choose(forms, board, lambda network, formats, config=config: config)[0] for config in configs]
    with asked_workers(arguments) as workers, bar() as progress:
        over_all = partial(progress, "Place and route")
        counted = [0, len(schedules)]

        def count_jobs(done: int, total: int) -> None:
            counted[0] = done
            over_all(done, total)

        @contextmanager
        def stages(text: str) -> Iterator[Callable[[str], None] | None]:
            over_all(*counted, stage=text)
            yield (lambda stage: over_all(*counted, stage=stage)) if seen() else None

        # Workers elsewhere don't say what they have come to before a job is done.
        told = {"step": stages} if workers.here else {}
        reports = workers.map(partial(_built, board, **told), schedules, count_jobs)
    for entry, report in zip(shown, reports, strict=True):
        entry["built"] = report
    if all("clock_mhz" not in report for report in reports):
        raise ToolError(reports[0]["problem"])


def _built(board: Board, schedule: Schedule, step: Step = lambda text: nullcontext()) -> dict:
    try:
        return build(schedule, board, step=step).report
    except ToolError as error:
        # Of an engine that nextpnr has no room for; others may do.
        return {"passed": False, "problem": str(error)}


def _show_built(shown: list[dict]) -> None:
    kinds = next(list(entry["built"]["used"]) for entry in shown if "used" in entry["built"])
    rows = [["cycles", "MHz", "ms", *kinds]]
    for entry in shown:
        built = entry["built"]
        figures = ["none", "none", *("" for _ in kinds)]
        if "used" in built:
            figures = [f"{built['clock_mhz']:.2f}", f"{built['in_memory_ms']:.3f}",
                       *(f"{built['used'][kind]:,}" for kind in kinds)]
        rows.append([f"{entry['in_memory_cycles']:,}", *figures])
    _print_engines(rows, shown)
    for entry in shown:
        if entry["built"]["problem"]:
            out.print(f"{entry['options']}: {entry['built']['problem']}", markup=False)


def _in_best_form(front: list[Point], board: Board, forms: Forms, progress: Callable[[int, int], None]
                  ) -> list[Point]:
    """What the other commands make of each engine, which choose the form of the network anew; engines that no smaller
    one matches, smallest first."""
    found: list[Point] = []
    for number, point in enumerate(front, 1):
        def engine(network, formats, config=point.config):
            return on_arrival(Schedule(network, config, formats), board, config)

        schedule, _ = choose(forms, board, engine)
        found.append(replace(Point.of_schedule(schedule, board), config=replace(
            point.config, input_rows=schedule.config.input_rows)))
        progress(number, len(front))
    found.sort(key=lambda point: (point.logic, point.in_memory_cycles))
    return [point for number, point in enumerate(found)
            if all(point.in_memory_cycles < other.in_memory_cycles for other in found[:number])]


def _spread(entries: list[dict], most: int) -> list[dict]:
    """The default and ``most`` of the entries: the first, the last, and those between at like ratios of cycles."""
    if len(entries) <= most:
        return entries
    cycles = np.log([entry["in_memory_cycles"] for entry in entries])
    chosen = {int(np.abs(cycles - value).argmin()) for value in np.linspace(cycles[0], cycles[-1], most)}
    return [entry for number, entry in enumerate(entries) if number in chosen or entry["default"]]


def _entry(point: Point, usual: EngineConfig, clock: Clock) -> dict:
    config = point.config
    return {"in_memory_cycles": point.in_memory_cycles, "last_byte_cycles": point.last_byte_cycles,
            "interval_cycles": point.interval_cycles, "in_memory_ms": clock.milliseconds(point.in_memory_cycles),
            "last_byte_ms": clock.milliseconds(point.last_byte_cycles), "used": point.fit.used,
            "engine": {name: getattr(config, name) for name in (*OPTIONS, *RARE)}, "options": options(config, usual)}
