"""What becomes of a site's blocks that are freed: by whom, on which thread, and at what age."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from poireau import naming
from poireau.leak_lives import Lives
from poireau.leaks import Leaks
from poireau.model import Heap
from poireau.stacks import Stacks

Numbers = NDArray[np.int64]

# Of those that only pass it on; stacks.py knows the others.
_FREE = r"^(?:[cxz]?free|g_free|g_slice_free\w*|_?Py(?:Mem|Object)_\w*Free|(?:CRYPTO|OPENSSL)_free|sqlite3_free)$"
_MOST = 3  # places and threads that are named


@dataclass(frozen=True)
class Freeing:
    samples: int
    median: float  # age, in seconds, of all blocks that the samples stand for
    longest: float
    elsewhere: float  # the share that another thread freed than had asked for it
    places: tuple[dict[str, Any], ...]  # function, file, line, share; the most first
    threads: tuple[tuple[str, float], ...]  # by name, or by number; share
    askers: tuple[str, ...]  # threads that ask for its blocks


def freeing(heap: Heap, leaks: Leaks, sites: Sequence[int]) -> list[Freeing]:
    """Of these sites."""
    lives, row = leaks.lives, leaks.sites
    assert lives is not None and row is not None
    threads = heap.threads
    named = dict(zip(zip(threads["process"].tolist(), threads["thread"].tolist()), threads["name"].tolist()))
    freed, alive = (_by_site(row, sites, chosen) for chosen in (lives.freed, lives.alive))
    numbers = np.concatenate([np.zeros(1, np.int64), *(lives["free_stack"][own] for own in freed)])
    stacks = naming.stacks_of(heap, np.unique(numbers))
    place_of = stacks.sites(stacks.wrappers("|".join(filter(None, (_FREE, leaks.selection.wrappers)))))
    return [_of(lives, own, held, named, stacks, place_of) for own, held in zip(freed, alive)]


def _of(
    lives: Lives, own: Numbers, held: Numbers, named: dict[tuple[int, int], str], stacks: Stacks, place_of: Numbers
) -> Freeing:
    weight, age = lives.weight[own], lives.age[own]
    whole = float(weight.sum()) or 1.0
    thread = lives["free_thread"][own]
    places = [
        {name: column[0] for name, column in _plain(naming.places(stacks, np.array([place]))).items()}
        | {"share": share}
        for place, share in _shares(place_of[lives["free_stack"][own]], weight)[:_MOST]
    ]
    by = _shares(_who(lives["process"][own], thread), weight)
    askers = _shares(_who(lives["process"][held], lives["thread"][held]), np.ones(len(held)))
    return Freeing(
        len(own),
        _median(age, weight),
        float(age.max(initial=0.0)),
        float(weight[lives["thread"][own] != thread].sum()) / whole,
        tuple(places),
        tuple(_added((_name(named, who), share) for who, share in by)[:_MOST]),
        tuple(name for name, _ in _added((_name(named, who), share) for who, share in askers)[:_MOST]),
    )


def _by_site(row: Numbers, sites: Sequence[int], chosen: NDArray[np.bool_]) -> list[Numbers]:
    its = np.flatnonzero(chosen & np.isin(row, np.asarray(sites, np.int64)))
    its = its[np.argsort(row[its], kind="stable")]
    bounds = [np.searchsorted(row[its], sites, side=side) for side in ("left", "right")]
    return [its[begin:end] for begin, end in zip(*(each.tolist() for each in bounds))]


def _shares(of: NDArray[Any], weight: NDArray[np.float64]) -> list[tuple[int, float]]:
    """The most first."""
    distinct, which = np.unique(of, return_inverse=True)
    sums = np.bincount(which.reshape(-1), weight, len(distinct))
    order = np.argsort(-sums, kind="stable")
    whole = float(weight.sum()) or 1.0
    return [(int(distinct[at]), float(sums[at]) / whole) for at in order]


def _added(shares: Iterable[tuple[str, float]]) -> list[tuple[str, float]]:
    """Threads of one name are one."""
    sums: dict[str, float] = {}
    for name, share in shares:
        sums[name] = sums.get(name, 0.0) + share
    return sorted(sums.items(), key=lambda each: -each[1])


def _plain(columns: dict[str, Any]) -> dict[str, list[Any]]:
    return {name: np.asarray(columns[name]).tolist() for name in ("function", "file", "line")}


def _who(process: NDArray[Any], thread: NDArray[Any]) -> Numbers:
    return np.asarray(process.astype(np.int64) << 32 | thread.astype(np.int64))


def _name(named: dict[tuple[int, int], str], who: int) -> str:
    return named.get((who >> 32, who & 0xFFFF_FFFF)) or str(who & 0xFFFF_FFFF)


def _median(values: NDArray[np.float64], weight: NDArray[np.float64]) -> float:
    if not len(values):
        return float("nan")
    order = np.argsort(values, kind="stable")
    total = np.cumsum(weight[order])
    return float(values[order[np.searchsorted(total, total[-1] / 2)]])
