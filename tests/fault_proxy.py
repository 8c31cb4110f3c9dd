"""A store on a bad day: a proxy in front of the tests' S3 server that breaks what passes through it."""

import random
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal

Fault = Literal[
    "slow_down",  # 503, as stores answer who asks too often
    "reset",  # the connection breaks off before the request is looked at
    "lost_answer",  # the request is carried out, and the connection breaks off before the answer
    "silence",  # nothing is answered for longer than anybody should wait
    "half_body",  # the answer breaks off in the middle
    "slow_body",  # the answer drips
    "expired",  # the credentials are no longer good
    "read_only",  # nothing may be put
]
Chooser = Callable[[str], Fault | None]
"""Says what happens to a request, such as `PUT /bucket/key`."""

REFUSALS = {"slow_down": (503, "SlowDown"), "expired": (400, "ExpiredToken"), "read_only": (403, "AccessDenied")}
HOP_BY_HOP = {"connection", "keep-alive", "expect", "transfer-encoding"}


class FaultProxy:
    """Passes requests on to a server on loopback, but for those that a fault is chosen for."""

    def __init__(self, port: int, *, silence: float = 60) -> None:
        self.upstream = port
        self.silence = silence
        self.choose: Chooser = lambda _: None
        self.met: Counter[Fault] = Counter()
        """How often each fault was met."""
        self.answers: list[tuple[str, int]] = []
        """Each request that was passed on, and how many bytes it was answered with."""
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._server.daemon_threads = True
        self._server.proxy = self  # type: ignore[attr-defined]
        self._counting = threading.Lock()

    @property
    def port(self) -> int:
        """Where it listens, on loopback."""
        return self._server.server_port

    @property
    def endpoint(self) -> str:
        """What AWS_ENDPOINT_URL is set to."""
        return f"http://127.0.0.1:{self.port}"

    @contextmanager
    def running(self) -> Iterator["FaultProxy"]:
        """Serve for as long as the block runs."""
        thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()

    def fault_of(self, request: str) -> Fault | None:
        """Choose and count the fault of a request."""
        with self._counting:
            fault = self.choose(request)
            if fault:
                self.met[fault] += 1
        return fault


def at_random(shares: dict[Fault, float], seed: int) -> Chooser:
    """Choose each fault for its share of all requests."""
    dice = random.Random(seed)
    faults: list[Fault | None] = [*shares, None]
    weights = [*shares.values(), 1 - sum(shares.values())]
    return lambda _: dice.choices(faults, weights)[0]


def outage(seconds: float, *, of: str = "", begin: Callable[[], bool] = lambda: True) -> Chooser:
    """Break off all requests that begin with `of` for some seconds, from the first one at which `begin` says so."""
    began: list[float] = []

    def choose(request: str) -> Fault | None:
        if not began and request.startswith(of) and begin():
            began.append(time.monotonic())
        out = bool(began) and time.monotonic() - began[0] < seconds
        return "reset" if out and request.startswith(of) else None

    return choose


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def _pass_on(self) -> None:
        proxy: FaultProxy = self.server.proxy  # type: ignore[attr-defined]
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fault = proxy.fault_of(f"{self.command} {self.path}")
        if fault in REFUSALS:
            self._refuse(*REFUSALS[fault])
        elif fault == "reset":
            self._break_off()
        elif fault == "silence":
            time.sleep(proxy.silence)
            self._break_off()
        else:
            self._forward(proxy.upstream, body, fault)

    do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = _pass_on  # noqa: N815  # the names that http.server looks for

    def _forward(self, port: int, body: bytes, fault: Fault | None) -> None:
        upstream = HTTPConnection("127.0.0.1", port, timeout=60)
        try:
            upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():  # the host too, which the signature covers
                if name.lower() not in HOP_BY_HOP:
                    upstream.putheader(name, value)
            upstream.endheaders(body or None)
            answer = upstream.getresponse()
            data = answer.read()
        finally:
            upstream.close()
        self.server.proxy.answers.append((f"{self.command} {self.path}", len(data)))  # type: ignore[attr-defined]
        if fault == "lost_answer":
            return self._break_off()
        self.send_response(answer.status, answer.reason)
        for name, value in answer.getheaders():
            if name.lower() not in {*HOP_BY_HOP, "content-length", "date", "server"}:
                self.send_header(name, value)
        length = answer.getheader("Content-Length") if self.command == "HEAD" else str(len(data))
        if length is not None:
            self.send_header("Content-Length", length)
        self.end_headers()
        if fault == "half_body":
            self.wfile.write(data[: len(data) // 2])
            return self._break_off()
        pieces = 8 if fault == "slow_body" else 1
        step = -(-len(data) // pieces) or 1
        for start in range(0, len(data), step):
            self.wfile.write(data[start : start + step])
            time.sleep(0.05 if pieces > 1 else 0)
        return None

    def _refuse(self, status: int, code: str) -> None:
        said = f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>{code}</Message></Error>'.encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(said)

    def _break_off(self) -> None:
        """Reset the connection instead of ending it."""
        self.wfile.flush()
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True

    def finish(self) -> None:
        with suppress(OSError):
            super().finish()

    def handle(self) -> None:
        with suppress(OSError):  # the other side was killed, which is what the tests do
            super().handle()

    def log_message(self, *_: object) -> None:
        """Say nothing."""
