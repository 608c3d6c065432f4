"""From events to lives, batch by batch. Of each home its last event is remembered: see model_events.py."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from poireau.model_events import FREE, KINDS, Events, Found, Numbers, look_at
from poireau.model_lives import ALIVE, LATEST, LOST, NEVER, ROW, Batch, Rows

HOME_BITS = 40
MOST_WAITING = 1 << 16  # frees whose birth may still come
_UNSEEN, _VACANT = 255, 254  # in `fate` of what is remembered: a free without a birth; nothing
_SAME = tuple("process id address size alignment function period since by_calls guarded guard_chance thread".split())
_BYTES = np.dtype((np.void, ROW.itemsize))


class Fold:
    """Memory is for the homes that are in use, and a bounded number of frees without births."""

    def __init__(self) -> None:
        self._homes = np.empty(0, np.uint64)  # sorted
        self._places = np.empty(0, np.int64)  # of each, in
        self._rows = np.empty(1024, ROW)
        self._used = 0  # of them
        self._vacant = 0  # homes of which nothing is known
        self._waiting = 0  # those with a free without a birth
        self._serial = 0
        self.unseen = np.zeros(0, np.int64)  # of each process: frees of blocks whose birth was not seen
        self.lost = np.zeros(0, np.int64)  # of each process: ends that were not seen

    def add(self, batch: Batch) -> Rows:
        """The lives that ended."""
        counts = [len(batch[kind]["id"]) if kind in batch else 0 for kind in KINDS]
        if not sum(counts):
            return np.empty(0, ROW)
        events, homes, places = self._gather(batch, counts)
        found = look_at(events)
        births = _births(batch, counts)
        ended = _rows_of(births, events, found.birth)
        _end(ended, batch, counts, events, found)
        self._remember(events, found, homes, places, _last_rows(births, batch, counts, events, found))
        for name, numbers, sign in (("unseen", found.unseen, 1), ("unseen", found.matched, -1)):
            self._count(name, events.home[numbers] >> np.uint64(HOME_BITS), sign)
        self._count("lost", ended["process"][found.fate == LOST], 1)
        if self._waiting > MOST_WAITING:
            self._forget_oldest()
        if self._vacant > max(1024, len(self._homes) // 2):
            self._compact()
        return ended

    def alive(self) -> Rows:
        """By home."""
        places = self._places[self._rows["fate"][self._places] == ALIVE]
        rows: Rows = self._rows.take(places)
        return rows

    def _gather(self, batch: Batch, counts: list[int]) -> tuple[Events, NDArray[np.uint64], Numbers]:
        """Besides, the homes that are spoken of, and their places; below 0: they have none yet."""
        present = [kind for kind, count in zip(KINDS, counts) if count]

        def column(name: str, dtype: type) -> NDArray[Any]:
            columns: list[NDArray[Any]] = [batch[kind][name].astype(dtype, copy=False) for kind in present]
            return columns[0] if len(columns) == 1 else np.concatenate(columns)

        identity = column("id", np.uint64)
        home = column("process", np.uint64) << np.uint64(HOME_BITS) | identity & np.uint64((1 << HOME_BITS) - 1)
        by_order = np.argsort(column("order", np.uint64), kind="stable")
        place = by_order[np.argsort(home[by_order], kind="stable")]
        home = home[place]
        first = np.flatnonzero(np.concatenate([[True], home[1:] != home[:-1]]))
        homes = home[first]
        index = np.searchsorted(self._homes, homes)
        found = index < len(self._homes)
        found[found] = self._homes[index[found]] == homes[found]
        places = np.full(len(homes), -1)
        places[found] = self._places[index[found]]
        # What is remembered of a home comes before what is said of it.
        found[found] = self._rows["fate"][places[found]] != _VACANT
        before, known = first[found], self._rows.take(places[found])
        kinds = np.where(known["fate"] == _UNSEEN, FREE, 0).astype(np.uint8)
        kind = np.repeat(np.arange(4, dtype=np.uint8), counts)[place]
        time = np.clip(column("time", np.int64)[place], 0, LATEST)
        at = before + np.arange(len(before))
        others = np.ones(len(home) + len(at), np.bool_)
        others[at] = False

        def with_known(column: NDArray[Any], of_known: NDArray[Any]) -> NDArray[Any]:
            merged = np.empty(len(others), column.dtype)
            merged[others], merged[at] = column, of_known
            return merged

        events = Events(
            with_known(home, homes[found]),
            with_known(identity[place], known["id"]),
            with_known(kind, kinds),
            with_known(time, np.where(kinds == FREE, known["died"], known["born"])),
            with_known(place, ~np.arange(len(known))),
            known,
        )
        return events, homes, places

    def _remember(self, events: Events, found: Found, homes: NDArray[np.uint64], places: Numbers, rows: Rows) -> None:
        """`rows` are those of the last events; whatever else was remembered of these homes is forgotten."""
        frees = events.kind[found.last] == FREE
        fresh = frees & (events.place[found.last] >= 0)
        rows["fate"][frees] = _UNSEEN
        # The oldest go first.
        rows["since"][fresh] = self._serial + np.argsort(np.argsort(events.place[found.last[fresh]]))
        self._serial += int(np.count_nonzero(fresh))
        self._waiting += int(np.count_nonzero(frees)) - int(np.count_nonzero(events.known["fate"] == _UNSEEN))
        taken = np.zeros(len(homes), np.bool_)
        taken[np.searchsorted(homes, events.home[found.last])] = True
        had = places >= 0
        self._rows["fate"][places[had & ~taken]] = _VACANT
        new = np.flatnonzero(taken & ~had)
        places[new] = self._used + np.arange(len(new))
        self._used += len(new)
        if self._used > len(self._rows):
            self._rows = np.concatenate([self._rows, np.empty(max(len(self._rows), len(new)), ROW)])
        # As mere bytes: field by field it would take ten times as long.
        self._rows.view(_BYTES)[places[taken]] = rows.view(_BYTES)
        if len(new):
            before = np.searchsorted(self._homes, homes[new])
            self._homes = np.insert(self._homes, before, homes[new])
            self._places = np.insert(self._places, before, places[new])
        self._vacant += len(events.known) - int(np.count_nonzero(had & taken))

    def _forget_oldest(self) -> None:
        waiting = self._places[self._rows["fate"][self._places] == _UNSEEN]
        oldest = np.argsort(self._rows["since"][waiting])[: len(waiting) - MOST_WAITING // 2]
        self._rows["fate"][waiting[oldest]] = _VACANT
        self._waiting -= len(oldest)
        self._vacant += len(oldest)

    def _compact(self) -> None:
        kept = self._rows["fate"][self._places] != _VACANT
        self._homes, self._rows = self._homes[kept], self._rows.take(self._places[kept])
        self._used, self._vacant = len(self._homes), 0
        self._places = np.arange(self._used)

    def _count(self, name: str, processes: NDArray[Any], sign: int) -> None:
        if len(processes):
            more = sign * np.bincount(processes.astype(np.int64)).astype(np.int64)
            had = getattr(self, name)
            total = np.zeros(max(len(had), len(more)), np.int64)
            total[: len(had)] += had
            total[: len(more)] += more
            setattr(self, name, total)


def _births(batch: Batch, counts: list[int]) -> Rows:
    """Of all births of the batch, the lives, alive."""
    rows = np.zeros(sum(counts[:FREE]), ROW)
    rows["died"], begin = NEVER, 0
    for kind, count in zip(KINDS[:FREE], counts):
        if count:
            part, columns = rows[begin : begin + count], batch[kind]
            for name in _SAME:
                part[name] = columns[name]
            part["stack"] = columns["frames"]
            part["born"] = np.clip(columns["time"], 0, LATEST)
            part["late"] = kind == "live"
        begin += count
    return rows


def _rows_of(births: Rows, events: Events, numbers: Numbers) -> Rows:
    """The lives of these births."""
    place = events.place[numbers]
    rows = births.take(place, mode="clip") if len(births) else np.zeros(len(place), ROW)
    old = np.flatnonzero(place < 0)
    rows.view(_BYTES)[old] = events.known.take(~place[old]).view(_BYTES)
    return rows


def _last_rows(births: Rows, batch: Batch, counts: list[int], events: Events, found: Found) -> Rows:
    """What is to be remembered: lives, and frees as if they were."""
    rows = _rows_of(births, events, found.last)
    fresh = np.flatnonzero((events.kind[found.last] == FREE) & (events.place[found.last] >= 0))
    if len(fresh):
        numbers = found.last[fresh]
        frees = np.zeros(len(fresh), ROW)
        frees["id"], frees["died"] = events.id[numbers], events.time[numbers]
        frees["process"] = events.home[numbers] >> np.uint64(HOME_BITS)
        _fill_end(frees, np.arange(len(fresh)), batch["free"], events.place[numbers] - sum(counts[:FREE]))
        rows.view(_BYTES)[fresh] = frees.view(_BYTES)
    return rows


def _end(ended: Rows, batch: Batch, counts: list[int], events: Events, found: Found) -> None:
    """`ended` lives get their ends."""
    ended["fate"] = found.fate
    by, place = events.kind[found.end], events.place[found.end]
    seen = found.fate != LOST
    begin = 0
    for number, (kind, count) in enumerate(zip(KINDS, counts)):
        chosen = np.flatnonzero(seen & (by == number) & (place >= 0))
        if len(chosen):
            _fill_end(ended, chosen, batch[kind], place[chosen] - begin)
        begin += count
    old = np.flatnonzero(seen & (place < 0))
    for name in ("free_function", "free_thread", "free_stack"):
        ended[name][old] = events.known[name][~place[old]]
    ended["died"] = np.maximum(events.time[found.end], ended["born"])


def _fill_end(rows: Rows, chosen: Numbers, columns: Any, rank: Numbers) -> None:
    rows["free_function"][chosen] = columns["function"][rank]
    rows["free_thread"][chosen] = columns["thread"][rank]
    rows["free_stack"][chosen] = columns["frames"][rank]
