"""How bits get onto a board."""

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tepal.hdl import TOP

__all__ = ["PROGRAMMERS", "Programmer", "dfu_suffix"]


@dataclass(frozen=True)
class Programmer:
    """How bits get onto a board.

    ``arguments(file, offset)`` follow ``tool``: with an offset, a plain file is written there into the flash memory;
    without one, the file is the bitstream.  ``keep`` are the arguments with which a bitstream survives a power cycle,
    None where it always does.  ``usb`` is the identity of a DFU boot loader."""

    tool: str
    package: str
    bitstream: str
    arguments: Callable[[Path, int | None], list[str]]
    keep: list[str] | None = None
    flash: bool = False
    usb: tuple[int, int] | None = None


def _loader(board: str, **options) -> Programmer:
    def arguments(file: Path, offset: int | None) -> list[str]:
        place = [] if offset is None else ["--write-flash", "--offset", str(offset)]
        return ["--board", board, *place, str(file)]
    return Programmer("openFPGALoader", "openfpgaloader", arguments=arguments, **options)


_ORANGECRAB = 0x1209, 0x5AF0

PROGRAMMERS = {
    "ulx3s": _loader("ulx3s", bitstream=f"{TOP}.bit", keep=["--write-flash"]),
    "ecpix5": _loader("ecpix5", bitstream=f"{TOP}.bit", keep=["--write-flash"]),
    # It boots from the flash memory, and is written nowhere else.
    "icebreaker": _loader("ice40_generic", bitstream=f"{TOP}.bin", flash=True),
    "orangecrab": Programmer(
        "dfu-util", "dfu-util", f"{TOP}.bit", usb=_ORANGECRAB,
        arguments=lambda file, _: ["--device", "{:04x}:{:04x}".format(*_ORANGECRAB), "--alt", "0", "--download",
                                   str(file)]),
}
"""By board, without what follows a hyphen."""


def dfu_suffix(content: bytes, vendor: int, product: int) -> bytes:
    """What a DFU file ends with (USB Device Firmware Upgrade 1.1, appendix B), so that it reaches no other device."""
    suffix = struct.pack("<HHHH3sB", 0xFFFF, product, vendor, 0x0100, b"UFD", 16)
    return suffix + struct.pack("<I", zlib.crc32(content + suffix) ^ 0xFFFFFFFF)
