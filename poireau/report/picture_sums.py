"""All that a picture is made of, in one look at the lives: what each stack had, in every view, and when.

The views are those of views.py, told by the same estimators: in use, allocated, freed, at the peak, byte-seconds and
the average. What leaks is what is in use of the sites that leaks.py finds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from poireau import estimates, leak_verdicts, leaks, naming, views, windows
from poireau.errors import USAGE, Failure
from poireau.estimate import Estimate
from poireau.estimates import Estimates, nothing
from poireau.grouping import COLUMNS, VALUES, Codes, Groups, Numbering, count_periods
from poireau.model import ALIVE, NEVER, Heap
from poireau.report.picture_cells import Cells, Gathering, edges_between
from poireau.selection import Selection, check, clock, expression
from poireau.stacks import Stacks
from poireau.windows import Flags

BINS = 240
VIEWS = ("in-use", "allocated", "freed", "leaked", "peak", "byte-seconds", "average")
_MOST_JUDGED = 100_000  # lives among which leaks are looked for while a picture is made, unless they are asked for
_PART = 1 << 20  # lives at a time
_COLUMNS = ("size", "period", "by_calls", "born", "died")
Periods = Mapping[tuple[int, bool], int]  # (period, whether it counts calls) -> samples
Mask = Callable[[Any, NDArray[np.int64]], Flags]  # of lives, and when they are gone


@dataclass(frozen=True)
class Told:
    """A view: a row a stack, as `numbers` of Gathered has them."""

    bytes: Estimates
    count: Estimates
    note: str = ""
    counted: Estimate | None = None  # all bytes, where they are known better than by the rows


@dataclass(frozen=True)
class Gathered:
    stacks: Stacks
    numbers: Codes  # of the stacks that there are
    views: Mapping[str, Told]
    cells: Mapping[tuple[str, ...], tuple[Mapping[str, Codes], Cells]]  # keys of lives: who there is, and their cells
    since: int
    until: int
    periods: Periods
    selection: Selection
    complaints: tuple[str, ...] = ()

    @property
    def samples(self) -> int:
        return sum(self.periods.values())

    def groups(self, by: str) -> tuple[Groups, Cells]:
        """By what `gather` was told: groups, and cells whose rows they are."""
        keys, cells = self.cells[COLUMNS[by]]
        sums = cells.sums.grouped(cells.row, len(next(iter(keys.values()))))
        return Groups(keys, sums, sums, self.periods), cells


def gather(
    heap: Heap,
    selection: Selection,
    asked: str = "in-use",
    wanted: Sequence[str] = VIEWS,
    bys: Sequence[str] = ("stack",),
    bins: int = BINS,
) -> Gathered:
    """`asked`, if anything, and the `wanted`: of views.WHATS, and leaked. `bys`: there are cells by these, of BYS."""
    check(selection)
    wanted = tuple(dict.fromkeys((*wanted, *filter(None, [asked]))))
    if not set(wanted) <= {*VIEWS, *views.WHATS} or not set(bys) <= {*COLUMNS}:
        raise Failure(f"what is one of {', '.join((*views.WHATS, 'leaked'))}; by, one of {', '.join(COLUMNS)}", USAGE)
    since, until = windows.window_of(heap, selection)
    until = max(until, since + 1)
    stacks, numbers, chosen = _stacks(heap, selection)
    row_of = np.full(len(stacks), -1)
    row_of[numbers] = np.arange(len(numbers))
    masks, notes = _masks(heap, selection, since, until, chosen, wanted)
    sums = {name: (nothing(len(numbers)), nothing(len(numbers))) for name in masks}
    edges = edges_between(since, until, bins)
    cells = {COLUMNS[by]: (Numbering(COLUMNS[by]), Gathering(edges)) for by in bys}
    periods: dict[tuple[int, bool], int] = {}
    for lives in _lives(heap, selection, chosen):
        gone, rows = windows.gone(heap, lives), row_of[lives["stack"]]
        columns = {name: lives[name].to_numpy() for name in _COLUMNS}
        for name, (of_bytes, of_count) in sums.items():
            some = masks[name](lives, gone)
            part = {each: column[some] for each, column in columns.items()} | {"died": gone[some]}
            what, window = ("byte_seconds", (since, until)) if name == "byte-seconds" else ("bytes", None)
            sums[name] = (
                of_bytes + _of(rows[some], len(numbers), part, what, window),
                of_count + _of(rows[some], len(numbers), part, "count", None),
            )
        there = _there(since, until)(lives, gone)
        part = {each: column[there] for each, column in columns.items()}
        count_periods(periods, part)
        seen_born = ~lives["late"].to_numpy()[there] & (selection.since is None)
        for names, (numbering, gathering) in cells.items():
            codes = numbering.of({name: VALUES[name](lives)[there] for name in names})
            gathering.add(codes, part, gone[there], seen_born)
    told = {name: Told(*each, notes.get(name, "")) for name, each in sums.items()}
    found = Gathered(
        stacks, numbers, told, {names: (each[0].rows(), each[1].cells()) for names, each in cells.items()},
        since, until, periods, selection,
    )  # fmt: skip
    return _derived(heap, found, wanted, asked)


def _stacks(heap: Heap, selection: Selection) -> tuple[Stacks, Codes, Flags]:
    """With names, without what is hidden; which there are of those that the selection is about; and of each, whether it
    is."""
    parts = [pd.unique(lives["stack"]) for lives in windows.lives_of(heap, selection)]
    numbers = np.sort(pd.unique(np.concatenate([np.zeros(0, np.int64), *parts]).astype(np.int64)))
    stacks = naming.stacks_of(heap, np.append(0, numbers))
    chosen = np.ones(len(stacks), np.bool_)
    if selection.focus or selection.ignore:
        chosen = stacks.chosen(selection.focus, selection.ignore)
    if selection.hide:
        stacks = stacks.without(stacks.found(expression(selection.hide, "hide")))
    return stacks, numbers[chosen[numbers]], chosen


def _lives(heap: Heap, selection: Selection, chosen: Flags) -> Iterator[Any]:
    """In parts that are worth it."""
    every = bool(chosen.all())
    waiting: list[Any] = []
    for lives in windows.lives_of(heap, selection):
        waiting.append(lives if every else lives[chosen[lives["stack"]]])
        if sum(map(len, waiting)) > _PART:
            yield pd.concat(waiting)
            waiting = []
    if sum(map(len, waiting)):
        yield pd.concat(waiting)


def _masks(
    heap: Heap, selection: Selection, since: int, until: int, chosen: Flags, wanted: Sequence[str]
) -> tuple[dict[str, Mask], dict[str, str]]:
    """Which lives count in each view that is told from lives alone; and what else there is to be known of it."""
    # A process's first sample was born before anything was written.
    first = -NEVER if selection.since is None else since
    masks: dict[str, Mask] = {
        "in-use": lambda lives, gone: windows.alive(lives, until, gone),
        "allocated": lambda lives, gone: windows.born(lives, first, until),
        "freed": lambda lives, gone: ((lives["died"] >= since) & (lives["died"] < until)).to_numpy(),
        "byte-seconds": _there(since, until),
    }
    notes = {}
    if selection.until is None:
        masks["in-use"] = lambda lives, gone: (lives["fate"] == ALIVE).to_numpy()
        if len(heap.processes) > 1:
            notes["in-use"] = "what each process had last"
    if "peak" in wanted:
        at, _ = windows.peak(heap, selection, None if chosen.all() else chosen)
        masks["peak"] = lambda lives, gone: np.asarray((lives["born"] <= at) & (gone > at))
        notes["peak"] = f"at {clock(at)}, when most was in use"
    needed = {"average": "byte-seconds", "leaked": "in-use"}
    kept = {needed.get(name, name) for name in wanted}
    return {name: mask for name, mask in masks.items() if name in kept}, notes


def _there(since: int, until: int) -> Mask:
    return lambda lives, gone: np.asarray((lives["born"] < until) & (gone > since))


def _of(rows: Codes, count: int, lives: Any, what: str, window: tuple[int, int] | None) -> Estimates:
    found = estimates.grouped(rows, count, lives, what, window=window)
    found.unit[found.samples == 0] = 0  # others may be known of it
    return found


def _derived(heap: Heap, found: Gathered, wanted: Sequence[str], asked: str) -> Gathered:
    """With the views that others tell."""
    told, complaints = dict(found.views), found.complaints
    if "allocated" in told:
        groups = Groups({"stack": found.numbers}, told["allocated"].bytes, told["allocated"].count, found.periods)
        told["allocated"] = replace(told["allocated"], counted=views.better_known(heap, found.selection, groups))
    if "average" in wanted:
        length = 1e9 / (found.until - found.since)
        told["average"] = replace(told["byte-seconds"], bytes=_times(told["byte-seconds"].bytes, length))
    if "leaked" in wanted:
        told["leaked"] = _leaked(heap, found, asked == "leaked")
    for what in ("resident", "temporary"):
        if what in wanted:
            answer = views.view(heap, what, "stack", found.selection)
            assert answer.groups is not None
            rows = np.searchsorted(found.numbers, answer.groups.keys["stack"])
            of_bytes, of_count = (
                each.grouped(rows, len(found.numbers)) for each in (answer.groups.bytes, answer.groups.count)
            )
            told[what], complaints = Told(of_bytes, of_count), complaints + answer.complaints
    order = [name for name in (*VIEWS, "resident", "temporary") if name in wanted]
    return replace(found, views={name: told[name] for name in order}, complaints=complaints)


def _times(sums: Estimates, factor: float) -> Estimates:
    value, seen, unit = (column * factor for column in (sums.value, sums.seen, sums.unit))
    return Estimates(value, sums.variance * factor**2, sums.third * factor**3, seen, sums.samples, unit)


def _leaked(heap: Heap, found: Gathered, asked: bool) -> Told:
    """What is in use of sites that leak."""
    of = found.views["in-use"]
    leaky = np.zeros(len(found.stacks), np.bool_)
    if (found.until - found.since) / 1e9 < leak_verdicts.SOON:
        note = leak_verdicts.too_early((found.until - found.since) / 1e9)
    elif found.samples > _MOST_JUDGED and not asked:
        note = f"not looked for in so many as {found.samples:,} samples: --what leaked and poireau leaks do"
    else:
        answer = leaks.find(heap, found.selection)
        note = answer.too_early or "of what grows and stays: poireau leaks says why"
        assert answer.lives is not None and answer.sites is not None
        theirs = answer.lives.alive & np.isin(answer.sites, answer.found["site"])
        leaky[answer.lives["stack"][theirs]] = True
    rows = leaky[found.numbers]
    return Told(_only(of.bytes, rows), _only(of.count, rows), note)


def _only(sums: Estimates, rows: Flags) -> Estimates:
    return Estimates(*(np.where(rows, getattr(sums, each.name), 0) for each in fields(sums)))
