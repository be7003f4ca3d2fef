# SPDX-License-Identifier: Apache-2.0
"""The server of the live page, asked as browsers and as others ask."""

import http.client
import json
import re
import socket
import threading
from contextlib import closing, contextmanager

import pytest
import tepal.host.web as web
from tepal.host.device import HostError
from tepal.host.web import File, Refused, Upload, WebServer


@contextmanager
def serving(answer=lambda upload: {"size": len(upload.content)}, **options):
    files = {"/": File("text/html", b"<p>page")}
    with WebServer("127.0.0.1", 0, files, {"/answer": answer}, **options) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join(10)
            assert not thread.is_alive()


def ask(server, method="POST", path="/answer", body: bytes | None = b"123", headers=None):
    """(status, what came back, headers)."""
    with closing(http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=20)) as connection:
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        content = response.read()
        json_came = response.headers["Content-Type"].startswith("application/json")
        return response.status, json.loads(content) if json_came else content, response.headers


def test_files_and_answers():
    seen = []
    with serving(lambda upload: seen.append(upload) or [1]) as server:
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", server.url)
        status, content, headers = ask(server, "GET", "/", None)
        assert (status, content, headers["Content-Type"]) == (200, b"<p>page", "text/html; charset=utf-8")
        # The page may fetch from nowhere else.
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert "http" not in headers["Content-Security-Policy"]
        assert ask(server, "GET", "/none", None)[0] == 404
        assert ask(server, path="/answer?name=a%20b%0A.png&layer=3", body=b"xyz")[:2] == (200, [1])
    assert seen == [Upload("a b.png", b"xyz", {"layer": "3"})]


@pytest.mark.parametrize(("request_", "status", "sentence"), [
    ({"path": "/none"}, 404, "There is nothing to send to here."),
    ({"headers": {"Host": "evil.example"}}, 403, "This was sent from another page."),
    ({"headers": {"Origin": "http://evil.example"}}, 403, "This was sent from another page."),
    ({"headers": {"Origin": "null"}}, 403, "This was sent from another page."),
    ({"headers": {"Transfer-Encoding": "chunked"}, "body": b"0\r\n\r\n"}, 411, "An upload has to say its length."),
    ({"headers": {"Content-Length": "-1"}}, 411, "An upload has to say its length."),
    ({"headers": {"Content-Length": "9" * 30}}, 411, "An upload has to say its length."),
    ({"path": "/answer?name=large.png", "body": b"x" * 1001}, 413,
     "large.png has 1,001 bytes: at most 1,000 are taken."),
    # More than either side keeps: who sends it reads the answer only when all is sent.
    ({"path": "/answer?name=large.png", "body": b"x" * (16 << 20)}, 413,
     "large.png has 16,777,216 bytes: at most 1,000 are taken."),
])
def test_refusals(monkeypatch, request_, status, sentence):
    monkeypatch.setattr(web, "LARGEST", 1000)
    with serving() as server:
        found = ask(server, **request_)
        assert found[:2] == (status, {"problem": sentence})
        # It is not taken for the begin of another request.
        assert ask(server, body=b"x" * 1000)[:2] == (200, {"size": 1000})


def test_addresses():
    """Those of this computer, by number or by its own name; a page of others may lead no name of theirs here."""
    with serving() as server:
        port = server.server_address[1]
        for host, status in {f"localhost:{port}": 200, f"127.0.0.1:{port}": 200, f"[::1]:{port}": 200,
                             "evil.example": 403, "": 403, "[": 403}.items():
            assert ask(server, "GET", "/", None, {"Host": host})[0] == status, host
        assert ask(server, headers={"Host": f"localhost:{port}", "Origin": f"http://localhost:{port}"})[0] == 200


@pytest.mark.parametrize(("error", "status", "sentence"), [
    (Refused("It is too dark."), 400, "It is too dark."),
    (HostError("the device is gone"), 502, "The device is gone."),
    (ZeroDivisionError("x"), 500, "A mistake in Tepal itself (ZeroDivisionError): please report it, with what the "
     "server printed."),
])
def test_errors_of_answers(capsys, error, status, sentence):
    def answer(upload):
        raise error
    with serving(answer) as server:
        assert ask(server)[:2] == (status, {"problem": sentence})
    assert ("Traceback" in capsys.readouterr().err) == (status == 500)


def test_in_turn(monkeypatch):
    """One at a time, in the order in which they came; and more than there is room for are refused."""
    monkeypatch.setattr(web, "_WAITING", 3)
    going, order, at_once = threading.Event(), [], []

    def answer(upload):
        at_once.append(1)
        assert len(at_once) == 1
        going.wait(10)
        order.append(upload.name)
        at_once.pop()
        return upload.name

    found = {}
    with serving(answer) as server:
        def send(name):
            found[name] = ask(server, path=f"/answer?name={name}")[:2]
        threads = []
        for number, name in enumerate("abc"):
            threads.append(threading.Thread(target=send, args=(name,)))
            threads[-1].start()
            # Until it has its turn, or its place.
            while server.waiting._value > 2 - number or server._turn._work_queue.qsize() < number:
                pass
        assert ask(server)[:2] == (503, {"problem": "3 pictures wait already: try again in a moment."})
        going.set()
        for thread in threads:
            thread.join(10)
        assert found == {name: (200, name) for name in "abc"}
        assert order == ["a", "b", "c"]
        assert ask(server, path="/answer?name=d")[:2] == (200, "d")


def test_whoever_leaves_takes_no_place(monkeypatch):
    """Uploads that break off, and lines that say nothing sensible."""
    monkeypatch.setattr(web, "_WAITING", 1)
    with serving() as server:
        for line in (b"POST /answer HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\nshort",
                     b"\x00\xff\r\n\r\n",
                     b"POST http://[ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\nx"):
            with socket.create_connection(server.server_address[:2]) as connection:
                connection.sendall(line)
                connection.shutdown(socket.SHUT_WR)
                connection.settimeout(20)
                while connection.recv(1 << 16):
                    pass
        assert ask(server)[:2] == (200, {"size": 3})


def test_places_and_checks():
    """A port that is in use, and one that there is not; what ends serving."""
    with serving() as server:
        port = server.server_address[1]
        with pytest.raises(HostError, match=rf"^the page can't be served at 127.0.0.1 port {port} \(Address already in "
                                            r"use\): give another --http port, or 0 for any that is free$"):
            WebServer("127.0.0.1", port, {}, {})
    for address, port in ("127.0.0.1", 70_000), ("127.0.0.1", -1), ("no.such.name.invalid", 0):
        with pytest.raises(HostError, match="can't be served at"):
            WebServer(address, port, {}, {})

    def check():
        raise RuntimeError("over")
    with WebServer("127.0.0.1", 0, {}, {}, check) as server, pytest.raises(RuntimeError, match="over"):
        server.serve_forever(0.01)
