# SPDX-License-Identifier: Apache-2.0
"""The packets between host and device: one definition, from which both sides are made.

On the line a packet is encoded by COBS (consistent overhead byte stuffing, Cheshire and Baker 1999), which leaves no
zero byte in it, and ends with a zero byte.  So whatever was lost, added or changed, the next zero brings both sides
back into step; empty packets mean nothing.  Inside:

======  =========  =============================================================================
offset  field
======  =========  =============================================================================
0       version    of the protocol, :data:`VERSION`
1       kind       see :class:`Kind`
2       tag        uint32; the host counts its requests with it, the device returns it
6       payload    as the kind says
-4      CRC-32     of all before it (IEEE 802.3, as in ``zlib.crc32``)
======  =========  =============================================================================

All numbers are sent low byte first.

=========  ======================================  ==========================================================
request    payload                                 answer
=========  ======================================  ==========================================================
IDENTIFY   none                                    IDENTITY: see :class:`Identity`
INFER      an image, int8, as ``s_axis`` takes it  RESULT: what ``m_axis`` gives: int8 logits, and a trailer
TRACE      what to keep, see :class:`Trace`        TRACED: what was kept, see :class:`Traced`
any        anything that can't be used             ERROR: a byte, see :class:`Fault`
=========  ======================================  ==========================================================

The trailer (:class:`tepal.hdl.answer.Trailer`) is the class, uint16, the number of the frame, uint8, and a
status, uint8 (:class:`tepal.hdl.answer.Status`).  The number counts the images that the accelerator began to take
since reset, modulo 256.  It includes those that the accelerator abandoned because their packets were damaged or of a
wrong length; the status of the next RESULT tells of these.  No other bit of the status is ever set, for no image that
is too long reaches the accelerator.

Requests may follow each other without waiting, as many INFER at a time as the identity's ``credit`` says.  Results
come in the order of their requests: the result of a later one means that an earlier one was lost.  Errors and
identities may overtake them.  Of a packet that arrived damaged the tag may be damaged too; and a device that can't
keep up with errors leaves some out.  A host that waits for an answer therefore needs a time limit, and a new tag each
time that it asks again.

TRACE is for devices with a debug tap; others answer that there is no such request.  One TRACE hands over what the tap
has kept since the one before, and says what to keep from then on.  The device acts on it when all results are out, and
takes no further request until its answer is.
"""

import struct
import zlib
from dataclasses import dataclass, fields
from enum import IntEnum
from typing import Any

from amaranth.lib.crc import catalog
from cobs import cobs
from tepal.hdl.config import RARE, ConfigError, EngineConfig
from tepal.quant import DIGEST_BYTES

__all__ = ["CRC", "DELIMITER", "HEADER", "VERSION", "Fault", "Identity", "Kind", "Packet", "PacketError", "Splitter",
           "Stage", "Trace", "Traced"]

VERSION = 2

CRC = catalog.CRC32_ISO_HDLC(data_width=8)
"""For the gateware; the same as ``zlib.crc32``."""

HEADER = struct.Struct("<BBI")
"""Version, kind, tag."""

DELIMITER = b"\0"

_CRC = struct.Struct("<I")


class Kind(IntEnum):
    """What a packet is; the highest bit marks an answer."""

    IDENTIFY = 0x01
    INFER = 0x02
    TRACE = 0x03
    IDENTITY = 0x81
    RESULT = 0x82
    TRACED = 0x83
    ERROR = 0xFF


class Fault(IntEnum):
    """What an ERROR says of the request."""

    DAMAGED = 1
    """CRC or framing is wrong."""
    OVERRUN = 2
    """The same, and bytes came faster than they could be taken."""
    LENGTH = 3
    """The payload is not as long as the kind, or the network's image, asks."""
    KIND = 4
    """There is no such request."""
    VERSION = 5
    """The device speaks another version: that of the ERROR itself."""
    WEIGHTS = 6
    """The device could not load its weights, and computes nothing."""


class PacketError(ValueError):
    """Bytes between two delimiters that are no whole packet."""


@dataclass(frozen=True)
class Packet:
    """One packet; :meth:`decode` is the inverse of :meth:`encode` without its delimiter."""

    kind: int
    tag: int
    payload: bytes = b""
    version: int = VERSION

    def encode(self) -> bytes:
        """The bytes on the line, delimiter included."""
        body = HEADER.pack(self.version, self.kind, self.tag) + self.payload
        return cobs.encode(body + _CRC.pack(zlib.crc32(body))) + DELIMITER

    @classmethod
    def decode(cls, encoded: bytes) -> "Packet":
        """The packet of the bytes between two delimiters.

        Raises
        ------
        PacketError
            They were damaged.
        """
        try:
            content = cobs.decode(encoded)
        except cobs.DecodeError as error:
            raise PacketError(str(error)) from None
        body, crc = content[:-_CRC.size], content[-_CRC.size:]
        if len(body) < HEADER.size or _CRC.pack(zlib.crc32(body)) != crc:
            raise PacketError("too short" if len(body) < HEADER.size else "wrong CRC")
        version, kind, tag = HEADER.unpack_from(body)
        return cls(kind, tag, body[HEADER.size:], version)

    @staticmethod
    def line_bytes(payload: int) -> int:
        """The most bytes that a packet with ``payload`` bytes takes on the line."""
        return cobs.max_encoded_length(HEADER.size + payload + _CRC.size) + len(DELIMITER)


