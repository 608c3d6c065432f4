"""Which sampled blocks somebody still points at: the memory of the processes they are in is read for words that do.

A process is read as it runs, and a pointer that moves meanwhile, from where was not read yet to where was, escapes a
scan. So a block is lost only if two scans, `apart` seconds, found nothing; as long as another scan still clears some
of those, there are more. A small process is stopped for the second one, as a whole and for 40 ms at most, and then
nothing moves; of others, each thread is, for as long as it takes to read its registers and the top of its stack. What
was freed in between is told from the library's own records, in the process's memory, which are never late.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from poireau import core_file, processes, reached, resident, scan_areas, scan_holders, scan_target
from poireau.errors import REFUSED, Failure
from poireau.model import Heap
from poireau.reached import Found, Reached, ScanFacts
from poireau.scan_holders import Words
from poireau.scan_library import INDIRECT, REACHED, Gone
from poireau.scan_seen import LEFT_OUT as LEFT_OUT
from poireau.scan_seen import NO_HOMES as NO_HOMES
from poireau.scan_seen import Seen as Seen
from poireau.scan_seen import of_core as of_core
from poireau.scan_seen import of_process as of_process
from poireau.scan_seen import rows_of as rows_of
from poireau.scan_seen import states_of as states_of
from poireau.scan_seen import thread_names as thread_names
from poireau.text import plain

BUDGET = 40_000_000  # nanoseconds that a process may be stopped
MOST_SCANS = 6
_SMALL = 20_000_000  # nanoseconds: a scan as long as this fits the budget for sure
_BETWEEN = 0.05  # seconds between those beyond the second


@dataclass
class _Process:
    number: int
    pid: int
    ids: NDArray[np.uint64]
    seen: list[Seen] = field(default_factory=list)
    ended: str = ""  # why there is no more to see

    def states(self, scan: int) -> NDArray[np.int64]:
        """Of each block, what this scan says; -1: it was not there."""
        return states_of(self.seen[scan].columns, self.ids)

    def unmet(self) -> NDArray[np.bool_]:
        """That no scan has found a word for."""
        every = [self.states(scan) for scan in range(len(self.seen))]
        met: NDArray[np.bool_] = np.any([(state == REACHED) | (state < 0) for state in every], axis=0)
        return ~met


def look(heap: Heap, *, core: str | None = None, apart: float = 1.0, only: Sequence[int] = ()) -> Reached:
    """At all blocks that are alive in the heap's processes that still run, or those of a core. `only`: numbers of
    processes. Raises Failure: none of them can be read; the line says what to do."""
    lives = heap.live()
    if only:
        lives = lives[lives["process"].isin(only)]
    if core is not None:
        return _of_core(heap, lives, core)
    running = {number: pid for number, pid in resident.pids(heap.processes).items() if not only or number in only}
    if not running:
        raise Failure(
            "none of its processes runs any more on this host: blocks that nothing points at can be found in a running "
            "process, or in a core (--core FILE)",
            REFUSED,
        )
    ids = {number: group["id"].to_numpy(np.uint64) for number, group in lives.groupby("process")}
    nothing = np.empty(0, np.uint64)
    every = [_Process(number, pid, ids.get(number, nothing)) for number, pid in running.items()]
    _scan_all(heap, every)
    if all(process.ended for process in every):
        raise Failure(every[0].ended, REFUSED)
    time.sleep(max(apart, 0.0))
    _scan_all(heap, every)
    for process in every:
        _until_certain(heap, process)
    return _told(heap, every)


def _scan_all(heap: Heap, every: Sequence[_Process]) -> None:
    for process in every:
        if not process.ended:
            small = bool(process.seen) and process.seen[-1].reading * 1e9 < _SMALL
            _scan(heap, process, BUDGET if small else 0)


def _until_certain(heap: Heap, process: _Process) -> None:
    """Scans on as long as that clears somebody."""
    while 2 <= len(process.seen) < MOST_SCANS and not process.ended:
        last = process.states(len(process.seen) - 1)
        earlier = np.all([process.states(scan) != REACHED for scan in range(len(process.seen) - 1)], axis=0)
        if process.seen[-1].frozen or not np.any(earlier & (last == REACHED)):
            return
        time.sleep(_BETWEEN)
        _scan(heap, process, 0)


def _scan(heap: Heap, process: _Process, budget: int) -> None:
    started = heap.processes["start_time"][process.number]
    try:
        seen = of_process(process.pid, budget)
    except Gone:
        process.ended = f"process {process.pid} ended while it was read"
        return
    except Failure as failure:
        process.ended = str(failure)
        return
    alive = processes.look(process.pid)
    if alive is None or alive.start != started:
        process.ended = f"process {process.pid} ended while it was read"
    else:
        process.seen.append(seen)


def _told(heap: Heap, every: Sequence[_Process]) -> Reached:
    tell = Telling(heap)
    scans: list[ScanFacts] = []
    left_out = list(LEFT_OUT)
    for process in every:
        scans += [seen.facts for seen in process.seen]
        for seen in process.seen[-1:]:
            left_out += seen.left_out
        if process.ended:
            left_out.append(process.ended)
        tell.add(process.number, process.ids, _state(process), process.seen)
    return tell.all(tuple(scans), tuple(dict.fromkeys(left_out)))


def _state(process: _Process) -> NDArray[np.uint8]:
    count = len(process.ids)
    if len(process.seen) < 2:
        return np.full(count, reached.UNREAD, np.uint8)
    state = np.full(count, reached.REACHED, np.uint8)
    last = process.states(-1)
    unmet = process.unmet()
    whole = all(seen.complete for seen in process.seen)
    state[unmet] = np.where(last[unmet] == INDIRECT, reached.INDIRECT, reached.LOST) if whole else reached.UNREAD
    state[last < 0] = reached.GONE
    if unmet.any() and not process.ended:
        state[unmet & ~_alive(process.pid, process.ids)] = reached.GONE
    return state


def _alive(pid: int, ids: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """By the records, now."""
    try:
        with scan_target.opened(pid) as scan:
            scan.find_blocks(scan_areas.chosen(scan_areas.of_process(pid)).homes)
            return rows_of(scan.columns(), ids) >= 0
    except (Failure, Gone, OSError):
        return np.zeros(len(ids), bool)


def _of_core(heap: Heap, lives: pd.DataFrame, path: str) -> Reached:
    seen, core = of_core(path, thread_names(heap))
    number = core_file.process_of(heap, core, seen.columns.blocks)
    ids = lives["id"][lives["process"] == number].to_numpy(np.uint64)
    states = states_of(seen.columns, ids)
    state = np.select(
        [states < 0, states == REACHED],
        [reached.GONE, reached.REACHED],
        reached.ONCE if seen.complete else reached.UNREAD,
    ).astype(np.uint8)
    tell = Telling(heap)
    tell.add(number, ids, state, [seen])
    return tell.all((seen.facts,), (*LEFT_OUT, *seen.left_out))


class Telling:
    """Makes a Reached of what was seen of several processes."""

    def __init__(self, heap: Heap) -> None:
        self._heap = heap
        self._words = Words()
        self._columns: list[tuple[NDArray[Any], ...]] = []
        self._found: list[tuple[NDArray[Any], ...]] = []
        self._count = 0

    def add(self, number: int, ids: NDArray[np.uint64], state: NDArray[np.uint8], every: Sequence[Seen]) -> None:
        """Holders are those of the last scan that found any that counts."""
        self._columns.append((np.full(len(ids), number, np.uint32), ids, state))
        left = np.ones(len(ids), bool)
        for seen in every[::-1]:
            told = left & ((state != reached.REACHED) | (states_of(seen.columns, ids) == REACHED))
            if told.any():
                self._found.append(self._holders(number, ids, told, seen))
            left &= ~told
        self._count += len(ids)

    def _holders(
        self, number: int, ids: NDArray[np.uint64], told: NDArray[np.bool_], seen: Seen
    ) -> tuple[NDArray[Any], ...]:
        columns = seen.columns
        asked = np.full(len(columns.blocks) + 1, -1, np.int64)
        asked[rows_of(columns, ids)] = np.where(told, np.arange(len(ids)), -1)
        asked[-1] = -1
        of = asked[columns.hits["block"]]
        chosen = np.flatnonzero(of >= 0)
        kind, word = scan_holders.of(columns, chosen, seen.place, self._words, lambda them: self._sites(number, them))
        hits = columns.hits[chosen]
        return of[chosen] + self._count, kind, word, hits["at"], hits["inside"]

    def _sites(self, number: int, ids: NDArray[np.uint64]) -> list[str]:
        return sites(self._heap, number, ids)

    def all(self, scans: tuple[ScanFacts, ...], left_out: tuple[str, ...]) -> Reached:
        process, id, state = (np.concatenate(each) for each in zip(*self._columns))
        if not self._found:
            return Reached.of(process, id, state, scans, left_out)
        row, kind, word, at, inside = (np.concatenate(each) for each in zip(*self._found))
        order = np.lexsort((_telling(kind), row))
        found = Found(*(each[order] for each in (row, kind, word, at, inside)))
        return Reached.of(process, id, state, scans, left_out, found, self._words.texts)


def _telling(kind: NDArray[np.uint8]) -> NDArray[np.int64]:
    first = [
        reached.GLOBAL,
        reached.THREAD,
        reached.KERNEL,
        reached.STACK,
        reached.SAMPLED,
        reached.REGISTER,
        reached.HEAP,
    ]
    rank = np.full(len(reached.KINDS), len(first))
    rank[first] = np.arange(len(first))
    return rank[kind]


def sites(heap: Heap, number: int, ids: NDArray[np.uint64]) -> list[str]:
    """Where blocks of the process that are alive were asked for."""
    lives = heap.live()
    own = lives[lives["process"] == number]
    stack = dict(zip(own["id"].tolist(), own["stack"].tolist()))
    return places_of(heap, np.array([stack.get(each, 0) for each in ids.tolist()], np.int64))


def places_of(heap: Heap, numbers: NDArray[np.int64]) -> list[str]:
    """The sites of these stacks, as foo.cc:12, a function, or "" if nobody knows."""
    from poireau import naming

    stacks = naming.stacks_of(heap, numbers)
    table = naming.places(stacks, stacks.sites(stacks.wrappers())[numbers])
    return [
        plain(f"{os.path.basename(file)}:{line}" if file else function if function != naming.NO_STACK else "")
        for file, line, function in zip(table["file"], table["line"], table["function"])
    ]
