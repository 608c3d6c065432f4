"""How a question about a heap is put on the command line, whichever command answers it: which traces, what of them,
where their names are looked for; and the heap and the selection that are meant. Imports nothing heavy at the top."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING, Any

from poireau.errors import INCOMPLETE, USAGE, Failure
from poireau.selection import Selection, moment
from poireau.text import plain

if TYPE_CHECKING:
    import pandas as pd

    from poireau.model import Heap
    from poireau.symbols import Settings

WHATS = ("in-use", "allocated", "freed", "peak", "resident", "byte-seconds", "average", "temporary")
BYS = ("stack", "function", "line", "file", "module", "thread", "threads", "size", "call", "process")
TIMES = "60s is so long before the end, +60s after the beginning; or 13:05:40, 2026-03-01T13:05, @1772366700"
STATUS = "Exit status: 3 under --strict if anything was lost."


def add_targets(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "targets", metavar="TRACE", nargs="*", help="of a process, a run, many, a pack; a pid; otherwise the newest run"
    )
    parser.add_argument("--trace", metavar="DIR", help="the directory under which traces lie, where none is named")
    _in_any_order(parser)


def add_strict(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--strict", action="store_true", help="fail with 3 if anything was lost")


def add_selection(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--focus", metavar="REGEX", default="", help="only stacks with such a function, file or module")
    parser.add_argument("--ignore", metavar="REGEX", default="", help="only stacks without one")
    parser.add_argument("--hide", metavar="REGEX", default="", help="leave such frames out")
    parser.add_argument("--process", metavar="PID|NAME", action="append", default=[], help="only these processes")
    parser.add_argument("--thread", metavar="TID|NAME", action="append", default=[], help="only these threads")


def add_wrappers(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--wrappers", metavar="REGEX", default="", help="functions that only pass requests on, too")


def add_window(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--since", metavar="TIME", help="a window's beginning")
    parser.add_argument("--until", metavar="TIME", help="and its end")


def add_symbols(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("where names come from")
    group.add_argument("--sysroot", metavar="DIR", default="", help="where binaries are looked for first")
    group.add_argument(
        "--debug-dir", metavar="DIR", action="append", default=[], help="like /usr/lib/debug; several times"
    )
    group.add_argument("--debuginfod", action="store_true", help="ask the servers of DEBUGINFOD_URLS as well")


def opened(parsed: argparse.Namespace, targets: list[str] | None = None, follow: bool = False) -> Heap:
    """`targets`: rather than all that were named. Raises Failure."""
    from poireau import opening, traces

    meant = traces.meant(parsed.targets if targets is None else targets, parsed.trace)
    if meant.said:
        print(meant.said, file=sys.stderr)
    return opening.open(meant.paths, follow=follow, settings=_settings(parsed))


def _settings(parsed: argparse.Namespace) -> Settings:
    from poireau.symbols import Settings

    for directory in filter(None, (parsed.sysroot, *parsed.debug_dir)):
        if not os.path.isdir(directory):
            raise Failure(f"{directory} is no directory", USAGE)
    if parsed.debuginfod and not os.environ.get("DEBUGINFOD_URLS"):
        raise Failure("--debuginfod asks the servers that DEBUGINFOD_URLS names: there are none", USAGE)
    return Settings(parsed.sysroot, tuple(parsed.debug_dir), parsed.debuginfod)


def selection(
    parsed: argparse.Namespace,
    heap: Heap,
    since: str | None = None,
    until: str | None = None,
    processes: pd.DataFrame | None = None,
) -> Selection:
    """`processes`: the heap's, with the names that were meant."""
    begin, end = heap.begin, heap.end
    table = heap.processes if processes is None else processes
    return Selection(
        since=None if since is None else moment(since, begin, end),
        until=None if until is None else moment(until, begin, end),
        processes=tuple(number for each in parsed.process for number in _processes(table, each)),
        threads=tuple(parsed.thread),
        focus=parsed.focus,
        ignore=parsed.ignore,
        hide=parsed.hide,
        wrappers=getattr(parsed, "wrappers", ""),
    )


def status(parsed: argparse.Namespace, lost: bool) -> int:
    return INCOMPLETE if parsed.strict and lost else 0


def _processes(table: pd.DataFrame, wanted: str) -> list[int]:
    """A pid may have been several processes', and a name as well."""
    names = [path.rpartition("/")[2] for path in table["executable"]]
    found = [number for number, pid, name in zip(table.index, table["pid"], names) if wanted in (str(pid), name)]
    if not found:
        there = ", ".join(dict.fromkeys(f"{plain(name)}[{pid}]" for pid, name in zip(table["pid"], names)))
        raise Failure(f"there is no process {wanted}; there is {there or 'none'}", USAGE)
    return found


def _in_any_order(parser: argparse.ArgumentParser) -> None:
    """Before Python 3.12 what comes after an option is no TRACE any more."""
    parse = parser.parse_known_args

    def intermixed(args: Any = None, namespace: Any = None) -> Any:
        parser.parse_known_args = parse  # type: ignore[method-assign]
        try:
            return parser.parse_known_intermixed_args(args, namespace)
        finally:
            parser.parse_known_args = intermixed  # type: ignore[method-assign]

    parser.parse_known_args = intermixed  # type: ignore[method-assign]
