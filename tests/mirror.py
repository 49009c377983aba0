"""A real web server on this machine that can misbehave."""

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


@dataclass
class Mirror:
    """Serves one body at any path; its attributes may be changed while it runs."""

    body: bytes
    ranges: bool = True  # False: every answer is the whole body
    status: int | None = None  # answer nothing but this error
    cut_after: int | None = None  # bytes of an answer after which the connection is closed
    stall_after: int | None = None  # bytes of an answer after which nothing more comes
    drip: float | None = None  # seconds between any two bytes of an answer
    reset_after: int | None = None  # bytes of an answer after which the connection is torn down
    redirect: str | None = None  # answer nothing but this address; "" is its own
    pause: float = 0.0  # seconds before an answer
    announce: bool = True  # False: no Content-Length
    content_range: str | None = None  # instead of the true one
    requests: list[str | None] = field(default_factory=list)  # the Range of each request

    def __post_init__(self) -> None:
        self._released = threading.Event()
        mirror = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                with suppress(ConnectionError):  # when the client has seen enough
                    mirror.answer(self)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = False  # so that closing waits for their sockets
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/file"

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        asked = handler.headers["Range"]
        self.requests.append(asked)
        self._released.wait(self.pause)
        if self.redirect is not None:
            handler.send_response(302)
            handler.send_header("Location", self.redirect or self.url)
            handler.end_headers()
            return
        begin = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and self.ranges else 0
        if self.status or (begin and begin >= len(self.body)):
            handler.send_error(self.status or 416)
            return
        content = self.body[begin:]
        handler.send_response(206 if begin else 200)
        if begin:
            true_range = f"bytes {begin}-{len(self.body) - 1}/{len(self.body)}"
            handler.send_header("Content-Range", self.content_range or true_range)
        if self.announce:
            handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        if self.drip is not None:
            for byte in content:
                handler.wfile.write(bytes([byte]))
                if self._released.wait(self.drip):
                    return
        handler.wfile.write(content[: self._limit()])
        if self.reset_after is not None:
            handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            handler.connection.close()  # unread bytes or not: no goodbye
        if self.stall_after is not None:
            self._released.wait(20)

    def _limit(self) -> int | None:
        return next(
            (limit for limit in (self.cut_after, self.stall_after, self.reset_after) if limit is not None), None
        )

    def stop(self) -> None:
        self._released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Mirror]]:
    """Start a mirror: `serve(body, **attributes of Mirror)`."""
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "127.0.0.1")
    mirrors = []

    def start(body: bytes, **behaviour: object) -> Mirror:
        mirrors.append(Mirror(body, **behaviour))
        return mirrors[-1]

    yield start
    for mirror in mirrors:
        mirror.stop()
