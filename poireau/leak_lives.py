"""The lives that leaks are looked for in, as columns, and the time during which somebody lived.

A life is watched from `begin` on (its birth, or the beginning of what is known of its process) up to `end` (its death,
the end of the window, or of its process). Time in which no process ran does not pass: two runs in one report are as
long as both together. `tau` counts the seconds that did.

Many programs free what they have when they end. Who has let go of more than half of it in the last twentieth of his
time, and asked for next to nothing meanwhile, is watched up to when that began.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from poireau import estimates, phases, windows
from poireau.model import ALIVE, FREED, RESIZED, Heap
from poireau.selection import Selection

Floats = NDArray[np.float64]
Numbers = NDArray[np.int64]
Flags = NDArray[np.bool_]
_KEPT = (
    "process id size function period by_calls thread stack born died fate free_function free_thread free_stack late"
).split()
SECOND = 1e9
_LAST = 0.05  # of a process's time
_LEFT = 0.5  # of what there was
_ASKED = 0.1  # of what is freed meanwhile
_ENOUGH = 10  # samples that are
MOST = 1 << 22  # lives that have ended; of more, some stand for all
_SPREAD = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class Spans:
    """When each process was watched, in nanoseconds; a row a process, by number."""

    begin: Numbers
    end: Numbers  # after its last moment

    @cached_property
    def _union(self) -> tuple[Numbers, Numbers]:
        """When anybody was: begins and ends."""
        there = self.end > self.begin
        order = np.argsort(self.begin[there], kind="stable")
        begin, end = self.begin[there][order], np.maximum.accumulate(self.end[there][order])
        if not len(begin):
            return begin, end
        new = np.append(True, begin[1:] > end[:-1])
        return begin[new], end[np.append(np.flatnonzero(new)[1:] - 1, len(end) - 1)]

    @cached_property
    def seconds(self) -> float:
        begin, end = self._union
        return float((end - begin).sum()) / SECOND

    def tau(self, time: NDArray[Any]) -> Floats:
        """Seconds that have passed by then."""
        begin, end = self._union
        if not len(begin):
            return np.zeros(len(time))
        before = np.concatenate([[0], np.cumsum(end - begin)])
        run = np.maximum(np.searchsorted(begin, time, side="right") - 1, 0)
        inside = np.clip(np.asarray(time, np.int64), begin[run], end[run]) - begin[run]
        return np.asarray((before[run] + inside) / SECOND)

    def time(self, tau: float) -> int:
        """The other way."""
        begin, end = self._union
        if not len(begin):
            return 0
        before = np.concatenate([[0], np.cumsum(end - begin)]) / SECOND
        run = int(np.clip(np.searchsorted(before, tau, side="right") - 1, 0, len(begin) - 1))
        return int(begin[run] + (tau - before[run]) * SECOND)


@dataclass(frozen=True)
class Lives:
    columns: Mapping[str, NDArray[Any]]  # some of model.LIFE
    spans: Spans
    end: Numbers  # of each life, when it is not watched any more
    alive: Flags  # at that end, and not because it died
    weight: Floats  # how many such blocks it stands for
    periods: Mapping[tuple[int, bool], int]  # (period, whether it counts calls) -> samples
    ended: Mapping[int, float]  # processes that freed what they had as they ended, and the share that was

    def __len__(self) -> int:
        return len(self.end)

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self.columns[name]

    @cached_property
    def bytes(self) -> Floats:
        return np.asarray(self["size"].astype(np.float64) * self.weight)

    @cached_property
    def begin(self) -> Numbers:
        return np.asarray(np.maximum(self["born"], self.spans.begin[self["process"]]))

    @cached_property
    def entry(self) -> Floats:
        """The age from which on it was watched, in seconds."""
        return np.asarray((self.begin - self["born"]) / SECOND)

    @cached_property
    def age(self) -> Floats:
        """At its end."""
        return np.asarray((self.end - self["born"]) / SECOND)

    @cached_property
    def seen_born(self) -> Flags:
        return np.asarray((self["born"] >= self.spans.begin[self["process"]]) & ~self["late"])

    @cached_property
    def freed(self) -> Flags:
        """And seen to be: neither resized in place, nor lost."""
        return np.asarray((self["fate"] == FREED) & ~self.alive)

    @cached_property
    def resized(self) -> Flags:
        return np.asarray((self["fate"] == RESIZED) & ~self.alive)

    def take(self, rows: Any) -> Lives:
        columns = {name: column[rows] for name, column in self.columns.items()}
        return Lives(columns, self.spans, self.end[rows], self.alive[rows], self.weight[rows], self.periods, self.ended)


def of(heap: Heap, selection: Selection) -> Lives:
    """Of the processes, threads and times that it is about."""
    spans = _spans(heap, selection)
    columns, share = _gathered(windows.lives_of(heap, selection, selection.since, selection.until))
    process = columns["process"].astype(np.int64)
    weight = share / estimates.chance(columns["size"], columns["period"], columns["by_calls"])
    ended: Mapping[int, float] = {}
    if selection.until is None:
        spans, ended = _before_the_end(heap, spans, columns, columns["size"] * weight)
    last = spans.end[process] if len(process) else np.zeros(0, np.int64)
    first = spans.begin[process] if len(process) else np.zeros(0, np.int64)
    alive = (columns["fate"] == ALIVE) | (columns["died"] >= last)
    end = np.where(alive, last, columns["died"]).astype(np.int64)
    # Clocks are set; who was born in the future is of now.
    columns["born"] = np.minimum(columns["born"], end)
    kept = (end >= first) & (columns["born"] < last) & (last > first)
    kept &= ~phases.kept(heap, process, columns["id"].astype(np.uint64))
    columns = {name: column[kept] for name, column in columns.items()}
    columns["late"] = columns["late"].astype(np.bool_)
    pairs, counts = np.unique(
        columns["period"].astype(np.uint64) << np.uint64(1) | columns["by_calls"].astype(np.uint64), return_counts=True
    )
    periods = {(pair >> 1, bool(pair & 1)): count for pair, count in zip(pairs.tolist(), counts.tolist())}
    return Lives(columns, spans, end[kept], alive[kept], weight[kept], periods, ended)


def _gathered(parts: Iterable[Any]) -> tuple[dict[str, NDArray[Any]], Floats]:
    """And for how many such lives each stands: of those that have ended, every second goes, by its id, as often as is
    needed."""
    kept: list[dict[str, NDArray[Any]]] = []
    halvings, ended = 0, 0
    for part in parts:
        kept.append(_thinned({name: np.asarray(part[name]) for name in _KEPT}, halvings))
        ended += int(_may_go(kept[-1]).sum())
        while ended > MOST:
            halvings += 1
            kept = [_thinned(each, halvings) for each in kept]
            ended = sum(int(_may_go(each).sum()) for each in kept)
    columns = {name: np.concatenate([each[name] for each in kept]) if kept else np.zeros(0, np.int64) for name in _KEPT}
    return columns, np.where(_may_go(columns), 2.0**halvings, 1.0)


def _may_go(columns: Mapping[str, NDArray[Any]]) -> Flags:
    return np.asarray((columns["fate"] != ALIVE) & (columns["fate"] != RESIZED))


def _thinned(columns: dict[str, NDArray[Any]], halvings: int) -> dict[str, NDArray[Any]]:
    if halvings == 0:
        return columns
    drawn = (columns["id"].astype(np.uint64) * _SPREAD) >> np.uint64(64 - halvings)
    stays = ~_may_go(columns) | (drawn == 0)
    return {name: column[stays] for name, column in columns.items()}


def _before_the_end(
    heap: Heap, spans: Spans, columns: Mapping[str, NDArray[Any]], bytes: Floats
) -> tuple[Spans, Mapping[int, float]]:
    """Without the time in which those that have ended freed what they had."""
    end = spans.end.copy()
    process, dead = columns["process"].astype(np.int64), columns["fate"] != ALIVE
    since = (spans.end - _LAST * (spans.end - spans.begin)).astype(np.int64)[process]
    left = np.bincount(process[~dead], bytes[~dead], len(end))
    lately = dead & (columns["died"] >= since)
    freed = np.bincount(process[lately], bytes[lately], len(end))
    shares = {}
    for number in np.flatnonzero(freed > left).tolist():
        if heap.running.get(number, False):
            continue
        dies = np.flatnonzero(lately & (process == number))
        born = np.flatnonzero((process == number) & (columns["born"] >= since))
        times = np.concatenate([columns["died"][dies], columns["born"][born]])
        change = np.concatenate([bytes[dies], -bytes[born]])
        order = np.argsort(times, kind="stable")[::-1]
        before = left[number] + np.cumsum(change[order])  # what was alive just before each
        at = int(np.argmax(before))
        gone, asked = change[order][: at + 1].clip(0).sum(), -change[order][: at + 1].clip(None, 0).sum()
        if (change[order][: at + 1] > 0).sum() < _ENOUGH:
            continue
        if left[number] <= (1 - _LEFT) * before[at] and asked <= _ASKED * gone:
            end[number] = times[order][at]
            shares[number] = 1 - left[number] / before[at]
    return Spans(spans.begin, np.maximum(end, spans.begin)), shares


def _spans(heap: Heap, selection: Selection) -> Spans:
    table = heap.processes
    begin, end = table["begin"].to_numpy(np.int64).copy(), table["end"].to_numpy(np.int64).copy() + 1
    unseen = (begin == 0) & (end <= 1)
    for number in table.index:
        if heap.running.get(number, False):
            end[number] = max(end[number], heap.end + 1)
    if selection.since is not None:
        begin = np.maximum(begin, selection.since)
    if selection.until is not None:
        end = np.minimum(end, selection.until)
    if selection.processes:
        unseen |= ~np.isin(np.arange(len(begin)), selection.processes)
    end[unseen | (end < begin)] = begin[unseen | (end < begin)]
    return Spans(begin, end)
