"""What came to each site and stayed, in cells of time (leak_growth.py): the way from lives to cells."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from poireau import leak_lives
from poireau.leak_growth import CELLS, Cells, Drawn
from poireau.leak_lives import Lives
from poireau.model import Heap

Floats = NDArray[np.float64]
Numbers = NDArray[np.int64]
Flags = NDArray[np.bool_]
_AGES = 256  # that are told apart
_OLDER = 1.5  # times what nearly all that were freed had reached


def settled(lives: Lives, row: Numbers, count: int, own: Floats) -> Floats:
    """The age by which a site's block has been freed if it ever is, as far as those tell that were."""
    its = np.flatnonzero(lives.freed & (row >= 0))
    longest = np.zeros(count)
    np.maximum.at(longest, row[its], lives.age[its])
    return np.asarray(np.where(np.isnan(own), _OLDER * longest, own))


def resized(heap: Heap, lives: Lives, row: Numbers, count: int, lines: Numbers) -> Flags:
    """Sites whose blocks are what others have become, for the most part: by realloc, or since the line that asks for
    the new block frees the old one, as a vector does that grows. `lines`: of each stack, the number of its line."""
    functions = np.unique(lives["function"])
    by = functions[[str(name).endswith(("realloc", "reallocarray")) for name in heap.text(functions)]]
    line, freed_at = (lines[lives[name].astype(np.int64)] for name in ("stack", "free_stack"))
    replaced = lives.freed & (line == freed_at) & (line >= 0)
    again = (row >= 0) & (lives.resized | np.isin(lives["function"], by) | replaced)
    return np.bincount(row[again], lives.bytes[again], count) > 0.5 * np.bincount(
        row[row >= 0], lives.bytes[row >= 0], count
    )


def cells(lives: Lives, row: Numbers, net: Flags, since: Floats, unit: Floats) -> Cells:
    """`since`: the age from which on a site's block has stayed. `net`: of each site, whether all that comes and goes is
    counted, rather than what came and stayed."""
    spans, count = lives.spans, len(net)
    seconds = max(spans.seconds, 1e-9)
    width = seconds / CELLS
    edges = np.asarray(np.arange(CELLS + 1) * width, np.float64)
    some = spans.end > spans.begin
    begin, end = spans.tau(spans.begin)[some], spans.tau(spans.end)[some]
    # What a site has to be watched for depends on its age; of very many different ones, some hundred are enough.
    wanted = np.where(net, 0.0, since)
    ages = np.unique(np.append(0.0, wanted))
    if len(ages) > _AGES:
        ages = np.append(0.0, np.geomspace(ages[1], ages[-1] * (1 + 1e-9), _AGES - 1))
    which = np.minimum(np.searchsorted(ages, wanted), len(ages) - 1)
    since, net = np.append(ages[which], 0.0), np.append(net, False)  # the last: of no site
    watched = np.stack([_overlaps(edges, begin, np.maximum(end - age, begin)) for age in ages.tolist()])
    sums = [np.zeros(count * CELLS) for _ in range(3)]

    def add(chosen: Flags, time: Numbers, sign: float) -> None:
        its = np.flatnonzero(chosen)
        cell = np.clip((spans.tau(time[its]) / width).astype(np.int64), 0, CELLS - 1)
        w = lives.bytes[its]
        e = w - lives["size"][its]
        for total, each in zip(sums, (sign * w, e * w, sign * e * e * w)):
            total += np.bincount(row[its] * CELLS + cell, each, len(total))

    last = spans.end[lives["process"]]
    mine = row >= 0
    stays = mine & lives.seen_born & lives.alive & ~net[row]
    stays &= (last - lives["born"]) / leak_lives.SECOND >= since[row]
    add(stays, lives["born"], 1.0)
    # What was born and has died within the window cancels but for where it was.
    flows = mine & net[row]
    add(flows & lives.seen_born, lives["born"], 1.0)
    add(flows & ~lives.alive, lives.end, -1.0)
    byte, variance, third = (total.reshape(count, CELLS) for total in sums)
    _only_ends(lives, row, net[:-1], flows, variance, third)
    return Cells(
        byte, variance, third, watched[which], watched[0], width, net[:-1], _drawn(lives, row, flows, width), unit
    )


def _drawn(lives: Lives, row: Numbers, flows: Flags, width: float) -> Drawn:
    its = np.flatnonzero(flows & ~(~lives.seen_born & lives.alive))
    born, died = (
        np.clip((lives.spans.tau(time[its]) / width).astype(np.int64), 0, CELLS - 1)
        for time in (lives["born"], lives.end)
    )
    w = lives.bytes[its]
    return Drawn(
        row[its],
        np.where(lives.seen_born[its], born, -1),
        np.where(lives.alive[its], CELLS, died),
        np.asarray((w - lives["size"][its]) * w),
    )


def _only_ends(lives: Lives, row: Numbers, net: Flags, flows: Flags, variance: Floats, third: Floats) -> None:
    """Of what came and went nothing is uncertain in the end."""
    variance[net], third[net] = 0.0, 0.0
    its = np.flatnonzero(flows & (lives.seen_born == lives.alive))
    w = lives.bytes[its]
    e = w - lives["size"][its]
    variance[net] += (np.bincount(row[its], e * w, len(net)) / CELLS)[net][:, None]
    third[net] += (np.bincount(row[its], e * e * w, len(net)) / CELLS)[net][:, None]


def _overlaps(edges: Floats, begin: Floats, end: Floats) -> Floats:
    """Of each cell, the seconds of all spans in it."""
    if not len(begin):
        return np.zeros(len(edges) - 1)

    # The integral of how many have begun, less that of how many have ended.
    def passed(times: Floats) -> Floats:
        times = np.sort(times)
        total = np.concatenate([[0.0], np.cumsum(times)])
        count = np.searchsorted(times, edges, side="right")
        return np.asarray(count * edges - total[count])

    return np.asarray(np.maximum(np.diff(passed(begin) - passed(end)), 0.0))
