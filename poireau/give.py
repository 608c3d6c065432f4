"""The commands that answer in files: export, pack, serve. What they need of numpy and pandas is imported when they
run."""

from __future__ import annotations

import argparse
import os
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

from poireau import asking
from poireau.errors import USAGE, Failure
from poireau.report.exports import REPORTS, TABLES, Asked
from poireau.text import as_size, plain

if TYPE_CHECKING:
    import pandas as pd

    from poireau.model import Heap
    from poireau.report.redact import Pseudonyms
    from poireau.selection import Selection

_REDACTION = (
    "Under --redact the names of functions, source files, modules, executables, threads and hosts, directories and the "
    "values of options are pseudonyms, and addresses in memory are left out. Numbers, times and structure stay, as do "
    "build ids and offsets in modules: whoever has the same binaries can look functions up by them. The key of the "
    "pseudonyms is made anew each time and forgotten, unless --redact-key names a file to keep it in."
)
PORT = 6070


def add_to(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Their parsers."""
    export = verbs.add_parser(
        "export",
        help="write a heap for other tools",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Writes what is known of a heap in one of these formats:\n\n"
        + "\n".join(f"  {name:<10}  {report.help}" for name, report in REPORTS.items()),
        epilog="\n\n".join(textwrap.fill(each, 79) for each in (_REDACTION, f"TIME: {asking.TIMES}.", asking.STATUS)),
    )
    export.add_argument("format", metavar="FORMAT", choices=tuple(REPORTS), help="see above")
    _add_common(export)
    export.add_argument("--what", "--view", choices=asking.WHATS, default="in-use", help="of folded, speedscope, view")
    export.add_argument("--by", choices=asking.BYS, default="stack", help="a row of the table `view` for each (stack)")
    export.add_argument("--table", choices=TABLES, default="view", help="which one, of csv, json, jsonl, parquet")
    asking.add_window(export)
    asking.add_selection(export)
    asking.add_wrappers(export)
    asking.add_symbols(export)
    export.set_defaults(act=_export, reads_traces=True)

    pack = verbs.add_parser(
        "pack",
        help="write a trace, with all names, into one file to hand on",
        description="Writes one file that top, diff, export and the others take for a trace, on any machine: it has "
        "every event, and the names of all functions.",
        epilog=_REDACTION,
    )
    _add_common(pack)
    asking.add_symbols(pack)
    pack.set_defaults(act=_pack, reads_traces=True, output="%e-%p.poireau")

    serve = verbs.add_parser(
        "serve",
        help="serve a heap at /debug/pprof/heap, as Go's programs do",
        description="Serves /debug/pprof/heap and /debug/pprof/allocs over HTTP, for go tool pprof, Parca and Alloy; "
        "?seconds=N says what changes within them, ?debug=1 gives a text. What is written to the traces meanwhile is "
        "read as it comes. There is no password: whoever reaches the port may read.",
        epilog=_REDACTION,
    )
    asking.add_targets(serve)
    _add_redaction(serve)
    serve.add_argument("--port", metavar="N", type=_port, default=PORT, help=f"0: any that is free ({PORT})")
    serve.add_argument("--bind", metavar="ADDRESS", default="127.0.0.1", help="who may reach it (127.0.0.1)")
    asking.add_selection(serve)
    asking.add_symbols(serve)
    serve.set_defaults(act=_serve, reads_traces=True)


def _add_redaction(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--redact", action="store_true", help="pseudonyms for all names (see below)")
    parser.add_argument("--redact-key", metavar="FILE", type=Path, help="their key; made if FILE isn't there")


def _add_common(parser: argparse.ArgumentParser) -> None:
    asking.add_targets(parser)
    parser.add_argument("-o", "--output", metavar="FILE", help="%%p, %%e, %%h, %%t in it: pid, program, host, time")
    parser.add_argument("-f", "--force", action="store_true", help="FILE may be there already")
    asking.add_strict(parser)
    _add_redaction(parser)


def _port(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text} is no port")
    return int(text)


def _export(parsed: argparse.Namespace) -> int:
    from poireau.report import output

    report = REPORTS[parsed.format]
    original = asking.opened(parsed)
    # Regular expressions are about what things are really called.
    selection = asking.selection(parsed, original, parsed.since, parsed.until)
    heap, pseudonyms = _redacted(parsed, original)
    if pseudonyms is not None:
        selection = pseudonyms.selection(selection, original)
    name = None if parsed.output is None else output.named(parsed.output, heap)
    asked = Asked(selection, parsed.what, parsed.by, parsed.table)
    with output.opened(name, report.binary, parsed.force) as out:
        report.write(heap, asked, out)
    return asking.status(parsed, not heap.complete)


def _pack(parsed: argparse.Namespace) -> int:
    from poireau.reader import pack
    from poireau.report import output

    heap, _ = _redacted(parsed, asking.opened(parsed))
    name = output.named(parsed.output, heap)
    with output.opened(name, True, parsed.force) as out:
        pack.write(heap.source.batches(), heap.source.tables, heap.names, out)
    if name != output.STANDARD:
        print(f"{plain(name)}: {as_size(os.path.getsize(name))}", file=sys.stderr)
    return asking.status(parsed, not heap.complete)


def _serve(parsed: argparse.Namespace) -> int:
    from poireau import resident
    from poireau.serve import Served, serve

    original = asking.opened(parsed, follow=True)
    heap, pseudonyms = _redacted(parsed, original)

    def processes() -> pd.DataFrame:
        return heap.processes if pseudonyms is None else pseudonyms.undone(heap.processes)

    def selection() -> Selection:
        asked = asking.selection(parsed, heap, processes=processes())
        return asked if pseudonyms is None else pseudonyms.selection(asked, original)

    served = Served(heap, selection, lambda: dict.fromkeys(resident.pids(processes()), True))
    serve(served, parsed.bind, parsed.port, lambda url: print(f"serving {url}", file=sys.stderr, flush=True))
    return 0


def _redacted(parsed: argparse.Namespace, heap: Heap) -> tuple[Heap, Pseudonyms | None]:
    """If that is asked for."""
    from poireau.report import redact

    if not parsed.redact:
        if parsed.redact_key is not None:
            raise Failure("--redact-key is for --redact", USAGE)
        return heap, None
    key = redact.new_key() if parsed.redact_key is None else redact.key_of(parsed.redact_key)
    pseudonyms = redact.Pseudonyms(key)
    return redact.redacted(heap, pseudonyms), pseudonyms
