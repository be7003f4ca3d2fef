# SPDX-License-Identifier: Apache-2.0
"""The image of weights in an external memory, for engines that take them as a stream while they work.

It begins with a header, padded to :data:`BLOCK` bytes.  Behind it lie the prologue, which an engine takes once, and the
frame, which it takes anew for every picture, each padded to whole blocks too.  All of it consists of beats of
:data:`BEAT_BYTES` bytes, the first byte lowest; padding is zeros.

=======  =====  ===========================================
byte     bytes  header, integers with the lowest byte first
=======  =====  ===========================================
0        8      ``TEPALWTS``
8        4      :data:`VERSION`
12       4      CRC-32, as zlib's, of every byte behind it
16       4      bytes of the prologue, without padding
20       4      bytes of the frame, without padding
24       16     identity of the network
=======  =====  ===========================================
"""

import struct
import zlib
from dataclasses import dataclass

from tepal.quant import DIGEST_BYTES

from .flash import MAGIC
from .streamed import BEAT

__all__ = ["BEAT_BYTES", "BLOCK", "VERSION", "WeightImage", "WeightImageError", "read_weight_image", "weight_image"]

BEAT_BYTES = BEAT // 8

BLOCK = 128
"""Bytes to whose multiples the parts are padded: what an :class:`~tepal.hdl.memories.axi_reader.AxiReader` reads in one
burst."""

VERSION = 1

_BEGIN = struct.Struct(f"<{len(MAGIC)}sII")
_REST = struct.Struct(f"<II{DIGEST_BYTES}s")


class WeightImageError(ValueError):
    """The image of weights can't be taken; the message is one sentence that says why."""


@dataclass(frozen=True)
class WeightImage:
    """What an external memory holds.  Made by :func:`weight_image`.

    Parameters
    ----------
    data
        All of it.
    identity
        Of the network (:func:`tepal.quant.digest`).
    prologue_beats, frame_beats
        Without padding.
    """

    data: bytes
    identity: bytes
    prologue_beats: int
    frame_beats: int

    @property
    def beats(self) -> int:
        """All of the image's, padding too."""
        return len(self.data) // BEAT_BYTES

    @property
    def first_frame_beat(self) -> int:
        """Beats before the frame's first one."""
        return (BLOCK + _padded(BEAT_BYTES * self.prologue_beats)) // BEAT_BYTES

    @property
    def prologue(self) -> bytes:
        return self.data[BLOCK:BLOCK + BEAT_BYTES * self.prologue_beats]

    @property
    def frame(self) -> bytes:
        start = BEAT_BYTES * self.first_frame_beat
        return self.data[start:start + BEAT_BYTES * self.frame_beats]

    @property
    def header_crc(self) -> int:
        """CRC-32 of the header, padding too."""
        return zlib.crc32(self.data[:BLOCK])

    @property
    def crc(self) -> int:
        """CRC-32 of the whole image.  (That in the header leaves out what lies before it.)"""
        return zlib.crc32(self.data)


def weight_image(identity: bytes, prologue: bytes, frame: bytes) -> WeightImage:
    """The image for the network ``identity``.

    Raises
    ------
    ValueError
        A part is no whole number of beats, the frame is empty, or ``identity`` has another length.
    """
    if len(prologue) % BEAT_BYTES or len(frame) % BEAT_BYTES or not frame or len(identity) != DIGEST_BYTES:
        raise ValueError(f"a prologue of {len(prologue)} bytes, a frame of {len(frame)} and an identity of "
                         f"{len(identity)} make no image of weights")
    rest = _REST.pack(len(prologue), len(frame), identity).ljust(BLOCK - _BEGIN.size, b"\0")
    rest += b"".join(part.ljust(_padded(len(part)), b"\0") for part in (prologue, frame))
    data = _BEGIN.pack(MAGIC, VERSION, zlib.crc32(rest)) + rest
    return WeightImage(data, identity, len(prologue) // BEAT_BYTES, len(frame) // BEAT_BYTES)


def read_weight_image(data: bytes, identity: bytes | None = None) -> WeightImage:
    """The image that ``data`` begins with, whatever lies behind its end.

    Parameters
    ----------
    identity
        Of the network that it must belong to.

    Raises
    ------
    WeightImageError
        It is no image, of another version, incomplete, damaged, or another network's.
    """
    if not data.startswith(MAGIC) or len(data) < BLOCK:
        raise WeightImageError(f"this is no image of weights: it does not begin with a header of {BLOCK} bytes and "
                               f"{MAGIC.decode()!r} in it")
    _, version, crc = _BEGIN.unpack_from(data)
    if version != VERSION:
        raise WeightImageError(f"the image of weights is of version {version} instead of {VERSION}: generate it anew")
    prologue_bytes, frame_bytes, whose = _REST.unpack_from(data, _BEGIN.size)
    first = BLOCK + _padded(prologue_bytes)
    end = first + _padded(frame_bytes)
    if len(data) < end:
        raise WeightImageError(f"the image of weights is incomplete: {len(data)} of its {end} bytes are there")
    if zlib.crc32(data[_BEGIN.size:end]) != crc:
        raise WeightImageError("the image of weights is damaged: its CRC is another than its header says")
    if identity not in (None, whose):
        raise WeightImageError("the image of weights belongs to another network: take the one that was generated with "
                               "the design")
    return WeightImage(data[:end], whose, prologue_bytes // BEAT_BYTES, frame_bytes // BEAT_BYTES)


def _padded(size: int) -> int:
    return -(-size // BLOCK) * BLOCK
