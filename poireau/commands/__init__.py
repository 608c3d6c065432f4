"""The commands, each in a file named after it: arguments in, an exit status out. What they do is elsewhere.

A module here has `add_to(verbs)`, which adds its parsers, with `act` (parsed arguments -> exit status) among their
defaults, and `reads_traces` where it needs numpy and pandas. Those it imports when it acts, so that starting is quick.
The shell has the same commands, from the same parsers.
"""

from __future__ import annotations

import argparse
from importlib import import_module

NAMES = "lttng watch leaks freed flame stream errors whatis check autopsy completion man".split()


def add_to(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    for name in NAMES:
        import_module(f"poireau.commands.{name}").add_to(verbs)
