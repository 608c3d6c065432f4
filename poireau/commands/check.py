"""`check`: runs a command, and fails if it does anything wrong with its memory. For CI."""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from poireau import asking
from poireau.commands import errors
from poireau.commands.run import PROTECTION
from poireau.errors import INCOMPLETE, USAGE, Failure


def add_to(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    verb = verbs.add_parser(
        "check",
        help="run a command, and fail on memory errors and leaks: for CI",
        usage="poireau check [options] -- COMMAND [ARGUMENT]...",
        description="Runs COMMAND, some times maybe, with the library preloaded, and fails if it fails, does anything "
        "wrong with its memory, or loses more of it than it may. Lost is what nothing points at any more, in two "
        "scans, when a process is about to end (main returns, or exit is called), before any exit handler. The README "
        "says exactly what counts.",
        epilog="Exit status: 0 all is well; 1 it is not; 2 wrong use; 3 under --strict if anything was lost, or "
        "nothing could be looked at; 125 we failed; 126, 127 COMMAND can't be run, or isn't there.",
    )
    verb.add_argument("-n", "--runs", metavar="N", type=_runs, default=1, help="run it so many times (1)")
    verb.add_argument(
        "--protect", choices=tuple(PROTECTION), default="sampled", help="which blocks are watched (sampled)"
    )
    verb.add_argument("-c", "--period", metavar="SIZE", help="mean bytes between two samples (auto)")
    verb.add_argument("--max-leak", metavar="SIZE", default="0", help="that may be lost in a run (0)")
    verb.add_argument("--errors", metavar="N", type=asking.natural, default=0, help="that are allowed (0)")
    verb.add_argument(
        "--share",
        metavar="X",
        type=_share,
        default=0.5,
        help="of the runs that have to have a leak for it to count (0.5)",
    )
    verb.add_argument("--no-leaks", action="store_true", help="only errors: no process is held, none is scanned")
    errors.add_suppressions(verb)
    verb.add_argument(
        "--learn", metavar="FILE", type=Path, help="add what leaks to these suppressions: known from now on"
    )
    verb.add_argument("--junit", metavar="FILE", type=Path, help="write what came out as JUnit XML")
    verb.add_argument("--sarif", metavar="FILE", type=Path, help="write errors and leaks as SARIF 2.1.0")
    verb.add_argument("--json", action="store_true", help="for a program to read; COMMAND's output goes to stderr")
    verb.add_argument("--trace", metavar="DIR", type=Path, help="keep the traces, under DIR")
    verb.add_argument("--set", metavar="NAME=VALUE", action="append", default=[], type=_setting, help="any option")
    asking.add_strict(verb)
    asking.add_symbols(verb)
    verb.add_argument("command", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    verb.set_defaults(act=_act, reads_traces=True)


def _runs(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or not 0 < int(text) <= 1000:
        raise argparse.ArgumentTypeError(f"{text} is no number of runs: 1 to 1000")
    return int(text)


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = -1
    if not 0 <= share <= 1:
        raise argparse.ArgumentTypeError(f"{text} is no share: 0 to 1")
    return share


def _setting(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise argparse.ArgumentTypeError(f"{text}: it should read NAME=VALUE")
    return name.strip(), value.strip()


def _act(parsed: argparse.Namespace) -> int:
    if not parsed.command:
        raise Failure("check: which command? For example: check -- ./tests", USAGE)
    from poireau import ci, ci_report, ci_run, suppressions
    from poireau.report import junit, objects, sarif, text

    most = suppressions.bytes_of(parsed.max_leak)
    if most is None:
        raise Failure(f"check: --max-leak {parsed.max_leak} is no size: 1MiB, 500KB", USAGE)
    if parsed.period not in (None, "auto") and suppressions.bytes_of(parsed.period) is None:
        raise Failure(f"check: --period {parsed.period} is no size: 1, 64KiB, 2M, auto", USAGE)
    known = suppressions.read(parsed.suppressions)
    settings = {"log": "off", "sample_period": "auto", **dict(PROTECTION[parsed.protect])}  # errors are told at the end
    settings |= {"sample_period": parsed.period} if parsed.period else {}
    settings |= dict(parsed.set)
    limits = ci.Limits(parsed.errors, most, parsed.share)
    names = asking._settings(parsed)
    with _traces(parsed.trace) as traces:
        runs = [
            ci_run.run(parsed.command, settings, traces, not parsed.no_leaks, parsed.json) for _ in range(parsed.runs)
        ]
        check = ci.of(parsed.command, runs, limits, known, names)
    if parsed.junit is not None:
        seconds = sum(run.seconds for run in runs)
        errors.write(parsed.junit, junit.document(ci_report.suite(check), ci_report.cases(check), seconds))
    if parsed.sarif is not None:
        errors.write(parsed.sarif, objects.text_of(sarif.document(ci_report.problems_of(check))))
    if parsed.json:
        sys.stdout.write(objects.text_of(ci_report.as_json(check)))
    else:
        asking.write_lines(ci_report.text(check, text.Style.of(sys.stdout)))
    for line in check.news:
        asking.complain(line)
    if check.preamble is None:
        asking.complain("nothing was sampled: there is nothing that could be told of it")
    for why in check.unseen:
        raise Failure(f"leaks can't be looked for: {why} (--no-leaks: only errors)")
    if parsed.learn is not None:
        learned = suppressions.learn(parsed.learn, ci.learnable(check))
        asking.complain(f"{parsed.learn}: {len(learned)} rule{'s' * (len(learned) != 1)} learned")
    incomplete = check.preamble is None or bool(check.preamble.lost) or (check.looked_for_leaks and not check.scanned)
    return 1 if check.failed else INCOMPLETE if parsed.strict and incomplete else 0


@contextlib.contextmanager
def _traces(kept: Path | None) -> Iterator[Path]:
    if kept is not None:
        yield kept.absolute()
        return
    with tempfile.TemporaryDirectory(prefix="poireau-check-") as directory:
        yield Path(directory)
