# SPDX-License-Identifier: Apache-2.0
"""``tepal family``, the MobileNets and their kin by numbers: the paper's tables, exact counts, and how fast the boards
are.

Howard et al. 2017 (arXiv:1704.04861) print millions.  Their multiply-adds include the classifier and their
parameters are weights alone, without biases and batch norm: only so has the classifier 0.18 % and 24.33 % of them, as
their table 2 says.  Three multiply-adds are others than the exact count rounds to (4866, 290 and 76), and each is what
it rounds to without the classifier."""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import product
from typing import Any, cast

from rich.table import Column, Table
from tepal.boards.board import Board
from tepal.boards.flow.external_memory import room_for_weights, with_weights_outside
from tepal.boards.flow.fit import default_engine, fit
from tepal.boards.flow.routed import Clock, clock_of
from tepal.boards.registry import BOARDS, get_board
from tepal.hdl import Formats, Schedule
from tepal.quant import (
    IMAGENET_BLOCKS,
    SSD,
    Architecture,
    Classifier,
    MobileNet,
    MobileNetV2,
    Network,
    NetworkError,
    ResNet,
)
from tepal.scheduler import Threads, Workers
from tepal.sim import CycleModel

from .arguments import SMALL, mhz
from .console import bar, out
from .scheduling import clock_for, with_part
from .spreading import add_scheduler_argument, asked_workers

__all__ = ["ALPHAS", "FAMILIES", "KIN", "PAPER", "RESOLUTIONS", "Family", "Row", "add_arguments", "run"]

ASSUMED = 100.0
"""MHz, where no clock has been recorded for a board."""

ALPHAS, RESOLUTIONS = (1.0, 0.75, 0.5, 0.25), (224, 192, 160, 128)
"""The paper's width multipliers and input sizes."""


def _ssd(base: Callable[..., MobileNet | MobileNetV2], alpha: float, resolution: int, *, lite: bool = False,
         channels: int = 3, **others: int) -> SSD:
    return SSD(base(alpha, resolution, channels=channels), lite=lite, **others)


@dataclass(frozen=True)
class Family:
    """What ``--family`` names: ``make`` takes a width multiplier, a resolution and, if they are given, ``classes`` and
    ``channels``; ``alphas`` and ``resolutions`` are those of a grid of which nothing else is said."""

    title: str
    paper: str
    make: Callable[..., Architecture]
    alphas: tuple[float, ...]
    resolutions: tuple[int, ...]


_V1, _V2, _SSD = "arXiv:1704.04861", "arXiv:1801.04381", "arXiv:1512.02325"

FAMILIES = {
    "v1": Family("MobileNet", _V1, MobileNet, ALPHAS, RESOLUTIONS),
    "v1-residual": Family("residual MobileNet", _V1, partial(MobileNet, residual=True), ALPHAS, RESOLUTIONS),
    "v2": Family("MobileNetV2", _V2, MobileNetV2, (1.0, 0.75, 0.5, 0.35), (224, 160, 96)),
    "resnet8": Family("ResNet8", "arXiv:2106.07597", ResNet, (1.0, 0.5), (32,)),
    "ssd-v1": Family("SSD MobileNet", _SSD, partial(_ssd, MobileNet), (1.0, 0.5, 0.25), (300,)),
    "ssd-v2": Family("SSD MobileNetV2", _SSD, partial(_ssd, MobileNetV2), (1.0, 0.35), (300,)),
    "ssdlite-v1": Family("SSDLite MobileNet", _V2, partial(_ssd, MobileNet, lite=True), (1.0, 0.25), (320,)),
    "ssdlite-v2": Family("SSDLite MobileNetV2", _V2, partial(_ssd, MobileNetV2, lite=True), (1.0, 0.35), (320,)),
}


@dataclass(frozen=True)
class Row:
    """A network and, in millions and as printed, what the paper's ``table`` says of it.

    Without a ``network`` it is somebody else's, quoted; without a ``table`` the paper has no such row."""

    name: str
    network: Architecture | None
    table: int | None = None
    macs: str | None = None
    parameters: str | None = None


_NARROW = MobileNet(0.75)
_SHALLOW = MobileNet(blocks=tuple(block for block in IMAGENET_BLOCKS if block != (512, 1)))

DEFAULT = ("ulx3s-85f", "icebreaker")
"""Boards to count cycles on: one of each kind."""

