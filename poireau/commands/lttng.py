"""`lttng start|stop`: a recording session of LTTng for our events."""

from __future__ import annotations

import argparse
import shlex

from poireau.errors import USAGE, Failure
from poireau.text import plain


def add_to(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    verb = verbs.add_parser(
        "lttng",
        help="record through LTTng: start or stop a session",
        description="start begins a recording session of LTTng with all our events in it, and starts LTTng's daemons "
        "for this user if none run; `run --sink lttng -- PROGRAM` records to it, as every process does that has the "
        "option sink = lttng or both. stop ends it once all is written, and says where the trace is. What LTTng costs "
        "a program is in the README.",
        epilog="Exit status: 1 refused by LTTng, 2 wrong use, 125 there is no LTTng.",
    )
    verb.add_argument("action", choices=("start", "stop"))
    verb.add_argument("--name", metavar="NAME", help="of the session (poireau)")
    where = verb.add_mutually_exclusive_group()
    where.add_argument("-o", "--output", metavar="DIR", help="start: where its trace is to lie (in ~/lttng-traces)")
    where.add_argument("--url", metavar="URL", help="start: a relay daemon that is to have it, as net://HOST")
    verb.add_argument(
        "--live", action="store_true", help="start: readable while it is written, through a relay daemon here"
    )
    verb.set_defaults(act=_act)


def _act(parsed: argparse.Namespace) -> int:
    from poireau import lttng

    name = parsed.name or lttng.NAME
    if "/" in name or name.startswith("-"):
        raise Failure(f"{name} can't be a session's name", USAGE)
    if parsed.live and parsed.url:
        raise Failure("--live is for the relay daemon of this machine: leave --url out", USAGE)
    if parsed.action == "start":
        where = lttng.start(name, parsed.output, parsed.url, parsed.live)
        print(f"session {plain(name)} records to {plain(where)}")
        print("`poireau run --sink lttng -- PROGRAM` adds to it", end="")
        print(f"; `poireau top {_quoted(where)}` reads it" if parsed.live else "")
        return 0
    if parsed.output or parsed.url or parsed.live:
        raise Failure("lttng stop takes no more than --name", USAGE)
    where = lttng.stop(name)
    if where.startswith("/"):
        print(f"session {plain(name)} has ended: `poireau top {_quoted(where)}` reads it")
    else:
        print(f"session {plain(name)} has ended: its relay daemon has it, {plain(where)}")
    return 0


def _quoted(where: str) -> str:
    return plain(shlex.quote(where))
