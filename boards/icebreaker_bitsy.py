# SPDX-License-Identifier: Apache-2.0
"""iCEBreaker bitsy: Lattice iCE40UP5K, 12 MHz, USB to its boot loader.  ``python -m tepal.boards.icebreaker_bitsy``
tells more."""

from amaranth.build import Attrs
from amaranth_boards.icebreaker_bitsy import ICEBreakerBitsyPlatform
from amaranth_boards.resources import UARTResource

from .board import Board, Flash, tell
from .parts.ice40 import ENGINE_UP5K, FIVE_ROWS_UP5K, ICE40UP5K, ROLES_UP5K
from .parts.part import Pin
from .programmer import dfu_util

__all__ = ["ICEBREAKER_BITSY"]


class _Platform(ICEBreakerBitsyPlatform):
    resources = [
        *ICEBreakerBitsyPlatform.resources,
        UARTResource(0, rx="0", tx="1", conn=("edge", 0), attrs=Attrs(IO_STANDARD="SB_LVCMOS")),
    ]


ICEBREAKER_BITSY = Board(
    "icebreaker-bitsy", ICE40UP5K, ENGINE_UP5K, (FIVE_ROWS_UP5K,), roles=ROLES_UP5K,
    platform=_Platform, oscillator=12_000_000, baud=1_000_000,
    lights={"ready": Pin("led_g"), "error": Pin("led_r"), "busy": Pin("rgb_led", 0, "b")},
    button=Pin("button", 0), target=48.0, lowest=16.0,
    # What the boot loader calls firmware, its alternate setting 1: 128 KiB.
    flash=Flash(Pin("spi_flash_1x"), 0xA0000), buffer=512, programmer=dfu_util(0x1D50, 0x6146, flash=True),
    notes="hold the button while it is plugged in, for the boot loader; it has no serial line over USB: connect an "
          "adapter of 3.3 V, its output to the pin marked 0, its input to the pin marked 1")

if __name__ == "__main__":
    tell(ICEBREAKER_BITSY)