PAPER = (
    Row("Conv MobileNet", MobileNet(separable=False), 4, "4866", "29.3"),
    Row("MobileNet", MobileNet(), 4, "569", "4.2"),
    Row("0.75 MobileNet", _NARROW, 5, "325", "2.6"),
    Row("Shallow MobileNet", _SHALLOW, 5, "307", "2.9"),
    Row("1.0 MobileNet-224", MobileNet(), 6, "569", "4.2"),
    Row("0.75 MobileNet-224", _NARROW, 6, "325", "2.6"),
    Row("0.5 MobileNet-224", MobileNet(0.5), 6, "149", "1.3"),
    Row("0.25 MobileNet-224", MobileNet(0.25), 6, "41", "0.5"),
    Row("1.0 MobileNet-224", MobileNet(), 7, "569", "4.2"),
    Row("1.0 MobileNet-192", MobileNet(resolution=192), 7, "418", "4.2"),
    Row("1.0 MobileNet-160", MobileNet(resolution=160), 7, "290", "4.2"),
    Row("1.0 MobileNet-128", MobileNet(resolution=128), 7, "186", "4.2"),
    Row("0.50 MobileNet-160", MobileNet(0.5, 160), 9, "76", "1.32"),
    Row("SqueezeNet", None, 9, "1700", "1.25"),
)
"""The rows of the paper's tables 4, 5, 6, 7 and 9 whose networks are MobileNets, and SqueezeNet's."""

KIN = (
    Row("0.35 MobileNetV2-96", MobileNetV2(0.35, 96)),
    Row("0.35 MobileNetV2-160", MobileNetV2(0.35, 160)),
    Row("1.0 MobileNetV2-224", MobileNetV2()),
    Row("0.25 SSD MobileNet-300", _ssd(MobileNet, 0.25, 300)),
)
"""What is shown beside them, of which the paper says nothing."""


def add_arguments(parser) -> None:
    """What ``tepal family`` takes."""
    grid = parser.add_argument_group("networks", "a grid in place of the paper's tables")
    grid.add_argument("--family", choices=FAMILIES, default="v1", metavar="F",
                      help=f"one of {', '.join(FAMILIES)} (default: v1)")
    grid.add_argument("--alpha", type=float, nargs="+", metavar="A", help="width multipliers (default: the paper's)")
    grid.add_argument("--resolution", type=int, nargs="+", metavar="N", help="image sizes (default: the paper's)")
    grid.add_argument("--classes", type=int, metavar="N", help="outputs of the classifier (default: 1000; ResNet8 10), "
                      "or classes of a detector with the background (91)")
    grid.add_argument("--maps", type=int, metavar="N", help="maps that a detector looks at (default: 6)")
    grid.add_argument("--channels", type=int, metavar="N", help="channels of the image (default: 3)")
    parser.add_argument("--board", action="append", metavar="B",
                        help="a board to count cycles on; may be repeated (default: ulx3s-85f and icebreaker)")
    parser.add_argument("--part", action="append", metavar="NAME",
                        help="of the board generic: its FPGA, such as XC7A35T; may be repeated. Networks run on an "
                        "array of 4 x 8 there or, if there is no room for that, on one multiplier")
    parser.add_argument("--clock", type=mhz, metavar="MHZ",
                        help="clock for frames per second (default: the one recorded for each board, or else "
                        f"{ASSUMED:g})")
    add_scheduler_argument(parser, "networks")


def run(arguments) -> int:
    """Count, schedule, print."""
    boards = _boards(arguments.board, arguments.part or ())
    rows = _rows(arguments)
    with asked_workers(arguments) as workers:
        report = {"paper": FAMILIES[arguments.family].paper, **_report(rows, boards, arguments.clock, workers)}
    if arguments.json:
        print(json.dumps(report))
    else:
        out.print(_counts(report["rows"]), _notes(report["rows"]), sep="\n")
        for board in boards:
            out.print(_speed_table(report, board))
        told = "; ".join(f"{name}: {_told_clocks(report, name)}" for name in report["clocks"])
        out.print(f"Cycles from frame to frame. Clocks: {told}.")
    return 0


def _or_assumed(clock: Clock) -> Clock:
    return clock if clock.mhz else Clock(ASSUMED, f"{ASSUMED:g} MHz, which is assumed: no clock has been recorded")


def _told_clocks(report: dict, board: str) -> str:
    """The board's clock, and others that some networks have there."""
    speeds = [row["boards"][board] for row in report["rows"] if board in row["boards"]]
    clocks = dict.fromkeys([report["clocks"][board]["clock"], *(speed["clock"] for speed in speeds)])
    return ", or ".join(clocks)


