"""From groups to what people call them: functions, lines, files, modules, threads, sizes, calls, processes.

The columns of a table, by what it is grouped: by stack, function, line, file and module they are `function`, `file`,
`line`, `module`, `stack` (a number of the tables) and `place` (of Stacks) of what is largest there. Others: `process`,
`pid`, `program`; `thread`, `name`; `free_thread`, `free_name`; `smallest`, `largest`; `call`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from poireau.estimates import Estimates
from poireau.grouping import COLUMNS, NOBODY, OF_STACKS, Codes, Groups, class_bounds
from poireau.model import Heap
from poireau.model_lives import printable
from poireau.selection import expression
from poireau.stacks import NOWHERE, Stacks, runs
from poireau.tables import Names, Numbers, Tables

NO_STACK = "(no stack)"


def stacks_of(heap: Heap, numbers: Numbers) -> Stacks:
    """With the names of those stacks' frames; others are empty."""
    tables = heap.tables
    wanted = np.unique(numbers).astype(np.int64)
    ends = np.asarray(tables.stack_ends, np.int64)
    begins = np.where(wanted > 0, ends[wanted - 1], 0)
    frames = np.unique(np.asarray(tables.stack_frames)[runs(begins, ends[wanted] - begins)])
    return _only(Stacks.of(tables, heap.names(frames) or addresses(tables)), wanted)


def without(stacks: Stacks, groups: Groups, hide: str) -> Stacks:
    """Of those groups only, without the hidden places."""
    stacks = _only(stacks, groups.keys["stack"])
    return stacks.without(stacks.found(expression(hide, "hide"))) if hide else stacks


def _only(stacks: Stacks, numbers: Numbers) -> Stacks:
    wanted = np.zeros(len(stacks), bool)
    wanted[numbers] = True
    return stacks if wanted.all() else stacks.without(~wanted[stacks.owners])


def addresses(tables: Tables) -> Names:
    """Where nobody tells names."""
    count = len(tables.frame_module)
    modules = [printable(os.path.basename(module.path)) for module in tables.modules]
    places = zip(np.asarray(tables.frame_module).tolist(), np.asarray(tables.frame_address).tolist())
    functions = [f"{modules[module]}+{address:#x}" if module else f"{address:#x}" for module, address in places]
    nothing = np.zeros(count, np.uint32)
    every = np.arange(count)
    return Names(every + 1, every, nothing, nothing, np.zeros(count, bool), functions, [""])


@dataclass(frozen=True)
class Keyed:
    table: pd.DataFrame  # the key's columns
    rows: Codes  # of each group, its row
    of_places: Codes | None = None  # of each place of a stack, where they are more than innermost


def keyed(heap: Heap, groups: Groups, by: str, stacks: Stacks | None, wrappers: str = "") -> Keyed:
    if stacks is not None and by in OF_STACKS:
        return _of_stacks(groups, by, stacks, stacks.sites(stacks.wrappers(wrappers)))
    names = [name for name in COLUMNS[by] if name in groups.keys]
    packed: Codes = np.zeros(len(groups), np.int64)
    for name in names:
        packed = pd.factorize(packed)[0] << 32 | groups.keys[name]
    rows, distinct = pd.factorize(packed)
    first = _last(rows[::-1], np.arange(len(rows))[::-1], len(distinct))
    return Keyed(pd.DataFrame(_columns(heap, {name: groups.keys[name][first] for name in names})), rows)


def _columns(heap: Heap, keys: Mapping[str, NDArray[np.int64]]) -> dict[str, Any]:
    columns: dict[str, Any] = {}
    if "class" in keys:
        bounds = [class_bounds(number) for number in keys["class"].tolist()]
        columns |= {"smallest": [bound[0] for bound in bounds], "largest": [bound[1] for bound in bounds]}
    if "call" in keys:
        columns["call"] = heap.text(keys["call"])
    if "process" in keys:
        of_row = heap.processes.reindex(keys["process"])
        programs = [os.path.basename(str(path)) or "?" for path in of_row["executable"].fillna("")]
        columns |= {
            "process": keys["process"],
            "pid": of_row["pid"].fillna(0).astype(int).tolist(),
            "program": programs,
        }
    if "thread" in keys:
        threads = heap.threads
        named = dict(zip(zip(threads["process"].tolist(), threads["thread"].tolist()), threads["name"].tolist()))
        for column, name in (("thread", "name"), ("free_thread", "free_name")):
            if column in keys:
                who = zip(keys["process"].tolist(), keys[column].tolist())
                columns |= {column: keys[column], name: ["" if one[1] == NOBODY else named.get(one, "") for one in who]}
    return columns


