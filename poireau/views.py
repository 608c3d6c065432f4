"""What a heap held, when, and who asked for it: a figure with its error for every stack, function, thread or size.

    in-use        alive at a time: at the end of the window, or of each process
    peak          alive when most was, of what is asked about, in the window
    resident      alive now, as much of it as is in memory
    allocated     asked for in the window
    freed         gone in it: freed, or sampled anew with another size
    byte-seconds  bytes times the seconds that they were alive in the window
    average       the same over its length: what was in use on average
    temporary     asked for in the window, and freed soon after

All bytes that were allocated are counted (requested.py): where the trace has every birth, the total of a whole trace is
what was counted, and the rows share that out. Otherwise, and of all else, they are what the samples stand for.

Lives come in parts and are summed up as they come: what is kept grows with distinct groups, not with events.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from poireau import naming, requested, windows
from poireau.errors import USAGE, Failure
from poireau.estimate import Estimate
from poireau.estimates import Estimates
from poireau.grouping import COLUMNS, OF_STACKS, Codes, Groups, gather
from poireau.model import Heap
from poireau.selection import Selection, check
from poireau.stacks import Stacks
from poireau.windows import Within

WHATS: Mapping[str, str] = {
    "in-use": "in use",
    "allocated": "allocated",
    "freed": "freed",
    "peak": "in use at the peak",
    "resident": "in memory now",
    "byte-seconds": "byte-seconds in use",
    "average": "in use on average",
    "temporary": "allocated and freed soon",
}
UNITS: Mapping[str, str] = {"byte-seconds": "byte-seconds"}  # of what is called bytes; all others: bytes
BYS = tuple(COLUMNS)


@dataclass(frozen=True)
class View:
    """`table` has a row for each key, the largest first: the key's columns (naming.py), `bytes`, `bytes_low`,
    `bytes_high`, `count`, `count_low`, `count_high` and `samples`. By function, line, file and module, where a stack
    counts for its site (stacks.py), also `through`, `through_low`, `through_high`: bytes of all stacks that have it
    anywhere."""

    what: str
    by: str
    unit: str
    table: pd.DataFrame
    bytes: Estimates = field(repr=False)  # of each row, as they add up
    count: Estimates = field(repr=False)
    since: int
    until: int  # of what is in use, the time
    selection: Selection
    within: Within
    periods: Mapping[tuple[int, bool], int]  # (period, whether it counts calls) -> samples
    stacks: Stacks | None = field(default=None, repr=False)  # where it is by them
    groups: Groups | None = field(default=None, repr=False)  # one a stack, then
    counted: Estimate | None = None  # all bytes, where they are known better than by the rows
    complaints: tuple[str, ...] = ()  # a line for each process that should be in it, and can't

    @property
    def total_bytes(self) -> Estimate:
        return self.counted or self.bytes.sum()

    @property
    def total_count(self) -> Estimate:
        return self.count.sum()

    @property
    def samples(self) -> int:
        return sum(self.periods.values())


def view(
    heap: Heap,
    what: str = "in-use",
    by: str = "stack",
    selection: Selection | None = None,
    within: Within | None = None,
) -> View:
    """`within`: how soon what is temporary is freed."""
    selection, within = selection or Selection(), within or Within()
    check(selection)
    if what not in WHATS or by not in BYS:
        raise Failure(f"what is one of {', '.join(WHATS)}; by, one of {', '.join(BYS)}", USAGE)
    complaints: tuple[str, ...] = ()
    if what == "resident":
        part, complaints = windows.in_memory(heap, selection)
        since, until, parts = heap.end, heap.end, iter([part])
    else:
        of_stacks = _of_stacks(heap, selection) if what == "peak" else None
        since, until, parts = windows.chosen(heap, what, selection, within, of_stacks)
    groups, stacks = told_apart(heap, gather(parts, columns_of(by, selection)), by, selection)
    counted = better_known(heap, selection, groups) if what == "allocated" else None

    def shared(sums: Estimates) -> Estimates:
        return sums if counted is None else requested.shared_out(sums, counted, groups.bytes)

    keyed = naming.keyed(heap, groups, by, stacks, selection.wrappers)
    count = len(keyed.table)
    of_bytes, of_count = shared(grouped(groups.bytes, keyed.rows, count)), grouped(groups.count, keyed.rows, count)
    columns = {**figures("bytes", of_bytes), **figures("count", of_count), "samples": of_bytes.samples}
    if keyed.of_places is not None and stacks is not None:
        columns |= figures("through", shared(naming.through(groups, stacks, keyed)))
    order = np.lexsort((-of_count.value, -of_bytes.value))
    return View(
        what,
        by,
        UNITS.get(what, "bytes"),
        keyed.table.assign(**columns).iloc[order].reset_index(drop=True),
        of_bytes.take(order),
        of_count.take(order),
        since,
        until,
        selection,
        within,
        groups.periods,
        stacks if by in OF_STACKS else None,
        replace(groups, bytes=shared(groups.bytes)) if by in OF_STACKS else None,
        counted,
        complaints,
    )


def better_known(heap: Heap, selection: Selection, groups: Groups) -> Estimate | None:
    """All bytes that were allocated, if they were counted."""
    if Selection(processes=selection.processes, hide=selection.hide, wrappers=selection.wrappers) != selection:
        return None
    counted = heap.asked_for(selection.processes)
    return counted if counted is not None and requested.agree(groups.bytes, counted) else None


def _of_stacks(heap: Heap, selection: Selection) -> NDArray[np.bool_] | None:
    """Of each stack, whether the selection is about it."""
    if not (selection.focus or selection.ignore):
        return None
    wanted = windows.lives_of(heap, selection, selection.since, selection.until)
    numbers = np.unique(np.concatenate([np.zeros(0, np.int64), *(pd.unique(lives["stack"]) for lives in wanted)]))
    chosen = np.zeros(len(heap.tables.stack_ends), np.bool_)
    chosen[numbers] = naming.stacks_of(heap, numbers).chosen(selection.focus, selection.ignore)[numbers]
    return chosen


def columns_of(by: str, selection: Selection) -> tuple[str, ...]:
    """What lives have to be told apart by: where stacks are chosen by their names, also by stack."""
    columns = COLUMNS[by]
    return columns if "stack" in columns or not (selection.focus or selection.ignore) else (*columns, "stack")


def told_apart(heap: Heap, groups: Groups, by: str, selection: Selection) -> tuple[Groups, Stacks | None]:
    """The groups whose stacks are chosen, and their names."""
    if "stack" not in groups.keys:
        return groups, None
    stacks = naming.stacks_of(heap, groups.keys["stack"])
    if selection.focus or selection.ignore:
        groups = groups.take(stacks.chosen(selection.focus, selection.ignore)[groups.keys["stack"]])
    return groups, naming.without(stacks, groups, selection.hide) if by in OF_STACKS else None


def grouped(sums: Estimates, rows: Codes, count: int, unit: float | None = None) -> Estimates:
    """Of so many rows. What has no sample may be as much as any that has none: three times `unit`."""
    found = sums.grouped(rows, count)
    found.unit[found.samples == 0] = sums.unit.max(initial=0.0) if unit is None else unit
    return found


def figures(name: str, sums: Any) -> dict[str, Any]:
    """Columns of a table."""
    return {name: sums.value, f"{name}_low": sums.low, f"{name}_high": sums.high}


def estimate_of(row: Any, name: str = "bytes") -> Estimate:
    """A figure of a row of a view's table."""
    low, high = float(row[f"{name}_low"]), float(row[f"{name}_high"])
    return Estimate(float(row[name]), low, high, int(row["samples"]), (high - low) / 4)
