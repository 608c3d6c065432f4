"""Which lives a question is about: alive at a time, born or gone in a window, gone soon after they were born.

A window is from `since` on and before `until`. What is alive at a time was born before it and is not gone before it, so
that what is in use at the end of a window is what was at its beginning, and what it allocated, less what it freed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from poireau import estimates, resident
from poireau.errors import USAGE, Failure
from poireau.grouping import Part
from poireau.model import ALIVE, FREED, NEVER, Heap
from poireau.selection import Selection

Flags = NDArray[np.bool_]
_MOST_POINTS = 1 << 18  # of a process's allocations in time


@dataclass(frozen=True)
class Within:
    """How soon what is temporary is freed."""

    nanoseconds: int | None = 10_000_000
    allocations: float | None = None  # of the same process in between, as many as are estimated

    def __str__(self) -> str:
        times = [f"{self.nanoseconds / 1e6:g} ms"] if self.nanoseconds is not None else []
        return " and ".join(times + ([f"{self.allocations:g} allocations"] if self.allocations is not None else []))


def window_of(heap: Heap, selection: Selection) -> tuple[int, int]:
    since = heap.begin if selection.since is None else selection.since
    until = heap.end + 1 if selection.until is None else selection.until
    return since, max(since, until)


def lives_of(heap: Heap, selection: Selection, since: int | None = None, until: int | None = None) -> Iterator[Any]:
    """Those of the processes and threads that it is about, in parts, that are alive at some time of the window."""
    return (about(heap, lives, selection) for lives in heap.lives(since, until))


def about(heap: Heap, lives: Any, selection: Selection) -> Any:
    return lives[_theirs(heap, lives, selection)] if selection.processes or selection.threads else lives


def _theirs(heap: Heap, lives: Any, selection: Selection) -> Flags:
    """Of those processes and threads."""
    wanted = _threads_of(heap, selection)
    process = np.asarray(lives["process"], np.int64)
    kept = np.isin(process, selection.processes) if selection.processes else np.ones(len(process), np.bool_)
    return kept if wanted is None else kept & np.isin(process << 32 | np.asarray(lives["thread"], np.int64), wanted)


def _threads_of(heap: Heap, selection: Selection) -> NDArray[np.int64] | None:
    if not selection.threads:
        return None
    threads = heap.threads
    number = np.asarray(threads["thread"], np.int64)
    named = np.isin(np.asarray(threads["name"], object).astype(str), selection.threads)
    numbered = np.isin(number, [int(each) for each in selection.threads if each.isascii() and each.isdecimal()])
    chosen = named | numbered
    return np.asarray(np.asarray(threads["process"], np.int64)[chosen] << 32 | number[chosen], np.int64)


def born(lives: Any, since: int, until: int) -> Flags:
    """And seen to be: what is known from a checkpoint only has no siblings that were freed before."""
    times = np.asarray(lives["born"])
    return np.asarray((times >= since) & (times < until) & ~np.asarray(lives["late"]))


def alive(lives: Any, at: int, deaths: NDArray[np.int64] | None = None) -> Flags:
    """`deaths`: as `gone` has them."""
    return np.asarray(
        (np.asarray(lives["born"]) < at) & (np.asarray(lives["died"] if deaths is None else deaths) >= at)
    )


def gone(heap: Heap, lives: Any) -> NDArray[np.int64]:
    """When each one is not there any more: its death, or the end of its process, if that has ended."""
    ends = np.array(
        [NEVER if heap.running.get(number) else end + 1 for number, end in heap.processes["end"].items()], np.int64
    )
    return np.asarray(np.where(np.asarray(lives["fate"]) == ALIVE, ends[lives["process"]], lives["died"]), np.int64)


def chosen(
    heap: Heap, what: str, selection: Selection, within: Within, of_stacks: Flags | None = None
) -> tuple[int, int, Iterator[Part]]:
    """The window, and what of views.WHATS lies in it. `of_stacks`: whether the selection is about each stack, for when
    those were at their peak."""
    since, until = window_of(heap, selection)
    if what == "peak":
        at, lives = peak(heap, selection, of_stacks)
        return at, at, iter([Part(lives)])
    if what == "in-use" and selection.until is None:
        return until, until, iter([Part(about(heap, heap.live(), selection))])
    if what == "in-use":
        return until, until, (Part(lives) for lives in lives_of(heap, selection, until - 1, until))
    every = lives_of(heap, selection, since, until)
    # A process's first sample was born before anything was written.
    first = -NEVER if selection.since is None else since
    if what == "allocated":
        return since, until, (Part(lives[born(lives, first, until)]) for lives in every)
    if what == "freed":
        return since, until, (Part(lives[(lives["died"] >= since) & (lives["died"] < until)]) for lives in every)
    if what == "temporary":
        return since, until, _briefly(heap, selection, within, first, until)
    weight = 1.0 if what == "byte-seconds" else 1e9 / max(1, until - since)
    lasting = (lives.assign(died=gone(heap, lives)) for lives in every)
    return since, until, (Part(lives, "byte_seconds", (since, until), weight) for lives in lasting)


def peak(heap: Heap, selection: Selection, of_stacks: Flags | None) -> tuple[int, Any]:
    """When most of what it is about was in use, and what was."""
    if not (selection.processes or selection.threads or of_stacks is not None):
        return heap.peak(None, selection.since, selection.until)

    def wanted(rows: Any) -> Flags:
        kept = _theirs(heap, rows, selection)
        return kept if of_stacks is None else kept & of_stacks[rows["stack"]]

    return heap.peak(wanted, selection.since, selection.until)


def in_memory(heap: Heap, selection: Selection) -> tuple[Part, tuple[str, ...]]:
    """What is now, and a line for each process that could not be asked."""
    if selection.since is not None or selection.until is not None:
        raise Failure("what is in memory is known of this moment only: --what resident has no window", USAGE)
    found = resident.of(heap, selection.processes)
    if found.complaints and not len(found.lives):
        raise Failure(found.complaints[0], USAGE)
    lives = about(heap, found.lives, selection)
    size = lives["size"].to_numpy(np.float64)
    return Part(lives, weight=lives["resident"].to_numpy(np.float64) / np.maximum(size, 1.0)), found.complaints


def compared(heap: Heap, selection: Selection, before: int, after: int) -> Iterator[Part]:
    """What is alive at one time or the other: on side 0 at both, 1 only before, 2 only after."""
    for lives in lives_of(heap, selection, before - 1, after):
        deaths = gone(heap, lives)
        first, second = alive(lives, before, deaths), alive(lives, after, deaths)
        some = first | second
        yield Part(lives[some], side=np.where(first & second, 0, np.where(first, 1, 2))[some])


def _briefly(heap: Heap, selection: Selection, within: Within, since: int, until: int) -> Iterator[Part]:
    pace = None if within.allocations is None else _pace(heap)
    for lives in lives_of(heap, selection, since, until):
        kept = born(lives, since, until) & (np.asarray(lives["fate"]) == FREED)
        if within.nanoseconds is not None:
            kept &= np.asarray(lives["died"]) - np.asarray(lives["born"]) <= within.nanoseconds
        lives = lives[kept]
        if pace is not None and within.allocations is not None:
            lives = lives[pace.between(lives) <= within.allocations]
        yield Part(lives)


def _pace(heap: Heap) -> Pace:
    pace = Pace()
    for lives in heap.lives():
        pace.add(lives)
    return pace


@dataclass
class _Points:
    times: NDArray[np.int64]
    weights: NDArray[np.float64]


@dataclass
class Pace:
    """How many allocations each process has made by a time, as estimated. Of many, neighbours are taken together."""

    most: int = _MOST_POINTS
    points: dict[int, _Points] = field(default_factory=dict)

    def add(self, lives: Any) -> None:
        lives = pd.DataFrame(
            {name: np.asarray(lives[name]) for name in ("process", "born", "size", "period", "by_calls")}
        )
        lives["weight"] = 1 / estimates.chance(lives["size"], lives["period"], lives["by_calls"])
        for process, own in lives.groupby("process"):
            had = self.points.get(process, _Points(np.zeros(0, np.int64), np.zeros(0)))
            times, weights = (
                np.append(had.times, own["born"].to_numpy()),
                np.append(had.weights, own["weight"].to_numpy()),
            )
            order = np.argsort(times, kind="stable")
            times, weights = times[order], weights[order]
            while len(times) > self.most:
                at = np.arange(0, len(times), 2)
                times, weights = times[np.minimum(at + 1, len(times) - 1)], np.add.reduceat(weights, at)
            self.points[process] = _Points(times, weights)

    def between(self, lives: Any) -> NDArray[np.float64]:
        """Of each life, how many others its process made while it lasted."""
        counts = np.zeros(len(lives["born"]))
        processes = np.asarray(lives["process"])
        for process in np.unique(processes):
            of_it = processes == process
            points = self.points[int(process)]
            total = np.cumsum(points.weights)
            first = np.asarray(lives["born"])[of_it]
            last = np.asarray(lives["died"])[of_it]
            counts[of_it] = np.interp(last, points.times, total) - np.interp(first, points.times, total)
        return counts
