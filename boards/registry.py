# SPDX-License-Identifier: Apache-2.0
"""The boards, by name."""

from difflib import get_close_matches

from tepal.hdl import EngineConfig
from tepal.quant import NetworkError

from .board import Board
from .ecpix5 import ECPIX5_85F
from .icebreaker import ICEBREAKER
from .orangecrab import ORANGECRAB_85F
from .parts.part import Part
from .ulx3s import ULX3S_25F, ULX3S_45F, ULX3S_85F

__all__ = ["BOARDS", "get_board"]

_GENERIC = Board("generic", Part("any FPGA"),
                 EngineConfig(rows=4, columns=8, lanes=4, window=(3, 3), requantisers=4, input_bytes=1))

BOARDS = {board.name: board for board in (
    ULX3S_85F, ULX3S_45F, ULX3S_25F, ORANGECRAB_85F, ECPIX5_85F, ICEBREAKER, _GENERIC)}
"""Every board by name."""


def get_board(name: str) -> Board:
    """The board called ``name``; NetworkError with the nearest names if there is none."""
    if name in BOARDS:
        return BOARDS[name]
    near = get_close_matches(name.lower(), BOARDS, n=3, cutoff=0.4)
    guess = f"; did you mean {' or '.join(near)}?" if near else ""
    raise NetworkError(f"there is no board {name!r}{guess} (known: {', '.join(BOARDS)})")
