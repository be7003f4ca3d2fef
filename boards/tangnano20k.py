# SPDX-License-Identifier: Apache-2.0
"""Tang Nano 20K: Gowin GW2AR-18C, 27 MHz, a BL616 to USB.  ``python -m tepal.boards.tangnano20k`` tells more."""

from amaranth.build import Attrs, Clock, Pins, Resource
from amaranth.vendor import GowinPlatform
from amaranth_boards.resources import ButtonResources, LEDResources, UARTResource

from .board import Board, tell
from .parts.gowin import ENGINE_20K, GW2AR_18C
from .parts.part import Pin
from .programmer import open_fpga_loader

__all__ = ["TANGNANO20K"]

_PINS = Attrs(IO_TYPE="LVCMOS33")


class _Platform(GowinPlatform):  # pyright: ignore[reportGeneralTypeIssues]
    part, family, default_clk = "GW2AR-LV18QN88C8/I7", "GW2AR-18C", "clk27"
    resources = [
        Resource("clk27", 0, Pins("4", dir="i"), Clock(27e6), _PINS),
        *LEDResources(pins="15 16 17 18 19 20", invert=True, attrs=_PINS),
        *ButtonResources(pins="88 87", attrs=_PINS),
        UARTResource(0, rx="70", tx="69", attrs=_PINS),
    ]
    connectors = []


TANGNANO20K = Board(
    "tangnano20k", GW2AR_18C, ENGINE_20K,
    platform=_Platform, oscillator=27_000_000, baud=921_600,
    lights={"ready": Pin("led", 0), "busy": Pin("led", 1), **{f"result{bit}": Pin("led", 2 + bit) for bit in range(3)},
            "error": Pin("led", 5)},
    button=Pin("button", 0), target=60.0, lowest=16.0,
    programmer=open_fpga_loader("tangnano20k", keep=["--write-flash"]))

if __name__ == "__main__":
    tell(TANGNANO20K)
