"""What was in use over time, a band for each line (function, thread, ...) that ever had most: what streamgraphs are of.

Which bands there are is told by the most that each had at one of a few moments; all others are one, the first.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from poireau import naming
from poireau.estimate import Estimate
from poireau.estimates import Estimates
from poireau.grouping import OF_STACKS
from poireau.model import Heap
from poireau.preamble import Periods, Preamble
from poireau.report import words
from poireau.report.picture_sums import Gathered, gather
from poireau.selection import Selection
from poireau.stacks import Stacks

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
    coloured: Sequence[str]  # of each band, what gives it its colour; empty: nothing does
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
    return bands_of(heap, gather(heap, selection, "", (), (by,), points - 1), by, bands)


def bands_of(heap: Heap, gathered: Gathered, by: str, bands: int = BANDS) -> Stream:
    groups, cells = gathered.groups(by)
    stacks = gathered.stacks if by in OF_STACKS else None
    keyed = naming.keyed(heap, groups, by, stacks, gathered.selection.wrappers)
    count = len(keyed.table)
    cells = cells.of(keyed.rows)
    moments = np.linspace(0, len(cells.edges) - 1, _MOMENTS).astype(np.int64)
    coarse = cells.at(moments).series(count).value.reshape(count, _MOMENTS)
    most = coarse.max(axis=1, initial=0.0)
    first = np.argsort(-most, kind="stable")[:bands]
    code = np.full(count, len(first))
    code[first] = np.arange(len(first))
    others = int(np.count_nonzero(most > 0)) - int(np.count_nonzero(most[first] > 0))
    series, points = cells.of(code).series(len(first) + 1), len(cells.edges)
    sums = [series.take(slice(number * points, (number + 1) * points)) for number in range(len(first) + 1)]
    total = reduce(operator.add, sums)
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
    coloured = [str(key.get("function", name)) if key else "" for key, name in zip(keys, names)]
    coloured = ["" if each == naming.NO_STACK else each for each in coloured]
    return Stream(by, keys, names, coloured, of_bands, total, cells.edges, max(others, 0), groups.periods, stacks)


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


def _when(values: Floats) -> float:
    """The middle of when it is there: what has long been there lies below what comes."""
    return float((values * np.arange(len(values))).sum() / max(values.sum(), 1e-300))
