"""How a question about a heap is put on the command line, whichever command answers it: which traces, what of them,
where their names are looked for; and the heap and the selection that are meant. Imports nothing heavy at the top."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from poireau.errors import INCOMPLETE, USAGE, Failure
from poireau.text import plain

if TYPE_CHECKING:
    import pandas as pd

    from poireau.model import Heap
    from poireau.selection import Selection
    from poireau.symbols import Settings

WHATS = ("in-use", "allocated", "freed", "peak", "resident", "byte-seconds", "average", "temporary")
BYS = ("stack", "function", "line", "file", "module", "thread", "threads", "size", "call", "process")
TIMES = "60s is so long before the end, +60s after the beginning; or 13:05:40, 2026-03-01T13:05, @1772366700"
STATUS = "Exit status: 3 under --strict if anything was lost."
MOST_SECONDS = 1e6
_NAMED = 20  # threads, of those there are


def add_targets(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "targets", metavar="TRACE", nargs="*", help="of a process, a run, many, a pack; a pid; otherwise the newest run"
    )
    parser.add_argument("--trace", metavar="DIR", help="the directory under which traces lie, where none is named")


def add_strict(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--strict", action="store_true", help="fail with 3 if anything was lost")


def add_common(parser: argparse.ArgumentParser) -> None:
    """Of what answers in words."""
    add_targets(parser)
    add_strict(parser)
    parser.add_argument("--json", action="store_true", help="the same for a program to read")


def add_grouping(parser: argparse.ArgumentParser, by: str = "function") -> None:
    parser.add_argument("--by", choices=BYS, default=by, help=f"a row for each ({by})")
    add_selection(parser)
    add_wrappers(parser)
    parser.add_argument("--limit", metavar="N", type=natural, help="rows; 0: all (20; 50 of a tree)")
    parser.add_argument("--frames", metavar="N|all", type=_frames, default=3, help="callers shown of each (3)")


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
    parser.add_argument("--phase", metavar="NAME", help="while the program was in that phase (poireau_phase)")


def add_symbols(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("where names come from")
    group.add_argument("--sysroot", metavar="DIR", default="", help="where binaries are looked for first")
    group.add_argument(
        "--debug-dir", metavar="DIR", action="append", default=[], help="like /usr/lib/debug; several times"
    )
    group.add_argument("--debuginfod", action="store_true", help="ask the servers of DEBUGINFOD_URLS as well")


def natural(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or len(text) > 9:
        raise argparse.ArgumentTypeError(f"{text} is no number of rows")
    return int(text)


def _frames(text: str) -> int | None:
    return None if text == "all" else natural(text)


def pid(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or not 0 < int(text) < 1 << 31:
        raise argparse.ArgumentTypeError(f"{text} is no pid: `poireau ps` lists them")
    return int(text)


def seconds(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1
    if not 0 <= number <= MOST_SECONDS:
        raise argparse.ArgumentTypeError(f"{text} is no number of seconds")
    return number


def complain(text: str) -> None:
    print(f"poireau: {plain(text)}", file=sys.stderr, flush=True)


def write_lines(lines: Iterable[str]) -> None:
    sys.stdout.write("".join(f"{line}\n" for line in lines))


def write_json(document: Mapping[str, Any]) -> None:
    import json

    sys.stdout.write(json.dumps(document, indent=1) + "\n")


# Who has heaps open already, while there is a shell: of paths, what `opened` gives.
keeper: Callable[[tuple[str, ...], Settings], Heap] | None = None


def opened(
    parsed: argparse.Namespace, targets: list[str] | None = None, follow: bool = False, kept: int | None = None
) -> Heap:
    """`targets`: rather than all that were named. `kept`: as for opening.open. Raises Failure."""
    from poireau import traces

    meant = traces.meant(parsed.targets if targets is None else targets, parsed.trace)
    if meant.said:
        print(meant.said, file=sys.stderr)
    settings = _settings(parsed)
    if keeper is not None:
        return keeper(meant.paths, settings)
    from poireau import opening  # and with it pandas: not before there is something to read
    from poireau.model import KEPT

    return opening.open(meant.paths, follow=follow, settings=settings, kept=KEPT if kept is None else kept)


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
    from poireau.selection import Selection

    table = heap.processes if processes is None else processes
    begin, end = _since(since, heap), None if until is None else when(until, heap)
    if getattr(parsed, "phase", None) is not None:
        from poireau import phases

        if since is not None or until is not None:
            raise Failure("--phase is a window by itself: without --since, --until and --at", USAGE)
        begin, end = phases.window(heap, parsed.phase)
    return Selection(
        since=begin,
        until=end,
        processes=tuple(number for each in parsed.process for number in _processes(table, each)),
        threads=tuple(_thread(heap, each) for each in parsed.thread),
        focus=parsed.focus,
        ignore=parsed.ignore,
        hide=parsed.hide,
        wrappers=getattr(parsed, "wrappers", ""),
    )


def _since(text: str | None, heap: Heap) -> int | None:
    """A window may begin before there was anything: --since 1h is as much of an hour as there is."""
    from poireau.selection import clock, moment

    if text is None:
        return None
    found = moment(text, heap.begin, heap.end)
    if found > heap.end:
        raise Failure(f"{text} is after the last event, at {clock(heap.end, True)}", USAGE)
    return max(found, heap.begin)


def when(text: str, heap: Heap) -> int:
    """What is in use at that time is asked. Raises Failure: nothing is known of it."""
    from poireau.selection import clock, moment

    found = moment(text, heap.begin, heap.end)
    if found < heap.begin:
        raise Failure(f"{text} is before the first event, at {clock(heap.begin, True)}", USAGE)
    if found > heap.end + 1:
        complain(f"{text} is after the last event: this is as of {clock(heap.end, True)}")
    return min(found, heap.end + 1)


def _thread(heap: Heap, wanted: str) -> str:
    threads = heap.threads
    if wanted in threads["name"].tolist() or wanted in map(str, threads["thread"].tolist()):
        return wanted
    there = [plain(each) for each in dict.fromkeys(threads["name"].tolist()) if each]
    more = ", ..." if len(there) > _NAMED else ""
    raise Failure(
        f"there is no thread {wanted}; there is {', '.join(there[:_NAMED]) or 'none with a name'}{more}", USAGE
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
