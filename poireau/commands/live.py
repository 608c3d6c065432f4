"""`live`: what is alive, by source line: `top --what in-use --by line`."""

from __future__ import annotations

import argparse

from poireau import asking
from poireau.commands import top


def add_to(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    verb = verbs.add_parser(
        "live",
        help="what is alive, by source line, now or at the end",
        description="What is in use now, of a program that runs, or at the end of one that has ended, or --at a time "
        "in between; by source line. The same as top --what in-use --by line.",
        epilog=f"TIME: {asking.TIMES}. {asking.STATUS}",
    )
    top.add_options(verb, by="line")
    verb.add_argument("--at", metavar="TIME", help="at that time, rather than at the end")
    verb.set_defaults(what="in-use", by=None, act=_act)


def _act(parsed: argparse.Namespace) -> int:
    if parsed.by is None:
        parsed.by = "function" if parsed.tree or parsed.inverted else "line"
    return top.act(parsed)
