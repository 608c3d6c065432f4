"""`top`: who has most of the heap; and what it shares with `live`, `freed` and `peak`, which ask one thing of it."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from poireau import asking
from poireau.commands import watch
from poireau.errors import USAGE, Failure
from poireau.selection import distance

if TYPE_CHECKING:
    from poireau.windows import Within


def add_to(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    verb = verbs.add_parser(
        "top",
        help="who has most of the heap",
        description="Who has most of the memory that is in use, was allocated, freed, ... in a trace: each figure is "
        "an estimate, with the interval that holds the truth with 95 % certainty. A stack counts for the innermost "
        "function that does not just pass requests on (operator new, std::vector, g_malloc; see --wrappers).",
        epilog=f"TIME: {asking.TIMES}. {asking.STATUS}",
    )
    add_options(verb)
    verb.add_argument("--what", choices=asking.WHATS, default="in-use", help="what is counted (in-use)")
    verb.add_argument("--at", metavar="TIME", help="in use at that time, rather than at the end")
    asking.add_window(verb)
    verb.add_argument(
        "--within", metavar="TIME|N", help="temporary: freed so soon, or so many allocations later (10ms)"
    )
    verb.add_argument("-f", "--follow", action="store_true", help="again and again, and what grows: `watch`")
    watch.add_options(verb)


def add_options(verb: argparse.ArgumentParser, by: str = "function") -> None:
    """But those that say what is counted, and when."""
    asking.add_common(verb)
    asking.add_grouping(verb, by)
    verb.add_argument("--cumulative", action="store_true", help="first what most goes through")
    verb.add_argument("--tree", action="store_true", help="as a tree, from main inwards")
    verb.add_argument("--inverted", action="store_true", help="as a tree, from who asked for memory outwards")
    asking.add_symbols(verb)
    verb.set_defaults(act=act, reads_traces=True, at=None, since=None, until=None, within=None)


def act(parsed: argparse.Namespace) -> int:
    if getattr(parsed, "follow", False):
        return watch.act(parsed)
    if parsed.at and (parsed.since or parsed.until or parsed.what != "in-use"):
        raise Failure("--at is for what is in use, without --since and --until", USAGE)
    if parsed.within and parsed.what != "temporary":
        raise Failure("--within is for --what temporary", USAGE)
    if (parsed.tree or parsed.inverted) and parsed.by not in ("function", "stack"):
        raise Failure("a tree is by function", USAGE)
    heap = asking.opened(parsed)
    from poireau.preamble import Preamble
    from poireau.report import objects, text, tree
    from poireau.views import view

    selection = asking.selection(parsed, heap, parsed.since, parsed.at or parsed.until)
    answer = view(heap, parsed.what, parsed.by, selection, _within(parsed.within))
    for complaint in answer.complaints:
        asking.complain(complaint)
    preamble = Preamble.of(heap, selection, answer.periods, answer.stacks)
    style = text.Style.of(sys.stdout)
    if parsed.tree or parsed.inverted:
        calls = tree.calls(answer, parsed.inverted)
        limit = tree.LIMIT if parsed.limit is None else parsed.limit
        if parsed.json:
            sys.stdout.write(objects.text_of(objects.of_calls(calls, preamble, limit)))
        else:
            asking.write_lines(tree.lines(calls, preamble, style, limit))
    else:
        limit = text.LIMIT if parsed.limit is None else parsed.limit
        if parsed.json:
            sys.stdout.write(objects.text_of(objects.of_view(answer, preamble, limit, parsed.cumulative)))
        else:
            asking.write_lines(text.top(answer, preamble, style, limit, parsed.frames, parsed.cumulative))
    return asking.status(parsed, bool(preamble.lost))


def _within(text: str | None) -> Within | None:
    if text is None:
        return None
    from poireau.windows import Within

    apart = distance(text)
    if apart is not None and apart >= 0:
        return Within(nanoseconds=apart)
    if text.isascii() and text.isdecimal() and len(text) < 16:
        return Within(nanoseconds=None, allocations=float(text))
    raise Failure(f"--within {text}: it should read 10ms, or 100 (allocations)", USAGE)
