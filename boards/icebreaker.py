# SPDX-License-Identifier: Apache-2.0
"""iCEBreaker: Lattice iCE40UP5K, 12 MHz, FT2232H to USB.  ``python -m tepal.boards.icebreaker`` tells more."""

from amaranth_boards.icebreaker import ICEBreakerPlatform

from .board import Board, Flash, tell
from .parts.ice40 import ENGINE_UP5K, FIVE_ROWS_UP5K, ICE40UP5K, ROLES_UP5K
from .parts.part import Pin
from .programmer import open_fpga_loader

__all__ = ["ICEBREAKER"]


class _Platform(ICEBreakerPlatform):
    # With the part that breaks off still there, or plugged into PMOD 2.
    resources = [*ICEBreakerPlatform.resources, *ICEBreakerPlatform.break_off_pmod]


ICEBREAKER = Board(
    "icebreaker", ICE40UP5K, ENGINE_UP5K, (FIVE_ROWS_UP5K,), roles=ROLES_UP5K,
    # A bit is four cycles of the oscillator, the fewest; the USB chip has the same one.
    platform=_Platform, oscillator=12_000_000, baud=3_000_000,
    lights={"ready": Pin("led_g", 0), "error": Pin("led_r", 0), "busy": Pin("led_r", 1),
            **{f"result{bit}": Pin("led_g", 1 + bit) for bit in range(4)}},
    button=Pin("button", 0), target=48.0, lowest=16.0,
    # 16 MiB; the bitstream, of some 102 KiB, is at its beginning.
    flash=Flash(Pin("spi_flash_1x"), 1 << 20), buffer=512,
    # It boots from the flash memory, and is written nowhere else.
    programmer=open_fpga_loader("ice40_generic", flash=True))

if __name__ == "__main__":
    tell(ICEBREAKER)
