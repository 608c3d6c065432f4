"""`errors`: the memory errors that a trace tells of."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from poireau import asking


def add_to(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    verb = verbs.add_parser(
        "errors",
        help="memory errors: use after free, overflow, double free, ...",
        description="The memory errors that were seen, those of one place taken together: where it happened, who "
        "freed the block, who asked for it, and what the same line has allocated besides. A program tells of each "
        "place once. Blocks without guards show errors only when they are freed.",
        epilog=f"TIME: {asking.TIMES}. Exit status: 0, whatever is found (see --error-exitcode); 3 under --strict if "
        "anything was lost.",
    )
    asking.add_common(verb)
    asking.add_selection(verb)
    asking.add_wrappers(verb)
    asking.add_window(verb)
    add_suppressions(verb)
    verb.add_argument("--sarif", metavar="FILE", type=Path, help="write them as SARIF 2.1.0 too; -: to standard output")
    verb.add_argument("--limit", metavar="N", type=asking.natural, help="so many at the most; 0: all (20)")
    verb.add_argument("--frames", metavar="N|all", type=_frames, default=8, help="frames shown of each stack (8)")
    verb.add_argument("--error-exitcode", metavar="N", type=status, default=0, help="exit status if there are any (0)")
    asking.add_symbols(verb)
    verb.set_defaults(act=_act, reads_traces=True)


def add_suppressions(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--suppressions",
        metavar="FILE",
        action="append",
        default=[],
        help="what is known: LeakSanitizer's and valgrind's rules, and ours (see the README); several times",
    )


def status(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or len(text) > 3 or int(text) > 255:
        raise argparse.ArgumentTypeError(f"{text} is no exit status: 0 to 255")
    return int(text)


def _frames(text: str) -> int | None:
    return None if text == "all" else asking.natural(text)


def _act(parsed: argparse.Namespace) -> int:
    from poireau import misuse, suppressions
    from poireau.preamble import Preamble
    from poireau.report import errors, objects, sarif, text

    known = suppressions.read(parsed.suppressions)
    heap = asking.opened(parsed)
    selection = asking.selection(parsed, heap, parsed.since, parsed.until)
    found = misuse.with_profile(heap, misuse.find(heap, selection, known))
    preamble = Preamble.of(heap, selection, found.periods, found.stacks)
    if parsed.sarif is not None:
        write(parsed.sarif, objects.text_of(sarif.document(errors.problems_of(heap, found))))
    limit = text.LIMIT if parsed.limit is None else parsed.limit
    if parsed.json:
        sys.stdout.write(objects.text_of(errors.as_json(heap, found, preamble, limit)))
    elif parsed.sarif != Path("-"):
        style = text.Style.of(sys.stdout)
        asking.write_lines(errors.text(heap, found, preamble, style, limit, parsed.frames))
    for line in known.news(found.table["known"].tolist(), suppressions.ERRORS):
        asking.complain(line)
    return asking.status(parsed, bool(preamble.lost)) or (parsed.error_exitcode if len(found.news) else 0)


def write(path: Path, text: str) -> None:
    """`-`: to standard output."""
    from poireau.errors import Failure

    if path == Path("-"):
        sys.stdout.write(text)
        return
    try:
        path.write_text(text, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise Failure(f"{path}: {error.strerror}") from error
