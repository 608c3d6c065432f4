"""From the command line to an exit status, whatever happens on the way."""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import sys
from collections.abc import Sequence

from poireau import parsing
from poireau.asking import complain
from poireau.errors import OUR_FAILURE, USAGE, Failure

INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # who started us has closed it
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # as stderr is: what is named may have any name
    try:
        try:
            return _obey(sys.argv[1:] if arguments is None else arguments)
        finally:
            sys.stdout.flush()
    except Failure as failure:
        complain(str(failure))
        return failure.status
    except BrokenPipeError:
        _print_no_more()
        return 0
    except OSError as error:
        _print_no_more()
        complain(f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror or error))
        return OUR_FAILURE
    except KeyboardInterrupt:
        return INTERRUPTED


def _print_no_more() -> None:
    """What could not be written is not tried again at the end."""
    with contextlib.suppress(OSError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _obey(words: Sequence[str]) -> int:
    if (parsing.is_terminal() and all(map(parsing.opens, words))) or (not words and parsing.is_script()):
        return _shell(words)
    parsed = parsing.parse(words)
    if parsed.verb is None:
        parsing.parser().print_help()
        return USAGE
    return act(parsed)


def act(parsed: argparse.Namespace) -> int:
    if getattr(parsed, "reads_traces", False):
        from poireau import interpreter

        interpreter.ensure()
    return int(parsed.act(parsed))


def _shell(words: Sequence[str]) -> int:
    from poireau import interpreter

    interpreter.ensure()
    from poireau import shell

    return shell.main(*([words] if words else []))
