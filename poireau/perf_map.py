"""Code that a process made while it ran: what its /tmp/perf-PID.map calls it.

Node (--perf-basic-prof), Python 3.12 (-X perf), Java and others write such maps: lines of where code begins, its size,
and its name. What is written later is of code that took the place of older code. Anybody may write to /tmp: a map is
read if it belongs to the process's user or root, not everybody may write to it, and it is not older than the process.
"""

from __future__ import annotations

import os
import re
import stat
from array import array
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from poireau.symbol_places import Addresses, Places, Strings, empty

MOST = 64 << 20  # bytes, the last ones
_MOST_NAME = 1024
_LINE = re.compile(rb"^(?:0x)?([0-9a-fA-F]{1,16}) (?:0x)?([0-9a-fA-F]{1,16}) ([^\n]+)$", re.MULTILINE)
_PYTHON = re.compile(r"py::([^:]*):(.+)")
_JAVASCRIPT = re.compile(r"(?:LazyCompile|Function|Script|Eval|JS):[~*^+]?(.*?) ?((?:/|file:|node:).+):(\d+):\d+")


@dataclass(frozen=True)
class Map:
    begins: Addresses
    ends: Addresses
    names: Sequence[bytes]  # later ones go before earlier ones


@dataclass(frozen=True)
class _Owner:
    """Of a map: a process that lives, or one that has left a trace."""

    users: frozenset[int]
    since: float  # seconds since 1970
    inner_id: int  # as it sees itself
    lives: bool


def of_process(process: int, trace: str) -> tuple[Map | None, str]:
    """Or why there is none. `trace`: its directory, if it has one."""
    owner = _owner(process, trace)
    if owner is None:
        return None, "its code is in no file, and the process is not there any more"
    roots = [(f"/proc/{process}/root", owner.inner_id)] if owner.lives else []
    lack = "its code is in no file, and the process writes no perf map"
    for root, number in [*roots, ("/", process)]:
        try:
            return _read(root, f"perf-{number}.map", owner), ""
        except FileNotFoundError:
            continue
        except OSError as error:
            lack = f"/tmp/perf-{number}.map is not read: {error.strerror}"
    return None, lack


def parsed(data: bytes) -> Map:
    """Lines that make no sense are left out."""
    begins, sizes, names = array("Q"), array("Q"), []
    for line in _LINE.finditer(data):
        begins.append(int(line[1], 16))
        sizes.append(int(line[2], 16))
        names.append(line[3][:_MOST_NAME])
    first, size = np.array(begins, np.uint64), np.array(sizes, np.uint64)
    return Map(first, first + np.minimum(size, np.uint64(0xFFFF_FFFF_FFFF_FFFF) - first), names)


def places(of: Map | None, addresses: Addresses) -> Places:
    """`addresses`: ascending, each of them once."""
    if of is None:
        return empty()
    entry = _entries(of, addresses)
    known = entry >= 0
    functions, files = Strings(), Strings()
    used, number = np.unique(entry[known], return_inverse=True)
    called = [_called(of.names[each].decode("utf-8", "backslashreplace")) for each in used]
    return Places(
        addresses,
        np.cumsum(known),
        functions.numbers([function for function, _, _ in called])[number],
        files.numbers([file for _, file, _ in called])[number],
        np.array([line for _, _, line in called], np.uint32)[number],
        np.zeros(int(known.sum()), np.bool_),
        functions.texts,
        files.texts,
    )


def _entries(of: Map, addresses: Addresses) -> NDArray[np.int64]:
    """The last one that covers each address; -1: none does."""
    out = np.full(len(addresses), -1)
    low, high = np.searchsorted(addresses, of.begins), np.searchsorted(addresses, of.ends)
    for entry in np.flatnonzero(low < high):
        out[low[entry] : high[entry]] = entry
    return out


def _called(name: str) -> tuple[str, str, int]:
    """Function, file and line."""
    if match := _PYTHON.fullmatch(name):
        return match[1], match[2], 0
    if match := _JAVASCRIPT.fullmatch(name):
        return match[1] or "(anonymous)", match[2].removeprefix("file://"), min(int(match[3]), 0xFFFF_FFFF)
    return name, "", 0


def _owner(process: int, trace: str) -> _Owner | None:
    began = None
    with suppress(OSError, ValueError):
        began = os.stat(os.path.join(trace, "metadata")) if os.path.isabs(trace) or os.path.isdir(trace) else None
    with suppress(OSError, ValueError, KeyError, IndexError):
        with open(f"/proc/{process}/stat", errors="replace") as file:
            ticks = int(file.read().rpartition(")")[2].split()[19])
        with open(f"/proc/{process}/status", errors="replace") as file:
            said = dict(line.split(":", 1) for line in file.read().splitlines() if ":" in line)
        with open("/proc/stat") as file:
            boot = next(int(line.split()[1]) for line in file if line.startswith("btime "))
        since = boot + ticks / os.sysconf("SC_CLK_TCK")
        if began is None or since <= began.st_mtime + 2:  # otherwise its id was given to another since
            users = frozenset(int(user) for user in said["Uid"].split())
            return _Owner(users, since, int(said.get("NSpid", str(process)).split()[-1]), True)
        return None
    return None if began is None else _Owner(frozenset({began.st_uid}), began.st_mtime, process, False)


def _read(root: str, name: str, owner: _Owner) -> Map:
    """Raises OSError: it is not there, or not to be trusted."""
    at = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        below = os.open("tmp", os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=at)
        os.close(at)
        at = below
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
        descriptor = os.open(name, flags, dir_fd=at)
    finally:
        os.close(at)
    with os.fdopen(descriptor, "rb"):
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(0, "it is no plain file")
        if status.st_uid not in owner.users | {0}:
            raise OSError(0, "it is somebody else's")
        if status.st_mode & stat.S_IWOTH:
            raise OSError(0, "everybody may write to it")
        if status.st_mtime + 2 < owner.since:
            raise OSError(0, "it is older than the process")
        data = os.pread(descriptor, MOST, max(0, status.st_size - MOST))
        return parsed(data if status.st_size <= MOST else data.partition(b"\n")[2])
