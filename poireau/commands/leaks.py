"""`leaks`: what grows, and is not going to be freed."""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from poireau import asking
from poireau.errors import USAGE, Failure
from poireau.selection import distance

if TYPE_CHECKING:
    from poireau.model import Heap
    from poireau.reached import Reached

DEFAULT_FILE = ".poireau-suppressions"
LIMIT = 20
_DRAWN = (  # options that the answer does not depend on, and those that the key has in another form
    "frames why blame json cache error_exitcode min_rate strict act limit targets trace learn suppressions".split()
)
FOUND = ("lost", "leak", "likely")
HOUR, WEEK = 3600.0, 7 * 86400.0
LEARNED = "?"  # --learn without a file


def add_to(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    verb = verbs.add_parser(
        "leaks",
        help="what leaks, how fast, and how that is known",
        description="What grows and is not going to be freed, the fastest first: by how much an hour, with the "
        "interval that holds the truth with 95 % certainty. It is told from growth that goes on, from the age beyond "
        "which nothing is freed any more, from what becomes of other blocks of the same place, and, where the process "
        "runs and may be read, from whether anything points at the blocks (lost).",
        epilog=f"TIME: {asking.TIMES}. Exit status: 0, whatever is found, unless --error-exitcode is given. "
        f"{asking.STATUS.removeprefix('Exit status: ')}",
    )
    asking.add_common(verb)
    verb.add_argument("--by", choices=("line", "function", "stack"), default="line", help="a row for each (line)")
    asking.add_selection(verb)
    asking.add_wrappers(verb)
    asking.add_window(verb)
    verb.add_argument("--limit", metavar="N", type=asking.natural, help="rows; 0: all, those that don't grow too (20)")
    verb.add_argument("--frames", metavar="N|all", type=_frames, default=2, help="callers shown of each (2)")
    verb.add_argument("--older", metavar="TIME", help="what is old, as 5m; otherwise that is found out")
    verb.add_argument("--min-rate", metavar="SIZE", default="0", help="leave out what surely grows less, an hour")
    verb.add_argument("--why", action="store_true", help="all the evidence for each")
    verb.add_argument("--blame", action="store_true", help="who wrote the line, and when (git blame)")
    scan = verb.add_argument_group("does anybody point at them")
    scan.add_argument("--scan", action="store_true", default=None, help="look, and fail where that is not possible")
    scan.add_argument("--no-scan", dest="scan", action="store_false", help="don't look, though the process runs")
    scan.add_argument("--core", metavar="FILE", help="look into this core of the process")
    known = verb.add_argument_group("what is known")
    known.add_argument(
        "--suppressions", metavar="FILE", action="append", default=[],
        help=f"what is not to be told, as for LeakSanitizer; several times ({DEFAULT_FILE}, where there is one)",
    )  # fmt: skip
    known.add_argument(
        "--learn",
        metavar="FILE",
        nargs="?",
        const=LEARNED,
        help=f"note what is found as known from now on ({DEFAULT_FILE})",
    )
    verb.add_argument("--no-cache", dest="cache", action="store_false", help="don't use or keep a former answer")
    verb.add_argument("--error-exitcode", metavar="N", type=_status, default=0, help="the exit status if any is found")
    asking.add_symbols(verb)
    verb.set_defaults(act=act, reads_traces=True)


def act(parsed: argparse.Namespace) -> int:
    least = _size(parsed.min_rate)
    found, opening = _answer(parsed)
    rows = [row for row in found["rows"] if row["rate"]["ci95"][1] >= least]
    if parsed.json:
        limit = _limit(parsed)
        shown = rows if limit == 0 else rows[:limit]
        if parsed.blame:
            from poireau.report.blame import blame

            shown = [{**row, "blame": blame(row)} for row in shown]
        asking.write_json({**found, "rows": shown, "more": found["more"] + len(rows) - len(shown)})
    else:
        _write(parsed, {**found, "rows": rows}, opening)
    findings = any(row["verdict"] in FOUND and not row["known"] for row in rows)
    if findings and parsed.error_exitcode:
        return int(parsed.error_exitcode)
    return asking.status(parsed, bool(found["of"][0]["lost"]))


def _write(parsed: argparse.Namespace, found: dict[str, Any], opening: Sequence[str]) -> None:
    from poireau.report import leaks
    from poireau.report.blame import blame
    from poireau.report.style import Style

    style = Style.of(sys.stdout)
    asking.write_lines(
        leaks.lines(
            found, list(style.wrapped(opening)), style.paint,
            limit=_limit(parsed), frames=parsed.frames, why=parsed.why, blame=blame if parsed.blame else None,
            width=style.width,
        )
    )  # fmt: skip


def _answer(parsed: argparse.Namespace) -> tuple[dict[str, Any], list[str]]:
    """The document, and the lines that come before it."""
    from poireau import leak_cache, traces

    older = None if parsed.older is None else _older(parsed.older)
    meant = traces.meant(parsed.targets, parsed.trace)
    if meant.said:
        print(meant.said, file=sys.stderr)
    files = _files(parsed)
    place = _kept_in()
    name = None
    if place is not None and parsed.cache and not (parsed.scan or parsed.core or parsed.learn):
        name = leak_cache.key((*meant.paths, *files), _asked(parsed))
    kept = leak_cache.load(place, name) if place is not None and name is not None else None
    if kept is not None:
        return kept["found"], kept["opening"]
    found, opening, runs = _computed(parsed, list(meant.paths), files, older)
    if place is not None and name is not None and not runs:
        # Names that are missing may be there soon.
        leak_cache.store(
            place, name, {"found": found, "opening": opening}, 3600 if found["of"][0]["unnamed"] else 7 * 86400
        )
    return found, opening


def _computed(
    parsed: argparse.Namespace, paths: list[str], files: Sequence[str], older: int | None
) -> tuple[dict[str, Any], list[str], bool]:
    """And whether any of the processes goes on."""
    from poireau import leaks, suppressions
    from poireau.preamble import Preamble
    from poireau.report.leaks_document import document

    known = suppressions.read(files)
    heap = asking.opened(parsed, paths)
    selection = asking.selection(parsed, heap, parsed.since, parsed.until)
    reached = _reached(parsed, heap)
    answer = leaks.find(heap, selection, older=older, reached=reached, known=known, by=parsed.by)
    if parsed.learn is not None:
        _learn(parsed, answer)
    preamble = Preamble.of(heap, selection, answer.periods, answer.stacks)
    found = _finite(document(heap, answer, preamble, _limit(parsed)))
    return found, preamble.lines(), any(heap.running.values())


def _asked(parsed: argparse.Namespace) -> dict[str, Any]:
    """All that the answer depends on, but for files."""
    import time

    asked = {name: value for name, value in vars(parsed).items() if name not in _DRAWN and not callable(value)}
    return {**asked, "limit": _limit(parsed), "day": time.strftime("%Y-%m-%d %z")}


def _limit(parsed: argparse.Namespace) -> int:
    return LIMIT if parsed.limit is None else int(parsed.limit)


def _kept_in() -> Path | None:
    from poireau.symbol_cache import directory

    place = directory()
    return None if place is None else place / "leaks"


def _learn(parsed: argparse.Namespace, answer: Any) -> None:
    from poireau import suppressions

    file = parsed.learn if parsed.learn != LEARNED else (parsed.suppressions or [DEFAULT_FILE])[-1]
    try:
        changed = suppressions.learn(file, answer.found)
    except OSError as error:
        raise Failure(f"--learn {file}: {error.strerror}", USAGE) from error
    asking.complain(f"{len(changed)} rule{'s' * (len(changed) != 1)} noted in {file}")


def _files(parsed: argparse.Namespace) -> list[str]:
    return parsed.suppressions or ([DEFAULT_FILE] if os.path.isfile(DEFAULT_FILE) else [])


def _reached(parsed: argparse.Namespace, heap: Heap) -> Reached | None:
    """Of what runs, unless there is a window that ends before now. Where nobody asked for it, a failure is a line."""
    if parsed.scan is False and not parsed.core:
        return None
    if not parsed.core and not parsed.scan and (parsed.until or not any(heap.running.values())):
        return None
    from poireau import scan

    try:
        return scan.look(heap, core=parsed.core)
    except Failure as failure:
        if parsed.scan or parsed.core:
            raise
        asking.complain(f"not scanned: {failure}")
        return None


def _older(text: str) -> int:
    apart = distance(text)
    if apart is None or apart < 0:
        raise Failure(f"--older {text}: it should read 5m, 90s or 2h", USAGE)
    return apart


def _size(text: str) -> float:
    if text == "0":
        return 0.0
    from poireau.suppressions import bytes_of

    size = bytes_of(text)
    if size is None:
        raise Failure(f"--min-rate {text}: it should read 1MiB (an hour)", USAGE)
    return float(size)


def _frames(text: str) -> int | None:
    return None if text == "all" else asking.natural(text)


def _status(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or int(text) > 255:
        raise argparse.ArgumentTypeError(f"{text} is no exit status")
    return int(text)


def _finite(value: Any) -> Any:
    """As JSON has it: what has no value is None."""
    if isinstance(value, dict):
        return {name: _finite(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(each) for each in value]
    if hasattr(value, "item"):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
