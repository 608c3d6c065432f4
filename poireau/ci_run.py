"""One run of a command for `check`: as our child, with the library preloaded, and each of its processes held where it
ends (native/hold.c) until it has been scanned for what nothing points at any more.

A process that is held has not begun its exit handlers, and all of its threads are there: what a static object, a
thread or a caller of exit() still points at is not lost, whatever its destructor would do. Nor is what is freed later.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import selectors
import signal
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from poireau import launch, layout, opening, options, processes
from poireau.errors import OUR_FAILURE, Failure

HOLD = "libpoireau-hold.so"
VARIABLE = "POIREAUPY_HOLD"
APART = 0.05  # seconds between two scans
_CREDENTIALS = struct.Struct("3i")
_MOST_WAITING = 64


@dataclass(frozen=True)
class Looked:
    """At a process, before it ended."""

    trace: str
    program: str
    lost: NDArray[np.uint64]  # ids of its blocks
    reached: int  # blocks that something points at
    seconds: float
    left_out: tuple[str, ...]
    failure: str = ""  # why it could not be done


@dataclass(frozen=True)
class Run:
    directory: Path  # of its traces
    status: int  # as os.waitpid has it
    seconds: float
    looked: tuple[Looked, ...]
    held: bool = True  # False: it was not asked for

    @property
    def exit_status(self) -> int:
        """As shells have it."""
        code = os.waitstatus_to_exitcode(self.status)
        return code if code >= 0 else 128 - code

    @property
    def told(self) -> str:
        code = os.waitstatus_to_exitcode(self.status)
        if code >= 0:
            return f"exit status {code}"
        with contextlib.suppress(ValueError):
            return f"killed by {signal.Signals(-code).name}"
        return f"killed by signal {-code}"


def run(command: Sequence[str], settings: Mapping[str, str], traces: Path, hold: bool, quiet: bool) -> Run:
    """`settings` are options of the library. `quiet`: what it writes to stdout goes to stderr. Raises Failure: it can't
    be run, or not with the library."""
    known = options.parse(layout.options_file().read_text())
    variables = options.environment({**settings, "trace": str(traces)}.items(), known)
    variables["POIREAU_RUN"] = launch.run_name(command[0], os.getpid(), time.time(), secrets.token_hex(4))
    environment = launch.inherited_environment()
    name = f"poireau-check/{os.getpid()}/{secrets.token_hex(8)}"
    if hold:
        variables[VARIABLE] = name
        before = environment.get("LD_PRELOAD", "")
        environment["LD_PRELOAD"] = " ".join(filter(None, (str(layout.native(HOLD)), before)))
    plan = launch.plan(command, variables, environment, layout.library())
    if plan.warning is not None:
        raise Failure(plan.warning.removesuffix(": running it without the shim") + ": it can't be checked")
    directory = traces / variables["POIREAU_RUN"]
    began = time.monotonic()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(f"\0{name}")
        listener.listen(_MOST_WAITING)
        child = _start(plan, quiet)
        with _signals_passed_on(child) as interrupted:
            try:
                status, looked = _follow(child, listener, directory)
            except BaseException:  # nobody would hear of it any more
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
                raise
    if signal.SIGINT in interrupted:
        raise KeyboardInterrupt
    if interrupted:
        raise SystemExit(128 + interrupted[0])
    return Run(directory, status, time.monotonic() - began, tuple(looked), hold)


def _start(plan: launch.Launch, quiet: bool) -> int:
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        try:
            if quiet:
                os.dup2(2, 1)
            launch.become(plan)
        except Failure as failure:
            os.write(2, f"poireau: {failure}\n".encode("utf-8", "backslashreplace"))
            os._exit(failure.status)
        finally:
            os._exit(OUR_FAILURE)
    return child


@contextlib.contextmanager
def _signals_passed_on(child: int) -> Iterator[list[int]]:
    """Who comes from a terminal has told the child as well."""
    came: list[int] = []

    def take(number: int, frame: Any) -> None:
        came.append(number)
        if number != signal.SIGINT:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, number)

    if threading.current_thread() is not threading.main_thread():
        yield came
        return
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, take) for number in numbers]
    try:
        yield came
    finally:
        for number, handler in zip(numbers, before):
            signal.signal(number, handler)


def _follow(child: int, listener: socket.socket, directory: Path) -> tuple[int, list[Looked]]:
    looked: list[Looked] = []
    ended = os.pidfd_open(child)
    try:
        with selectors.DefaultSelector() as selector:
            selector.register(ended, selectors.EVENT_READ)
            selector.register(listener, selectors.EVENT_READ)
            while True:
                ready = {key.fileobj for key, _ in selector.select()}
                if listener in ready:
                    connection, _ = listener.accept()
                    with connection:  # closed, it goes on
                        _look(connection, directory, looked.append)
                elif ended in ready:
                    return os.waitpid(child, 0)[1], looked
    finally:
        os.close(ended)


def _look(connection: socket.socket, directory: Path, done: Callable[[Looked], None]) -> None:
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, user, _ = _CREDENTIALS.unpack(credentials)
    if user != os.geteuid() or pid <= 0:
        return
    trace = processes.trace_of(pid)
    if trace is None:  # it has asked for nothing that was sampled, unless nobody may know
        try:
            processes.mappings(pid)
        except PermissionError:
            why = "it has made itself undumpable, or is another user's: run check as root"
            done(_unseen("", pid, f"{_program(pid)} may not be looked into: {why}"))
        except OSError:
            pass
        return
    own = directory / trace.name
    if not own.is_dir():  # somebody else's
        return
    from poireau import scan

    began = time.monotonic()
    try:
        heap = opening.open(own, bar=False)
        reached = scan.look(heap, apart=APART)
    except Failure as failure:
        if processes.look(pid) is None:  # somebody has ended it
            return
        done(_unseen(str(own), pid, str(failure)))
        return
    known = reached.is_lost
    seconds = time.monotonic() - began
    alive = int(reached.is_known.sum())
    done(Looked(str(own), _program(pid), reached.id[known], alive - int(known.sum()), seconds, reached.left_out))


def _unseen(trace: str, pid: int, why: str) -> Looked:
    return Looked(trace, _program(pid), np.zeros(0, np.uint64), 0, 0.0, (), why)


def _program(pid: int) -> str:
    process = processes.look(pid)
    return f"{process.program}[{pid}]" if process is not None else str(pid)
