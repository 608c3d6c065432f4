"""How a process ended, as far as it can be known afterwards. Its trace says when it spoke last, and whether it took
leave: who exits writes his counters last of all, and removes the file that he would have gone on in; who is killed,
crashes, or calls _exit does neither. The kernel's log may say who killed it. Nobody keeps the exit status of what is
not his child.
"""

from __future__ import annotations

import errno
import os
import re
import subprocess
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from poireau.autopsy_rss import Killed
from poireau.model import Heap
from poireau.text import as_size, plain

SECOND = 10**9
_SLACK = 5 * SECOND  # the kernel's clock and ours
_LEAVING = 10**6  # from the first of the last counters to the last
_MOST = 1 << 24  # bytes of the log
_PATIENCE = 5.0  # seconds, for journalctl
_CGROUPS = Path("/sys/fs/cgroup")
_KILLED = re.compile(r"Kill(?:ed)? process (\d+) \((.*?)\)(?! score)(.*)")
_OF_GROUP = re.compile(r"oom-kill:constraint=(\w+)(.*)task_memcg=([^,]*),task=(.*),pid=(\d+)")
_CRASHED = re.compile(r"(?:traps: )?(.{1,15})\[(\d+)\]:? (?:segfault|general protection|trap \w+|.* fault)\b")
_FIGURE = re.compile(r"(anon-rss|file-rss|shmem-rss|pgtables):(\d+)kB")


@dataclass(frozen=True)
class Log:
    """Lines of the kernel, and when each was said, in nanoseconds since 1970. `unread`: why there are none."""

    lines: Sequence[tuple[int, str]]
    unread: str = ""


@dataclass(frozen=True)
class End:
    how: str  # runs, exit, exec, oom, crash, cut short
    said: str  # in a sentence
    time: int | None  # when it ended; None: nobody knows better than that it spoke at `last`
    last: int  # its last event
    evidence: tuple[str, ...] = ()
    killed: Killed | None = None


def of(heap: Heap, number: int, running: bool, log: Log) -> End:
    process = heap.processes.loc[number]
    last = int(process["end"])
    if running:
        return End("runs", f"it still runs, as process {process['pid']}", None, last)
    threads = heap.threads
    of_it = frozenset(threads.loc[threads["process"] == number, "thread"].tolist())
    found = [(at, line) for at, line in log.lines if at >= last - _SLACK]
    pid = int(process["pid"])
    killed = next((each for each in found if _is_of(_KILLED.search(each[1]), pid)), None)
    if killed is not None:
        return _of_killed(killed, found, last, pid)
    for at, line in found:
        crashed = _CRASHED.search(line)
        if crashed is not None and int(crashed[2]) in of_it | {pid}:
            return End("crash", "it crashed", at, last, (f"kernel: {plain(line.strip())}",))
    after = _executed(heap.processes, process)
    if after is not None:
        return End("exec", f"it executed another program, {plain(after)}", None, last)
    if _took_leave(heap, number, process):
        return End("exit", "it ended by itself: exit, or a return from main", None, last)
    why = log.unread or "the kernel's log has nothing of it: no OOM kill, no fault"
    said = "it was cut short, and did not exit: SIGKILL or another signal, or _exit"
    return End("cut short", said, None, last, (why,))


def _took_leave(heap: Heap, number: int, process: pd.Series) -> bool:
    costs = heap.costs
    told = costs.loc[costs["process"] == number, "stamp"] if len(costs) else []
    drafts = Path(str(process["source"])).glob(".samples_*")
    return bool(len(told)) and int(max(told)) >= int(process["end"]) - _LEAVING and not any(drafts)


def _executed(processes: pd.DataFrame, process: pd.Series) -> str | None:
    """The program that the same process was from then on."""
    same = processes[(processes["pid"] == process["pid"]) & (processes["start_time"] == process["start_time"])]
    later = same[(same["begin"] >= process["end"]) & (same["source"] != process["source"])]
    return str(later.sort_values("begin").iloc[0]["executable"]) if len(later) and process["start_time"] else None


