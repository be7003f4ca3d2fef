# SPDX-License-Identifier: Apache-2.0
"""Tang Nano 9K: Gowin GW1NR-9C, 27 MHz, a BL702 to USB.  ``python -m tepal.boards.tangnano9k`` tells more."""

from amaranth_boards.tang_nano_9k import TangNano9kPlatform

from .board import Board, tell
from .parts.gowin import ENGINE_9K, GW1NR_9C
from .parts.part import Pin
from .programmer import open_fpga_loader

__all__ = ["TANGNANO9K"]

TANGNANO9K = Board(
    "tangnano9k", GW1NR_9C, ENGINE_9K,
    platform=TangNano9kPlatform, oscillator=27_000_000, baud=921_600,
    lights={"ready": Pin("led", 0), "busy": Pin("led", 1), **{f"result{bit}": Pin("led", 2 + bit) for bit in range(3)},
            "error": Pin("led", 5)},
    button=Pin("button", 0), target=50.0, lowest=16.0,
    programmer=open_fpga_loader("tangnano9k", keep=["--write-flash"]))

if __name__ == "__main__":
    tell(TANGNANO9K)
