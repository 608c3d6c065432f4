"""Which sampled blocks somebody still points at: what a scan (scan.py) found, as columns, a row a block looked at.

    REACHED    a word that is no sampled block's own, or lies in one that is reached, points into it
    LOST       in none of two scans did any word of what was read point into it
    INDIRECT   only blocks that are lost themselves do (or it itself): it is lost with them
    ONCE       as LOST or INDIRECT, in the one scan there could be: of a core
    GONE       it was freed in the meantime
    UNREAD     it could not be told: its process was not read to the end

To point into a block is to be eight bytes, at a multiple of four, whose value is the address of one of the block's
bytes. Inner pointers count, as they do for others (LeakSanitizer, valgrind); one past the end does not, and
a block of no bytes has one. A block does not hold itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

REACHED, LOST, INDIRECT, ONCE, GONE, UNREAD = range(6)
STATES = ("reached", "lost", "indirect", "once", "gone", "unread")

NOBODY, GLOBAL, STACK, THREAD, REGISTER, HEAP, MAPPING, SAMPLED, KERNEL = range(9)
KINDS = ("nobody", "global", "stack", "thread", "register", "heap", "mapping", "sampled", "kernel")
MOST_HOLDERS = 4  # that are remembered of a block


@dataclass(frozen=True)
class ScanFacts:
    """Of one scan of one process, or core (nothing was stopped)."""

    pid: int
    seconds: float
    stopped_seconds: float
    bytes: int  # that were read
    blocks: int  # sampled ones alive


@dataclass(frozen=True)
class Found:
    """Words that point into blocks: a few of each block, the most telling first."""

    row: NDArray[np.int64]  # of the block, in Reached; ascending
    kind: NDArray[np.uint8]
    word: NDArray[np.int64]  # number in Reached.words
    at: NDArray[np.uint64]  # the word's address; of a register 0
    inside: NDArray[np.uint64]  # bytes from the block's first one to where it points


@dataclass(frozen=True)
class Reached:
    process: NDArray[np.uint32]
    id: NDArray[np.uint64]
    state: NDArray[np.uint8]
    holder_kind: NDArray[np.uint8]  # of the first holder; NOBODY: there is none
    holder: NDArray[np.int64]  # the same in words: a number in `words`; 0: ""
    scans: tuple[ScanFacts, ...]
    left_out: tuple[str, ...]  # what a scan does not see, or has not this time, a line each
    found: Found
    words: Sequence[str] = ("",)

    def __len__(self) -> int:
        return len(self.id)

    @cached_property
    def is_lost(self) -> NDArray[np.bool_]:
        return np.isin(self.state, (LOST, INDIRECT, ONCE))

    @cached_property
    def is_known(self) -> NDArray[np.bool_]:
        """Those that count where so many of so many are lost."""
        return np.isin(self.state, (REACHED, LOST, INDIRECT, ONCE))

    @cached_property
    def stopped_seconds(self) -> float:
        """The longest that any process was."""
        return max((scan.stopped_seconds for scan in self.scans), default=0.0)

    def rows_of(self, process: ArrayLike, id: ArrayLike) -> NDArray[np.int64]:
        """Of blocks by process and id, their rows; -1: not looked at."""
        processes, ids = np.asarray(process, np.uint32), np.asarray(id, np.uint64)
        order = np.lexsort((self.id, self.process))
        keys = _keys(self.process[order], self.id[order])
        wanted = _keys(processes, ids)
        at = np.searchsorted(keys, wanted)
        there = at < len(keys)
        rows = np.full(len(ids), -1, np.int64)
        same = np.zeros(len(ids), bool)
        same[there] = keys[at[there]] == wanted[there]
        rows[same] = order[at[same]]
        return rows

    def holders(self, row: int) -> list[str]:
        """Of a block in words, such as `global server_state in redis-server`, `stack of thread 12 "worker"`, `register
        rbx of thread 12 "worker"`, `an unsampled heap block in [heap]`, `sampled block from foo.cc:12`; [] if none."""
        begin, end = np.searchsorted(self.found.row, [row, row + 1]).tolist()
        return list(dict.fromkeys(self.words[number] for number in self.found.word[begin:end].tolist()))

    def holders_of(self, rows: Iterable[int], most: int = MOST_HOLDERS) -> list[tuple[str, int]]:
        """Of several blocks together: each holder, and how many of them it has; the most first."""
        wanted = np.unique(np.fromiter(rows, np.int64))
        chosen = np.isin(self.found.row, wanted)
        pairs = np.unique(self.found.row[chosen] * len(self.words) + self.found.word[chosen])
        word, count = np.unique(pairs % len(self.words), return_counts=True)
        order = np.argsort(-count, kind="stable")[:most]
        return [(self.words[number], int(times)) for number, times in zip(word[order].tolist(), count[order].tolist())]

    @classmethod
    def nothing(cls, scans: tuple[ScanFacts, ...] = (), left_out: tuple[str, ...] = ()) -> Reached:
        return cls.of([], [], [], scans, left_out)

    @classmethod
    def of(
        cls,
        process: ArrayLike,
        id: ArrayLike,
        state: ArrayLike,
        scans: tuple[ScanFacts, ...] = (),
        left_out: tuple[str, ...] = (),
        found: Found | None = None,
        words: Sequence[str] = ("",),
    ) -> Reached:
        """With the first holder of each."""
        states = np.asarray(state, np.uint8)
        if found is None:
            found = Found(*(np.empty(0, kind) for kind in ("i8", "u1", "i8", "u8", "u8")))
        kind, holder = np.zeros(len(states), np.uint8), np.zeros(len(states), np.int64)
        rows, first = np.unique(found.row, return_index=True)
        kind[rows], holder[rows] = found.kind[first], found.word[first]
        return cls(
            np.asarray(process, np.uint32),
            np.asarray(id, np.uint64),
            states,
            kind,
            holder,
            scans,
            left_out,
            found,
            words,
        )


def _keys(process: NDArray[np.uint32], id: NDArray[np.uint64]) -> NDArray[Any]:
    keys = np.empty(len(id), [("process", "u4"), ("id", "u8")])
    keys["process"], keys["id"] = process, id
    return keys
