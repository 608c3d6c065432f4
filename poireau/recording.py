"""`run --every-call`: a program that runs to its end under our eyes, and what its record lacks, said in one line.

Any other run becomes its program. This one stays beside it, as its parent: who records everything wants to know at the
end whether everything is there.
"""

from __future__ import annotations

import os
import re
import resource
import signal
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from poireau import glimpse, launch, traces

# Each call is a sample, in a home that costs no system call, without its stack; nothing slows it down or ends it.
SETTINGS = (
    ("sample_period", "1"),
    ("guard", "off"),
    ("stack_depth", "0"),
    ("overhead_budget", "off"),
    ("trace_limit", "1TiB"),
    ("trace_total", "1TiB"),
)
_PASSED_ON = (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
_FROM_KERNEL = 0x80  # si_code: of a terminal, which tells the program as well
# Counts of drops that are no calls: the event came later, the request was mostly one that nobody grants, or it is known
# how many files, but not what was in them. What is missing to a call, whoever reads the trace can tell.
_NO_CALLS = ("no room in the trace", "no room for the stack", "no home: kind of request")
_OF_FILES = ("files removed early to keep within trace_limit", "packets overwritten, no new file can be had")


@dataclass(frozen=True)
class Record:
    directory: Path
    processes: int
    requests: int
    missing: Mapping[str, int]  # by cause

    def lines(self) -> list[str]:
        if self.processes == 0:
            return [f"nothing is in {self.directory}"]
        several = f"{self.processes} processes" if self.processes > 1 else "1 process"
        lines = [f"{self.requests} requests of {several} are in {self.directory}"]
        calls = sum(count for cause, count in self.missing.items() if cause not in _OF_FILES)
        if self.missing:
            causes = ", ".join(f"{cause}: {count}" for cause, count in self.missing.items())
            amount = f"{calls} calls" if calls else "calls"
            lines.append(f"{amount} are missing ({causes})")
        return lines


def follow(plan: launch.Launch) -> int:
    """Runs it as a child that gets our signals; returns what os.waitpid says of its end."""
    watched = {*_PASSED_ON, signal.SIGCHLD}
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, watched)
    # Who was started with it ignored would never be told that a child has ended.
    handled = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGCHLD, handled)
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        launch.become(plan)
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended == child:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
            return status
        came = signal.sigwaitinfo(watched)
        if came.si_signo != signal.SIGCHLD and came.si_code != _FROM_KERNEL:
            os.kill(child, came.si_signo)


def leave(status: int) -> int:
    """An exit status like that; or dies as that did."""
    if not os.WIFSIGNALED(status):
        return os.waitstatus_to_exitcode(status)
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    number = os.WTERMSIG(status)
    if number != signal.SIGKILL:
        signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    return 128 + number


def look(run: Path) -> Record:
    """At what a run has left."""
    processes = requests = 0
    missing: dict[str, int] = {}
    for trace in sorted(run.iterdir()) if run.is_dir() else ():
        if not (trace / "metadata").is_file():
            continue
        processes += 1
        samples, drops = glimpse.counters_of(trace)
        requests += samples
        for cause, count in drops.items():
            if cause not in _NO_CALLS:
                missing[cause] = missing.get(cause, 0) + count
    return Record(run, processes, requests, missing)


def run_directory(known: Mapping[str, str]) -> Path:
    """Where the library puts the traces of a run that has these variables (preload/trace_place.cc)."""
    named = known["POIREAU_TRACE"] if "POIREAU_TRACE" in known else _configured("trace", known)
    return (Path(named) if named else traces.parent(known)) / known["POIREAU_RUN"]


def _configured(name: str, known: Mapping[str, str]) -> str:
    """An option's value as files have it, in the order of config/load.cc; empty: none does."""
    home = known.get("XDG_CONFIG_HOME", "")
    home = home if os.path.isabs(home) else os.path.join(known.get("HOME", ""), ".config")
    setting = re.compile(
        name + r"""\s*=\s*(?:"((?:[^"\\]|\\.)*)"|'([^']*)'|([^#"'\[\]]*))\s*(?:#.*)?""", re.IGNORECASE | re.DOTALL
    )
    value = ""
    for path in ("/etc/poireau.toml", f"{home}/poireau/config.toml", known.get("POIREAU_CONFIG", "")):
        if not os.path.isabs(path) or not os.path.isfile(path):
            continue
        ours = True
        with suppress(OSError), open(path, encoding="utf-8-sig", errors="surrogateescape") as file:
            for line in map(str.strip, file):
                if line.startswith("["):
                    ours = re.fullmatch(r"\[\s*poireau\s*\]\s*(#.*)?", line) is not None
                elif ours and (found := setting.fullmatch(line)):
                    value = re.sub(r"\\(.)", r"\1", found[1]) if found[1] else (found[2] or found[3] or "").strip()
    return value
