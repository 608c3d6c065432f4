"""`dangling`: who still points at freed blocks."""

from __future__ import annotations

import argparse

from poireau import asking
from poireau.errors import REFUSED, USAGE, Failure


def add_to(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    verb = verbs.add_parser(
        "dangling",
        help="who still points at freed blocks",
        description="Has a running program in which every block is protected (run --protect all) search its memory for "
        "pointers at blocks that it has freed, and lists these blocks and where the pointers lie: a global variable, "
        "a thread's stack, another block. A pointer that is never used does no harm, and a number may look like one; "
        "but every use after free begins with one. Blocks that were closed together with all their neighbours are not "
        "looked for: nothing is ever placed where they were.",
        epilog="Without PID: the only such program. Exit status: 0; 1 refused, 3 no answer in time.",
    )
    verb.add_argument("pid", metavar="PID", nargs="?", type=asking.pid, help="of the program")
    verb.add_argument("--json", action="store_true", help="the same for a program to read")
    verb.add_argument("--wait", metavar="SECONDS", type=asking.seconds, help="for the answer, however idle it is")
    verb.set_defaults(act=_act, reads_traces=True)


def _act(parsed: argparse.Namespace) -> int:
    from poireau import ctl, figures, scan_dangling
    from poireau.control import Request
    from poireau.scan_library import Gone

    pid = _only() if parsed.pid is None else parsed.pid
    outcome = ctl.ask(pid, [Request("holders")], parsed.wait, must_answer=True)
    if outcome.refusals:
        raise Failure("; ".join(outcome.refusals), REFUSED)
    answer = outcome.answers[0]
    try:
        found = scan_dangling.of(answer, scan_dangling.place(pid))
    except (Gone, OSError) as error:
        raise Failure(f"process {pid} has ended", USAGE) from error
    more = figures.number(answer, "more")
    if parsed.json:
        asking.write_json(scan_dangling.as_json(pid, found, more, figures.number(answer, "swept_bytes")))
    else:
        asking.write_lines(scan_dangling.lines(found, more))
    return 0


def _only() -> int:
    from poireau import figures, ps

    protected = [
        row.process for row in ps.survey().rows if row.stats is not None and figures.group(row.stats, "protection")
    ]
    if len(protected) == 1:
        return protected[0].pid
    there = ", ".join(f"{process.program}[{process.pid}]" for process in protected)
    raise Failure(f"which program? There is {there or 'none in which every block is protected'}", USAGE)
