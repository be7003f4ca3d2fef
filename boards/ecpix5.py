# SPDX-License-Identifier: Apache-2.0
"""ECPIX-5: Lattice ECP5-5G, 100 MHz, an FT2232H to USB.  ``python -m tepal.boards.ecpix5`` tells more."""

from dataclasses import replace

from amaranth_boards.ecpix5 import ECPIX545Platform, ECPIX585Platform

from .board import Board, tell
from .parts.ecp5 import DENSE_85F, ECP5_5G_45F, ECP5_5G_85F, ENGINE_45F, ENGINE_85F, LOADED_85F
from .parts.part import Pin
from .programmer import open_fpga_loader

__all__ = ["ECPIX5_45F", "ECPIX5_85F"]

ECPIX5_85F = Board(
    "ecpix5-85f", ECP5_5G_85F, ENGINE_85F, LOADED_85F, (DENSE_85F,),
    platform=ECPIX585Platform, oscillator=100_000_000, baud=3_000_000,
    lights={"ready": Pin("rgb_led", 0, "g"), "busy": Pin("rgb_led", 0, "b"), "error": Pin("rgb_led", 0, "r"),
            "result0": Pin("rgb_led", 1, "g"), "result1": Pin("rgb_led", 2, "g"), "result2": Pin("rgb_led", 3, "g"),
            "result3": Pin("rgb_led", 3, "b")},
    target=160.0, lowest=25.0, programmer=open_fpga_loader("ecpix5", keep=["--write-flash"]))

ECPIX5_45F = replace(ECPIX5_85F, name="ecpix5-45f", part=ECP5_5G_45F, platform=ECPIX545Platform, config=ENGINE_45F,
                     others=(), dense=())

if __name__ == "__main__":
    tell(ECPIX5_85F, ECPIX5_45F)
