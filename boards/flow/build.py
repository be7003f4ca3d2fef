# SPDX-License-Identifier: Apache-2.0
"""From a schedule to a bitstream: synthesis, place and route from several seeds, the clock, and a report."""

import json
import os
import time
import zlib
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from math import prod
from pathlib import Path

from tepal.boards.board import Board
from tepal.boards.parts.part import Family, Pin, Pll
from tepal.hdl import TOP, EngineConfig, Schedule
from tepal.hdl.answer import Trailer
from tepal.hdl.export import PRIMITIVES, source
from tepal.hdl.link.protocol import Packet
from tepal.hdl.link.uart import LINE_BITS
from tepal.hdl.plan.flash_image import flash_image
from tepal.hdl.streamed import image_of
from tepal.processes import temporary_folder
from tepal.quant import NetworkError
from tepal.scheduler import Threads, Workers
from tepal.sim import CycleModel

from .design import BoardDesign, Prepared, prepare
from .generate import WEIGHTS
from .nextpnr_log import about, following
from .timing import clock_mhz, critical_path, driven_by
from .tools import Command, ToolError, find

__all__ = ["AT_ONCE", "CLOCK_MARGIN", "FLASH", "IMAGE", "REPORT", "STEPS", "Result", "Step", "allowed",
           "bitstream_name", "build", "choose_pll", "clock_limits", "file_names", "require_memory", "require_platform",
           "seeds", "synthesise"]

CLOCK_MARGIN = Fraction(2, 100)
"""By how much a path must be faster than the clock: nextpnr reckons with the slowest silicon, but with no jitter."""


AT_ONCE = min(2, os.cpu_count() or 1)
"""Seeds that are placed and routed at once, where nobody says who does that."""

STEPS = 5
"""Steps that :func:`build` tells of."""

FLASH, IMAGE = "flash.bin", f"{TOP}_{WEIGHTS}"
"""Files for the board's flash memory, from which the design loads its weights: into its own memories, or into the one
beside the FPGA."""

REPORT, _LOG = "report.json", "build.log"
"""Files beside the bitstream."""

_SEED = "{seed}"
"""In nextpnr's arguments, what files of a seed are named after."""


def seeds(count: int) -> list[int]:
    """The seeds of a sweep: always the same ones."""
    return list(range(1, count + 1))


def require_platform(board: Board) -> Family:
    """The family of ``board``'s part; NetworkError if it can't be built for, or if its description contradicts its
    platform's."""
    family = board.part.family
    if family is None or board.platform is None:
        raise NetworkError(f"the board {board.name} is no board to build for: make Verilog with tepal generate, or "
                           "name another one")
    platform = board.platform()
    there = {(resource.name, resource.number) for resource in platform.resources.values()}
    for use, pin in {"its clock": Pin(platform.default_clk), **_pins(board, family)}.items():
        if (pin.resource, pin.number) not in there:
            raise NetworkError(f"the board {board.name} needs the resource {pin.resource} {pin.number} for {use}: add "
                               f"it to the resources of its platform, {type(platform).__name__}")
    if (frequency := platform.default_clk_frequency) != board.oscillator:
        raise NetworkError(f"the board {board.name} has an oscillator of {board.oscillator / 1e6:g} MHz, but its "
                           f"platform, {type(platform).__name__}, has a clock of {frequency / 1e6:g} MHz: correct one")
    if not family.plls(board.oscillator):
        raise NetworkError(f"the board {board.name} has an oscillator from which no PLL of {board.part.name} makes a "
                           f"clock: {board.oscillator / 1e6:g} MHz")
    return family


def _pins(board: Board, family: Family) -> dict[str, Pin]:
    """What ``board``'s design asks the platform for, by what it is for."""
    pins = {"the line to the host": Pin("uart"), **{f"the light {name!r}": pin for name, pin in board.lights.items()},
            **{f"a pin to hold high, number {number}": pin for number, pin in enumerate(board.high)}}
    if board.button:
        pins["the button"] = board.button
        if family.restart:
            pins["what the button does"] = family.restart
    memories = {"the flash memory": board.flash, "the memory for weights": board.memory}
    return pins | {use: memory.pins for use, memory in memories.items() if memory}


