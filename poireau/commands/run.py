"""`run`: a program with the library preloaded, and what there is to say about it at its end."""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import secrets
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from poireau import asking, configured, launch, layout, options
from poireau.errors import USAGE, Failure

# Each call is a sample, in a home that costs no system call, without its stack; nothing slows it down or ends it.
EVERY_CALL = (
    ("sample_period", "1"),
    ("guard", "off"),
    ("stack_depth", "0"),
    ("overhead_budget", "off"),
    ("trace_limit", "1TiB"),
    ("trace_total", "1TiB"),
)
PROTECTION = {
    "off": (("protect", "off"), ("guard", "off")),
    "sampled": (("protect", "sampled"), ("guard", "governed")),
    "all": (("protect", "all"),),
}
PACK = ".poireau"
PERIOD = ("sample_period", "sample_period_bytes")
_NUMBERS = 10_000  # that %n may be


def add_to(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    run = verbs.add_parser(
        "run",
        help="run a program with the library preloaded",
        usage="poireau run [options] -- PROGRAM [ARGUMENT]...",
        description="Runs PROGRAM and all that it starts with the library preloaded. Its input, output, exit status "
        "and job control are its own. If there were memory errors, or after more than 10 seconds leaks, a line on "
        "standard error says so at the end.",
        epilog="In DIR and FILE %p is the pid of `run`, %h the host, %e the program, %t the time, %n a number that "
        "makes it new, %% a %. Sizes are like 64KiB or 2M. Without --period, a setting or a file that says otherwise, "
        "the period is auto: every call is a sample at first, and after each 1024 samples it doubles, up to 512KiB; "
        "that takes a process 0.1 to 0.2 s of CPU time, once. Later processes of a run double it sooner: the second "
        "after 512, the third and fourth after 256, and so on.",
    )
    run.add_argument("-c", "--period", metavar="SIZE", help="mean bytes between two samples: 1, 64KiB, 2M (auto)")
    run.add_argument("--by", choices=("bytes", "calls"), help="what the period counts")
    run.add_argument(
        "--protect",
        choices=tuple(PROTECTION),
        help="in which blocks errors are caught: none, some of those sampled (the default), or all there are (for "
        "tests: it takes more time and memory; see the README)",
    )
    run.add_argument(
        "-o", "--output", metavar="DIR", help="have the record lie in DIR, or in one FILE if that ends in .poireau"
    )
    run.add_argument("--trace", metavar="DIR", help="the directory under which traces lie: DIR/run/process")
    run.add_argument("--sink", choices=("ctf", "lttng", "both", "none"), help="where events go (ctf: a trace of ours)")
    run.add_argument("--only", metavar="NAMES", help="programs to profile among those it starts: python3,gcc")
    run.add_argument("--log", choices=("off", "error", "info", "debug"), help="what the library says on stderr")
    run.add_argument(
        "--set", metavar="NAME=VALUE", action="append", default=[], type=_setting, help="any option (see config)"
    )
    run.add_argument(
        "--every-call", action="store_true", help="record each call, for `replay` and `export calls`; see the README"
    )
    run.add_argument(
        "--error-exitcode", metavar="N", type=_status, default=0, help="exit status if there were memory errors, and "
        "PROGRAM ended with 0"
    )  # fmt: skip
    run.add_argument(
        "-q", "--quiet", "--exec", dest="quiet", action="store_true",
        help="become PROGRAM, the same process, as a service manager likes it; nobody says anything at its end",
    )  # fmt: skip
    run.add_argument("command", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    run.set_defaults(act=_run)


def _setting(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise argparse.ArgumentTypeError(f"{text}: it should read NAME=VALUE")
    return name.strip(), value.strip()


def _status(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or len(text) > 3 or int(text) > 255:
        raise argparse.ArgumentTypeError(f"{text} is no exit status: 0 to 255")
    return int(text)


def _run(parsed: argparse.Namespace) -> int:
    inherited = launch.inherited_environment()
    output = _output(parsed)
    pack = output if output.endswith(PACK) else None
    if parsed.quiet and (pack or parsed.error_exitcode):
        raise Failure("under --quiet nobody is there at the end for -o FILE or --error-exitcode", USAGE)
    if pack and os.path.lexists(pack):
        raise Failure(f"{pack} is there already: name another, as with %n", USAGE)
    known = options.parse(layout.options_file().read_text())
    settings = _settings(parsed, None if pack else output or None, inherited, known)
    sink = dict(settings).get("sink") or configured.value("sink", inherited)
    if (parsed.error_exitcode or pack) and sink in ("none", "lttng"):
        wanted = "-o FILE" if pack else "--error-exitcode"
        raise Failure(f"{wanted} needs a trace of ours: there is none with sink = {sink}", USAGE)
    variables = options.environment(settings, known)
    if parsed.error_exitcode or pack:
        from poireau import traces

        _check_room(traces.parent({**inherited, **variables}))
    # All processes of this run share one directory of traces.
    variables["POIREAU_RUN"] = launch.run_name(parsed.command[0], os.getpid(), time.time(), secrets.token_hex(4))
    plan = launch.plan(parsed.command, variables, inherited, layout.library())
    if plan.warning is not None:
        asking.complain(plan.warning)
    if parsed.quiet or plan.warning is not None:
        launch.become(plan)
    return _beside(plan, parsed, pack)


def _beside(plan: launch.Launch, parsed: argparse.Namespace, pack: str | None) -> int:
    from poireau import following

    began = time.monotonic()
    started = following.start(plan)
    from poireau import news, recording  # while it runs: it need not wait for that

    run = recording.run_directory(plan.environment)
    status = started.follow()
    seconds = time.monotonic() - began
    errors: Mapping[str, int] = {}
    with contextlib.suppress(KeyboardInterrupt):  # who doesn't want to wait for it
        errors = news.errors(run)
        if parsed.every_call:
            for line in recording.look(run).lines():
                asking.complain(line)
        elsewhere = news.pack(run, pack) if pack else run if parsed.output or parsed.trace else None
        said = news.line(errors, {} if parsed.every_call else news.leaks(run, seconds), elsewhere)
        if said is not None:
            asking.complain(said)
    if status == 0 and errors and parsed.error_exitcode:
        return int(parsed.error_exitcode)
    return following.leave(status)


def _check_room(wanted: Path) -> None:
    """For traces. Raises Failure: there won't be any, and nobody could tell at the end."""
    there = next(each for each in (wanted, *wanted.parents) if each.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise Failure(f"no trace can be in {wanted}: {there} can't be written to", USAGE)


def _settings(
    parsed: argparse.Namespace, directory: str | None, inherited: Mapping[str, str], known: Sequence[options.Option]
) -> list[tuple[str, str]]:
    """The later of two wins."""
    directory = directory or parsed.trace
    short = {
        "sample_period": parsed.period,
        "sample_by": parsed.by,
        "log": parsed.log,
        "trace": directory and os.path.abspath(directory),
        "sink": parsed.sink,
        "only": parsed.only,
    }
    settings = [
        *(EVERY_CALL if parsed.every_call else ()),
        *PROTECTION.get(parsed.protect, ()),
        *((name, value) for name, value in short.items() if value is not None),
        *parsed.set,
    ]
    if any(name in PERIOD for name, _ in settings) or any(configured.value(name, inherited) for name in PERIOD):
        return settings
    return [
        *((option.name, "auto") for option in known if option.name in PERIOD and "auto" in option.values),
        *settings,
    ]


def _output(parsed: argparse.Namespace) -> str:
    """-o with its fields filled in; empty: there is none."""
    pattern = parsed.output or ""
    if pattern and parsed.trace:
        raise Failure("-o and --trace both say where the record goes: give one of them", USAGE)
    fields = {
        "p": str(os.getpid()),
        "h": os.uname().nodename.replace("/", "_"),
        "e": os.path.basename(parsed.command[0]) or "program",
        "t": time.strftime("%Y%m%d-%H%M%S"),
        "%": "%",
    }
    numbers = range(1, _NUMBERS if re.search(r"(?<!%)(%%)*%n", pattern) else 2)
    names = (_filled(pattern, {**fields, "n": str(number)}) for number in numbers)
    return next((name for name in names if not os.path.lexists(name)), _filled(pattern, {**fields, "n": "1"}))


def _filled(pattern: str, fields: Mapping[str, str]) -> str:
    def field(match: re.Match[str]) -> str:
        if match[1] not in fields:
            raise Failure(f"{pattern}: {match[0]} stands for nothing: it is %p, %e, %h, %t, %n or %%", USAGE)
        return fields[match[1]]

    return re.sub(r"%(.?)", field, pattern)
