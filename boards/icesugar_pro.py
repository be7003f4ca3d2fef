# SPDX-License-Identifier: Apache-2.0
"""iCESugar-pro: Lattice ECP5 25F, 25 MHz, an iCELink to USB.  ``python -m tepal.boards.icesugar_pro`` tells more."""

from amaranth_boards.icesugar_pro import ICESugarProPlatform

from .board import Board, tell
from .parts.ecp5 import ECP5_25F, ENGINE_25F
from .parts.part import Pin

__all__ = ["ICESUGAR_PRO"]

ICESUGAR_PRO = Board(
    "icesugar-pro", ECP5_25F, ENGINE_25F,
    platform=ICESugarProPlatform, oscillator=25_000_000, baud=115_200,
    lights={"ready": Pin("rgb_led", 0, "g"), "busy": Pin("rgb_led", 0, "b"), "error": Pin("rgb_led", 0, "r")},
    target=150.0, lowest=25.0,
    notes="write it with icesprog, or copy tepal.bit to the drive that its iCELink shows")

if __name__ == "__main__":
    tell(ICESUGAR_PRO)
