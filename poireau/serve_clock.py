"""The time that a daemon goes by: nobody sets it, whatever is done to the machine's clock; and in tests of what takes
days it may go faster."""

from __future__ import annotations

import threading
import time


class Clock:
    def __init__(self, pace: float = 1.0) -> None:
        self._pace = pace
        self._began = time.monotonic()
        self._wall = time.time_ns() // 1_000_000

    def now(self) -> float:
        """Seconds."""
        return self._began + (time.monotonic() - self._began) * self._pace

    def milliseconds(self) -> int:
        """Since 1970, as the machine had it at first."""
        return self._wall + round((self.now() - self._began) * 1000)

    def wait(self, event: threading.Event, seconds: float) -> bool:
        return event.wait(self.real(seconds))

    def real(self, seconds: float) -> float:
        return max(seconds, 0.0) / self._pace
