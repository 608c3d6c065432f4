"""The heap as its samples tell it: events folded into the lives of sampled blocks.

A life is a row of these columns; `LIFE` has their types. Nothing here knows a file, a text or a clock.

    process         number of the process (Heap.processes has a row for each)
    id, address     of the block
    size, alignment, function, period, since, by_calls, guarded, guard_chance, thread    as in its birth's event
    stack           that asked for it
    born            nanoseconds since 1970
    died            the same; NEVER: it is alive
    fate            ALIVE, FREED, RESIZED (sampled anew in place: its next life has the same id), LOST (gone: its home
                    was used again; nobody saw when, so `died` is when the next one was born)
    free_function, free_thread, free_stack    that ended it
    late            its birth was before what is left of the trace, and is known from a checkpoint
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from poireau.tables import Tables

ALIVE, FREED, RESIZED, LOST = range(4)
NEVER = np.iinfo(np.int64).max
LIFE: Mapping[str, str] = MappingProxyType(
    {
        "process": "u4",
        "id": "u8",
        "address": "u8",
        "size": "u8",
        "alignment": "u8",
        "function": "u4",
        "period": "u8",
        "since": "u8",
        "by_calls": "?",
        "guarded": "?",
        "guard_chance": "u4",
        "thread": "u4",
        "stack": "u4",
        "born": "i8",
        "died": "i8",
        "fate": "u1",
        "free_function": "u4",
        "free_thread": "u4",
        "free_stack": "u4",
        "late": "?",
    }
)
Columns = Mapping[str, NDArray[Any]]
Batch = Mapping[str, Columns]
"""Kind of event -> its columns: those of events.KINDS, with numbers for text, bytes and frames, and besides them
`order`, `process` and `stamp` (see native/reader.h)."""


class Source(Protocol):
    """What events come from, any number of times."""

    def batches(self) -> Iterator[Batch]: ...
    def tables(self) -> Tables: ...


@dataclass
class Heap:
    source: Source
