"""The commands that answer in words: top, diff. What they need of numpy and pandas is imported when they run."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

from poireau import asking
from poireau.errors import USAGE, Failure
from poireau.selection import distance, moment

if TYPE_CHECKING:
    from poireau.preamble import Preamble
    from poireau.windows import Within


def add_to(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Their parsers."""
    top = verbs.add_parser(
        "top",
        help="who has most of the heap",
        description="Who has most of the memory that is in use, was allocated, freed, ... in a trace: each figure is "
        "an estimate, with the interval that holds the truth with 95 % certainty. A stack counts for the innermost "
        "function that does not just pass requests on (operator new, std::vector, g_malloc; see --wrappers).",
        epilog=f"TIME: {asking.TIMES}. {asking.STATUS}",
    )
    _add_common(top)
    top.add_argument("--what", choices=asking.WHATS, default="in-use", help="what is counted (in-use)")
    _add_grouping(top)
    top.add_argument("--at", metavar="TIME", help="in use at that time, rather than at the end")
    asking.add_window(top)
    top.add_argument("--within", metavar="TIME|N", help="temporary: freed so soon, or after so many allocations (10ms)")
    top.add_argument("--cumulative", action="store_true", help="first what most goes through")
    top.add_argument("--tree", action="store_true", help="as a tree, from main inwards")
    top.add_argument("--inverted", action="store_true", help="as a tree, from who asked for memory outwards")
    asking.add_symbols(top)
    top.set_defaults(act=_top, reads_traces=True)

    diff = verbs.add_parser(
        "diff",
        help="what has changed between two moments, or is different in two traces",
        usage="poireau diff [options] A B | poireau diff [options] --from TIME [--to TIME] [TRACE]",
        description="What grew and what shrank. What is alive at both moments cancels exactly. Two traces, of other "
        "builds or hosts maybe, are joined by the names of functions. What may be noise is grey, and marked with ~.",
        epilog=f"TIME: {asking.TIMES}. {asking.STATUS}",
    )
    _add_common(diff)
    diff.add_argument("--what", choices=asking.WHATS, default="in-use", help="what is counted, of two traces (in-use)")
    _add_grouping(diff)
    diff.add_argument("--from", dest="before", metavar="TIME", help="the first moment of one trace")
    diff.add_argument("--to", dest="after", metavar="TIME", help="and the second (its end)")
    asking.add_symbols(diff)
    diff.set_defaults(act=_diff, reads_traces=True)


def _add_common(parser: argparse.ArgumentParser) -> None:
    asking.add_targets(parser)
    asking.add_strict(parser)
    parser.add_argument("--json", action="store_true", help="the same for a program to read")


def _add_grouping(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--by", choices=asking.BYS, default="function", help="a row for each (function)")
    asking.add_selection(parser)
    asking.add_wrappers(parser)
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

    heap = asking.opened(parsed)
    selection = asking.selection(parsed, heap, parsed.since, parsed.at or parsed.until)
    if parsed.at and (parsed.since or parsed.until or parsed.what != "in-use"):
        raise Failure("--at is for what is in use, without --since and --until", USAGE)
    if parsed.within and parsed.what != "temporary":
        raise Failure("--within is for --what temporary", USAGE)
    answer = view(heap, parsed.what, parsed.by, selection, _within(parsed.within))
    for complaint in answer.complaints:
        print(f"poireau: {complaint}", file=sys.stderr)
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
        heap = asking.opened(parsed)
        selection = asking.selection(parsed, heap)
        until = moment(parsed.after or "end", heap.begin, heap.end)
        answer = diff.of_moments(heap, moment(parsed.before, heap.begin, heap.end), until, parsed.by, selection)
        preambles: tuple[Preamble, ...] = (Preamble.of(heap, selection, answer.periods, answer.stacks[0]),)
    else:
        if len(parsed.targets) != 2:
            raise Failure("which two? diff A B compares two traces, diff --from TIME two moments of one", USAGE)
        heaps = [asking.opened(parsed, [target]) for target in parsed.targets]
        selections = [asking.selection(parsed, heap) for heap in heaps]
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


def _print(lines: Iterable[str]) -> None:
    _write("".join(f"{line}\n" for line in lines))


def _write(text: str) -> None:
    sys.stdout.write(text)


def _status(parsed: argparse.Namespace, *preambles: Preamble) -> int:
    return asking.status(parsed, any(preamble.lost for preamble in preambles))
