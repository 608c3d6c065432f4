"""The commands, each in a file named after it: arguments in, an exit status out. What they do is elsewhere.

A module here has `add_to(verbs)`, which adds its parsers, with `act` (parsed arguments -> exit status) among their
defaults, and `reads_traces` where it needs numpy and pandas. Those it imports when it acts, so that starting is quick.
The shell has the same commands, from the same parsers.
"""

from __future__ import annotations

import argparse
from importlib import import_module

EVERYDAY = "run ps top leaks flame stream errors ctl".split()
MORE = (
    "watch live freed peak diff whatis dangling autopsy check attach lttng lib export pack replay serve "
    "config doctor completion man"
).split()
NAMES = (*EVERYDAY, *MORE)


def add_to(verbs: argparse._SubParsersAction[argparse.ArgumentParser], name: str) -> None:
    import_module(f"poireau.commands.{name}").add_to(verbs)
