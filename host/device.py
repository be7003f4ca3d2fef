# SPDX-License-Identifier: Apache-2.0
"""The host's end of the link: a device on a serial port, and images through it."""

import contextlib
import errno
import random
import time
from collections import deque
from collections.abc import Callable, Container, Iterable

import numpy as np
import serial
from serial.tools import list_ports
from tepal.hdl import EngineConfig
from tepal.hdl.answer import Status, Trailer
from tepal.hdl.link.protocol import (
    DELIMITER,
    VERSION,
    Fault,
    Identity,
    Kind,
    Packet,
    PacketError,
    Splitter,
    Stage,
    Trace,
    Traced,
)
from tepal.hdl.link.uart import LINE_BITS
from tepal.quant import Network, digest

__all__ = ["BAUD", "Device", "HostError"]

BAUD = 3_000_000
"""What the boards' lines run at, but for one without a USB chip of its own (see ``Board.baud``)."""

_CHUNK = 1024
"""Bytes written before looking for answers: less than operating systems keep of either direction."""

_TICK = 0.02
"""Seconds after which a read that finds nothing comes back."""

_STUCK = 20.0
"""Seconds after which a port that takes no bytes is given up; a busy computer, or a simulated device on one, must not
get there."""


_TRACED = 1 << 15
"""Most bytes that any debug tap keeps."""


class HostError(RuntimeError):
    """The device can't be worked with; the message is one sentence that says which port and why."""


