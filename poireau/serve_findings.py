"""What is wrong with the heaps of those that run: leaks and memory errors, one process after the other, by one thread,
in a share of a processor. Those that are watched come first."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Mapping
from typing import Any

from poireau import serve_memory
from poireau.errors import Failure
from poireau.serve_alerts import Alerts
from poireau.serve_clients import Message
from poireau.serve_clock import Clock
from poireau.serve_processes import Found, Seen
from poireau.serve_study import Study
from poireau.serve_watch import Watched

SHARE = 0.02  # of a processor for leaks
WATCHED_EVERY, OTHERS_EVERY = 10.0, 30.0  # seconds, at least
_SOON = 5.0  # after it began to be watched
_ERRORS_SHARE = 0.1  # of a processor, where one has error after error
Tell = Callable[[str, Message], None]  # those who watch that id; "": all


class Findings:
    def __init__(
        self,
        found: Found,
        study: Study,
        alerts: Alerts,
        clock: Clock,
        watched: Callable[[], Mapping[str, Watched]],
        tell: Tell,
    ) -> None:
        self._found, self._study, self._alerts, self._clock = found, study, alerts, clock
        self._watched, self._tell = watched, tell
        self._asked: queue.SimpleQueue[str] = queue.SimpleQueue()  # whose errors are to be looked at
        self._due: dict[str, float] = {}  # of each, when it is to be looked at for leaks
        self._rested = 0.0  # when the next one may be, that nobody watches

    def errors_of(self, id: str) -> None:
        """There may be new ones. From any thread."""
        self._asked.put(id)

    def turn(self) -> None:
        """What is due; at most a second passes."""
        ids = set[str]()
        try:
            ids.add(self._asked.get(timeout=self._clock.real(1.0)))
            while True:
                ids.add(self._asked.get_nowait())
        except queue.Empty:
            pass
        began = time.thread_time()
        for id in ids:
            seen = self._found.seen.get(id)
            if seen is not None and seen.trace:
                self._look_for_errors(seen)
        self._look_for_leaks()
        if ids:
            time.sleep(self._clock.real(min((time.thread_time() - began) / _ERRORS_SHARE, 5.0)))

    def _look_for_leaks(self) -> None:
        now, seen, watched = self._clock.now(), dict(self._found.seen), self._watched()
        self._due = {id: due for id, due in self._due.items() if id in seen}
        followed = [seen[id] for id, each in watched.items() if each.followed is not None and id in seen]
        for each in followed:
            if watched[each.id].leaks is None:  # whoever comes is not to wait for long
                self._due[each.id] = min(self._due.get(each.id, now + _SOON), now + _SOON)
        first = min(followed, key=lambda each: self._due.get(each.id, 0.0), default=None)
        if first is not None and now >= self._due.get(first.id, 0.0):
            self._due[first.id] = now + WATCHED_EVERY  # whatever comes of it
            self._due[first.id] = now + max(WATCHED_EVERY, self._examine(watched[first.id], first) / SHARE)
            return
        others = [each for each in seen.values() if each.trace and each.ended is None and each.id not in watched]
        other = min(others, key=lambda each: self._due.get(each.id, 0.0), default=None)
        if other is not None and now >= max(self._rested, self._due.get(other.id, 0.0)):
            self._due[other.id] = now + OTHERS_EVERY
            self._rested = now + self._leaks_of(other)[1] / SHARE

    def _examine(self, watched: Watched, seen: Seen) -> float:
        document, spent = self._leaks_of(seen)
        if document is not None and document != watched.leaks:
            watched.leaks = document
            self._tell(watched.id, ("leaks", document))
        if watched.errors is None:
            self._look_for_errors(seen)
        return spent

    def _leaks_of(self, seen: Seen) -> tuple[dict[str, Any] | None, float]:
        """And the processor time that it took."""
        began = time.thread_time()
        document = None
        try:
            document = self._study.leaks(seen.trace, seen.number)
        except Failure:
            pass  # its trace has gone
        else:
            found = document.pop("found")
            seen.leaks = len(found)
            for row in found:
                for message in self._alerts.leak(seen, row):
                    self._tell("", message)
        serve_memory.give_back()
        return document, time.thread_time() - began

    def _look_for_errors(self, seen: Seen) -> None:
        try:
            document = self._study.errors(seen.trace, seen.number)
        except Failure:
            return
        for row in document["rows"]:
            for message in self._alerts.error(seen, row):
                self._tell("", message)
        watched = self._watched().get(seen.id)
        if watched is not None:
            watched.errors = document
            self._tell(seen.id, ("errors", document))
