"""What /proc says of a process: whose it is, whether the library is in it, and where its trace lies.

A process's trace is found through its own mapping of it, and opened through its own root: containers and chroots have
paths of their own.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from poireau.errors import REFUSED, Failure
from poireau.roots import PROC, inode_of, root_of

REGION = range(1 << 45, 1 << 46)  # where sampled blocks live: tracked_alloc/tracked_alloc.h
_MAPPING = re.compile(r"([0-9a-f]+)-([0-9a-f]+) (\S+) ([0-9a-f]+) ([0-9a-f]+:[0-9a-f]+) (\d+) *(.*)")
_OCTAL = re.compile(r"\\(012|134)")  # how /proc writes what would break its lines
_FILE_OF_TRACE = re.compile(r"(?:facts|samples)_\d+")


@dataclass(frozen=True)
class Process:
    pid: int  # as we see it
    inner_pid: int  # as it sees itself
    start: int  # ticks since boot: tells processes of the same pid apart
    program: str
    user: int  # effective
    users: frozenset[int]  # real, effective, saved, of file systems
    page_tables: int  # bytes
    resident: int = 0  # too


@dataclass(frozen=True)
class Mapping:
    begin: int
    end: int
    inode: int
    path: str  # as the kernel shows it to us; "" is memory of nobody else

    @property
    def name(self) -> str:
        return os.path.basename(self.path)

    @property
    def of_trace(self) -> bool:
        return self.inode != 0 and _FILE_OF_TRACE.fullmatch(self.name) is not None

    @property
    def of_library(self) -> bool:
        return re.fullmatch(r"libpoireau\.so( \(deleted\))?", self.name) is not None

    @property
    def ours(self) -> bool:
        return self.begin in REGION or self.of_trace or self.name.startswith("libpoireau")


def pids() -> list[int]:
    return sorted(int(entry) for entry in os.listdir(PROC) if entry.isdecimal())


def look(pid: int) -> Process | None:
    """None: there is no such process, or it has ended and only waits to be asked how."""
    try:
        stat = (PROC / str(pid) / "stat").read_text(errors="replace")
        status = (PROC / str(pid) / "status").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    except OSError as error:
        raise Failure(f"{pid}: {error.strerror}", REFUSED) from error
    # The name in the middle may hold spaces and brackets.
    name, after = stat.partition("(")[2].rpartition(")")[::2]
    fields = after.split()
    said = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    ended = fields[0] in "ZX" and int(said.get("Threads", 0)) <= 1  # its first thread may have ended before the others
    if ended or int(said.get("Tgid", pid)) != pid:
        return None
    users = [int(user) for user in said["Uid"].split()]
    return Process(
        pid=pid,
        inner_pid=int(said.get("NSpid", str(pid)).split()[-1]),
        start=int(fields[19]),
        program=name,
        user=users[1],
        users=frozenset(users),
        page_tables=int(said.get("VmPTE", "0").split()[0]) * 1024,
        resident=int(said.get("VmRSS", "0").split()[0]) * 1024,
    )


@dataclass(frozen=True)
class Memory:
    proportional: int  # bytes: of pages that are mapped more than once its share
    huge: int


def memory(pid: int) -> Memory | None:
    """None: it has gone, or is somebody else's."""
    try:
        text = (PROC / str(pid) / "smaps_rollup").read_text(errors="replace")
    except OSError:
        return None
    said = {name: int(size) * 1024 for name, size in re.findall(r"^(\w+): +(\d+) kB", text, re.MULTILINE)}
    return Memory(said.get("Pss", 0), said.get("AnonHugePages", 0) + said.get("ShmemPmdMapped", 0))


def mappings(pid: int) -> list[Mapping]:
    """Raises OSError: it has gone, or is somebody else's."""
    return [_mapping(line) for line in _maps(pid).split("\n") if line]


def is_preloaded(pid: int) -> bool:
    """Raises OSError, too."""
    text = _maps(pid)
    return "/libpoireau.so" in text and any(_mapping(line).of_library for line in text.split("\n") if line)


def _maps(pid: int) -> str:
    return (PROC / str(pid) / "maps").read_text(errors="surrogateescape")


def _mapping(line: str) -> Mapping:
    fields = _MAPPING.fullmatch(line)
    if fields is None:
        raise OSError(errno.EBADMSG, f"this is no line of maps: {line}")
    path = _OCTAL.sub(lambda octal: chr(int(octal[1], 8)), fields[7])
    return Mapping(int(fields[1], 16), int(fields[2], 16), int(fields[6]), path)


def command(pid: int) -> list[str]:
    """How it was started; [] if that can't be told."""
    try:
        words = os.fsdecode((PROC / str(pid) / "cmdline").read_bytes())
    except OSError:
        return []
    return words.rstrip("\0").split("\0") if words else []


def children(pid: int) -> list[int]:
    """[] where the kernel doesn't say."""
    try:
        return [int(child) for child in (PROC / str(pid) / "task" / str(pid) / "children").read_text().split()]
    except OSError:
        return []


def variable(pid: int, name: str) -> str | None:
    """Of the environment that it was started with."""
    try:
        environment = os.fsdecode((PROC / str(pid) / "environ").read_bytes()).split("\0")
    except OSError:
        return None
    return next((entry.partition("=")[2] for entry in environment if entry.startswith(name + "=")), None)


def filtered(pid: int) -> bool:
    """Whether a seccomp filter is over it."""
    try:
        status = (PROC / str(pid) / "status").read_text(errors="replace")
    except OSError:
        return False
    return re.search(r"^Seccomp:\t[12]$", status, re.MULTILINE) is not None


def trace_of(pid: int, mapped: list[Mapping] | None = None) -> Path | None:
    """The directory of its trace, under /proc/PID/root. None: it maps no file of one, or we may not look."""
    try:
        for mapping in mappings(pid) if mapped is None else mapped:
            if mapping.of_trace:
                found = _found_by(pid, mapping)
                if found is not None:
                    return found.parent
    except OSError:
        pass
    return None


def _found_by(pid: int, mapping: Mapping) -> Path | None:
    # What the kernel shows starts at our root, or at that of the process's file systems, and goes through a root of
    # its own that it has changed to: that many directories are to be left out.
    for path in _ends(root_of(pid), mapping.path):
        if _is(path, mapping):
            return path
    # It may have changed its root since it opened the file. Elsewhere than in our file systems, such a path is one
    # of somebody else's files.
    path = Path(mapping.path)
    return path if _same_file_systems(pid) and _is(path, mapping) else None


def _is(path: Path, mapping: Mapping) -> bool:
    try:
        return inode_of(path) == mapping.inode
    except OSError:
        return False


def _same_file_systems(pid: int) -> bool:
    return os.readlink(PROC / str(pid) / "ns" / "mnt") == os.readlink(PROC / "self" / "ns" / "mnt")


def _ends(root: Path, path: str) -> Iterator[Path]:
    parts = path.lstrip("/").split("/")
    for left_out in range(len(parts)):
        yield root.joinpath(*parts[left_out:])


def place(trace: Path) -> str:
    """Where it is for the process itself."""
    text = str(trace)
    return re.sub(r"^/proc/\d+/root(?=/)", "", text)