class Device:
    """A Tepal design on a serial port.

    Every image ends in its result or in a HostError, within ``attempts`` times ``timeout`` and the time that its bytes
    take on the line.  Each attempt has a tag of its own, and an answer counts only for the attempt that asked.  A
    device that answers what had been given up, such as a simulated one, gets more time: up to ten times ``timeout``.

    ``abandoned`` counts the results before which the device abandoned images that came damaged or cut short, this
    host's or those of a program before: what was this host's it has sent again.

    Parameters
    ----------
    port
        A name such as ``/dev/ttyUSB0``, or any URL that pyserial takes.
    baud
        Bits a second.
    timeout
        Seconds without an answer after which requests are taken for lost, beside those that their bytes take.
    attempts
        How often to ask before giving up.
    first_tag
        Of the first request.  At random by default, so that nothing left over from another program is taken for an
        answer.

    Raises
    ------
    HostError
        There is no such port, or it is in use, or may not be opened.
    """

    def __init__(self, port: str, *, baud: int = BAUD, timeout: float = 1.0, attempts: int = 5,
                 first_tag: int | None = None):
        self.port, self.baud, self.timeout, self.attempts = port, baud, timeout, attempts
        self.longest = 10 * timeout
        self.abandoned = 0
        self._tag = random.getrandbits(32) if first_tag is None else first_tag
        self._splitter = Splitter(Packet.line_bytes(Identity.FORMAT.size))
        self._arrived: deque[Packet] = deque()
        self._identity: Identity | None = None
        try:
            self._serial = serial.serial_for_url(port, baudrate=baud, timeout=_TICK, exclusive=True,
                                                 write_timeout=_STUCK + _CHUNK * LINE_BITS / baud)
        except (OSError, ValueError) as error:
            raise HostError(_why_not_open(port, error)) from None

    def close(self) -> None:
        """Give the port back."""
        self._serial.close()

    def __enter__(self) -> "Device":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def identify(self) -> Identity:
        """What the device computes; asked once.

        Raises
        ------
        HostError
            It does not answer, or speaks another version of the protocol.
        """
        if self._identity is not None:
            return self._identity
        packet, _ = self._ask(Kind.IDENTIFY, b"", Kind.IDENTITY, Identity.FORMAT.size)
        try:
            self._identity = Identity.unpack(packet.payload)
        except PacketError as error:
            raise HostError(f"the device on {self.port} contradicts itself: {error}") from None
        return self._identity

    def require(self, networks: Iterable[Network], name: str) -> Network:
        """Which of ``networks`` the device computes; HostError if none of them.  ``name`` is the file's."""
        found = self.identify().digest
        for network in networks:
            if digest(network) == found:
                return network
        raise HostError(f"the device on {self.port} runs another model than {name} (its identity is "
                        f"{found.hex()[:8]}…): program it with a design generated from this one")

    def engine(self) -> EngineConfig | None:
        """The engine that the device runs on; None if it has no debug tap, which knows.

        Raises
        ------
        HostError
            It does not answer.
        """
        packet, _ = self._ask(Kind.TRACE, Trace(0, Stage.MATRIX, 0).pack(), Kind.TRACED, _TRACED)
        return self._traced(packet).engine if packet.kind == Kind.TRACED else None

    def trace(self, image: np.ndarray, block: int, stage: Stage, count: int) -> np.ndarray:
        """The first ``count`` words, int8 (count, lanes), that a stage of pass number ``block`` writes when the device
        computes ``image``: int8 (height, width, channels), sent as often as the tap's memory asks.

        Raises
        ------
        HostError
            The device has no debug tap, does not answer, or wrote fewer words.
        """
        found, lanes = bytearray(), 1
        while len(found) < count * lanes:
            kept = self._keep(image, Trace(block, stage, len(found) // lanes))
            if not kept.words:
                raise HostError(f"the device on {self.port} wrote only {len(found) // lanes} of {count} words in the "
                                f"{stage.name.lower()} stage of block {block}")
            lanes = kept.engine.written_bytes
            found += kept.words
        return np.frombuffer(bytes(found[:count * lanes]), np.int8).reshape(count, lanes)

    def _keep(self, image: np.ndarray, wish: Trace) -> Traced:
        """What the device keeps of ``image``."""
        for _ in range(self.attempts):
            _, tags = self._ask(Kind.TRACE, wish.pack(), Kind.TRACED, _TRACED)
            self.infer(image[None])
            packet, _ = self._ask(Kind.TRACE, wish.pack(), Kind.TRACED, _TRACED)
            # An answer that was lost took its words with it: then this one is to the request before, and has none.
            if (kept := self._traced(packet)).tag in tags:
                return kept
        raise HostError(f"the device on {self.port} lost what it had kept {self.attempts} times: the line is bad, or "
                        "its rate wrong")

    def _traced(self, packet: Packet) -> Traced:
        try:
            return Traced.unpack(packet.payload)
        except PacketError as error:
            raise HostError(f"the device on {self.port} contradicts itself: {error}") from None

    def _ask(self, kind: Kind, payload: bytes, answer: Kind, size: int) -> tuple[Packet, list[int]]:
        """The ``answer``, of up to ``size`` bytes, or an ERROR that there is no such request; and the tags of all
        attempts, of which the device may have seen any.

        Raises
        ------
        HostError
            The device does not answer, or speaks another version of the protocol.
        """
        self._splitter.limit = Packet.line_bytes(size)
        tags = []
        for _ in range(self.attempts):
            # The delimiter ends whatever a program before left unfinished.
            tags.append(self._send(kind, payload, before=DELIMITER))
            until = self._patience(size)
            while packet := self._receive(until, tags):
                if packet.version != VERSION:
                    raise HostError(f"the device on {self.port} speaks version {packet.version} of the protocol, and "
                                    f"this is version {VERSION}: generate its design again")
                if packet.kind == answer or (packet.kind == Kind.ERROR and packet.payload == bytes([Fault.KIND])):
                    return packet, tags
                if packet.kind == Kind.ERROR:
                    break
        raise HostError(f"the device on {self.port} does not answer at {self.baud:,} baud: is it programmed, and is "
                        "that its rate?")

    def infer(self, images: np.ndarray, progress: Callable[[int, int], None] = lambda done, total: None,
              ) -> tuple[np.ndarray, np.ndarray]:
        """Logits, int8 (frames, outputs), and classes, int (frames,), of int8 ``images`` (frames, height, width,
        channels).  ``progress(done, total)`` is called after every result.

        Raises
        ------
        HostError
            The images have another shape than the device takes; an image was not answered in all its attempts; or
            the device is gone.
        """
        identity = self.identify()
        if images.dtype != np.int8 or images.shape[1:] != identity.input_shape:
            raise HostError(f"the device on {self.port} takes int8 images of {identity.input_shape}, not "
                            f"{images.dtype} {images.shape[1:]}")
        self._splitter.limit = Packet.line_bytes(identity.outputs + Trailer.BYTES)
        batch = _Batch(self, images, identity)
        while batch.missing:
            batch.send()
            packet = self._receive(batch.until, batch.tags)
            if packet is None:
                batch.lost_all()
            elif batch.take(packet):
                progress(len(images) - batch.missing, len(images))
        return batch.logits, batch.classes

    def _patience(self, under_way: int) -> float:
        """When to stop waiting for an answer, with so many bytes on the way there."""
        return time.monotonic() + self.timeout + under_way * LINE_BITS / self.baud

    def _was_slow(self, begun: float) -> None:
        """An answer came to what was sent at ``begun`` and given up since: be more patient."""
        self.timeout = min(max(self.timeout, 1.5 * (time.monotonic() - begun)), self.longest)

    def _send(self, kind: Kind, payload: bytes, before: bytes = b"") -> int:
        """Send a request and return its tag; what arrives meanwhile is kept."""
        tag, self._tag = self._tag, (self._tag + 1) % (1 << 32)
        line = before + Packet(kind, tag, payload).encode()
        for start in range(0, len(line), _CHUNK):
            with self._port_errors():
                self._serial.write(line[start:start + _CHUNK])
                waiting = self._serial.in_waiting
            if waiting:
                self._listen()
        return tag

    def _receive(self, until: float, tags: Container[int]) -> Packet | None:
        """The next whole packet with one of ``tags``, or None if there is none before ``until``."""
        while True:
            while self._arrived:
                packet = self._arrived.popleft()
                if packet.tag in tags:
                    return packet
            if time.monotonic() >= until:
                return None
            self._listen()

    def _listen(self) -> None:
        with self._port_errors():
            data = self._serial.read(max(1, self._serial.in_waiting))
        for encoded in self._splitter.feed(data):
            with contextlib.suppress(PacketError):
                self._arrived.append(Packet.decode(encoded))

    @contextlib.contextmanager
    def _port_errors(self):
        try:
            yield
        except serial.SerialTimeoutException:
            raise HostError(f"the port {self.port} takes no more bytes") from None
        except (OSError, TypeError) as error:
            # pyserial's ways to say that a port was closed under it include a TypeError.
            reason = getattr(error, "strerror", None) or error
            raise HostError(f"the device on {self.port} is gone ({reason})") from None


class _Batch:
    """Images on their way through a device: which wait, which are under way, and what has come back."""

    def __init__(self, device: Device, images: np.ndarray, identity: Identity):
        self.device, self.identity = device, identity
        self.images = [image.tobytes() for image in images]
        self.logits = np.zeros((len(images), identity.outputs), np.int8)
        self.classes = np.zeros(len(images), np.int64)
        self.missing = len(images)
        self.credit = max(1, identity.credit)
        self.until = 0.0
        self.tags: dict[int, int] = {}
        """Tag to image, of every attempt that may still be answered: a slow answer is as good as a quick one."""
        self._sent: dict[int, float] = {}
        """When each attempt began."""
        self._under_way: dict[int, None] = {}
        """Tags of the attempts that have not been given up, in the order of sending."""
        self._waiting = deque(range(len(images)))
        self._answered = [False] * len(images)
        self._tried = [0] * len(images)

    def send(self) -> None:
        """Send as many as the device gives credit for."""
        while self._waiting and len(self._under_way) < self.credit:
            index = self._waiting.popleft()
            if not self._answered[index]:
                self._tried[index] += 1
                begun = time.monotonic()
                tag = self.device._send(Kind.INFER, self.images[index])
                self.tags[tag], self._under_way[tag], self._sent[tag] = index, None, begun
                self._wait()

    def take(self, packet: Packet) -> bool:
        """Act on an answer; True if it is the first result of an image."""
        match packet.kind:
            case Kind.RESULT:
                return self._result(packet)
            case Kind.ERROR if packet.payload in (bytes([Fault.DAMAGED]), bytes([Fault.OVERRUN])):
                if packet.payload[0] == Fault.OVERRUN:
                    self.credit = 1
                if packet.tag in self._under_way:
                    self._lost(packet.tag, "damaged on the way" if packet.payload[0] == Fault.DAMAGED else "overrun")
                    self._wait()
            case Kind.ERROR if packet.payload == bytes([Fault.WEIGHTS]):
                raise HostError(f"the device on {self.device.port} could not load its weights: what its flash memory "
                                "holds is damaged, or belongs to another design; write it again with tepal program")
            case _:
                raise HostError(f"the device on {self.device.port} refuses images that it said it takes: it may have "
                                "been programmed anew")
        return False

    def lost_all(self) -> None:
        """Nothing has come for too long."""
        for tag in list(self._under_way):
            self._lost(tag, "not answered")
        self._wait()

    def _wait(self) -> None:
        self.until = self.device._patience(sum(len(self.images[self.tags[tag]]) for tag in self._under_way))

    def _result(self, packet: Packet) -> bool:
        """Keep it; results keep the order of sending, so what was sent before it and has none was lost."""
        index = self.tags.pop(packet.tag)
        if packet.tag in self._under_way:
            for tag in list(self._under_way):
                if tag == packet.tag:
                    break
                self._lost(tag, "not answered")
            del self._under_way[packet.tag]
        else:
            self.device._was_slow(self._sent[packet.tag])
        self._wait()
        if self._answered[index]:
            return False
        outputs = self.identity.outputs
        size, wanted = len(packet.payload), outputs + Trailer.BYTES
        if size != wanted:
            raise HostError(f"the device on {self.device.port} contradicts itself: a result of {size} bytes instead of "
                            f"{wanted}")
        logits = np.frombuffer(packet.payload, np.int8, outputs)
        label, _, status = Trailer.unpack(packet.payload[outputs:])
        if label != logits.argmax():
            raise HostError(f"the device on {self.device.port} contradicts itself: it names class {label}, its scores "
                            f"class {logits.argmax()}")
        if status & ~Status.ABANDONED:
            raise HostError(f"the device on {self.device.port} contradicts itself: it says that an image of the right "
                            f"length was not (status {status:#04x})")
        self.device.abandoned += bool(status)
        self.logits[index], self.classes[index], self._answered[index] = logits, label, True
        self.missing -= 1
        return True

    def _lost(self, tag: int, how: str) -> None:
        del self._under_way[tag]
        index = self.tags[tag]
        if self._answered[index]:
            return
        if self._tried[index] >= self.device.attempts:
            raise HostError(f"image {index} was sent to the device on {self.device.port} {self._tried[index]} times "
                            f"without a result, the last time {how}: the line is bad, or its rate wrong")
        self._waiting.appendleft(index)


def _why_not_open(port: str, error: Exception) -> str:
    # pyserial packs what went wrong with a port that is open already into a text.
    reason = getattr(error, "errno", None) or next(iter(getattr(error.__context__, "args", ())), None)
    match reason:
        case errno.ENOENT | errno.ENODEV | errno.ENXIO:
            others = ", ".join(sorted(found.device for found in list_ports.comports()))
            return f"there is no port {port!r} (found: {others or 'none'}): is the board connected?"
        case errno.EBUSY | errno.EAGAIN:
            return f"the port {port} is in use by another program"
        case errno.EACCES | errno.EPERM:
            return f"the port {port} may not be opened: your user may have to be in its group (often dialout)"
        case errno.ENOTTY | errno.EISDIR:
            return f"{port} is no serial port"
    return f"the port {port} can't be opened ({getattr(error, 'strerror', None) or error})"
