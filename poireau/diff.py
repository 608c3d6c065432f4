"""What has changed between two moments of a heap, or is different in two: runs, builds, hosts.

Between two moments, what is alive at both cancels to the byte: only what came and stayed and what has gone is
uncertain. Two heaps are estimated apart, and joined by what they call things: functions rather than addresses, the
names of threads rather than their numbers.

A change is significant where it is one of those that Benjamini and Hochberg (1995) keep, of all that were compared: one
of twenty significant ones is expected to be noise, at most.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from poireau import estimates, naming, views, windows
from poireau.errors import USAGE, Failure
from poireau.estimate import Estimate
from poireau.estimates import Estimates
from poireau.grouping import gather
from poireau.model import Heap
from poireau.selection import Selection, check, clock
from poireau.stacks import Stacks
from poireau.views import View, figures

Sides = tuple[Estimates, Estimates]  # only before, only after: what the two have not in common


@dataclass(frozen=True)
class Diff:
    """`table` has a row for each key, the greatest change first: the key's columns (naming.py); `before`, `after` and
    `change`, in bytes, and `count_before`, `count_after` and `count_change`, each with `_low` and `_high`;
    `samples_before`, `samples_after`; `chance`, of so great a change where there is none; `significant`; `side`, which
    of `stacks` has its `stack` and `place`."""

    what: str
    by: str
    table: pd.DataFrame
    before: Estimate
    after: Estimate
    change: Estimate
    moments: tuple[str, str]
    selection: Selection
    periods: Mapping[tuple[int, bool], int]  # (period, whether it counts calls) -> samples
    stacks: tuple[Stacks | None, Stacks | None] = field(default=(None, None), repr=False)


def of_moments(heap: Heap, before: int, after: int, by: str = "function", selection: Selection | None = None) -> Diff:
    """What was in use at these two times."""
    selection = selection or Selection()
    check(selection)
    if before >= after:
        raise Failure("the second moment is not after the first", USAGE)
    parts = windows.compared(heap, selection, before, after)
    groups, stacks = views.told_apart(heap, gather(parts, (*views.columns_of(by, selection), "side")), by, selection)
    keyed = naming.keyed(heap, groups, by, stacks, selection.wrappers)
    at = [groups.keys["side"] == side for side in (0, 1, 2)]

    def sides(sums: Estimates) -> tuple[Estimates, Sides]:
        unit = sums.unit.max(initial=0.0)
        stayed, went, came = (views.grouped(sums.take(of), keyed.rows[of], len(keyed.table), unit) for of in at)
        return stayed, (went, came)

    moments = (clock(before), clock(after))
    return _diff(
        "in-use",
        by,
        keyed.table.assign(side=0),
        *sides(groups.bytes),
        *sides(groups.count),
        moments,
        selection,
        groups.periods,
        (stacks, stacks),
    )


def of_views(first: View, second: View, names: tuple[str, str] = ("before", "after")) -> Diff:
    """Of two heaps that have no sample in common."""
    if (first.what, first.by) != (second.what, second.by):
        raise Failure("only views of the same kind can be compared", USAGE)
    keys = [pd.Series(_portable(each)) for each in (first, second)]
    rows, distinct = pd.factorize(pd.concat(keys))
    of_first, of_second = np.split(rows, [len(first.table)])
    count = len(distinct)
    # What the second one has is shown as it is there.
    tables = pd.concat([second.table.assign(side=1), first.table.assign(side=0)], ignore_index=True)
    at = np.unique(np.concatenate([of_second, of_first]), return_index=True)[1]
    keys_only = [name for name in tables.columns if name not in _FIGURES]
    nothing = views.grouped(estimates.joined([first.bytes]).take(np.zeros(0, int)), np.zeros(0, int), count)

    def sides(one: Estimates, other: Estimates) -> tuple[Estimates, Sides]:
        return nothing, (views.grouped(one, of_first, count), views.grouped(other, of_second, count))

    return _diff(
        first.what, first.by, tables.loc[at, keys_only].reset_index(drop=True), *sides(first.bytes, second.bytes),
        *sides(first.count, second.count), names, second.selection, {}, (first.stacks, second.stacks),
    )  # fmt: skip


_FIGURES = {f"{name}{end}" for name in ("bytes", "count", "through") for end in ("", "_low", "_high")} | {"samples"}


def _diff(
    what: str,
    by: str,
    table: pd.DataFrame,
    common: Estimates,
    of_bytes: Sides,
    common_count: Estimates,
    of_count: Sides,
    moments: tuple[str, str],
    selection: Selection,
    periods: Mapping[tuple[int, bool], int],
    stacks: tuple[Stacks | None, Stacks | None],
) -> Diff:
    some = (common.samples + of_bytes[0].samples + of_bytes[1].samples) > 0
    table = table[some].reset_index(drop=True)
    common, common_count = common.take(some), common_count.take(some)
    of_bytes, of_count = _taken(of_bytes, some), _taken(of_count, some)
    change, change_count = estimates.difference(*of_bytes), estimates.difference(*of_count)
    before, after = (common + side for side in of_bytes)
    table = table.assign(
        **figures("before", before),
        **figures("after", after),
        **figures("change", change),
        **figures("count_before", common_count + of_count[0]),
        **figures("count_after", common_count + of_count[1]),
        **figures("count_change", change_count),
        samples_before=before.samples,
        samples_after=after.samples,
        chance=change.chance,
        significant=change.significant(),
    )
    order = np.argsort(-np.abs(change.value), kind="stable")
    table = table.iloc[order].reset_index(drop=True)
    whole = estimates.difference(*(side.grouped(np.zeros(len(side), int), 1) for side in of_bytes))
    total = Estimate(
        float(whole.value[0]),
        float(whole.low[0]),
        float(whole.high[0]),
        int(sum(side.samples.sum() for side in of_bytes)),
        0.0,
    )
    return Diff(what, by, table, before.sum(), after.sum(), total, moments, selection, periods, stacks)


def _taken(sides: Sides, rows: NDArray[np.bool_]) -> Sides:
    return sides[0].take(rows), sides[1].take(rows)


def _portable(view: View) -> NDArray[Any]:
    """Of each row, what another heap would call the same."""
    table = view.table
    if view.by == "stack":
        assert view.stacks is not None
        return np.asarray(view.stacks.portable()[table["stack"].to_numpy()])
    columns: list[Any] = {
        "function": [table.get("function")],
        "line": [table.get("function"), _bases(table.get("file", ())), table.get("line")],
        "file": [table.get("file"), _bases(table.get("module", ()))],
        "module": [_bases(table.get("module", ()))],
        "thread": [_named(table, "name", "thread")],
        "threads": [_named(table, "name", "thread"), _named(table, "free_name", "free_thread")],
        "size": [table.get("largest")],
        "call": [table.get("call")],
        "process": [table.get("program")],
    }[view.by]
    keys = np.empty(len(table), object)
    keys[:] = list(zip(*columns)) if len(table) else []
    return keys


def _bases(paths: Sequence[str]) -> list[str]:
    return [os.path.basename(path) for path in paths]


def _named(table: pd.DataFrame, name: str, number: str) -> list[Any]:
    """Who has no name goes by his number."""
    if name not in table:
        return []
    return [text or each for text, each in zip(table[name], table[number].tolist())]
