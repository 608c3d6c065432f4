"""`freed`: what was freed lately: `top --what freed --since 60s`."""

from __future__ import annotations

import argparse

from poireau import asking
from poireau.commands import top


def add_to(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    verb = verbs.add_parser(
        "freed",
        help="what was freed in the last minute, or since any time",
        description="Who had asked for what was freed in the last 60 s (or --since another time, --until another). "
        "The same as top --what freed.",
        epilog=f"TIME: {asking.TIMES}. {asking.STATUS}",
    )
    top.add_options(verb)
    asking.add_window(verb)
    verb.set_defaults(what="freed", since="60s")
