"""From a place to a heap: the reader, the symbolizer and the model put together, with a bar that says how far it is."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from poireau import resident
from poireau.model import Batch, Heap
from poireau.reader import Trace, open_trace
from poireau.tables import Tables

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
) -> Heap:
    """What is read is the directory of a process, of a run or of many, a CTF or LTTng trace, net://host/... or a pack;
    several make one heap. `follow`: Heap.extend() reads what is written from then on. `bar`: on stderr; otherwise where
    that is a terminal. Raises Failure: there is nothing that can be read."""
    from poireau.symbols import Symbolizer

    several = [targets] if isinstance(targets, (str, os.PathLike)) else list(targets)
    trace = open_trace(several, follow)
    shown = sys.stderr.isatty() if bar is None else bar
    source = _Shown(trace) if shown and not follow else trace
    told = getattr(trace, "names", None)  # a pack's own
    heap = Heap(source, told or Symbolizer(settings).names, lambda them: dict.fromkeys(resident.pids(them), True))
    heap.extend()
    return heap


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
                sys.stderr.write("\r\x1b[K")
                sys.stderr.flush()

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
