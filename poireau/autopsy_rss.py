"""Where a process's resident memory (RSS) went: the heap by estimate, what the allocator keeps, files, stacks, us.

Of a process that runs, /proc/PID/smaps says how much of each mapping is in memory. Be A what is in anonymous mappings,
R in the region where sampled blocks live, E the estimate of what is alive and in memory, and S that part of E that was
sampled and so lies in R. Then A - (E - S) is what the allocator beneath keeps without anybody using it, or was mapped
past it, with E's interval the other way round; and R - S, with the library and its trace, is ours. All parts together
are the RSS, but where the estimate is beyond what is there.

Of one that the OOM killer took, the kernel's log tells the kinds of memory it had. Otherwise only the estimate is
known.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from poireau import estimates, resident
from poireau.errors import REFUSED, USAGE, Failure
from poireau.estimate import Estimate
from poireau.model import Heap
from poireau.processes import Mapping, look
from poireau.text import plain

PROC = Path("/proc")
_HEADER = re.compile(r"([0-9a-f]+)-([0-9a-f]+) (\S{4}) [0-9a-f]+ \S+ (\d+) *(.*)")
_SIZE = re.compile(r"(Rss|Swap): +(\d{1,15}) kB")
_STACK_NAMES = ("[stack", "[anon: glibc: pthread stack", "[anon:stack_and_tls")
_SHARED = ("/dev/shm/", "/memfd:", "/SYSV", "/dev/zero", "[anon_shmem")
_MOST_GUARD = 64 << 10  # bytes below a thread's stack
_ARENA = 64 << 20  # to which glibc's arenas are aligned
KINDS = ("heap", "slack", "files", "shared", "stacks", "ours")


@dataclass(frozen=True)
class Part:
    kind: str  # of KINDS, or of what is beside RSS
    bytes: Estimate
    said: str


@dataclass(frozen=True)
class Rss:
    source: str  # who says so
    total: float | None  # None: nobody does
    parts: tuple[Part, ...]  # which it is made of, in this order
    beside: tuple[Part, ...] = ()  # what is charged to it as well, and what else is worth saying


@dataclass(frozen=True)
class Killed:
    """What the kernel's log says of the memory of a process that the OOM killer took; None: nothing."""

    anonymous: int | None = None
    files: int | None = None
    shared: int | None = None
    page_tables: int | None = None


@dataclass(frozen=True)
class Area:
    mapping: Mapping
    access: str
    resident: int
    swapped: int


def where_did_rss_go(heap: Heap | None, process: int = 0, killed: Killed | None = None, pid: int | None = None) -> Rss:
    """Of that process of the heap, running or not; or of this pid, without a heap. Raises Failure."""
    if pid is None:
        assert heap is not None
        pid = resident.pids(heap.processes).get(process)
        if pid is None:
            return _of_ended(heap, process, killed)
    found = areas(pid)
    live, sampled = _live(heap, process) if heap is not None else (None, 0.0)
    seen = look(pid)
    tables = seen.page_tables if seen is not None else 0
    return of_areas(found, stack_pointers(pid), live, sampled, tables, f"/proc/{pid}/smaps")


def of_areas(
    found: list[Area], pointers: Iterable[int], live: Estimate | None, sampled: float, tables: int, source: str
) -> Rss:
    """`live`: the estimate of what is alive and in memory, of which `sampled` lies in our region."""
    sums = dict.fromkeys(("anonymous", "files", "shared", "stacks", "region", "other"), 0)
    for area, kind in zip(found, kinds(found, sorted(pointers))):
        sums[kind] += area.resident
    total = float(sum(sums.values()))
    beneath = sums["anonymous"]
    if live is None:
        parts = [Part("slack", exactly(beneath), "heap and other anonymous memory")]
        ours = float(sums["region"] + sums["other"])
    else:
        sampled = min(sampled, sums["region"])
        free = sorted(min(max(beneath - (each - sampled), 0.0), beneath) for each in (live.high, live.value, live.low))
        slack = Estimate(free[1], free[0], free[2], live.samples, live.deviation)
        parts = [
            Part("heap", live, "live heap, by estimate"),
            Part("slack", slack, "kept by the allocator unused, or mapped past it"),
        ]
        ours = sums["region"] - sampled + sums["other"]
    parts += [
        Part("files", exactly(sums["files"]), "mapped files: code, data"),
        Part("shared", exactly(sums["shared"]), "shared memory"),
        Part("stacks", exactly(sums["stacks"]), "stacks"),
        Part("ours", exactly(ours), "Poireau's: room around sampled blocks, library, trace"),
    ]
    beside = [Part("page tables", exactly(tables), "page tables, in the kernel")]
    beside += [Part("swap", exactly(sum(area.swapped for area in found)), "in swap")]
    return Rss(source, total, tuple(parts), tuple(each for each in beside if each.bytes.value))


def kinds(found: list[Area], pointers: list[int]) -> Iterator[str]:
    """Of each mapping, in the order of addresses."""
    before: Area | None = None
    for area in found:
        yield _kind(area, before, pointers)
        before = area


