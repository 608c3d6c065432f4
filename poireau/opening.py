"""From a place to a heap: the reader, the symbolizer and the model put together, with a bar that says how far it is."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from poireau import resident, told
from poireau.model import KEPT, Batch, Heap, Symbolize
from poireau.reader import Trace, open_trace
from poireau.tables import Names, Tables
from poireau.text import plain

if TYPE_CHECKING:
    from poireau.symbols import Settings

PATIENCE = 1.0  # seconds without a bar
_EVERY = 0.1
_WIDTH = 40


def open(
    targets: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    follow: bool = False,
    settings: Settings | None = None,
    bar: bool | None = None,
    kept: int = KEPT,
) -> Heap:
    """What is read is the directory of a process, of a run or of many, a CTF or LTTng trace, net://host/... or a pack;
    several make one heap. `follow`: Heap.extend() reads what is written from then on. `bar`: on stderr; otherwise where
    that is a terminal. `kept`: bytes of lives that need not be read again. Raises Failure: there is nothing that can be
    read."""
    from poireau.symbols import Settings, Symbolizer

    several = [targets] if isinstance(targets, (str, os.PathLike)) else list(targets)
    trace = open_trace(several, follow)
    shown = sys.stderr.isatty() if bar is None else bar
    source = _Shown(trace) if shown and not follow else trace
    settings = settings or Settings()
    if shown:
        settings = replace(settings, say=_say)
    symbolize = told.first(trace, Symbolizer(settings).names)
    named = _counting(symbolize) if shown else symbolize
    heap = Heap(source, named, lambda them: dict.fromkeys(resident.pids(them), True), kept)
    heap.extend()
    return heap


def _counting(symbolize: Symbolize) -> Symbolize:
    def names(tables: Tables, frames: NDArray[Any] | None) -> Names | None:
        count = len(tables.frame_address if frames is None else frames)
        with _waiting(f"looking up the names of {count:,} addresses"):
            return symbolize(tables, frames)

    return names


@contextlib.contextmanager
def _waiting(what: str) -> Iterator[None]:
    """Says how long it has been waited for, where nobody knows how long it will be."""
    done = threading.Event()
    began = time.monotonic()

    def tell() -> None:
        shown = False
        while not done.wait(_EVERY if shown else PATIENCE):
            shown = True
            sys.stderr.write(f"\r{what}: {time.monotonic() - began:.0f} s\x1b[K")
            sys.stderr.flush()
        if shown:
            _clear()

    thread = threading.Thread(target=tell, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _say(line: str) -> None:
    """In place of what is shown."""
    sys.stderr.write(f"\r\x1b[Kpoireau: {plain(line)}\n")
    sys.stderr.flush()


def _clear() -> None:
    sys.stderr.write("\r\x1b[K")
    sys.stderr.flush()


class _Shown:
    """A trace that shows how far it has been read."""

    def __init__(self, trace: Trace) -> None:
        self._trace = trace

    def batches(self) -> Iterator[Batch]:
        began = time.monotonic()
        due = began + PATIENCE
        shown = False
        try:
            for batch in self._trace.batches():
                yield batch
                now = time.monotonic()
                if now >= due:
                    shown, due = True, now + _EVERY
                    _show(*self._trace.progress(), now - began)
        finally:
            if shown:
                _clear()

    def tables(self) -> Tables:
        return self._trace.tables()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._trace, name)


def _show(done: int, all: int, seconds: float) -> None:
    share = min(done / all, 1.0) if all else 0.0
    filled = int(share * _WIDTH)
    left = f"{seconds / share - seconds:4.0f} s left" if share > 0.01 else ""
    sys.stderr.write(f"\rreading [{'=' * filled}{' ' * (_WIDTH - filled)}] {share:4.0%} {left}\x1b[K")
    sys.stderr.flush()
