"""What is found to be wrong with a process: a line on standard error, and an event. Once each, and not too many.

Under systemd a line begins with its level, as journald understands it."""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from typing import Any

from poireau.report import words
from poireau.serve_clients import Message
from poireau.serve_clock import Clock
from poireau.serve_processes import Seen
from poireau.text import as_size, plain

A_MINUTE = 20  # lines, at the most
AGAIN = 24 * 3600.0  # seconds after which the same is told again
_KNOWN = 10_000  # that are remembered
_RECENT = 20  # for who comes later
_WARNING, _ERROR = 4, 3  # of syslog


class Alerts:
    def __init__(self, say: Callable[[str], None], json_lines: bool = False, clock: Clock | None = None) -> None:
        self._say, self._json, self._clock = say, json_lines, clock or Clock()
        self._lock = threading.Lock()
        self._told: OrderedDict[tuple[str, ...], float] = OrderedDict()
        self._recent: deque[Message] = deque(maxlen=_RECENT)
        self._minute, self._lines, self._left_out = -60.0, 0, 0
        self._levels = "JOURNAL_STREAM" in os.environ

    def recent(self) -> list[Message]:
        with self._lock:
            return list(self._recent)

    def leak(self, seen: Seen, row: Mapping[str, Any]) -> list[Message]:
        place = words.key(row, "line", False)
        text = (
            f"{place}: {as_size(max(round(row['rate']['value']), 0))} an hour, "
            f"{as_size(round(row['bytes']['value']))} in use ({row['verdict']}): {row['reason']}"
        )
        return self._tell("leak", seen, text, (seen.id, "leak", place))

    def error(self, seen: Seen, row: Mapping[str, Any]) -> list[Message]:
        where = row["where"][0] if row["where"] else "?"
        return self._tell("error", seen, f"{row['message']}, at {where}", (seen.id, "error", row["message"], where))

    def complain(self, text: str) -> None:
        """Of ourselves."""
        with self._lock:
            if self._is_new(("complaint", text)):
                self._line(_ERROR, f"poireau serve: {plain(text)}", {"level": "complaint", "text": text})

    def _tell(self, level: str, seen: Seen, text: str, key: tuple[str, ...]) -> list[Message]:
        with self._lock:
            if not self._is_new(key):
                return []
            about = {"t": time.time_ns() // 1_000_000, "id": seen.id, "name": seen.name, "level": level, "text": text}
            line = f"poireau serve: {level}: {plain(seen.name)}[{seen.pid}]: {plain(text)}"
            self._line(_ERROR if level == "error" else _WARNING, line, {**about, "pid": seen.pid})
            self._recent.append(("alert", about))
            return [("alert", about)]

    def _is_new(self, key: tuple[str, ...]) -> bool:
        now = self._clock.now()
        told = self._told.get(key)
        if told is not None and now - told < AGAIN:
            return False
        self._told[key] = now
        self._told.move_to_end(key)
        while len(self._told) > _KNOWN:
            self._told.popitem(last=False)
        return True

    def _line(self, level: int, line: str, about: Mapping[str, Any]) -> None:
        now = self._clock.now()
        if now - self._minute >= 60:
            if self._left_out:
                with contextlib.suppress(OSError, ValueError):
                    self._say(f"poireau serve: {self._left_out} more in the minute before")
            self._minute, self._lines, self._left_out = now, 0, 0
        self._lines += 1
        if self._lines > A_MINUTE:
            self._left_out += 1
            return
        said = json.dumps(about) if self._json else line
        with contextlib.suppress(OSError, ValueError):  # nobody reads it, or the disk is full
            self._say(f"<{level}>{said}" if self._levels and not self._json else said)
