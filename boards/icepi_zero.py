# SPDX-License-Identifier: Apache-2.0
"""Icepi Zero 1.3: Lattice ECP5 25F, 50 MHz, an FT231X to USB.  ``python -m tepal.boards.icepi_zero`` tells more."""

from amaranth_boards.icepi_zero import IcepiZero1_3Platform

from .board import Board, tell
from .parts.ecp5 import ECP5_25F, ENGINE_25F
from .parts.part import Pin
from .programmer import open_fpga_loader

__all__ = ["ICEPI_ZERO"]

ICEPI_ZERO = Board(
    "icepi-zero", ECP5_25F, ENGINE_25F,
    platform=IcepiZero1_3Platform, oscillator=50_000_000, baud=3_000_000,
    lights={"ready": Pin("led", 0), "busy": Pin("led", 1), "error": Pin("led", 2),
            "result0": Pin("led", 3), "result1": Pin("led", 4)},
    target=150.0, lowest=25.0, programmer=open_fpga_loader("icepi-zero", keep=["--write-flash"]))

if __name__ == "__main__":
    tell(ICEPI_ZERO)
