"""The commands that answer in files: export, pack, serve. What they need of numpy and pandas is imported when they
run."""

from __future__ import annotations

import argparse
import os
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from poireau import ask
from poireau.errors import INCOMPLETE
from poireau.report.exports import REPORTS, TABLES, Asked
from poireau.text import as_size, plain

if TYPE_CHECKING:
    from poireau.model import Heap
    from poireau.report.redact import Pseudonyms
    from poireau.selection import Selection

_REDACTION = (
    "Under --redact the names of functions, source files, modules, executables, threads and hosts, directories and the "
    "values of options are pseudonyms, and addresses in memory are left out. Numbers, times and structure stay, as do "
    "build ids and offsets in modules: whoever has the same binaries can look functions up by them. The key of the "
    "pseudonyms is made anew each time and forgotten, unless --redact-key names a file to keep it in."
)
_STATUS = "Exit status: 3 under --strict if anything was lost."
PORT = 6070


def add_to(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Their parsers."""
    everything: dict[str, Any] = {"since": None, "until": None, "focus": "", "ignore": "", "hide": "", "wrappers": ""}
    everything |= {"process": [], "thread": [], "reads_traces": True}
    export = verbs.add_parser(
        "export",
        help="write a heap for other tools",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Writes what is known of a heap in one of these formats:\n\n"
        + "\n".join(f"  {name:<10}  {report.help}" for name, report in REPORTS.items()),
        epilog="\n\n".join(textwrap.fill(each, 79) for each in (_REDACTION, f"TIME: {ask._TIMES}.", _STATUS)),
    )
    export.add_argument("format", metavar="FORMAT", choices=tuple(REPORTS), help="see above")
    _add_common(export)
    export.add_argument("--what", "--view", choices=ask._WHATS, default="in-use", help="of folded, speedscope, view")
    export.add_argument("--by", choices=ask._BYS, default="stack", help="a row of the table `view` for each (stack)")
    export.add_argument("--table", choices=TABLES, default="view", help="which one, of csv, json, jsonl, parquet")
    export.add_argument("--since", metavar="TIME", help="a window's beginning")
    export.add_argument("--until", metavar="TIME", help="and its end")
    _add_selection(export)
    export.set_defaults(**everything, act=_export)

    pack = verbs.add_parser(
        "pack",
        help="write a trace, with all names, into one file to hand on",
        description="Writes one file that top, diff, export and the others take for a trace, on any machine: it has "
        "every event, and the names of all functions.",
        epilog=_REDACTION,
    )
    _add_common(pack)
    pack.set_defaults(**everything, act=_pack, output="%e-%p.poireau")

    serve = verbs.add_parser(
        "serve",
        help="serve a heap at /debug/pprof/heap, as Go's programs do",
        description="Serves /debug/pprof/heap and /debug/pprof/allocs over HTTP, for go tool pprof, Parca and Alloy; "
        "?seconds=N says what changes within them, ?debug=1 gives a text. What is written to the traces meanwhile is "
        "read as it comes. There is no password: whoever reaches the port may read.",
        epilog=_REDACTION,
    )
    _add_targets(serve)
    _add_redaction(serve)
    serve.add_argument("--port", metavar="N", type=_port, default=PORT, help=f"0: any that is free ({PORT})")
    serve.add_argument("--bind", metavar="ADDRESS", default="127.0.0.1", help="who may reach it (127.0.0.1)")
    _add_selection(serve)
    serve.set_defaults(**everything, act=_serve)


def _add_targets(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "targets", metavar="TRACE", nargs="*", help="of a process, a run, many, a pack; a pid; otherwise the newest run"
    )
    parser.add_argument("--trace", metavar="DIR", help="the directory under which traces lie, where none is named")
    _in_any_order(parser)


def _add_redaction(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--redact", action="store_true", help="pseudonyms for all names (see below)")
    parser.add_argument("--redact-key", metavar="FILE", type=Path, help="their key; made if FILE isn't there")


def _add_common(parser: argparse.ArgumentParser) -> None:
    _add_targets(parser)
    parser.add_argument("-o", "--output", metavar="FILE", help="%%p, %%e, %%h, %%t in it: pid, program, host, time")
    parser.add_argument("-f", "--force", action="store_true", help="FILE may be there already")
    parser.add_argument("--strict", action="store_true", help="fail with 3 if anything was lost")
    _add_redaction(parser)


def _add_selection(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--focus", metavar="REGEX", default="", help="only stacks with such a function, file or module")
    parser.add_argument("--ignore", metavar="REGEX", default="", help="only stacks without one")
    parser.add_argument("--hide", metavar="REGEX", default="", help="leave such frames out")
    parser.add_argument("--process", metavar="PID|NAME", action="append", default=[], help="only these processes")
    parser.add_argument("--thread", metavar="TID|NAME", action="append", default=[], help="only these threads")


def _in_any_order(parser: argparse.ArgumentParser) -> None:
    """Before Python 3.12 what comes after an option is no TRACE any more."""
    parse = parser.parse_known_args

    def intermixed(args: Any = None, namespace: Any = None) -> Any:
        parser.parse_known_args = parse  # type: ignore[method-assign]
        try:
            return parser.parse_known_intermixed_args(args, namespace)
        finally:
            parser.parse_known_args = intermixed  # type: ignore[method-assign]

    parser.parse_known_args = intermixed  # type: ignore[method-assign]


def _port(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text} is no port")
    return int(text)


def _export(parsed: argparse.Namespace) -> int:
    from poireau.report import output

    report = REPORTS[parsed.format]
    heap, selection, _ = _opened(parsed, follow=False)
    name = None if parsed.output is None else output.named(parsed.output, heap)
    asked = Asked(selection, parsed.what, parsed.by, parsed.table)
    with output.opened(name, report.binary, parsed.force) as out:
        report.write(heap, asked, out)
    return _status(parsed, heap)


def _pack(parsed: argparse.Namespace) -> int:
    from poireau.reader import pack
    from poireau.report import output

    heap, _, _ = _opened(parsed, follow=False)
    name = output.named(parsed.output, heap)
    with output.opened(name, True, parsed.force) as out:
        pack.write(heap.source.batches(), heap.source.tables, heap.names, out)
    if name != output.STANDARD:
        print(f"{plain(name)}: {as_size(os.path.getsize(name))}", file=sys.stderr)
    return _status(parsed, heap)


def _serve(parsed: argparse.Namespace) -> int:
    from poireau import resident
    from poireau.serve import Served, serve

    heap, selection, pseudonyms = _opened(parsed, follow=True)

    def running() -> dict[int, bool]:
        processes = heap.processes if pseudonyms is None else pseudonyms.undone(heap.processes)
        return dict.fromkeys(resident.pids(processes), True)

    served = Served(heap, selection, running)
    serve(served, parsed.bind, parsed.port, lambda url: print(f"serving {url}", file=sys.stderr, flush=True))
    return 0


def _opened(parsed: argparse.Namespace, follow: bool) -> tuple[Heap, Selection, Pseudonyms | None]:
    """Redacted, if that is asked for. Regular expressions are about what things are really called."""
    from poireau import opening, traces
    from poireau.report import redact

    meant = traces.meant(parsed.targets, parsed.trace)
    if meant.said:
        print(meant.said, file=sys.stderr)
    heap = opening.open(meant.paths, follow=follow)
    selection = ask._selection(parsed, heap, parsed.since, parsed.until)
    if not parsed.redact:
        return heap, selection, None
    key = redact.new_key() if parsed.redact_key is None else redact.key_of(parsed.redact_key)
    pseudonyms = redact.Pseudonyms(key)
    return redact.redacted(heap, pseudonyms), pseudonyms.selection(selection, heap), pseudonyms


def _status(parsed: argparse.Namespace, heap: Heap) -> int:
    return INCOMPLETE if parsed.strict and not heap.complete else 0
