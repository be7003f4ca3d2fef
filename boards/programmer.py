# SPDX-License-Identifier: Apache-2.0
"""How bits get onto a board."""

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Programmer", "dfu_suffix", "dfu_util", "iceprog", "open_fpga_loader"]


@dataclass(frozen=True)
class Programmer:
    """How bits get onto a board.

    ``arguments(file, offset)`` follow ``tool``: with an offset, a plain file is written there into the flash memory;
    without one, the file is the bitstream.  ``keep`` are the arguments with which a bitstream survives a power cycle,
    None where it always does.  ``usb`` is the identity of a DFU boot loader."""

    tool: str
    package: str
    arguments: Callable[[Path, int | None], list[str]]
    keep: list[str] | None = None
    flash: bool = False
    usb: tuple[int, int] | None = None


def open_fpga_loader(board: str, *, keep: list[str] | None = None, flash: bool = False) -> Programmer:
    """openFPGALoader, which calls it ``board``."""
    def arguments(file: Path, offset: int | None) -> list[str]:
        place = [] if offset is None else ["--write-flash", "--offset", str(offset)]
        return ["--board", board, *place, str(file)]
    return Programmer("openFPGALoader", "openfpgaloader", arguments, keep, flash)


def iceprog() -> Programmer:
    """iceprog, to a flash memory behind an FT2232H or FT232H."""
    def arguments(file: Path, offset: int | None) -> list[str]:
        return [*([] if offset is None else ["-o", str(offset)]), str(file)]
    return Programmer("iceprog", "fpga-icestorm", arguments, flash=True)


def dfu_util(vendor: int, product: int, *, flash: bool = False) -> Programmer:
    """dfu-util, to a boot loader of this USB identity; where ``flash``, its alternate setting 1 is the place for what a
    board keeps beside the bitstream."""
    def arguments(file: Path, offset: int | None) -> list[str]:
        setting = "0" if offset is None else "1"
        return ["--device", f"{vendor:04x}:{product:04x}", "--alt", setting, "--download", str(file)]
    return Programmer("dfu-util", "dfu-util", arguments, flash=flash, usb=(vendor, product))


def dfu_suffix(content: bytes, vendor: int, product: int) -> bytes:
    """What a DFU file ends with (USB Device Firmware Upgrade 1.1, appendix B), so that it reaches no other device."""
    suffix = struct.pack("<HHHH3sB", 0xFFFF, product, vendor, 0x0100, b"UFD", 16)
    return suffix + struct.pack("<I", zlib.crc32(content + suffix) ^ 0xFFFFFFFF)
