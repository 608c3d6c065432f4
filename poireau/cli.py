"""The commands: arguments in, an exit status out. What they do is elsewhere."""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import secrets
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from poireau import (
    ask,
    commands,
    ctl,
    doctor,
    give,
    interpreter,
    launch,
    layout,
    options,
    ps,
    recording,
    replay,
    snapshot,
)
from poireau.errors import OUR_FAILURE, REFUSED, USAGE, Failure
from poireau.text import plain
from poireau.version import __version__

INTERRUPTED = 130
MOST_SECONDS = 1e6


def main(arguments: Sequence[str] | None = None) -> int:
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # who started us has closed it
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # as stderr is: what is named may have any name
    try:
        try:
            return _obey(arguments)
        finally:
            sys.stdout.flush()
    except Failure as failure:
        _complain(str(failure))
        return failure.status
    except BrokenPipeError:
        _print_no_more()
        return 0
    except OSError as error:
        _print_no_more()
        _complain(f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror or error))
        return OUR_FAILURE
    except KeyboardInterrupt:
        return INTERRUPTED


def _complain(text: str) -> None:
    print(f"poireau: {plain(text)}", file=sys.stderr, flush=True)


def _print_no_more() -> None:
    """What could not be written is not tried again at the end."""
    with contextlib.suppress(OSError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _obey(arguments: Sequence[str] | None) -> int:
    given = list(sys.argv[1:] if arguments is None else arguments)
    parser = _parser()
    # argparse would take the program's own options for ours, and each Python treats a -- differently.
    ours, separator, theirs = _split(given)
    parsed = parser.parse_args(ours)
    if parsed.verb == "run":
        parsed.command = [*parsed.command, *([separator] if parsed.command and separator else []), *theirs]
        if not parsed.command:
            parser.error("run: which program? For example: run -- ls -l")
    elif separator:
        parser.error(f"{parsed.verb or 'poireau'} takes nothing after --")
    if parsed.verb is None:
        parser.print_help()
        return USAGE
    if getattr(parsed, "reads_traces", False):
        interpreter.ensure()
    return int(parsed.act(parsed))


def _split(given: list[str]) -> tuple[list[str], str, list[str]]:
    at = given.index("--") if "--" in given else len(given)
    return given[:at], "--" if at < len(given) else "", given[at + 1 :]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="poireau", description="Where a native program's heap goes.")
    parser.add_argument("-V", "--version", action="version", version=f"poireau {__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="COMMAND", title="commands")

    run = verbs.add_parser(
        "run",
        help="run a program with the library preloaded",
        usage="poireau run [options] -- PROGRAM [ARGUMENT]...",
        description="Becomes PROGRAM, with the library preloaded: the same process, its exit status, its output.",
    )
    run.add_argument("-c", "--period", metavar="SIZE", help="mean bytes between two samples: 1, 64KiB, 2M")
    run.add_argument("--by", choices=("bytes", "calls"), help="what the period counts")
    run.add_argument("--log", choices=("off", "error", "info", "debug"), help="what the library says on stderr")
    run.add_argument("--trace", metavar="DIR", help="the directory under which traces lie: DIR/run/process")
    run.add_argument(
        "--every-call", action="store_true", help="record each call, for `replay` and `export calls`; see the README"
    )
    run.add_argument("--only", metavar="NAMES", help="programs to profile among those it starts: python3,gcc")
    run.add_argument(
        "--set", metavar="NAME=VALUE", action="append", default=[], type=_setting, help="any option (see config)"
    )
    run.add_argument("command", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    run.set_defaults(act=_run)

    lib = verbs.add_parser("lib", help="print the library's path, for LD_PRELOAD")
    lib.set_defaults(act=_lib)

    checkup = verbs.add_parser("doctor", help="does it work here, and what can it see of PROGRAM")
    checkup.add_argument("program", metavar="PROGRAM", nargs="?")
    checkup.add_argument("--json", action="store_true", help="findings for a program to read")
    checkup.set_defaults(act=_doctor)

    config = verbs.add_parser("config", help="print a poireau.toml with every option explained")
    form = config.add_mutually_exclusive_group()
    form.add_argument("--toml", action="store_true", help="as TOML (the default)")
    form.add_argument("--json", action="store_true", help="as JSON")
    config.set_defaults(act=_config)

    listing = verbs.add_parser(
        "ps",
        help="list the running programs that have the library preloaded",
        description="Lists what is preloaded and may be spoken to: the processes of this user, or of all for root, "
        "those of other network namespaces among them. LIVE is an estimate, with a 95 % interval, of what is alive "
        "of the memory that was requested while they were armed; COST a share of their CPU time. A program answers at "
        "its next sample; one that did not in time is called idle. Where there is none, a line on standard error says "
        "so, and the exit status is 0.",
    )
    listing.add_argument("--json", action="store_true", help="all there is to know, for a program to read")
    listing.add_argument("--wait", metavar="SECONDS", type=_seconds, default=ps.SECONDS, help="for answers (0.3)")
    listing.set_defaults(act=_ps)

    control = verbs.add_parser(
        "ctl",
        help="ask or change a running program",
        usage="poireau ctl [--json] [--wait SECONDS] [--to DIR] PID VERB [NAME [VALUE]]...",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Has a program that has the library preloaded do one of these, at its next sample:\n\n"
        + "\n".join(f"  {verb:<8}  {each.help}" for verb, each in ctl.VERBS.items()),
        epilog="A change that it has not made in time stays queued. Exit status: 0 done or queued, 1 refused,\n"
        "2 not preloaded (or wrong use), 3 no answer in time.",
    )
    control.add_argument("pid", metavar="PID", type=_pid)
    control.add_argument("verb_of_it", metavar="VERB", choices=tuple(ctl.VERBS), help="what to do")
    control.add_argument(
        "words", metavar="NAME", nargs="*", default=[], help="get NAME; set NAME VALUE [NAME VALUE]..."
    )
    control.add_argument("--json", action="store_true", help="the answers as they came, a line each")
    control.add_argument("--wait", metavar="SECONDS", type=_seconds, help="for the answer, however idle it is")
    control.add_argument("--to", metavar="DIR", type=Path, help="with snapshot: make DIR, a trace of what is alive")
    control.set_defaults(act=_ctl)

    attach = verbs.add_parser(
        "attach",
        help="have a running program that has the library preloaded sample",
        description="Has a program that was started with the library, dormant maybe (POIREAU_ARMED=0), sample from "
        "now on. Exit status: as for ctl.",
    )
    attach.add_argument("pid", metavar="PID", type=_pid)
    attach.add_argument("--wait", metavar="SECONDS", type=_seconds, help="for the answer, however idle it is")
    attach.set_defaults(act=_attach)

    for each in (ask, give, replay, commands):  # what they add with reads_traces=True runs where numpy and pandas are
        each.add_to(verbs)
    return parser


def _pid(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or not 0 < int(text) < 1 << 31:
        raise argparse.ArgumentTypeError(f"{text} is no pid")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1
    if not 0 <= seconds <= MOST_SECONDS:
        raise argparse.ArgumentTypeError(f"{text} is no number of seconds")
    return seconds


def _setting(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise argparse.ArgumentTypeError(f"{text}: it should read NAME=VALUE")
    return name.strip(), value.strip()


def _run(parsed: argparse.Namespace) -> int:
    short = {
        "sample_period": parsed.period,
        "sample_by": parsed.by,
        "log": parsed.log,
        "trace": parsed.trace and os.path.abspath(parsed.trace),
        "only": parsed.only,
    }
    settings = [(name, value) for name, value in short.items() if value is not None] + parsed.set
    if parsed.every_call:
        settings = [*recording.SETTINGS, *settings]
    known = options.parse(layout.options_file().read_text()) if settings else []
    variables = options.environment(settings, known)
    # All processes of this run share one directory of traces.
    variables["POIREAU_RUN"] = launch.run_name(parsed.command[0], os.getpid(), time.time(), secrets.token_hex(4))
    plan = launch.plan(parsed.command, variables, launch.inherited_environment(), layout.library())
    if plan.warning is not None:
        _complain(plan.warning)
    if parsed.every_call and plan.warning is None:
        return _record(plan)
    launch.become(plan)


def _record(plan: launch.Launch) -> int:
    run = recording.run_directory(plan.environment)
    status = recording.follow(plan)
    for line in recording.look(run).lines():
        _complain(line)
    return recording.leave(status)


def _lib(parsed: argparse.Namespace) -> int:
    print(layout.library())
    return 0


def _doctor(parsed: argparse.Namespace) -> int:
    findings = doctor.examine(parsed.program, launch.inherited_environment())
    if parsed.json:
        print(json.dumps(doctor.as_json(findings), indent=2))
    else:
        print(doctor.as_text(findings), end="")
    return 0 if doctor.healthy(findings) else 1


def _config(parsed: argparse.Namespace) -> int:
    toml = layout.options_file().read_text()
    if parsed.json:
        described = [asdict(option) for option in options.parse(toml)]
        print(json.dumps({"schema": "poireau.options", "version": 1, "options": described}, indent=2))
    else:
        print(toml, end="")
    return 0


def _ps(parsed: argparse.Namespace) -> int:
    found = ps.survey(parsed.wait)
    for complaint in found.complaints:
        _complain(complaint)
    if parsed.json:
        print(json.dumps(ps.as_json(found.rows), indent=2))
    else:
        print(ps.as_text(found.rows), end="")
    if not found.rows:
        _complain("nothing is preloaded that you may speak to")
    return 0


def _ctl(parsed: argparse.Namespace) -> int:
    requests = ctl.requests_of(parsed.verb_of_it, parsed.words)
    if parsed.to is not None:
        if parsed.verb_of_it != "snapshot":
            raise Failure("--to goes with snapshot", USAGE)
        snapshot.check_target(parsed.to)
    outcome = ctl.ask(parsed.pid, requests, parsed.wait, must_answer=parsed.to is not None)
    for request, answer in zip(requests, outcome.answers):
        print(f"{json.dumps(answer)}\n" if parsed.json else ctl.text_of(request, answer, outcome.process), end="")
    if not outcome.refusals and parsed.to is not None:
        print(ctl.keep_snapshot(outcome, parsed.to), file=sys.stderr if parsed.json else sys.stdout)
    return _report(outcome)


def _attach(parsed: argparse.Namespace) -> int:
    outcome, done = ctl.arm(parsed.pid, parsed.wait)
    if done:
        print(done)
    return _report(outcome)


def _report(outcome: ctl.Outcome) -> int:
    for refusal in outcome.refusals:
        _complain(refusal)
    if outcome.waiting is not None:
        print(ctl.queued(outcome), file=sys.stderr)
    return REFUSED if outcome.refusals else 0
