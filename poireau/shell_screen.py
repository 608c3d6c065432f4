"""A page of the whole terminal that is drawn again and again until somebody leaves it. What is drawn is made by a
thread of its own, so that keys are heard meanwhile, and never takes more than half of the time."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from poireau.errors import Failure
from poireau.text import plain

Draw = Callable[[int, int, bool], str]  # columns, rows, whether it is time to look again -> lines with colours


@dataclass
class Screen:
    """`keys`: what each key does, in that thread. `text_keys`: the same of keys that a line of text is asked for, which
    is given. Any other key leaves if `any_key` is set; q and Ctrl-C always do."""

    draw: Draw
    interval: float
    keys: Mapping[str, Callable[[], None]] = field(default_factory=dict)
    text_keys: Mapping[str, Callable[[str], None]] = field(default_factory=dict)
    any_key: bool = False
    said: str = ""  # at the bottom, until the next key
    failure: BaseException | None = None
    _page: str = ""
    _size: tuple[int, int] = (80, 24)
    _due: float = 0.0
    _jobs: list[Callable[[], None]] = field(default_factory=list)
    _wake: threading.Event = field(default_factory=threading.Event)
    _over: bool = False

    def show(self) -> None:
        """Until somebody leaves. Raises what drawing has raised."""
        from poireau import shell_terminal

        self._page = "..."
        app = shell_terminal.application(self)
        worker = threading.Thread(target=self._work, args=(app.invalidate, app.exit), daemon=True)
        worker.start()
        try:
            app.run()
        finally:
            self._over = True
            self._wake.set()
        worker.join(5)
        if self.failure is not None:
            raise self.failure

    @property
    def page(self) -> str:
        return self._page

    def resized(self, columns: int, rows: int) -> None:
        if (columns, rows) != self._size:
            self._size = columns, rows
            self._wake.set()

    def do(self, job: Callable[[], None]) -> None:
        """In the thread that draws."""
        self.said = ""
        self._jobs.append(job)
        self._wake.set()

    def look_again(self) -> None:
        self._due = 0.0

    def _work(self, invalidate: Callable[[], None], leave: Callable[[], None]) -> None:
        try:
            while not self._over:
                self._wake.clear()
                with _heard() as heard:
                    self._turn()
                if heard.getvalue():
                    self.said = plain(heard.getvalue().strip().splitlines()[-1].rpartition("\r")[2])
                invalidate()
                self._wake.wait(max(0.0, self._due - time.monotonic()))
        except BaseException as failure:
            self.failure = failure
            with contextlib.suppress(Exception):  # it is over already
                leave()

    def _turn(self) -> None:
        while self._jobs:
            try:
                self._jobs.pop(0)()
            except Failure as failure:
                self.said = plain(str(failure))
        began = time.monotonic()
        due = began >= self._due
        self._page = self.draw(*self._size, due)
        took = time.monotonic() - began
        if due:
            self._due = began + max(self.interval, 2 * took)


@contextlib.contextmanager
def _heard() -> Iterator[io.StringIO]:
    """What is said on standard error, which would be in the picture."""
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        yield said


class Captured(io.TextIOWrapper):
    """What a command prints for a terminal."""

    def __init__(self) -> None:
        super().__init__(io.BytesIO(), "utf-8", "backslashreplace")

    def isatty(self) -> bool:
        return True

    def text(self) -> str:
        self.flush()
        return self.buffer.getvalue().decode("utf-8")  # type: ignore[attr-defined, no-any-return]


def captured(act: Callable[[], object]) -> str:
    out = Captured()
    with contextlib.redirect_stdout(out):
        act()
    return out.text()


def is_possible() -> bool:
    """Whether there is a terminal that can be drawn on, and what draws."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()) or os.environ.get("TERM", "dumb") == "dumb":
        return False
    from importlib.util import find_spec

    return find_spec("prompt_toolkit") is not None
