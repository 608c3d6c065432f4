"""What is mapped where, and which of it is read by a scan.

Read is all memory of the process's own: its private pages, whatever may be done with them (read-only pages that were
written before, too), and what anonymous memory it shares, as far as that is small. Not read: sampled blocks' homes
(they are looked into as blocks; remapped ones both ways), what is the library's own, and files and devices that are
shared.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from poireau.processes import REGION
from poireau.scan_library import SHARED, STACK, Rows, ranges

PROC = Path("/proc")
ARENA = range(REGION.start + (10 << 40), REGION.start + (14 << 40))  # the library's, of the program's first requests
MOST_SHARED = 256 << 20  # bytes of addresses
_LINE = re.compile(r"([0-9a-f]+)-([0-9a-f]+) (\S+) ([0-9a-f]+) [0-9a-f]+:[0-9a-f]+ (\d+) *(.*)")
_ESCAPED = re.compile(r"\\(012|134)")
_SHARED_MEMORY = re.compile(r"/memfd:|/dev/zero|/SYSV|/dev/shm/|/\[aio\]")
_OF_TRACERS = re.compile(r"(?:facts|samples)_\d+(?: \(deleted\))?$|lttng|/ust-")


@dataclass(frozen=True)
class Area:
    begin: int
    end: int
    permissions: str  # rwxp
    offset: int
    inode: int
    path: str

    @property
    def size(self) -> int:
        return self.end - self.begin

    @property
    def readable(self) -> bool:
        return self.permissions[0] == "r"

    @property
    def shared(self) -> bool:
        return self.permissions[3] == "s"

    @property
    def is_home(self) -> bool:
        return self.begin in REGION and self.begin not in ARENA

    @property
    def is_file(self) -> bool:
        return self.path.startswith("/") and self.inode != 0


@dataclass(frozen=True)
class Chosen:
    homes: Rows
    ranges: Rows  # what is most telling comes first
    left_out: int  # bytes of shared mappings


def of_process(pid: int) -> list[Area]:
    """Raises OSError."""
    return list(each_of_process(pid))


def each_of_process(pid: int) -> Iterator[Area]:
    """There may be 65,000."""
    with open(PROC / str(pid) / "maps", errors="surrogateescape", newline="\n") as lines:
        for line in lines:
            if found := _LINE.fullmatch(line.rstrip("\n")):
                begin, end, permissions, offset, inode, path = found.groups()
                path = _ESCAPED.sub(_unescaped, path) if "\\" in path else path
                yield Area(int(begin, 16), int(end, 16), permissions, int(offset, 16), int(inode), path)


def _unescaped(octal: re.Match[str]) -> str:
    return chr(int(octal[1], 8))


def chosen(areas: Sequence[Area], ours: Iterable[tuple[int, int]] = ()) -> Chosen:
    """`ours`: what is the library's own, and no home."""
    ours = sorted(ours)
    homes, rows, left_out = [], [], 0
    for area in sorted(areas, key=_how_telling):
        if not area.readable or area.path in ("[vvar]", "[vsyscall]", "[vdso]", "[vvar_vclock]"):
            continue
        if area.is_file and is_of_tracer(area.path):
            continue
        if area.is_home:
            # What is remapped may be a block that is no sample, of which there is no record: all of it is looked into.
            homes.append((area.begin, area.end, SHARED if area.shared else 0))
            rows += [(area.begin, area.end, SHARED)] * area.shared
        elif area.shared:
            if _SHARED_MEMORY.match(area.path) and area.size <= MOST_SHARED and "w" in area.permissions:
                rows += [(begin, end, SHARED) for begin, end in _without(area, ours)]
            elif "w" in area.permissions:
                left_out += area.size
        else:
            how = STACK if area.path == "[stack]" else 0
            rows += [(begin, end, how) for begin, end in _without(area, ours)]
    return Chosen(ranges(homes), ranges(rows), left_out)


def at(areas: Sequence[Area], address: int) -> Area | None:
    return next((area for area in areas if area.begin <= address < area.end), None)


def is_of_tracer(path: str) -> bool:
    return _OF_TRACERS.search(path) is not None


def shown(path: str) -> str:
    return os.path.basename(path.removesuffix(" (deleted)"))


def _how_telling(area: Area) -> int:
    return 0 if area.is_file else 1 if area.path.startswith("[stack") else 3 if area.path == "[heap]" else 2


def _without(area: Area, ours: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    left, begin = [], area.begin
    for first, last in ours:
        if last <= begin or first >= area.end:
            continue
        if first > begin:
            left.append((begin, first))
        begin = max(begin, last)
    return [*left, (begin, area.end)] if begin < area.end else left
