# SPDX-License-Identifier: Apache-2.0
"""A device made of Python on a pseudo-terminal, and a line to it that can be made bad."""

import contextlib
import os
import pty
import re
import select
import threading
import time
import tty
from collections.abc import Iterator

import numpy as np
from tepal.hdl.answer import Trailer
from tepal.hdl.link.protocol import VERSION, Fault, Identity, Kind, Packet, PacketError, Splitter
from tepal.host.device import Device, HostError
from tepal.quant import Network, digest
from tepal.sim import golden

__all__ = ["BadLine", "Proxy", "PythonDevice", "infer_under_faults", "terminal"]


class BadLine:
    """Spoils bytes that pass: one fault in ``rate`` bytes.  Both directions draw from seeds of their own, byte by byte,
    so that the faults do not depend on how reads cut the stream."""

    KINDS = ("drop", "duplicate", "flip", "truncate", "garbage")

    def __init__(self, seed: int, rate: int):
        self.rate, self.count = rate, 0
        self._rngs = np.random.default_rng(seed).spawn(2)
        self._missing = [0, 0]

    def __call__(self, direction: int, content: bytes) -> bytes:
        rng, passed = self._rngs[direction], bytearray()
        for byte, fate in zip(content, rng.random(len(content)), strict=True):
            if self._missing[direction]:
                self._missing[direction] -= 1
                continue
            passed.append(byte)
            if fate * self.rate >= 1:
                continue
            self.count += 1
            match self.KINDS[rng.integers(len(self.KINDS))]:
                case "drop":
                    passed.pop()
                case "duplicate":
                    passed.append(byte)
                case "flip":
                    passed[-1] ^= 1 << rng.integers(8)
                case "truncate":
                    self._missing[direction] = int(rng.integers(1, 60))
                case _:
                    passed += rng.bytes(rng.integers(1, 40))
        return bytes(passed)


@contextlib.contextmanager
def terminal() -> Iterator[tuple[int, str]]:
    """A pseudo-terminal: the file of this end, and the port's name, which stays from one host to the next."""
    master, slave = pty.openpty()
    tty.setraw(slave)
    try:
        yield master, os.ttyname(slave)
    finally:
        os.close(master)
        os.close(slave)


class _Served:
    """A pseudo-terminal, ``port``, that a thread serves: ``arrived(file, content)`` is told of all that comes, from
    there or from one of ``others``.  A context manager."""

    def __init__(self, *others: int):
        self._open = contextlib.ExitStack()
        self._master, self.port = self._open.enter_context(terminal())
        self._stop, self._wake = os.pipe()
        self._files = [self._master, *others]
        for file in (self._stop, self._wake, *others):
            self._open.callback(os.close, file)
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        os.write(self._wake, b".")
        self._thread.join(10)
        assert not self._thread.is_alive()
        self._open.close()

    def _run(self):
        while True:
            ready, _, _ = select.select([*self._files, self._stop], [], [])
            if self._stop in ready:
                return
            for file in self._files:
                if file in ready:
                    self.arrived(file, os.read(file, 4096))


class PythonDevice(_Served):
    """Answers like the gateware, with the golden model's results; a context manager.

    ``line(direction, content)`` is what passes of ``content`` to the device (0) or back (1); ``answer(packet)``
    may be replaced."""

    def __init__(self, network: Network, credit: int = 8, line=lambda direction, content: content):
        super().__init__()
        self.network, self.line = network, line
        self.identity = Identity(digest(network), network.input_shape, network.result_bytes, credit)
        self.requests = self.results = 0
        self._splitter = Splitter(Packet.line_bytes(100_000))

    def answer(self, packet: Packet) -> list[Packet]:
        """To one whole request."""
        def error(fault):
            return [Packet(Kind.ERROR, packet.tag, bytes([fault]))]

        if packet.version != VERSION:
            return error(Fault.VERSION)
        match packet.kind:
            case Kind.IDENTIFY:
                return error(Fault.LENGTH) if packet.payload else [
                    Packet(Kind.IDENTITY, packet.tag, self.identity.pack())]
            case Kind.INFER:
                if len(packet.payload) != np.prod(self.network.input_shape):
                    return error(Fault.LENGTH)
                image = np.frombuffer(packet.payload, np.int8).reshape(1, *self.network.input_shape)
                logits = golden.run(self.network, image)[0]
                return [Packet(Kind.RESULT, packet.tag, logits.tobytes() + self.trailer(int(logits.argmax())).pack())]
        return error(Fault.KIND)

    def trailer(self, index: int) -> Trailer:
        """Of the next result."""
        self.results += 1
        return Trailer(index, (self.results - 1) % 256, 0)

    def arrived(self, file: int, content: bytes) -> None:
        for encoded in self._splitter.feed(self.line(0, content)):
            self.requests += 1
            try:
                answers = self.answer(Packet.decode(encoded))
            except PacketError:
                # The gateware returns what stands in the tag's place; no host may rely on it.
                answers = [Packet(Kind.ERROR, int.from_bytes(encoded[3:7], "little"), bytes([Fault.DAMAGED]))]
            for packet in answers:
                os.write(file, self.line(1, packet.encode()))


class Proxy(_Served):
    """A pseudo-terminal before another serial port, with a ``line`` between them as in :class:`PythonDevice`; a context
    manager."""

    def __init__(self, target: str, line):
        self.line = line
        self._target = os.open(target, os.O_RDWR | os.O_NOCTTY)
        tty.setraw(self._target)
        super().__init__(self._target)

    def arrived(self, file: int, content: bytes) -> None:
        to_device = file == self._master
        os.write(self._target if to_device else self._master, self.line(0 if to_device else 1, content))


def infer_under_faults(device: Device, line: BadLine, network: Network, *, faults: int, batch: int, longest: float,
                       seed: int = 0) -> None:
    """Random images through ``device``, so many at once, until its ``line`` has made ``faults``: every image ends in
    its result or in a clear sentence, a batch within ``longest`` seconds, and errors are rare."""
    answered, errors = 0, []
    while line.count < faults:
        rng = np.random.default_rng(seed + answered + len(errors))
        images = rng.integers(-128, 128, (batch, *network.input_shape), np.int8)
        begun = time.monotonic()
        try:
            logits, classes = device.infer(images)
        except HostError as error:
            errors.append(str(error))
        else:
            expected = golden.run(network, images)
            assert (logits == expected).all()
            assert (classes == expected.argmax(axis=1)).all()
            answered += batch
        assert time.monotonic() - begun < longest
    print(answered, "answered,", len(errors), "errors")
    assert answered > 10 * batch
    assert len(errors) < 5
    for message in errors:
        assert re.fullmatch(rf"image \d+ was sent to the device on {device.port} {device.attempts} times without a "
                            r"result, .*|the device on .* does not answer .*", message)
