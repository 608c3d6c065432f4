"""What the frames of a trace are called: its modules' symbols, found, looked up, and kept for the next time."""

from __future__ import annotations

import hashlib
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from poireau import perf_map, symbol_cache, symbol_library
from poireau.symbol_debuginfod import Debuginfod
from poireau.symbol_files import ALONE, COMPLETE, DELETED, KINDS, LACKS, NOTHING, Found, Search
from poireau.symbol_library import CRASHED, GOOD, PARTIAL, TOO_LONG, UNREADABLE
from poireau.symbol_places import Addresses, Numbers, Places, Strings, at_each, each_once, has, joined, ragged
from poireau.tables import EVERY, Loss, Module, Names, Tables

_AT_ONCE = 8192  # addresses that are worth a child of their own
_WORKERS = 2
_WORDS = {
    PARTIAL: "parts of its debug information lie in files that are not there, or can't be read",
    UNREADABLE: "its symbols can't be read",
    CRASHED: "its debug information is damaged",
    TOO_LONG: "its debug information takes too long to read",
}


def _say(line: str) -> None:
    print(f"poireau: {line}", file=sys.stderr, flush=True)


@dataclass(frozen=True)
class Settings:
    sysroot: str = ""  # a directory in which modules are looked for first
    debug_directories: Sequence[str] = ()  # that are like /usr/lib/debug
    debuginfod: bool = False  # whether the servers of DEBUGINFOD_URLS are asked
    debuginfod_seconds: float = 30.0
    cache: bool = True
    seconds: float = 120.0  # for a module
    memory: int = 8 << 30  # bytes of address space for a module
    say: Callable[[str], None] = field(default=_say, compare=False)


@dataclass(frozen=True)
class _Part:
    """Frames, and the places of their addresses, as far as these are known."""

    frames: Numbers
    places: Places
    process: int  # or EVERY
    lack: str  # why those without a name have none
    whole: bool = True  # whether those with one have all that is to be said of them


@dataclass(frozen=True)
class _Job:
    """A module's addresses: those that are known, and those that are being looked up."""

    addresses: Addresses
    known: Sequence[Places]
    build: str  # by which they are kept; empty: they are not
    found: Found
    running: Sequence[Future[tuple[Places, int]]]


