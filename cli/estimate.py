# SPDX-License-Identifier: Apache-2.0
"""``tepal estimate``: which boards does a network fit, how fast is it there, and what are the cycles of every layer?"""

import json
from collections import Counter
from dataclasses import replace
from typing import NoReturn

from rich.table import Column, Table
from tepal.boards.board import Board
from tepal.boards.flow.fit import capacity, fit
from tepal.boards.flow.lut_estimate import KINDS
from tepal.boards.flow.routed import Clock
from tepal.boards.flow.shortage import require_fit, shortage
from tepal.boards.flow.smaller import advice, largest, largest_of
from tepal.boards.flow.variant import Forms
from tepal.boards.registry import all_boards
from tepal.hdl import ConfigError, Schedule
from tepal.quant import Network, NetworkError
from tepal.sim import CycleModel
from tepal.sim.occupancy import utilisation

from .arguments import add_model_arguments, chosen, mhz
from .console import bar, err, out, step
from .scheduling import clock_for, load, may_come_from_outside, on_board, read_forms
from .tables import layer_rows, layer_table, share_bar

__all__ = ["add_arguments", "run"]


def add_arguments(parser) -> None:
    """What ``tepal estimate`` takes."""
    add_model_arguments(parser, any_board=True)
    parser.add_argument("--clock", type=mhz, metavar="MHZ",
                        help="clock to turn cycles into time (default: the one recorded for each board, if any is)")


def run(arguments) -> int:
    """Schedule, count, print."""
    return _compare(arguments) if arguments.board is None and arguments.part is None else _one(arguments)


def _one(arguments) -> int:
    """One board, layer by layer."""
    board, schedule = load(arguments)
    model, result = CycleModel(schedule, board.beat_cycles), fit(schedule, board)
    rows = layer_rows(schedule, model)
    config = schedule.config
    smaller = []
    if not result.ok:
        with step("Looking for widths and image sizes that fit"):
            smaller = largest(schedule, board)
    report = {
        "model": str(arguments.model), "board": board.name, "part": board.part.name, "fits": result.ok,
        "used": result.used, "available": result.available,
        "estimated": [kind for kind in KINDS if kind in result.used],
        "smaller": [{"width": item.width, "image": item.image, "macs": item.macs, "parameters": item.parameters}
                    for item in smaller],
        "memories": [{"role": use.role, "count": use.count, "depth": use.depth, "width": use.width}
                     for use in schedule.memories],
        "engine": config.told() | {"multipliers": config.multipliers, "products": config.products},
        "macs": schedule.network.macs, "parameters": schedule.network.parameters,
        "bands": (bands := _bands(schedule, model)), "input_rows": (ring := _ring(schedule, model)),
        "weight_bytes_per_frame": schedule.weight_bytes,
        **_times(model, clock := clock_for(schedule, board, arguments.clock)),
        "waits": (waits := _waits(schedule, model)),
        "utilisation": round(utilisation(schedule, model.in_memory_cycles), 4), "layers": rows,
    }
    if arguments.json:
        print(json.dumps(report))
    else:
        out.print(layer_table(rows))
        table = Table("resource", "used", "available", "", title=f"{board.name} ({board.part.name})")
        for kind, used in result.used.items():
            limit = result.available[kind]
            table.add_row(f"{kind} (estimated)" if kind in report["estimated"] else kind, f"{used:,}",
                          f"{limit:,}" if limit else "any", share_bar(used / limit) if limit else "")
        out.print(table)
        if board.part.logic and not report["estimated"]:
            out.print(f"LUTs and flip-flops are not estimated: no such engine was measured on a {board.part.name}, and "
                      "only tepal build tells whether they suffice.")
        rows_, columns_ = config.window
        out.print(f"Engine: {config.shape} array, {config.lanes} depthwise lanes of {rows_} x "
                  f"{columns_} taps, {config.requantisers} requantisers, {config.input_bytes}-byte input beats.")
        out.print(f"{schedule.network.macs:,} multiply-accumulates in {model.in_memory_cycles:,} cycles on "
                  f"{config.products} products a cycle: {report['utilisation']:.1%} in use. "
                  f"{model.last_byte_cycles:,} cycles from the last byte of an image that streams in, {model.cycles:,} "
                  f"from its first; a frame every {model.interval_cycles:,}.")
        if bands:
            out.print(f"{bands['layers']} layers run in bands of rows, and no map between them is ever stored whole: "
                      f"{bands['words']:,} words in each bank of activations in place of {bands['whole_words']:,}, "
                      f"for {bands['in_memory_cycles'] / bands['whole_cycles'] - 1:.1%} more cycles.")
        if ring:
            out.print(f"The input memory holds {ring['rows']} of the image's {ring['of']} rows, which are computed as "
                      f"they arrive: {ring['words']:,} words in place of {ring['whole_words']:,}, and a frame takes "
                      f"{ring['interval_cycles'] / ring['whole_interval_cycles'] - 1:.1%} more cycles.")
        if schedule.weight_bytes:
            out.print(_told_weights(schedule, board, model, clock, waits))
        if clock.mhz:
            out.print(f"{report['in_memory_ms']:.3f} ms in memory, {report['last_byte_ms']:.3f} ms from the last byte, "
                      f"{report['frames_per_second']:,.1f} frames a second: at {clock.told}.", markup=False)
        else:
            out.print(f"There is {clock.told}.")
    require_fit(schedule, board, smaller)
    if not arguments.json:
        out.print(f"[bold green]The network fits {board.name}.[/]")
    return 0


