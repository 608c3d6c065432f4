"""What was allocated when and gone when: sums of lives by whose they are, the bin of their birth and that of their end.

Bins lie between edges, from one on and before the next: -1 is before the first edge, and an end in bin len(edges) - 1
is none before the last. So whatever was in use at edge k was born in a bin below k and is gone in bin k or later, as
windows.py has it of any time; sums of cells are exact in every window between edges.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from poireau import estimates
from poireau.estimates import Estimates
from poireau.grouping import Codes
from poireau.windows import Flags

_BITS = 10  # of a bin
_PENDING = 1 << 20  # cells that are not yet those of all parts


@dataclass(frozen=True)
class Cells:
    edges: NDArray[np.int64]  # nanoseconds
    row: Codes  # whose
    born: Codes
    gone: Codes
    sums: Estimates

    def __len__(self) -> int:
        return len(self.row)

    def of(self, rows: Codes) -> Cells:
        """The same with rows[row] in the place of each row; below 0: left out. Cells of one row and bins are one only
        when they are summed."""
        found = rows[self.row]
        if (found >= 0).all():
            return replace(self, row=found)
        there = np.flatnonzero(found >= 0)
        return Cells(self.edges, found[there], self.born[there], self.gone[there], self.sums.take(there))

    def at(self, which: Codes) -> Cells:
        """With these edges only, of which the last one is one."""
        bin_of = np.searchsorted(which, np.arange(-1, len(self.edges)), side="right") - 1
        return replace(self, edges=self.edges[which], born=bin_of[self.born + 1], gone=bin_of[self.gone + 1])

    def summed(self) -> Cells:
        codes, distinct = pd.factorize(_packed(self.row, self.born, self.gone))
        row, born, gone = _unpacked(distinct)
        return Cells(self.edges, row, born, gone, self.sums.grouped(codes, len(distinct)))

    def ordered(self) -> Cells:
        """By row and time."""
        order = np.argsort(_packed(self.row, self.born, self.gone))
        return Cells(self.edges, self.row[order], self.born[order], self.gone[order], self.sums.take(order))

    def series(self, rows: int) -> Estimates:
        """What was in use of each row at each edge: a row a row and edge, in this order."""
        points = len(self.edges)
        begin, end = self.row * points + self.born + 1, self.row * points + self.gone + 1
        lasts = self.born < self.gone
        ends = lasts & (self.gone < points - 1)

        def running(column: NDArray[Any]) -> NDArray[np.float64]:
            total = np.bincount(begin[lasts], column[lasts], rows * points)
            total -= np.bincount(end[ends], column[ends], rows * points)
            return np.asarray(np.cumsum(total.reshape(rows, points), axis=1).ravel())

        samples = np.rint(running(self.sums.samples)).astype(np.int64)
        there = samples > 0  # what rounding left is nothing
        value, variance, third, seen = (
            np.where(there, np.maximum(running(column), 0.0), 0.0)
            for column in (self.sums.value, self.sums.variance, self.sums.third, self.sums.seen)
        )
        unit = np.zeros(rows)
        np.maximum.at(unit, self.row, self.sums.unit)
        return Estimates(value, variance, third, seen, samples, np.repeat(unit, points))


class Gathering:
    """Cells of lives that come in parts."""

    def __init__(self, edges: NDArray[np.int64]) -> None:
        nobody = np.zeros(0, np.int64)
        self._cells = Cells(edges, nobody, nobody, nobody, estimates.nothing(0))
        self._parts: list[tuple[Codes, Estimates]] = []
        self._pending = 0

    def add(self, rows: Codes, lives: Mapping[str, NDArray[Any]], gone: Codes, seen_born: Flags) -> None:
        """`lives`: columns. What was seen to be born before the first edge was allocated after it all the same: of a
        process's first sample it is not known when that was."""
        edges = self._cells.edges
        born = np.searchsorted(edges, lives["born"], side="right") - 1
        born = np.where((born < 0) & seen_born, 0, born)
        keys = _packed(rows, born, np.searchsorted(edges, gone, side="right") - 1)
        codes, distinct = pd.factorize(keys)
        self._parts.append((distinct, estimates.grouped(codes, len(distinct), lives)))
        self._pending += len(distinct)
        if self._pending > _PENDING:
            self._join()

    def cells(self) -> Cells:
        self._join()
        keys, sums = self._parts[0]
        row, born, gone = _unpacked(keys)
        return replace(self._cells, row=row, born=born, gone=gone, sums=sums)

    def _join(self) -> None:
        keys = np.concatenate([np.zeros(0, np.int64), *(each[0] for each in self._parts)])
        codes, distinct = pd.factorize(keys)
        sums = estimates.joined([each[1] for each in self._parts])
        self._parts, self._pending = [(distinct, sums.grouped(codes, len(distinct)))], 0


def edges_between(since: int, until: int, bins: int) -> NDArray[np.int64]:
    return np.linspace(0, max(until - since, 1), bins + 1).astype(np.int64) + since


def _packed(row: Codes, born: Codes, gone: Codes) -> Codes:
    return np.asarray(row, np.int64) << 2 * _BITS | (born + 1) << _BITS | gone


def _unpacked(keys: Codes) -> tuple[Codes, Codes, Codes]:
    least = (1 << _BITS) - 1
    return keys >> 2 * _BITS, (keys >> _BITS & least) - 1, keys & least
