"""A device made of Python on a pseudo-terminal, and a line to it that can be made bad."""

import os
import pty
import select
import threading
import tty

import numpy as np
from tepal.hdl.answer import Trailer
from tepal.hdl.link.protocol import VERSION, Fault, Identity, Kind, Packet, PacketError, Splitter
from tepal.quant import Network, digest
from tepal.sim import golden

__all__ = ["BadLine", "Proxy", "PythonDevice"]


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


class PythonDevice:
    """Answers like the gateware, with the golden model's results; a context manager.

    ``line(direction, content)`` is what passes of ``content`` to the device (0) or back (1); ``answer(packet)``
    may be replaced."""

    def __init__(self, network: Network, window: int = 8, line=lambda direction, content: content):
        self.network, self.line = network, line
        self.identity = Identity(digest(network), network.input_shape, network.outputs, window)
        self.requests = self.results = 0
        self._master, slave = pty.openpty()
        tty.setraw(slave)
        self._slave, self.port = slave, os.ttyname(slave)
        self._stop, stop = os.pipe()
        self._wake = stop
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        os.write(self._wake, b".")
        self._thread.join(10)
        assert not self._thread.is_alive()
        for file in (self._master, self._slave, self._stop, self._wake):
            os.close(file)

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

    def _run(self):
        splitter = Splitter(Packet.line_bytes(100_000))
        while True:
            ready, _, _ = select.select([self._master, self._stop], [], [])
            if self._stop in ready:
                return
            for encoded in splitter.feed(self.line(0, os.read(self._master, 4096))):
                self.requests += 1
                try:
                    answers = self.answer(Packet.decode(encoded))
                except PacketError:
                    # The gateware returns what stands in the tag's place; no host may rely on it.
                    answers = [Packet(Kind.ERROR, int.from_bytes(encoded[3:7], "little"), bytes([Fault.DAMAGED]))]
                for packet in answers:
                    os.write(self._master, self.line(1, packet.encode()))


class Proxy:
    """A pseudo-terminal before another serial port, with a ``line`` between them as in :class:`PythonDevice`; a context
    manager."""

    def __init__(self, target: str, line):
        self.line = line
        self._master, self._slave = pty.openpty()
        tty.setraw(self._slave)
        self.port = os.ttyname(self._slave)
        self._target = os.open(target, os.O_RDWR | os.O_NOCTTY)
        tty.setraw(self._target)
        self._stop, self._wake = os.pipe()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        os.write(self._wake, b".")
        self._thread.join(10)
        assert not self._thread.is_alive()
        for file in (self._master, self._slave, self._target, self._stop, self._wake):
            os.close(file)

    def _run(self):
        while True:
            ready, _, _ = select.select([self._master, self._target, self._stop], [], [])
            if self._stop in ready:
                return
            for direction, (source, sink) in enumerate([(self._master, self._target), (self._target, self._master)]):
                if source in ready:
                    os.write(sink, self.line(direction, os.read(source, 4096)))
