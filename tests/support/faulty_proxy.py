"""A small HTTP proxy in front of an S3 server that imitates faults of networks and servers."""

from __future__ import annotations

import contextlib
import http.client
import random
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple
from urllib.parse import urlsplit


class Trouble(StrEnum):
    """A fault of one request."""

    SLOW_DOWN = "503 SlowDown, not passed on"
    INTERNAL_ERROR = "500 InternalError, not passed on"
    TOO_MANY = "429, not passed on"
    RESET_BEFORE = "connection reset before the request is passed on"
    RESET_AFTER = "connection reset after it was passed on: the answer is lost"
    CUT = "the body of the answer is cut short"
    LATE = "the answer comes after the client's timeout"
    DAMAGED_UPLOAD = "a byte of the upload is changed on its way"
    CUT_UPLOAD = "the second half of the upload is lost on its way"


class Refusal(NamedTuple):
    """An answer that comes from the proxy itself."""

    status: int
    code: str
    message: str = "Please reduce your request rate."


# Called with the method and path of each request; returns its fault or None.
Plan = Callable[[str, str], Trouble | Refusal | None]

_REFUSALS = {
    Trouble.SLOW_DOWN: Refusal(503, "SlowDown"),
    Trouble.INTERNAL_ERROR: Refusal(500, "InternalError"),
    Trouble.TOO_MANY: Refusal(429, "TooManyRequests"),
}
NETWORK_TROUBLES = tuple(Trouble)[:7]


def at_random(share: float, seed: int, troubles: Sequence[Trouble] = NETWORK_TROUBLES) -> Plan:
    """Plan random faults for a share of all requests. All kinds are equally likely."""
    generator = random.Random(seed)

    def plan(method: str, path: str) -> Trouble | None:
        return generator.choice(troubles) if generator.random() < share else None

    return plan


def once(trouble: Trouble, method: str, part: str = "") -> Plan:
    """Plan a fault for the first request with this method whose path contains `part`."""
    return times(1, trouble, method, part)


def times(count: int, trouble: Trouble, method: str, part: str = "") -> Plan:
    left = [trouble] * count

    def plan(asked: str, path: str) -> Trouble | None:
        return left.pop() if left and asked == method and part in path else None

    return plan


def never(method: str, path: str) -> None:
    """Plan no faults."""


class FaultyProxy:
    """A running proxy, whose `plan` may be replaced at any time.

    Attributes: `url`; `met`, the number of requests per fault; `requests`, the (method, path) of all requests.
    """

    def __init__(self, target: str, plan: Plan = never, *, late_seconds: float = 1.0) -> None:
        self.plan = plan
        self.late_seconds = late_seconds
        self.drops_conditions = False  # like servers without conditional writes
        self.met: Counter[Trouble | Refusal] = Counter()
        self.requests: list[tuple[str, str]] = []
        self.target = urlsplit(target).netloc
        self.lock = threading.Lock()
        self.server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"proxy": self}))
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def __enter__(self) -> FaultyProxy:
        self._thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()
        self._thread.join()

    def next_trouble(self, method: str, path: str) -> Trouble | Refusal | None:
        with self.lock:
            self.requests.append((method, path))
            trouble = self.plan(method, path)
            if trouble is not None:
                self.met[trouble] += 1
            return trouble


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore clients that disconnected, which is intended here."""


class _Handler(BaseHTTPRequestHandler):
    proxy: FaultyProxy
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        trouble = self.proxy.next_trouble(self.command, self.path)
        refusal = trouble if isinstance(trouble, Refusal) else _REFUSALS.get(trouble) if trouble else None
        if refusal is not None:
            self._refuse(refusal)
            return
        if trouble is Trouble.RESET_BEFORE:
            self._reset()
            return
        if trouble is Trouble.DAMAGED_UPLOAD and body:
            body = bytes([body[0] ^ 1]) + body[1:]
        if trouble is Trouble.CUT_UPLOAD:
            body = body[: len(body) // 2]
        status, headers, answer = self._pass_on(body)
        if trouble is Trouble.RESET_AFTER:
            self._reset()
            return
        if trouble is Trouble.LATE:
            time.sleep(self.proxy.late_seconds)
        self._answer(status, headers, answer, cut=trouble is Trouble.CUT)

    do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = do_any  # noqa: N815 (names of the base class)

    def log_message(self, *_: object) -> None:
        pass

    def _pass_on(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        dropped = {"content-length", "connection", "transfer-encoding"}
        if self.proxy.drops_conditions:
            dropped |= {"if-none-match", "if-match"}
        headers = {name: value for name, value in self.headers.items() if name.lower() not in dropped}
        connection = http.client.HTTPConnection(self.proxy.target, timeout=60)
        with contextlib.closing(connection):
            connection.request(self.command, self.path, body or None, headers)
            response = connection.getresponse()
            return response.status, response.getheaders(), response.read()

    def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes, *, cut: bool) -> None:
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() not in ("connection", "transfer-encoding", "content-length"):
                self.send_header(name, value)
        # A HEAD answer has the length of the body but no body.
        lengths = [value for name, value in headers if name.lower() == "content-length"]
        self.send_header("Content-Length", lengths[0] if self.command == "HEAD" and lengths else str(len(body)))
        self.end_headers()
        if not cut:
            self.wfile.write(body)
            return
        # Without a body, only the connection can be cut.
        self.wfile.write(body[: len(body) // 2])
        self.wfile.flush()
        self._reset()

    def _refuse(self, refusal: Refusal) -> None:
        body = f"<Error><Code>{refusal.code}</Code><Message>{refusal.message}</Message></Error>".encode()
        self.send_response_only(refusal.status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _reset(self) -> None:
        self.close_connection = True
        # With a linger time of zero, closing sends a reset.
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
