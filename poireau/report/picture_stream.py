"""A streamgraph: what was in use over time, a band for each line (function, thread, ...) that ever had most.

The bands lie on a baseline that makes them as level as can be (weighted wiggle: Byron and Wattenberg, 2008), or on
zero. Beneath it is the total, from zero, with the 95 % band around it; bands have none, their tooltips do.

Which bands are drawn is told by the most that each had at one of a few moments; all others are one, the lowest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from poireau import model_time, naming, windows
from poireau.estimate import Estimate
from poireau.estimates import Estimates
from poireau.grouping import Part as Chosen
from poireau.grouping import gather, size_class
from poireau.model import Heap
from poireau.model_lives import Rows
from poireau.preamble import Periods, Preamble
from poireau.report import words
from poireau.selection import Selection, check
from poireau.stacks import Stacks
from poireau.views import columns_of, told_apart

POINTS, BANDS = 300, 10
BYS = ("line", "function", "file", "stack", "module", "thread", "size", "call", "process")
OTHER = "other"
_MOMENTS = 12  # at which bands are compared
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Stream:
    by: str
    keys: Sequence[dict[str, Any]]  # of each band, naming.py's columns; none of all others, which come first
    names: Sequence[str]
    bytes: Sequence[Estimates] = field(repr=False)  # of each band, at each time
    total: Estimates = field(repr=False)
    times: NDArray[np.int64] = field(repr=False)
    others: int  # how many there are in one
    periods: Periods
    stacks: Stacks | None = field(default=None, repr=False)

    @property
    def values(self) -> Floats:
        return np.array([each.value for each in self.bytes]).reshape(len(self.bytes), len(self.times))

    def peak(self) -> tuple[int, Estimate]:
        at = int(np.argmax(self.total.value))
        return int(self.times[at]), self.total[at]


def of(heap: Heap, by: str, selection: Selection, bands: int = BANDS, points: int = POINTS) -> Stream:
    """`bands`: so many, besides all others."""
    check(selection)
    since, until = windows.window_of(heap, selection)
    every = (Chosen(lives) for lives in windows.lives_of(heap, selection, since, until))
    groups, stacks = told_apart(heap, gather(every, columns_of(by, selection)), by, selection)
    keyed = naming.keyed(heap, groups, by, stacks, selection.wrappers)
    count = len(keyed.table)
    row_of = _finder({name: groups.keys[name] for name in columns_of(by, selection)}, keyed.rows)

    def over(times: NDArray[np.int64], groups: int, code: NDArray[np.int64]) -> model_time.Series:
        parts = ((_rows(lives), windows.gone(heap, lives)) for lives in windows.lives_of(heap, selection, since, until))
        return model_time.over_time(parts, times, groups, lambda rows: code[row_of(rows)])

    def moments(number: int) -> NDArray[np.int64]:
        return np.linspace(0, max(until - 1 - since, 0), number).astype(np.int64) + since

    coarse = over(moments(_MOMENTS), count, np.append(np.arange(count), -1))
    most = coarse.bytes.value.reshape(count, _MOMENTS).max(axis=1, initial=0.0)
    first = np.argsort(-most, kind="stable")[:bands]
    code = np.append(np.full(count, len(first)), -1)
    code[first] = np.arange(len(first))
    others = int(np.count_nonzero(most > 0)) - int(np.count_nonzero(most[first] > 0))
    times = moments(points)
    series = over(times, len(first) + 1, code)
    sums = [series.of(number)[0] for number in range(len(first) + 1)]
    total = sums[-1]
    for each in sums[:-1]:
        total = total + each
    rows = keyed.table.iloc[first].to_dict("records")
    several = len(heap.processes) > 1
    found: list[tuple[dict[str, Any], str, Estimates]] = [
        ({str(name): value for name, value in row.items()}, words.key(row, by, several), each)
        for row, each in zip(rows, sums)
    ]
    found = [each for each in found if each[2].samples.any()]
    found.sort(key=lambda each: _when(each[2].value))
    if sums[-1].samples.any():
        found.insert(0, ({}, f"{OTHER} ({others:,})" if others > 0 else OTHER, sums[-1]))
    keys, names, of_bands = [each[0] for each in found], [each[1] for each in found], [each[2] for each in found]
    return Stream(by, keys, names, of_bands, total, times, max(others, 0), groups.periods, stacks)


def baseline(values: Floats, wiggle: bool = True) -> Floats:
    """The lower edge of the lowest of these bands, a row each."""
    if not wiggle or not len(values):
        return np.zeros(values.shape[1])
    total = values.sum(axis=0)
    middle = np.cumsum(values, axis=0) - values / 2
    share = np.divide(total - middle, total, out=np.full_like(values, 0.5), where=total > 0)
    # Between two times, so that what comes and goes again leaves all where it was.
    share[:, 1:] = (share[:, 1:] + share[:, :-1]) / 2
    share[:, 0] = 0.5
    increase = np.diff(values, axis=1, prepend=0)
    return np.asarray(np.cumsum(((share - 0.5) * increase).sum(axis=0)) - total / 2)


def table(stream: Stream) -> pd.DataFrame:
    """A row a band and time; the total's band is empty."""
    return pd.concat([_part(stream, name, each) for name, each in _all(stream)], ignore_index=True)


