# SPDX-License-Identifier: Apache-2.0
"""What several commands take: types of arguments, and the model, board and engine."""

import argparse
import math
from pathlib import Path

from tepal.boards.registry import BOARDS
from tepal.hdl import ConfigError

__all__ = ["ENGINE", "SERIAL", "SMALL", "above_zero", "add_input_shape", "add_model_arguments", "add_output_argument",
           "chosen", "count", "mhz", "path"]

ENGINE = ("rows", "columns", "lanes", "window", "requantisers", "packing", "operands", "logic_columns",
          "columns_abreast", "requantiser_multiplier", "copy_lanes", "input_bytes", "activation_words",
          "weight_words", "input_rows")
"""Parameters of the engine that a command line may give."""

SMALL = {"rows": 1, "columns": 1, "lanes": 1, "window": (1, 1), "requantisers": 1, "packing": 1, "input_bytes": 1,
         "operands": 1, "logic_columns": 0, "columns_abreast": 1, "requantiser_multiplier": 0}
"""Those of an engine of one multiplier, which runs any network, with its weights on the chip or from outside."""

SERIAL = {"requantisers": 1, "requantiser_cycles": 3, "lane_cycles": 4, "operands": 1, "columns_abreast": 1,
          "requantiser_multiplier": 0}
"""Those of small requantisers, which take as few cycles for a value as such can; weights are on the chip then, and of
each sum one operand is taken at a time."""


def path(text: str) -> Path:
    """A path.  An empty one is a mistake, such as an unset variable of the shell, and not the current folder."""
    if not text:
        raise argparse.ArgumentTypeError("an empty path")
    return Path(text)


def _size(text: str) -> tuple[int, int]:
    rows, _, columns = text.partition("x")
    if not (rows.isdecimal() and columns.isdecimal()):
        raise argparse.ArgumentTypeError(f"{text!r} is not a size like 3x3")
    return int(rows), int(columns)


def count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 100:
        raise argparse.ArgumentTypeError(f"{text!r} is not 1 to 100")
    return int(text)


def mhz(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 10_000:
        raise argparse.ArgumentTypeError(f"{text!r} is no frequency in MHz")
    return value


def above_zero(kind):
    """A type of argument: a finite number of ``kind``, above zero."""
    def convert(text: str):
        value = kind(text)
        if not 0 < value < math.inf:
            raise argparse.ArgumentTypeError(f"{text} is not above 0")
        return value
    convert.__name__ = {int: "whole number", float: "number"}[kind]
    return convert


def _shape(text: str) -> tuple[int, ...]:
    sizes = text.split(",")
    if not all(size.isdecimal() and 0 < int(size) < 1 << 26 for size in sizes) or len(sizes) < 2:
        raise argparse.ArgumentTypeError(f"{text!r} is not a shape like 1,3,96,96")
    return tuple(map(int, sizes))


def add_input_shape(parser) -> None:
    """The shape of a model's input, where its file leaves it open."""
    parser.add_argument("--input-shape", type=_shape, metavar="1,C,H,W",
                        help="shape of an .onnx file's input, in its own order of dimensions, where the file leaves "
                        "it open or has another batch")


def add_model_arguments(parser, *, any_board: bool = False, without: str = "compare all") -> None:
    """A quantised model, a board (which may be left out if ``any_board``; help says what is done ``without``), and an
    engine in place of the board's."""
    parser.add_argument("model", type=path, metavar="MODEL", help="int8 .tflite or .onnx file")
    add_input_shape(parser)
    parser.add_argument("--board", required=not any_board, metavar="B",
                        help=f"one of {', '.join(BOARDS)}, or a file of your own, my_board.py"
                        f"{f' (default: {without})' * any_board}")
    parser.add_argument("--part", metavar="NAME", help="of the board generic: its FPGA, such as XC7A35T, whose "
                        "multipliers, memory blocks and logic are limits then (default: any)")
    parser.add_argument("--simplify", action=argparse.BooleanOptionalAction, default=True,
                        help="leave out channels that never change the answer, unless the network were slower without "
                        "them (default: yes)")
    engine = parser.add_argument_group("engine", "in place of the board's default")
    engine.add_argument("--small", action="store_true", help="one multiplier, one lane, one tap: the least "
                        "array that runs any network, as --rows, --columns, --lanes, --requantisers, --packing, "
                        "--operands, --columns-abreast and --input-bytes of 1, --window 1x1 and "
                        "--requantiser-multiplier 0 are; of these, one that is given beside it holds")
    engine.add_argument("--serial", action="store_true", help="one small requantiser that takes three cycles for a "
                        "value, and another one for all lanes that takes four, as small boards have by themselves; not "
                        "with weights from outside")
    engine.add_argument("--rows", type=int, metavar="P", help="pixels in a tile")
    engine.add_argument("--columns", type=int, metavar="C", help="output channels made at once")
    engine.add_argument("--lanes", type=int, metavar="L", help="channels of the depthwise engine")
    engine.add_argument("--window", type=_size, metavar="RxC", help="taps read at once, such as 3x3")
    engine.add_argument("--requantisers", type=int, metavar="R", help="results a cycle; divides C, and divides L "
                        "or is twice as many")
    engine.add_argument("--packing", type=int, metavar="N", help="rows of the array that share a multiplier, 1 "
                        "or 2 (default: the board's, if that divides P)")
    engine.add_argument("--operands", type=int, metavar="K", help="operands of each sum in the array that are "
                        "multiplied in a cycle (default: the board's)")
    engine.add_argument("--logic-columns", type=int, metavar="N", help="columns of the array whose multipliers are "
                        "made of logic (default: the board's)")
    engine.add_argument("--columns-abreast", type=int, metavar="N", help="neighbouring columns of the array that take "
                        "their operands in the same cycle, and their requantisers' parameters too; divides C (default: "
                        "the board's)")
    engine.add_argument("--requantiser-multiplier", type=int, metavar="BITS", help="bits of the factors of a hardware "
                        "multiplier in each pipelined requantiser, 18 on most parts and 16 on an iCE40; 0: its "
                        "products are made of logic (default: the board's)")
    engine.add_argument("--copy-lanes", type=int, metavar="N", help="bytes of the first convolution's windows "
                        "copied at once, if more than L")
    engine.add_argument("--input-bytes", type=int, metavar="N", help="width of the input stream")
    engine.add_argument("--activation-words", type=int, metavar="N", help="words of activations in each bank, at most: "
                        "layers between which larger maps lie run in bands of rows (default: all maps whole where they "
                        "fit)")
    engine.add_argument("--weight-words", type=int, metavar="N", help="words of the array's weights on the chip, a "
                        "weight for each column, at most: all weights come from an external memory, again for every "
                        "frame (default: all are on the chip)")
    engine.add_argument("--input-rows", type=int, metavar="N", help="rows of the image in the input memory, at most: "
                        "the first layer begins as they arrive (default: the whole image where it fits, and on "
                        "arrival where that is no slower with the image in memory)")


def add_output_argument(parser) -> None:
    """The folder that a command writes."""
    parser.add_argument("-o", "--output", type=path, required=True, metavar="DIR", help="folder to write to")


def chosen(arguments) -> dict:
    """The engine's parameters that the command line gives: one by one, and what they leave of ``--small`` and
    ``--serial``."""
    if arguments.serial and arguments.weight_words is not None:
        raise ConfigError("serial requantisers take no weights from outside: leave out --serial or --weight-words")
    given = {name: value for name in ENGINE if (value := getattr(arguments, name)) is not None}
    return (SMALL if arguments.small else {}) | (SERIAL if arguments.serial else {}) | given
