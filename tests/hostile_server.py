"""A web server on this machine that answers as told: well, or in every way that servers fail.

A behaviour is a function of the request handler. `HostileServer.script` holds one for each request
to come; when it is empty, `honest` answers.
"""

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Behaviour = Callable[["Handler"], None]


class HostileServer(ThreadingHTTPServer):
    daemon_threads = False
    """Joined on closing, so that no socket outlives its test."""

    def __init__(self, content: bytes) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = content
        self.etag: str | None = '"first"'
        self.last_modified: str | None = None
        self.script: list[Behaviour] = []
        self.requests: list[dict[str, str]] = []
        """Headers of every request so far, and its path under `path`."""
        self.released = threading.Event()
        """Ends the silence of `stall`."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def ranges(self) -> list[str | None]:
        """The Range header of every request so far."""
        return [headers.get("Range") for headers in self.requests]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is no error here."""


class Handler(BaseHTTPRequestHandler):
    server: HostileServer

    def do_GET(self) -> None:
        self.server.requests.append({**self.headers, "path": self.path})
        behave = self.server.script.pop(0) if self.server.script else honest
        behave(self)

    def head(self, status: int, length: int | None, **headers: str) -> None:
        self.send_response(status)
        if length is not None:
            self.send_header("Content-Length", str(length))
        if self.server.etag is not None:
            self.send_header("ETag", self.server.etag)
        if self.server.last_modified is not None:
            self.send_header("Last-Modified", self.server.last_modified)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Silent."""


@contextmanager
def serve(content: bytes) -> Iterator[HostileServer]:
    with HostileServer(content) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.released.set()
            server.shutdown()
            thread.join()


def honest(handler: Handler) -> None:
    """The content, with ranges and If-Range as RFC 9110 has them."""
    start = _start(handler)
    _answer(handler, start, handler.server.content[start or 0 :])


def cut_after(count: int) -> Behaviour:
    """As `honest`, but the connection ends after `count` bytes of the body."""

    def behave(handler: Handler) -> None:
        start = _start(handler)
        body = handler.server.content[start or 0 :]
        _answer(handler, start, body, sent=body[:count])

    return behave


def stall_after(count: int) -> Behaviour:
    """As `cut_after`, but the connection stays open, silent."""

    def behave(handler: Handler) -> None:
        cut_after(count)(handler)
        handler.wfile.flush()
        handler.server.released.wait(30)

    return behave


def announcing(length: int) -> Behaviour:
    """The whole content under a false Content-Length."""

    def behave(handler: Handler) -> None:
        handler.head(200, length)
        handler.wfile.write(handler.server.content)

    return behave


def ignoring_range(handler: Handler) -> None:
    handler.head(200, len(handler.server.content))
    handler.wfile.write(handler.server.content)


def with_range(value: str, body: bytes = b"wrong") -> Behaviour:
    """A 206 with this Content-Range, whatever was asked."""

    def behave(handler: Handler) -> None:
        handler.head(206, len(body), Content_Range=value)
        handler.wfile.write(body)

    return behave


def status(code: int, body: bytes = b"", **headers: str) -> Behaviour:
    def behave(handler: Handler) -> None:
        handler.head(code, len(body), **headers)
        handler.wfile.write(body)

    return behave


def endless(handler: Handler) -> None:
    """Bytes without a length, until the client hangs up."""
    handler.head(200, None)
    while True:
        handler.wfile.write(bytes(2**16))


def hang_up(handler: Handler) -> None:
    """Not a word."""
    handler.close_connection = True


def _start(handler: Handler) -> int | None:
    """Where the range begins that is asked for and may be given; None for the whole."""
    match = re.fullmatch(r"bytes=(\d+)-", handler.headers.get("Range", ""))
    condition = handler.headers.get("If-Range")
    validators = {handler.server.etag, handler.server.last_modified}
    if match is None or (condition is not None and condition not in validators):
        return None
    return int(match[1])


def _answer(handler: Handler, start: int | None, body: bytes, *, sent: bytes | None = None) -> None:
    total = len(handler.server.content)
    if start is None:
        handler.head(200, total)
    elif start >= total:
        handler.head(416, 0, Content_Range=f"bytes */{total}")
    else:
        handler.head(206, len(body), Content_Range=f"bytes {start}-{total - 1}/{total}")
    handler.wfile.write(body if sent is None else sent)
