"""How much was allocated and how much is in use, by stack, process, thread and size: what pprof calls samples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from poireau import estimates
from poireau.estimates import Estimates
from poireau.grouping import Groups, Numbering, class_bounds, gather
from poireau.model import Heap
from poireau.selection import Selection
from poireau.windows import Within, chosen, compared, window_of

KEY = ("stack", "process", "thread", "class")
Integers = NDArray[np.int64]
_MOST = 1 << 62
_BEFORE, _AFTER = 1, 2  # sides of windows.compared


@dataclass(frozen=True)
class Both:
    """How many, and how large."""

    count: Estimates
    bytes: Estimates

    def take(self, rows: Any) -> Both:
        return Both(self.count.take(rows), self.bytes.take(rows))


@dataclass(frozen=True)
class Sums:
    """A row for each key; those of one stack are together."""

    keys: Mapping[str, Integers]
    allocated: Both
    used: Both
    gone: Both | None  # to be taken from what is in use
    periods: Mapping[tuple[int, bool], int]  # (period, whether it counts calls) -> samples

    def __len__(self) -> int:
        return len(self.allocated.count)

    @property
    def values(self) -> tuple[Integers, Integers, Integers, Integers]:
        """Allocated and in use, count and bytes. Of no key more is in use than was allocated only by rounding."""
        count, size = self.used.count.value, self.used.bytes.value
        if self.gone is not None:
            count, size = count - self.gone.count.value, size - self.gone.bytes.value
        whole_count, whole_size = whole(count), whole(size)
        return (
            whole_count + whole(self.allocated.count.value - count),
            whole_size + whole(self.allocated.bytes.value - size),
            whole_count,
            whole_size,
        )

    @property
    def interval(self) -> tuple[Integers, Integers]:
        """Of the bytes in use, or of those allocated where none are."""
        there = self.used.bytes.samples > 0
        low, high = self.used.bytes.low, self.used.bytes.high
        if self.gone is not None:
            changed = estimates.difference(self.gone.bytes, self.used.bytes)
            there |= self.gone.bytes.samples > 0
            low, high = changed.low, changed.high
        low = np.where(there, low, self.allocated.bytes.low)
        high = np.where(there, high, self.allocated.bytes.high)
        return _rounded(low), _rounded(high)

    @property
    def largest(self) -> Integers:
        """Of each key's class, the size that a block may have at most."""
        bounds = np.array([min(class_bounds(number)[1], (1 << 63) - 1) for number in range(66)])
        return np.asarray(bounds[self.keys["class"]], np.int64)

    def take(self, rows: NDArray[Any]) -> Sums:
        return replace(
            self,
            keys={name: column[rows] for name, column in self.keys.items()},
            allocated=self.allocated.take(rows),
            used=self.used.take(rows),
            gone=None if self.gone is None else self.gone.take(rows),
        )


def _rounded(values: NDArray[np.float64]) -> Integers:
    return np.rint(np.minimum(values, _MOST)).astype(np.int64)


def whole(values: NDArray[np.float64]) -> Integers:
    """Rounded so that the sum of any run of them is right within one half at each end, as far as there are numbers."""
    return np.diff(np.minimum(np.floor(np.cumsum(values) + 0.5), _MOST), prepend=0.0).astype(np.int64)


def sums(heap: Heap, selection: Selection, less: bool = False) -> Sums:
    """`less`: from what is in use at the end of the window, what was in use at its beginning is taken."""
    allocated = gather(chosen(heap, "allocated", selection, Within())[2], KEY)
    gone = None
    if less:
        sides = gather(compared(heap, selection, *window_of(heap, selection)), (*KEY, "side"))
        used, gone = (sides.take(sides.keys["side"] == side) for side in (_AFTER, _BEFORE))
    else:
        used = gather(chosen(heap, "in-use", selection, Within())[2], KEY)
    numbering = Numbering(KEY)
    codes = [numbering.of(each.keys) for each in (allocated, used, gone) if each is not None]
    count = len(numbering)

    def spread(groups: Groups, rows: NDArray[np.int64]) -> Both:
        return Both(groups.count.grouped(rows, count), groups.bytes.grouped(rows, count))

    found = Sums(
        numbering.rows(),
        spread(allocated, codes[0]),
        spread(used, codes[1]),
        None if gone is None else spread(gone, codes[2]),
        {**used.periods, **allocated.periods},
    )
    return found.take(np.argsort(found.keys["stack"], kind="stable"))
