"""What takes longer than a stream may wait for: leaks, memory errors and flamegraphs, from heaps of their own.

Few heaps are open at once, those that were asked last; the names that were found stay in the symbolizer's cache.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from poireau.errors import Failure
from poireau.model import Heap, Symbolize
from poireau.reader import Trace

OPEN = 2  # at once
KEPT = 48 << 20  # bytes of lives of one of them that need not be read again
MOST_ROWS = 40
_FRAMES = 32
Document = dict[str, Any]


class Study:
    """For several threads; one is served at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._heaps: OrderedDict[str, tuple[Heap, Any]] = OrderedDict()

    def leaks(self, trace: str, number: int | None) -> Document:
        """Rows of what may leak, and `found`: how many of them are findings; `headline` of each of these."""
        from poireau import leaks, suppressions
        from poireau.report.leaks import SHOWN
        from poireau.report.problems import Frames
        from poireau.views import estimate_of

        with self._open(trace) as heap:
            found = leaks.find(heap, _selection(number), known=suppressions.Suppressions())
            table = found.table
            if len(table):
                table = table[table["verdict"].isin(SHOWN)].head(MOST_ROWS)
            frames = Frames(found.stacks)
            rows = []
            for row in table.to_dict("records"):
                stack = frames.stack("", int(row["stack"]))
                rows.append(
                    {
                        **{name: row[name] for name in ("verdict", "reason", "function", "file", "known")},
                        "line": int(row["line"]),
                        "where": [frame.text() for frame in stack.frames[stack.site :][:_FRAMES]],
                        "bytes": estimate_of(row).as_json(),
                        "rate": estimate_of(row, "rate").as_json(),
                    }
                )
            notes = [each for each in (found.too_early, *found.notes) if each]
            worst = set(found.found.index.tolist())
            findings = [row for at, row in zip(table.index.tolist(), rows) if at in worst]
            return {"t": heap.end // 1_000_000, "rows": rows, "note": "; ".join(notes), "found": findings}

    def errors(self, trace: str, number: int | None) -> Document:
        from poireau import misuse
        from poireau.report import errors

        with self._open(trace) as heap:
            found = misuse.find(heap, _selection(number))
            shown = errors.problems_of(heap, found)
            rows = [_error(problem) for problem in shown]
            rows.sort(key=lambda row: -int(row["t"]))
            return {"total": sum(row["count"] for row in rows), "rows": rows[:MOST_ROWS]}

    def flame(self, trace: str, number: int | None, at: int | None) -> Document:
        """A picture: of all, or of what was in use at that time. Where not all of it is in memory, what it would take
        to read it again and again is left out: what is in use now costs no reading, what was then one."""
        from poireau.report import picture_data, picture_sums

        with self._open(trace) as heap:
            selection = _selection(number, None if at is None else at * 1_000_000)
            if heap.at_hand:
                return dict(picture_data.of(heap, selection))
            of = _Moment(heap, None if selection.until is None else selection.until - 1)
            gathered = picture_sums.gather(of, selection, wanted=("in-use",))
            picture = picture_data.picture(of, picture_data.drawn(gathered))
            note = "a long trace: what was in use at this moment only; poireau flame has what was before, too"
            return {**picture, "lines": [*picture["lines"], note], "times": None, "cells": None}

    def close(self) -> None:
        with self._lock:
            for _, trace in self._heaps.values():
                trace.close()
            self._heaps.clear()

    @contextmanager
    def _open(self, path: str) -> Iterator[Heap]:
        """Read to where it is now. Raises Failure: it is not there any more."""
        with self._lock:
            heap = self._heap(path)
            try:
                heap.extend()
            except Failure:
                self._heaps.pop(path)[1].close()
                raise
            yield heap

    def _heap(self, path: str) -> Heap:
        if path in self._heaps:
            self._heaps.move_to_end(path)
        else:
            from poireau import resident

            trace, symbolize = opened(path)
            heap = Heap(trace, symbolize, lambda them: dict.fromkeys(resident.pids(them), True), KEPT)
            self._heaps[path] = heap, trace
            while len(self._heaps) > OPEN:
                self._heaps.popitem(last=False)[1][1].close()
        return self._heaps[path][0]


class _Moment(Heap):
    """A heap of which there is only what was in use at a time (None: now)."""

    def __init__(self, heap: Heap, at: int | None) -> None:
        vars(self).update(vars(heap))
        self._then = heap.live(at)

    def lives(self, since: int | None = None, until: int | None = None) -> Iterator[Any]:
        yield self._then


def opened(path: str) -> tuple[Trace, Symbolize]:
    """What follows the trace, and what names its frames. Raises Failure."""
    from poireau import told
    from poireau.reader import open_trace
    from poireau.symbols import Settings, Symbolizer

    trace = open_trace([path], follow=True)
    return trace, told.first(trace, Symbolizer(Settings(say=lambda _: None)).names)


def _selection(number: int | None, at: int | None = None) -> Any:
    from poireau.selection import Selection

    return Selection(processes=() if number is None else (number,), until=at)


def _error(problem: Any) -> Document:
    parts: dict[str, list[str]] = {"where": [], "allocated": [], "freed": []}
    thread = ""
    for stack in problem.stacks:
        begin = stack.what.split(" ", 1)[0]
        thread = stack.what.partition(" by thread ")[2] if begin not in ("allocated", "freed") else thread
        kind = begin if begin in ("allocated", "freed") else "where"
        parts[kind] = [frame.text() for frame in stack.frames[:_FRAMES]]
    return {
        "t": problem.facts["last"] // 1_000_000,
        "kind": problem.kind,
        "message": problem.title,
        "thread": thread,
        **parts,
        "count": problem.facts["reports"],
    }
