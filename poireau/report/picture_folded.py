"""Folded stacks as a flamegraph: lines `main;f;g 4096`, as FlameGraph's tools, perf, heaptrack and export have them.

Lines that are no such thing are counted and left out. What is kept grows with distinct calls, of which there may be so
many; a stack that would make more ends in its caller.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from poireau import estimates
from poireau.errors import USAGE, Failure
from poireau.report import colours, picture_text, words
from poireau.report.picture_flame import MOST, Flame, least
from poireau.report.picture_tree import CODE, SMALLER, Floats
from poireau.selection import expression
from poireau.text import plain

Codes = NDArray[np.int64]
_LONGEST = 1 << 20  # bytes of a line
_MOST_FRAMES = 512
_MOST_CALLS = 2_000_000
_EXACT = "figures are taken for bytes, and for exact"
_VALUE = re.compile(r"\d{1,18}(?:\.\d{1,9})?", re.ASCII)


@dataclass(frozen=True)
class Folded:
    name: str
    parent: NDArray[np.int64]  # of each call; 0 is the root
    value: NDArray[np.float64]  # of it and all below
    names: list[str]
    stacks: int
    complaints: tuple[str, ...]


def read(name: str, focus: str = "", ignore: str = "", inverted: bool = False) -> Folded:
    """`name`: of a file; - is standard input. Raises Failure."""
    try:
        if name == "-":
            return of(sys.stdin.buffer, "standard input", focus, ignore, inverted)
        with open(name, "rb") as file:
            return of(file, name, focus, ignore, inverted)
    except OSError as error:
        raise Failure(f"{name}: {error.strerror or error}", USAGE) from error


def of(file: BinaryIO, name: str, focus: str = "", ignore: str = "", inverted: bool = False) -> Folded:
    wanted, unwanted = expression(focus, "focus"), expression(ignore, "ignore")
    calls: dict[tuple[int, str], int] = {}
    own = [0.0]
    stacks = bad = cut = 0
    while line := file.readline(_LONGEST):
        if len(line) == _LONGEST and not line.endswith(b"\n"):
            bad += 1
            while (more := file.readline(_LONGEST)) and not more.endswith(b"\n"):
                pass
            continue
        text = line.decode("utf-8", "backslashreplace").strip()
        if not text or text.startswith("#"):
            continue
        stack, _, value = text.rpartition(" ")
        if not stack.strip() or not _VALUE.fullmatch(value):
            bad += 1
            continue
        if (focus and not wanted.search(stack)) or (ignore and unwanted.search(stack)):
            continue
        stacks += 1
        frames = [frame for frame in stack.strip().split(";") if frame]
        shortened = frames[:_MOST_FRAMES]
        at = 0
        for frame in reversed(shortened) if inverted else shortened:
            if (at, frame) not in calls and len(own) > _MOST_CALLS:
                shortened = []
                break
            at = calls.setdefault((at, frame), len(own))
            if at == len(own):
                own.append(0.0)
        cut += len(shortened) < len(frames)
        own[at] += float(value)
    parent = np.array([0, *(parent for parent, _ in calls)], np.int64)
    said = [f"{bad:,} lines that are no folded stacks were left out"] * (bad > 0)
    said += [f"{cut:,} stacks were cut short"] * (cut > 0)
    return Folded(
        name, parent, _upwards(parent, np.array(own)), ["", *(frame for _, frame in calls)], stacks, tuple(said)
    )


def flame(folded: Folded, limit: int = MOST, inverted: bool = False) -> Flame:
    kept, above, smaller, values = _largest(folded, limit, least() * folded.value[0])
    names = [
        "all",
        *(folded.names[number] for number in kept[1:].tolist()),
        *(f"{n:,} smaller" for n in smaller.tolist()),
    ]
    code = [False, *[True] * (len(kept) - 1), *[False] * len(above)]
    return Flame(
        f"{plain(folded.name)}: {words.size(float(folded.value[0]))} in {folded.stacks:,} stacks",
        [_EXACT, *folded.complaints],
        words.size, np.concatenate([np.searchsorted(kept, folded.parent[kept]), above]), values, values, values,
        names, code, [""] * len(names), inverted,
    )  # fmt: skip


def data(folded: Folded, limit: int, inverted: bool) -> dict[str, Any]:
    """As flamegraph/src/picture.ts has it."""
    kept, above, smaller, values = _largest(folded, limit, 0.0)
    texts = picture_text.Texts()
    functions = [folded.names[number] for number in kept.tolist()]
    names = texts.numbers([*functions, *[""] * len(above)])
    nothing, count = [0] * len(values), len(kept)
    exact = estimates.nothing(len(values))
    figures = picture_text.figures(replace(exact, value=values, seen=values, samples=exact.samples + 1))
    figures["samples"] = nothing
    row = np.flatnonzero(values > 0).tolist()
    of_bytes = {name: [column[number] for number in row] for name, column in figures.items()}
    return {
        "schema": "poireau.picture",
        "version": 1,
        "title": f"{plain(folded.name)}: {folded.stacks:,} stack{'s' * (folded.stacks != 1)}",
        "lines": [_EXACT, *map(plain, folded.complaints), *["there is no stack: nothing to draw"] * (not row)],
        "nodes": {
            "parent": [*np.searchsorted(kept, folded.parent[kept]).tolist(), *above.tolist()],
            "name": names,
            **dict.fromkeys(("file", "line", "module"), nothing),
            "kind": [CODE] * count + [SMALLER] * len(above),
            "others": [0] * count + smaller.tolist(),
            "colour": [-1, *(colours.index(name) for name in functions[1:]), *[-1] * len(above)],
        },
        "names": texts.texts,
        "views": [
            {
                "key": "in-use",
                "name": "as folded",
                "unit": "bytes",
                "note": "",
                "row": row,
                "bytes": of_bytes,
                "count": {name: [0] * len(row) for name in of_bytes},
            }
        ],
        "shown": "in-use",
        "inverted": inverted,
        "times": None,
        "cells": None,
        "change": None,
        "period": 1,
    }


def _largest(folded: Folded, limit: int, least: float) -> tuple[Codes, Codes, Codes, Floats]:
    """The calls that are drawn; in which of them are smaller ones, and how many; and what each of all these has."""
    parent, value = folded.parent, folded.value
    count = len(parent) if limit == 0 else min(limit + 1, len(parent))
    kept = np.sort(np.argsort(-value, kind="stable")[:count])
    kept = kept[(value[kept] >= least) | (kept == 0)]
    is_kept = np.zeros(len(parent), np.bool_)
    is_kept[kept] = True
    dropped = np.flatnonzero(~is_kept & is_kept[parent])
    above, rows, smaller = np.unique(np.searchsorted(kept, parent[dropped]), return_inverse=True, return_counts=True)
    return kept, above, smaller, np.concatenate([value[kept], np.bincount(rows, value[dropped], len(above))])


def _upwards(parent: NDArray[np.int64], own: NDArray[np.float64]) -> NDArray[np.float64]:
    """A call comes after its caller."""
    total = own.tolist()
    for at, above in zip(range(len(total) - 1, 0, -1), _backwards(parent)):
        total[above] += total[at]
    return np.array(total)


def _backwards(parent: NDArray[np.int64]) -> Iterable[int]:
    callers: list[int] = parent[:0:-1].tolist()
    return callers
