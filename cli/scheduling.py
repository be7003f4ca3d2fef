"""From the command line to a schedule: model, board, engine."""

from collections.abc import Callable
from dataclasses import replace
from math import gcd

from rich.markup import escape
from tepal.boards.board import Board, default_engine, fit, get_board
from tepal.boards.variant import choose
from tepal.hdl import ConfigError, EngineConfig, Formats, Schedule
from tepal.quant import FloatNetwork, Network, NetworkError, read_model

from .arguments import chosen
from .console import err, step

__all__ = ["load", "schedule"]


def _read(arguments) -> tuple[Board, Network]:
    board = get_board(arguments.board)
    with step(f"Reading {escape(str(arguments.model))}"):
        network = read_model(arguments.model)
    if isinstance(network, FloatNetwork):
        raise NetworkError(f"{arguments.model} is a float model: quantise it first, with tepal quantize")
    return board, network


def load(arguments) -> tuple[Board, Schedule]:
    """The board, and the model on the engine that the command line asks for."""
    return schedule(arguments, lambda board, network, formats: _engine(arguments, board, network, formats))


def schedule(arguments, engine: Callable[[Board, Network, Formats], EngineConfig]) -> tuple[Board, Schedule]:
    """The board, and the form of the model that runs best there, on the ``engine`` for it.

    stderr says what was left out, or why it was not."""
    board, network = _read(arguments)
    with step("Scheduling"):
        if not arguments.simplify:
            formats = Formats(network)
            return board, Schedule(network, engine(board, network, formats), formats)
        scheduled, told = choose(network, board, lambda *form: engine(board, *form))
    # That it does not fit will be told alone.
    if told and fit(scheduled, board).ok:
        err.print(told)
    return board, scheduled


def _engine(arguments, board: Board, network: Network, formats: Formats) -> EngineConfig:
    given = chosen(arguments)
    config = default_engine(board, network, formats)
    if board.name == "generic" and not {"rows", "columns", "lanes"} <= given.keys():
        raise ConfigError("the generic board has no engine of its own: give at least --rows, --columns and --lanes")
    if given.keys() & {"columns", "lanes"} and "requantisers" not in given and config.requantiser_cycles == 1:
        columns, lanes = given.get("columns", config.columns), given.get("lanes", config.lanes)
        given["requantisers"] = gcd(columns, lanes)
    if "rows" in given and "packing" not in given:
        given["packing"] = gcd(given["rows"], config.packing)
    if board.part.primitives is not None and given.get("packing", 1) > board.part.packing:
        raise ConfigError(f"packing ({given['packing']}) must be 1 on {board.name}: rows can't share a "
                          f"{board.part.multiplier}")
    return replace(config, **given)
