"""What held memory when a process ended, from what it left behind: what there was at its end, what grew before, what
leaks, its errors, how it ended, and where its resident memory went. Of one that runs, the same as of now.

Of several processes it is about the one that had most; all others are counted.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from poireau import autopsy_end, autopsy_rss, diff, estimates, leaks, misuse, resident
from poireau.autopsy_end import End, Log
from poireau.autopsy_rss import Rss
from poireau.diff import Diff
from poireau.errors import USAGE, Failure
from poireau.estimate import Estimate
from poireau.leaks import Leaks
from poireau.misuse import Misuse
from poireau.model import Heap
from poireau.preamble import Preamble
from poireau.selection import Selection
from poireau.views import View, view

SECOND = 10**9
WINDOWS = ((3600, "hour"), (60, "minute"))


@dataclass(frozen=True)
class Growth:
    seconds: float
    diff: Diff


@dataclass(frozen=True)
class Autopsy:
    process: int
    others: int  # processes of the same heap
    begin: int
    end: End
    preamble: Preamble
    used: View  # at the end, by line
    peak: Estimate
    peak_at: int
    grown: tuple[Growth, ...]  # the longest window first
    leaks: Leaks
    errors: Misuse
    rss: Rss
    group: tuple[str, ...]  # what its control group says

    @property
    def homeless(self) -> tuple[int, float] | None:
        """How many samples found no room, and the bytes that they stand for; None: all had some."""
        count = sum(count for cause, count in self.preamble.lost.items() if cause.startswith("no home"))
        often = max((p for p in self.preamble.periods if not p[1]), key=self.preamble.periods.__getitem__, default=None)
        return (count, float(count * often[0])) if count and often else None


def of(heap: Heap, selection: Selection, log: Log | None = None) -> Autopsy:
    """Raises Failure."""
    process, others = _process(heap, selection)
    only = replace(selection, processes=(process,))
    row = heap.processes.loc[process]
    pid = resident.pids(heap.processes).get(process)
    end = autopsy_end.of(heap, process, pid is not None, autopsy_end.kernel_log() if log is None else log)
    rss = autopsy_rss.where_did_rss_go(heap, process, end.killed)  # first: who runs goes on while we look
    used = view(heap, "in-use", "line", only)
    peak_at, lives = _peak(heap, only)
    group = autopsy_end.group_of(pid) if pid is not None else None
    return Autopsy(
        process,
        others,
        int(row["begin"]),
        end,
        Preamble.of(heap, only, used.periods, used.stacks),
        used,
        lives,
        peak_at,
        tuple(_grown(heap, only, int(row["begin"]), int(row["end"]))),
        leaks.find(heap, only),
        misuse.find(heap, only),
        rss,
        tuple(autopsy_end.of_group(group)) if group is not None else (),
    )


def _process(heap: Heap, selection: Selection) -> tuple[int, int]:
    numbers = list(selection.processes or heap.processes.index)
    if not numbers:
        raise Failure("there is no process in it: nothing was sampled", USAGE)
    if len(numbers) == 1:
        return int(numbers[0]), 0
    lives = heap.live()
    lives = lives[lives["process"].isin(numbers)]
    at = np.searchsorted(np.sort(numbers), lives["process"].to_numpy())
    sums = estimates.grouped(at, len(numbers), lives)
    return int(np.sort(numbers)[int(np.argmax(sums.value))]), len(numbers) - 1


def _peak(heap: Heap, selection: Selection) -> tuple[int, Estimate]:
    at, lives = heap.peak(lambda rows: np.isin(rows["process"], selection.processes))
    return at, estimates.total(lives)


def _grown(heap: Heap, selection: Selection, begin: int, end: int) -> Any:
    """In the last hour and minute; in the second half of what was shorter."""
    lasted = (end - begin) / SECOND
    windows = [float(seconds) for seconds, _ in WINDOWS if seconds < lasted] or [lasted / 2]
    for seconds in windows:
        before = end + 1 - max(int(seconds * SECOND), 1)
        yield Growth(seconds, diff.of_moments(heap, before, end + 1, "line", selection))