def _of_stacks(groups: Groups, by: str, stacks: Stacks, sites: NDArray[np.int64]) -> Keyed:
    number = groups.keys["stack"]
    smallest_first = np.argsort(groups.bytes.value, kind="stable")
    if by == "stack":
        rows, distinct = pd.factorize(stacks.same()[number])
        stack = _last(rows[smallest_first], number[smallest_first], len(distinct))
        return Keyed(pd.DataFrame({**places(stacks, sites[stack]), "stack": stack, "place": sites[stack]}), rows)
    of_places, distinct = pd.factorize(_place_keys(stacks, by))
    site = sites[number]
    empty = site == NOWHERE
    rows = np.where(empty, len(distinct), of_places[np.where(empty, 0, site)] if len(of_places) else 0)
    # What is never innermost has a row as well, since stacks go through it: any place will do for it.
    place = _last(of_places[::-1], np.arange(len(of_places))[::-1], len(distinct) + int(empty.any()))
    place[rows[smallest_first]] = site[smallest_first]
    stack = np.where(place == NOWHERE, 0, np.append(stacks.owners, 0)[place])
    return Keyed(pd.DataFrame({**places(stacks, place), "stack": stack, "place": place}), rows, of_places)


def through(groups: Groups, stacks: Stacks, keyed: Keyed) -> Estimates:
    """Of each row, all stacks that have it anywhere. There is one group a stack."""
    assert keyed.of_places is not None
    count = len(keyed.table)
    group = np.zeros(len(stacks), np.int64)
    group[groups.keys["stack"]] = np.arange(len(groups))
    own = np.arange(len(groups)) * count + keyed.rows
    pairs = pd.unique(np.concatenate([own, group[stacks.owners] * count + keyed.of_places]))
    return groups.bytes.take(pairs // count).grouped(pairs % count, count)


def _place_keys(stacks: Stacks, by: str) -> NDArray[np.int64]:
    """Of each place of a stack, what it is taken together by."""
    names = stacks.names
    if by == "function":
        return np.asarray(names.function, np.int64)[stacks.places]
    if by == "line":
        return stacks.lines[stacks.places]
    module = np.asarray(stacks.tables.frame_module, np.int64)[stacks.frames]
    if by == "module":
        return module
    file = np.asarray(names.file, np.int64)[stacks.places]
    return np.where(file > 0, file, len(names.files) + module)


def places(stacks: Stacks, place: NDArray[np.int64]) -> dict[str, Any]:
    """Columns of where these are in the source; NOWHERE: of an empty stack."""
    there = place != NOWHERE
    at = np.where(there, place, 0)
    if not len(stacks.places):
        nothing = [""] * len(place)
        return {
            "function": [NO_STACK] * len(place),
            "file": nothing,
            "line": np.zeros(len(place), int),
            "module": nothing,
        }
    rows, names, tables = stacks.places[at], stacks.names, stacks.tables
    paths = [printable(each.path) for each in tables.modules]
    modules = _picked(paths, np.asarray(tables.frame_module)[stacks.frames[at]])
    return {
        "function": np.where(there, _picked(names.functions, np.asarray(names.function)[rows]), NO_STACK),
        "file": np.where(there, _picked(names.files, np.asarray(names.file)[rows]), ""),
        "line": np.where(there, np.asarray(names.line, np.int64)[rows], 0),
        "module": np.where(there, modules, ""),
    }


def _last(codes: Codes, values: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Of each code, the value that comes last with it; NOWHERE: none does."""
    found = np.full(count, NOWHERE)
    found[codes] = values
    return found


def _picked(texts: Any, numbers: Numbers) -> NDArray[np.object_]:
    distinct, inverse = np.unique(numbers, return_inverse=True)
    found = np.empty(len(distinct), object)
    found[:] = [texts[number] for number in distinct.tolist()]
    return found[inverse.reshape(-1)]
