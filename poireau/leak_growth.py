"""How fast what a site holds grows, from what came and stayed, in cells of time; and whether it has stopped.

What is summed in cell k of a site is X_k: the bytes of blocks that were born in it and are still there at the end, less
those too young to tell; or, where blocks are resized, by how much all that is alive grew in it. It was watched for E_k
seconds. The rate is sum X / sum E. Its variance comes from the cells themselves: V is the sum of the squares of
X_k - rate E_k, with what neighbours have in common (Newey and West, 1987; lags 1 and 2), since memory that leaks in
bursts tells no more than there were bursts; at least what sampling alone makes uncertain (estimate.py); and a hundredth
of the total for the ends of the window. The interval is skewed as estimate.py has it, with the skewness of the cells.

Where all that comes and goes is counted, S_k = X_1 + ... + X_k is what is alive then, less what was at first, and what
one cell has too much its neighbours have too little: the squares of X_k - rate E_k would count that over and over. What
tells is D_k, how far S_k strays from the straight line to its end. Sampling has its known part in it: a sample of the
variance u (estimate.py) that is alive at k, maybe at the begin, maybe at the end, has u d_k^2 in D_k^2, with
d_k = [alive at k] - (1 - t_k) [alive at the begin] - t_k [alive at the end], t_k the share of the time up to k. The end
of S itself has u of each that is alive at one of the two only. What is left of the mean of D_k^2 is the program's own:
of a walk with the variance V at its end D is a Brownian bridge, of which the mean square is V / 6 (of noise that is
drawn anew each time it is more, never less). So the variance is the sampling at both ends, and six times what is left.

What a site held at its start, and a cache that has filled up, do not go on growing. The cells are cut in two, at each
of CUTS in turn: were the rates the same on both sides, the growth would fall on either by the binomial distribution,
counted in bursts (the variance within the sides over their total). Where that is less likely than ODD, what was before
the cut says nothing of what is now.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from poireau import binomial, estimate

Floats = NDArray[np.float64]
Numbers = NDArray[np.int64]
Flags = NDArray[np.bool_]
CELLS = 32
CUTS = (1, 2, 4, 8, 16, 20, 24, 28)
ODD = 1e-4 / len(CUTS)
FADED = 0.25  # of the rate before, at most: it levels off
LEVEL = 1 / 3  # of what it grew in the first half, in the second one, at most, to one standard deviation
FEW = 3.0  # bursts
EDGES = 0.01  # of the total
_T = 1.21  # over degrees of freedom: how much wider than the normal distribution Student's is


@dataclass(frozen=True)
class Drawn:
    """Samples, by what is uncertain in them."""

    site: Numbers
    born: Numbers  # the cell; -1: before
    died: Numbers  # CELLS: not yet
    variance: Floats


@dataclass(frozen=True)
class Cells:
    """A row a site, a column a cell."""

    bytes: Floats
    variance: Floats  # that sampling alone makes
    third: Floats
    watched: Floats  # seconds, of all processes
    lasted: Floats  # of each cell, seconds of all processes; how many there were at once: over `seconds`
    seconds: float  # of each cell
    net: Flags  # of each site, whether all that comes and goes is counted
    drawn: Drawn  # for them
    unit: Floats  # of each site: what a sample that was not seen may stand for


@dataclass(frozen=True)
class Growth:
    """A row a site; bytes a second."""

    rate: Floats
    low: Floats
    high: Floats
    begin: Numbers  # the cell from which on it is so
    before: Floats  # the rate before that
    chance: Floats  # of so much where nothing grows (one-sided)
    late: Floats  # the same of the second half of what is left
    bursts: Floats  # how many independent ones there were, as it were


def growth(cells: Cells) -> Growth:
    x, e = cells.bytes, cells.watched
    begin = _begin(x, e, cells.variance)
    number = np.arange(x.shape[1])
    now = number >= begin[:, None]
    middle = (begin + _last(e) + 1) // 2
    rate, low, high, chance, bursts = _rates(cells, now)
    late = _rates(cells, number >= middle[:, None])[3]
    before = _of(_over(x, e, ~now), cells, ~now)
    return Growth(rate, low, high, begin, before, chance, late, bursts)


def level(cells: Cells, skipped: int) -> Numbers:
    """From which cell on what grew has grown no more, 0: it never did, or goes on. What was there after the first
    `skipped` cells is not looked at: what is freed soon gets that far at once."""
    half = cells.bytes.shape[1] // 2
    x = cells.bytes[:, skipped:]
    total = np.cumsum(x, axis=1)
    early, late = total[:, half - skipped - 1], cells.bytes[:, half:]
    own = (late**2).sum(1)
    spread = np.maximum(np.maximum(_together(late), own / 4), cells.variance[:, half:].sum(1))
    sure = early > 3 * np.sqrt(np.maximum(cells.variance[:, skipped:half].sum(1), cells.unit * early))
    flat = late.sum(1) + np.sqrt(spread) < LEVEL * early
    there = total >= 0.9 * np.max(total, axis=1, keepdims=True)
    return np.asarray(np.where(sure & flat, skipped + 1 + np.argmax(there, axis=1), 0))


def _rates(cells: Cells, chosen: Flags) -> tuple[Floats, Floats, Floats, Floats, Floats]:
    x, e = np.where(chosen, cells.bytes, 0.0), np.where(chosen, cells.watched, 0.0)
    total, watched = x.sum(1), e.sum(1)
    safe = np.where(watched > 0, watched, 1.0)
    rest = x - (total / safe)[:, None] * e
    count = np.maximum((e > 0).sum(1), 2)
    own = (rest**2).sum(1)
    strays, ends = _net(cells.drawn, rest, chosen)
    spread = np.where(cells.net, strays + ends, np.maximum(own, _together(rest)) * count / (count - 1))
    sampling = np.where(cells.net, ends, np.where(chosen, cells.variance, 0.0).sum(1))
    variance = np.maximum(spread, sampling) + (EDGES * total) ** 2
    steps = np.where(cells.net, 0.0, (np.maximum(rest, 0.0) ** 3).sum(1))
    third = np.maximum(steps, np.where(chosen, cells.third, 0.0).sum(1))
    deviation = np.sqrt(variance)
    certain = np.where(deviation > 0, deviation, 1.0)
    skewness = np.clip(third / certain**3, 0.0, 1.0)
    bursts = np.where(variance > 0, total**2 / np.where(variance > 0, variance, 1.0), 0.0)
    # A variance that comes from a few bursts is not known better than that.
    freedom = np.where(spread > 2 * sampling, np.clip(bursts, FEW, CELLS - 1), CELLS - 1)
    wider = 1 + _T / freedom
    low = total - wider * deviation * estimate.below(skewness)
    high = total + wider * deviation * estimate.above(skewness)
    nothing = (x == 0).all(1)
    high = np.where(nothing, estimate.NONE_SEEN * cells.unit, high)
    chance = np.array([_tail(z) for z in (total / certain).tolist()])
    # What came in one or two goes need not come again.
    low = np.where(bursts < FEW, np.minimum(low, 0.0), low)
    rates = [_of(np.where(watched > 0, each / safe, 0.0), cells, chosen) for each in (total, low, high)]
    return rates[0], rates[1], rates[2], np.where(nothing, 1.0, chance), bursts


def _together(rest: Floats) -> Floats:
    """The variance of their sum, with what neighbours have in common."""
    products = [(rest[:, lag:] * rest[:, : rest.shape[1] - lag]).sum(1) for lag in (0, 1, 2)]
    return np.asarray(products[0] + sum(2 * (1 - lag / 3) * products[lag] for lag in (1, 2)))


def _net(drawn: Drawn, rest: Floats, chosen: Flags) -> tuple[Floats, Floats]:
    """The variance of where each sum ends: what the program does to it, and sampling."""
    count, cells = rest.shape
    first = np.argmax(chosen, axis=1)
    begin = first[drawn.site]
    born, died = np.maximum(drawn.born, begin), np.maximum(drawn.died, begin)
    before, after = (drawn.born < begin) & (drawn.died >= begin), drawn.died >= cells
    one = before != after
    # Of each begin and each cell, the sum of d_k^2 of what comes there and stays, or was there and goes.
    number, begins = np.arange(cells), np.arange(cells)[:, None]
    share = np.clip((number - begins + 1) / (cells - begins), 0.0, 1.0)
    early = np.cumsum(np.insert(share**2, 0, 0.0, axis=1), axis=1)
    late = np.cumsum(np.insert(np.where(number >= begins, (1 - share) ** 2, 0.0), 0, 0.0, axis=1), axis=1)
    squares = early + late[:, -1:] - late
    there = np.where(one, squares[begin, np.where(after, born, died)], np.where(after, 0.0, died - born))
    known = np.bincount(drawn.site, drawn.variance * there, count)
    strayed = (np.where(chosen, np.cumsum(rest, axis=1), 0.0) ** 2).sum(1)
    ends = np.bincount(drawn.site, drawn.variance * one, count)
    return 6 * np.maximum(strayed - known, 0.0) / np.maximum(chosen.sum(1), 1), np.asarray(ends, np.float64)


def _of(a_process: Floats, cells: Cells, chosen: Flags) -> Floats:
    """Of all processes that there are at once."""
    lasted = np.where(chosen, cells.lasted, 0.0).sum(1)
    seconds = chosen.sum(1) * cells.seconds
    return np.asarray(a_process * lasted / np.where(seconds > 0, seconds, 1.0))


def _over(x: Floats, e: Floats, chosen: Flags) -> Floats:
    watched = np.where(chosen, e, 0.0).sum(1)
    return np.asarray(np.where(chosen, x, 0.0).sum(1) / np.where(watched > 0, watched, 1.0))


def _begin(x: Floats, e: Floats, variance: Floats) -> Numbers:
    """From which cell on each site goes on as it does now."""
    begin = np.zeros(len(x), np.int64)
    number = np.arange(x.shape[1])
    for cut in CUTS:
        first = (number >= begin[:, None]) & (number < cut)
        last = np.broadcast_to(number >= cut, x.shape)
        begin[_differ(x, e, variance, first, last)] = cut
    return begin


def _differ(x: Floats, e: Floats, variance: Floats, first: Flags, last: NDArray[np.bool_]) -> Flags:
    sums = [np.where(side, x, 0.0).sum(1) for side in (first, last)]
    watched = [np.where(side, e, 0.0).sum(1) for side in (first, last)]
    both = watched[0] * watched[1] > 0
    total, whole = sums[0] + sums[1], watched[0] + watched[1]
    fits = sum(np.where(side, _over(x, e, side)[:, None] * e, 0.0) for side in (first, last))
    rest = np.where(first | last, x - fits, 0.0)
    spread = np.maximum((rest**2).sum(1), np.where(first | last, variance, 0.0).sum(1))
    positive = both & (total > 0) & (spread > 0)
    burst = np.where(positive, spread / np.where(total > 0, total, 1.0), 1.0)
    n = np.where(positive, total / burst, 0.0)
    k = np.clip(np.where(positive, sums[1] / burst, 0.0), 0.0, n)
    share = np.clip(np.where(both, watched[1] / np.where(whole > 0, whole, 1.0), 0.5), 1e-9, 1 - 1e-9)
    tail = binomial.upper_tail(k, np.maximum(n, 1e-9), share)
    return np.asarray(positive & (np.minimum(tail, 1 - tail) < ODD))


def _last(e: Floats) -> Numbers:
    """The last cell that was watched."""
    return np.asarray(e.shape[1] - 1 - np.argmax(e[:, ::-1] > 0, axis=1))


def _tail(z: float) -> float:
    from math import erfc, sqrt

    return erfc(z / sqrt(2)) / 2
