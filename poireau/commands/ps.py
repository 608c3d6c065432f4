"""`ps`: the running programs that have the library preloaded."""

from __future__ import annotations

import argparse
import sys

from poireau import asking

SECONDS = 0.3


def add_to(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    verb = verbs.add_parser(
        "ps",
        help="the running programs that have the library preloaded",
        description="Lists what is preloaded and may be spoken to: the processes of this user, or of all for root, "
        "those of other network namespaces among them. LIVE is an estimate, with a 95 % interval, of what is alive "
        "of the memory that was requested while they were armed; COST a share of their CPU time. A program answers at "
        "its next sample; one that did not in time is called idle. Where there is none, a line on standard error says "
        "so, and the exit status is 0.",
    )
    verb.add_argument("--json", action="store_true", help="all there is to know, for a program to read")
    verb.add_argument("--wait", metavar="SECONDS", type=asking.seconds, default=SECONDS, help="for answers (0.3)")
    verb.set_defaults(act=_act)


def _act(parsed: argparse.Namespace) -> int:
    import json

    from poireau import ps

    found = ps.survey(parsed.wait)
    for complaint in found.complaints:
        asking.complain(complaint)
    if parsed.json:
        print(json.dumps(ps.as_json(found.rows), indent=2))
    else:
        sys.stdout.write(ps.as_text(found.rows))
    if not found.rows:
        asking.complain("nothing is preloaded that you may speak to")
    return 0
