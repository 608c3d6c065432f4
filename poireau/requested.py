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

from poireau.estimate import CERTAINTY, NONE_SEEN
from poireau.estimates import Counts, Estimates, Floats, chance


def asked_for(
    births: Any, inherited: NDArray[np.bool_] | None = None, *, longest: ArrayLike | None = None
) -> Estimates:
    """A row for each thread that has a sample; `sum()` is the total. `births`: all there were, of each thread in the
    order of time, with the columns process, thread, size, period, by_calls and since. `inherited` marks those of
    threads that had begun to count before. `longest`: the longest period in force since a sample, if not its own. A
    request of no bytes counts as one."""
    threads = np.asarray(births["process"], np.uint64) << np.uint64(32) | np.asarray(births["thread"], np.uint64)
    order = np.argsort(threads, kind="stable")
    begins = np.flatnonzero(np.diff(threads[order], prepend=~threads[order[:1]])) if len(order) else order
    size = np.maximum(np.asarray(births["size"], np.float64), 1.0)[order]
    period, by_calls = np.asarray(births["period"], np.float64)[order], np.asarray(births["by_calls"], np.bool_)[order]
    q = chance(size, period, by_calls)
    w = size / q
    e = w - size
    samples = np.diff(np.append(begins, len(order)))
    first, last = begins, begins + samples - 1

    longest = period if longest is None else np.maximum(period, np.broadcast_to(longest, period.shape)[order])

    since = np.asarray(births["since"], np.float64)[order]
    value, seen = since.copy(), since.copy()
    late = np.zeros(len(begins), np.bool_) if inherited is None else np.asarray(inherited, np.bool_)[order][begins]
    value[first[late]], seen[first[late]] = w[first[late]], size[first[late]]
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


def _of_any_tail(excess: Floats, period: Floats, by_calls: NDArray[np.bool_]) -> Floats:
    """The deviation with which the interval goes to three periods."""
    bound = NONE_SEEN * np.where(by_calls | (period <= 1), 0.0, period)
    return np.maximum(bound - excess, 0.0) / CERTAINTY


def _sums(column: Floats, begins: Counts) -> Floats:
    return np.add.reduceat(column, begins) if len(begins) else column[:0]


def shared_out(groups: Estimates, counted: Estimates) -> Estimates:
    """Totals of bytes asked for that add up to what is known of all, each moved by the part that it has in what is
    uncertain. `groups` have every birth that `counted` is of. Those that have much of it become better by that."""
    total, known = float(groups.variance.sum()), float(counted.variance.sum())
    if total <= known or total <= 0:
        return groups
    part = groups.variance / total
    left = 1 - part * (1 - known / total)
    value = groups.value + part * (float(counted.value.sum()) - float(groups.value.sum()))
    value = np.maximum(value, groups.seen)
    return Estimates(value, groups.variance * left, groups.third * left**1.5, groups.seen, groups.samples, groups.unit)
