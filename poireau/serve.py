"""Heaps over HTTP: a live page, and profiles at the paths at which Go's programs have theirs, so that what scrapes
those can scrape them.

One thread a connection (serve_connections.py). Profiles of traces that were named get whoever reaches the port; for all
else the token is needed (serve_guard.py).
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, urlsplit

from poireau import serve_guard
from poireau.errors import Failure
from poireau.serve_clients import BEAT
from poireau.serve_connections import MOST_HEAD, Connections, Head
from poireau.serve_live import JSON, Live
from poireau.serve_pprof import MOST_SECONDS, PREFIX, PROFILES, TEXT, Answer, Refused, index
from poireau.serve_pprof import Served as Served
from poireau.version import __version__

PATIENCE = 30.0  # seconds for a part of an answer to be taken
MOST_BODY = 4 << 10  # bytes of a request
API = "/api/"
_LONGEST = 1 << 16  # of a request's query


class Server(Connections):
    """`token` "": nothing but profiles is served."""

    def __init__(
        self, served: Served | None, address: str, port: int, live: Live | None = None, token: str = ""
    ) -> None:
        self.served, self.live, self.token = served, live, token
        super().__init__(address, port, Handler)
        self.private = serve_guard.is_loopback(str(self.server_address[0]))

    def complain(self, text: str) -> None:
        """Not the same again and again."""
        if self.live is not None:
            self.live.daemon.alerts.complain(text)
        else:
            super().complain(text)


class Handler(BaseHTTPRequestHandler):
    server: Server
    server_version = f"poireau/{__version__}"
    sys_version = ""
    protocol_version = "HTTP/1.1"
    timeout = PATIENCE
    rfile: Any

    def setup(self) -> None:
        super().setup()
        self.rfile = Head(self.rfile)

    def handle_one_request(self) -> None:
        self.rfile.left = MOST_HEAD
        self.server.awaited[self.connection] = time.monotonic()
        super().handle_one_request()

    def do_GET(self) -> None:
        self.server.awaited.pop(self.connection, None)
        self._respond(self._get)

    do_HEAD = do_GET

    def do_POST(self) -> None:
        self._respond(self._post)

    def _respond(self, answer: Callable[[], tuple[HTTPStatus, Answer] | None]) -> None:
        try:
            self._check_head()
            answered = answer()
        except Refused as refused:
            self.close_connection = True  # what else it has sent is not read
            self._send(refused.status, self._words(str(refused)))
        except Failure as failure:
            self._send(HTTPStatus.INTERNAL_SERVER_ERROR, self._words(str(failure)))
        except (OSError, AssertionError):
            raise
        except Exception as error:
            self.server.complain(f"{urlsplit(self.path).path}: {type(error).__name__}: {error}")
            self._send(HTTPStatus.INTERNAL_SERVER_ERROR, self._words("this went wrong here: what serve says has it"))
        else:
            if answered is not None:
                self._send(*answered)

    def _check_head(self) -> None:
        """What may be read in two ways is refused: somebody on the way may have read it in the other one."""
        for name in ("Host", "Content-Length", "Origin", "Content-Type", serve_guard.HEADER):
            if len(self.headers.get_all(name, [])) > 1:
                raise Refused(HTTPStatus.BAD_REQUEST, f"{name} is there twice")
        if self.command != "POST" and ("Content-Length" in self.headers or "Transfer-Encoding" in self.headers):
            raise Refused(HTTPStatus.BAD_REQUEST, "this takes no body")

    def _asked(self) -> tuple[str, dict[str, str]]:
        """The path, and what the address asks for."""
        try:
            url = urlsplit(self.path)
            asked = parse_qs(url.query[:_LONGEST], max_num_fields=100)
        except ValueError:
            raise Refused(HTTPStatus.BAD_REQUEST, "this is no address") from None
        return url.path, {name: values[-1] for name, values in asked.items()}

    def _words(self, text: str) -> Answer:
        if self.path.startswith(API):
            return Answer(JSON, json.dumps({"ok": False, "text": text}).encode())
        return Answer(TEXT, f"{text}\n".encode())

    def _get(self) -> tuple[HTTPStatus, Answer] | None:
        path, asked = self._asked()
        live = self.server.live
        if path.startswith(PREFIX) or path == PREFIX.rstrip("/") or (live is None and path == "/"):
            return HTTPStatus.OK, self._profile(path, asked)
        if live is None:
            raise self._nothing_else()
        if path == "/":  # there is nothing in it: what it shows it asks for, with the token
            self._check_host()
            return HTTPStatus.OK, live.page()
        self._let_in(asked, changes=False)
        if not path.startswith(API):
            raise self._nothing_else()
        name = path.removeprefix(API)
        if name == "events" and self.command == "GET":
            self._stream(live, asked)
            return None
        packed = "gzip" in self.headers.get("Accept-Encoding", "")
        return HTTPStatus.OK, live.answer(name, asked, packed) if self.command == "GET" else Answer(JSON, b"")

    def _post(self) -> tuple[HTTPStatus, Answer]:
        live, (path, asked) = self.server.live, self._asked()
        if live is None or path != f"{API}control":
            raise Refused(HTTPStatus.NOT_IMPLEMENTED, f"only {API}control can be asked to do anything")
        self._let_in(asked, changes=True)
        if self.headers.get_content_type() != JSON:
            raise Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"this takes {JSON}")
        length = self.headers.get("Content-Length", "")
        if not length.isascii() or not length.isdecimal() or "Transfer-Encoding" in self.headers:
            raise Refused(HTTPStatus.LENGTH_REQUIRED, "how long is it?")
        if len(length) > 9 or int(length) > MOST_BODY:
            raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"at most {MOST_BODY} bytes")
        body = self.rfile.read(int(length))
        self.server.awaited.pop(self.connection, None)
        return live.control(body)

    def _let_in(self, asked: dict[str, str], changes: bool) -> None:
        """Raises Refused."""
        self._check_host()
        headers = {name.title(): value for name, value in self.headers.items()}
        if not serve_guard.comes_from_us(headers, changes):
            raise Refused(HTTPStatus.FORBIDDEN, "another page has sent this")
        if not serve_guard.is_right(self.server.token, serve_guard.given(headers, asked.get("token", ""))):
            raise Refused(HTTPStatus.FORBIDDEN, "this takes the token: `poireau serve` says the address that has it")

    def _check_host(self) -> None:
        if not serve_guard.is_ours(self.headers.get("Host", ""), self.server.private):
            raise Refused(HTTPStatus.FORBIDDEN, "this is served under its own names only")

    def _nothing_else(self) -> Refused:
        paths = " and ".join(PREFIX + each for each in PROFILES)
        return Refused(HTTPStatus.NOT_FOUND, f"there is only {'/ and ' if self.server.live else ''}{paths}")

    def _profile(self, path: str, asked: dict[str, str]) -> Answer:
        if self.server.private and not serve_guard.is_ours(self.headers.get("Host", ""), True):
            raise Refused(HTTPStatus.FORBIDDEN, "this is served to this machine only, under its own names")
        if self.server.served is None:
            self._let_in(asked, changes=False)
            raise Refused(HTTPStatus.NOT_FOUND, "this serves profiles of traces that are named: `poireau serve TRACE`")
        if path in ("/", PREFIX, PREFIX.rstrip("/")):
            return index()
        name = path.removeprefix(PREFIX)
        if name not in PROFILES:
            raise self._nothing_else()
        seconds = _number(asked.get("seconds", "0"), "seconds")
        if self.command == "HEAD":
            return Answer("application/octet-stream", b"")
        return self.server.served.profile(name, seconds, _number(asked.get("debug", "0"), "debug") > 0)

    def _stream(self, live: Live, asked: dict[str, str]) -> None:
        client = live.client(asked)
        try:
            self.close_connection = True
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 18)
            self.connection.settimeout(BEAT)
            self.send_response(HTTPStatus.OK)
            self._protect(Answer("text/event-stream; charset=utf-8", b""))
            self.send_header("Connection", "close")
            self.end_headers()
            while (content := client.take()) is not None:
                self.wfile.write(content)
        except (OSError, ValueError):
            pass  # he has gone, or reads too slowly
        finally:
            live.daemon.leave(client)

    def _send(self, status: HTTPStatus, answer: Answer) -> None:
        self.send_response(status)
        self._protect(answer)
        if answer.name:
            self.send_header("Content-Disposition", f'attachment; filename="{answer.name}"')
        if answer.packed:
            self.send_header("Content-Encoding", "gzip")
        if self.close_connection:
            self.send_header("Connection", "close")
        if self.command != "HEAD" or answer.content:
            self.send_header("Content-Length", str(len(answer.content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.content)

    def _protect(self, answer: Answer) -> None:
        self.send_header("Content-Type", answer.kind)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Cache-Control", "no-store")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        self.send_header("Content-Security-Policy", answer.policy or "default-src 'none'; frame-ancestors 'none'")

    def log_message(self, format: str, *arguments: object) -> None:
        """Who scrapes does so every few seconds."""


def _number(text: str, name: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1
    if not 0 <= number <= MOST_SECONDS:
        raise Refused(HTTPStatus.BAD_REQUEST, f"{name} is a number up to {MOST_SECONDS}")
    return number


def made(served: Served | None, address: str, port: int, live: Live | None = None, token: str = "") -> Server:
    """Raises Failure: the port is taken, say."""
    try:
        return Server(served, address, port, live, token)
    except (OSError, OverflowError) as error:
        raise Failure(f"{address}:{port}: {getattr(error, 'strerror', None) or error}") from None


def address_of(server: Server, address: str) -> str:
    return f"http://{f'[{address}]' if ':' in address else address}:{server.server_address[1]}"
