"""`attach`: a program that was started dormant samples from now on."""

from __future__ import annotations

import argparse

from poireau import asking


def add_to(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    verb = verbs.add_parser(
        "attach",
        help="have a running program that has the library preloaded sample",
        description="Has a program that was started with the library, dormant maybe (POIREAU_ARMED=0), sample from "
        "now on. Exit status: as for ctl.",
    )
    verb.add_argument("pid", metavar="PID", type=asking.pid)
    verb.add_argument("--json", action="store_true", help="its answers, for a program to read")
    verb.add_argument("--wait", metavar="SECONDS", type=asking.seconds, help="for the answer, however idle it is")
    verb.set_defaults(act=_act)


def _act(parsed: argparse.Namespace) -> int:
    from poireau import ctl
    from poireau.commands.ctl import report

    outcome, done = ctl.arm(parsed.pid, parsed.wait)
    if parsed.json:
        asking.write_json(ctl.as_json("poireau.attach", outcome))
    elif done:
        print(done)
    return report(outcome)
