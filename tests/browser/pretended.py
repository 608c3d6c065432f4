"""A server of the live page that tells what a test wants it to: a thousand processes, names that are markup, a clock
that is set. What the real one tells is in live_test.py."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

from poireau.report import page

Event = tuple[str, Mapping[str, Any]]
BEGIN = 1_790_000_000_000  # ms
TOKEN = "0123456789abcdef"


def estimate(value: float) -> dict[str, Any]:
    return {"value": value, "ci95": [0.7 * value, 1.6 * value], "n": 40}


def process(pid: int, name: str, **more: Any) -> dict[str, Any]:
    known = {"id": f"{pid}-1", "pid": pid, "name": name, "command": f"{name} --all", "user": "somebody", "since": BEGIN}
    does = {"state": "armed", "period": 1 << 19, "governed": True, "live": estimate(1e6 * pid), "rss": 3_000_000 * pid}
    costs = {"drops": 0, "lost": 0, "overhead": 0.004, "errors": 0, "leaks": 0, "tunable": True, "why_not": ""}
    return {**known, **does, **costs, **more}


def band(name: str, colour: int = 0) -> dict[str, Any]:
    where = {"function": name, "file": f"/src/{name}.cc", "line": 7, "module": name, "colour": colour % 32}
    return {"key": name, "name": name, **where}


def figures(value: float) -> list[float]:
    return [value, 0.9 * value, 1.1 * value, 30]


def bands(id: str, names: Sequence[str], by: str = "line") -> Event:
    return "bands", {"id": id, "by": by, "bands": [band(name, 5 * at) for at, name in enumerate(names)], "reset": True}


def history(names: Sequence[str], times: Sequence[int]) -> Event:
    """Each band has more than the one before, and comes and goes with a rhythm of its own."""

    def value(which: int, at: int) -> float:
        return 1e6 * (which + 1) * (2 + (at // (3 + which)) % 3)

    moments = range(len(times))
    values = {name: [figures(value(which, at)) for at in moments] for which, name in enumerate(names)}
    total = zip(*(figures(sum(value(which, at) for which in range(len(names)))) for at in moments))
    columns = dict(zip(("value", "low", "high", "samples"), map(list, total)))
    return "history", {"times": list(times), "total": columns, "values": values}


class Pretended:
    """Tells `first` to whoever comes, `watched` to who watches; then what tell() is given. Ends with the block it is
    used in."""

    def __init__(self, first: Sequence[Event], watched: Sequence[Event] = ()) -> None:
        hello = {"version": "1", "host": "somewhere", "user": "somebody", "root": False, "interval": 0.5}
        self._first = [("hello", {**hello, "started": BEGIN, "processes_total": 1}), *first]
        self._watched, self._more = list(watched), list[Event]()
        self._changed, self._over = threading.Condition(), False
        outer = self

        class Answers(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                if self.path.startswith("/api/events"):
                    self.send_response(200)
                    self.send_header("Content-Type", "text/event-stream")
                    self.send_header("Connection", "close")
                    self.end_headers()
                    with contextlib.suppress(OSError):  # the page has gone
                        outer._stream(self)
                    self.close_connection = True
                    return
                content = (
                    page.around("live", "Poireau", connect="'self'") if self.path.partition("?")[0] == "/" else b""
                )
                self.send_response(200 if content else 404)
                self.send_header("Content-Type", "text/html; charset=utf-8")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/?token={TOKEN}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    def tell(self, *events: Event) -> None:
        with self._changed:
            self._more += events
            self._changed.notify_all()

    def _stream(self, to: BaseHTTPRequestHandler) -> None:
        told = len(self._more)
        for event in [*self._first, *(self._watched if "watch=" in to.path else [])]:
            _write(to, event)
        while not self._over:
            with self._changed:
                if len(self._more) == told:
                    self._changed.wait(timeout=1)
                new = self._more[told:]
            told += len(new)
            for event in new:
                _write(to, event)

    def __enter__(self) -> Pretended:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, where: TracebackType | None
    ) -> None:
        with self._changed:
            self._over = True
            self._changed.notify_all()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def _write(to: BaseHTTPRequestHandler, event: Event) -> None:
    kind, about = event
    to.wfile.write(f"event: {kind}\ndata: {json.dumps(about)}\n\n".encode())
    to.wfile.flush()


def point(names: Sequence[str], moment: int, value: float = 4e6) -> Event:
    values = {name: figures(value) for name in names}
    return "point", {"t": moment, "total": figures(value * len(names)), "values": values, "other": [0, 0, 0, 0]}
