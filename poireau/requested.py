"""How many bytes were asked for: counted, but for what came after each thread's last sample.

A birth says how many bytes its thread had asked for `since` its last sample, its own among them. So all that a thread
asked for up to its last sample is known exactly. What came after, the tail, is not: on average it is the excess
e = s / q - s of that last sample, a period where blocks are small. That holds for each sequence of requests, whatever
their sizes, periods and multipliers: request j is part of the tail if neither it nor a later one is sampled, and the
excess of j counts if it is and no later one, so that

    E[tail] = sum of s_j (1 - q_j) P(none after j),    E[excess] = sum of q_j e_j P(none after j)

and s (1 - q) = q e. Looked at from the end of the sequence, each request adds a difference of mean 0 to the error, and
the variance of all is the mean of e w of that last sample. That of one sample says little of it where sizes and
multipliers differ much. So it is taken for no less than what the samples before it tell, how far their excesses were
from the gaps that followed; and by bytes, for no less than has the interval reach 3 periods, for whatever blocks come
in it, 95 % of tails are less.

A thread without a sample counts for nothing, and on average that is right, too. So nobody has to know which threads are
alive: who still runs and who has ended have the same tail.

The sum over all samples (estimates.total) has for all its samples the variance that this one has for the last one of
each thread: a program that asked for a million periods is known to a millionth instead of a thousandth.

Where a thread's count had begun before the rows do, `since` of its first sample is too much: a fork's child inherits
what its parent's thread had counted; a window, what came before it. There the first sample stands for what was before
it as the last one does for what came after, but an only one does for both at once; without bias, by the same argument.

While sampling is off there are no samples to stand for anything: those bytes are counted by the next one, or missing.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from poireau.estimate import CERTAINTY, NONE_SEEN, Estimate
from poireau.estimates import Counts, Estimates, Floats, chance


def asked_for(
    births: Any, inherited: NDArray[np.bool_] | None = None, *, longest: ArrayLike | None = None
) -> Estimates:
    """A row for each thread that has a sample; `sum()` is the total. `births`: all there were, of each thread in the
    order of time, with the columns process, thread, size, period, by_calls and since; Tails has two more, for what is
    left out after each. `inherited` marks those of threads that had begun to count before. `longest`: the longest
    period in force since a sample, if not its own. A request of no bytes counts as one."""
    threads = np.asarray(births["process"], np.uint64) << np.uint64(32) | np.asarray(births["thread"], np.uint64)
    order = np.argsort(threads, kind="stable")
    begins = np.flatnonzero(np.diff(threads[order], prepend=~threads[order[:1]])) if len(order) else order
    size = np.maximum(np.asarray(births["size"], np.float64), 1.0)[order]
    period, by_calls = np.asarray(births["period"], np.float64)[order], np.asarray(births["by_calls"], np.bool_)[order]
    q = chance(size, period, by_calls)
    w = size / q
    e = w - size
    first: Counts = begins
    last: Counts = np.append(begins[1:], len(order))[: len(begins)] - 1

    longest = period if longest is None else np.maximum(period, np.broadcast_to(longest, period.shape)[order])

    since = np.asarray(births["since"], np.float64)[order]
    value, seen = since.copy(), since.copy()
    late = np.zeros(len(begins), np.bool_) if inherited is None else np.asarray(inherited, np.bool_)[order][begins]
    value[first[late]], seen[first[late]] = w[first[late]], size[first[late]]
    counts = np.ones(len(order))
    if "more" in births:
        value, seen, counts = value + births["more"][order], seen + births["more"][order], births["samples"][order]
    samples: Floats = _sums(counts, begins)
    twice = late & (samples > 1)  # both ends are uncertain, and not the same sample's

    def at_ends(column: Floats) -> Floats:
        return column[last] + np.where(twice, column[first], 0.0)

    certain = _sums(seen, begins)
    # Where a thread has come far there is no skewness: its tail may be nothing, but not many times a period.
    short = np.clip(1 - (certain - size[last]) / np.maximum(w[last], 1e-300), 0.0, 1.0)
    return Estimates(
        _sums(value, begins) + np.where(late & (samples == 1), 0.0, e[last]),
        at_ends(np.maximum(_foretold(e * w, e, since - size, begins, last), _of_any_tail(e, longest, by_calls) ** 2)),
        at_ends(e * e * w) * short,
        certain,
        samples.astype(np.int64),
        e[last] * short,
    )


def _foretold(variance: Floats, excess: Floats, gap: Floats, begins: Counts, last: Counts) -> Floats:
    """The variance of each sample; at a thread's last one it is at least as much as the excesses of the last few before
    it were off: each foretells the gap up to the next sample."""
    row = np.arange(len(excess))
    till_last = np.repeat(last, last - begins + 1) - row
    counts = (till_last < _FORETOLD) & (till_last > 0)
    missed = np.zeros(len(excess))
    missed[:-1] = np.where(counts[:-1], (excess[:-1] - gap[1:]) ** 2, 0.0)
    at_least = variance.copy()
    mean = _sums(missed, begins) / np.maximum(_sums(counts.astype(np.float64), begins), 1.0)
    at_least[last] = np.maximum(variance[last], mean)
    return at_least


_FORETOLD = 20
_GIVEN = dict.fromkeys(("process", "thread", "time"), "i8") | {"by_calls": "?"}
_GIVEN |= dict.fromkeys(("size", "period", "since"), "f8")
_BIRTH = np.dtype([*_GIVEN.items(), ("more", "f8"), ("samples", "f8")])
_PENDING = 1 << 16


class Tails:
    """Of births that come in parts, those that `asked_for` has to know: each thread's first one and its last few."""

    def __init__(self) -> None:
        self.of_nothing = False  # some asked for no bytes, so many did: they count as one byte each
        self._parts = [np.empty(0, _BIRTH)]
        self._pending = 0

    def add(self, births: Any) -> None:
        """Columns of alloc or resize events."""
        part = np.zeros(len(births["time"]), _BIRTH)
        for name in _GIVEN:
            part[name] = births[name]
        part["samples"] = 1
        self.of_nothing |= bool((part["size"] == 0).any())
        self._parts.append(part)
        self._pending += len(part)
        if self._pending > max(_PENDING, len(self._parts[0])):
            self.births()

    def births(self) -> dict[str, NDArray[Any]]:
        rows = np.concatenate(self._parts)
        threads = rows["process"] << 32 | rows["thread"]
        order = np.lexsort((rows["time"], threads))
        rows, threads = rows[order], threads[order]
        is_first = np.append(True, threads[1:] != threads[:-1])[: len(rows)]
        begins = np.flatnonzero(is_first)
        last = np.append(begins[1:], len(rows))[: len(begins)] - 1
        kept = is_first | (np.repeat(last, last - begins + 1) - np.arange(len(rows)) <= _FORETOLD)
        for name, column in (("more", rows["since"] + rows["more"]), ("samples", rows["samples"])):
            rows[name][begins] += _sums(np.where(kept, 0.0, column), begins)
        self._parts, self._pending = [rows[kept]], 0
        return {name: self._parts[0][name] for name in _BIRTH.names or ()}


