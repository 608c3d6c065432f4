"""`peak`: what was in use when most was: `top --what peak`."""

from __future__ import annotations

import argparse

from poireau import asking
from poireau.commands import top


def add_to(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    verb = verbs.add_parser(
        "peak",
        help="what was in use when most was, and when that was",
        description="What was in use when most of the heap (of what --focus, --process, ... leave of it) was, "
        "and when that was. The same as top --what peak.",
        epilog=f"TIME: {asking.TIMES}. {asking.STATUS}",
    )
    top.add_options(verb)
    asking.add_window(verb)
    verb.set_defaults(what="peak")
