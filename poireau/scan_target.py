"""What is scanned: a process as it runs, or a core; its threads, and what the kernel keeps for it."""

from __future__ import annotations

import errno
import os
import re
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from poireau import processes, scan_areas
from poireau.errors import REFUSED, Failure
from poireau.scan_areas import PROC, Area
from poireau.scan_library import Scan
from poireau.scan_modules import Module, Symbols
from poireau.text import plain

_DATA = re.compile(r"^tfd: +(\d+) .*?\bdata: +([0-9a-f]+)", re.MULTILINE)
_SIGNAL = re.compile(r"^signal: \d+/([0-9a-f]+)", re.MULTILINE)
_RING = "_ZN7poireau13tracked_alloc9keepsakes12_GLOBAL__N_1"  # what freed blocks held: keepsakes.cc
_STREAMS = ("_ZN7poireau5trace12_GLOBAL__N_17samplesE", "_ZN7poireau5trace12_GLOBAL__N_15factsE")  # trace.cc
_STREAM, _PACKET = 0xF0, 64 << 10


@dataclass(frozen=True)
class Word:
    """That the kernel keeps."""

    value: int
    what: str


def opened(pid: int, plain: bool = False) -> Scan:
    """Raises Failure: why its memory may not be read, and what to do."""
    name = _name(pid)
    try:
        first = next((area for area in scan_areas.each_of_process(pid) if area.readable and area.is_file), None)
        scan = Scan(pid, plain=plain)
    except OSError as error:
        raise Failure(_refused(pid, name, error.errno or 0), REFUSED) from None
    if first is not None and not scan.read(first.begin, 8):
        scan.close()
        raise Failure(_refused(pid, name, errno.EPERM if processes.look(pid) else errno.ESRCH), REFUSED)
    return scan


def _name(pid: int) -> str:
    process = processes.look(pid)
    return f"{plain(process.program)} {pid}" if process else f"process {pid}"


def _refused(pid: int, name: str, number: int) -> str:
    if number in (errno.ENOENT, errno.ESRCH) or processes.look(pid) is None:
        return f"{name} has ended: scan a core of it (--core FILE)"
    if number not in (errno.EPERM, errno.EACCES):
        return f"{name}: {os.strerror(number)}"
    process = processes.look(pid)
    if process is not None and process.users != {os.geteuid()} and os.geteuid() != 0:
        return f"{name} belongs to another user: only root may read its memory (sudo)"
    scope = ptrace_scope()
    if scope == 3:
        return f"{name}: kernel.yama.ptrace_scope = 3 lets nobody read its memory before the next boot; scan a core"
    if scope == 2 and os.geteuid() != 0:
        return f"{name}: kernel.yama.ptrace_scope = 2 lets only root read its memory: use sudo"
    if scope == 1 and os.geteuid() != 0:
        return (
            f"{name}: kernel.yama.ptrace_scope = 1 lets only root and its parent read its memory: use sudo, or "
            "`sudo sysctl kernel.yama.ptrace_scope=0`"
        )
    return f"{name}: the kernel refuses its memory (it is not dumpable, or in a container): use sudo, or scan a core"


def ptrace_scope() -> int:
    with suppress(OSError, ValueError):
        return int((PROC / "sys/kernel/yama/ptrace_scope").read_text())
    return 0


def thread_names(pid: int) -> dict[int, str]:
    found = {}
    with suppress(OSError):
        for entry in os.listdir(PROC / str(pid) / "task"):
            with suppress(OSError):
                comm = (PROC / str(pid) / "task" / entry / "comm").read_text(errors="backslashreplace")
                found[int(entry)] = comm.rstrip("\n")
    return found


def traced_by(pid: int) -> int:
    """Who traces it; 0: nobody."""
    with suppress(OSError):
        status = (PROC / str(pid) / "status").read_text(errors="replace")
        tracer = re.search(r"^TracerPid:\t(\d+)", status, re.MULTILINE)
        return int(tracer[1]) if tracer else 0
    return 0


def kept_by_kernel(pid: int) -> list[Word]:
    """What comes back with events of epoll and of timers."""
    found = []
    with suppress(OSError):
        directory = PROC / str(pid) / "fdinfo"
        for entry in os.listdir(directory):
            if _is_epoll(pid, entry):
                text = _text(directory / entry)
                found += [
                    Word(int(m[2], 16), f"epoll descriptor {entry}, for descriptor {m[1]}")
                    for m in _DATA.finditer(text)
                ]
    found += [Word(int(m[1], 16), "a timer") for m in _SIGNAL.finditer(_text(PROC / str(pid) / "timers"))]
    return found


def _is_epoll(pid: int, descriptor: str) -> bool:
    with suppress(OSError):
        return os.readlink(PROC / str(pid) / "fd" / descriptor) == "anon_inode:[eventpoll]"
    return False


def _text(path: Path) -> str:
    with suppress(OSError):
        return path.read_text(errors="replace")
    return ""


def own(modules: Sequence[Module], areas: Sequence[Area], read: Callable[[int, int], bytes]) -> list[tuple[int, int]]:
    """The library's own memory: its data, and what that says it has of others."""
    ours = [module for module in modules if module.is_ours]
    found = [(module.begin, (module.end + 4095) & ~4095) for module in ours]
    for module in ours:
        if module.name == "libpoireau.so":
            found += _beyond(module, areas, read)
    return found


def _beyond(module: Module, areas: Sequence[Area], read: Callable[[int, int], bytes]) -> Iterator[tuple[int, int]]:
    variables = Symbols(module).common

    def words(name: str, size: int = 8) -> list[int]:
        at = variables.of_name(name)
        data = read(module.bias + at, size) if at is not None else b""
        return list(struct.unpack(f"<{len(data) // 8}Q", data[: len(data) // 8 * 8]))

    for ring, capacity in zip(words(f"{_RING}4ringE"), words(f"{_RING}8capacityE")):
        if ring and 0 < capacity <= 1 << 40:
            yield ring, ring + capacity
    for stream in _STREAMS:
        for word in words(stream, _STREAM):
            area = scan_areas.at(areas, word) if word % 4096 == 0 else None
            if area is not None and not area.path and "w" in area.permissions:
                yield word, word + _PACKET
