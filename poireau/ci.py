"""`check`: what several runs of a command say together. Its definitions:

An *error* is a memory error, those of one line and kind with blocks of one line taken together (misuse.py), in
whichever run. A *leak* is a source line that asked for blocks which were lost: alive where its process was about to
end, before any exit handler, pointed at by nothing in two scans, and not freed after that either. What it amounts to
is the estimated bytes of such blocks in a run: the mean of all runs, with its 95 % interval; suppressed ones don't
count.

A line whose blocks were lost in less than `share` of the runs is *flaky*, told and not counted, unless so few of its
blocks are sampled that chance alone may have left them out: then a run in which it is not seen says nothing. With k
samples in n runs a run has none with probability exp(-k/n).

The check fails if the command fails in any run; if there are more errors than allowed; if leaks surely are more than
allowed, that is, if the lower end of the interval is.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from poireau import misuse, naming, opening
from poireau.ci_run import Run
from poireau.estimate import Estimate
from poireau.estimates import Estimates
from poireau.grouping import Part, gather
from poireau.misuse import Misuse
from poireau.model import ALIVE, Heap
from poireau.preamble import Preamble
from poireau.report import errors, words
from poireau.report.problems import Frames, Problem
from poireau.selection import Selection
from poireau.suppressions import ERRORS, LEAK, NOBODY, Suppressions
from poireau.symbols import Settings
from poireau.views import estimate_of, figures

BY_CHANCE = 0.05


@dataclass(frozen=True)
class Limits:
    errors: int = 0
    leak: int = 0  # bytes a run
    share: float = 0.5


@dataclass(frozen=True)
class Leak:
    problem: Problem
    bytes: Estimate  # a run
    count: Estimate
    runs: int  # in which it was seen
    counts: bool  # False: flaky


@dataclass(frozen=True)
class Check:
    command: Sequence[str]
    runs: Sequence[Run]
    limits: Limits
    errors: Sequence[Problem]
    leaks: Sequence[Leak]
    leaked: Estimate  # bytes a run of those that count
    preamble: Preamble | None  # None: nothing was sampled
    not_looked_at: Sequence[str]  # processes
    suppressed: int
    news: Sequence[str]  # of suppressions

    @property
    def looked_for_leaks(self) -> bool:
        return all(run.held for run in self.runs)

    @property
    def scanned(self) -> int:
        """Processes."""
        return sum(not each.failure for run in self.runs for each in run.looked)

    @property
    def unseen(self) -> list[str]:
        """Why processes could not be scanned."""
        return list(dict.fromkeys(each.failure for run in self.runs for each in run.looked if each.failure))

    @property
    def failed_runs(self) -> list[int]:
        return [number for number, run in enumerate(self.runs, 1) if run.status != 0]

    @property
    def too_many_errors(self) -> bool:
        return len(self.errors) > self.limits.errors

    @property
    def too_much_leaked(self) -> bool:
        return self.leaked.low > self.limits.leak

    @property
    def failed(self) -> bool:
        return bool(self.failed_runs) or self.too_many_errors or self.too_much_leaked


def of(
    command: Sequence[str],
    runs: Sequence[Run],
    limits: Limits,
    known: Suppressions,
    settings: Settings | None = None,
) -> Check:
    """`settings`: where names are looked for."""
    directories = [str(run.directory) for run in runs if _has_traces(run.directory)]
    nothing = Estimate(0.0, 0.0, 0.0, 0, 0.0)
    if not directories:
        return Check(command, runs, limits, (), (), nothing, None, (), 0, ())
    heap = opening.open(directories, bar=False, settings=settings)
    run_of = _runs(heap, runs)
    found = misuse.with_profile(heap, misuse.find(heap, known=known))
    problems = [_with_runs(problem, row, run_of, len(runs)) for problem, row in zip(*_told(heap, found))]
    leaks, leaked, used = _leaks(heap, runs, run_of, limits, known)
    looked = {os.path.realpath(each.trace) for run in runs for each in run.looked if not each.failure}
    left_out = [
        f"{os.path.basename(path) or '?'}[{pid}]"
        for path, pid, source in zip(heap.processes["executable"], heap.processes["pid"], heap.processes["source"])
        if os.path.realpath(source) not in looked and all(run.held for run in runs)
    ]
    kinds = [*([LEAK] if all(run.held for run in runs) else []), *ERRORS]
    news = known.news([*found.table["known"].tolist(), *used], kinds)
    suppressed = len(found.table) - len(found.news) + sum(1 for rule in set(used) if rule != NOBODY)
    preamble = Preamble.of(heap, Selection(), found.periods, found.stacks)
    return Check(command, runs, limits, problems, leaks, leaked, preamble, left_out, suppressed, news)


def learnable(check: Check) -> pd.DataFrame:
    """Leaks that count, as suppressions.learn takes them."""
    rows = [(leak.problem.where, leak.bytes.high) for leak in check.leaks if leak.counts]
    return pd.DataFrame(
        [(where.function, high, "", 0) for where, high in rows if where is not None],
        columns=["function", "bytes_high", "known", "place"],
    )


def _has_traces(directory: Path) -> bool:
    return directory.is_dir() and any((each / "metadata").is_file() for each in directory.iterdir())


def _runs(heap: Heap, runs: Sequence[Run]) -> Mapping[int, int]:
    """The run of each process."""
    of_directory = {os.path.realpath(run.directory): number for number, run in enumerate(runs)}
    sources = heap.processes["source"]
    return {number: of_directory[os.path.dirname(os.path.realpath(path))] for number, path in sources.items()}


def _told(heap: Heap, found: Misuse) -> tuple[list[Problem], list[dict[str, object]]]:
    return errors.problems_of(heap, found), found.news.to_dict("records")


def _with_runs(problem: Problem, row: Mapping[str, object], run_of: Mapping[int, int], runs: int) -> Problem:
    seen = len({run_of[process] for process in row["processes"]})  # type: ignore[attr-defined]
    notes = (*problem.notes, *([f"seen in {seen} of {runs} runs"] if runs > 1 else []))
    return replace(problem, notes=notes, facts={**problem.facts, "runs": seen})


def _leaks(
    heap: Heap, runs: Sequence[Run], run_of: Mapping[int, int], limits: Limits, known: Suppressions
) -> tuple[list[Leak], Estimate, list[int]]:
    lives = _lost(heap, runs)
    groups = gather([Part(lives)], ("stack",))
    a_run = [_a_run(sums, len(runs)) for sums in (groups.bytes, groups.count)]
    groups = replace(groups, bytes=a_run[0], count=a_run[1])
    if not len(groups):
        return [], groups.bytes.sum(), []
    stacks = naming.stacks_of(heap, groups.keys["stack"])
    used = known.of(stacks, groups.keys["stack"], groups.bytes.low)
    groups = groups.take(used == NOBODY)
    lives = lives[lives["stack"].isin(groups.keys["stack"])]
    keyed = naming.keyed(heap, groups, "line", stacks)
    count = len(keyed.table)
    of_bytes, of_count = groups.bytes.grouped(keyed.rows, count), groups.count.grouped(keyed.rows, count)
    row_of = pd.Series(keyed.rows, index=groups.keys["stack"])
    row = row_of.loc[lives["stack"]].to_numpy()
    run = lives["process"].map(run_of).to_numpy()
    seen = np.bincount(np.unique(row * len(runs) + run) // len(runs), minlength=count)
    exact = bool((lives["period"] <= 1).all())
    counts = np.array(
        [_counts(int(s), int(k), len(runs), limits.share, exact) for s, k in zip(seen, of_bytes.samples)], bool
    )
    total = of_bytes.take(counts).sum()
    table = keyed.table.assign(**figures("bytes", of_bytes), **figures("count", of_count), samples=of_bytes.samples)
    frames = Frames(stacks)
    leaks = []
    for number in np.lexsort((-of_bytes.value, ~counts)).tolist():
        if not seen[number]:  # only passed through
            continue
        there = table.iloc[number]
        parts = (estimate_of(there), estimate_of(there, "count"), int(seen[number]), bool(counts[number]))
        leaks.append(Leak(_problem(frames, int(there["stack"]), len(runs), *parts), *parts))
    return leaks, total, used.tolist()


def _lost(heap: Heap, runs: Sequence[Run]) -> pd.DataFrame:
    """Lives that were lost, and have not been freed since."""
    number_of = {os.path.realpath(path): number for number, path in heap.processes["source"].items()}
    parts = []
    alive = heap.live()
    for run in runs:
        for each in run.looked:
            process = number_of.get(os.path.realpath(each.trace))
            if process is not None and len(each.lost):
                own = alive[(alive["process"] == process) & (alive["fate"] == ALIVE)]
                parts.append(own[own["id"].isin(each.lost)])
    return pd.concat(parts, ignore_index=True) if parts else alive.iloc[:0]


def _a_run(sums: Estimates, runs: int) -> Estimates:
    """The mean of so many."""
    return Estimates(
        sums.value / runs,
        sums.variance / runs**2,
        sums.third / runs**3,
        sums.seen / runs,
        sums.samples,
        sums.unit / runs,
    )


def _counts(seen: int, samples: int, runs: int, share: float, exact: bool) -> bool:
    if seen >= share * runs:
        return True
    if exact:
        return False
    p = -math.expm1(-samples / runs)  # that a run has a sample, if all leak alike
    by_chance = sum(math.comb(runs, k) * p**k * (1 - p) ** (runs - k) for k in range(seen + 1))
    return by_chance > BY_CHANCE


def _problem(
    frames: Frames, stack: int, runs: int, bytes: Estimate, count: Estimate, seen: int, counts: bool
) -> Problem:
    often = f" a run, in {seen} of {runs} runs" if runs > 1 else ""
    amount = f"{words.whole(bytes)} in {words.whole(count, words.number)} block{'s' * (count.value != 1)}"
    title = f"{'leak' if counts else 'flaky leak'}: {amount}{often}"
    return Problem(
        "leak",
        title,
        (frames.stack("allocated, and nothing points at it any more", stack),),
        () if counts else ("in too few runs to count: what varies from run to run is told apart",),
        {"bytes": bytes.as_json(), "count": count.as_json(), "runs": seen, "counts": counts},
    )
