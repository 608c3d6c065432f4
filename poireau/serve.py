"""A heap over HTTP, at the paths at which Go's programs have theirs, so that what scrapes those can scrape it.

One thread a connection, and one lock around the heap: an answer is made under it and sent without it, so that who
reads slowly holds nobody up. There are only so many connections, and none lasts for long without a word.

A page in somebody's browser may resolve its own name to 127.0.0.1 and read what listens there; so while only this
machine is listened to, only its own names are answered.
"""

from __future__ import annotations

import contextlib
import html
import io
import ipaddress
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from poireau.errors import Failure
from poireau.model import Heap
from poireau.report import heap_text, pprof
from poireau.report.profile import profile
from poireau.selection import Selection
from poireau.version import __version__

PREFIX = "/debug/pprof/"
PROFILES = {"heap": "what is in use, and what was allocated", "allocs": "the same, what was allocated first"}
MOST_CONNECTIONS = 64
PATIENCE = 30.0  # seconds for a request to come, or a part of an answer to be taken
MOST_SECONDS = 3600
TEXT = "text/plain; charset=utf-8"
Running = Callable[[], Mapping[int, bool]]  # which processes of the heap go on, by number
Selected = Callable[[], Selection]  # what of the heap as it is now
_LONGEST = 1 << 16  # of a request's query
_FULL = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


@dataclass(frozen=True)
class Answer:
    kind: str
    content: bytes
    name: str = ""


class Refused(Exception):
    def __init__(self, status: HTTPStatus, why: str) -> None:
        super().__init__(why)
        self.status = status


class Served:
    """A heap that goes on."""

    def __init__(self, heap: Heap, selection: Selected, running: Running) -> None:
        self._heap = heap
        self._selection = selection
        self._running = running
        self._lock = threading.Lock()

    def profile(self, name: str, seconds: float, text: bool) -> Answer:
        since = None
        if seconds:
            with self._lock:
                since = self._read_on() + self._over()
            time.sleep(seconds)
        with self._lock:
            now = self._read_on()
            selection = self._selection()
            if since is not None:
                selection = replace(selection, since=since, until=max(now, since + 1))
            elif self._heap.running:  # who has ended has nothing in use
                selection = replace(selection, until=now)
            found = profile(self._heap, selection, less=since is not None)
            out = io.BytesIO()
            if text:
                heap_text.write(found, out)
            else:
                pprof.write(found, out, default="alloc_space" if name == "allocs" else "inuse_space")
        kind = TEXT if text else "application/octet-stream"
        return Answer(kind, out.getvalue(), "" if text else f"{name}.pb.gz")

    def _read_on(self) -> int:
        """The time after the last event."""
        self._heap.extend()
        self._heap.running = self._running()
        return self._heap.end + 1

    def _over(self) -> bool:
        """Whether whose event was the last has ended, and has taken what was in use with it."""
        ends = self._heap.processes["end"]
        return not any(self._heap.running.get(number) for number in ends.index[ends == self._heap.end])


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, served: Served, address: str, port: int) -> None:
        self.served = served
        self.room = threading.BoundedSemaphore(MOST_CONNECTIONS)
        if ":" in address:
            self.address_family = socket.AF_INET6
        super().__init__((address, port), Handler)
        self.private = _is_loopback(str(self.server_address[0]))

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self.room.acquire(blocking=False):
            with contextlib.suppress(OSError):  # what it sent is not read, nor is it waited for
                request.send(_FULL, socket.MSG_DONTWAIT)
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Who hangs up is no error; anything else is a line."""
        error = sys.exc_info()[1]
        if not isinstance(error, (ConnectionError, TimeoutError)):
            print(f"poireau: {client_address[0]}: {type(error).__name__}: {error}", file=sys.stderr)


class Handler(BaseHTTPRequestHandler):
    server: Server
    server_version = f"poireau/{__version__}"
    sys_version = ""
    protocol_version = "HTTP/1.1"
    timeout = PATIENCE

    def do_GET(self) -> None:
        try:
            answer = self._answer()
        except Refused as refused:
            self._send(refused.status, Answer(TEXT, f"{refused}\n".encode()))
        except Failure as failure:
            self._send(HTTPStatus.INTERNAL_SERVER_ERROR, Answer(TEXT, f"{failure}\n".encode()))
        else:
            self._send(HTTPStatus.OK, answer)

    do_HEAD = do_GET

    def _answer(self) -> Answer:
        if self.server.private and not _is_loopback(_host(self.headers.get("Host", ""))):
            raise Refused(HTTPStatus.FORBIDDEN, "this is served to this machine only, under its own names")
        url = urlsplit(self.path)
        if url.path in ("/", PREFIX, PREFIX.rstrip("/")):
            return _index()
        name = url.path.removeprefix(PREFIX)
        if not url.path.startswith(PREFIX) or name not in PROFILES:
            raise Refused(HTTPStatus.NOT_FOUND, f"there is only {' and '.join(PREFIX + each for each in PROFILES)}")
        asked = parse_qs(url.query[:_LONGEST], max_num_fields=100)
        seconds = _number(asked.get("seconds", ["0"])[-1], "seconds")
        if self.command == "HEAD":
            return Answer("application/octet-stream", b"")
        return self.server.served.profile(name, seconds, _number(asked.get("debug", ["0"])[-1], "debug") > 0)

    def _send(self, status: HTTPStatus, answer: Answer) -> None:
        self.send_response(status)
        self.send_header("Content-Type", answer.kind)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Cache-Control", "no-store")
        if answer.name:
            self.send_header("Content-Disposition", f'attachment; filename="{answer.name}"')
        if self.command != "HEAD" or answer.content:
            self.send_header("Content-Length", str(len(answer.content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.content)

    def log_message(self, format: str, *arguments: object) -> None:
        """Who scrapes does so every few seconds."""


def _index() -> Answer:
    rows = "".join(
        f'<li><a href="{name}?debug=1">{name}</a>: {html.escape(told)} (<a href="{name}">for pprof</a>)</li>'
        for name, told in PROFILES.items()
    )
    page = f"<!doctype html><title>poireau</title><base href={PREFIX}><h1>{PREFIX}</h1><ul>{rows}</ul>\n"
    return Answer("text/html; charset=utf-8", page.encode())


def _number(text: str, name: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1
    if not 0 <= number <= MOST_SECONDS:
        raise Refused(HTTPStatus.BAD_REQUEST, f"{name} is a number up to {MOST_SECONDS}")
    return number


def _host(header: str) -> str:
    """Without the port."""
    if header.startswith("["):
        return header[1:].partition("]")[0]
    return header.rpartition(":")[0] if ":" in header else header


def _is_loopback(host: str) -> bool:
    if host.lower().rstrip(".") == "localhost":
        return True
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return False


def serve(served: Served, address: str, port: int, ready: Callable[[str], None]) -> None:
    """Until it is interrupted. `ready` is told the URL. Raises Failure: the port is taken, say."""
    try:
        server = Server(served, address, port)
    except (OSError, OverflowError) as error:
        raise Failure(f"{address}:{port}: {getattr(error, 'strerror', None) or error}") from None
    with server:
        host = f"[{address}]" if ":" in address else address
        ready(f"http://{host}:{server.server_address[1]}{PREFIX}heap")
        with contextlib.suppress(KeyboardInterrupt):
            server.serve_forever()
