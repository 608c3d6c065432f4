"""Memory errors, from the events that tell of them: those that are the same mistake taken together.

The library tells of an error once for each place (stack) of a process. Here errors of one kind, made in one line with
blocks that one line asked for, are one group, whichever process or thread it was and however it got there. What is
found late, a changed byte behind a block that is freed, was not done by who found it: there the line that asked for the
block counts alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from poireau.estimate import Estimate
from poireau.estimates import chance
from poireau.model import Heap
from poireau.model_lives import is_empty
from poireau.naming import places, stacks_of
from poireau.selection import Selection, check
from poireau.stacks import NOWHERE, Stacks
from poireau.suppressions import NOBODY, Suppressions
from poireau.views import estimate_of, view

LATE = ("short overflow", "short underflow", "write after free")
AFTER_FREE = ("use after free", "write after free", "double free", "resize of a freed block")
RELEASES = ("double free", "invalid free", "resize of a freed block", "mismatched release", "wrong size")
_OF_EVENTS = "process error address id size function thread time frames".split()
_OF_LIVES = (
    "process id address size function period by_calls guarded guard_chance thread stack born died free_function "
    "free_thread free_stack"
).split()
_STACKS = ["stack", "made_stack", "freed_stack"]
_PLACE = ("function", "file", "line", "module")
_NONE = np.uint64(0)


@dataclass(frozen=True)
class Misuse:
    """`table` has a row for each group, in the order of their first errors. Of that first error: `process`, `error`,
    `address`, `id` (0: of no block), `size`, `function` (that was called wrongly, or found it), `thread`, `time`,
    `stack`, and of its block, if that is in the trace (`there`): `block` (its address), `made_by` (function),
    `made_at`, `maker` (thread), `made_stack`; `freed`, `freed_by`, `freed_at`, `freer`, `freed_stack`; `chance` with
    which such a block is watched as this one was. Of all: `reports`, `last`, `processes`, `threads` (tuples); `known`
    is the number of the rule that suppresses it."""

    table: pd.DataFrame
    stacks: Stacks | None  # None: there are no errors
    selection: Selection
    periods: Mapping[tuple[int, bool], int]  # of the samples that were looked at
    guarded: int  # of them, those with guards
    beside: Mapping[int, Mapping[str, Estimate]] = field(default_factory=dict)  # of rows: what the same line has

    @property
    def news(self) -> pd.DataFrame:
        return self.table[self.table["known"] == NOBODY]


def find(heap: Heap, selection: Selection | None = None, known: Suppressions | None = None) -> Misuse:
    selection, known = selection or Selection(), known or Suppressions()
    check(selection)
    events = _events(heap, selection)
    lives, periods, guarded = _lives(heap, selection, events)
    errors = _joined(heap, events, lives)
    if not len(errors):
        return Misuse(errors.assign(known=[]), None, selection, periods, guarded)
    stacks = stacks_of(heap, np.unique(errors[_STACKS].to_numpy(np.int64)))
    if selection.focus or selection.ignore:
        chosen = stacks.chosen(selection.focus, "") if selection.focus else np.ones(len(stacks), bool)
        passed = stacks.chosen("", selection.ignore) if selection.ignore else np.ones(len(stacks), bool)
        mine = errors[_STACKS].to_numpy(np.int64)
        # One of its stacks goes through what is in focus, and none through what is ignored.
        errors = errors[chosen[mine].any(axis=1) & passed[mine].all(axis=1)]
    table = _grouped(errors, stacks, stacks.sites(stacks.wrappers(selection.wrappers)))
    return Misuse(table.assign(known=_known(table, stacks, known)), stacks, selection, periods, guarded)


def with_profile(heap: Heap, misuse: Misuse) -> Misuse:
    """And what the lines have in use, and have allocated, that asked for the blocks."""
    stacks, selection = misuse.stacks, misuse.selection
    rows = misuse.table[misuse.table["there"]] if stacks is not None else misuse.table
    if stacks is None or not len(rows):
        return misuse
    sites = stacks.sites(stacks.wrappers(selection.wrappers))[rows["made_stack"].to_numpy(np.int64)]
    wanted = places(stacks, sites)
    asked = Selection(processes=selection.processes, wrappers=selection.wrappers)
    beside: dict[int, dict[str, Estimate]] = {row: {} for row in rows.index}
    for what, name in (("in-use", "in_use"), ("allocated", "allocated")):
        table = view(heap, what, "line", asked).table
        keys = zip(*(table[column].tolist() for column in _PLACE))
        at = {key: number for number, key in enumerate(keys)}
        figures = table.to_dict("records")
        for row, *key in zip(rows.index, *(wanted[column].tolist() for column in _PLACE)):
            number = at.get(tuple(key))
            if number is not None:
                there = figures[number]
                beside[row] |= {name: estimate_of(there), f"{name}_count": estimate_of(there, "count")}
    return replace(misuse, beside=beside)


def _events(heap: Heap, selection: Selection) -> pd.DataFrame:
    errors = heap.errors[_OF_EVENTS].rename(columns={"frames": "stack"})
    kept = np.ones(len(errors), bool)
    time = errors["time"].to_numpy(np.int64)
    if selection.since is not None:
        kept &= time >= selection.since
    if selection.until is not None:
        kept &= time < selection.until
    if selection.processes:
        kept &= errors["process"].isin(selection.processes).to_numpy()
    if selection.threads:
        threads = heap.threads
        named = threads[threads["name"].isin(selection.threads) | threads["thread"].astype(str).isin(selection.threads)]
        both = set(zip(named["process"].tolist(), named["thread"].tolist()))
        numbers = {int(each) for each in selection.threads if each.isascii() and each.isdecimal()}
        who = zip(errors["process"].tolist(), errors["thread"].tolist())
        kept &= np.fromiter((one in both or one[1] in numbers for one in who), bool, len(errors))
    return errors[kept].sort_values("time", kind="stable", ignore_index=True)


def _lives(
    heap: Heap, selection: Selection, events: pd.DataFrame
) -> tuple[pd.DataFrame, dict[tuple[int, bool], int], int]:
    """Of the blocks of errors; and of all of those processes: how many samples of each period, how many with guards."""
    ids = pd.unique(events["id"]).astype(np.uint64) if len(events) else np.zeros(0, np.uint64)
    found = [heap.live().iloc[:0][_OF_LIVES]]
    periods: dict[tuple[int, bool], int] = {}
    guarded = 0
    for lives in heap.lives():
        if len(ids):
            found.append(lives.loc[lives["id"].isin(ids), _OF_LIVES])
        if selection.processes:
            lives = lives[lives["process"].isin(selection.processes)]
        guarded += int(lives["guarded"].sum())
        for period, count in lives.groupby(["period", "by_calls"], sort=False).size().items():
            periods[period] = periods.get(period, 0) + int(count)
    return pd.concat([each for each in found if len(each)] or found, ignore_index=True), periods, guarded


def _joined(heap: Heap, events: pd.DataFrame, lives: pd.DataFrame) -> pd.DataFrame:
    """Each error with its block: one of the same id that its process, or one it was forked from, had then."""
    blocks = lives[["process", "id", "born"]].assign(life=np.arange(len(lives)))
    pairs = events[["process", "id", "time"]].assign(number=np.arange(len(events)))
    pairs = pairs.merge(blocks[blocks["id"] != _NONE].rename(columns={"process": "owner"}), on="id")
    parents = heap.processes["parent"].to_dict()
    forks = [_forks(parents, *each) for each in zip(pairs["process"].tolist(), pairs["owner"].tolist())]
    pairs = pairs.assign(forks=forks)
    pairs = pairs[(pairs["forks"] >= 0) & (pairs["born"] <= pairs["time"])]
    best = pairs.sort_values(["forks", "born"], ascending=[True, False], kind="stable").drop_duplicates("number")
    life = np.full(len(events), NOWHERE)
    life[best["number"].to_numpy(np.int64)] = best["life"]
    there = life != NOWHERE

    def column(name: str) -> NDArray[Any]:
        values = lives[name].to_numpy()
        found = np.zeros(len(events), values.dtype)
        found[there] = values[life[there]]
        return found

    freed = there & (column("died") <= events["time"].to_numpy(np.int64))
    watched = chance(column("size"), column("period"), column("by_calls"))
    guards = (column("guard_chance").astype(np.float64) + 1) / 2**32
    columns = {
        "there": there,
        "block": column("address"),
        "size": np.where(there, column("size"), events["size"].to_numpy(np.uint64)),
        "made_by": heap.text(column("function")),
        "made_at": column("born"),
        "maker": column("thread"),
        "made_stack": column("stack"),
        "freed": freed,
        "freed_by": heap.text(np.where(freed, column("free_function"), 0)),
        "freed_at": np.where(freed, column("died"), 0),
        "freer": np.where(freed, column("free_thread"), 0),
        "freed_stack": np.where(freed, column("free_stack"), 0),
        "chance": np.where(there, watched * np.where(column("guarded"), guards, 1.0), 1.0),
    }
    errors = events.assign(**columns)
    odd = errors[errors["there"] & ~errors["freed"] & errors["error"].isin(AFTER_FREE)]
    return _freed_by_children(heap, errors, odd) if len(odd) else errors


def _freed_by_children(heap: Heap, errors: pd.DataFrame, odd: pd.DataFrame) -> pd.DataFrame:
    """What a child has freed of its parent's is alive as far as the model goes: the events of those know better."""
    errors = errors.copy()
    for batch in heap.source.batches():
        if is_empty(batch):
            break
        if "free" not in batch:
            continue
        frees = batch["free"]
        for at in np.flatnonzero(np.isin(frees["id"], odd["id"].to_numpy(np.uint64))).tolist():
            free = {name: int(frees[name][at]) for name in ("process", "id", "function", "thread", "time", "frames")}
            mine = (odd["id"] == free["id"]) & (odd["process"] == free["process"]) & (odd["time"] >= free["time"])
            errors.loc[odd.index[mine], "freed"] = True
            errors.loc[odd.index[mine], "freed_by"] = heap.text([free["function"]])[0]
            for name, of in (("freed_at", "time"), ("freer", "thread"), ("freed_stack", "frames")):
                errors.loc[odd.index[mine], name] = free[of]
    return errors


