"""Names that a trace brings itself, as packs do, and for its other frames those of a symbolizer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from poireau.model import Symbolize
from poireau.reader import Trace
from poireau.symbol_places import ragged
from poireau.tables import Names, Tables

Numbers = NDArray[np.int64]


def first(trace: Trace, symbolize: Symbolize) -> Symbolize:
    """What names the frames of `trace`: its own names come first."""
    own = getattr(trace, "names", None)
    if own is not None:
        return own  # type: ignore[no-any-return]
    several = getattr(trace, "told", None)
    if several is None:
        return symbolize

    def names(tables: Tables, frames: NDArray[Any] | None) -> Names | None:
        sources: list[tuple[Names, Numbers]] = list(several())
        if not sources:
            return symbolize(tables, frames)
        count = len(tables.frame_address)
        known = np.zeros(count, bool)
        for _, numbers in sources:
            known[numbers] = True
        wanted = np.arange(count) if frames is None else np.unique(frames).astype(np.int64)
        found = symbolize(tables, wanted[~known[wanted]])
        return joined(count, [*sources, *([(found, np.arange(count))] if found is not None else [])])

    return names


def joined(count: int, sources: Sequence[tuple[Names, Numbers]]) -> Names:
    """Of `count` frames. `sources`: names, and the numbers of the frames that they are of; the first that has any for a
    frame is right."""
    whose, own = np.full(count, -1), np.zeros(count, np.int64)
    lengths = np.zeros(count, np.int64)
    for source, (names, numbers) in enumerate(sources):
        counts = np.diff(np.asarray(names.ends, np.int64), prepend=0)
        new = (counts > 0) & (whose[numbers] < 0)
        whose[numbers[new]], own[numbers[new]], lengths[numbers[new]] = source, np.flatnonzero(new), counts[new]
    ends, rows = np.cumsum(lengths), int(lengths.sum())
    function, file, line = (np.zeros(rows, np.uint32) for _ in range(3))
    inlined = np.zeros(rows, np.bool_)
    functions, files = dict[str, int](), {"": 0}
    for source, (names, _) in enumerate(sources):
        its = np.flatnonzero(whose == source)
        sizes = lengths[its]
        to = ragged(ends[its] - sizes, sizes)
        row = ragged(np.asarray(names.ends, np.int64)[own[its]] - sizes, sizes)
        function[to] = _numbers(functions, names.functions)[np.asarray(names.function)[row]]
        file[to] = _numbers(files, names.files)[np.asarray(names.file)[row]]
        line[to], inlined[to] = np.asarray(names.line)[row], np.asarray(names.inlined)[row]
    missing = [loss for names, _ in sources for loss in names.missing]
    return Names(ends, function, file, line, inlined, list(functions), list(files), missing)


def _numbers(known: dict[str, int], texts: Sequence[str]) -> NDArray[np.uint32]:
    return np.array([known.setdefault(text, len(known)) for text in texts], np.uint32)