def _of_killed(killed: tuple[int, str], found: Iterable[tuple[int, str]], last: int, pid: int) -> End:
    at, line = killed
    figures = {name: int(size) * 1024 for name, size in _FIGURE.findall(line)}
    names = ("anon-rss", "file-rss", "shmem-rss", "pgtables")
    evidence = [f"kernel: {plain(line.strip())}"]
    whose = "the machine's memory was used up"
    for _, other in found:
        match = _OF_GROUP.search(other)
        if match is not None and int(match[5]) == pid:
            group = match[3]
            if match[1] == "CONSTRAINT_MEMCG":
                whose = f"the limit of its control group {plain(group)} was reached"
            evidence += of_group(group)
            break
    return End("oom", f"the OOM killer killed it: {whose}", at, last, tuple(evidence), Killed(*map(figures.get, names)))


def of_group(group: str, root: Path = _CGROUPS) -> list[str]:
    """What a control group says of its memory, if it is still there: version 2, or 1."""
    said = []
    for top in (root, root / "memory"):
        place = top / group.lstrip("/")
        if ".." in Path(group).parts or not place.is_dir():
            continue
        for name, meaning in (
            ("memory.max", "limit"), ("memory.limit_in_bytes", "limit"), ("memory.peak", "most used"),
            ("memory.max_usage_in_bytes", "most used"),
        ):  # fmt: skip
            value = _read(place / name).strip()
            if value.isdecimal() and int(value) < 1 << 60:
                said.append(f"{meaning} {as_size(int(value))}")
        for name in ("memory.events", "memory.oom_control"):
            kills = re.search(r"^oom_kill (\d+)$", _read(place / name), re.MULTILINE)
            if kills is not None and kills[1] != "0":
                said.append(f"{kills[1]} OOM kill{'s' * (kills[1] != '1')} so far")
    return [f"control group {plain(group)}: {', '.join(said)}"] if said else []


def group_of(pid: int) -> str | None:
    """Of a process that runs: the control group that counts its memory."""
    for line in _read(Path(f"/proc/{pid}/cgroup")).splitlines():
        _, controllers, path = line.split(":", 2)
        if ("memory" in controllers.split(",") or not controllers) and path != "/":
            return path
    return None


def kernel_log() -> Log:
    """What the kernel has said lately, as far as we may read it."""
    try:
        return Log(_from_kernel())
    except OSError as error:
        first = f"/dev/kmsg: {error.strerror}"
    try:
        return Log(_from_journal())
    except (OSError, subprocess.SubprocessError, ValueError):
        return Log((), f"the kernel's log can't be read ({first}): root may")


def _from_kernel() -> list[tuple[int, str]]:
    """Raises OSError."""
    boot = time.time_ns() - time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    found: list[tuple[int, str]] = []
    file = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    read = 0
    try:
        while read < _MOST:
            try:
                record = os.read(file, 1 << 13)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno in (errno.EPIPE, errno.EINVAL):  # it has gone in the meantime, or is too long
                    continue
                raise
            read += len(record)
            head, _, text = record.decode("utf-8", "replace").partition(";")
            fields = head.split(",")
            if len(fields) > 2 and fields[2].isdecimal():
                found.append((boot + int(fields[2]) * 1000, text.split("\n", 1)[0]))
    finally:
        os.close(file)
    return found


def _from_journal() -> list[tuple[int, str]]:
    command = ["journalctl", "-k", "-b", "-q", "--no-pager", "-o", "short-unix", "-n", "20000"]
    told = subprocess.run(command, capture_output=True, timeout=_PATIENCE, check=True, stdin=subprocess.DEVNULL)
    found = []
    for line in told.stdout.decode("utf-8", "replace").splitlines():
        at, _, rest = line.partition(" ")
        found.append((round(float(at) * 1e9), rest.partition("kernel: ")[2]))
    if not found:
        raise ValueError("nothing may be read")
    return found


def _is_of(match: re.Match[str] | None, pid: int) -> bool:
    return match is not None and int(match[1]) == pid


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