def _waits(schedule: Schedule, model: CycleModel) -> list[dict]:
    """Passes that begin later in every frame because their weights are not there yet."""
    found = []
    for number, cycles in model.waits().items():
        work = schedule.passes[number].work
        layer = next(each.layer for each in (work.matrix, work.reduction) if each and each.layer is not None)
        found.append({"pass": number, "layer": schedule.network.layers[layer].index, "cycles": cycles})
    return found


def _told_weights(schedule: Schedule, board: Board, model: CycleModel, clock: Clock, waits: list[dict]) -> str:
    """What the external memory has to give, and what is waited for."""
    memory, frame = 8 / board.beat_cycles, schedule.weight_bytes
    told = (f"{frame:,} bytes of weights come from outside for every frame, "
            f"{frame / model.interval_cycles:.2f} a cycle on average; cycles are those of ")
    told += (f"the board's SDRAM, which gives {float(memory):.2f} in each" if board.memory else
             f"a memory that gives {float(memory):g} in each")
    if clock.mhz:
        told += f": {clock.mhz * frame / model.interval_cycles:.1f} MB/s of {float(clock.mhz * memory):.1f}"
    if not waits:
        return f"{told}. Nothing waits for them."
    layers: Counter[int] = Counter()
    for each in waits:
        layers[each["layer"]] += each["cycles"]
    longest = ", ".join(f"layer {layer} ({cycles:,})" for layer, cycles in layers.most_common(3))
    return (f"{told}. Of a frame, {layers.total():,} cycles ({layers.total() / model.interval_cycles:.1%}) are spent "
            f"waiting for them, most before {longest}.")


def _bands(schedule: Schedule, model: CycleModel) -> dict | None:
    """What runs in bands, and what it takes and saves; None if nothing does."""
    if not schedule.groups:
        return None
    whole = Schedule(schedule.network, replace(schedule.config, activation_words=None), schedule.formats)
    groups = []
    for group in schedule.groups:
        passes = schedule.formats.passes[group.first:group.last + 1]
        parts = (work.reduction and work.reduction.layer for work in passes), (work.layer for work in passes)
        layers = sorted({layer for numbers in parts for layer in numbers if layer is not None})
        groups.append({"layers": layers, "rows": group.rows})
    return {"groups": groups, "layers": sum(len(group["layers"]) for group in groups),
            "words": schedule.bank_depth, "whole_words": whole.bank_depth,
            "in_memory_cycles": model.in_memory_cycles,
            "whole_cycles": CycleModel(whole, model.interval).in_memory_cycles}


def _ring(schedule: Schedule, model: CycleModel) -> dict | None:
    """What it takes and saves that the input memory holds some rows of the image; None if it holds all."""
    if schedule.layout.rows == schedule.layout.shape[0]:
        return None
    whole = Schedule(schedule.network, replace(schedule.config, input_rows=None), schedule.formats,
                     groups=schedule.groups)
    return {"rows": schedule.layout.rows, "of": schedule.layout.shape[0], "words": schedule.layout.depth,
            "whole_words": whole.layout.depth, "interval_cycles": model.interval_cycles,
            "whole_interval_cycles": CycleModel(whole, model.interval).interval_cycles}


