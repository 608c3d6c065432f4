"""The commands that answer in words: top, diff. What they need of numpy and pandas is imported when they run."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from poireau.errors import INCOMPLETE, USAGE, Failure
from poireau.selection import Selection, distance, moment
from poireau.text import plain

if TYPE_CHECKING:
    from poireau.model import Heap
    from poireau.preamble import Preamble
    from poireau.windows import Within

_WHATS = ("in-use", "allocated", "freed", "peak", "byte-seconds", "average", "temporary")
_BYS = ("stack", "function", "line", "file", "module", "thread", "threads", "size", "call", "process")
_TIMES = "60s is so long before the end, +60s after the beginning; or 13:05:40, 2026-03-01T13:05, @1772366700"


def add_to(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Their parsers."""
    top = verbs.add_parser(
        "top",
        help="who has most of the heap",
        description="Who has most of the memory that is in use, was allocated, freed, ... in a trace: each figure is "
        "an estimate, with the interval that holds the truth with 95 % certainty. A stack counts for the innermost "
        "function that does not just pass requests on (operator new, std::vector, g_malloc; see --wrappers).",
        epilog=f"TIME: {_TIMES}. Exit status: 3 under --strict if anything was lost.",
    )
    _add_targets(top)
    top.add_argument("--what", choices=_WHATS, default="in-use", help="what is counted (in-use)")
    _add_grouping(top)
    top.add_argument("--at", metavar="TIME", help="in use at that time, rather than at the end")
    top.add_argument("--since", metavar="TIME", help="a window's beginning")
    top.add_argument("--until", metavar="TIME", help="and its end")
    top.add_argument("--within", metavar="TIME|N", help="temporary: freed so soon, or after so many allocations (10ms)")
    top.add_argument("--cumulative", action="store_true", help="first what most goes through")
    top.add_argument("--tree", action="store_true", help="as a tree, from main inwards")
    top.add_argument("--inverted", action="store_true", help="as a tree, from who asked for memory outwards")
    top.set_defaults(act=_top, reads_traces=True)

    diff = verbs.add_parser(
        "diff",
        help="what has changed between two moments, or is different in two traces",
        usage="poireau diff [options] A B | poireau diff [options] --from TIME [--to TIME] [TRACE]",
        description="What grew and what shrank. What is alive at both moments cancels exactly. Two traces, of other "
        "builds or hosts maybe, are joined by the names of functions. What may be noise is grey, and marked with ~.",
        epilog=f"TIME: {_TIMES}. Exit status: 3 under --strict if anything was lost.",
    )
    _add_targets(diff)
    diff.add_argument("--what", choices=_WHATS, default="in-use", help="what is counted, of two traces (in-use)")
    _add_grouping(diff)
    diff.add_argument("--from", dest="before", metavar="TIME", help="the first moment of one trace")
    diff.add_argument("--to", dest="after", metavar="TIME", help="and the second (its end)")
    diff.set_defaults(act=_diff, reads_traces=True)


def _add_targets(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "targets", metavar="TRACE", nargs="*", help="of a process, a run, many, a pack; a pid; otherwise the newest run"
    )
    parser.add_argument("--trace", metavar="DIR", help="the directory under which traces lie, where none is named")
    parser.add_argument("--strict", action="store_true", help="fail with 3 if anything was lost")
    parser.add_argument("--json", action="store_true", help="the same for a program to read")