def bitstream_name(family: Family) -> str:
    """The bitstream among :func:`file_names`."""
    return f"{TOP}.{family.bitstream}"


def file_names(family: Family) -> list[str]:
    """The files that :func:`build` may make."""
    return [bitstream_name(family), f"{TOP}.{family.constraints}", _LOG, REPORT, FLASH, IMAGE]


def choose_pll(settings: list[Pll], *most: float | Fraction | None) -> Pll:
    """The fastest setting of at most so many MHz (None: no bound); the slowest one if there is none."""
    bound = min(Fraction(mhz) for mhz in most if mhz is not None) * 1_000_000
    return next((pll for pll in reversed(settings) if pll.frequency <= bound), settings[0])


def require_memory(schedule: Schedule, board: Board) -> None:
    """Raise NetworkError if ``schedule`` has its weights from outside and ``board`` nothing for them, or too little."""
    if schedule.loads is None:
        return
    if board.memory is None or board.flash is None:
        raise NetworkError(f"{board.name} has no memory for weights beside the FPGA: leave --weight-words out, or take "
                           "tepal generate and connect the core's port m_axi to one")
    size, room = len(image_of(schedule).data), board.flash.room
    if size > room:
        raise NetworkError(f"{size:,} bytes of weights don't fit into the flash memory of {board.name}, which has room "
                           f"for {room:,} behind the bitstream: take a smaller network")
    if size > (room := board.memory.room):
        raise NetworkError(f"{size:,} bytes of weights don't fit into the SDRAM of {board.name}, which has room for "
                           f"{room:,}: take a smaller network")


def clock_limits(schedule: Schedule, board: Board) -> tuple[float, float | None]:
    """Clocks in MHz: the one below which a result counts as failed, and the fastest one that all parts of the board
    allow; None if no such is known."""
    if schedule.loads is None or board.memory is None:
        return board.lowest, board.part.limit
    return board.memory.slowest, min(board.memory.fastest, board.part.limit or board.memory.fastest)


def allowed(reached: float) -> Fraction:
    """The fastest clock for paths of ``reached`` MHz."""
    return Fraction(reached) / (1 + CLOCK_MARGIN)


@dataclass(frozen=True)
class _Run:
    """One place and route: the clock in MHz that it reached and nextpnr's report, or why there is none."""

    seed: int
    reached: float
    report: dict
    problem: str | None = None

    def as_json(self) -> dict:
        if self.problem:
            return {"seed": self.seed, "fmax_mhz": None, "problem": self.problem}
        return {"seed": self.seed, "fmax_mhz": round(self.reached, 3)}


@dataclass(frozen=True)
class Result:
    """What came out: ``files`` by name, text or bytes; ``report``; and whether the clock is one to be content with."""

    files: dict[str, str | bytes]
    report: dict
    passed: bool


Step = Callable[[str], AbstractContextManager[Callable[[str], None] | None]]
"""Told of a step that begins; in its context, what it gives is told how far the step is, if anybody wants to know."""


