# SPDX-License-Identifier: Apache-2.0
"""From the command line to a schedule: model, board, engine."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from math import gcd

from rich.markup import escape
from tepal.boards.board import Board
from tepal.boards.flow.build import clock_limits
from tepal.boards.flow.external_memory import with_weights_outside
from tepal.boards.flow.fit import default_engine, fit, in_bands, on_arrival
from tepal.boards.flow.routed import Clock, clock_of
from tepal.boards.flow.variant import Forms, choose
from tepal.boards.parts.catalogue import get_part
from tepal.boards.registry import get_board
from tepal.hdl import ConfigError, EngineConfig, Formats, Schedule
from tepal.quant import FloatNetwork, Network, NetworkError, read_model

from .arguments import chosen
from .console import err, step

__all__ = ["asked_board", "clock_for", "load", "may_come_from_outside", "on_board", "read_forms",
           "require_weights_on_chip", "with_part"]

BoardsEngine = Callable[[Board, Network, Formats], EngineConfig]


def read_forms(arguments) -> Forms:
    """The model, in the forms in which it may run."""
    with step(f"Reading {escape(str(arguments.model))}"):
        network = read_model(arguments.model, arguments.input_shape)
    if isinstance(network, FloatNetwork):
        raise NetworkError(f"{arguments.model} is a float model: quantise it first, with tepal quantize")
    return Forms(network, simplify=arguments.simplify)


def asked_board(arguments) -> Board:
    """The board that the command line names, with the part that it names; NetworkError if there is none such."""
    return get_board(arguments.board) if arguments.part is None else with_part(arguments.board, arguments.part)


def with_part(board: str | None, part: str) -> Board:
    """The board ``generic``, which ``board`` must name, as one with this part; else NetworkError."""
    if board is None:
        raise NetworkError("--part goes with --board generic: say so")
    if board != "generic":
        raise NetworkError(f"--part goes with --board generic: {board} has a part of its own")
    return replace(get_board(board), part=get_part(part))


def load(arguments, engine: BoardsEngine | None = None) -> tuple[Board, Schedule]:
    """The board, and the form of the model that runs best there on the engine that the command line asks for, or that
    ``engine`` gives it; says on stderr which form it is.  Where it does not fit on the chip, weights come from the
    board's memory, if it fits so, which is said too."""
    board, forms = asked_board(arguments), read_forms(arguments)
    with step("Scheduling"):
        schedule, told = on_board(arguments, board, forms, engine)
    if may_come_from_outside(arguments, board, schedule):
        with step("Looking for an engine with weights from the board's memory"):
            outside = with_weights_outside(schedule.network, schedule.formats, board, _engines(arguments, schedule))
        if outside:
            schedule, told = outside, " ".join(filter(None, (told, _told_outside(outside, board))))
    # That it does not fit will be told alone.
    if told and fit(schedule, board).ok:
        err.print(told, markup=False)
    return board, schedule


def may_come_from_outside(arguments, board: Board, schedule: Schedule) -> bool:
    """Whether the network has too little memory on the chip, weights could come from the board's, and nobody asked for
    that on the command line, which then says how."""
    kinds = {kind.name for kind in board.part.memories}
    return (board.memory is not None and arguments.weight_words is None
            and bool(kinds.intersection(fit(schedule, board).over)))


def clock_for(schedule: Schedule, board: Board, asked: float | None) -> Clock:
    """The recorded clock, or the one ``asked`` for; no faster than the board's memory, where weights come from it."""
    clock, (_, limit) = clock_of(board, asked), clock_limits(schedule, board)
    if schedule.loads and board.memory and limit and clock.mhz and clock.mhz > limit:
        return Clock(limit, f"{limit:g} MHz, the fastest that the memory of weights takes")
    return clock


def _engines(arguments, schedule: Schedule) -> list[EngineConfig] | None:
    """The engine that the command line asks for; None if it leaves that to the board."""
    given = chosen(arguments)
    return [replace(schedule.config, **{name: given.get(name) for name in ("activation_words", "input_rows")})
            ] if given else None


def _told_outside(schedule: Schedule, board: Board) -> str:
    return (f"The network does not fit on the chip, so its weights come from the memory of {board.name}: "
            f"{schedule.weight_bytes:,} bytes for every frame, through a ring of {schedule.config.weight_words:,} "
            "words on the chip; --weight-words asks for a ring of another size.")


def require_weights_on_chip(schedule: Schedule, what: str) -> None:
    """Raise :class:`~tepal.hdl.ConfigError` if weights come from outside, which ``what`` knows nothing of."""
    if schedule.loads is not None:
        raise ConfigError(f"{what} knows of no external memory: leave --weight-words out, if the network fits on the "
                          "chip, or take tepal generate alone and connect the core's port m_axi to one")


def on_board(arguments, board: Board, forms: Forms, engine: BoardsEngine | None = None) -> tuple[Schedule, str]:
    """The schedule, and a sentence about the form, of :func:`load`."""
    engine = engine or partial(_engine, arguments)
    return choose(forms, board, partial(engine, board))


def _engine(arguments, board: Board, network: Network, formats: Formats) -> EngineConfig:
    given = chosen(arguments)
    config = default_engine(board, network, formats)
    if board.name == "generic" and not {"rows", "columns", "lanes"} <= given.keys():
        raise ConfigError("the generic board has no engine of its own: give at least --rows, --columns and --lanes, or "
                          "--small")
    columns, lanes = given.get("columns", config.columns), given.get("lanes", config.lanes)
    if given.keys() & {"columns", "lanes", "window"} and "requantisers" not in given and config.requantiser_cycles == 1:
        # Twice as many as lanes, where the board's own engine has so many.
        twice = (config.requantisers > config.lanes and columns % (2 * lanes) == 0
                 and given.get("window", config.window)[1] > 1)
        given["requantisers"] = 2 * lanes if twice else gcd(columns, lanes)
    if "columns" in given and "columns_abreast" not in given:
        given["columns_abreast"] = gcd(columns, config.columns_abreast)
    if "rows" in given and "packing" not in given:
        given["packing"] = gcd(given["rows"], config.packing)
    if board.part.primitives is not None and given.get("packing", 1) > board.part.packing:
        raise ConfigError(f"packing ({given['packing']}) must be 1 on {board.name}: rows can't share a "
                          f"{board.part.multiplier}")
    bits, widest = given.get("requantiser_multiplier", 0), board.part.widest[0]
    if bits > widest:
        raise ConfigError(f"requantiser_multiplier ({bits}) must be at most {widest} on {board.name}: the factors of "
                          f"its {board.part.multiplier} have no more bits")
    config = replace(config, **given)
    if given:
        # Of another engine, other bands and other rows.
        config = replace(config, **{name: given.get(name) for name in ("activation_words", "input_rows")})
        schedule = Schedule(network, config, formats)
        if banded := in_bands(schedule, board):
            return replace(config, activation_words=banded.config.activation_words,
                           input_rows=banded.config.input_rows)
        config = on_arrival(schedule, board, config)
    return config
