"""Which trace somebody means who names a path, a pid, a program, or nothing: the newest run's."""

from __future__ import annotations

import calendar
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from poireau import configured, processes, reach
from poireau.errors import USAGE, Failure
from poireau.text import duration, plain

# As preload/trace_names.h has them, in the order of age.
_RUN = re.compile(r"(\d{8}-\d{6})-(.{1,32})-(\d+)-([0-9a-f]+)", re.DOTALL)
_PROCESS = re.compile(r"(\d{8}-\d{6})-(.{1,32})-(\d+)-([0-9a-f]+)-([0-9a-f]+)-([0-9a-f]+)", re.DOTALL)


@dataclass(frozen=True)
class Meant:
    paths: tuple[str, ...]
    said: str = ""  # which, where it wasn't named


def meant(targets: Sequence[str], directory: str | None = None) -> Meant:
    """`directory`: under which traces lie, rather than where the environment says."""
    environment = {"POIREAU_TRACE": os.path.abspath(directory)} if directory else os.environ
    if not targets:
        run = newest_run(environment)
        return Meant((str(run),), f"using run {_called(run)}")
    paths, said = [], []
    for target in targets:
        if target.isascii() and target.isdecimal():
            found = of_process(int(target), environment)
            said.append(f"using {_called(found)}")
            paths.append(str(found))
        elif "/" not in target and not os.path.exists(target) and (named := newest_run_of(target, environment)):
            said.append(f"using run {_called(named)}")
            paths.append(str(named))
        elif "/" not in target and not os.path.lexists(target):
            raise Failure(f"{plain(target)} is not there{_like(target, environment)}", USAGE)
        else:
            paths.append(target)
    return Meant(tuple(paths), "; ".join(said))


def parent(environment: Mapping[str, str]) -> Path:
    """Where preload/trace_place.cc has the traces of the same environment."""
    option = configured.value("trace", environment)
    if os.path.isabs(option):  # the library takes no other
        return Path(option)
    for variable, below in (("STATE_DIRECTORY", ""), ("XDG_STATE_HOME", "poireau/traces")):
        named = (
            environment.get(variable, "").split(":")[0] if variable == "STATE_DIRECTORY" else environment.get(variable)
        )
        if named:
            return Path(named, below)
    return Path(environment.get("HOME") or os.path.expanduser("~"), ".local/state/poireau/traces")


def newest_run(environment: Mapping[str, str]) -> Path:
    """The last begun that has a trace; the directory itself, where it is a run's."""
    where = parent(environment)
    for run in (*_newest_first(where, _RUN), where):
        if any((process / "metadata").is_file() for process in _newest_first(run, _PROCESS)):
            return run
    if where.is_dir() and not os.access(where, os.R_OK | os.X_OK):
        raise Failure(f"{where} can't be read: Permission denied", USAGE)
    raise Failure(f"there is no trace in {where}: name one, or record one with `poireau run -- PROGRAM`", USAGE)


def newest_run_of(name: str, environment: Mapping[str, str]) -> Path | None:
    """Of a program, or as it is said of a run: server, server-123."""
    for run in _newest_first(parent(environment), _RUN):
        _, program, pid, _ = _RUN.fullmatch(run.name).groups()  # type: ignore[union-attr]
        if name in (program, f"{program}-{pid}"):
            return run
    return None


def of_process(pid: int, environment: Mapping[str, str]) -> Path:
    """That of the process that has the id now, or had it last; of a `poireau run`, all that it runs or ran."""
    own = processes.trace_of(pid)
    if own is not None:
        return own
    child = reach.run_by(pid)
    below = None if child is None else processes.trace_of(child)
    if below is not None:
        return below.parent if _RUN.fullmatch(below.parent.name) else below
    where = parent(environment)
    found = [
        process
        for run in _newest_first(where, _RUN)
        for process in _newest_first(run, _PROCESS)
        if _PROCESS.fullmatch(process.name)[3] == str(pid)  # type: ignore[index]
    ]
    if found:
        return max(found, key=lambda process: process.name)
    for run in _newest_first(where, _RUN):
        if _RUN.fullmatch(run.name)[3] == str(pid):  # type: ignore[index]
            return run
    raise _untraced(pid, where)


def _untraced(pid: int, where: Path) -> Failure:
    if processes.look(pid) is None:
        return Failure(f"there is no process {pid}, and no trace of one in {plain(str(where))}", USAGE)
    try:
        process = reach.find(pid)
    except Failure as failure:
        return failure
    why = reach.state(process)
    if why is None:
        return reach.not_preloaded(process)
    if not why.looked:
        return Failure(f"{reach.called(process)}: {why.text}", why.status)
    return Failure(f"{reach.called(process)} is preloaded, but has no trace so far: {reach.silence(process)}", USAGE)


def _like(name: str, environment: Mapping[str, str]) -> str:
    """What else may be meant by what isn't there."""
    import difflib

    programs = {_RUN.fullmatch(run.name)[2] for run in _newest_first(parent(environment), _RUN)}  # type: ignore[index]
    near = difflib.get_close_matches(name, programs, n=1)
    return f", and no program of that name has left a trace{f': did you mean {plain(near[0])}?' if near else ''}"


def _newest_first(directory: Path, form: re.Pattern[str]) -> Iterator[Path]:
    """Names tell seconds; of those of the same one, that is the newest in which something was begun last."""
    try:
        with os.scandir(directory) as entries:
            found = [entry for entry in entries if form.fullmatch(entry.name)]
        found.sort(key=lambda entry: (entry.name[:15], _changed(entry), entry.name), reverse=True)
    except OSError:
        found = []
    return (directory / entry.name for entry in found)


def _changed(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat().st_mtime_ns
    except OSError:  # it has just been removed
        return 0


def _called(trace: Path) -> str:
    """server-123 (2 min ago): /path."""
    parts = _PROCESS.fullmatch(trace.name) or _RUN.fullmatch(trace.name)
    if parts is None:
        return plain(str(trace))
    begun = calendar.timegm(time.strptime(parts[1], "%Y%m%d-%H%M%S"))
    ago = duration(max(0, time.time() - begun))
    return f"{plain(parts[2])}-{parts[3]} ({ago} ago): {plain(_place(trace))}"


def _place(trace: Path) -> str:
    """As anybody calls it, where that is the same as through the root of its process."""
    place = processes.place(trace)
    try:
        return place if os.path.samefile(place, trace) else str(trace)
    except OSError:
        return str(trace)
