"""What a program says of itself while it runs (poireau.h): the phase that it is in, and the blocks that it keeps."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from poireau.errors import USAGE, Failure
from poireau.model import Heap

PHASE, KEEP = "phase", "keep"  # names of option events that are no options
NAMES = (PHASE, KEEP)


def window(heap: Heap, name: str) -> tuple[int, int]:
    """From the first moment that any process was in it up to the last, in nanoseconds since 1970. Raises Failure."""
    said = heap.options
    said = said[said["name"] == PHASE].sort_values(["process", "stamp"], kind="stable")
    found = []
    for _, rows in said.groupby("process", sort=False):
        begins = rows["stamp"].tolist()
        for phase, begin, end in zip(rows["value"].tolist(), begins, [*begins[1:], heap.end + 1]):
            if phase == name:
                found.append((int(begin), max(int(end), int(begin) + 1)))
    if not found:
        there = ", ".join(dict.fromkeys(filter(None, said["value"].tolist()))) or "none (poireau_phase names one)"
        raise Failure(f"there is no phase {name}; there is {there}", USAGE)
    return min(begin for begin, _ in found), max(end for _, end in found)


def kept(heap: Heap, process: NDArray[np.int64], ids: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Which of these blocks are meant to live as long as their process."""
    said = heap.options
    said = said[said["name"] == KEEP]
    marked = {(each, _number(text)) for each, text in zip(said["process"].tolist(), said["value"].tolist())}
    if not marked:
        return np.zeros(len(ids), bool)
    return np.fromiter((pair in marked for pair in zip(process.tolist(), ids.tolist())), bool, len(ids))


def _number(text: str) -> int:
    try:
        return int(text, 16)
    except ValueError:
        return 0
