"""`ctl`: a running program is asked, or changed."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from poireau import asking, ctl
from poireau.errors import REFUSED, USAGE, Failure


def add_to(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    verb = verbs.add_parser(
        "ctl",
        help="ask or change a running program",
        usage="poireau ctl [--json] [--wait SECONDS] [--to DIR] PID VERB [NAME [VALUE]]...",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Has a program that has the library preloaded do one of these, at its next sample:\n\n"
        + "\n".join(f"  {name:<8}  {each.help}" for name, each in ctl.VERBS.items()),
        epilog="A change that it has not made in time stays queued. Exit status: 0 done or queued, 1 refused,\n"
        "2 not preloaded (or wrong use), 3 no answer in time.",
    )
    verb.add_argument("pid", metavar="PID", type=asking.pid)
    verb.add_argument("verb_of_it", metavar="VERB", choices=tuple(ctl.VERBS), help="what to do")
    verb.add_argument("words", metavar="NAME", nargs="*", default=[], help="get NAME; set NAME VALUE [NAME VALUE]...")
    verb.add_argument("--json", action="store_true", help="the answers, for a program to read")
    verb.add_argument("--wait", metavar="SECONDS", type=asking.seconds, help="for the answer, however idle it is")
    verb.add_argument("--to", metavar="DIR", type=Path, help="with snapshot: make DIR, a trace of what is alive")
    verb.set_defaults(act=_act)


def _act(parsed: argparse.Namespace) -> int:
    from poireau import snapshot

    requests = ctl.requests_of(parsed.verb_of_it, parsed.words)
    if parsed.to is not None:
        if parsed.verb_of_it != "snapshot":
            raise Failure("--to goes with snapshot", USAGE)
        snapshot.check_target(parsed.to)
    outcome = ctl.ask(parsed.pid, requests, parsed.wait, must_answer=parsed.to is not None)
    kept = ctl.keep_snapshot(outcome, parsed.to) if parsed.to is not None and not outcome.refusals else None
    if parsed.json:
        asking.write_json(ctl.as_json("poireau.ctl", outcome))
    else:
        for request, answer in zip(requests, outcome.answers):
            sys.stdout.write(ctl.text_of(request, answer, outcome.process))
    if kept is not None:
        print(kept, file=sys.stderr if parsed.json else sys.stdout)
    return report(outcome)


def report(outcome: ctl.Outcome) -> int:
    """What came of it, beside its answers."""
    for refusal in outcome.refusals:
        asking.complain(refusal)
    if outcome.waiting is not None:
        print(ctl.queued(outcome), file=sys.stderr)
    return REFUSED if outcome.refusals else 0
