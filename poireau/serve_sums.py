"""Totals of groups of samples that come and go: births add to them, ends subtract, nothing is summed up again.

The sums are those that estimate.py speaks of. The unit of a group, the most that a sample of it may stand for, can't be
subtracted: it stays until all is summed up anew, as is done now and then, so that rounding, and ends that were lost, do
no harm.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from poireau import estimates
from poireau.estimates import Estimates

Codes = NDArray[np.int64]
_SAMPLES, _UNIT = 4, 5  # rows of the table
_LIFE = ("size", "period", "by_calls")


class Sums:
    def __init__(self) -> None:
        self._table = np.zeros((6, 64))
        self.groups = 0

    def add(self, codes: Codes, lives: Any, sign: int = 1) -> None:
        """`lives`: columns of model.LIFE; life i is of group codes[i]. `sign` -1: they have ended."""
        if not len(codes):
            return
        groups, local = np.unique(codes, return_inverse=True)
        part = estimates.grouped(local.reshape(-1), len(groups), {name: np.asarray(lives[name]) for name in _LIFE})
        self._make_room(int(groups[-1]) + 1)
        table = self._table
        sums = np.stack([part.value, part.variance, part.third, part.seen, part.samples])
        table[:_UNIT, groups] = np.maximum(table[:_UNIT, groups] + sign * sums, 0)
        if sign > 0:
            table[_UNIT, groups] = np.maximum(table[_UNIT, groups], part.unit)
        else:
            table[:_UNIT, groups[table[_SAMPLES, groups] < 0.5]] = 0  # what rounding left of others

    def of(self, rows: Codes, count: int) -> Estimates:
        """Of `count` rows: group g is part of row rows[g]. What has no sample may be as much as any that has none."""
        whole = self.all()
        found = whole.grouped(rows[: len(whole)], count)
        found.unit[found.samples == 0] = whole.unit.max(initial=0.0)
        return found

    def all(self) -> Estimates:
        value, variance, third, seen, samples, unit = self._table[:, : self.groups]
        return Estimates(value, variance, third, seen, samples.astype(np.int64), unit)

    def used(self) -> NDArray[np.bool_]:
        """Of each group, whether it has a sample."""
        return np.asarray(self._table[_SAMPLES, : self.groups] > 0.5)

    def _make_room(self, groups: int) -> None:
        self.groups = max(self.groups, groups)
        if groups > self._table.shape[1]:
            room = np.zeros((6, max(groups, 2 * self._table.shape[1])))
            room[:, : self._table.shape[1]] = self._table
            self._table = room
