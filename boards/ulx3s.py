# SPDX-License-Identifier: Apache-2.0
"""ULX3S: Lattice ECP5, 25 MHz, an FTDI FT231X to USB.  ``python -m tepal.boards.ulx3s`` tells more."""

from dataclasses import replace

from amaranth_boards.ulx3s import ULX3S_12F_Platform, ULX3S_25F_Platform, ULX3S_45F_Platform, ULX3S_85F_Platform
from tepal.hdl.memories.sdram_timing import ULX3S_CHIPS, strictest

from .board import Board, Flash, Sdram, tell
from .parts import ecp5
from .parts.part import Pin
from .programmer import open_fpga_loader

__all__ = ["ULX3S_12F", "ULX3S_25F", "ULX3S_45F", "ULX3S_85F"]

ULX3S_85F = Board(
    "ulx3s-85f", ecp5.ECP5_85F, ecp5.ENGINE_85F, ecp5.LOADED_85F, (ecp5.DENSE_85F,),
    platform=ULX3S_85F_Platform, oscillator=25_000_000, baud=3_000_000,
    lights={"ready": Pin("led", 7), "busy": Pin("led", 6), "error": Pin("led", 5),
            **{f"result{bit}": Pin("led", bit) for bit in range(4)}},
    button=Pin("button_fire", 0),
    # The ESP32 beside the FPGA reboots the board when this one falls.
    high=(Pin("esp32", 0, "gpio0"),), target=150.0, lowest=25.0,
    # A bitstream for the largest part is 1.9 MB uncompressed.
    flash=Flash(Pin("spi_flash"), 2 << 20, idle=("hold", "wp")),
    memory=Sdram(Pin("sdram"), strictest(*ULX3S_CHIPS), 80.0, 100.0),
    programmer=open_fpga_loader("ulx3s", keep=["--write-flash"]))

ULX3S_45F = replace(ULX3S_85F, name="ulx3s-45f", part=ecp5.ECP5_45F, platform=ULX3S_45F_Platform,
                    config=ecp5.ENGINE_45F, others=(), dense=())

ULX3S_25F = replace(ULX3S_85F, name="ulx3s-25f", part=ecp5.ECP5_25F, platform=ULX3S_25F_Platform,
                    config=ecp5.ENGINE_25F, others=(), dense=())

ULX3S_12F = replace(ULX3S_25F, name="ulx3s-12f", part=ecp5.ECP5_12F, platform=ULX3S_12F_Platform,
                    config=ecp5.ENGINE_12F)

if __name__ == "__main__":
    tell(ULX3S_85F, ULX3S_45F, ULX3S_25F, ULX3S_12F)