def build(schedule: Schedule, board: Board, *, count: int = 1, wanted: float | None = None, debug: bool = False,
          test_memory: bool = False, workers: Workers | None = None,
          step: Step = lambda text: nullcontext()) -> Result:
    """Build ``schedule``'s design for ``board``.

    Parameters
    ----------
    count
        Seeds to place and route from; the fastest result is kept.
    wanted
        Clock in MHz to reach and to set; without it, the highest that is reached.
    debug
        Build the debug tap in (:class:`tepal.hdl.link.debug_tap.Tracer`).
    test_memory
        Test the board's memory of weights whenever the design starts.
    workers
        Who places and routes, from a seed each (default: :data:`AT_ONCE` threads).
    step
        Told of each step: see :data:`Step`.

    Raises
    ------
    NetworkError
        The board can't be built for, the PLL can't make ``wanted``, or there is no memory to test.
    ToolError
        A tool is missing or fails.
    """
    family = require_platform(board)
    require_memory(schedule, board)
    if test_memory and schedule.loads is None:
        raise NetworkError("--test-memory: all weights are on the chip, so there is no memory to test; leave it out")
    settings = family.plls(board.oscillator)
    lowest, highest = settings[0].frequency, settings[-1].frequency
    if wanted is not None and not lowest <= wanted * 1_000_000 <= highest:
        raise NetworkError(f"--clock {wanted:g}: the PLL of {board.name} makes {float(lowest) / 1e6:g} to "
                           f"{float(highest) / 1e6:g} MHz")
    if wanted is not None and board.part.limit is not None and wanted > board.part.limit:
        raise NetworkError(f"--clock {wanted:g}: the memories and multipliers of {board.part.name} allow no more than "
                           f"{board.part.limit:g} MHz")
    least, limit = clock_limits(schedule, board)
    if wanted is not None and schedule.loads is not None and not least <= wanted <= (limit or wanted):
        raise NetworkError(f"--clock {wanted:g}: with the memory of weights of {board.name}, {least:g} to {limit:g} "
                           "MHz are possible")
    commands = {name: find(name) for name in ("yosys", family.place_and_route, family.packer)}
    target = board.target if wanted is None else float(Fraction(wanted) * (1 + CLOCK_MARGIN))
    slowest = min(Fraction(wanted or least), Fraction(least)) * 1_000_000
    with temporary_folder() as folder:
        return _build(folder, schedule, board, family, commands, settings, target, slowest, count, wanted,
                      workers or Threads(AT_ONCE), step, debug=debug, test_memory=test_memory)


def synthesise(prepared: Prepared, board: Board, config: EngineConfig, yosys: Command, directory: Path) -> dict:
    """The netlist that nextpnr takes, yosys's ``cells`` and ``netnames``; it and ``yosys.log`` stay in ``directory``.

    Raises
    ------
    ToolError
        yosys fails.
    """
    family = require_platform(board)
    (directory / f"{TOP}.il").write_text(prepared.rtlil, encoding="utf-8")
    (directory / PRIMITIVES).write_text(source(PRIMITIVES))
    (directory / f"{TOP}.ys").write_text("\n".join([
        f"read_verilog {PRIMITIVES}", f"read_rtlil {TOP}.il", *family.synthesis(TOP), f"write_json {TOP}.json"]) + "\n")
    yosys.run(["-q", "-l", "yosys.log", "-s", f"{TOP}.ys"], directory)
    design = json.loads((directory / f"{TOP}.json").read_text(encoding="utf-8"))
    netlist = design["modules"][TOP]
    family.finish(netlist, board.platform, config)
    (directory / f"{TOP}.json").write_text(json.dumps(design), encoding="utf-8")
    return netlist