class Symbolizer:
    def __init__(self, settings: Settings | None = None) -> None:
        self._settings = settings or Settings()
        kept = symbol_cache.directory() if self._settings.cache else None
        self._cache = None if kept is None else symbol_cache.Cache(kept / "symbols")
        self._servers = Debuginfod(self._settings.debuginfod_seconds, self._settings.say)

    def names(self, tables: Tables, frames: Numbers | None = None) -> Names:
        """Of `frames`, or all; the others have no places."""
        every = len(tables.frame_address)
        wanted = np.arange(every) if frames is None else np.unique(frames).astype(np.int64)
        search = Search(
            self._settings.sysroot,
            self._settings.debug_directories,
            tables.process_ids,
            self._servers.fetch if self._settings.debuginfod else None,
        )
        # Where a call returns to may be the next line, or even the next function.
        called = np.asarray(tables.frame_address, np.uint64) - np.uint64(1)
        parts: list[_Part] = []
        pool = ThreadPoolExecutor(_WORKERS)
        try:
            jobs = []
            for module, group in _grouped(wanted, np.asarray(tables.frame_module), called):
                if module:
                    addresses = each_once(called[group])
                    jobs.append((module, group, self._begun(tables.modules[module], addresses, search, pool)))
                else:
                    parts += _in_no_module(tables, group, called)
            for module, group, job in jobs:
                places, lack, whole = self._ended(job)
                parts.append(_Part(group, places, EVERY, f"{tables.modules[module].path}: {lack}", whole))
        finally:
            pool.shutdown(cancel_futures=True)
        return _assembled(tables, called, parts)

    def _begun(self, module: Module, addresses: Addresses, search: Search, pool: ThreadPoolExecutor) -> _Job:
        build = module.build_id if re.fullmatch("[0-9a-f]{4,128}", module.build_id) else ""
        known = self._kept(build, [COMPLETE])
        left = _beyond(known, addresses)
        if not len(left):
            return _Job(addresses, known, build, Found(COMPLETE, lack=LACKS[COMPLETE]), ())
        found = search.find(module)
        if not module.build_id and found.binary:
            build = _build_of(found.binary)
            known = self._kept(build, [found.kind])
        else:
            known += self._kept(build, KINDS[1 : KINDS.index(found.kind) + 1])
        left = _beyond(known, addresses)
        if found.kind == NOTHING and not found.binary:
            left = left[:0]
        parts = min(_WORKERS, -(-len(left) // _AT_ONCE))
        return _Job(
            addresses,
            known,
            build,
            found,
            [self._started(pool, found, part) for part in np.array_split(left, parts)] if parts else [],
        )

    def _ended(self, job: _Job) -> tuple[Places, str, bool]:
        """And why addresses may have no name; and whether those that have one have all that is to be said."""
        fresh = [future.result() for future in job.running]
        worst = max((state for _, state in fresh), default=GOOD)
        got = [places for places, _ in fresh]
        if self._cache is not None and got and job.build and worst == GOOD:
            kind = job.found.kind
            before = self._cache.load(job.build, kind)
            self._cache.store(job.build, kind, joined([*got, *([before] if before else [])]))
        return joined([*job.known, *got]), _WORDS.get(worst, job.found.lack), worst == GOOD and job.found.kind != ALONE

    def _kept(self, build: str, kinds: Sequence[str]) -> list[Places]:
        if self._cache is None or not build:
            return []
        return [places for kind in kinds if (places := self._cache.load(build, kind)) is not None]

    def _started(self, pool: ThreadPoolExecutor, found: Found, addresses: Addresses) -> Future[tuple[Places, int]]:
        try:
            return pool.submit(self._look_up, found, addresses)
        except RuntimeError:  # no more threads can be had
            done: Future[tuple[Places, int]] = Future()
            done.set_result(self._look_up(found, addresses))
            return done

    def _look_up(self, found: Found, addresses: Addresses) -> tuple[Places, int]:
        seconds, memory = self._settings.seconds, self._settings.memory
        files = (found.binary, found.debug, found.supplement)
        places, state = symbol_library.look_up(*files, addresses, seconds, memory)
        if state not in (GOOD, PARTIAL):
            places, _ = symbol_library.look_up(*files, addresses, seconds, memory, places=False)
        return places, state


def _grouped(wanted: Numbers, of: Numbers, called: Addresses) -> Iterator[tuple[int, Numbers]]:
    """Those of each, by address: what is looked up in order is looked up faster."""
    order = wanted[np.lexsort((called[wanted], of[wanted]))]
    keys, begins = np.unique(of[order], return_index=True)
    yield from zip((int(key) for key in keys), np.split(order, begins[1:]))


def _beyond(known: Sequence[Places], addresses: Addresses) -> Addresses:
    for places in known:
        addresses = addresses[~has(places, addresses)]
    return addresses


def _build_of(path: str) -> str:
    """Of a file without a build id."""
    status = os.stat(path)
    told = f"{path}\0{status.st_size}\0{status.st_mtime_ns}"
    return "file-" + hashlib.sha256(told.encode("utf-8", "surrogateescape")).hexdigest()


def _in_no_module(tables: Tables, group: Numbers, called: Addresses) -> Iterator[_Part]:
    for process, frames in _grouped(group, np.asarray(tables.frame_process), called):
        pid = tables.process_ids[process] if process < len(tables.process_ids) else 0
        trace = tables.sources[process] if process < len(tables.sources) else ""
        code, lack = perf_map.of_process(pid, trace)
        yield _Part(frames, perf_map.places(code, each_once(called[frames])), process, lack)


def _assembled(tables: Tables, called: Addresses, parts: Sequence[_Part]) -> Names:
    functions, files = Strings(), Strings()
    counts = np.zeros(len(called), np.int64)
    pieces, missing = [], []
    modules = [_shown(module) for module in tables.modules]
    for part in parts:
        places = at_each(part.places, called[part.frames])
        counts[part.frames] = places.counts
        function = functions.numbers(places.functions)[places.function]
        nameless = np.flatnonzero(places.function == 0)
        frames = np.repeat(part.frames, places.counts)[nameless]
        if len(nameless):
            function[nameless] = functions.numbers(_addresses(tables, modules, frames))
        if len(nameless) or not part.whole:
            missing.append(Loss(part.process, part.lack, len(each_once(frames) if part.whole else part.frames)))
        file = files.numbers(places.files)[places.file]
        pieces.append((part.frames, places, function, file))
    ends = np.cumsum(counts)
    rows = int(counts.sum())
    names = Names(
        ends=ends,
        function=np.zeros(rows, np.uint32),
        file=np.zeros(rows, np.uint32),
        line=np.zeros(rows, np.uint32),
        inlined=np.zeros(rows, np.bool_),
        functions=functions.texts,
        files=files.texts,
        missing=missing,
    )
    for frames, places, function, file in pieces:
        at = ragged(ends[frames] - places.counts, places.counts)
        names.function[at], names.file[at] = function, file
        names.line[at], names.inlined[at] = places.line, places.inlined
    return names


def _shown(module: Module) -> str:
    name = os.path.basename(module.path.removesuffix(DELETED))
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _addresses(tables: Tables, names: Sequence[str], frames: Numbers) -> list[str]:
    """What frames without a name are called. `names`: of the modules."""
    addresses = np.asarray(tables.frame_address)[frames].tolist()
    modules = np.asarray(tables.frame_module)[frames].tolist()
    return [f"{names[m]}+{a:#x}" if m else f"{a:#x}" for m, a in zip(modules, addresses)]
