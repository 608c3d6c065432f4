"""What `doctor` finds about a running process: whether the library is in it, what it does there, who may ask it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from poireau import ctl, elf, figures, processes, reach
from poireau.control import Answer
from poireau.errors import NO_ANSWER, Failure
from poireau.finding import NOTE, OK, PROBLEM, Finding
from poireau.processes import Process
from poireau.roots import PROC
from poireau.text import as_size, plain

SECONDS = 1.0


def examine(pid: int, library: Path) -> Iterator[Finding]:
    """`library`: ours."""
    try:
        process = reach.find(pid)
    except Failure as failure:
        yield Finding(PROBLEM, "process", str(failure))
        return
    command = " ".join(map(plain, processes.command(pid)))[:100]
    name = f"{reach.called(process)}, {as_size(process.resident)} resident: {command}"
    yield Finding(OK, "process", name)
    why = reach.state(process)
    if why is None:
        yield Finding(PROBLEM, "preload", str(reach.not_preloaded(process)))
        return
    if why is not None and not why.looked:
        yield Finding(PROBLEM, "preload", why.text)
        return
    yield _library(pid, library)
    if processes.filtered(pid):
        yield Finding(NOTE, "seccomp", "a system call filter is over it: under one the library makes no unusual call")
    yield from _limits(pid)
    yield _memory(process)
    trace = processes.trace_of(pid)
    if trace is None:
        yield Finding(NOTE, "trace", f"it has none so far: {reach.silence(process)}")
    else:
        yield Finding(OK, "trace", plain(processes.place(trace)))
    yield from _asked(process)


def _library(pid: int, library: Path) -> Finding:
    paths = [mapping.path for mapping in processes.mappings(pid) if mapping.of_library]
    path = paths[0] if paths else "?"
    try:
        theirs, ours = elf.read(PROC / str(pid) / "root" / path.lstrip("/")).build_id, elf.read(library).build_id
    except (OSError, elf.BadElf):
        theirs = ours = None
    if path.endswith(" (deleted)") or theirs != ours:
        return Finding(NOTE, "preload", f"{plain(path)}, which is not our {library}: restart it to have the new one")
    return Finding(OK, "preload", plain(path))


def _limits(pid: int) -> Iterator[Finding]:
    try:
        told = (PROC / str(pid) / "limits").read_text()
    except OSError:
        return
    for name in ("Max address space", "Max data size", "Max file size", "Max open files"):
        soft = re.search(rf"^{name}\s+(\d+)", told, re.MULTILINE)
        if soft is None:
            continue
        if name == "Max open files":
            yield Finding(OK, "open files", f"at most {soft[1]}")
        else:
            bounded = (
                "traces lose what doesn't fit" if "file" in name else "our mappings stay under 1/64 of what is free"
            )
            yield Finding(NOTE, name[4:], f"at most {as_size(int(soft[1]))}: {bounded}")


def _memory(process: Process) -> Finding:
    """Whether a scan may read it."""
    try:
        first = processes.mappings(process.pid)[0]
        with open(PROC / str(process.pid) / "mem", "rb", buffering=0) as memory:
            memory.seek(first.begin)
            memory.read(1)
    except (OSError, IndexError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it maps nothing"
        return Finding(
            NOTE, "scanning", f"its memory can't be read ({reason}): as root, `leaks` can prove what is lost"
        )
    return Finding(OK, "scanning", "its memory can be read: `leaks` can prove what is lost")


def _asked(process: Process) -> Iterator[Finding]:
    try:
        outcome = ctl.ask(process.pid, ctl.requests_of("stats", []), SECONDS)
    except Failure as failure:
        level = NOTE if failure.status == NO_ANSWER else PROBLEM
        yield Finding(level, "socket", str(failure))
        return
    if outcome.refusals:
        yield Finding(PROBLEM, "socket", "; ".join(map(plain, outcome.refusals)))
        return
    stats = outcome.answers[0]
    period, live = figures.period(stats), figures.live_text(stats)
    yield Finding(OK, "socket", f"it answers: period {period}, {live} alive in what was asked for while armed")
    yield _drops(stats)


def _drops(stats: Answer) -> Finding:
    drops = {name: count for name, count in figures.group(stats, "drops").items() if type(count) is int and count}
    if not drops:
        return Finding(OK, "drops", "none")
    causes = ", ".join(f"{plain(name)}: {count:,}" for name, count in drops.items())
    return Finding(NOTE, "drops", f"not everything could be recorded ({causes})")
