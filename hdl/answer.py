# SPDX-License-Identifier: Apache-2.0
"""What an accelerator answers a frame with: every result, then a trailer.  Hardware, models and hosts read it here."""

import struct
from enum import IntFlag
from typing import NamedTuple

import numpy as np
from amaranth.lib import data

__all__ = ["BEGUN_FRAME", "FRAME", "Status", "Trailer", "pack_answer"]

FRAME = data.StructLayout({"number": 8, "too_long": 1, "abandoned": 1})
"""What goes with a frame from its arrival to its answer: its ``number``, modulo 256, among all that were begun since
reset; whether it was ``too_long``; and whether one between the frame answered before and this one was ``abandoned``."""


BEGUN_FRAME = data.StructLayout({**{name: field.shape for name, field in FRAME}, "cut_short": 1})
"""The same of an engine that begins with a frame before its end has come: whether it was ``cut_short`` itself, so that
there is no answer to it."""


class Status(IntFlag):
    """The last byte of every packet that an accelerator sends; 0 if there is nothing to tell."""

    TOO_LONG = 1 << 0
    """The frame was longer than an image: the answer is that of the image's bytes, the rest was dropped."""
    ABANDONED = 1 << 1
    """Between the frame answered before and this one another was abandoned: ``tlast`` came before its final beat."""
    CUT_OFF = 1 << 7
    """A reset came within this packet, which is no answer: this byte is all that follows what was sent before it."""


_TRAILER = struct.Struct("<HBB")


class Trailer(NamedTuple):
    """What an answer ends with: the index of the largest result, uint16, low byte first; the frame's number, uint8; its
    :class:`Status`, uint8."""

    argmax: int
    number: int
    status: int

    BYTES = _TRAILER.size

    @classmethod
    def unpack(cls, content: bytes) -> "Trailer":
        """The trailer in the last :attr:`BYTES` bytes of an answer."""
        return cls(*_TRAILER.unpack(content))

    def pack(self) -> bytes:
        """The inverse of :meth:`unpack`."""
        return _TRAILER.pack(*self)


def pack_answer(results: np.ndarray, number: int, status: int = 0) -> bytes:
    """The bytes of an answer to frame ``number``, counted from 0 since reset: int8 ``results``, of any shape, in order,
    and the :class:`Trailer`, where of several largest results the first one counts."""
    return results.astype(np.int8).tobytes() + Trailer(int(results.argmax()), number % 256, status).pack()
