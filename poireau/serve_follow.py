"""A process whose heap is followed as it goes on: who has how much now, for streams of it.

Its trace is read on, and what was born and what has ended since is added and subtracted (serve_sums.py): what a look
costs grows with what has happened since the last one, not with what is alive. Twice in a while all is summed up anew.

One thread looks; others may ask for nothing but what they are given.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from poireau.grouping import size_class
from poireau.model import Heap, Symbolize
from poireau.model_lives import Batch, Columns, Rows
from poireau.reader import Trace
from poireau.serve_sums import Sums
from poireau.tables import Tables

MOST_NEW = 50_000  # stacks, threads
ANEW = 60.0  # seconds between two sums of all, at least
_SHARE = 0.01  # of the time that these may take
_BIRTHS = ("alloc", "resize")
Codes = NDArray[np.int64]


@dataclass(frozen=True)
class Told:
    """What a look has found besides."""

    events: int
    errors: bool  # there are new ones


class Followed:
    def __init__(
        self,
        trace: Trace,
        symbolize: Symbolize,
        kept: int,
        number: int | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """Reads what is there. `number`: of the process, where there are several in the trace."""
        self.symbolize = symbolize
        self.sums: dict[str, Sums] = {}
        self._number, self._now = number, now
        self._at_first: dict[str, int] = {}  # groups of each kind
        self._threads: dict[int, int] = {}  # their numbers
        self._counting = self._errors = False
        self._trace = trace
        self.heap = Heap(_Tapped(trace, self._born), symbolize, kept=kept)
        self.heap.extend()
        self._stale, self._summed, self._cost = True, -ANEW, 0.0

    def group(self, kind: str) -> None:
        """`stack`, `thread` or `size`: from the next look on there are sums of these."""
        if kind not in self.sums:
            self.sums[kind] = Sums()
            self._stale = True

    def look(self) -> Told:
        self._counting, self._errors = True, False
        try:
            events = self.heap.extend(self._ended)
        finally:
            self._counting = False
        now = self._now()
        if self._stale or (events and now - self._summed > max(ANEW, self._cost / _SHARE)):
            self._anew()
        return Told(events, self._errors)

    def tables(self) -> Tables:
        """As they are: what comes later does not change them."""
        return self._trace.tables()

    @property
    def threads(self) -> Sequence[int]:
        """By number."""
        return list(self._threads)

    def disturbed(self) -> None:
        """Somebody has read the heap: what has come meanwhile may not have been seen here."""
        self._stale = True

    def close(self) -> None:
        self._trace.close()

    def _born(self, batch: Batch) -> None:
        if not self._counting:
            return
        self._errors |= "error" in batch and len(batch["error"]["stamp"]) > 0
        # What lives on is told again at each file's beginning: only all together shows what of it is new.
        self._stale |= "live" in batch and len(batch["live"]["stamp"]) > 0
        for kind in _BIRTHS:
            columns = batch.get(kind)
            if not self._stale and columns is not None and len(columns["stamp"]):
                self._add({**columns, "stack": columns["frames"]}, 1)

    def _ended(self, rows: Rows) -> None:
        if not self._stale:
            self._add({name: rows[name] for name in ("process", "thread", "stack", "size", "period", "by_calls")}, -1)

    def _add(self, lives: Columns | Any, sign: int) -> None:
        if self._number is not None:
            own = np.asarray(lives["process"]) == self._number
            lives = {name: np.asarray(column)[own] for name, column in lives.items()}
        for kind, sums in self.sums.items():
            sums.add(self._codes(kind, lives), lives, sign)

    def _codes(self, kind: str, lives: Columns | Any) -> Codes:
        if kind == "size":
            return np.asarray(size_class(lives["size"]), np.int64)
        if kind == "stack":
            return np.asarray(lives["stack"], np.int64)
        distinct, inverse = np.unique(np.asarray(lives["thread"], np.int64), return_inverse=True)
        numbers = [self._threads.setdefault(thread, len(self._threads)) for thread in distinct.tolist()]
        return np.array(numbers, np.int64)[inverse.reshape(-1)]

    def codes(self, kind: str, rows: Rows) -> Codes:
        """Of lives that may have ended long ago. Of a thread that nobody has counted: one more than there are."""
        if kind != "thread":
            return self._codes(kind, rows)
        distinct, inverse = np.unique(np.asarray(rows["thread"], np.int64), return_inverse=True)
        numbers = [self._threads.get(thread, len(self._threads)) for thread in distinct.tolist()]
        return np.array(numbers, np.int64)[inverse.reshape(-1)]

    def _anew(self) -> None:
        began = time.thread_time()
        lives = self.heap.live()
        self.sums = {kind: Sums() for kind in self.sums}
        self._add(
            {name: lives[name].to_numpy() for name in ("process", "thread", "stack", "size", "period", "by_calls")}, 1
        )
        self._stale, self._summed = False, self._now()
        self._cost = time.thread_time() - began
        for kind, sums in self.sums.items():
            self._at_first.setdefault(kind, sums.groups)

    @property
    def outgrown(self) -> bool:
        """So many stacks or threads have come to it since that it should be opened anew, without those that are gone:
        nothing is ever forgotten here."""
        return any(self.sums[kind].groups > 3 * first + MOST_NEW for kind, first in self._at_first.items())


class _Tapped:
    """A trace whose batches somebody else sees as well."""

    def __init__(self, trace: Trace, seen: Any) -> None:
        self._trace, self._seen = trace, seen

    def batches(self) -> Iterator[Batch]:
        for batch in self._trace.batches():
            self._seen(batch)
            yield batch

    def tables(self) -> Tables:
        return self._trace.tables()