def _rows(arguments) -> tuple[Row, ...]:
    others = {name: value for name in ("classes", "channels") if (value := getattr(arguments, name)) is not None}
    family = FAMILIES[arguments.family]
    if arguments.maps is not None:
        if not arguments.family.startswith("ssd"):
            raise NetworkError(f"only detectors look at several maps: leave out --maps, or give one of "
                               f"{', '.join(name for name in FAMILIES if name.startswith('ssd'))} with --family")
        others["maps"] = arguments.maps
    if arguments.family == "v1" and not (arguments.alpha or arguments.resolution or others):
        return PAPER + KIN
    return tuple(Row(f"{alpha:g} {family.title}-{resolution}", family.make(alpha, resolution, **others))
                 for alpha, resolution in product(arguments.alpha or family.alphas,
                                                  arguments.resolution or family.resolutions))


def _boards(names: Sequence[str] | None, parts: Sequence[str]) -> list[Board]:
    """The boards of these names (None: one of each kind), each once; the generic one once with each of ``parts``."""
    if parts and "generic" not in (names or ()):
        with_part(names[0] if names else None, parts[0])
    if names is None:
        return [BOARDS[name] for name in DEFAULT]
    if "generic" in names and not parts:
        raise NetworkError("the generic board has no engine of its own: name another one, or give its --part")
    boards: dict[str, Board] = {}
    for name in names:
        for board in map(_with_engines, parts) if name == "generic" else [get_board(name)]:
            boards.setdefault(_told(board), board)
    return [*boards.values()]


def _with_engines(part: str) -> Board:
    """The generic board with a part, and with the smallest engine beside the one that it is given elsewhere."""
    board = with_part("generic", part)
    return replace(board, others=(replace(board.config, **SMALL),))


def _told(board: Board) -> str:
    """What a board is called among others: there may be several generic ones."""
    return board.part.name if board.name == "generic" else board.name


def _figure(count: int, printed: str | None, **others: int) -> dict:
    """A count beside the paper's millions; ``others`` are told with it."""
    if printed is None:
        return {"count": count, **others}
    return {"count": count, "paper": printed, "rounded": _rounded(count, printed),
            "agrees": _rounded(count, printed) == printed, **others}


def _without_classifier(network: Architecture) -> dict[str, int]:
    """Multiply-adds of the rest, where there is a classifier."""
    return {"without_classifier": network.macs - network.layers[-1].macs} if isinstance(network, Classifier) else {}


def _rounded(count: int, printed: str) -> str:
    """``count`` in millions, with as many decimals as ``printed``."""
    return f"{count / 1e6:.{len(printed.partition('.')[2])}f}"


def _speeds(network: Network, boards: Iterable[Board], asked: float | None) -> dict[str, dict]:
    """Cycles of ``network`` on each board's default engine, or on one with weights from the board's memory where it
    fits so alone; whether or not it fits."""
    result, formats = {}, Formats(network)
    for board in boards:
        schedule = Schedule(network, default_engine(board, network, formats), formats)
        if not fit(schedule, board).ok:
            schedule = with_weights_outside(network, formats, board) or schedule
        model, needs = CycleModel(schedule, board.beat_cycles), fit(schedule, board)
        clock = _or_assumed(clock_for(schedule, board, asked))
        room = room_for_weights(board)
        result[_told(board)] = {
            "cycles": model.cycles, "in_memory_cycles": model.in_memory_cycles,
            "last_byte_cycles": model.last_byte_cycles, "interval_cycles": model.interval_cycles,
            "clock_mhz": clock.mhz, "clock": clock.told, "frames_per_second": clock.rate(model.interval_cycles),
            "fits": needs.ok, "used": needs.used, "available": needs.available,
            "external_memory": {
                "bytes": room, "enough": network.parameters <= room, "bytes_per_frame": schedule.weight_bytes,
                "waiting": round(sum(model.waits().values()) / model.interval_cycles, 4)} if room else None,
            "engine": schedule.config.told()}
    return result


def _speeds_of(boards: Sequence[Board], asked: float | None, network: Architecture) -> dict[str, dict]:
    return _speeds(network.network(), boards, asked)


def _report(rows: Sequence[Row], boards: Sequence[Board], asked: float | None,
            workers: Workers | None = None) -> dict:
    """All that there is to print, ready for JSON."""
    networks = list(dict.fromkeys(row.network for row in rows if row.network))
    with bar() as progress:
        speeds = dict(zip(networks, (workers or Threads()).map(
            partial(_speeds_of, boards, asked), networks, partial(progress, "Scheduling")), strict=True))
    entries = []
    for row in rows:
        network = row.network
        if network is None:
            entries.append({"table": row.table, "name": row.name, "network": None, "macs": {"paper": row.macs},
                            "parameters": {"paper": row.parameters}, "boards": {}})
            continue
        entries.append({
            "table": row.table, "name": row.name, "network": asdict(cast(Any, network)),
            "macs": _figure(network.macs, row.macs, **_without_classifier(network)),
            "parameters": _figure(network.weights, row.parameters, trained=network.parameters),
            "boards": speeds[network]})
    clocks = {_told(board): _or_assumed(clock_of(board, asked)) for board in boards}
    return {"rows": entries,
            "clocks": {name: {"clock_mhz": clock.mhz, "clock": clock.told} for name, clock in clocks.items()}}


