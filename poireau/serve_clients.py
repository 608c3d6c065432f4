"""Who listens to the stream of events (server-sent events), and what is waiting for each of them.

What waits is bounded: who reads too slowly is let go, and his browser asks again by itself.
"""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Iterable
from typing import Any

MOST_CLIENTS = 16
MOST_WAITING = 8 << 20  # bytes for one of them
BEAT = 15.0  # seconds
Message = tuple[str, dict[str, Any]]


def encoded(message: Message) -> bytes:
    kind, data = message
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return f"event: {kind}\ndata: {text}\n\n".encode("utf-8", "surrogateescape")


class Client:
    """`watch`, `by`: the id of a process, or "", and by what its stream is grouped."""

    def __init__(self, watch: str = "", by: str = "line") -> None:
        self.watch, self.by = watch, by
        self.attached: object = None  # the stream that it gets
        self._waiting: deque[bytes] = deque()
        self._size = 0
        self._number = 0
        self._changed = threading.Condition()
        self.over = ""  # why it gets no more

    def send(self, messages: Iterable[Message]) -> None:
        self.send_written([encoded(message) for message in messages])

    def send_written(self, messages: Iterable[bytes]) -> None:
        with self._changed:
            for message in messages:
                self._number += 1
                content = b"id: %d\n%s" % (self._number, message)
                self._waiting.append(content)
                self._size += len(content)
            if self._size > MOST_WAITING:
                self.leave("it reads too slowly")
            self._changed.notify()

    def leave(self, why: str) -> None:
        with self._changed:
            self.over = self.over or why
            self._waiting.clear()
            self._size = 0
            self._changed.notify()

    def take(self) -> bytes | None:
        """What there is, a beat where there was nothing for a while; None: that was all."""
        with self._changed:
            if not self._waiting and not self.over:
                self._changed.wait(BEAT)
            if self.over:
                return None
            # A comment would do for the connection, but no page can hear one.
            content = b"".join(self._waiting) or encoded(("beat", {"t": time.time_ns() // 1_000_000}))
            self._waiting.clear()
            self._size = 0
            return content