def _times(model: CycleModel, clock: Clock) -> dict:
    """Cycles and what they take, ready for JSON."""
    return {"cycles": model.cycles, "in_memory_cycles": model.in_memory_cycles,
            "last_byte_cycles": model.last_byte_cycles, "interval_cycles": model.interval_cycles,
            "clock_mhz": clock.mhz, "clock": clock.told,
            "in_memory_ms": clock.milliseconds(model.in_memory_cycles),
            "last_byte_ms": clock.milliseconds(model.last_byte_cycles),
            "frames_per_second": clock.rate(model.interval_cycles)}


def _compare(arguments) -> int:
    """All boards but the generic one, which has no engine and no limits of its own.  Where the weights alone are too
    many for every one of them, no more than that is told."""
    forms = read_forms(arguments)
    network = forms.network
    schedules: dict[str, Schedule] = {}
    # Boards with the same part and engines run the same schedule, which takes the same of them; what comes from their
    # memories takes its own time.
    made: dict[tuple, tuple[Schedule, str, dict, CycleModel]] = {}
    entries = []
    forms_told: dict[str, list[str]] = {}
    boards = [board for board in all_boards().values() if board.name != "generic"]
    problems = {board.name: problem for board in boards if (problem := _too_many_weights(forms, board))}
    if len(problems) == len(boards) and not chosen(arguments):
        _refuse_weights(arguments, forms, boards, problems)
    with bar() as progress:
        for number, board in enumerate(boards):
            progress("Scheduling", number, len(boards))
            entry = _unscheduled(board, None)
            try:
                beat = board.beat_cycles if arguments.weight_words else 1
                alike = board.part, board.engines, beat, *sorted(board.roles.items())
                if alike not in made:
                    schedule, told = on_board(arguments, board, forms)
                    made[alike] = schedule, told, _entry(schedule, board), CycleModel(schedule, beat)
                schedule, told, needs, model = made[alike]
                entry |= {**needs, **_times(model, clock_for(schedule, board, arguments.clock))}
                # The search for such an engine takes seconds: of one board alone.
                entry["may_fit_with_external_memory"] = may_come_from_outside(arguments, board, schedule)
                schedules[board.name] = schedule
                if told and entry["fits"]:
                    forms_told.setdefault(told, []).append(board.name)
            except (ConfigError, NetworkError, ArithmeticError) as error:
                entry["problem"] = str(error)
            entries.append(entry)
        progress("Scheduling", len(boards), len(boards))
    if not schedules:
        raise NetworkError(_refused(entries))
    for told, names in forms_told.items():
        err.print(f"{', '.join(names)}: {told}" if len(forms_told) > 1 else told, markup=False)
    _tell(arguments, network, entries)
    if not any(entry["fits"] for entry in entries):
        with step("Looking for widths and image sizes that fit"):
            raise NetworkError(_nearest(entries, schedules))
    return 0


def _refuse_weights(arguments, forms: Forms, boards: list[Board], problems: dict[str, str]) -> NoReturn:
    """What is told where no board has room for the weights alone."""
    entries = [_unscheduled(board, problems[board.name], board.memory is not None) for board in boards]
    _tell(arguments, forms.network, entries)
    roomiest = max(boards, key=lambda board: capacity(board.part))
    with step("Looking for widths and image sizes that fit"):
        found = advice(largest_of(forms.network, roomiest))
    raise NetworkError("; ".join(filter(None, (
        f"the network fits none of the boards, of which {roomiest.name} has the most room: {problems[roomiest.name]}",
        found, _told_outside(entries)))))


def _unscheduled(board: Board, problem: str | None, outside: bool = False) -> dict:
    return {"board": board.name, "part": board.part.name, "fits": False, "problem": problem,
            "may_fit_with_external_memory": outside}


def _tell(arguments, network: Network, entries: list[dict]) -> None:
    if arguments.json:
        print(json.dumps({"model": str(arguments.model), "macs": network.macs, "parameters": network.parameters,
                          "boards": entries}))
    else:
        _print(network, entries)


