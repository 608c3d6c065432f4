"""What the bands of a live stream are called: lines, functions, modules, stacks; threads; sizes.

A band's key is a hash of what it is of, so that it is the same after a restart. Names are looked up elsewhere than
where the stream is made, from tables that stay as they are; until they come, what they are of is among the others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from poireau import naming
from poireau.grouping import class_bounds
from poireau.model import Symbolize
from poireau.report import colours, words
from poireau.stacks import NOWHERE, Stacks, runs
from poireau.tables import Tables

BYS = ("line", "function", "stack", "module", "thread", "size")
OF_STACKS = BYS[:4]
_FRAMES = 4  # of a stack's name
Codes = NDArray[np.int64]


@dataclass(frozen=True)
class Band:
    key: str
    name: str
    function: str = ""
    file: str = ""
    line: int = 0
    module: str = ""
    colour: int = -1

    def as_json(self) -> dict[str, Any]:
        return dict(vars(self))


class Bands:
    """Those that have been so far; a number each."""

    def __init__(self) -> None:
        self.bands: list[Band] = []
        self._numbers: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self.bands)

    def number(self, band: Band) -> int:
        number = self._numbers.setdefault(band.key, len(self.bands))
        if number == len(self.bands):
            self.bands.append(band)
        return number


def of_stacks(symbolize: Symbolize, tables: Tables, numbers: Codes, by: str) -> list[Band]:
    """Of each of these stacks."""
    ends = np.asarray(tables.stack_ends, np.int64)
    begins = np.where(numbers > 0, ends[numbers - 1], 0)
    frames = np.unique(np.asarray(tables.stack_frames)[runs(begins, ends[numbers] - begins)])
    stacks = Stacks.of(tables, symbolize(tables, frames) or naming.addresses(tables))
    sites = stacks.sites(stacks.wrappers())[numbers]
    columns = naming.places(stacks, sites)
    rows = zip(*(columns[name].tolist() for name in ("function", "file", "line", "module")))
    chains = _chains(stacks, sites, numbers) if by == "stack" else [""] * len(numbers)
    return [
        _of_place(by, function, file, line, module, chain)
        for (function, file, line, module), chain in zip(rows, chains)
    ]


def _of_place(by: str, function: str, file: str, line: int, module: str, chain: str) -> Band:
    row: Mapping[str, Any] = {"function": function, "file": file, "line": line, "module": module}
    if by == "module":
        return Band(_hashed(module), words.key(row, by, False), "", "", 0, module, colour_of(module))
    if by == "function":
        return Band(_hashed(function), words.key(row, by, False), function, file, 0, module, colour_of(function))
    name = words.key(row, by, False)
    if by == "stack":
        return Band(_hashed(chain), name, function, file, line, module, colour_of(function))
    shown = f"{function}\0{file}\0{line}" if file else function
    return Band(_hashed(shown), name, function, file, line, module, colour_of(function))


def _chains(stacks: Stacks, sites: Codes, numbers: Codes) -> list[str]:
    """All that is called on the way, as text."""
    functions, function = stacks.names.functions, np.asarray(stacks.names.function)
    line = np.asarray(stacks.names.line)
    found = []
    for site, number in zip(sites.tolist(), numbers.tolist()):
        rows = stacks.places[site : stacks.ends[number]] if site != NOWHERE else stacks.places[:0]
        found.append("\0".join(f"{functions[function[row]]}:{line[row]}" for row in rows.tolist()))
    return found


def of_threads(threads: Sequence[int], names: Mapping[int, str]) -> list[Band]:
    return [
        Band(
            _hashed(f"thread {tid}"),
            f"{names.get(tid, '') or 'thread'} [{tid}]",
            colour=colour_of(names.get(tid, str(tid))),
        )
        for tid in threads
    ]


def of_size(number: int) -> Band:
    least, most = class_bounds(number)
    name = words.key({"smallest": least, "largest": most}, "size", False)
    return Band(_hashed(f"size {number}"), name, colour=number % 32)


def colour_of(function: str) -> int:
    return colours.index(function)


def _hashed(text: str) -> str:
    return blake2b(text.encode("utf-8", "surrogateescape"), digest_size=6).hexdigest()
