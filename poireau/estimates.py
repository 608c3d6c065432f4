"""Estimates of many totals at once: estimate.py's mathematics on columns.

`lives` are columns of model.LIFE (a DataFrame, or arrays by name), of which only those are looked at that are needed:
size, period, by_calls; born and died for byte-seconds. requested.py has better ones of all bytes asked for.

Two estimates of the same kind differ by what their intervals allow (Zou and Donner, 2008): the square of how far each
end of the difference is from it is the sum of the squares of how far the ends that lead there are from theirs. Whether
there is a difference at all is another question. If there were none, each of the samples of both sides, taken for so
many equal ones as their variance tells, would be on either with a chance that only the periods decide, and so and so
many on one by the binomial distribution (Przyborowski and Wilenski, 1940; here with the mid-p rule).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from poireau import binomial, estimate
from poireau.estimate import Estimate

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]
Codes = NDArray[np.integer[Any]]
WHATS = ("bytes", "count", "byte_seconds")


def chance(size: ArrayLike, period: ArrayLike, by_calls: ArrayLike = False) -> Floats:
    """With which probability each request was sampled. A request of no bytes counts as one."""
    period = np.asarray(period, np.float64)
    weight = np.maximum(np.asarray(size, np.float64), 1.0)
    if np.any(by_calls):
        weight = np.where(by_calls, 1.0, weight)
    q = -np.expm1(-weight / np.maximum(period, 1.0))
    return np.where(period <= 1, 1.0, q)


@dataclass(frozen=True)
class Estimates:
    """A row a total: the sums that estimate.py speaks of. They add up where no sample is in two of them."""

    value: Floats
    variance: Floats
    third: Floats
    seen: Floats
    samples: Counts
    unit: Floats

    @property
    def deviation(self) -> Floats:
        return np.asarray(np.sqrt(self.variance))

    @property
    def low(self) -> Floats:
        bound = self.value - self.deviation * estimate.below(self._skewness)
        return np.asarray(np.maximum(bound, np.minimum(self.seen, self.value)))

    @property
    def high(self) -> Floats:
        uncertain = self.variance > 0
        variance = np.where(uncertain, self.variance, 1.0)
        more = np.where(uncertain, np.maximum(self.unit - self.third / variance, 0.0), 0.0)
        bound = self.value + self.deviation * estimate.above(self._skewness) + more / 2
        unit = np.where(self.unit > 0, self.unit, 1.0)
        gamma = self.seen + estimate.gamma_end(self.value - self.seen + unit, self.variance + unit * unit)
        bound = np.where(self.unit > 0, np.maximum(bound, gamma), bound)
        return np.where(self.samples > 0, bound, estimate.NONE_SEEN * self.unit)

    @property
    def _skewness(self) -> Floats:
        return np.asarray(np.minimum(self.third / np.where(self.variance > 0, self.variance, 1.0) ** 1.5, 1.0))

    def __len__(self) -> int:
        return len(self.value)

    def __getitem__(self, row: int) -> Estimate:
        return estimate.of_sums(
            float(self.value[row]), float(self.variance[row]), float(self.third[row]), float(self.seen[row]),
            int(self.samples[row]), float(self.unit[row]),
        )  # fmt: skip

    def __add__(self, other: Estimates) -> Estimates:
        """Row by row."""
        return Estimates(
            self.value + other.value, self.variance + other.variance, self.third + other.third,
            self.seen + other.seen, self.samples + other.samples, np.maximum(self.unit, other.unit),
        )  # fmt: skip

    def take(self, rows: Any) -> Estimates:
        """Those of these numbers or marks."""
        return Estimates(*(getattr(self, each.name)[rows] for each in fields(self)))

    def grouped(self, codes: Codes, groups: int) -> Estimates:
        """Row i is part of group codes[i]: a stack of its function, a thread of its process."""
        value, variance, third, seen, samples = (
            _sums(codes, groups, column) for column in (self.value, self.variance, self.third, self.seen, self.samples)
        )
        return Estimates(value, variance, third, seen, samples.astype(np.int64), _greatest(codes, groups, self.unit))

    def sum(self) -> Estimate:
        return self.grouped(np.zeros(len(self), np.intp), 1)[0]


def nothing(groups: int) -> Estimates:
    """Of groups without samples."""
    value, variance, third, seen, unit = np.zeros((5, groups))
    return Estimates(value, variance, third, seen, np.zeros(groups, np.int64), unit)


def joined(parts: Sequence[Estimates]) -> Estimates:
    """The rows of all, one after the other."""
    if not parts:
        return nothing(0)
    return Estimates(*(np.concatenate([getattr(each, column.name) for each in parts]) for column in fields(Estimates)))


def amounts(
    lives: Any, what: str = "bytes", *, window: tuple[int, int] | None = None, weights: ArrayLike | None = None
) -> Floats:
    """What of each life is summed. `window`: byte-seconds are those within it, in nanoseconds; lives that have not
    ended need one."""
    if what == "bytes":
        each = np.asarray(lives["size"], np.float64)
    elif what == "count":
        each = np.ones(len(lives["size"]))
    elif what == "byte_seconds":
        born, died = np.asarray(lives["born"]), np.asarray(lives["died"])
        if window is not None:
            born, died = np.clip(born, *window), np.clip(died, *window)
        each = np.asarray(lives["size"], np.float64) * (np.maximum(died - born, 0) * 1e-9)
    else:
        raise ValueError(what)
    return each if weights is None else each * np.asarray(weights, np.float64)


def grouped(
    codes: Codes,
    groups: int,
    lives: Any,
    what: str = "bytes",
    *,
    window: tuple[int, int] | None = None,
    weights: ArrayLike | None = None,
    period: ArrayLike | None = None,
) -> Estimates:
    """The totals of `what` (one of WHATS) of each group; life i is of group codes[i]. `weights`
    multiply what each life has. `period`: the longest that any of a group's requests may have been drawn with,
    sampled or not; otherwise the longest of its own samples, or of all where it has none."""
    size, by_calls = lives["size"], np.asarray(lives["by_calls"], np.bool_)
    periods = np.asarray(lives["period"], np.float64)
    y = amounts(lives, what, window=window, weights=weights)
    w = y / chance(size, periods, by_calls)
    e = w - y
    ew = e * w
    value, variance = _sums(codes, groups, w), _sums(codes, groups, ew)
    samples = np.bincount(codes, minlength=groups)
    longest = periods if period is None else np.maximum(periods, period)
    unit = _greatest(codes, groups, at_most(what, y, size, longest, by_calls, weights))
    unit[samples == 0] = _usual(what, by_calls, periods, period, value, variance)
    return Estimates(
        value, variance, _sums(codes, groups, e * ew), _sums(codes, groups, y), samples, unit
    )  # fmt: skip


def total(
    lives: Any,
    what: str = "bytes",
    *,
    window: tuple[int, int] | None = None,
    weights: ArrayLike | None = None,
    period: ArrayLike | None = None,
) -> Estimate:
    """Of all lives. `period`: as above, otherwise the longest of any."""
    codes = np.zeros(len(lives["size"]), np.intp)
    if period is None and len(codes) and not np.any(lives["by_calls"]):
        period = float(np.max(lives["period"]))
    return grouped(codes, 1, lives, what, window=window, weights=weights, period=period)[0]


@dataclass(frozen=True)
class Difference:
    """A row a total: how much greater the second one is than the first, and how likely so much is if it isn't."""

    value: Floats
    low: Floats
    high: Floats
    chance: Floats  # the p value, two-sided

    def __len__(self) -> int:
        return len(self.value)

    def significant(self, share: float = 0.05) -> NDArray[np.bool_]:
        """Rows that differ, of which at most that share do not (Benjamini and Hochberg, 1995)."""
        order = np.argsort(self.chance, kind="stable")
        passed = np.flatnonzero(self.chance[order] * len(self) <= share * np.arange(1, len(self) + 1))
        marks = np.zeros(len(self), np.bool_)
        marks[order[: passed[-1] + 1 if len(passed) else 0]] = True
        return marks


