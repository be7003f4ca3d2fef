# SPDX-License-Identifier: Apache-2.0
"""The boards, by name: those of this package, those that other packages bring, and those in a file of one's own."""

import runpy
from collections.abc import Mapping
from difflib import get_close_matches
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from types import MappingProxyType

from tepal.hdl import EngineConfig
from tepal.quant import NetworkError

from .board import Board
from .colorlight_5a75b import COLORLIGHT_5A75B
from .ecpix5 import ECPIX5_45F, ECPIX5_85F
from .icebreaker import ICEBREAKER
from .icebreaker_bitsy import ICEBREAKER_BITSY
from .icepi_zero import ICEPI_ZERO
from .icesugar import ICESUGAR
from .icesugar_pro import ICESUGAR_PRO
from .orangecrab import ORANGECRAB_25F, ORANGECRAB_85F
from .parts.part import Part
from .tangnano9k import TANGNANO9K
from .tangnano20k import TANGNANO20K
from .ulx3s import ULX3S_12F, ULX3S_25F, ULX3S_45F, ULX3S_85F
from .upduino_v3 import UPDUINO_V3

__all__ = ["BOARDS", "ENTRY_POINTS", "all_boards", "get_board"]

_GENERIC = Board("generic", Part("any FPGA"),
                 EngineConfig(rows=4, columns=8, lanes=4, window=(3, 3), requantisers=4, input_bytes=1))

BOARDS = {board.name: board for board in (
    ULX3S_85F, ULX3S_45F, ULX3S_25F, ULX3S_12F, ORANGECRAB_85F, ORANGECRAB_25F, ECPIX5_85F, ECPIX5_45F, ICEPI_ZERO,
    ICESUGAR_PRO, COLORLIGHT_5A75B, ICEBREAKER, ICEBREAKER_BITSY, ICESUGAR, UPDUINO_V3, TANGNANO9K, TANGNANO20K,
    _GENERIC)}
"""Every board of this package by name."""

ENTRY_POINTS = "tepal.boards"
"""The group of entry points by which other packages bring boards: each is a :class:`Board` or several."""


def get_board(name: str) -> Board:
    """The board called ``name``, or the one that a Python file holds: ``FILE.py``, or ``FILE.py:NAME`` if it holds
    several.

    Raises
    ------
    NetworkError
        There is none, with the nearest names; or the file, or an installed package, can't be used.

    Examples
    --------
    >>> get_board("icebreaker").part.name
    'iCE40UP5K'
    """
    file, _, inside = name.partition(".py:")
    if inside or name.endswith(".py"):
        return _from_file(Path(f"{file}.py") if inside else Path(name), inside)
    if name in BOARDS:
        return BOARDS[name]
    known = all_boards()
    if name in known:
        return known[name]
    near = get_close_matches(name.lower(), known, n=3, cutoff=0.4)
    guess = f"; did you mean {' or '.join(near)}?" if near else ""
    raise NetworkError(f"there is no board {name!r}{guess} (known: {', '.join(known)}; or a file of your own, "
                       "my_board.py)")


def all_boards() -> Mapping[str, Board]:
    """Every board by name: those of this package, then those of installed ones.

    Raises
    ------
    NetworkError
        What a package brings is no board, or has the name of another one.
    """
    return MappingProxyType({**BOARDS, **_installed()})


@cache
def _installed() -> Mapping[str, Board]:
    """What installed packages bring.  They can't change while this process runs."""
    boards: dict[str, Board] = {}
    for entry in sorted(entry_points(group=ENTRY_POINTS), key=lambda entry: (entry.name, entry.value)):
        origin = f"the package {entry.dist.name}" if entry.dist else entry.value
        way_out = "mend it, or uninstall it"
        try:
            brought = entry.load()
        except Exception as error:
            raise NetworkError(f"{origin} is to bring boards, but {entry.value} can't be loaded "
                               f"({_told(error)}): {way_out}") from error
        found = [brought] if isinstance(brought, Board) else brought
        if not isinstance(found, tuple | list) or not all(isinstance(board, Board) for board in found):
            raise NetworkError(f"{origin} is to bring boards, but {entry.value} is no Board and no tuple of them: "
                               f"{way_out}")
        for board in found:
            if board.name in boards or board.name in BOARDS:
                raise NetworkError(f"{origin} brings a board {board.name!r}, which there is already: {way_out}")
            boards[board.name] = board
    return MappingProxyType(boards)


def _from_file(path: Path, name: str) -> Board:
    """The board in a Python file; the one called ``name`` unless that is empty."""
    if not path.is_file():
        raise NetworkError(f"there is no file {path} with a board: give the name of one ({', '.join(BOARDS)}), or a "
                           "Python file that makes a Board")
    try:
        # Unlike an import, this writes nothing beside the file.
        made = runpy.run_path(str(path), run_name=f"tepal_board_{path.stem}")
    except Exception as error:
        raise NetworkError(f"{path} can't be run as Python ({_told(error)})") from error
    # What it imports from elsewhere are boards of that place, such as the one that it is a variant of.
    known = {id(board) for board in BOARDS.values()}
    boards = {board.name: board for board in made.values()
              if isinstance(board, Board) and id(board) not in known}
    if not boards:
        raise NetworkError(f"{path} holds no board: it has to make a tepal.boards.board.Board")
    if not name and len(boards) > 1:
        raise NetworkError(f"{path} holds several boards: give one of them, as "
                           f"{' or '.join(f'{path}:{each}' for each in boards)}")
    if name and name not in boards:
        raise NetworkError(f"{path} holds no board {name!r} (it holds {', '.join(boards)})")
    return boards[name] if name else next(iter(boards.values()))


def _told(error: Exception) -> str:
    """What went wrong, in one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
