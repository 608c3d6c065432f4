"""Totals over time, of lives that come in parts: sums at given moments, and the moment when most was alive.

A life is alive at t if born <= t < gone. `gone` is when it died, or one nanosecond after its process was seen last.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from poireau import estimates
from poireau.estimates import Estimates
from poireau.model_lives import Rows

Times = NDArray[np.int64]
Floats = NDArray[np.float64]
Part = tuple[Rows, Times]  # lives, and when each is gone
Parts = Callable[[], Iterator[Part]]
_CELLS = 1 << 18
_MOST_CHANGES = 1 << 21  # looked at one by one, at a time


def bytes_of(rows: Rows) -> Floats:
    """What each sampled block stands for."""
    size = rows["size"].astype(np.float64)
    return np.asarray(size / estimates.chance(size, rows["period"], rows["by_calls"]))


@dataclass(frozen=True)
class Series:
    """Estimates at each of these times, of each group: a row a group and time, in this order."""

    times: Times
    groups: int
    bytes: Estimates
    count: Estimates

    def of(self, group: int) -> tuple[Estimates, Estimates]:
        rows = slice(group * len(self.times), (group + 1) * len(self.times))
        return self.bytes.take(np.r_[rows]), self.count.take(np.r_[rows])


def over_time(parts: Iterator[Part], times: Times, groups: int, codes: Callable[[Rows], NDArray[np.int64]]) -> Series:
    """`codes`: the group of each life; below 0: it is in none."""
    points = len(times)
    sums = {what: np.zeros((4, groups * points)) for what in ("bytes", "count")}
    samples = np.zeros(groups * points, np.int64)
    units = {what: np.zeros(groups) for what in sums}
    for rows, gone in parts:
        group = codes(rows)
        first, last = np.searchsorted(times, rows["born"]), np.searchsorted(times, gone)
        there = np.flatnonzero((group >= 0) & (first < last))
        rows, group, first, last = rows[there], group[there], first[there], last[there]
        if not len(rows):
            continue
        begin, end, ends = group * points + first, group * points + last, last < points
        q = estimates.chance(rows["size"], rows["period"], rows["by_calls"])
        for what, values in sums.items():
            y = np.ones(len(rows)) if what == "count" else rows["size"].astype(np.float64)
            w = y / q
            e = w - y
            np.maximum.at(
                units[what], group, estimates.at_most(what, y, rows["size"], rows["period"], rows["by_calls"])
            )
            for total, each in zip(values, (w, e * w, e * e * w, y)):
                total += np.bincount(begin, each, len(total)) - np.bincount(end[ends], each[ends], len(total))
        samples += np.bincount(begin, minlength=len(samples)) - np.bincount(end[ends], minlength=len(samples))
    alive = np.cumsum(samples.reshape(groups, points), axis=1).ravel()
    series = {}
    for what, values in sums.items():
        totals = np.maximum(np.cumsum(values.reshape(4, groups, points), axis=2).reshape(4, -1), 0)
        totals[:, alive == 0] = 0  # what rounding left of others
        value, variance, third, seen = totals
        series[what] = Estimates(value, variance, third, seen, alive, np.repeat(units[what], points))
    return Series(times, groups, **series)


def peak(parts: Parts) -> int | None:
    """The first time at which the bytes alive were most; None: there never were any.

    The time from the first birth to the last is a cell. One with more changes than memory allows to look at exactly is
    divided, each part with a bound of what there may have been in it; those that may hold the peak are looked at next.
    """
    whole = _span(parts())
    if whole is None:
        return None
    left = _bounded(parts(), whole)
    best, when = -1.0, int(whole[0, 0])
    while len(left.most):
        order = np.argsort(-left.most, kind="stable")
        taken = order[: max(1, int(np.searchsorted(np.cumsum(left.changes[order]), _MOST_CHANGES)))]
        others = np.setdiff1d(order, taken)
        now, left = left.take(taken), left.take(others)
        if now.changes.sum() > _MOST_CHANGES and now.cells[1, 0] > now.cells[0, 0]:
            left = left.and_those(_bounded(parts(), _divided(now.cells)))
            continue
        value, time = _exact(parts(), now)
        if value > best or (value == best and time < when):
            best, when = value, time
        left = left.take(np.flatnonzero(left.most >= best * (1 - 1e-9)))  # floats are rounded
    return when


@dataclass(frozen=True)
class _Cells:
    cells: NDArray[np.int64]  # first and last nanosecond of each
    at_begin: Floats  # bytes alive in the first
    most: Floats  # there may have been in it
    changes: NDArray[np.int64]  # births and deaths after the first nanosecond

    def take(self, which: NDArray[np.int64]) -> _Cells:
        return _Cells(self.cells[:, which], self.at_begin[which], self.most[which], self.changes[which])

    def and_those(self, more: _Cells) -> _Cells:
        return _Cells(*(np.concatenate([a, b], axis=-1) for a, b in zip(vars(self).values(), vars(more).values())))


def _span(parts: Iterator[Part]) -> NDArray[np.int64] | None:
    first, last = None, 0
    for rows, _ in parts:
        if len(rows):
            first = int(rows["born"].min()) if first is None else min(first, int(rows["born"].min()))
            last = max(last, int(rows["born"].max()))
    return None if first is None else np.array([[first], [last]])


def _divided(cells: NDArray[np.int64]) -> NDArray[np.int64]:
    """First and last nanosecond of each: the same time, in more cells."""
    each = max(2, _CELLS // cells.shape[1])
    begins, lasts = cells
    step = np.maximum(-(-(lasts - begins + 1) // each), 1)
    begin = (begins[:, None] + step[:, None] * np.arange(each)).ravel()
    last = np.minimum(begin + np.repeat(step, each) - 1, np.repeat(lasts, each))
    there = begin <= np.repeat(lasts, each)
    return np.stack([begin[there], last[there]])


def _bounded(parts: Iterator[Part], cells: NDArray[np.int64]) -> _Cells:
    count = cells.shape[1]
    at_begin, born, changes = np.zeros(count + 1), np.zeros(count), np.zeros(count, np.int64)
    for rows, gone in parts:
        weight = bytes_of(rows)
        for time, sign in ((rows["born"], 1), (gone, -1)):
            at_begin += sign * np.bincount(np.searchsorted(cells[0], time), weight, count + 1)
            cell, within = _cell_of(cells, time)
            changes += np.bincount(cell, minlength=count)
            if sign > 0:
                born += np.bincount(cell, weight[within], count)
    before = np.cumsum(at_begin[:-1])
    return _Cells(cells, before, before + born, changes)


def _cell_of(cells: NDArray[np.int64], time: Times) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Of those times that are in a cell, and not its first nanosecond: which, and their places in `time`."""
    cell = np.searchsorted(cells[0], time, side="right") - 1
    within = np.flatnonzero((cell >= 0) & (time > cells[0][cell]) & (time <= cells[1][cell]))
    return cell[within], within


def _exact(parts: Iterator[Part], of: _Cells) -> tuple[float, int]:
    """The most there was, and when first."""
    by_time = np.argsort(of.cells[0])
    of = of.take(by_time)
    begins = of.cells[0]
    times: list[Times] = [begins]
    changes: list[Floats] = [np.zeros(len(begins))]
    for rows, gone in parts:
        weight = bytes_of(rows)
        for time, change in ((rows["born"], weight), (gone, -weight)):
            _, within = _cell_of(of.cells, time)
            times.append(time[within])
            changes.append(change[within])
    time, change = np.concatenate(times), np.concatenate(changes)
    order = np.argsort(time)
    time, running = time[order], np.cumsum(change[order])
    cell = np.searchsorted(begins, time, side="right") - 1
    alive = running - running[np.searchsorted(time, begins)][cell] + of.at_begin[cell]
    done = np.flatnonzero(np.append(time[1:] != time[:-1], True))  # all that happens at once is one moment
    alive = np.round(alive[done], 3)
    first = int(np.argmax(alive))
    return float(alive[first]), int(time[done][first])