def _number(header: str) -> Column:
    return Column(header, justify="right", no_wrap=True)


def _counts(rows: list[dict]) -> Table:
    """What was counted, beside what the paper prints where it has such a row."""
    if rows[0]["table"] is None:
        table = Table("network", _number("multiply-adds"), _number("parameters"))
        for row in rows:
            table.add_row(row["name"], *(f"{row[key]['count']:,}" for key in ("macs", "parameters")))
        return table
    table = Table("table", Column("network", no_wrap=True), _number("paper"), "", _number("multiply-adds"),
                  _number("paper"), "", _number("parameters"),
                  title="The paper's tables, in millions, and exact counts")
    for number, row in enumerate(rows):
        if number and row["table"] != rows[number - 1]["table"]:
            table.add_section()
        cells = [cell for key in ("macs", "parameters") for cell in _compared(row[key])]
        table.add_row("" if row["table"] is None else str(row["table"]), row["name"], *cells)
    return table


def _compared(figure: dict) -> tuple[str, str, str]:
    """What the paper prints, whether the count rounds to it, and the count."""
    if "count" not in figure:
        return figure["paper"], "", "quoted"
    if "paper" not in figure:
        return "", "", f"{figure['count']:,}"
    return figure["paper"], "=" if figure["agrees"] else "≠", f"{figure['count']:,}"


def _notes(rows: list[dict]) -> str:
    """How it was counted, and what is known where the paper's figure is another one."""
    include = "include the classifier" if "without_classifier" in rows[0]["macs"] else "are those of all layers"
    lines = [f"Multiply-adds {include}; parameters are weights alone, as the paper counts them."]
    if rows[0]["table"] is not None:
        lines.append("= where the count rounds to the paper's figure, ≠ where it does not.")
    for row in rows:
        figure = row["macs"]
        if figure.get("agrees") is False:
            lines.append(f"{row['name']}: the paper prints {figure['paper']} and the exact count rounds to "
                         f"{figure['rounded']}. Without the classifier it is {figure['without_classifier']:,}, "
                         f"which rounds to {_rounded(figure['without_classifier'], figure['paper'])}.")
    return "\n".join(lines)


def _speed_table(report: dict, board: Board) -> Table:
    """Each network once."""
    rows: list[dict] = []
    for row in report["rows"]:
        if row["network"] is not None and all(row["network"] != other["network"] for other in rows):
            rows.append(row)
    speeds = [row["boards"][_told(board)] for row in rows]
    clocks = {speed["clock_mhz"]: speed["clock"] for speed in speeds}
    waits = any(_from_outside(speed) for speed in speeds)
    table = Table(Column("network", no_wrap=True), _number("cycles"),
                  *([] if len(clocks) == 1 else [_number("MHz")]),
                  _number("frames/s" + (f"\nat {min(clocks):g} MHz" if len(clocks) == 1 else "")),
                  *([_number("waiting for\nweights")] if waits else []), "fits",
                  title=f"{board.name} ({board.part.name})")
    for row, speed in zip(rows, speeds, strict=True):
        outside = _from_outside(speed)
        table.add_row(row["name"], f"{speed['interval_cycles']:,}",
                      *([] if len(clocks) == 1 else [f"{speed['clock_mhz']:g}"]), f"{speed['frames_per_second']:,.2f}",
                      *([f"{outside['waiting']:.1%}" if outside else ""] if waits else []),
                      ("yes, with weights from its memory" if outside else "yes") if speed["fits"] else
                      f"no: {_over(speed)}")
    return table


def _from_outside(speed: dict) -> dict | None:
    """What comes from the board's memory, if weights do."""
    memory = speed["external_memory"]
    return memory if memory and memory["bytes_per_frame"] else None


def _over(speed: dict) -> str:
    """What the board has too little of."""
    memory = speed["external_memory"]
    told = [f"{speed['used'][kind]:,} of {limit:,} {kind}" for kind, limit in speed["available"].items()
            if limit is not None and speed["used"][kind] > limit]
    if memory:
        told.append("with weights from its memory too few as well" if memory["enough"] else
                    f"room for {memory['bytes']:,} bytes of weights in its memory")
    return ", ".join(told)
