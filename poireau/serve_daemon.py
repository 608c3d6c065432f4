"""The daemon behind the live page: it finds processes, follows those that are watched (serve_watch.py), looks at all
for leaks and errors (serve_findings.py), and tells who listens.

One thread finds processes, one has the pulse (twice a second: nothing that takes long is done there), one does for it
what takes long, and one looks for what is wrong. What goes wrong in one of them is a line, and not its end.
"""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

from poireau import serve_memory, serve_notify
from poireau.serve_alerts import Alerts
from poireau.serve_clients import MOST_CLIENTS, Client, Message, encoded
from poireau.serve_clock import Clock
from poireau.serve_findings import Findings
from poireau.serve_processes import SHARE, Found, health
from poireau.serve_study import Study
from poireau.serve_watch import Watching
from poireau.version import __version__

INTERVAL = 0.5  # seconds between two points


class Daemon:
    def __init__(
        self, found: Found, say: Callable[[str], None], json_lines: bool = False, clock: Clock | None = None
    ) -> None:
        self.found = found
        self.clock = clock or Clock()
        self.study = Study()
        self.alerts = Alerts(say, json_lines, self.clock)
        self.watching = Watching(found, self.clients, self.clock, self._later, self.alerts.complain)
        self.findings = Findings(
            found, self.study, self.alerts, self.clock, lambda: self.watching.watched, self._tell_of
        )
        self.started = self.clock.milliseconds()
        self._clients: list[Client] = []
        self._lock = threading.Lock()  # of the clients
        self._work: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()
        self._over, self._again = threading.Event(), threading.Event()
        self._errors: dict[str, int] = {}  # that were seen of each
        self._rest = 0.0  # until processes are looked for again
        bodies = (self._find, self._pulse, self._do, self.findings.turn)
        self._threads = [threading.Thread(target=self._kept_up, args=[each], daemon=True) for each in bodies]

    def start(self) -> None:
        serve_memory.keep_little()
        try:
            self.found.look()
        except Exception as error:  # it is tried again
            self._complain(error)
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._over.set()
        self._again.set()
        self._work.put(lambda: None)
        for client in self.clients():
            client.leave("the server ends")
        for thread in self._threads:
            if thread.ident:
                thread.join(5)

    def reload(self) -> None:
        """Looks again for everything; who listens goes on."""
        self._again.set()

    # Clients: they come and go in threads of their own.

    def clients(self) -> list[Client]:
        with self._lock:
            return list(self._clients)

    def join(self, client: Client) -> str:
        """Why not, or ""."""
        with self._lock:
            if len(self._clients) >= MOST_CLIENTS:
                return f"{MOST_CLIENTS} listen already"
            self._clients.append(client)
        client.send([("hello", self.hello()), ("processes", self.found.told()), *self.alerts.recent()])
        return ""

    def leave(self, client: Client) -> None:
        with self._lock:
            if client in self._clients:
                self._clients.remove(client)

    def hello(self) -> dict[str, Any]:
        told = self.found.told()
        return {
            "version": __version__,
            "host": os.uname().nodename,
            "user": _user(),
            "root": os.geteuid() == 0,
            "interval": INTERVAL,
            "started": self.started,
            "processes_total": len(told["processes"]) + told["more"],
        }

    def tell(self, messages: Iterable[Message], to: Callable[[Client], bool] = lambda _: True) -> None:
        clients = [client for client in self.clients() if to(client)]
        written = [encoded(message) for message in messages] if clients else []
        for client in clients:
            client.send_written(written)

    def _tell_of(self, id: str, message: Message) -> None:
        self.tell([message], lambda client: not id or (client.watch == id and client.attached is not None))

    # The threads.

    def _kept_up(self, body: Callable[[], object]) -> None:
        while not self._over.is_set():
            try:
                body()
            except Exception as error:
                self._complain(error)
                self._over.wait(1.0)

    def _complain(self, error: Exception) -> None:
        self.alerts.complain(f"{type(error).__name__}: {error}")

    def _later(self, work: Callable[[], object]) -> None:
        self._work.put(work)

    def _do(self) -> None:
        self._work.get()()

    def _find(self) -> None:
        self.clock.wait(self._again, max(self._rest, self.found.every))
        self._again.clear()
        if self._over.is_set():
            return
        began = time.thread_time()
        if self.found.look():
            self.tell([("processes", self.found.told())])
        seen = self.found.seen
        for id in {client.watch for client in self.clients()} & set(seen):
            self.tell([("health", health(seen[id]))], lambda client, id=id: client.watch == id)  # type: ignore[misc]
        counts = {id: each.errors for id, each in seen.items() if each.trace}
        for id, count in counts.items():
            if count > self._errors.get(id, 0):
                self.findings.errors_of(id)
        self._errors = counts
        self._rest = (time.thread_time() - began) / SHARE

    def _pulse(self) -> None:
        watchdog = serve_notify.watchdog()
        beaten = due = time.monotonic()
        while not self._over.is_set():
            for seen in self.watching.pulse():
                self.findings.errors_of(seen.id)
            if self.watching.bereft():
                self._again.set()
            if watchdog is not None and time.monotonic() - beaten >= watchdog:
                serve_notify.tell("WATCHDOG=1")
                beaten = time.monotonic()
            apart = self.clock.real(INTERVAL)
            due = max(due + apart, time.monotonic() + apart / 5)
            self._over.wait(due - time.monotonic())


def _user() -> str:
    from poireau.reach import user_name

    return user_name(os.geteuid())
