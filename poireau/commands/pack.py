"""`pack`: a trace with all names in one file."""

from __future__ import annotations

import argparse
import os
import sys

from poireau import asking, giving
from poireau.text import as_size, plain


def add_to(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    verb = verbs.add_parser(
        "pack",
        help="write a trace, with all names, into one file to hand on",
        description="Writes one file that top, diff, export and the others take for a trace, on any machine: it has "
        "every event, and the names of all functions.",
        epilog=giving.REDACTION,
    )
    giving.add_common(verb)
    asking.add_symbols(verb)
    verb.set_defaults(act=_act, reads_traces=True, output="%e-%p.poireau")


def _act(parsed: argparse.Namespace) -> int:
    from poireau.reader import pack
    from poireau.report import output

    heap, _ = giving.redacted(parsed, asking.opened(parsed))
    name = output.named(parsed.output, heap)
    with output.opened(name, True, parsed.force) as out:
        pack.write(heap.source.batches(), heap.source.tables, heap.names, out)
    if name != output.STANDARD:
        print(f"{plain(name)}: {as_size(os.path.getsize(name))}", file=sys.stderr)
    return asking.status(parsed, not heap.complete)
