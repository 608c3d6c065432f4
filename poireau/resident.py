"""How much of what is alive is in memory, for processes that still run: what /proc/PID/pagemap says of its pages.

A process is told from later ones of its pid by when it was started, and from the program it has executed since by its
executable. No right is needed for one's own processes.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from poireau.model import Heap
from poireau.model_lives import printable

PROC = Path("/proc")
PAGE = os.sysconf("SC_PAGE_SIZE")
_MOST_PAGES = 1 << 16  # read at a time
_GAP = 512  # pages that are read for nothing rather than asked for apart
_TOP = 1 << 47  # of all that programs have
_MOST_BYTES = 1 << 40  # of a block
_PRESENT, _SWAPPED = np.uint64(1 << 63), np.uint64(1 << 62)
Numbers = NDArray[np.int64]


@dataclass(frozen=True)
class Resident:
    lives: pd.DataFrame  # those of Heap.live() whose process could be asked; besides: `resident`, `swapped`, in bytes
    complaints: tuple[str, ...]  # a line for each process that could not


def of(heap: Heap, processes: tuple[int, ...] = ()) -> Resident:
    """Of each sampled block of these processes, or all, the bytes that are in memory and in swap."""
    lives = heap.live()
    if processes:
        lives = lives[lives["process"].isin(processes)]
    parts, complaints = [], []
    running = pids(heap.processes)
    for number in lives["process"].unique().tolist():
        row = heap.processes.loc[number]
        name = f"{os.path.basename(row.executable) or 'process'} {row.pid}"
        pid = running.get(number)
        if pid is None:
            complaints.append(f"{name} has ended: what it had in memory is not known any more")
            continue
        chosen = lives[lives["process"] == number]
        try:
            present, swapped = pages(pid, chosen["address"].to_numpy(), chosen["size"].to_numpy())
        except OSError as error:
            complaints.append(f"{name}: /proc/{pid}/pagemap: {error.strerror}")
            continue
        if _started(pid) != row.start_time:
            complaints.append(f"{name} has ended in the meantime")
            continue
        parts.append(chosen.assign(resident=present, swapped=swapped))
    nothing = lives.iloc[:0].assign(resident=np.int64(0), swapped=np.int64(0))
    return Resident(pd.concat(parts) if parts else nothing, tuple(complaints))


def pids(processes: pd.DataFrame) -> dict[int, int]:
    """Of Heap.processes, the numbers of those that still run on this machine, and their pids as we see them."""
    here = processes[(processes["host"] == os.uname().nodename) & (processes["start_time"] > 0)]
    # Who executed something else has the same pid and start as the process that it was.
    last = here.sort_values("begin", kind="stable").drop_duplicates(["pid", "start_time"], keep="last")
    found = {}
    others: Mapping[tuple[int, int], int] | None = None
    for row in last.itertuples():
        pid = row.pid
        if _started(pid) != row.start_time:  # in a container it has another pid for itself
            others = _by_inner_pid() if others is None else others
            pid = others.get((row.pid, row.start_time))
        if pid is not None and _executes(pid, row.executable):
            found[int(row.Index)] = int(pid)
    return found


def pages(pid: int, address: NDArray[Any], size: NDArray[Any]) -> tuple[Numbers, Numbers]:
    """Bytes of each block in memory, and in swap. Raises OSError."""
    # What is damaged may say anything.
    begin = np.minimum(address, _TOP - 1).astype(np.int64)
    end = np.minimum(begin + np.clip(size, 1, _MOST_BYTES).astype(np.int64), _TOP)
    first, last = begin // PAGE, (end - 1) // PAGE + 1
    totals = np.zeros((2, len(begin)), np.int64)
    order = np.argsort(first, kind="stable")
    with (PROC / str(pid) / "pagemap").open("rb", buffering=0) as file:
        for run in np.split(order, np.flatnonzero(_apart(first[order], last[order])) + 1):
            if not len(run):
                continue
            top = int(last[run].max())
            for at in range(int(first[run[0]]), top, _MOST_PAGES):
                upto = min(at + _MOST_PAGES, top)
                file.seek(at * 8)
                words = np.frombuffer(_all_of(file, (upto - at) * 8), np.uint64)
                there = run[(first[run] < upto) & (last[run] > at)]
                for total, bit in zip(totals, (_PRESENT, _SWAPPED)):
                    is_set = (words & bit) != 0
                    until = np.concatenate([[0], np.cumsum(is_set)]) * PAGE
                    # As if pages were in it whole, less what of the first and the last is not.
                    low, high = np.maximum(first[there], at) - at, np.minimum(last[there], upto) - at
                    total[there] += until[high] - until[low]
                    heads, tails = there[first[there] >= at], there[last[there] <= upto]
                    total[heads] -= is_set[first[heads] - at] * (begin[heads] - first[heads] * PAGE)
                    total[tails] -= is_set[last[tails] - 1 - at] * (last[tails] * PAGE - end[tails])
    return totals[0], totals[1]


def _apart(first: Numbers, last: Numbers) -> NDArray[np.bool_]:
    """Where the next block begins too far after all that came before."""
    return first[1:] > np.maximum.accumulate(last)[:-1] + _GAP


def _all_of(file: Any, size: int) -> bytes:
    """What lies above all that may be mapped reads as nothing."""
    data = b""
    while len(data) < size and (more := file.read(size - len(data))):
        data += more
    return data[: len(data) // 8 * 8].ljust(size, b"\0")


def _started(pid: int) -> int | None:
    """In clock ticks since boot; None: there is no such process."""
    try:
        text = (PROC / str(pid) / "stat").read_text(errors="replace")
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    return int(fields[19]) if fields[0] not in "ZX" else None


def _executes(pid: int, executable: str) -> bool:
    """False where it is known to be another program by now."""
    try:
        now = os.readlink(PROC / str(pid) / "exe").removesuffix(" (deleted)")
    except OSError:
        return True
    return not executable or os.path.basename(printable(now)) == os.path.basename(executable)


def _by_inner_pid() -> dict[tuple[int, int], int]:
    """The pid that each process has for itself, and its start -> the one that it has for us."""
    found = {}
    for entry in os.listdir(PROC):
        started = _started(int(entry)) if entry.isdecimal() else None
        if started is None:
            continue
        try:
            status = (PROC / entry / "status").read_text(errors="replace")
        except OSError:
            continue
        inner = next((line.split()[-1] for line in status.splitlines() if line.startswith("NSpid:")), entry)
        found[int(inner), started] = int(entry)
    return found
