"""A client of the control socket that knows the protocol and nothing of poireau/control.py; and what tests do with
other users and other processes."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import socket
import struct
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

Answer = dict[str, Any]
PATIENCE = 20.0  # seconds; an answer takes some 50 ms of a program that allocates


class Closed(AssertionError):
    """The other side has closed, or cut us off."""


def start_time(pid: int) -> int:
    """In clock ticks since boot."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])


def name_of(pid: int, uid: int = 0) -> str:
    return f"poireau/{uid}/{pid}/{start_time(pid)}"


def listening(net: int | str = "self") -> set[str]:
    """All names that are listened on, in that process's network namespace."""
    lines = Path(f"/proc/{net}/net/unix").read_text(errors="replace").splitlines()[1:]
    fields = [line.split(maxsplit=7) for line in lines]
    return {each[7][1:] for each in fields if len(each) == 8 and each[3] == "00010000" and each[7][0] == "@"}


class Client:
    """A connection; `greeting` is None until the first line has been read."""

    def __init__(self, name: str, patience: float = PATIENCE) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._rest = b""
        self._greeting: Answer | None = None
        try:
            seconds = struct.pack("ll", int(patience), int(patience % 1 * 1e6))
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, seconds)  # for a place among those who wait
            self.socket.connect(f"\0{name}")
            self.socket.settimeout(patience)
        except BaseException:
            self.socket.close()
            raise

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    @property
    def peer(self) -> tuple[int, int, int]:
        """Process, user and group of who listens."""
        size = struct.calcsize("3i")
        return struct.unpack("3i", self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))  # type: ignore[return-value]

    @property
    def greeting(self) -> Answer:
        if self._greeting is None:
            self._greeting = self.any_line()
            assert "ok" not in self._greeting, self._greeting
        return self._greeting

    def send(self, text: str | bytes) -> None:
        self.socket.sendall(text if isinstance(text, bytes) else text.encode())

    def request(self, do: str, option: str | None = None, value: object = None) -> None:
        """Sends one and waits for nothing."""
        fields = {"do": do, "option": option, "value": value}
        self.send(json.dumps({name: field for name, field in fields.items() if field is not None}) + "\n")

    def any_line(self) -> Answer:
        while b"\n" not in self._rest:
            try:
                got = self.socket.recv(1 << 16)
            except ConnectionResetError as error:
                raise Closed("reset") from error
            if not got:
                raise Closed(f"closed after {self._rest!r}")
            self._rest += got
        line, _, self._rest = self._rest.partition(b"\n")
        answer = json.loads(line.decode(errors="surrogateescape"))
        assert isinstance(answer, dict), line
        return answer

    def line(self) -> Answer:
        """The next answer."""
        assert self.greeting
        return self.any_line()

    def ask(self, do: str, option: str | None = None, value: object = None) -> Answer:
        """What is granted."""
        self.request(do, option, value)
        answer = self.line()
        assert answer["ok"] is True and answer["do"] == do, answer
        return answer

    def refused(self, do: str, option: str | None = None, value: object = None) -> str:
        """Why it is not granted."""
        self.request(do, option, value)
        answer = self.line()
        assert answer["ok"] is False and answer.keys() == {"ok", "error"}, answer
        return str(answer["error"])


def eventually(what: Callable[[], Any], patience: float = PATIENCE) -> Any:
    """What it returns at last that counts as true; fails, saying what it was then, after so long."""
    end = time.monotonic() + patience
    while True:
        got = what()
        if got:
            return got
        assert time.monotonic() < end, got
        time.sleep(0.005)


def reach(pid: int, uid: int = 0, patience: float = PATIENCE) -> Client:
    """Waits until it can be reached, and checks who answers."""
    name = name_of(pid, uid)
    eventually(lambda: name in listening(pid), patience)
    client = Client(name, patience)
    try:
        assert client.peer[:2] == (pid, uid)
        assert (client.greeting["pid"], client.greeting["uid"]) == (pid, uid)
    except BaseException:
        client.socket.close()
        raise
    return client


def elsewhere(work: Callable[[], Any], *, user: int | None = None, net: int | None = None) -> Any:
    """What it returns in a child that is that user, or in that process's network namespace."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        outcome: tuple[Any, str] = (None, "")
        try:
            os.close(reading)
            if net is not None:
                enter_network(net)
            if user is not None:
                os.setgroups([])
                os.setresgid(user, user, user)
                os.setresuid(user, user, user)
            outcome = (work(), "")
        except BaseException:
            outcome = (None, traceback.format_exc())
        finally:
            with contextlib.suppress(BaseException), os.fdopen(writing, "wb") as pipe:
                pipe.write(pickle.dumps(outcome))
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        told = pipe.read()
    os.waitpid(child, 0)
    result, failure = pickle.loads(told)
    assert not failure, failure
    return result


def enter_network(pid: int) -> None:
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    with open(f"/proc/{pid}/ns/net") as file:
        if libc.setns(file.fileno(), 0x40000000) != 0:
            raise OSError(ctypes.get_errno(), "setns")


def descriptors(pid: int) -> dict[int, str]:
    """What each is, by number."""
    found: dict[int, str] = {}
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found[int(path.name)] = os.readlink(path)
    return found


def sockets(pid: int) -> dict[int, str]:
    return {number: what for number, what in descriptors(pid).items() if what.startswith("socket:")}


def resident(pid: int) -> int:
    """Bytes."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@contextlib.contextmanager
def all_closed(*clients: Client | socket.socket) -> Iterator[None]:
    try:
        yield
    finally:
        for each in clients:
            (each.socket if isinstance(each, Client) else each).close()
