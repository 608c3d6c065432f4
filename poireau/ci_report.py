"""What `check` has found: in words, as JSON, as JUnit's test cases and as problems for SARIF."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import Any

from poireau.ci import Check
from poireau.report import problems, words
from poireau.report.junit import Case
from poireau.report.objects import VERSION
from poireau.report.problems import Problem
from poireau.report.text import BOLD, RED, Style
from poireau.text import as_size, plain

SCHEMA = "poireau.check"


def text(check: Check, style: Style, frames: int | None = problems.FRAMES) -> Iterator[str]:
    if check.preamble is not None:
        yield from check.preamble.lines()
        yield ""
    yield from problems.all_of([*check.errors, *(leak.problem for leak in check.leaks)], style, frames)
    for case in _parts(check):
        failed = f"FAILED: {case.failure}" if case.failure else f"ok: {case.name.partition(': ')[2]}"
        name = case.name.partition(":")[0]
        yield style.paint(f"{name:<8} {failed}", f"{BOLD};{RED}" if case.failure else "")
    if check.suppressed:
        yield f"{check.suppressed} suppressed"
    if check.not_looked_at and len(check.not_looked_at) < 9:
        yield f"not scanned for leaks: {', '.join(map(plain, check.not_looked_at))} (ended otherwise than by exit)"
    elif check.not_looked_at:
        yield f"not scanned for leaks: {len(check.not_looked_at)} processes that ended otherwise than by exit"


def cases(check: Check) -> list[Case]:
    """Of the command, errors and leaks; and of each error and leak, if there are too many."""
    found = []
    if check.too_many_errors:
        found += [_case("poireau.errors", problem) for problem in check.errors]
    if check.too_much_leaked:
        found += [_case("poireau.leaks", leak.problem) for leak in check.leaks if leak.counts]
    return [*_parts(check), *found]


def problems_of(check: Check) -> list[Problem]:
    return [*check.errors, *(leak.problem for leak in check.leaks if leak.counts)]


def as_json(check: Check) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "version": VERSION,
        "command": list(check.command),
        "failed": check.failed,
        "of": [check.preamble.as_json()] if check.preamble is not None else [],
        "limits": vars(check.limits),
        "runs": [
            {
                "status": run.exit_status,
                "seconds": run.seconds,
                "traces": str(run.directory),
                "scanned": [
                    {
                        "process": each.program,
                        "lost": len(each.lost),
                        "reached": each.reached,
                        "seconds": each.seconds,
                        "left_out": list(each.left_out),
                    }
                    for each in run.looked
                ],
            }
            for run in check.runs
        ],
        "errors": [problems.as_json(problem) for problem in check.errors],
        "leaks": [problems.as_json(leak.problem) for leak in check.leaks],
        "leaked": check.leaked.as_json(),
        "suppressed": check.suppressed,
        "not_scanned": list(check.not_looked_at),
    }


def suite(check: Check) -> str:
    return f"poireau check: {shlex.join(check.command)}"


def _parts(check: Check) -> list[Case]:
    several = len(check.runs)
    bad = check.failed_runs
    first = check.runs[bad[0] - 1].told if bad else ""
    often = f" in {len(bad)} of {several} runs" if several > 1 else ""
    errors = f"{len(check.errors)} memory error{'s' * (len(check.errors) != 1)}, {check.limits.errors} allowed"
    scanned = check.scanned
    kept = any(leak.counts for leak in check.leaks)
    amount = words.whole(check.leaked) if kept else "nothing"
    a_run = " a run" if several > 1 else ""
    leaks = f"{amount}{a_run} lost, {as_size(check.limits.leak)} allowed"
    leaks += f" ({scanned} process{'es' * (scanned != 1)} scanned)"
    parts = [
        Case(
            "poireau.check",
            f"command: {several} run{'s' * (several != 1)}",
            f"{first}{often}" if bad else "",
            seconds=sum(run.seconds for run in check.runs),
        ),
        Case("poireau.check", f"errors: {errors}", errors if check.too_many_errors else "", _details(check.errors)),
    ]
    if check.looked_for_leaks:
        found = _details([leak.problem for leak in check.leaks])
        failure = f"can't be looked for: {check.unseen[0]}" if check.unseen else leaks if check.too_much_leaked else ""
        parts.append(Case("poireau.check", f"leaks: {leaks}", failure, found))
    return parts


def _details(found: Any) -> str:
    return "\n".join(problems.text_of(problem) for problem in found)


def _case(group: str, problem: Problem) -> Case:
    where = problem.where
    place = where.text() if where is not None else "somewhere"
    return Case(group, f"{problem.kind} {place}", problem.title, problems.text_of(problem))
