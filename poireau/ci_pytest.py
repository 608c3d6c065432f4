"""Who looks at a pytest that runs under the library, from outside: `python -m poireau.ci_pytest PID [SUPPRESSIONS]...`.

Requests are lines of JSON on stdin, answered on stdout: {"do": "set", "period": "1"}, {"do": "errors", "since": TIME},
{"do": "leaks", "times": [of each run's beginning, and of the end], "limit": "1MB"}. {"failure": ...}: it can't be done.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from poireau import ctl, misuse, naming, opening, processes, scan, suppressions
from poireau.control import Request
from poireau.errors import Failure
from poireau.model import Heap
from poireau.reached import Reached
from poireau.report import errors, problems
from poireau.report.problems import Frames, Problem
from poireau.report.text import Style
from poireau.selection import Selection
from poireau.suppressions import NOBODY, Suppressions
from poireau.text import as_size

SHARE = 0.5  # of the runs, in which a line leaves something
_WAIT = 30.0
_SHOWN = 5
_FRAMES = 10


class Looker:
    def __init__(self, pid: int, known: Suppressions) -> None:
        self._pid, self._known = pid, known
        self._heap: Heap | None = None

    def answer(self, request: Mapping[str, Any]) -> dict[str, Any]:
        if request["do"] == "set":
            outcome = ctl.ask(self._pid, [Request("set", "sample_period", request["period"])], _WAIT)
            return {"failure": outcome.refusals[0]} if outcome.refusals else {}
        if request["do"] == "errors":
            return {"errors": self._errors(request["since"])}
        return {"leaked": self._leaked(request["times"], request["limit"])}

    def _read(self) -> Heap:
        if self._heap is None:
            trace = processes.trace_of(self._pid)
            if trace is None:
                raise Failure("pytest leaves no trace")
            self._heap = opening.open(trace, follow=True, bar=False)
        self._heap.extend()
        return self._heap

    def _errors(self, since: int) -> list[str]:
        heap = self._read()
        found = misuse.find(heap, Selection(since=since), self._known)
        return [_told(problem) for problem in errors.problems_of(heap, found)]

    def _leaked(self, times: Sequence[int], limit: str) -> str:
        most = suppressions.bytes_of(limit)
        if most is None:
            raise Failure(f"limit_leaks: {limit} is no size: 1MiB, 500KB")
        heap = self._read()
        try:
            reached: Reached | None = scan.look(heap, apart=0.05)
        except Failure:
            reached = None  # where nobody may look, what is left can still be counted
        lives = heap.live()
        lives = lives[(lives["born"] >= times[0]) & (lives["born"] < times[-1])].reset_index(drop=True)
        left = _left(heap, lives, times, reached, self._known)
        total = sum(problem.facts["bytes"] for problem in left)
        if total <= most:
            return ""
        runs = len(times) - 1
        head = f"{as_size(total)} left behind a run, {as_size(most)} allowed (in {runs} runs after the first)"
        return "\n".join([head, "", *map(_told, left[:_SHOWN])])


def _told(problem: Problem) -> str:
    return "\n".join([*problems.lines(problem, Style(), _FRAMES), ""])


def _left(
    heap: Heap, lives: pd.DataFrame, times: Sequence[int], reached: Reached | None, known: Suppressions
) -> list[Problem]:
    """By the lines that asked for it, the most first."""
    if not len(lives):
        return []
    stacks = naming.stacks_of(heap, lives["stack"].unique())
    numbers = lives["stack"].to_numpy(np.int64)
    lives = lives[known.of(stacks, numbers, lives["size"].to_numpy()) == NOBODY]
    sites = stacks.sites(stacks.wrappers())[lives["stack"].to_numpy(np.int64)]
    lines = np.append(stacks.lines[stacks.places], -1)[sites]
    run = np.searchsorted(times, lives["born"].to_numpy(), "right") - 1
    rows = np.full(len(lives), -1) if reached is None else reached.rows_of(lives["process"], lives["id"])
    lost = np.zeros(len(lives), bool)
    if reached is not None:
        lost[rows >= 0] = reached.is_lost[rows[rows >= 0]]
    runs, frames, found = len(times) - 1, Frames(stacks), []
    for _, group in lives.assign(line=lines, run=run, lost=lost).groupby("line", sort=False):
        seen = group["run"].nunique()
        if seen < SHARE * runs:
            continue
        bytes, count, gone = group["size"].sum() / runs, len(group) / runs, int(group["lost"].sum())
        points = f", and nothing points at {gone} of {len(group)} any more" if reached is not None else ""
        stack = frames.stack(f"allocated in {seen} of {runs} runs{points}", int(group["stack"].iloc[0]))
        title = f"leak: {as_size(bytes)} in {count:g} block{'s' * (count != 1)} a run"
        found.append(Problem("leak", title, (stack,), facts={"bytes": float(bytes)}))
    return sorted(found, key=lambda problem: -problem.facts["bytes"])


def main(arguments: Sequence[str]) -> int:
    looker: Looker | Failure
    try:
        looker = Looker(int(arguments[0]), suppressions.read(arguments[1:]))
    except Failure as failure:
        looker = failure
    for line in sys.stdin:
        try:
            if isinstance(looker, Failure):
                raise looker
            said = looker.answer(json.loads(line))
        except Failure as failure:
            said = {"failure": str(failure)}
        print(json.dumps(said), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