def difference(before: Estimates, after: Estimates) -> Difference:
    """Row by row, of runs, processes, hosts or windows that have no sample in common. For two moments of one run use
    `change`. Where neither has a sample, each may be as much as has none."""
    value = after.value - before.value
    here, there = _mean_excess(before, after), _mean_excess(after, before)
    up = np.hypot(_high(after, there) - after.value, before.value - before.low)
    down = np.hypot(after.value - after.low, _high(before, here) - before.value)
    neither = before.samples + after.samples == 0
    low, high = value - np.where(neither, before.high, down), value + np.where(neither, after.high, up)
    return Difference(value, low, high, _chance_of(before, after, here, there))


def change(
    codes: Codes,
    groups: int,
    lives: Any,
    before: int,
    after: int,
    what: str = "bytes",
    *,
    period: ArrayLike | None = None,
) -> Difference:
    """By how much what is alive grew between two times of the same lives. Those alive at both cancel: only what came
    and stayed and what has gone are uncertain."""
    born, died = np.asarray(lives["born"]), np.asarray(lives["died"])
    at_before, at_after = (born <= before) & (before < died), (born <= after) & (after < died)
    sides = []
    for side in (at_before & ~at_after, at_after & ~at_before):
        columns = {name: np.asarray(lives[name])[side] for name in ("size", "period", "by_calls")}
        sides.append(grouped(np.asarray(codes)[side], groups, columns, what, period=period))
    return difference(*sides)