def _too_many_weights(forms: Forms, board: Board) -> str | None:
    """That the weights alone are more than the part's memories hold, if they are."""
    least = forms.found.network if forms.found else forms.network
    room = capacity(board.part) // 8
    return (f"{least.parameters:,} bytes of weights are more than the {room:,} that all memories of {board.part.name} "
            "hold") if least.parameters > room else None


def _entry(schedule: Schedule, board: Board) -> dict:
    """What ``board`` makes of the network, but for how long that takes."""
    result, config = fit(schedule, board), schedule.config
    return {"fits": result.ok, "used": result.used, "available": result.available,
            "short": {kind: result.used[kind] - (result.available[kind] or 0) for kind in result.over},
            "engine": config.told() | {"multipliers": config.multipliers, "products": config.products}}


def _print(network: Network, entries: list[dict]) -> None:
    headers = "cycles in memory", "ms in memory", "ms from the last byte", "frames/s"
    table = Table(Column("board", no_wrap=True), *(Column(header, justify="right") for header in headers), "fits",
                  title=f"{network.macs:,} multiply-accumulates, {network.parameters:,} bytes of weights")
    for entry in entries:
        if entry["problem"]:
            table.add_row(entry["board"], "", "", "", "", "no: see below")
            continue
        timed = entry["clock_mhz"]
        short = ",\n    ".join(f"{entry['used'][kind]:,} of {entry['available'][kind]:,} {kind}"
                               for kind in entry["short"])
        table.add_row(entry["board"], f"{entry['in_memory_cycles']:,}",
                      *(f"{entry[name]:.3f}" if timed else "" for name in ("in_memory_ms", "last_byte_ms")),
                      f"{entry['frames_per_second']:,.1f}" if timed else "", f"no: {short}" if short else "yes")
    out.print(table)
    for problem, names in _problems(entries).items():
        out.print(f"{', '.join(names)}: {problem}.", markup=False)
    for entry in entries:
        if entry.get("clock_mhz"):
            out.print(f"{entry['board']}: at {entry['clock']}.", markup=False)
    if told := _told_outside(entries):
        out.print(f"{told[0].upper()}{told[1:]}.", markup=False)
    if untimed := [entry["board"] for entry in entries if entry.get("clock_mhz", 0) is None]:
        out.print(f"No clock recorded: {', '.join(untimed)} (--clock gives one).")
    out.print("In memory: with the image in the input memory when the clock starts. From the last byte: with the image "
              "streaming in, of which rows are computed as they arrive. --board shows one board, layer by layer, "
              "and where the network does not fit, which width and image size do.")


def _told_outside(entries: list[dict]) -> str:
    """Where the network, which does not fit on the chip, may fit with weights from the board's memory; empty where it
    may not."""
    names = [entry["board"] for entry in entries if entry["may_fit_with_external_memory"]]
    return f"weights may come from a memory beside the FPGA: --board tells whether it fits so on {', '.join(names)}" * (
        bool(names))


def _refused(entries: list[dict]) -> str:
    """One sentence: why no board runs the network on the engine that is asked for."""
    boards = _problems(entries)
    return "; ".join(f"{', '.join(names)}: {problem}" if len(boards) > 1 else problem
                     for problem, names in boards.items())


def _problems(entries: list[dict]) -> dict[str, list[str]]:
    """What keeps a network from running, and the names of the boards on which it does."""
    boards: dict[str, list[str]] = {}
    for entry in entries:
        if entry["problem"]:
            boards.setdefault(entry["problem"], []).append(entry["board"])
    return boards


def _nearest(entries: list[dict], schedules: dict[str, Schedule]) -> str:
    """One sentence: what the board that comes nearest has too little of, and what would fit it."""
    nearest = min((entry for entry in entries if entry["board"] in schedules), key=lambda entry: max(
        entry["used"][kind] / entry["available"][kind] for kind in entry["short"]))["board"]
    told = (f"the network fits none of the boards, of which {nearest} comes nearest: "
            f"{shortage(schedules[nearest], all_boards()[nearest])}")
    return "; ".join(filter(None, (told, _told_outside(entries))))