def as_json(stream: Stream, preamble: Preamble) -> dict[str, Any]:
    names = "function file line module process pid program thread name smallest largest call".split()
    return {
        "schema": "poireau.stream",
        "version": 1,
        "by": stream.by,
        "unit": "bytes",
        "of": [preamble.as_json()],
        "times": stream.times.tolist(),
        "bands": [
            {
                "name": name,
                **{each: key[each] for each in names if each in key},
                "others": 0 if key else stream.others,
                "bytes": [of[at].as_json() for at in range(len(of))],
            }
            for name, key, of in zip(stream.names, stream.keys, stream.bytes)
        ],
        "total": [stream.total[at].as_json() for at in range(len(stream.total))],
    }


def _all(stream: Stream) -> Iterator[tuple[str, Estimates]]:
    yield from zip(stream.names, stream.bytes)
    yield "", stream.total


def _part(stream: Stream, name: str, of: Estimates) -> pd.DataFrame:
    columns = {"bytes": of.value, "bytes_low": of.low, "bytes_high": of.high, "samples": of.samples}
    return pd.DataFrame({"time": stream.times, "band": name, **columns})


def _rows(lives: pd.DataFrame) -> Rows:
    rows: Rows = lives.to_records(index=False)
    return rows


def _when(values: Floats) -> float:
    """The middle of when it is there: what has long been there lies below what comes."""
    return float((values * np.arange(len(values))).sum() / max(values.sum(), 1e-300))


def _finder(keys: dict[str, NDArray[np.int64]], rows: NDArray[np.int64]) -> Callable[[Rows], NDArray[np.int64]]:
    """Of each life, the row of the table that it is in; -1: of none."""
    index = pd.MultiIndex.from_arrays(list(keys.values())) if len(keys) > 1 else pd.Index(next(iter(keys.values())))
    found = np.append(rows, -1)

    def find(lives: Rows) -> NDArray[np.int64]:
        columns = [_COLUMNS[name](lives) for name in keys]
        wanted = pd.MultiIndex.from_arrays(columns) if len(columns) > 1 else pd.Index(columns[0])
        return np.asarray(found[index.get_indexer(wanted)])

    return find


_COLUMNS: dict[str, Callable[[Rows], NDArray[np.int64]]] = {
    "stack": lambda lives: lives["stack"].astype(np.int64),
    "process": lambda lives: lives["process"].astype(np.int64),
    "thread": lambda lives: lives["thread"].astype(np.int64),
    "class": lambda lives: size_class(lives["size"]).astype(np.int64),
    "call": lambda lives: lives["function"].astype(np.int64),
}