@dataclass(frozen=True)
class _Routing:
    """What place and route needs beside a seed: nextpnr, its arguments, its constraints' file, the suffix of its
    result, and the names of the nets that are the clock."""

    command: Command
    arguments: list[str]
    constraints: str
    suffix: str
    clock: list[str]

    def inside(self, directory: Path, seed: int) -> _Run:
        """Place and route in a folder that holds netlist and constraints."""
        name = f"seed{seed}"
        try:
            self.command.run([argument.replace(_SEED, name) for argument in self.arguments] + [
                "--seed", str(seed), "--timing-allow-fail", "--report", f"{name}.report.json", "--log", f"{name}.log",
                "--quiet"], directory)
        except ToolError as error:
            # Another seed may find a way.
            return _Run(seed, 0.0, {}, str(error))
        report = json.loads((directory / f"{name}.report.json").read_text(encoding="utf-8"))
        return _Run(seed, clock_mhz(report, self.clock), report)

    def elsewhere(self, files: Mapping[str, bytes], seed: int) -> tuple[_Run, dict[str, bytes]]:
        """The same on a machine that has neither the folder nor this one's tools: ``files`` are compressed, and so are
        those that come of them."""
        own = find(self.command.name)
        if own.version != self.command.version:
            raise ToolError(f"{own.name} is version {own.version} on a worker and {self.command.version} here: install "
                            "the same one on both")
        with temporary_folder() as folder:
            for name, content in files.items():
                (folder / name).write_bytes(zlib.decompress(content))
            run = replace(self, command=own).inside(folder, seed)
            made = [folder / f"seed{seed}.{suffix}" for suffix in (self.suffix, "log")]
            return run, {file.name: zlib.compress(file.read_bytes()) for file in made if file.exists()}

    def all(self, directory: Path, seeds: list[int], workers: Workers, progress: Callable[[int, int], None]
            ) -> list[_Run]:
        """From every seed; what comes of it lies in ``directory``."""
        if workers.here:
            return workers.map(partial(self.inside, directory), seeds, progress)
        files = {name: zlib.compress((directory / name).read_bytes()) for name in (f"{TOP}.json", self.constraints)}
        runs = []
        for run, made in workers.map(partial(self.elsewhere, files), seeds, progress):
            for name, content in made.items():
                (directory / name).write_bytes(zlib.decompress(content))
            runs.append(run)
        return runs


def _build(directory: Path, schedule: Schedule, board: Board, family: Family, commands: dict[str, Command],
           settings: list[Pll], target: float, slowest: Fraction, count: int, wanted: float | None,
           workers: Workers, step: Step, **options: bool) -> Result:
    _, limit = clock_limits(schedule, board)
    first = choose_pll(settings, target, limit)
    with step("Making the design"):
        prepared = prepare(BoardDesign(board, schedule, first, slowest, **options), board, family)

    yosys, nextpnr, packer = (commands[name] for name in ("yosys", family.place_and_route, family.packer))
    with step(f"Synthesis (yosys {yosys.version}, {yosys.origin})"):
        netlist = synthesise(prepared, board, schedule.config, yosys, directory)
        cells = Counter(cell["type"] for cell in netlist["cells"].values())
        clock = driven_by(netlist, *family.output)
        constraints = prepared.constraints + family.constraint(clock[0], target * 1e6) + "\n"
        (directory / f"{TOP}.{family.constraints}").write_text(constraints, encoding="utf-8")
        del netlist

    constraints_file = f"{TOP}.{family.constraints}"
    routing = _Routing(nextpnr, family.arguments(prepared.platform, f"{TOP}.json", constraints_file,
                                                 f"{_SEED}.{family.routed}"), constraints_file, family.routed, clock)
    chosen = seeds(count)
    told = f"seed{'s' if count > 1 else ''} {', '.join(map(str, chosen))}"
    logs = {f"seed {seed}": directory / f"seed{seed}.log" for seed in chosen}
    begun = time.monotonic()
    with step(f"Place and route ({nextpnr.name} {nextpnr.version}, {nextpnr.origin}; {told})") as tell, \
            following(logs, tell if workers.here else None):
        def progress(done: int, total: int) -> None:
            if tell and not workers.here:
                left = f", {about((time.monotonic() - begun) / done * (total - done))}" if 0 < done < total else ""
                tell(f"{done} of {total} seeds are placed and routed{left}")

        runs = routing.all(directory, chosen, workers, progress)
    best = max(runs, key=lambda run: run.reached)
    if best.problem:
        raise ToolError(f"{best.problem} (seed {best.seed}): if {board.part.name} is too small, choose a smaller "
                        "engine (--rows, --columns, --lanes)")

    pll = choose_pll(settings, allowed(best.reached), limit, wanted)
    name = f"seed{best.seed}"
    with step(f"Setting the clock to {float(pll.frequency) / 1e6:.3f} MHz"):
        family.retune(directory, name, pll, prepared.platform,
                      lambda arguments: nextpnr.run([*arguments, "--quiet", "--log", "retune.log"], directory))
    with step(f"Packing ({packer.name}, {packer.origin})"):
        bitstream = bitstream_name(family)
        packer.run(family.pack(f"{name}.{family.routed}", bitstream), directory)

    report = _report(schedule, board, family, commands, runs, best, pll, cells, clock, target, wanted)
    log = "\n".join(f"==== {part}\n\n" + (directory / part).read_text(encoding="utf-8", errors="replace")
                    for part in ("yosys.log", f"{name}.log"))
    files: dict[str, str | bytes] = {
        bitstream: (directory / bitstream).read_bytes(),
        f"{TOP}.{family.constraints}": constraints,
        _LOG: log,
        REPORT: json.dumps(report, indent=2) + "\n",
    }
    if report["flash"]:
        files[report["flash"]["file"]] = image_of(schedule).data if schedule.loads else flash_image(schedule)
    return Result(files, report, report["passed"])


