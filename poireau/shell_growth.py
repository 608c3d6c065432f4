"""What a running program's heap does while it is watched: what is in use now, how much of it has come since the watch
began and in the last minute, and how fast memory is asked for.

Growth compares what is alive at two moments, sample by sample: what is alive at both cancels exactly, and only what
came and what went is uncertain (estimates.py). So a watch keeps, of some moments, the samples that were alive then, and
of the last seconds those that were born: memory grows with what is alive, never with how long it is watched.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from poireau import estimates, naming, resident, views, windows
from poireau.estimate import Estimate
from poireau.estimates import Difference, Estimates
from poireau.grouping import Part, gather
from poireau.model import Heap
from poireau.model_lives import frame_of
from poireau.selection import Selection
from poireau.stacks import Stacks

KEPT = ["process", "id", "size", "period", "by_calls", "thread", "stack", "function", "born"]
MINUTE, APART, RECENT = 60 * 10**9, 10 * 10**9, 10 * 10**9  # of a past moment, between two, of rates
MOST_POINTS = 600
_NOW, _WENT, _CAME, _WENT_LATELY, _CAME_LATELY, _BORN = range(6)


@dataclass(frozen=True)
class Moment:
    last: int  # the time of the last event
    time: int  # when it was looked at
    lives: pd.DataFrame  # what was alive, columns KEPT
    keys: NDArray[np.uint64]  # of each life, one that no other has

    @classmethod
    def of(cls, heap: Heap, now: int) -> Moment:
        lives = heap.live()[KEPT].reset_index(drop=True)
        return cls(heap.end, max(heap.end, now), lives, _keys(lives))

    def without(self, other: Moment) -> pd.DataFrame:
        return self.lives[~np.isin(self.keys, other.keys)]


@dataclass(frozen=True)
class Growth:
    """`table` has a row a key, with naming.py's columns, and `bytes`, `growth`, `lately`, `rate` with `_low` and
    `_high` each; `grows`: that there is growth is no chance; `samples`."""

    by: str
    table: pd.DataFrame
    total: Estimate
    growth: Estimate
    lately: Estimate
    rate: Estimate  # bytes a second
    periods: Mapping[tuple[int, bool], int]
    stacks: Stacks | None = field(default=None, repr=False)


class Watched:
    """`clock`: of what goes on; what has ended has only the times of its events."""

    def __init__(self, heap: Heap, clock: Callable[[], int]) -> None:
        self.heap = heap
        self._clock = clock
        self.first = self.now = Moment.of(heap, self._time())
        self._past: deque[Moment] = deque([self.now])  # of the last minute, the oldest first
        self._born: deque[tuple[int, int, pd.DataFrame]] = deque()  # from, to, what was born between
        self.points: deque[float] = deque(_history(heap), MOST_POINTS)  # bytes alive, look by look

    def look(self) -> bool:
        """Reads on. Whether there was anything."""
        before, ended = self.now, list[Any]()
        since = before.last
        events = self.heap.extend(lambda rows: ended.append(rows[rows["born"] > since]))
        self.heap.running = dict.fromkeys(resident.pids(self.heap.processes), True)
        if not events:
            self.now = replace(before, time=max(before.time, self._time()))
            self._born.append((before.time, self.now.time, before.lives.head(0)))
        else:
            self.now = Moment.of(self.heap, self._time())
            new = [frame_of(rows)[KEPT] for rows in ended if len(rows)]
            born = pd.concat([*new, self.now.lives[self.now.lives["born"] > since]], ignore_index=True)
            self._born.append((before.time, self.now.time, born))
        if self.now.time - self._past[-1].time >= APART:
            self._past.append(self.now)
        while len(self._past) > 1 and self._past[1].time <= self.now.time - MINUTE:
            self._past.popleft()
        while len(self._born) > 1 and self._born[1][0] <= self.now.time - RECENT:
            self._born.popleft()
        self.points.append(estimates.total(self.now.lives).value)
        return events > 0

    def _time(self) -> int:
        return self.heap.end if self.ended else self._clock()

    def begin_anew(self) -> None:
        self.first = self.now

    @property
    def ended(self) -> bool:
        return not any(self.heap.running.values())

    @property
    def since_lately(self) -> int:
        return self._past[0].time

    def growth(self, by: str, selection: Selection) -> Growth:
        lately = self._past[0]
        seconds = max(sum(to - since for since, to, _ in self._born) / 1e9, 1e-3)
        born = [lives for _, _, lives in self._born]
        sides = [
            self.now.lives,
            self.first.without(self.now),
            self.now.without(self.first),
            lately.without(self.now),
            self.now.without(lately),
            *([pd.concat(born)] if born else [self.now.lives.head(0)]),
        ]
        heap = self.heap
        parts = [
            Part(lives, side=np.full(len(lives), side))
            for side, each in enumerate(sides)
            for lives in [windows.about(heap, each, selection)]
        ]
        columns = (*views.columns_of(by, selection), "side")
        groups, stacks = views.told_apart(heap, gather(parts, columns), by, selection)
        keyed = naming.keyed(heap, groups, by, stacks, selection.wrappers)
        count, unit = len(keyed.table), groups.bytes.unit.max(initial=0.0)

        def side(number: int) -> Estimates:
            of = groups.keys["side"] == number
            return views.grouped(groups.bytes.take(of), keyed.rows[of], count, unit)

        by_side = [side(number) for number in range(len(sides))]
        use, rate = by_side[_NOW], by_side[_BORN]
        grown = estimates.difference(by_side[_WENT], by_side[_CAME])
        of_late = estimates.difference(by_side[_WENT_LATELY], by_side[_CAME_LATELY])
        table = keyed.table.assign(
            **views.figures("bytes", use),
            **views.figures("growth", grown),
            **views.figures("lately", of_late),
            **{name: column / seconds for name, column in views.figures("rate", rate).items()},
            grows=grown.significant(),
            samples=use.samples,
        )
        seen = sum(each.samples for each in by_side) > 0
        pairs = sides[_NOW].groupby(["period", "by_calls"]).size() if len(sides[_NOW]) else {}
        periods = {(int(period), bool(calls)): int(number) for (period, calls), number in dict(pairs).items()}
        total = rate.sum()
        return Growth(
            by, table[seen].reset_index(drop=True), use.sum(), _sum(by_side[_WENT], by_side[_CAME]),
            _sum(by_side[_WENT_LATELY], by_side[_CAME_LATELY]),
            Estimate(total.value / seconds, total.low / seconds, total.high / seconds, total.samples, 0.0), periods,
            stacks,
        )  # fmt: skip


def _sum(went: Estimates, came: Estimates) -> Estimate:
    rows = np.zeros(len(went), np.intp)
    whole: Difference = estimates.difference(went.grouped(rows, 1), came.grouped(rows, 1))
    samples = int(went.samples.sum() + came.samples.sum())
    return Estimate(float(whole.value[0]), float(whole.low[0]), float(whole.high[0]), samples, 0.0)


def _keys(lives: pd.DataFrame) -> NDArray[np.uint64]:
    """Of process, id and birth: a life that is sampled anew in place has the id of the one before."""
    odd = np.uint64(0x9E3779B97F4A7C15)
    born = lives["born"].to_numpy().astype(np.uint64) * odd
    process = lives["process"].to_numpy().astype(np.uint64) * np.uint64(0xD1B54A32D192ED03)
    return np.asarray((lives["id"].to_numpy() ^ born ^ (born >> np.uint64(31))) * odd + process, np.uint64)


def _history(heap: Heap, points: int = 60) -> list[float]:
    """Before it was watched."""
    return [float(value) for value in heap.over_time(points).bytes.value] if heap.end > heap.begin else []