def _of_any_tail(excess: Floats, period: Floats, by_calls: NDArray[np.bool_]) -> Floats:
    """The deviation with which the interval goes to three periods."""
    bound = NONE_SEEN * np.where(by_calls | (period <= 1), 0.0, period)
    return np.maximum(bound - excess, 0.0) / CERTAINTY


def _sums(column: Floats, begins: Counts) -> Floats:
    return np.add.reduceat(column, begins) if len(begins) else column[:0]


def shared_out(groups: Estimates, counted: Estimate, of: Estimates | None = None) -> Estimates:
    """Totals of bytes asked for that add up to what is known of all, each moved by the part that it has in what is
    uncertain. `of` are all births that `counted` is of, in groups, where `groups` are not, or overlap. Those that have
    much of what is uncertain become better by that."""
    whole = groups if of is None else of
    total, known = float(whole.variance.sum()), counted.deviation**2
    if total <= known or total <= 0:
        return groups
    part = groups.variance / total
    # The fewer samples, the less sure is what part they have.
    sure = 1 - np.minimum(groups.third / np.where(groups.variance > 0, groups.variance, 1.0) ** 1.5, 1.0)
    certain = part * (1 - known / total)
    left = np.maximum(1 - certain * sure, 0.0)
    others = float(whole.third.sum()) - groups.third
    third = np.maximum(groups.third * np.maximum(1 - certain, 0.0) ** 3 - certain**3 * others, 0.0)
    value = groups.value + part * (counted.value - float(whole.value.sum()))
    value = np.maximum(value, groups.seen)
    return Estimates(value, groups.variance * left, third, groups.seen, groups.samples, groups.unit)


def agree(groups: Estimates, counted: Estimate) -> bool:
    """Whether what was counted is known better than by the samples, is not far from what they tell (bytes that were
    not there to be sampled are counted, too), and leaves each group what was seen of it."""
    total = float(groups.variance.sum())
    apart = counted.value - float(groups.value.sum())
    if counted.deviation**2 >= total or apart**2 > _FAR**2 * (total + counted.deviation**2):
        return False
    return bool(np.all(groups.value + groups.variance / total * apart >= groups.seen))


_FAR = 5.0  # standard deviations