def _add_grouping(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--by", choices=_BYS, default="function", help="a row for each (function)")
    parser.add_argument("--focus", metavar="REGEX", default="", help="only stacks with such a function, file or module")
    parser.add_argument("--ignore", metavar="REGEX", default="", help="only stacks without one")
    parser.add_argument("--hide", metavar="REGEX", default="", help="leave such frames out")
    parser.add_argument("--wrappers", metavar="REGEX", default="", help="functions that only pass requests on, too")
    parser.add_argument("--process", metavar="PID|NAME", action="append", default=[], help="only these processes")
    parser.add_argument("--thread", metavar="TID|NAME", action="append", default=[], help="only these threads")
    parser.add_argument("--limit", metavar="N", type=_natural, help="rows; 0: all (20; 50 of a tree)")
    parser.add_argument("--frames", metavar="N|all", type=_frames, default=3, help="callers shown of each (3)")


def _natural(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or len(text) > 9:
        raise argparse.ArgumentTypeError(f"{text} is no number of rows")
    return int(text)


def _frames(text: str) -> int | None:
    return None if text == "all" else _natural(text)


def _top(parsed: argparse.Namespace) -> int:
    from poireau.preamble import Preamble
    from poireau.report import objects, text, tree
    from poireau.views import view

    heap = _open(parsed.targets, parsed.trace)
    selection = _selection(parsed, heap, parsed.since, parsed.at or parsed.until)
    if parsed.at and (parsed.since or parsed.until or parsed.what != "in-use"):
        raise Failure("--at is for what is in use, without --since and --until", USAGE)
    if parsed.within and parsed.what != "temporary":
        raise Failure("--within is for --what temporary", USAGE)
    answer = view(heap, parsed.what, parsed.by, selection, _within(parsed.within))
    preamble = Preamble.of(heap, selection, answer.periods, answer.stacks)
    style = text.Style.of(sys.stdout)
    if parsed.tree or parsed.inverted:
        if parsed.by not in ("function", "stack"):
            raise Failure("a tree is by function", USAGE)
        calls = tree.calls(answer, parsed.inverted)
        limit = tree.LIMIT if parsed.limit is None else parsed.limit
        if parsed.json:
            _write(objects.text_of(objects.of_calls(calls, preamble, limit)))
        else:
            _print(tree.lines(calls, preamble, style, limit))
    else:
        limit = text.LIMIT if parsed.limit is None else parsed.limit
        if parsed.json:
            _write(objects.text_of(objects.of_view(answer, preamble, limit, parsed.cumulative)))
        else:
            _print(text.top(answer, preamble, style, limit, parsed.frames, parsed.cumulative))
    return _status(parsed, preamble)


def _diff(parsed: argparse.Namespace) -> int:
    from poireau import diff
    from poireau.preamble import Preamble
    from poireau.report import changes, objects, text
    from poireau.views import view

    if parsed.before or parsed.after:
        if not parsed.before or parsed.what != "in-use":
            raise Failure("between two moments of a trace, --from TIME [--to TIME], what is in use is compared", USAGE)
        heap = _open(parsed.targets, parsed.trace)
        selection = _selection(parsed, heap, None, None)
        until = moment(parsed.after or "end", heap.begin, heap.end)
        answer = diff.of_moments(heap, moment(parsed.before, heap.begin, heap.end), until, parsed.by, selection)
        preambles: tuple[Preamble, ...] = (Preamble.of(heap, selection, answer.periods, answer.stacks[0]),)
    else:
        if len(parsed.targets) != 2:
            raise Failure("which two? diff A B compares two traces, diff --from TIME two moments of one", USAGE)
        heaps = [_open([target], parsed.trace) for target in parsed.targets]
        selections = [_selection(parsed, heap, None, None) for heap in heaps]
        views = [view(heap, parsed.what, parsed.by, selection) for heap, selection in zip(heaps, selections)]
        answer = diff.of_views(views[0], views[1])
        preambles = tuple(
            Preamble.of(heap, selection, each.periods, each.stacks)
            for heap, selection, each in zip(heaps, selections, views)
        )
    limit = text.LIMIT if parsed.limit is None else parsed.limit
    if parsed.json:
        _write(objects.text_of(objects.of_diff(answer, preambles, limit)))
    else:
        _print(changes.lines(answer, preambles, text.Style.of(sys.stdout), limit, parsed.frames))
    return _status(parsed, *preambles)


def _open(targets: list[str], directory: str | None) -> Heap:
    from poireau import opening, traces

    which = traces.meant(targets, directory)
    if which.said:
        print(which.said, file=sys.stderr)
    return opening.open(which.paths)


def _selection(parsed: argparse.Namespace, heap: Heap, since: str | None, until: str | None) -> Selection:
    begin, end = heap.begin, heap.end
    return Selection(
        since=None if since is None else moment(since, begin, end),
        until=None if until is None else moment(until, begin, end),
        processes=tuple(number for each in parsed.process for number in _processes(heap, each)),
        threads=tuple(parsed.thread),
        focus=parsed.focus,
        ignore=parsed.ignore,
        hide=parsed.hide,
        wrappers=parsed.wrappers,
    )


def _processes(heap: Heap, wanted: str) -> list[int]:
    """A pid may have been several processes', and a name as well."""
    table = heap.processes
    names = [path.rpartition("/")[2] for path in table["executable"]]
    found = [number for number, pid, name in zip(table.index, table["pid"], names) if wanted in (str(pid), name)]
    if not found:
        there = ", ".join(dict.fromkeys(f"{plain(name)}[{pid}]" for pid, name in zip(table["pid"], names)))
        raise Failure(f"there is no process {wanted}; there is {there or 'none'}", USAGE)
    return found


def _within(text: str | None) -> Within | None:
    from poireau.windows import Within

    if text is None:
        return None
    apart = distance(text)
    if apart is not None and apart >= 0:
        return Within(nanoseconds=apart)
    if text.isascii() and text.isdecimal() and len(text) < 16:
        return Within(nanoseconds=None, allocations=float(text))
    raise Failure(f"--within {text}: it should read 10ms, or 100 (allocations)", USAGE)


def _print(lines: Any) -> None:
    _write("".join(f"{line}\n" for line in lines))


def _write(text: str) -> None:
    sys.stdout.write(text)


def _status(parsed: argparse.Namespace, *preambles: Preamble) -> int:
    return INCOMPLETE if parsed.strict and any(preamble.lost for preamble in preambles) else 0
