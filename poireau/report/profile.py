"""What profiles are written from: sums by stack, and what the stacks' frames are called. All that this layer's writers
of profiles know of a heap."""

from __future__ import annotations

import bisect
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from poireau.model import Heap
from poireau.naming import addresses
from poireau.report.sums import Sums, sums
from poireau.selection import Selection, expression
from poireau.stacks import Stacks, begins_of, runs
from poireau.tables import EVERY, Names, Tables
from poireau.windows import window_of

Rows = NDArray[np.int64]
Place = tuple[int, int, int]  # of a module: what its addresses are shifted by, where it begins, where it ends
MOST_TOLD, MOST_LOSSES = 8, 50
MOST = 1 << 47  # addresses below are a program's; what is not known to be anywhere gets a place beyond


@dataclass(frozen=True)
class Profile:
    """Stacks and frames have the numbers that they have in `tables`."""

    tables: Tables
    names: Names
    lines: Stacks  # of each frame, as if it were a stack; what is hidden is not there
    sums: Sums
    processes: pd.DataFrame
    threads: Mapping[tuple[int, int], str]  # process, thread -> name
    told: Mapping[int, Place]  # of those modules of which it is known
    since: int
    until: int
    period: tuple[int, bool]  # that most samples were drawn with, and whether it counts calls
    comments: tuple[str, ...]

    @cached_property
    def calls(self) -> tuple[Rows, Rows, Rows]:
        """Of each stack, its frames that are not all hidden: where they begin, where they end, and they."""
        frames = np.asarray(self.tables.stack_frames, np.int64)
        shown = (self.lines.ends > self.lines.begins)[frames]
        ends = np.concatenate([[0], np.cumsum(shown)])[np.asarray(self.tables.stack_ends, np.int64)]
        return begins_of(ends), ends, frames[shown]

    @cached_property
    def frames(self) -> Rows:
        """Those that are in a stack of `sums`."""
        begins, ends, frames = self.calls
        stacks = np.unique(self.sums.keys["stack"])
        return np.unique(frames[runs(begins[stacks], ends[stacks] - begins[stacks])])

    @cached_property
    def places(self) -> dict[int, Place]:
        """Of each module of `frames`; the programs' own come first. 0 is what lies in no module."""
        module_of = np.asarray(self.tables.frame_module, np.int64)[self.frames]
        address_of = np.asarray(self.tables.frame_address, np.uint64)[self.frames]
        programs = set(self.processes["executable"])
        modules = np.unique(module_of[module_of > 0]).tolist()
        found: dict[int, Place] = {0: (0, 0, 0)}
        begin = MOST
        for module in sorted(modules, key=lambda each: self.tables.modules[each].path not in programs):
            end = begin + int(address_of[module_of == module].max()) + 1
            found[module] = self.told.get(module) or (begin, begin, end)
            begin = max(begin, found[module][2] + (1 << 20) & -1 << 20)
        return found


def profile(heap: Heap, selection: Selection, less: bool = False) -> Profile:
    """`less`: of what is in use, only what has come or gone since selection.since."""
    found = sums(heap, selection, less)
    tables = heap.tables
    names = names_of(heap, frames_of(tables, found.keys["stack"]))
    stacks, lines = Stacks.of(tables, names), Stacks.of(one_each(tables), names)
    found = found.take(stacks.chosen(selection.focus, selection.ignore)[found.keys["stack"]])
    if selection.hide:
        lines = lines.without(lines.found(expression(selection.hide, "hide")))
    periods = found.periods
    period = max(periods, key=lambda each: (periods[each], each), default=(0, False))
    return Profile(
        tables,
        names,
        lines,
        found,
        heap.processes,
        thread_names(heap),
        places(heap),
        *window_of(heap, selection),
        period,
        tuple(comments(heap)),
    )


def one_each(tables: Tables) -> Tables:
    """A stack of its own for each frame, of the same number."""
    count = len(tables.frame_module)
    return replace(tables, stack_ends=np.arange(1, count + 1), stack_frames=np.arange(count))


def frames_of(tables: Tables, stacks: NDArray[Any]) -> Rows:
    ends = np.asarray(tables.stack_ends, np.int64)
    begins, stacks = begins_of(ends), np.unique(stacks)
    return np.unique(np.asarray(tables.stack_frames, np.int64)[runs(begins[stacks], ends[stacks] - begins[stacks])])


def names_of(heap: Heap, frames: NDArray[Any]) -> Names:
    return heap.names(frames) or addresses(heap.tables)


def thread_names(heap: Heap) -> dict[tuple[int, int], str]:
    threads = heap.threads
    return dict(zip(zip(threads["process"].tolist(), threads["thread"].tolist()), threads["name"].tolist()))


def places(heap: Heap) -> dict[int, tuple[int, int, int]]:
    """In the process that told of it first; but where two modules would overlap, only the one that was told first."""
    numbers = {(module.path, module.build_id): number for number, module in enumerate(heap.tables.modules)}
    found: dict[int, tuple[int, int, int]] = {}
    taken: list[tuple[int, int]] = []
    for row in heap.modules.itertuples():
        module = numbers.get((row.path, row.build_id))
        begin, end = int(row.begin), int(row.begin) + int(row.size)
        if module is None or module in found or not 0 < begin < end < MOST:
            continue
        at = bisect.bisect(taken, (begin, end))
        if (at and taken[at - 1][1] > begin) or (at < len(taken) and taken[at][0] < end):
            continue
        taken.insert(at, (begin, end))
        found[module] = (int(row.base), begin, end)
    return found


def comments(heap: Heap) -> Iterator[str]:
    """What a reader has to know, and formats have no place for."""
    for _, row in heap.processes.head(MOST_TOLD).iterrows():
        program = os.path.basename(str(row["executable"])) or "?"
        yield f"process {row['pid']}: {program} on {row['host'] or '?'}, over {row['allocator'] or '?'}"
    if len(heap.processes) > MOST_TOLD:
        yield f"and {len(heap.processes) - MOST_TOLD} more processes"
    yield "values are estimates from samples"
    for loss in heap.losses[:MOST_LOSSES]:
        whose = "" if loss.process == EVERY else f" (process {heap.processes['pid'].get(loss.process, '?')})"
        yield f"lost: {loss.count} {loss.cause}{whose}"
    if len(heap.losses) > MOST_LOSSES:
        yield f"and {len(heap.losses) - MOST_LOSSES} more kinds of losses"
