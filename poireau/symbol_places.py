"""Places in the source, as columns: what a file's addresses are called. Pure functions of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Addresses = NDArray[np.uint64]
Numbers = NDArray[Any]


@dataclass(frozen=True)
class Places:
    """Of an address, one, or several where functions were inlined, innermost first; none if nothing is known of it."""

    addresses: Addresses  # ascending, each of them once
    ends: Numbers  # of each one's, in the columns that follow
    function: Numbers  # in `functions`
    file: Numbers  # in `files`
    line: Numbers
    inlined: NDArray[np.bool_]
    functions: Sequence[str]  # the first is empty: not known
    files: Sequence[str]

    @property
    def counts(self) -> Numbers:
        counts: Numbers = np.diff(self.ends.astype(np.int64), prepend=0)
        return counts


def empty() -> Places:
    no = np.zeros(0, np.uint32)
    return Places(no.astype(np.uint64), no.astype(np.uint64), no, no, no, no.astype(np.bool_), [""], [""])


def each_once(addresses: Addresses) -> Addresses:
    """Of addresses in order."""
    return addresses[np.append(True, addresses[1:] != addresses[:-1])] if len(addresses) else addresses


def ragged(begins: Numbers, counts: Numbers) -> Numbers:
    """begin, begin + 1, ... of each, `count` many, one after the other."""
    ends = np.cumsum(counts)
    rows: Numbers = np.arange(ends[-1] if len(ends) else 0, dtype=np.int64)
    rows += np.repeat(begins - (ends - counts), counts)
    return rows


def taken(places: Places, which: Numbers) -> Places:
    """Those of the addresses at `which`."""
    counts = places.counts[which]
    rows = ragged(places.ends[which].astype(np.int64) - counts, counts)
    return Places(
        places.addresses[which],
        np.cumsum(counts).astype(np.uint64),
        places.function[rows],
        places.file[rows],
        places.line[rows],
        places.inlined[rows],
        places.functions,
        places.files,
    )


def has(places: Places, addresses: Addresses) -> NDArray[np.bool_]:
    """Which of `addresses` it says something of."""
    return _position(places, addresses) < len(places.addresses)


def at_each(places: Places, addresses: Addresses) -> Places:
    """As many as there are addresses, in any order: what nothing is known of has one place, without a name."""
    known = len(places.addresses)
    none = np.zeros(1, np.uint32)
    more = Places(
        np.append(places.addresses, none),
        np.append(places.ends, len(places.function) + 1),
        np.append(places.function, none),
        np.append(places.file, none),
        np.append(places.line, none),
        np.append(places.inlined, False),
        places.functions,
        places.files,
    )
    which = _position(places, addresses)
    which[more.counts[which] == 0] = known
    return taken(more, which)


def _position(places: Places, addresses: Addresses) -> NDArray[np.int64]:
    """Of each; of what it doesn't have, one beyond all."""
    known = len(places.addresses)
    at = np.searchsorted(places.addresses, addresses)
    at[at < known] = np.where(places.addresses[at[at < known]] == addresses[at < known], at[at < known], known)
    return at


def joined(parts: Sequence[Places]) -> Places:
    """Of all of them; what two have, the first one says."""
    parts = [part for part in parts if len(part.addresses)]
    if not parts:
        return empty()
    if len(parts) == 1:
        return parts[0]
    functions, files = Strings(), Strings()
    every = Places(
        np.concatenate([part.addresses for part in parts]),
        np.cumsum(np.concatenate([part.counts for part in parts])),
        np.concatenate([functions.numbers(part.functions)[part.function] for part in parts]),
        np.concatenate([files.numbers(part.files)[part.file] for part in parts]),
        np.concatenate([part.line for part in parts]),
        np.concatenate([part.inlined for part in parts]),
        functions.texts,
        files.texts,
    )
    return taken(every, np.unique(every.addresses, return_index=True)[1])


class Strings:
    """By number; 0 is the empty one."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {"": 0}

    def numbers(self, texts: Sequence[str]) -> Numbers:
        known = self._numbers
        return np.fromiter((known.setdefault(text, len(known)) for text in texts), np.uint32, len(texts))

    @property
    def texts(self) -> list[str]:
        return list(self._numbers)
