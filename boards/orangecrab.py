# SPDX-License-Identifier: Apache-2.0
"""OrangeCrab r0.2: Lattice ECP5, 48 MHz.  ``python -m tepal.boards.orangecrab`` tells more."""

from dataclasses import replace

from amaranth.build import Attrs
from amaranth_boards.orangecrab_r0_2 import OrangeCrabR0_2_85FPlatform
from amaranth_boards.resources import UARTResource

from .board import Board, tell
from .parts.ecp5 import DENSE_85F, ECP5_25F, ECP5_85F, ENGINE_25F, ENGINE_85F, LOADED_85F
from .parts.part import Pin
from .programmer import dfu_util

__all__ = ["ORANGECRAB_25F", "ORANGECRAB_85F"]


class _Platform(OrangeCrabR0_2_85FPlatform):
    resources = [
        *OrangeCrabR0_2_85FPlatform.resources,
        UARTResource(0, rx="0", tx="1", conn=("io", 0), attrs=Attrs(IO_TYPE="LVCMOS33")),
    ]


class _Platform25F(_Platform):
    device = "LFE5U-25F"


ORANGECRAB_85F = Board(
    "orangecrab-85f", ECP5_85F, ENGINE_85F, LOADED_85F, (DENSE_85F,),
    platform=_Platform, oscillator=48_000_000, baud=1_000_000,
    lights={"ready": Pin("rgb_led", 0, "g"), "busy": Pin("rgb_led", 0, "b"), "error": Pin("rgb_led", 0, "r")},
    button=Pin("button", 0), target=160.0, lowest=24.0, programmer=dfu_util(0x1209, 0x5AF0),
    notes="it has no serial line over USB: connect an adapter of 3.3 V, its output to pin 0, its input to pin 1")

ORANGECRAB_25F = replace(ORANGECRAB_85F, name="orangecrab-25f", part=ECP5_25F, platform=_Platform25F, config=ENGINE_25F,
                         others=(), dense=())

if __name__ == "__main__":
    tell(ORANGECRAB_85F, ORANGECRAB_25F)