def _report(schedule: Schedule, board: Board, family: Family, commands: dict[str, Command], runs: list[_Run],
            best: _Run, pll: Pll, cells: Counter, nets: list[str], target: float, wanted: float | None) -> dict:
    outside = schedule.loads is not None
    cycles, network = CycleModel(schedule, board.beat_cycles), schedule.network
    clock = float(pll.frequency) / 1e6
    path = critical_path(best.report, nets)
    cells_used = family.resources(best.report["utilization"], cells)
    least, limit = clock_limits(schedule, board)
    if wanted is not None:
        least = float(choose_pll(family.plls(board.oscillator), wanted).frequency / 1_000_000)
    problem = None
    if allowed(best.reached) < least:
        problem = (f"the design reaches {best.reached:.2f} MHz from the best of {len(runs)} "
                   f"seed{'s' if len(runs) > 1 else ''}, and a clock of {least:g} MHz needs "
                   f"{least * float(1 + CLOCK_MARGIN):.2f} MHz: try more --seeds, a lower --clock, or a smaller engine "
                   "(--rows, --columns, --lanes)")
    request = Packet.line_bytes(prod(network.input_shape))
    result = Packet.line_bytes(network.result_bytes + Trailer.BYTES)
    spread = [run.reached for run in runs if not run.problem]
    return {
        "board": board.name, "part": board.part.name, "speed_grade": board.speed_grade, "network": network.name,
        "passed": problem is None,
        "problem": problem,
        "fmax_mhz": round(best.reached, 3), "clock_mhz": clock, "target_mhz": round(target, 3),
        "limit_mhz": limit, "margin": float(CLOCK_MARGIN), "pll": dict(pll.parameters),
        "used": cells_used["used"], "available": cells_used["available"],
        "in_memory_cycles": cycles.in_memory_cycles, "last_byte_cycles": cycles.last_byte_cycles,
        "interval_cycles": cycles.interval_cycles,
        "in_memory_ms": round(cycles.in_memory_cycles / clock / 1e3, 6),
        "last_byte_ms": round(cycles.last_byte_cycles / clock / 1e3, 6),
        "frames_per_second": round(clock * 1e6 / cycles.interval_cycles, 3),
        "baud": board.baud,
        "line_frames_per_second": round(board.baud / LINE_BITS / max(request, result), 3),
        "flash": ({"file": IMAGE if outside else FLASH, "offset": board.flash.offset}
                  if board.flash and (outside or schedule.config.single_port) else None),
        "critical_path": path.as_json() if path else None,
        "seeds": [run.as_json() for run in runs],
        "best_seed": best.seed, "spread_mhz": round(max(spread) - min(spread), 3),
        "tools": {command.name: {"version": command.version, "from": command.origin} for command in commands.values()},
        "notes": board.notes or None,
    }
