"""From the command line to a schedule: model, board, engine."""

from dataclasses import replace
from math import gcd

from rich.markup import escape
from tepal.boards.board import Board, default_engine, get_board
from tepal.hdl import ConfigError, EngineConfig, Formats, Schedule
from tepal.quant import FloatNetwork, Network, NetworkError, read_model, simplify

from .arguments import chosen
from .console import err, step

__all__ = ["load", "on_board", "read", "read_network"]


def read(arguments) -> tuple[Board, Network]:
    """The board, and the model that is to run on it."""
    return get_board(arguments.board), read_network(arguments)


def read_network(arguments) -> Network:
    """The model."""
    with step(f"Reading {escape(str(arguments.model))}"):
        network = read_model(arguments.model)
    if isinstance(network, FloatNetwork):
        raise NetworkError(f"{arguments.model} is a float model: quantise it first, with tepal quantize")
    if arguments.simplify:
        simplified = simplify(network)
        network = simplified.network
        err.print(f"{simplified}.")
    return network


def load(arguments) -> tuple[Board, Schedule]:
    """The board, and the model on the engine that the command line asks for."""
    board, network = read(arguments)
    with step("Scheduling"):
        return board, on_board(arguments, board, network, Formats(network))


def on_board(arguments, board: Board, network: Network, formats: Formats) -> Schedule:
    """The model on the engine of ``board`` that the command line asks for; ``formats`` serve all boards."""
    return Schedule(network, _engine(arguments, board, network, formats), formats)


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
