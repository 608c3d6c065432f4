"""`flame`: a flamegraph of any view, of what has changed, or of folded stacks."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from poireau import asking, giving, picturing
from poireau.errors import USAGE, Failure

if TYPE_CHECKING:
    from poireau.model import Heap
    from poireau.selection import Selection

FORMS = ("html", "svg", "png", "pdf", "folded")
WHATS = (*asking.WHATS, "leaked")


def add_to(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    verb = verbs.add_parser(
        "flame",
        help="a flamegraph of what is in use",
        description="Draws who called whom, each function as wide as the memory that was asked for in it and below it. "
        "A page (html) needs no network, and has all that can be drawn: what is in use, was allocated, freed, leaked, "
        "at the peak and over time, each with its error; ? in it tells its keys. Boxes that are uncertain are hatched. "
        "Without -o it is flame-PROGRAM-PID.html.",
        epilog=f"TIME: {asking.TIMES}. {asking.STATUS} {giving.REDACTION}",
    )
    picturing.add_output(verb, FORMS)
    verb.add_argument("--what", choices=WHATS, default="in-use", help="what is drawn, or is in a page first (in-use)")
    verb.add_argument("--inverted", action="store_true", help="who asked for memory on top, and the callers below")
    verb.add_argument("--at", metavar="TIME", help="in use at that time, rather than at the end")
    verb.add_argument("--diff", metavar="BASE", help="a page of what has changed since that trace")
    verb.add_argument("--from", dest="before", metavar="TIME", help="the same since that time, of what is in use")
    asking.add_window(verb)
    asking.add_selection(verb)
    asking.add_wrappers(verb)
    verb.add_argument(
        "--limit",
        metavar="N",
        type=asking.natural,
        help="boxes; what is smaller is drawn together; 0: all (6000; 20000 in a page)",
    )
    verb.add_argument("--from-folded", metavar="FILE", help="of lines `main;f;g BYTES`; -: standard input")
    asking.add_symbols(verb)
    verb.set_defaults(act=_act, reads_traces=True)


def _act(parsed: argparse.Namespace) -> int:
    form = picturing.form_of(parsed, FORMS)
    if parsed.at and (parsed.since or parsed.until or parsed.what != "in-use"):
        raise Failure("--at is for what is in use, without --since and --until", USAGE)
    if parsed.from_folded is not None:
        return _of_folded(parsed, form)
    if parsed.diff or parsed.before:
        return _changed(parsed, form)
    heap, selection = picturing.opened(parsed, parsed.since, parsed.at or parsed.until)
    if form == "html" and not parsed.json:
        return _page(parsed, heap, selection)
    return _of_heap(parsed, form, heap, selection)


def _page(parsed: argparse.Namespace, heap: Heap, selection: Selection) -> int:
    from poireau.preamble import Preamble
    from poireau.report import picture_pages
    from poireau.report.picture_data import MOST

    limit = MOST if parsed.limit is None else parsed.limit
    page = picture_pages.flame(heap, selection, parsed.what, limit, parsed.inverted)
    picturing.put(parsed, "html", heap, lambda out: out.write(page))
    return asking.status(parsed, bool(Preamble.of(heap, selection).lost))


def _of_heap(parsed: argparse.Namespace, form: str, heap: Heap, selection: Selection) -> int:
    from poireau.preamble import Preamble
    from poireau.report import folded, objects, picture_flame, pictures, tree
    from poireau.views import view

    if parsed.what == "leaked":
        raise Failure("what leaked is in a page; `poireau leaks` has it as text and JSON", USAGE)
    answer = view(heap, parsed.what, "stack", selection)
    for complaint in answer.complaints:
        asking.complain(complaint)
    preamble = Preamble.of(heap, selection, answer.periods, answer.stacks)
    calls = tree.calls(answer, parsed.inverted)
    limit = picture_flame.MOST if parsed.limit is None else parsed.limit
    if parsed.json:
        sys.stdout.write(objects.text_of({**objects.of_calls(calls, preamble, limit), "schema": "poireau.flame"}))
    if picturing.drawn(parsed):
        if form == "html":
            return _page(parsed, heap, selection)
        if form == "folded":
            picturing.put(parsed, form, heap, lambda out: folded.write(answer, out))
        else:
            drawing = picture_flame.draw(picture_flame.of_calls(calls, preamble, limit, parsed.inverted))
            picturing.put(parsed, form, heap, lambda out: pictures.write(drawing, form, out))
    return asking.status(parsed, bool(preamble.lost))


def _changed(parsed: argparse.Namespace, form: str) -> int:
    from poireau.report import picture_pages
    from poireau.report.picture_data import MOST

    if form != "html" or parsed.json:
        raise Failure("what has changed is drawn in a page; `poireau diff` has it as text and JSON", USAGE)
    if parsed.before and (parsed.diff or parsed.since or parsed.what != "in-use"):
        raise Failure("--from compares what is in use at two moments, without --diff and --since", USAGE)
    limit = MOST if parsed.limit is None else parsed.limit
    if parsed.diff:
        heaps, selections = picturing.both(parsed, parsed.diff, parsed.since, parsed.at or parsed.until)
        page = picture_pages.changed(*heaps, selections, parsed.what, limit)
    else:
        heap, selection = picturing.opened(parsed, None, parsed.at or parsed.until)
        heaps = (heap, heap)
        page = picture_pages.moments(heap, asking.when(parsed.before, heap), selection, limit)
    picturing.put(parsed, form, heaps[1], lambda out: out.write(page))
    return asking.status(parsed, any(bool(heap.losses) for heap in heaps))


def _of_folded(parsed: argparse.Namespace, form: str) -> int:
    from poireau.report import picture_data, picture_flame, picture_folded, picture_pages, pictures

    if parsed.targets or form == "folded" or parsed.json or parsed.diff or parsed.before:
        raise Failure("--from-folded draws that file, and takes no TRACE, no --diff and no --json", USAGE)
    page = form == "html"  # turns stacks around itself
    read = picture_folded.read(parsed.from_folded, parsed.focus, parsed.ignore, parsed.inverted and not page)
    for complaint in read.complaints:
        asking.complain(complaint)
    most = picture_data.MOST if page else picture_flame.MOST
    limit = most if parsed.limit is None else parsed.limit
    if page:
        content = picture_pages.folded(read, limit, parsed.inverted)
        picturing.put(parsed, form, None, lambda out: out.write(content))
    else:
        drawing = picture_flame.draw(picture_folded.flame(read, limit, parsed.inverted))
        picturing.put(parsed, form, None, lambda out: pictures.write(drawing, form, out))
    return asking.status(parsed, bool(read.complaints))
