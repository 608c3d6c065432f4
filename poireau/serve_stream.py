"""The live stream of a process by lines, functions, ...: its bands and its points, as messages for who watches.

Bands are those that have most. One that comes to have much joins them, and the smallest leave when there are too many:
what they had is then among the others. Of the past there are so many points at the most: older ones get thinner.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from poireau.estimates import Estimates
from poireau.serve_bands import OF_STACKS, Band, Bands, of_size, of_stacks, of_threads
from poireau.serve_follow import Followed

FIRST, MOST = 12, 20  # bands
POINTS = 600
_PAST = 200  # points of what was before
_JOINS = 1.5  # times what the smallest of the first has
_NEW = 4  # bands that join at a time
_APART = 10  # ticks between two such times
Figures = list[int]
Message = tuple[str, dict[str, Any]]
Later = Callable[[Callable[[], None]], None]  # has it done elsewhere


class Stream:
    """`ticked` is called by the one who follows; `joined` by him, too. `later` does what takes long."""

    def __init__(self, id: str, followed: Followed, by: str, later: Later) -> None:
        self.id, self.by = id, by
        self._followed, self._later = followed, later
        self._kind = by if by in ("thread", "size") else "stack"
        followed.group(self._kind)
        self._lock = threading.Lock()
        self._all = Bands()
        self._of_group = np.full(256, -1, np.int64)  # of each group its band; -1: not known yet
        self._asked = np.zeros(256, np.bool_)  # whether the name of each group was asked for
        self._shown: list[int] = []  # bands, in order
        self._rest = 0  # ticks in which none joins
        self._times: list[int] = []
        self._points: list[dict[str, Figures]] = []  # by key; "": others; "total"
        self._last: dict[str, Figures] = {}
        self._ahead: int | None = None  # milliseconds by which the trace's clock is before ours

    # What takes long: before it is watched.

    def prepare(self) -> None:
        """What was before, from the trace."""
        self._followed.look()
        self._name(wait=True)
        sums, _ = self._now()
        self._choose(sums)
        heap = self._followed.heap
        if heap.end <= heap.begin:
            return
        rows = self._rows()
        codes = np.append(rows, len(self._shown))

        def of(lives: Any) -> NDArray[np.int64]:
            found = self._followed.codes(self._kind, lives)
            return np.asarray(codes[np.minimum(found, len(rows))])

        count = len(self._shown) + 1
        series = heap.over_time(_PAST, count, of)
        self._followed.disturbed()
        each = [_figures(series.of(number)[0]) for number in range(count)]
        total = _figures(_summed([series.of(number)[0] for number in range(count)]))
        keys = [self._all.bands[band].key for band in self._shown] + [""]
        for at, moment in enumerate((series.times // 1_000_000).tolist()):
            if self._times and moment == self._times[-1]:  # of a millisecond the last
                self._times.pop()
                self._points.pop()
            self._times.append(moment)
            self._points.append({"total": total[at], **{key: one[at] for key, one in zip(keys, each)}})

    # While it is watched.

    def tick(self, now: int) -> list[Message]:
        """The sums are new: what is there to be told of it. `now`: in milliseconds, never less than before. Where the
        machine's clock was set, the trace may be of later times: points follow these."""
        self._name()
        if self._ahead is None:
            self._ahead = max(self._times[-1] + 1 - now, 0) if self._times else 0
        now += self._ahead
        messages: list[Message] = []
        with self._lock:
            sums, total = self._now()
            before = list(self._shown)
            self._choose(sums)
            if self._shown != before:
                messages.append(self._told(reset=False))
            point = self._point(sums, total)
            if not self._times or now > self._times[-1]:
                self._times.append(now)
                self._points.append(point)
                self._thin()
            changed = {key: value for key, value in point.items() if key and self._last.get(key) != value}
            changed.pop("total", None)
            self._last = point
        messages.append(("point", {"t": now, "total": point["total"], "values": changed, "other": point[""]}))
        return messages

    def beginning(self) -> list[Message]:
        """For who comes now."""
        with self._lock:
            keys = [self._all.bands[band].key for band in self._shown]
            columns = ("value", "low", "high", "samples")
            history = {
                "times": list(self._times),
                "total": {name: [point["total"][at] for point in self._points] for at, name in enumerate(columns)},
                "values": {key: [point.get(key) for point in self._points] for key in [*keys, ""]},
            }
            return [self._told(reset=True), ("history", history)]

    def _told(self, reset: bool) -> Message:
        bands = [self._all.bands[band].as_json() for band in self._shown]
        return "bands", {"id": self.id, "by": self.by, "bands": bands, "reset": reset}

    def _now(self) -> tuple[Estimates, Estimates]:
        """Of each band, and the others, which come last; and of all."""
        sums = self._followed.sums[self._kind]
        count = len(self._all)
        rows = np.where(self._of_group[: sums.groups] < 0, count, self._of_group[: sums.groups])
        if len(rows) < sums.groups:
            rows = np.append(rows, np.full(sums.groups - len(rows), count))
        found = sums.of(rows, count + 1)
        return found, found.grouped(np.zeros(count + 1, np.intp), 1)

    def _rows(self) -> NDArray[np.int64]:
        """Of each group, the place of its band among those that are shown."""
        place = np.full(len(self._all) + 1, len(self._shown))
        place[self._shown] = np.arange(len(self._shown))
        return np.asarray(place[self._of_group])  # -1: the last

    def _choose(self, sums: Estimates) -> None:
        value = sums.value[:-1]
        order = [band for band in np.argsort(-value, kind="stable")[:FIRST].tolist() if value[band] > 0]
        if not self._shown:
            self._shown = order
            return
        room = len(self._shown) < FIRST
        self._rest -= 1
        if self._rest > 0 and not room:
            return
        least = min((value[band] for band in self._shown[:FIRST]), default=0.0)
        new = [band for band in order if band not in self._shown and (room or value[band] > _JOINS * least)][:_NEW]
        if new:
            self._rest = _APART
        self._shown += new
        if len(self._shown) > MOST:
            kept = set(sorted(self._shown, key=lambda band: -value[band])[:FIRST])
            self._shown = [band for band in self._shown if band in kept]

    def _point(self, sums: Estimates, total: Estimates) -> dict[str, Figures]:
        count = len(self._shown)
        place = np.full(len(sums), count)
        place[self._shown] = np.arange(count)
        figures = _figures(sums.grouped(place, count + 1))
        keys = [self._all.bands[band].key for band in self._shown]
        return {"total": _figures(total)[0], "": figures[-1], **dict(zip(keys, figures))}

    def _thin(self) -> None:
        """Every other one of the older half leaves."""
        if len(self._times) > POINTS:
            half = POINTS // 2
            self._times[:half] = self._times[:half:2]
            self._points[:half] = self._points[:half:2]

    # Names.

    def _name(self, wait: bool = False) -> None:
        sums = self._followed.sums[self._kind]
        groups = sums.groups
        if groups > len(self._of_group):
            more = max(groups, len(self._of_group))
            with self._lock:
                self._of_group = np.append(self._of_group, np.full(more, -1))
            self._asked = np.append(self._asked, np.zeros(more, np.bool_))
        # Of what is not in use nobody asks for a name: there may be any number of stacks and threads that have gone.
        numbers = np.flatnonzero(sums.used() & ~self._asked[:groups])
        if not len(numbers):
            return
        self._asked[numbers] = True
        if self.by == "size":
            self._named(numbers, [of_size(number) for number in numbers.tolist()])
        elif self.by == "thread":
            table = self._followed.heap.threads
            names = dict(zip(table["thread"].tolist(), table["name"].tolist()))
            threads = self._followed.threads
            self._named(numbers, of_threads([threads[number] for number in numbers.tolist()], names))
        else:
            assert self.by in OF_STACKS
            tables, symbolize = self._followed.tables(), self._followed.symbolize

            def look_up() -> None:
                self._named(numbers, of_stacks(symbolize, tables, numbers, self.by))

            if wait:
                look_up()
            else:
                self._later(look_up)

    def _named(self, groups: NDArray[np.int64], bands: Sequence[Band]) -> None:
        with self._lock:
            self._of_group[groups] = [self._all.number(band) for band in bands]


def _summed(parts: Sequence[Estimates]) -> Estimates:
    total = parts[0]
    for each in parts[1:]:
        total = total + each
    return total


def _figures(of: Estimates) -> list[Figures]:
    columns = (of.value, of.low, of.high, of.samples)
    return [list(row) for row in zip(*(np.rint(column).astype(np.int64).tolist() for column in columns))]
