"""Who watches what: the heaps that are followed, and the streams that are made of them.

One thread has the pulse; nothing that takes long is done there. What goes wrong with one of them is told to those who
watch it, and the others go on.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from poireau import processes
from poireau.errors import Failure
from poireau.serve_clients import Client
from poireau.serve_clock import Clock
from poireau.serve_processes import Found, Seen, health
from poireau.serve_study import opened

MOST_WATCHED = 8  # processes
KEPT = 8 << 20  # bytes of ended lives of one that is watched
_LINGER = 30.0  # seconds that nobody watches
_WAITING, _OVER = "waiting", "over"  # of a client: for a trace; it gets nothing more
Later = Callable[[Callable[[], object]], None]  # has it done elsewhere


@dataclass
class Watched:
    """A process that somebody watches, or did a moment ago."""

    id: str
    trace: str
    followed: Any = None  # Followed: it is being opened until then
    streams: dict[str, Any] = field(default_factory=dict)  # by -> Stream; None: it is being prepared
    left: float = 0.0  # when the last one has left it
    failure: str = ""
    busy: threading.Lock = field(default_factory=threading.Lock)  # who opens or reads its heap
    leaks: dict[str, Any] | None = None
    errors: dict[str, Any] | None = None


class Watching:
    def __init__(
        self,
        found: Found,
        clients: Callable[[], Sequence[Client]],
        clock: Clock,
        later: Later,
        complain: Callable[[str], None],
    ) -> None:
        self._watched: dict[str, Watched] = {}
        self._found, self._clients, self._clock = found, clients, clock
        self._later, self._complain = later, complain

    @property
    def watched(self) -> Mapping[str, Watched]:
        """By id, as they are now."""
        return dict(self._watched)

    def pulse(self) -> list[Seen]:
        """Those of which there are new memory errors."""
        now = self._clock.now()
        for client in self._clients():
            if client.watch and client.attached is not _OVER:
                self._attend(client, now)
        with_errors = [seen for watched in list(self._watched.values()) if (seen := self._tick(watched))]
        for watched in list(self._watched.values()):
            if now - watched.left > _LINGER or (watched.failure and now > watched.left):
                self._close(watched)
        return with_errors

    def bereft(self) -> bool:
        """Whether a process that is watched has ended, and nobody knows yet."""
        seen = (self._found.seen.get(id) for id in self._watched)
        return any(each is not None and each.ended is None and _has_gone(each.pid) for each in seen)

    # Clients.

    def _attend(self, client: Client, now: float) -> None:
        seen = self._found.seen.get(client.watch)
        if seen is None:
            _part(client, "it is not there any more")
        elif not seen.trace:
            if client.attached is not _WAITING:
                _part(client, f"it has no trace: {seen.why_not or 'no sample so far'}")
                client.attached = _WAITING
        else:
            watched = self._of(client, seen)
            if watched is None:
                return
            watched.left = now
            if watched.failure:
                _part(client, watched.failure)
            elif watched.followed is not None:
                self._give(client, watched, seen)

    def _of(self, client: Client, seen: Seen) -> Watched | None:
        watched = self._watched.get(seen.id)
        if watched is not None and watched.trace != seen.trace:  # it executes another program
            if not self._close(watched):
                return None
            watched = None
        if watched is None and len(self._watched) >= MOST_WATCHED:
            _part(client, f"{MOST_WATCHED} processes are watched already")
        elif watched is None:
            watched = self._watched[seen.id] = Watched(seen.id, seen.trace)
            opening = watched
            self._later(lambda: self._open(opening, seen.number))
        return watched

    def _give(self, client: Client, watched: Watched, seen: Seen) -> None:
        if client.by not in watched.streams:
            watched.streams[client.by] = None
            self._later(lambda: self._prepare(watched, client.by))
        stream = watched.streams[client.by]
        if stream is not None and client.attached is not stream:
            client.attached = stream
            client.send(stream.beginning())
            known = (("leaks", watched.leaks), ("errors", watched.errors))
            client.send([(kind, document) for kind, document in known if document is not None])
            client.send([("health", health(seen))])
        if stream is not None and seen.ended is not None:
            _part(client, "it has ended")

    # Heaps.

    def _open(self, watched: Watched, number: int | None) -> None:
        from poireau.serve_follow import Followed

        def follow() -> None:
            watched.followed = Followed(*opened(watched.trace), KEPT, number, self._clock.now)

        self._try(watched, follow)

    def _prepare(self, watched: Watched, by: str) -> None:
        from poireau.serve_stream import Stream

        def prepare() -> None:
            stream = Stream(watched.id, watched.followed, by, self._later)
            stream.prepare()
            watched.streams[by] = stream

        self._try(watched, prepare)

    def _try(self, watched: Watched, work: Callable[[], None]) -> None:
        """With its heap, if it is still watched. What goes wrong is told at the next pulse."""
        with watched.busy:
            if self._watched.get(watched.id) is not watched or watched.failure:
                return
            try:
                work()
            except Exception as error:
                self._failed(watched, error)

    def _failed(self, watched: Watched, error: Exception) -> None:
        watched.failure = str(error) if isinstance(error, Failure) else f"{type(error).__name__}: {error}"
        if not isinstance(error, Failure):
            self._complain(f"{watched.id}: {watched.failure}")

    def _tick(self, watched: Watched) -> Seen | None:
        if watched.followed is None or watched.failure or not watched.busy.acquire(blocking=False):
            return None
        try:
            told = watched.followed.look()
            self._draw(watched)
        except Exception as error:
            self._failed(watched, error)
            return None
        finally:
            watched.busy.release()
        if watched.followed.outgrown:  # what has gone for good is forgotten
            self._close(watched)
        return self._found.seen.get(watched.id) if told.errors else None

    def _draw(self, watched: Watched) -> None:
        for stream in filter(None, list(watched.streams.values())):
            listeners = [client for client in self._clients() if client.attached is stream]
            if listeners:
                messages = stream.tick(self._clock.milliseconds())
                for client in listeners:
                    client.send(messages)

    def _close(self, watched: Watched) -> bool:
        """False: not now."""
        if not watched.busy.acquire(blocking=False):
            return False
        try:
            self._watched.pop(watched.id, None)
            if watched.followed is not None:
                watched.followed.close()
        finally:
            watched.busy.release()
        for client in self._clients():
            if client.watch == watched.id and client.attached is not _OVER:
                client.attached = None
        return True


def _has_gone(pid: int) -> bool:
    try:
        return processes.look(pid) is None
    except Failure:
        return False


def _part(client: Client, why: str) -> None:
    client.send([("gone", {"id": client.watch, "why": why})])
    client.attached = _OVER
