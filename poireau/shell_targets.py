"""The shell's targets: what `use` takes, what `targets` lists, and which process `set` and `stats` are about."""

from __future__ import annotations

import calendar
import os
import re
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from poireau import processes, sockets, traces
from poireau.errors import USAGE, Failure
from poireau.shell_state import State
from poireau.text import duration, plain, table

SHORT = ("set", "get", "list", "arm", "disarm", "stats", "flush", "snapshot", "verify")
"""Verbs of ctl, which are about the current target."""
RUNS = 10  # that are listed
_NAME = re.compile(r"\d{8}-(\d\d)(\d\d)(\d\d)-(.{1,32})-(\d+)-[0-9a-f]+(?:-[0-9a-f]+-[0-9a-f]+)?", re.DOTALL)
BACKGROUND: list[subprocess.Popen[bytes]] = []  # that we have started; they outlive us


def use(state: State, targets: Sequence[str]) -> State:
    """Raises Failure: there is no such thing."""
    if list(targets) == ["newest"]:
        targets = [str(traces.newest_run(os.environ))]
    found, names = [], []
    for target in targets:
        if target.isascii() and target.isdecimal():
            path = _lasting(traces.of_process(int(target), os.environ))
            found.append(str(path))
            names.append(called(path, target))
        elif "://" in target or os.path.exists(target):
            found.append(target if "://" in target else os.path.abspath(target))
            names.append(called(Path(target)))
        else:
            raise Failure(f"{target} is not there: it should be a pid, a path or newest; `targets` lists some", USAGE)
    return replace(state, targets=tuple(found), name=", ".join(names), process=(), thread=())


def _lasting(trace: Path) -> Path:
    """Not by way of the process, which may end."""
    plainly = Path(processes.place(trace))
    try:
        return plainly if os.path.samefile(plainly, trace) else trace
    except OSError:
        return trace


def called(path: Path, pid: str = "") -> str:
    match = _NAME.fullmatch(path.name)
    return plain(f"{match[4]}[{pid or match[5]}]" if match else path.name or str(path))


def pid_of(state: State) -> int:
    """The one running process of the current target. Raises Failure: there is none, or several."""
    paths = state.targets or (str(traces.newest_run(os.environ)),)
    found = {pid for path in paths if "://" not in path for pid in _pids_in(path)}
    running = sorted(pid for pid in found if _listens(pid))
    if len(running) == 1:
        return running[0]
    if running:
        raise Failure(f"which process? use one of {', '.join(map(str, running))}", USAGE)
    raise Failure("no process of the current target is running: `targets` lists those that are, use PID", USAGE)


def _pids_in(path: str) -> Iterator[int]:
    try:
        names = [os.path.basename(os.path.realpath(path)), *os.listdir(path)]
    except OSError:
        return
    for name in names:
        match = _NAME.fullmatch(name)
        if match is not None:
            yield int(match[5])


def _listens(pid: int) -> bool:
    try:
        process = processes.look(pid)
    except Failure:
        return False
    if process is None:
        return False
    trace = processes.trace_of(pid)
    return trace is not None or pid in running_pids()


def running_pids() -> list[int]:
    """Of instrumented processes in this network namespace that are listening."""
    names = [listener.name for listener in sockets.listeners(sockets.network_of(os.getpid()))]
    return sorted({name.pid for name in names if os.geteuid() in (0, name.user)})


def running() -> list[tuple[int, str]]:
    """With their programs."""
    found = []
    for pid in running_pids():
        try:
            process = processes.look(pid)
        except Failure:
            continue
        if process is not None:
            found.append((pid, plain(process.program)))
    return found


def runs(most: int = RUNS) -> list[Path]:
    """The newest first."""
    where = traces.parent(os.environ)
    try:
        names = sorted((name for name in os.listdir(where) if _NAME.fullmatch(name)), reverse=True)
    except OSError:
        return []
    return [where / name for name in names[:most]]


def lines(state: State) -> Iterator[str]:
    """What `targets` says."""
    here = running()
    if here:
        yield "running:"
        rows = [(str(pid), name) for pid, name in here]
        yield from (f"  {line}" for line in table(("PID", "PROGRAM"), rows, ("PID",)))
    found = runs()
    if found:
        yield f"the newest runs in {plain(str(found[0].parent))}:"
        each = [("*" if str(run) in state.targets else "", *_described(run)) for run in found]
        yield from (f"  {line}" for line in table(("", "PROGRAM", "BEGUN", "RUN"), each))
    if not here and not found:
        yield "there is nothing yet: run -- PROGRAM records something"


def _described(run: Path) -> tuple[str, str, str]:
    begun = calendar.timegm(time.strptime(run.name[:15], "%Y%m%d-%H%M%S"))
    return called(run), f"{duration(max(0.0, time.time() - begun))} ago", plain(run.name)
