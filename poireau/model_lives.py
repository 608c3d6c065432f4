"""The columns of lives, and rows of them: see model.py, which is where others take them from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from poireau.tables import Tables

ALIVE, FREED, RESIZED, LOST = range(4)
FATES = ("alive", "freed", "resized", "lost")
NEVER = int(np.iinfo(np.int64).max)
LATEST = 1 << 62  # in 2116; what is damaged may say anything
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
`order`, `process` and `stamp` (see native/reader.h). What a process event has called `process` is `pid` here."""
Rows = NDArray[Any]
"""Lives side by side: 100 bytes each, quick to pick and to keep."""
ROW = np.dtype(list(LIFE.items()))


class Source(Protocol):
    """What events come from, any number of times. One that follows a trace gives an empty batch when there is nothing
    yet."""

    def batches(self) -> Iterator[Batch]: ...
    def tables(self) -> Tables: ...


def frame_of(rows: Rows) -> pd.DataFrame:
    return pd.DataFrame({name: np.ascontiguousarray(rows[name]) for name in LIFE})


def printable(text: str) -> str:
    """As columns may hold it: what wasn't UTF-8 is escaped, since pandas keeps no lone surrogates."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def is_empty(batch: Batch) -> bool:
    return not any(len(columns["stamp"]) for columns in batch.values())
