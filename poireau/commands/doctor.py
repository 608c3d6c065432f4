"""`doctor`: does it work here, and what can it see."""

from __future__ import annotations

import argparse
import json
import sys


def add_to(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    verb = verbs.add_parser(
        "doctor",
        help="does it work here, and what can it see of PROGRAM",
        description="Looks at the machine, the limits of this shell, the library, and at a program or a running "
        "process if one is named: a line a finding, with what to do about it. Exit status: 1 if there is a problem.",
    )
    verb.add_argument("program", metavar="PROGRAM|PID", nargs="?")
    verb.add_argument("--json", action="store_true", help="findings for a program to read")
    verb.set_defaults(act=_act)


def _act(parsed: argparse.Namespace) -> int:
    from poireau import doctor, launch

    findings = doctor.examine(parsed.program, launch.inherited_environment())
    if parsed.json:
        print(json.dumps(doctor.as_json(findings), indent=2))
    else:
        sys.stdout.write(doctor.as_text(findings))
    return 0 if doctor.healthy(findings) else 1
