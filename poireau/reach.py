"""From a pid to a connection with its program, or why there is none, in plain words."""

from __future__ import annotations

import os
import pwd
import shlex
import socket
import time
from dataclasses import dataclass
from pathlib import Path

from poireau import glimpse, processes, sockets
from poireau.errors import NO_ANSWER, NOT_PRELOADED, REFUSED, USAGE, Failure
from poireau.processes import Process
from poireau.text import duration, plain

TRIES_PER_SECOND = 10
_OURSELVES = {"poireau", "poireau.py"}
_WORDS = 5  # python3 -m poireau run


@dataclass(frozen=True)
class Reached:
    process: Process
    connection: socket.socket

    def __str__(self) -> str:
        return called(self.process)


def called(process: Process) -> str:
    return f"{plain(process.program)} ({process.pid})"


def user_name(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return str(user)


def find(pid: int) -> Process:
    process = processes.look(pid)
    if process is None:
        raise Failure(f"{pid}: no such process", USAGE)
    if os.geteuid() not in (0, process.user):
        owner = user_name(process.user)
        raise Failure(f"{called(process)} is {owner}'s: it speaks to that user and root only", REFUSED)
    child = run_by(pid)
    return (None if child is None else processes.look(child)) or process


def run_by(pid: int) -> int | None:
    """Of a `poireau run` (as $! is, behind `poireau run -- server &`), the process of the program that it runs."""
    words = [os.path.basename(word) for word in processes.command(pid)[:_WORDS]]
    if "run" not in words or not _OURSELVES & set(words):
        return None
    children = processes.children(pid)
    return children[0] if len(children) == 1 else None


def has_ended(process: Process) -> bool:
    now = processes.look(process.pid)
    return now is None or now.start != process.start


def reach(pid: int, patience: float = 0) -> Reached:
    """A program makes its socket with its first sample: for that there is `patience`, in seconds."""
    deadline = time.monotonic() + patience
    while True:
        process = find(pid)
        try:
            connection = _connect(process)
            if connection is not None:
                return Reached(process, connection)
            raise _unreachable(process)
        except Failure as failure:
            if has_ended(process):
                raise Failure(f"{called(process)} has ended", USAGE) from failure
            if failure.status != NO_ANSWER or time.monotonic() >= deadline:
                raise
        time.sleep(1 / TRIES_PER_SECOND)


def _connect(process: Process) -> socket.socket | None:
    """None: it has no socket."""
    obstacle = None
    for listener in sockets.listeners(sockets.network_of(process.pid)):
        if not listener.name.is_of(process):
            continue
        try:
            connection = sockets.connect(listener)
        except sockets.Full as failure:
            obstacle = Failure(f"{called(process)}: {failure}. {silence(process)}", NO_ANSWER)
            continue
        except sockets.Gone:
            continue
        except Failure as failure:
            obstacle = obstacle or Failure(f"{called(process)}: {failure}", failure.status)
            continue
        try:
            server = sockets.server_of(connection, listener.name)
            if server is not None and server.pid == process.pid:
                return connection
        except sockets.Squatted as failure:
            obstacle = obstacle or Failure(f"{failure}: nothing is said to it", REFUSED)
        connection.close()
    if obstacle is not None:
        raise obstacle
    return None


def _unreachable(process: Process) -> Failure:
    name = called(process)
    why = state(process)
    if why is None:
        return not_preloaded(process)
    if not why.looked:
        return Failure(f"{name}: {why.text}", why.status)
    return Failure(f"{name} is preloaded, but has no control socket: {why.text}", why.status)


def not_preloaded(process: Process) -> Failure:
    command = processes.command(process.pid)
    remedy = f"; restart with: {shlex.join(['poireau', 'run', '--', *command])}" if command else ""
    return Failure(f"{called(process)} is not preloaded{remedy}", NOT_PRELOADED)


@dataclass(frozen=True)
class Unheard:
    """Why a preloaded program has no socket."""

    text: str
    status: int
    looked: bool = True  # False: it may not be preloaded at all


def state(process: Process) -> Unheard | None:
    """None: it is not preloaded."""
    try:
        if not processes.is_preloaded(process.pid):
            return None
    except OSError as error:
        who = "its user may, and root with CAP_SYS_PTRACE"
        return Unheard(f"we may not look into it ({error.strerror}): {who}", REFUSED, False)
    trace = processes.trace_of(process.pid)
    asked = processes.variable(process.pid, "POIREAU_CONTROL")
    settings = {} if trace is None else glimpse.settings_of(trace)
    if settings.get("control", asked) == "off":
        return Unheard("its option control is off", REFUSED)
    if processes.filtered(process.pid):
        usual = "a system call filter is over it, and under one it has a socket only if POIREAU_CONTROL was set"
        return Unheard(f"{usual} before" if asked is None else "a system call filter forbids it", REFUSED)
    if _off(settings.get("armed", processes.variable(process.pid, "POIREAU_ARMED"))):
        return Unheard("it is dormant, and makes one with its next 16 MiB of requests", NO_ANSWER)
    if trace is None:
        return Unheard("no sample so far, and the first one makes it", NO_ANSWER)
    return Unheard("it has let go (quit), or is about to make one", NO_ANSWER)


def _off(value: str | None) -> bool:
    return (value or "").lower() in ("0", "no", "off", "false")


def silence(process: Process, trace: Path | None = None) -> str:
    """How long it has sampled nothing, and when it may answer. `trace`: its, if that is known already."""
    trace = trace or processes.trace_of(process.pid)
    settings = {} if trace is None else glimpse.settings_of(trace)
    dormant = _off(settings.get("armed", processes.variable(process.pid, "POIREAU_ARMED")))
    if dormant or settings.get("sample_period") == "0":
        return "dormant; answers after its next 16 MiB of requests"
    now = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
    pace = glimpse.Pace() if trace is None else glimpse.pace_of(trace)
    silent, wait = pace.silence(now), pace.wait(now)
    if silent is None or wait is None:
        return "no sample so far"
    return f"last sample {duration(silent)} ago; answer expected in about {duration(wait)}"