@dataclass(frozen=True)
class Identity:
    """What a device computes.

    ``digest`` tells which network (:func:`tepal.quant.digest`), ``input_shape`` the image's height, width and
    channels, ``outputs`` the number of logits, and ``credit`` how many INFER may be under way at a time."""

    digest: bytes
    input_shape: tuple[int, int, int]
    outputs: int
    credit: int

    FORMAT = struct.Struct(f"<{DIGEST_BYTES}s3HIB")

    def pack(self) -> bytes:
        """As payload of an IDENTITY."""
        return self.FORMAT.pack(self.digest, *self.input_shape, self.outputs, self.credit)

    @classmethod
    def unpack(cls, payload: bytes) -> "Identity":
        """The inverse of :meth:`pack`; PacketError if the length is another."""
        if len(payload) != cls.FORMAT.size:
            raise PacketError(f"an identity of {len(payload)} bytes")
        digest, height, width, channels, outputs, credit = cls.FORMAT.unpack(payload)
        return cls(digest, (height, width, channels), outputs, credit)


class Stage(IntEnum):
    """Where in a pass a word is written."""

    DEPTHWISE = 0
    """To the tile buffer, from the depthwise engine: a byte a lane."""
    MATRIX = 1
    """To the activation or output memory: a byte a requantiser, repeated to the width of a word."""


@dataclass(frozen=True)
class Trace:
    """What a device shall keep: the words that ``stage`` of pass number ``block`` writes, without the first ``skip``
    of them, as many as it has room for."""

    block: int
    stage: Stage
    skip: int

    FORMAT = struct.Struct("<HBI")

    def pack(self) -> bytes:
        """As payload of a TRACE."""
        return self.FORMAT.pack(self.block, self.stage, self.skip)


_OPTIONAL: dict[str, tuple[int, int | None]] = {
    name: (2 << place, getattr(EngineConfig, name))
    for place, name in enumerate(("activation_words", "weight_words", "input_rows", *RARE))}
"""What few engines have, and its value in all others: where one has it, the last of :class:`Traced`'s other fields has
this bit, and a number follows."""


@dataclass(frozen=True)
class Traced:
    """What a device has kept: ``tag`` is that of the TRACE that asked for it (0 before the first), ``words`` the bytes
    of the words in order of writing, and ``engine`` says how to read them."""

    tag: int
    engine: EngineConfig
    words: bytes

    # All that every EngineConfig has, in its order, so that the host schedules the device's own engine.
    _FIELDS = tuple((field.name, {int: "H", bool: "B", tuple[int, int]: "2H"}[field.type])
                    for field in fields(EngineConfig) if field.name not in _OPTIONAL)

    FORMAT = struct.Struct("<I" + "".join(code for _, code in _FIELDS))

    _WORDS = struct.Struct("<I")

    def pack(self) -> bytes:
        """As payload of a TRACED."""
        values = [getattr(self.engine, name) for name, _ in self._FIELDS]
        flat = [part for value in values for part in (value if isinstance(value, tuple) else (value,))]
        given = {bit: value for name, (bit, lacking) in _OPTIONAL.items()
                 if (value := getattr(self.engine, name)) != lacking}
        return (self.FORMAT.pack(self.tag, *flat[:-1], flat[-1] | sum(given))
                + b"".join(map(self._WORDS.pack, given.values())) + self.words)

    @classmethod
    def unpack(cls, payload: bytes) -> "Traced":
        """The inverse of :meth:`pack`; PacketError if there can be no such engine, or no such number of words."""
        if len(payload) < cls.FORMAT.size:
            raise PacketError(f"a trace of {len(payload)} bytes")
        tag, *flat = cls.FORMAT.unpack_from(payload)
        parts = iter(flat)
        values: dict[str, Any] = {
            name: (next(parts), next(parts)) if code == "2H" else bool(next(parts) & 1) if code == "B" else next(parts)
            for name, code in cls._FIELDS}
        words = payload[cls.FORMAT.size:]
        for name, (bit, _) in _OPTIONAL.items():
            if flat[-1] & bit:
                if len(words) < cls._WORDS.size:
                    raise PacketError(f"a trace of {len(payload)} bytes")
                values[name], = cls._WORDS.unpack_from(words)
                words = words[cls._WORDS.size:]
        try:
            engine = EngineConfig(**values)
        except ConfigError as error:
            raise PacketError(str(error)) from None
        if len(words) % engine.written_bytes:
            raise PacketError(f"{len(words)} bytes in words of {engine.written_bytes}")
        return cls(tag, engine, words)


class Splitter:
    """Cuts received bytes at the delimiters.

    What is longer than ``limit`` bytes is no packet and is not kept."""

    def __init__(self, limit: int):
        self.limit = limit
        self._rest = bytearray()
        self._overlong = False

    def feed(self, data: bytes) -> list[bytes]:
        """The encoded packets that ``data`` completes, none of them empty."""
        found = []
        *ends, rest = data.split(DELIMITER)
        for end in ends:
            self._keep(end)
            if self._rest and not self._overlong:
                found.append(bytes(self._rest))
            self._rest.clear()
            self._overlong = False
        self._keep(rest)
        return found

    def _keep(self, data: bytes) -> None:
        self._rest += data
        if len(self._rest) > self.limit:
            self._rest.clear()
            self._overlong = True