def _kind(area: Area, before: Area | None, pointers: list[int]) -> str:
    mapping = area.mapping
    if mapping.ours:
        return "other" if mapping.of_trace or mapping.name.startswith("libpoireau") else "region"
    if mapping.path.startswith(_STACK_NAMES):
        return "stacks"
    if mapping.path.startswith(_SHARED) or (area.access[3] == "s" and not mapping.path.startswith("/")):
        return "shared"
    if mapping.inode or mapping.path.startswith(("/", "[v")):
        return "files"
    at = int(np.searchsorted(pointers, mapping.begin))
    if at < len(pointers) and pointers[at] < mapping.end:
        return "stacks"
    return "stacks" if before is not None and _guarded(before, area) else "anonymous"


def _guarded(before: Area, area: Area) -> bool:
    """Whether it begins right above what nobody may touch, as stacks of threads do, and arenas do not."""
    below = before.mapping
    return (
        below.end == area.mapping.begin
        and before.access.startswith("---")
        and below.inode == 0
        and below.end - below.begin <= _MOST_GUARD
        and area.mapping.begin % _ARENA != 0
        and not area.mapping.path
    )


def areas(pid: int) -> list[Area]:
    """Raises Failure."""
    try:
        text = (PROC / str(pid) / "smaps").read_text(errors="surrogateescape")
    except (FileNotFoundError, ProcessLookupError) as error:
        raise Failure(f"there is no process {pid} any more", USAGE) from error
    except OSError as error:
        raise Failure(f"/proc/{pid}/smaps: {error.strerror}: run this as the same user, or as root", REFUSED) from error
    return parsed(text)


def parsed(text: str) -> list[Area]:
    found: list[Area] = []
    mapping, access, sums = None, "", {"Rss": 0, "Swap": 0}
    for line in text.split("\n"):
        size = _SIZE.fullmatch(line)
        if size is not None:
            sums[size[1]] = int(size[2]) * 1024
            continue
        fields = _HEADER.fullmatch(line)
        if fields is not None:
            if mapping is not None:
                found.append(Area(mapping, access, sums["Rss"], sums["Swap"]))
            mapping = Mapping(int(fields[1], 16), int(fields[2], 16), int(fields[4]), fields[5])
            access, sums = fields[3], {"Rss": 0, "Swap": 0}
    if mapping is not None:
        found.append(Area(mapping, access, sums["Rss"], sums["Swap"]))
    return found


def stack_pointers(pid: int) -> list[int]:
    """Of threads that wait in the kernel, where we may look."""
    found = []
    try:
        threads = os.listdir(PROC / str(pid) / "task")
    except OSError:
        return []
    for thread in threads:
        try:
            words = (PROC / str(pid) / "task" / thread / "syscall").read_text().split()
            found.append(int(words[-2], 16) if len(words) > 2 else 0)
        except (OSError, ValueError):
            continue
    return [pointer for pointer in found if pointer]


def _live(heap: Heap, process: int) -> tuple[Estimate | None, float]:
    found = resident.of(heap, (process,))
    if found.complaints:
        return None, 0.0
    there = found.lives["resident"].to_numpy(np.float64)
    share = there / np.maximum(found.lives["size"].to_numpy(np.float64), 1.0)
    return estimates.total(found.lives, weights=share), float(there.sum())


def _of_ended(heap: Heap, process: int, killed: Killed | None) -> Rss:
    lives = heap.live()
    live = estimates.total(lives[lives["process"] == process])
    heap_part = Part("heap", live, "live heap at the end, by estimate")
    if killed is None or killed.anonymous is None:
        return Rss("", None, (heap_part,), ())
    free = sorted(max(killed.anonymous - each, 0.0) for each in (live.high, live.value, live.low))
    slack = Estimate(free[1], free[0], free[2], live.samples, live.deviation)
    parts = [
        heap_part,
        Part("slack", slack, "other anonymous memory: kept by the allocator unused, stacks, Poireau's"),
        Part("files", exactly(killed.files or 0), "mapped files"),
        Part("shared", exactly(killed.shared or 0), "shared memory"),
    ]
    beside = [Part("page tables", exactly(killed.page_tables or 0), "page tables, in the kernel")]
    total = float(killed.anonymous + (killed.files or 0) + (killed.shared or 0))
    return Rss("the kernel, when it killed it", total, tuple(parts), tuple(each for each in beside if each.bytes.value))


def exactly(size: float) -> Estimate:
    return Estimate(float(size), float(size), float(size), 0, 0.0)


def as_json(rss: Rss) -> dict[str, object]:
    def part(of: Part) -> dict[str, object]:
        return {"kind": of.kind, "bytes": of.bytes.as_json(), "said": plain(of.said)}

    return {
        "source": rss.source,
        "total": rss.total,
        "parts": [part(each) for each in rss.parts],
        "beside": [part(each) for each in rss.beside],
    }