def _high(of: Estimates, excess: Floats) -> Floats:
    """Where there is no sample, there is none of such as the other side has."""
    return np.where(of.samples > 0, of.high, estimate.NONE_SEEN * excess)


def _chance_of(before: Estimates, after: Estimates, here: Floats, there: Floats) -> Floats:
    # What is exact has a great many samples.
    here, there = (np.maximum(side, 1e-9 * np.maximum(before.value, after.value) + 1e-300) for side in (here, there))
    k, n = after.value / there, before.value / here + after.value / there
    share = here / (here + there)  # of the samples of equal totals, those of the second
    tail = binomial.upper_tail(k, n, share)
    chance = np.clip(2 * np.minimum(tail, 1 - tail), 0.0, 1.0)
    return np.where((n == 0) | (before.value == after.value), 1.0, chance)


def _mean_excess(of: Estimates, other: Estimates) -> Floats:
    """What a sample stands for on this side; where it has none, what the other's would here."""
    scale = of.unit.max(initial=0.0) / max(float(other.unit.max(initial=0.0)), 1e-300)
    own = of.variance / np.where(of.value > 0, of.value, 1.0)
    others = other.variance / np.where(other.value > 0, other.value, 1.0) * (scale if scale > 0 else 1.0)
    return np.asarray(np.where(of.value > 0, own, others))


def _usual(
    what: str, by_calls: NDArray[np.bool_], periods: Floats, period: ArrayLike | None, value: Floats, variance: Floats
) -> float:
    """What a sample would stand for in a group that has none: a period of bytes, or as much as the others."""
    if what == "bytes" and not by_calls.any():
        longest = max(float(periods.max(initial=0.0)), 0.0 if period is None else float(np.max(period)))
        return longest if longest > 1 else 0.0
    total = float(value.sum())
    return float(variance.sum()) / total if total > 0 else 0.0


def at_most(
    what: str, y: Floats, size: ArrayLike, period: Any, by_calls: Any, weights: ArrayLike | None = None
) -> Floats:
    """What such a request stands for that is seldom taken, besides itself. Of bytes by bytes none stands for more than
    a period, and where a large block was asked for small ones may have been as well."""
    like_it = y / chance(size, period, by_calls) - y
    if what != "bytes":
        return np.asarray(like_it)
    any_other = np.asarray(period, np.float64) * (1.0 if weights is None else np.asarray(weights, np.float64))
    return np.where(np.asarray(by_calls, np.bool_) | (period <= 1), like_it, any_other)


def _greatest(codes: Codes, groups: int, column: Floats) -> Floats:
    greatest = np.zeros(groups)
    np.maximum.at(greatest, codes, column)
    return greatest


def _sums(codes: Codes, groups: int, column: NDArray[Any]) -> Floats:
    return np.asarray(np.bincount(codes, column, groups), np.float64)
