"""By what lives are told apart: by their stacks, or by what is in them, by thread, size, call or process.

Lives come in parts, and groups get their numbers as they come. What is summed up for each stays small: it grows with
what is distinct, not with events.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from poireau import estimates
from poireau.estimates import Estimates
from poireau.model import ALIVE

NOBODY = 0xFFFF_FFFF  # the thread that frees what is alive
_CLASSES = np.array([1 << power for power in range(64)], np.uint64)
Codes = NDArray[np.int64]
Weight = float | NDArray[np.float64]


def _column(name: str) -> Callable[[Any], NDArray[Any]]:
    return lambda lives: np.asarray(lives[name])


def size_class(size: Any) -> NDArray[Any]:
    """0 of nothing, k of more than 2^(k-2) bytes and at most 2^(k-1)."""
    size = np.asarray(size, np.uint64)
    return np.where(size > 0, np.searchsorted(_CLASSES, size) + 1, 0)


def class_bounds(number: int) -> tuple[int, int]:
    """The smallest and the largest size."""
    return (0, 0) if number == 0 else (1, 1) if number == 1 else ((1 << (number - 2)) + 1, 1 << (number - 1))


VALUES: Mapping[str, Callable[[Any], NDArray[Any]]] = {
    "stack": _column("stack"),
    "process": _column("process"),
    "thread": _column("thread"),
    "free_thread": lambda lives: np.where(
        np.asarray(lives["fate"]) == ALIVE, NOBODY, np.asarray(lives["free_thread"], np.int64)
    ),
    "class": lambda lives: size_class(lives["size"]),
    "call": _column("function"),
}
"""Of lives, a column by which they are told apart."""
OF_STACKS = ("stack", "function", "line", "file", "module")
COLUMNS: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(OF_STACKS, ("stack",)),
    "thread": ("process", "thread"),
    "threads": ("process", "thread", "free_thread"),
    "size": ("class",),
    "call": ("call",),
    "process": ("process",),
}
"""What a life is grouped by -> the columns that say of which group it is."""


class Numbering:
    """Numbers from 0 for distinct rows of numbers below 2^32, as they come."""

    def __init__(self, columns: tuple[str, ...]) -> None:
        self.columns = columns
        self._known = [pd.Index([], dtype="uint64") for _ in columns]

    def __len__(self) -> int:
        return len(self._known[-1])

    def of(self, columns: Mapping[str, Any]) -> Codes:
        codes: Codes = np.zeros(0, np.int64)
        for level, name in enumerate(self.columns):
            values = np.asarray(columns[name]).astype(np.uint64)
            if level:
                values |= codes.astype(np.uint64) << np.uint64(32)
            codes = self._numbers(level, values)
        return codes

    def _numbers(self, level: int, values: NDArray[np.uint64]) -> Codes:
        codes, distinct = pd.factorize(values)
        known = self._known[level]
        at = np.array(known.get_indexer(distinct), np.int64)
        new = at < 0
        at[new] = np.arange(len(known), len(known) + int(new.sum()))
        self._known[level] = known.append(pd.Index(distinct[new], dtype="uint64"))
        numbers: Codes = at[codes]
        return numbers

    def rows(self) -> dict[str, NDArray[np.int64]]:
        """Its columns, of each number."""
        columns: dict[str, NDArray[np.int64]] = {}
        at: Codes | None = None
        for name, known in zip(reversed(self.columns), reversed(self._known)):
            values = known.to_numpy() if at is None else known.to_numpy()[at]
            columns[name] = (values & np.uint64(0xFFFF_FFFF)).astype(np.int64)
            at = (values >> np.uint64(32)).astype(np.int64)
        return columns


class Sums:
    """Estimates of groups that become more, of lives that come in parts."""

    def __init__(self) -> None:
        self.estimates = _nothing(0)

    def add(
        self, codes: Codes, groups: int, lives: Any, what: str, window: tuple[int, int] | None, weight: Weight
    ) -> None:
        local, distinct = pd.factorize(codes)
        weights = None if isinstance(weight, int) else np.broadcast_to(weight, codes.shape)
        part = estimates.grouped(local, len(distinct), lives, what, window=window, weights=weights)
        if len(self.estimates) < groups:
            self.estimates = estimates.joined([self.estimates, _nothing(groups - len(self.estimates))])
        add_to(self.estimates, distinct, part)


def _nothing(groups: int) -> Estimates:
    return Estimates(*(np.zeros(groups, "i8" if each.name == "samples" else "f8") for each in fields(Estimates)))


def add_to(sums: Estimates, rows: NDArray[Any], part: Estimates) -> None:
    """Row i of `part` to row rows[i], in place; no row twice."""
    for name in vars(part):
        column = getattr(sums, name)
        column[rows] = np.maximum(column[rows], part.unit) if name == "unit" else column[rows] + getattr(part, name)


@dataclass(frozen=True)
class Part:
    """Some lives, and how they count."""

    lives: Any  # columns of model.LIFE
    bytes_as: str = "bytes"  # one of estimates.WHATS
    window: tuple[int, int] | None = None
    weight: Weight = 1  # of each life, or of all
    side: NDArray[np.int64] | None = None  # of each life, where it belongs, for who compares


@dataclass(frozen=True)
class Groups:
    keys: Mapping[str, NDArray[np.int64]]  # columns, a row a group
    bytes: Estimates
    count: Estimates
    periods: Mapping[tuple[int, bool], int]  # (period, whether it counts calls) -> samples

    def __len__(self) -> int:
        return len(self.bytes)

    def take(self, rows: Any) -> Groups:
        keys = {name: column[rows] for name, column in self.keys.items()}
        return Groups(keys, self.bytes.take(rows), self.count.take(rows), self.periods)


def gather(parts: Any, columns: tuple[str, ...]) -> Groups:
    """The sums of all `parts`, by those columns."""
    numbering = Numbering(columns)
    of_bytes, of_count = Sums(), Sums()
    periods: dict[tuple[int, bool], int] = {}
    for part in parts:
        lives = part.lives
        if len(lives["size"]) == 0:
            continue
        values = {name: part.side if name == "side" else VALUES[name](lives) for name in columns}
        codes = numbering.of(values)
        of_bytes.add(codes, len(numbering), lives, part.bytes_as, part.window, part.weight)
        of_count.add(codes, len(numbering), lives, "count", None, 1)
        count_periods(periods, lives)
    return Groups(numbering.rows(), of_bytes.estimates, of_count.estimates, periods)


def count_periods(periods: dict[tuple[int, bool], int], lives: Any) -> None:
    pairs = np.asarray(lives["period"], np.uint64) << np.uint64(1) | np.asarray(lives["by_calls"], np.uint64)
    for pair, samples in zip(*np.unique(pairs, return_counts=True)):
        period = (int(pair) >> 1, bool(int(pair) & 1))
        periods[period] = periods.get(period, 0) + int(samples)
