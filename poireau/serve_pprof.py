"""A heap that goes on, as Go's programs give theirs: /debug/pprof/heap and /debug/pprof/allocs."""

from __future__ import annotations

import html
import io
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any

from poireau.model import Heap
from poireau.report import heap_text, pprof
from poireau.report.profile import profile
from poireau.selection import Selection

PREFIX = "/debug/pprof/"
PROFILES = {"heap": "what is in use, and what was allocated", "allocs": "the same, what was allocated first"}
MOST_SECONDS = 3600
TEXT = "text/plain; charset=utf-8"
HTML = "text/html; charset=utf-8"
Running = Callable[[], Mapping[int, bool]]  # which processes of the heap go on, by number
Selected = Callable[[], Selection]  # what of the heap as it is now


@dataclass(frozen=True)
class Answer:
    kind: str
    content: bytes
    name: str = ""
    packed: bool = False  # gzip
    policy: str = ""  # of what a page may do


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

    def processes(self) -> tuple[list[dict[str, Any]], Mapping[int, bool]]:
        """Rows of them, and which go on."""
        with self._lock:
            self._read_on()
            rows: list[dict[str, Any]] = self._heap.processes.to_dict("records")
            return rows, self._heap.running

    def _read_on(self) -> int:
        """The time after the last event."""
        self._heap.extend()
        self._heap.running = self._running()
        return self._heap.end + 1

    def _over(self) -> bool:
        """Whether whose event was the last has ended, and has taken what was in use with it."""
        ends = self._heap.processes["end"]
        return not any(self._heap.running.get(number) for number in ends.index[ends == self._heap.end])


def index() -> Answer:
    rows = "".join(
        f'<li><a href="{name}?debug=1">{name}</a>: {html.escape(told)} (<a href="{name}">for pprof</a>)</li>'
        for name, told in PROFILES.items()
    )
    page = f"<!doctype html><title>poireau</title><base href={PREFIX}><h1>{PREFIX}</h1><ul>{rows}</ul>\n"
    return Answer(HTML, page.encode())
