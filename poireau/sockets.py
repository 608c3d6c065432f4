"""The control sockets there are: abstract unix sockets @poireau/USER/PID/START, each in the network namespace of its
process, with the pid that the process itself knows. Anybody may take such a name: only the kernel says who listens.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import socket
import struct
import threading
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from poireau import processes
from poireau.errors import REFUSED, Failure
from poireau.processes import Process
from poireau.roots import PROC

CLONE_NEWNET = 0x40000000
_LISTENS, _UNACCEPTED = 0x10000, "02"  # of a line of /proc/net/unix: in its flags; its state
_LINE = re.compile(r"^\S+: \S+ \S+ ([0-9A-F]{8}) \S+ (\S+) +\d+ @(poireau/.*)$", re.MULTILINE)
_NAME = re.compile(r"poireau/(\d{1,10})/(\d{1,10})/(\d{1,20})(?:/[0-9a-f]{8})?")


@dataclass(frozen=True)
class Name:
    text: str  # without what makes it abstract
    user: int
    pid: int
    start: int  # 0: it could not tell, for want of a /proc

    def is_of(self, process: Process) -> bool:
        """As far as a name can be trusted."""
        return self.pid == process.inner_pid and self.start in (0, process.start)

    def __str__(self) -> str:
        return f"@{self.text}"


@dataclass(frozen=True)
class Network:
    """A network namespace, as somebody in it sees it."""

    path: Path  # his directory in /proc
    is_ours: bool


@dataclass(frozen=True)
class Listener:
    name: Name
    network: Network
    waiting: int  # connections that it has not accepted yet


class Squatted(Failure):
    """Somebody listens under a name that is another's."""


class Gone(Failure):
    """Nobody listens there now."""


class Full(Failure):
    """So many wait already that the kernel takes no more."""


def name_of(text: str) -> Name | None:
    fields = _NAME.fullmatch(text)
    return None if fields is None else Name(text, int(fields[1]), int(fields[2]), int(fields[3]))


def networks() -> list[Network]:
    """All that we may enter, ours first."""
    ours = os.readlink(PROC / "self" / "ns" / "net")
    found = {ours: Network(PROC / "self", True)}
    for pid in processes.pids():
        directory = PROC / str(pid)
        try:
            found.setdefault(os.readlink(directory / "ns" / "net"), Network(directory, False))
        except OSError:
            continue  # it has gone, or is somebody else's
    return list(found.values())


def network_of(pid: int) -> Network:
    """Where we may not look, it is taken for ours."""
    directory = PROC / str(pid)
    try:
        if os.readlink(directory / "ns" / "net") != os.readlink(PROC / "self" / "ns" / "net"):
            return Network(directory, False)
    except OSError:
        pass
    return Network(PROC / "self", True)


def listeners(network: Network) -> list[Listener]:
    """As far as it can be trusted: somebody's name with line ends in it may read like any line."""
    try:
        text = (network.path / "net" / "unix").read_text(errors="replace")
    except OSError:
        return []
    waiting: Counter[str] = Counter()
    names: dict[str, Name] = {}
    for flags, state, told in _LINE.findall(text):
        name = name_of(told)
        if name is not None and int(flags, 16) & _LISTENS:
            names[told] = name
        elif state == _UNACCEPTED:
            waiting[told] += 1
    return [Listener(name, network, waiting[name.text]) for name in names.values()]


def connect(listener: Listener) -> socket.socket:
    """Without ever waiting."""
    made = _socket_in(listener.network)
    made.setblocking(False)
    try:
        made.connect("\0" + listener.name.text)
    except OSError as error:
        made.close()
        if error.errno == errno.EAGAIN:
            raise Full(f"{listener.name}: {listener.waiting} wait already, and no more are let in", REFUSED) from error
        kind = Gone if error.errno == errno.ECONNREFUSED else Failure
        raise kind(f"{listener.name}: {error.strerror}", REFUSED) from error
    return made


def server_of(connection: socket.socket, name: Name) -> Process | None:
    """Who listened. None: he has gone, and a child holds on to what was his; or we can't see him."""
    form = "iII"
    told = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize(form))
    pid, user, _ = struct.unpack(form, told)
    process = processes.look(pid) if pid > 0 else None
    if process is None or (process.inner_pid == name.pid and not name.is_of(process)):
        return None
    # A program may have listened as root, and be another user since.
    if not name.is_of(process) or user not in process.users | {0}:
        raise Squatted(f"{name} is held by {process.program} ({pid}) of user {user}, whose name it is not", REFUSED)
    return process


def _socket_in(network: Network) -> socket.socket:
    """A socket stays in the namespace of the thread that made it."""
    if network.is_ours:
        return socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    made: list[socket.socket] = []
    errors: list[OSError] = []

    def enter_and_make() -> None:
        try:
            with open(network.path / "ns" / "net", "rb") as file:
                libc = ctypes.CDLL(None, use_errno=True)
                if libc.setns(file.fileno(), CLONE_NEWNET) != 0:
                    raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
            made.append(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        except OSError as error:
            errors.append(error)

    thread = threading.Thread(target=enter_and_make)
    thread.start()
    thread.join()
    if errors:
        who = network.path.name
        raise Failure(f"the network namespace of {who} is closed to us: {errors[0].strerror}", REFUSED) from errors[0]
    return made[0]
