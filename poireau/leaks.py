"""What leaks: how fast what each site holds grows, and whether that is going to be freed.

Kinds of evidence that know nothing of each other: growth (leak_growth.py), age (leak_age.py), what became of blocks
from the same place (leak_freeing.py), and, where it was looked, whether anybody points at them (reached.py). A site is
where memory is asked for (stacks.py), by line, function or stack.

    lost         nothing points at some of its blocks, in two scans: nobody can free them any more (in one scan, of a
                 core, that makes it likely)
    leak         it grows, of all sites together not one in twenty by chance; what it holds is old, and those of its
                 blocks that are freed are freed young, or none is
    likely       the same, but it has been seen for too short a time, or too little of it, to be certain
    growing      it grows, but old blocks of it are freed as well, or next to nothing was seen of it; or the program has
                 just started (leak_verdicts.SOON): there is neither leak nor likely yet
    levels off   it grew, and does not any more: a table made at the start, a cache that is full
    young        nothing that it holds is old enough to tell
    steady       none of all this
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from poireau import estimates, leak_age, leak_cells, leak_growth, leak_known, leak_lives, naming
from poireau.errors import USAGE, Failure
from poireau.estimate import Estimate
from poireau.leak_age import Threshold
from poireau.leak_growth import CELLS
from poireau.leak_lives import Lives, Spans
from poireau.leak_verdicts import BURSTS, FOUND, RANK, SOON, judged, too_early
from poireau.leak_verdicts import Verdict as Verdict
from poireau.model import Heap
from poireau.reached import Reached
from poireau.selection import Selection, check, expression
from poireau.stacks import NOWHERE, Stacks
from poireau.text import age, plain

if TYPE_CHECKING:
    from poireau.suppressions import Suppressions

Floats = NDArray[np.float64]
Numbers = NDArray[np.int64]
Flags = NDArray[np.bool_]
HOUR = 3600.0
BYS = ("line", "function", "stack")
_SKIPPED = 1  # cell of a site that frees: what it frees soon has got as far as it gets by then
_CURVES = 400  # sites that get a threshold of their own


@dataclass(frozen=True)
class Leaks:
    """`table` has a row for each site that has anything alive, the worst first: the key's columns (naming.py); verdict,
    reason; rate, rate_low, rate_high, in bytes an hour; bytes, count and old (bytes that are older than the threshold),
    each with _low and _high; samples; looked_at and unreachable, numbers of sampled blocks; known, the rule that
    suppresses it or ""; chance, bursts, begin (nanoseconds: since when it grows like this), before (the rate up to
    then), threshold (seconds; nan: none of its own), site (its number in `sites`)."""

    table: pd.DataFrame
    by: str
    begin: int
    end: int
    seconds: float  # in which anybody ran
    older: float | None  # seconds: the threshold of all; None: there is none
    why_older: str
    total: Estimate  # bytes an hour of all that is found
    selection: Selection
    periods: Mapping[tuple[int, bool], int]
    reached: Reached | None = None
    notes: tuple[str, ...] = ()  # what else should be known of it, a line each
    stacks: Stacks | None = field(default=None, repr=False)
    lives: Lives | None = field(default=None, repr=False)
    sites: Numbers | None = field(default=None, repr=False)  # of each life

    @property
    def found(self) -> pd.DataFrame:
        """Rows that are findings, and not known."""
        return self.table[self.table["verdict"].isin(FOUND) & (self.table["known"] == "")]

    @property
    def too_early(self) -> str:
        """Why there can be no leak yet, or ""."""
        return too_early(self.seconds) if self.seconds < SOON else ""

    @property
    def samples(self) -> int:
        return sum(self.periods.values())


def find(
    heap: Heap,
    selection: Selection | None = None,
    *,
    older: int | None = None,
    reached: Reached | None = None,
    known: Suppressions | None = None,
    by: str = "line",
) -> Leaks:
    """`older`: what is older than so many nanoseconds counts as old, rather than what survival tells. `reached`: what a
    scan found. `known`: what is not to be told any more."""
    selection = selection or Selection()
    check(selection)
    if by not in BYS:
        raise Failure(f"leaks are told by {', '.join(BYS)}", USAGE)
    lives = leak_lives.of(heap, selection)
    numbers = np.concatenate([[0], lives["stack"], lives["free_stack"][lives.freed]])
    stacks = naming.stacks_of(heap, np.unique(numbers.astype(np.int64)))
    if selection.focus or selection.ignore:
        chosen = stacks.chosen(selection.focus, selection.ignore)
        lives = lives.take(chosen[lives["stack"]])
    if selection.hide:
        stacks = stacks.without(stacks.found(expression(selection.hide, "hide")))
    return _found(heap, lives, stacks, selection, older, reached, known, by)


def _found(
    heap: Heap,
    lives: Lives,
    stacks: Stacks,
    selection: Selection,
    older: int | None,
    reached: Reached | None,
    known: Suppressions | None,
    by: str,
) -> Leaks:
    place_of = stacks.sites(stacks.wrappers(selection.wrappers))
    site_of = _sites(stacks, place_of, by)
    codes, distinct = pd.factorize(site_of[lives["stack"]])
    sites = np.asarray(codes, np.int64)
    whole = Spans(lives.spans.begin, lives.spans.end)
    # Sites with nothing alive are only of use for the threshold of all.
    held = np.flatnonzero(np.bincount(sites[lives.alive], minlength=len(distinct)) > 0)
    row_of = np.full(len(distinct), -1, np.int64)
    row_of[held] = np.arange(len(held))
    row = row_of[sites]
    general, why = _general(lives, older)
    own = _own_thresholds(lives, row, len(held)) if older is None else np.full(len(held), np.nan)
    oldest = np.where(np.isnan(own), np.inf if general is None else general, own)
    table = _key(stacks, place_of, lives, row, len(held))
    alive = lives.alive & (row >= 0)
    now = {name: lives[name][alive] for name in ("size", "period", "by_calls")}
    of_bytes = estimates.grouped(row[alive], len(held), now, "bytes")
    of_count = estimates.grouped(row[alive], len(held), now, "count")
    is_old = lives.age[alive] >= oldest[row[alive]]
    old = {name: column[is_old] for name, column in now.items()}
    of_old = estimates.grouped(row[alive][is_old], len(held), old, "bytes")
    settled = leak_cells.settled(lives, row, len(held), own)
    lines = site_of if by == "line" else _sites(stacks, place_of, "line")
    resized = leak_cells.resized(heap, lives, row, len(held), lines)
    # Of what dies so late that nothing could be called old, what comes and goes is counted; of what is resized, too.
    net = resized | (settled > whole.seconds / leak_age.WATCHED)
    # Whose samples are all of a time in which every call was one may have grown unseen since.
    longest = max((period for period, by_calls in lives.periods if period > 1 and not by_calls), default=0)
    cells = leak_cells.cells(lives, row, net, settled, np.maximum(of_bytes.unit, longest))
    growth = leak_growth.growth(cells)
    starts = [lives.spans.time(cell * cells.seconds) for cell in range(CELLS + 1)]
    freed = np.bincount(row[(row >= 0) & lives.freed], minlength=len(held))
    flow = leak_cells.cells(lives, row, np.ones(len(held), np.bool_), settled, of_bytes.unit)
    full = np.where(freed > 0, leak_growth.level(flow, _SKIPPED), leak_growth.level(flow, 0))
    full[(growth.low > 0) & (growth.bursts >= BURSTS) | (of_bytes.samples < leak_growth.FEW)] = 0
    table = table.assign(
        rate=growth.rate * HOUR,
        rate_low=growth.low * HOUR,
        rate_high=growth.high * HOUR,
        before=growth.before * HOUR,
        **_figures("bytes", of_bytes),
        **_figures("count", of_count),
        **_figures("old", of_old),
        samples=of_bytes.samples,
        chance=growth.chance,
        late_chance=growth.late,
        bursts=growth.bursts,
        cell=np.maximum(growth.begin, full),
        begin=[starts[cell] for cell in np.maximum(growth.begin, full).tolist()],
        threshold=own,
        freed=freed,
        resized=resized,
        full=full,
        net=net,
        **leak_known.looked(lives, row, len(held), reached),
        known=leak_known.known(known, stacks, lives, row, len(held), of_bytes.low),
        site=np.arange(len(held)),
    )
    table = judged(table, whole.seconds)
    table["rank"] = table["verdict"].map(RANK)
    grave = np.where(table["rank"] <= 1, 0, table["rank"])  # what is lost and what leaks, by how fast
    rates = np.where(table["rank"] < RANK[Verdict.LEVELS_OFF.value], table["rate"], 0.0)
    order = np.lexsort((-table["bytes"], -rates, grave, table["known"] != ""))
    table = table.iloc[order].drop(columns=["rank"]).reset_index(drop=True)
    there = lives.spans.end > lives.spans.begin
    return Leaks(
        table,
        by,
        int(lives.spans.begin[there].min(initial=heap.end)) if there.any() else heap.begin,
        int(lives.spans.end[there].max(initial=0)) if there.any() else heap.end,
        whole.seconds,
        general,
        why,
        _total(table),
        selection,
        lives.periods,
        reached,
        _notes(heap, lives),
        stacks,
        lives,
        row,
    )


def _notes(heap: Heap, lives: Lives) -> tuple[str, ...]:
    if not lives.ended:
        return ()
    number, share = max(lives.ended.items(), key=lambda each: each[1])
    name = os.path.basename(heap.processes["executable"][number]) or "?"
    more = f", {len(lives.ended) - 1} others too" if len(lives.ended) > 1 else ""
    freed = f"{plain(name)} freed {100 * share:.0f} % of what it had as it ended{more}"
    return (f"{freed}: this is how it was before that",)


def _sites(stacks: Stacks, place_of: Numbers, by: str) -> Numbers:
    """Of each stack, a number that those of one site share."""
    if by == "stack":
        return stacks.same()
    keys = np.asarray(stacks.names.function, np.int64) if by == "function" else stacks.lines
    there = place_of != NOWHERE
    found = np.full(len(stacks), -1, np.int64)
    found[there] = keys[stacks.places[place_of[there]]]
    return found


def _key(stacks: Stacks, place_of: Numbers, lives: Lives, row: Numbers, count: int) -> pd.DataFrame:
    """The stack that has most alive stands for its site."""
    alive = np.flatnonzero(lives.alive & (row >= 0))
    stack = lives["stack"][alive].astype(np.int64)
    sums = pd.Series(lives.bytes[alive]).groupby([row[alive], stack]).sum()
    largest = np.zeros(count, np.int64)
    rows, numbers = (np.asarray(sums.index.get_level_values(level), np.int64) for level in (0, 1))
    order = np.argsort(sums.to_numpy(), kind="stable")
    largest[rows[order]] = numbers[order]
    place = place_of[largest] if count else np.zeros(0, np.int64)
    return pd.DataFrame({**naming.places(stacks, place), "stack": largest, "place": place})


def _figures(name: str, sums: estimates.Estimates) -> dict[str, Any]:
    return {name: sums.value, f"{name}_low": sums.low, f"{name}_high": sums.high}


# Age.


def _general(lives: Lives, older: int | None) -> tuple[float | None, str]:
    if older is not None:
        return older / leak_lives.SECOND, "as was asked for"
    found = leak_age.threshold(lives.entry, lives.age, lives.freed, lives.weight)
    if found is None:
        freed = int(lives.freed.sum())
        if freed < leak_age.ENOUGH:
            some = f"only {freed} sampled block{'s were' if freed > 1 else ' was'}" if freed else "no sampled block was"
            return None, f"{some} freed so far: too few to tell what is old"
        return None, "blocks of every age that was seen are still being freed: too early to tell what is old"
    return found.age, explained(found)


def explained(found: Threshold) -> str:
    if not found.freed_later:
        return f"what lives longer than {age(found.age)} is never freed, so far"
    share = 100 * found.freed_later
    some = "less than 1 %" if share < 1 else f"{share:.0f} %"
    seen = age(found.survival.seen)
    return f"what lives longer than {age(found.age)} is practically never freed ({some} of it within {seen})"


def _own_thresholds(lives: Lives, row: Numbers, count: int) -> Floats:
    """Of sites that have enough frees; nan: of others."""
    own = np.full(count, np.nan)
    freed = np.bincount(row[(row >= 0) & lives.freed], minlength=count)
    held = np.bincount(row[(row >= 0) & lives.alive], lives.bytes[(row >= 0) & lives.alive], minlength=count)
    wanted = np.flatnonzero(freed >= leak_age.ENOUGH)
    wanted = wanted[np.argsort(-held[wanted], kind="stable")][:_CURVES]
    order = np.argsort(row, kind="stable")
    begins, ends = (np.searchsorted(row[order], wanted, side=side) for side in ("left", "right"))
    for site, begin, end in zip(wanted.tolist(), begins.tolist(), ends.tolist()):
        its = order[begin:end]
        found = leak_age.threshold(lives.entry[its], lives.age[its], lives.freed[its], lives.weight[its])
        if found is not None:
            own[site] = found.age
    return own


def _total(table: pd.DataFrame) -> Estimate:
    chosen = table[table["verdict"].isin(FOUND) & (table["known"] == "")] if len(table) else table
    if not len(chosen):
        return Estimate(0.0, 0.0, 0.0, 0, 0.0)
    rate = float(chosen["rate"].sum())
    down = float(np.sqrt(((chosen["rate"] - chosen["rate_low"]) ** 2).sum()))
    up = float(np.sqrt(((chosen["rate_high"] - chosen["rate"]) ** 2).sum()))
    return Estimate(rate, rate - down, rate + up, int(chosen["samples"].sum()), (up + down) / 4)
