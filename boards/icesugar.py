# SPDX-License-Identifier: Apache-2.0
"""iCESugar: Lattice iCE40UP5K, 12 MHz, an iCELink to USB.  ``python -m tepal.boards.icesugar`` tells more."""

from amaranth_boards.icesugar import ICESugarPlatform

from .board import Board, Flash, tell
from .parts.ice40 import ENGINE_UP5K, FIVE_ROWS_UP5K, ICE40UP5K, ROLES_UP5K
from .parts.part import Pin

__all__ = ["ICESUGAR"]

ICESUGAR = Board(
    "icesugar", ICE40UP5K, ENGINE_UP5K, (FIVE_ROWS_UP5K,), roles=ROLES_UP5K,
    platform=ICESugarPlatform, oscillator=12_000_000, baud=115_200,
    lights={"ready": Pin("led_g"), "busy": Pin("led_b"), "error": Pin("led_r")},
    target=48.0, lowest=16.0,
    # 8 MiB; the bitstream, of some 102 KiB, is at its beginning.
    flash=Flash(Pin("spi_flash_1x"), 1 << 20), buffer=512,
    notes="write it with icesprog: -o 0x100000 flash.bin, then tepal.bin")

if __name__ == "__main__":
    tell(ICESUGAR)
