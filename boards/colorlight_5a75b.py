# SPDX-License-Identifier: Apache-2.0
"""Colorlight 5A-75B 7.0: Lattice ECP5 25F, 25 MHz.  ``python -m tepal.boards.colorlight_5a75b`` tells more."""

from amaranth.build import Attrs
from amaranth_boards.colorlight_5a75b_r7_0 import Colorlight_5A75B_R70Platform
from amaranth_boards.resources import RGBLEDResource

from .board import Board, tell
from .parts.ecp5 import ECP5_25F, ENGINE_25F
from .parts.part import Pin
from .programmer import open_fpga_loader

__all__ = ["COLORLIGHT_5A75B"]


class _Platform(Colorlight_5A75B_R70Platform):
    resources = [
        *Colorlight_5A75B_R70Platform.resources,
        # Its only light is on the serial line's pin: these are R0, G0 and B0 of a connector for a panel of lights.
        RGBLEDResource(0, r="1", g="2", b="3", conn=("j", 1), attrs=Attrs(IO_TYPE="LVCMOS33")),
    ]


COLORLIGHT_5A75B = Board(
    "colorlight-5a-75b", ECP5_25F, ENGINE_25F,
    platform=_Platform, oscillator=25_000_000, baud=1_000_000,
    lights={"ready": Pin("rgb_led", 0, "g"), "busy": Pin("rgb_led", 0, "b"), "error": Pin("rgb_led", 0, "r")},
    target=150.0, lowest=25.0, programmer=open_fpga_loader("colorlight", keep=["--write-flash"]),
    notes="it has no USB: connect an adapter for JTAG, and one of 3.3 V for the line to J19, its output to KEY+, "
          "its input to DATA_LED-")

if __name__ == "__main__":
    tell(COLORLIGHT_5A75B)
