"""`export`: a heap for other tools."""

from __future__ import annotations

import argparse
import textwrap

from poireau import asking, giving
from poireau.report.exports import REPORTS, TABLES, Asked


def add_to(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    verb = verbs.add_parser(
        "export",
        help="write a heap for other tools",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Writes what is known of a heap in one of these formats:\n\n"
        + "\n".join(f"  {name:<10}  {report.help}" for name, report in REPORTS.items()),
        epilog="\n\n".join(
            textwrap.fill(each, 79) for each in (giving.REDACTION, f"TIME: {asking.TIMES}.", asking.STATUS)
        ),
    )
    verb.add_argument("format", metavar="FORMAT", choices=tuple(REPORTS), help="see above")
    giving.add_common(verb)
    verb.add_argument("--what", "--view", choices=asking.WHATS, default="in-use", help="of folded, speedscope, view")
    verb.add_argument("--by", choices=asking.BYS, default="stack", help="a row of the table `view` for each (stack)")
    verb.add_argument("--table", choices=TABLES, default="view", help="which one, of csv, json, jsonl, parquet")
    asking.add_window(verb)
    asking.add_selection(verb)
    asking.add_wrappers(verb)
    asking.add_symbols(verb)
    verb.set_defaults(act=_act, reads_traces=True)


def _act(parsed: argparse.Namespace) -> int:
    from poireau.report import output

    report = REPORTS[parsed.format]
    original = asking.opened(parsed)
    # Regular expressions are about what things are really called.
    selection = asking.selection(parsed, original, parsed.since, parsed.until)
    heap, pseudonyms = giving.redacted(parsed, original)
    if pseudonyms is not None:
        selection = pseudonyms.selection(selection, original)
    name = None if parsed.output is None else output.named(parsed.output, heap)
    asked = Asked(selection, parsed.what, parsed.by, parsed.table)
    with output.opened(name, report.binary, parsed.force) as out:
        report.write(heap, asked, out)
    return asking.status(parsed, not heap.complete)
