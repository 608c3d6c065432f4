"""`flame`: a flamegraph of any view, or of folded stacks."""

from __future__ import annotations

import argparse
import sys

from poireau import asking, giving, picturing
from poireau.errors import USAGE, Failure

FORMS = ("html", "svg", "png", "pdf", "folded")


def add_to(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    verb = verbs.add_parser(
        "flame",
        help="a flamegraph of what is in use",
        description="Draws who called whom, each function as wide as the memory that was asked for in it and below it. "
        "A page (html) needs no network: click a box to look closer, / searches, a tooltip has the figures with their "
        "errors. Boxes that are uncertain are hatched. Without -o it is flame-PROGRAM-PID.html.",
        epilog=f"TIME: {asking.TIMES}. {asking.STATUS} {giving.REDACTION}",
    )
    picturing.add_output(verb, FORMS)
    verb.add_argument("--what", choices=asking.WHATS, default="in-use", help="what is drawn (in-use)")
    verb.add_argument("--inverted", action="store_true", help="who asked for memory on top, and the callers below")
    verb.add_argument("--at", metavar="TIME", help="in use at that time, rather than at the end")
    asking.add_window(verb)
    asking.add_selection(verb)
    asking.add_wrappers(verb)
    verb.add_argument(
        "--limit", metavar="N", type=asking.natural, help="boxes; what is smaller is drawn together; 0: all (6000)"
    )
    verb.add_argument("--from-folded", metavar="FILE", help="of lines `main;f;g BYTES`; -: standard input")
    asking.add_symbols(verb)
    verb.set_defaults(act=_act, reads_traces=True)


def _act(parsed: argparse.Namespace) -> int:
    form = picturing.form_of(parsed, FORMS)
    if parsed.at and (parsed.since or parsed.until or parsed.what != "in-use"):
        raise Failure("--at is for what is in use, without --since and --until", USAGE)
    return _of_heap(parsed, form) if parsed.from_folded is None else _of_folded(parsed, form)


def _of_heap(parsed: argparse.Namespace, form: str) -> int:
    from poireau.preamble import Preamble
    from poireau.report import folded, objects, picture_flame, pictures, tree
    from poireau.views import view

    heap, selection = picturing.opened(parsed, parsed.since, parsed.at or parsed.until)
    answer = view(heap, parsed.what, "stack", selection)
    for complaint in answer.complaints:
        asking.complain(complaint)
    preamble = Preamble.of(heap, selection, answer.periods, answer.stacks)
    calls = tree.calls(answer, parsed.inverted)
    limit = picture_flame.MOST if parsed.limit is None else parsed.limit
    if parsed.json:
        sys.stdout.write(objects.text_of({**objects.of_calls(calls, preamble, limit), "schema": "poireau.flame"}))
    if picturing.drawn(parsed):
        if form == "folded":
            picturing.put(parsed, form, heap, lambda out: folded.write(answer, out))
        else:
            drawing = picture_flame.draw(
                picture_flame.of_calls(calls, preamble, limit, parsed.inverted, form == "html")
            )
            picturing.put(parsed, form, heap, lambda out: pictures.write(drawing, form, out))
    return asking.status(parsed, bool(preamble.lost))


def _of_folded(parsed: argparse.Namespace, form: str) -> int:
    from poireau.report import picture_flame, picture_folded, pictures

    if parsed.targets or form == "folded" or parsed.json:
        raise Failure("--from-folded draws that file, and takes no TRACE and no --json", USAGE)
    read = picture_folded.read(parsed.from_folded, parsed.focus, parsed.ignore, parsed.inverted)
    for complaint in read.complaints:
        asking.complain(complaint)
    limit = picture_flame.MOST if parsed.limit is None else parsed.limit
    drawing = picture_flame.draw(picture_folded.flame(read, limit, parsed.inverted, form == "html"))
    picturing.put(parsed, form, None, lambda out: pictures.write(drawing, form, out))
    return asking.status(parsed, bool(read.complaints))