def _forks(parents: Mapping[int, int], process: int, owner: int) -> int:
    """Forks from the owner to the process; below 0: it is none of its forebears."""
    for steps in range(len(parents) + 1):
        if process == owner:
            return steps
        process = parents.get(process, -1)
        if process < 0:
            break
    return -1


def _grouped(errors: pd.DataFrame, stacks: Stacks, sites: NDArray[np.int64]) -> pd.DataFrame:
    lines = np.append(stacks.lines[stacks.places], NOWHERE)  # of each place; the last is for none
    of_stack = lines[np.where(sites == NOWHERE, len(lines) - 1, sites)]
    late = errors["error"].isin(LATE).to_numpy() & errors["there"].to_numpy()
    keys = pd.DataFrame(
        {
            "error": errors["error"],
            "access": np.where(late, NOWHERE, of_stack[errors["stack"].to_numpy(np.int64)]),
            "made": np.where(errors["there"], of_stack[errors["made_stack"].to_numpy(np.int64)], NOWHERE),
        }
    )
    group = keys.groupby(list(keys), sort=False).ngroup().to_numpy() if len(keys) else np.zeros(0, np.int64)
    first = errors.assign(group=group).drop_duplicates("group").drop(columns="group").reset_index(drop=True)
    by = errors.groupby(group, sort=False)
    return first.assign(
        reports=by.size().to_numpy(),
        last=by["time"].max().to_numpy(),
        processes=_each_once(group, errors["process"]),
        threads=_each_once(group, errors["thread"]),
    )


def _each_once(group: NDArray[np.int64], values: pd.Series) -> list[tuple[int, ...]]:
    """Those of each group, in their order."""
    pairs = pd.DataFrame({"group": group, "value": values.to_numpy()}).drop_duplicates()
    pairs = pairs.sort_values("group", kind="stable")
    ends = np.cumsum(np.bincount(pairs["group"])) if len(pairs) else np.zeros(0, np.int64)
    every = pairs["value"].tolist()
    return [tuple(every[begin:end]) for begin, end in zip([0, *ends[:-1].tolist()], ends.tolist())]


def _known(table: pd.DataFrame, stacks: Stacks, known: Suppressions) -> NDArray[np.int64]:
    found = np.full(len(table), NOBODY, np.int64)
    for kind in table["error"].unique().tolist():
        rows = np.flatnonzero(table["error"] == kind)
        for column in _STACKS:
            of = known.of(stacks, table[column].to_numpy(np.int64)[rows], kind=kind)
            found[rows] = np.where(found[rows] == NOBODY, of, found[rows])
    return found
