# SPDX-License-Identifier: Apache-2.0
"""UPduino 3: Lattice iCE40UP5K, 12 MHz, an FT232H to USB.  ``python -m tepal.boards.upduino_v3`` tells more."""

from amaranth.build import Attrs
from amaranth_boards.resources import SPIFlashResources, UARTResource
from amaranth_boards.upduino_v3 import UpduinoV3Platform

from .board import Board, Flash, tell
from .parts.ice40 import ENGINE_UP5K, FIVE_ROWS_UP5K, ICE40UP5K, ROLES_UP5K
from .parts.part import Pin
from .programmer import iceprog

__all__ = ["UPDUINO_V3"]

_PINS = Attrs(IO_STANDARD="SB_LVCMOS")


class _Platform(UpduinoV3Platform):
    # The part's own oscillator is up to 10 % fast or slow, too much for a serial line.
    default_clk = "clk12"
    resources = [
        *(resource for resource in UpduinoV3Platform.resources if not resource.name.startswith("spi_flash")),
        # Without its HOLD, which is where the clock comes in.
        *SPIFlashResources(0, cs_n="16", clk="15", cipo="17", copi="14", attrs=_PINS),
        UARTResource(0, rx="23", tx="25", attrs=_PINS),
    ]


UPDUINO_V3 = Board(
    "upduino-v3", ICE40UP5K, ENGINE_UP5K, (FIVE_ROWS_UP5K,), roles=ROLES_UP5K,
    platform=_Platform, oscillator=12_000_000, baud=1_000_000,
    lights={"ready": Pin("rgb_led", 0, "g"), "busy": Pin("rgb_led", 0, "b"), "error": Pin("rgb_led", 0, "r")},
    target=48.0, lowest=16.0, flash=Flash(Pin("spi_flash_1x"), 1 << 20), buffer=512, programmer=iceprog(),
    notes="close the jumper OSC, which connects the oscillator to pin 20; it has no serial line over USB: connect an "
          "adapter of 3.3 V, its output to pin 23, its input to pin 25")

if __name__ == "__main__":
    tell(UPDUINO_V3)
