"""What the clocks of all families have in common."""

# Amaranth gives components their ports at run time.
# pyright: reportAttributeAccessIssue=false

from fractions import Fraction

from amaranth import Module, Signal
from amaranth.lib import io
from amaranth.lib.cdc import ResetSynchronizer

from .part import Board

__all__ = ["MHZ", "hold_in_reset", "within"]

MHZ = 1_000_000


def within(value: Fraction | int, limits: tuple[int, int]) -> bool:
    """Whether a frequency keeps a data sheet's limits."""
    return limits[0] <= value <= limits[1]


def hold_in_reset(m: Module, platform, board: Board, until) -> None:
    """Reset of the domains ``line`` and ``sync``: both until ``until`` holds, and while the board's button is pressed.

    They are never reset alone: bytes that cross from one to the other count on that."""
    pressed = Signal()
    if board.button is not None:
        m.submodules.button = button = io.Buffer("i", platform.request(board.button.resource, board.button.number,
                                                                       dir="-"))
        m.d.comb += pressed.eq(button.i)
    for domain in ("line", "sync"):
        m.submodules[f"{domain}_reset"] = ResetSynchronizer(~until | pressed, domain=domain)
