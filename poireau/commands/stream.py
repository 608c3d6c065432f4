"""`stream`: what was in use over time, as a streamgraph."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from poireau import asking, giving, picturing

if TYPE_CHECKING:
    from poireau.model import Heap
    from poireau.selection import Selection

FORMS = ("html", "svg", "png", "pdf", "csv")
BYS = ("line", "function", "file", "stack", "module", "thread", "size", "call", "process")


def add_to(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    verb = verbs.add_parser(
        "stream",
        help="what was in use over time, by line, as a streamgraph",
        description="Draws what was in use over time: a band for each line that ever had most of it, all others "
        "as one, and the total with its 95 % interval beneath. A page (html) needs no network, and turns to other "
        "bands; a moment or a window that is picked in it opens as a flamegraph. Without -o it is "
        "stream-PROGRAM-PID.html.",
        epilog=f"TIME: {asking.TIMES}. {asking.STATUS} {giving.REDACTION}",
    )
    picturing.add_output(verb, FORMS)
    verb.add_argument("--by", choices=BYS, default="line", help="a band for each (line)")
    verb.add_argument("--bands", metavar="N", type=asking.natural, default=10, help="besides all others (10)")
    verb.add_argument("--baseline", choices=("wiggle", "zero"), default="wiggle", help="on what bands lie (wiggle)")
    asking.add_window(verb)
    asking.add_selection(verb)
    asking.add_wrappers(verb)
    asking.add_symbols(verb)
    verb.set_defaults(act=_act, reads_traces=True)


def _act(parsed: argparse.Namespace) -> int:
    from poireau.preamble import Preamble

    form = picturing.form_of(parsed, FORMS)
    heap, selection = picturing.opened(parsed, parsed.since, parsed.until)
    if parsed.json or form != "html":
        _figures(parsed, form, heap, selection)
    if picturing.drawn(parsed) and form == "html":
        from poireau.report import picture_pages

        page = picture_pages.stream(heap, selection, parsed.by, max(parsed.bands, 1), parsed.baseline == "wiggle")
        picturing.put(parsed, form, heap, lambda out: out.write(page))
    return asking.status(parsed, bool(Preamble.of(heap, selection).lost))


def _figures(parsed: argparse.Namespace, form: str, heap: Heap, selection: Selection) -> None:
    """As JSON, as a table, as a drawing."""
    from poireau.preamble import Preamble
    from poireau.report import objects, picture_stream
    from poireau.report.text import chosen
    from poireau.report.words import whole

    stream = picture_stream.of(heap, parsed.by, selection, max(parsed.bands, 1))
    preamble = Preamble.of(heap, selection, stream.periods, stream.stacks)
    if parsed.json:
        sys.stdout.write(objects.text_of(picture_stream.as_json(stream, preamble)))
    if not picturing.drawn(parsed) or form == "html":
        return
    if form == "csv":
        text = picture_stream.table(stream).to_csv(index=False, lineterminator="\n")
        picturing.put(parsed, form, heap, lambda out: out.write(text.encode("utf-8", "replace")))
        return
    title = f"in use over time, by {parsed.by}{chosen(selection)}: {whole(stream.total[-1])} at the end"
    from poireau.report import picture_growth  # and with it matplotlib

    wiggle = parsed.baseline == "wiggle"
    picturing.put(
        parsed, form, heap, lambda out: picture_growth.write(stream, title, preamble.lines(), wiggle, form, out)
    )
