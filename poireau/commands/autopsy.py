"""`autopsy`: what held memory when a process ended, and how it did."""

from __future__ import annotations

import argparse
import sys

from poireau import asking


def add_to(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    verb = verbs.add_parser(
        "autopsy",
        help="what held memory when a process was killed, and where its RSS went",
        description="Tells of a process that was killed, by the OOM killer maybe, from the files it left: when and how "
        "it ended as far as anybody knows, what was in use then by line, what grew before, what leaks, its errors, and "
        "where its resident memory (RSS) went. Of a process that runs, the same as of now. The kernel's log is asked "
        "where it may be read.",
        epilog=asking.STATUS,
    )
    asking.add_common(verb)
    asking.add_selection(verb)
    asking.add_wrappers(verb)
    asking.add_symbols(verb)
    verb.set_defaults(act=_act, reads_traces=True)


def _act(parsed: argparse.Namespace) -> int:
    from poireau import autopsy, autopsy_text
    from poireau.report.text import Style

    heap = asking.opened(parsed)
    found = autopsy.of(heap, asking.selection(parsed, heap))
    if parsed.json:
        sys.stdout.write(autopsy_text.text_of(found))
    else:
        asking.write_lines(autopsy_text.lines(found, Style.of(sys.stdout)))
    return asking.status(parsed, bool(found.preamble.lost))
