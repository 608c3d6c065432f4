"""The shell: every command, over heaps that stay open, with a target, a time and filters that stick. At a terminal it
has a prompt; commands that come from elsewhere are a script."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Sequence

from poireau import parsing, shell_targets
from poireau.errors import USAGE, Failure
from poireau.shell_session import INTERRUPTED, Quit, Session, complain


def main(targets: Sequence[str] = ()) -> int:
    """The status of the last command; of a script, of the last that failed. Raises Failure."""
    session = Session(targets)
    if not parsing.is_terminal():
        return _script(session)
    if not targets:
        with contextlib.suppress(Failure):  # there may be none yet
            session.state = shell_targets.use(session.state, ["newest"])
    if os.environ.get("TERM", "dumb") == "dumb":
        return _plainly(session)
    try:
        from poireau import shell_prompt
    except ImportError:
        print("poireau: for completion and history: python3 -m pip install prompt_toolkit", file=sys.stderr)
        return _plainly(session)
    print("Poireau: `help` lists the commands, Tab completes, Ctrl-D leaves.")
    return shell_prompt.talk(session)


def _script(session: Session) -> int:
    lines = failed = 0
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="surrogateescape")
    with contextlib.suppress(Quit, KeyboardInterrupt):
        for line in sys.stdin:
            lines += 1
            failed = session.obey(line) or failed
            if session.status == INTERRUPTED:
                break
    if not lines:
        parsing.parser().print_help()
        return USAGE
    return failed


def _plainly(session: Session) -> int:
    while True:
        try:
            session.obey(input("poireau> "))
        except Quit:
            return session.status
        except EOFError:
            print()
            return session.status
        except KeyboardInterrupt:
            print()
        except UnicodeDecodeError:
            complain("that is no UTF-8", USAGE)
