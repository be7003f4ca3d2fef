# SPDX-License-Identifier: Apache-2.0
"""A page in a browser that pictures are sent from: a small server of HTTP, and what it refuses.

It gives out a few files that it holds in memory, and answers uploads one after the other, in the order in which they
came, whoever sent them: there is one device."""

import json
import os
import socket
import socketserver
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError, ThreadPoolExecutor
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from typing import Any
from urllib.parse import parse_qs, urlsplit

from .device import HostError

__all__ = ["LARGEST", "File", "Refused", "Upload", "WebServer"]

LARGEST = 16 << 20
"""Most bytes of an upload."""

_WAITING = 8
"""Most uploads that are held at once: the one that is answered, and those that wait for it."""

_DRAINED = 4 * LARGEST
"""So many bytes of an upload that is refused are read all the same: browsers show no answer before all is sent."""

_PATIENCE = 30.0
"""Seconds after which a connection is closed on which nothing comes."""

_LONGEST_NAME = 80

_POLICY = ("default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; media-src blob:; "
           "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
"""What the page may fetch: from here alone."""


class Refused(Exception):
    """What is sent can't be answered; the message is one sentence for the person who sent it."""

    def __init__(self, sentence: str, status: int = HTTPStatus.BAD_REQUEST):
        super().__init__(sentence)
        self.status = status


@dataclass(frozen=True)
class File:
    """``content`` that is given out, and its media type."""

    kind: str
    content: bytes


@dataclass(frozen=True)
class Upload:
    """``content`` that was sent under a ``name``, with ``options``, all of it as the browser says."""

    name: str
    content: bytes
    options: Mapping[str, str]


class WebServer(ThreadingHTTPServer):
    """Listens from the start; :meth:`serve_forever` serves.  As a context manager it gives the port back at its end.

    Parameters
    ----------
    address, port
        Where to listen, such as ``127.0.0.1``; with port 0 at any that is free, ``self.url`` says which.
    files
        By path, such as ``/``.
    answers
        By path: makes of an :class:`Upload` what goes back as JSON.  They are called one at a time, in a thread of
        their own.  A :class:`Refused` or :class:`HostError` that they raise is told in the page.
    check
        Called twice a second; what it raises ends :meth:`serve_forever`.

    Raises
    ------
    HostError
        It can't listen there.
    """

    daemon_threads = True

    def __init__(self, address: str, port: int, files: Mapping[str, File],
                 answers: Mapping[str, Callable[[Upload], Any]], check: Callable[[], None] = lambda: None):
        self.files, self.answers, self.check = files, answers, check
        self.address_family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self.waiting = threading.BoundedSemaphore(_WAITING)
        try:
            super().__init__((address, port), _Handler)
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or error
            raise HostError(f"the page can't be served at {address} port {port} ({reason}): give another --http port, "
                            "or 0 for any that is free") from None
        host = f"[{address}]" if ":" in address else address
        self.url = f"http://{host}:{self.server_address[1]}/"
        self.names = {"localhost", address}
        self._turn = ThreadPoolExecutor(1)

    def server_bind(self) -> None:
        # The one of HTTPServer looks its own name up, which may take long without a network.
        socketserver.TCPServer.server_bind(self)

    def service_actions(self) -> None:
        self.check()

    def server_close(self) -> None:
        super().server_close()
        # None without a socket.
        if turn := getattr(self, "_turn", None):
            turn.shutdown(wait=False, cancel_futures=True)

    def handle_error(self, request, client_address) -> None:
        # Somebody has gone; what is our own mistake is told where it is made.
        if os.environ.get("TEPAL_DEBUG"):
            traceback.print_exc()

    def answer(self, path: str, upload: Upload) -> Any:
        """In its turn."""
        return self._turn.submit(self.answers[path], upload).result()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "tepal", ""
    timeout = _PATIENCE
    server: WebServer  # pyright: ignore[reportIncompatibleVariableOverride]

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        if not self._addressed():
            self._send(HTTPStatus.FORBIDDEN, File("text/plain", b"This server has another name.\n"))
        elif file := self.server.files.get(path):
            self._send(HTTPStatus.OK, file)
        else:
            self._send(HTTPStatus.NOT_FOUND, File("text/plain", b"There is no such page.\n"))

    def do_POST(self) -> None:
        try:
            self._send(HTTPStatus.OK, _json(self._answer()))
        except Refused as refused:
            self._send(refused.status, _json({"problem": str(refused)}))

    def _answer(self) -> Any:
        parts = urlsplit(self.path)
        size = self._size()
        # Pages of others may not send anything here, nor under a name that they make lead here.
        origin = self.headers.get("Origin")
        if not self._addressed() or (origin and urlsplit(origin).netloc != self.headers.get("Host")):
            self._refuse(size, "This was sent from another page.", HTTPStatus.FORBIDDEN)
        if parts.path not in self.server.answers:
            self._refuse(size, "There is nothing to send to here.", HTTPStatus.NOT_FOUND)
        options = {key: values[0] for key, values in parse_qs(parts.query).items()}
        name = "".join(each for each in options.pop("name", "") if each.isprintable())[-_LONGEST_NAME:] or "the picture"
        if size > LARGEST:
            self._refuse(size, f"{name} has {size:,} bytes: at most {LARGEST:,} are taken.",
                         HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        if not self.server.waiting.acquire(blocking=False):
            self._refuse(size, f"{_WAITING} pictures wait already: try again in a moment.",
                         HTTPStatus.SERVICE_UNAVAILABLE)
        try:
            content = self.rfile.read(size)
            if len(content) < size:
                raise ConnectionResetError("the upload ended too early")
            return self.server.answer(parts.path, Upload(name, content, options))
        except HostError as error:
            raise Refused(_sentence(str(error)), HTTPStatus.BAD_GATEWAY) from None
        except CancelledError:
            raise Refused("The server is ending.", HTTPStatus.SERVICE_UNAVAILABLE) from None
        except (Refused, OSError):
            raise
        except Exception as error:
            traceback.print_exc(file=sys.stderr)
            raise Refused(f"A mistake in Tepal itself ({type(error).__name__}): please report it, with what the server "
                          "printed.", HTTPStatus.INTERNAL_SERVER_ERROR) from None
        finally:
            self.server.waiting.release()

    def _size(self) -> int:
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdecimal()) or len(length) > 18 or "Transfer-Encoding" in self.headers:
            self.close_connection = True
            raise Refused("An upload has to say its length.", HTTPStatus.LENGTH_REQUIRED)
        return int(length)

    def _refuse(self, size: int, sentence: str, status: int) -> None:
        """Raise Refused, when what was sent has been read: whatever more there is ends with the connection."""
        self.close_connection = True
        left, until = min(size, _DRAINED), time.monotonic() + _PATIENCE
        while left and time.monotonic() < until:
            chunk = self.rfile.read1(min(left, 1 << 16))
            if not chunk:
                break
            left -= len(chunk)
        raise Refused(sentence, status)

    def _addressed(self) -> bool:
        """Whether the browser means this server: a name that leads here may be anyone's, an address may not."""
        try:
            host = urlsplit(f"//{self.headers.get('Host', '')}").hostname or ""
        except ValueError:
            return False
        if host in self.server.names:
            return True
        try:
            ip_address(host)
        except ValueError:
            return False
        return True

    def _send(self, status: int, file: File) -> None:
        self.send_response(status)
        for name, value in {
            "Content-Type": f"{file.kind}; charset=utf-8", "Content-Length": len(file.content),
            "Cache-Control": "no-store", "Content-Security-Policy": _POLICY, "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer", **({"Connection": "close"} if self.close_connection else {}),
        }.items():
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(file.content)

    def log_message(self, format: str, *arguments) -> None:
        """Nothing: who asks is told, not who serves."""


def _json(value: Any) -> File:
    return File("application/json", json.dumps(value).encode())


def _sentence(text: str) -> str:
    """``text`` as it stands alone."""
    return f"{text[:1].upper()}{text[1:]}."
