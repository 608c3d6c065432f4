"""What a trace says besides the lives of blocks: whose it is, threads, options, errors, drops and counts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from poireau.events import KINDS
from poireau.model_lives import LATEST, NEVER, Batch, printable
from poireau.requested import Tails
from poireau.tables import Tables

_COUNTED = ("process", "thread", "bytes", "samples", "first", "last")
_MOST_PARTS = 64
MOST_KEPT = 1 << 16  # of what may be said any number of times: the last
_ONE = {  # the last of these is what counts
    "process": ["process"],
    "thread": ["process", "thread"],
    "module": ["process", "path", "build_id", "base"],
    "drops": ["process", "cause"],
    "cost": ["process"],
}
_ALL = ("checkpoint", "option", "error")
_TEXTS = ("executable", "build_id", "host", "version", "allocator", "unwinder", "guards")
_OF_PROCESS = ("run_id", "parent", "generation", "pid", "start_time", *_TEXTS, "options", "source", "begin", "end")


class Facts:
    def __init__(self) -> None:
        self.events = 0
        self._begin = np.zeros(0, np.int64)  # of each process
        self._end = np.zeros(0, np.int64)
        self._tables = {kind: pd.DataFrame(columns=_columns(kind)) for kind in (*_ONE, *_ALL)}
        self.tails = Tails()
        self._counted = [np.empty((5, 0), np.int64)]  # columns: process and thread, and _COUNTED's others

    def add(self, batch: Batch) -> None:
        for kind, columns in batch.items():
            stamps = columns["stamp"]
            if not len(stamps):
                continue
            self.events += len(stamps)
            self._see(columns["process"].astype(np.int64), np.clip(stamps, 0, LATEST))
            if kind in self._tables:
                self._keep(kind, columns)
        for kind in ("alloc", "resize"):
            if kind in batch and len(batch[kind]["stamp"]):
                self._count(batch[kind])
                self.tails.add(batch[kind])

    def _see(self, process: NDArray[np.int64], stamp: NDArray[np.int64]) -> None:
        most = int(process.max()) + 1
        if most > len(self._begin):
            more = most - len(self._begin)
            self._begin = np.concatenate([self._begin, np.full(more, NEVER)])
            self._end = np.concatenate([self._end, np.full(more, -NEVER)])
        if process[0] == most - 1 and int(process.min()) == most - 1:  # only one, as mostly
            self._begin[most - 1] = min(self._begin[most - 1], stamp.min())
            self._end[most - 1] = max(self._end[most - 1], stamp.max())
        else:
            np.minimum.at(self._begin, process, stamp)
            np.maximum.at(self._end, process, stamp)

    def _keep(self, kind: str, columns: Any) -> None:
        # The arrays are the reader's, until its next batch.
        new = pd.DataFrame({name: np.array(column) for name, column in columns.items()})
        had = self._tables[kind]
        table = pd.concat([had, new], ignore_index=True) if len(had) else new
        if kind in _ONE:
            first_only = kind == "process"  # it may be told again, to who comes later
            table = table.drop_duplicates(_ONE[kind], keep="first" if first_only else "last")
        self._tables[kind] = table.tail(MOST_KEPT) if kind in _ALL else table

    def _count(self, columns: Any) -> None:
        codes, keys = pd.factorize(columns["process"].astype(np.int64) << 32 | columns["thread"])
        count, time = len(keys), columns["time"]
        sums = np.zeros((3, count), np.int64)
        sums[1], sums[2] = NEVER, -NEVER
        for how, total, column in zip((np.add, np.minimum, np.maximum), sums, (columns["since"], time, time)):
            how.at(total, codes, column.astype(np.int64))
        self._counted.append(np.stack([keys, sums[0], np.bincount(codes, minlength=count), sums[1], sums[2]]))
        if len(self._counted) == _MOST_PARTS:
            self._counted = [_added_up(self._counted)]

    def counted(self) -> pd.DataFrame:
        who, *sums = _added_up(self._counted)
        return pd.DataFrame(dict(zip(_COUNTED, (who >> 32, who & 0xFFFF_FFFF, *sums))))

    def table(self, kind: str, texts: Sequence[str], tables: Tables) -> pd.DataFrame:
        """With strings for the numbers in the columns `texts`."""
        table = self._tables[kind].drop(columns=["order"], errors="ignore").reset_index(drop=True)
        strings = tables.strings
        for name in texts:
            if name in table:
                table[name] = [printable(strings[number]) for number in table[name].tolist()]
        return table

    def processes(self, tables: Tables) -> pd.DataFrame:
        """A row a process, of whose events or files there are any."""
        known = {row["process_number"]: row for row in self._introductions()}
        numbers = range(max(len(tables.sources), len(self._begin)))
        runs = {row["run_id"]: number for number, row in known.items()}
        rows = []
        for number in numbers:
            row = known.get(number, {})
            seen = number < len(self._begin) and self._begin[number] != NEVER
            rows.append(
                {
                    "run_id": row.get("run_id", ""),
                    "parent": runs.get(row.get("parent_run_id", ""), -1) if row.get("parent_run_id") else -1,
                    "generation": row.get("generation", 0),
                    "pid": row.get("pid") or (tables.process_ids[number] if number < len(tables.process_ids) else 0),
                    "start_time": row.get("start_time", 0),
                    **{name: printable(tables.strings[row[name]]) if name in row else "" for name in _TEXTS},
                    "options": _options(tables.strings[row["options"]]) if "options" in row else {},
                    "source": printable(tables.sources[number]) if number < len(tables.sources) else "",
                    "begin": int(self._begin[number]) if seen else 0,
                    "end": int(self._end[number]) if seen else 0,
                }
            )
        return pd.DataFrame(rows, index=pd.RangeIndex(len(rows), name="process"), columns=list(_OF_PROCESS))

    def introduced(self) -> dict[int, int]:
        """When each process said who it was."""
        table = self._tables["process"]
        return dict(zip(table["process"].tolist(), table["stamp"].tolist())) if len(table) else {}

    def _introductions(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self._tables["process"].to_dict("records")
        for row in rows:
            row["process_number"] = row["process"]
            row["run_id"] = _run(row["run_id_high"], row["run_id_low"])
            row["parent_run_id"] = _run(row["parent_run_id_high"], row["parent_run_id_low"])
        return rows


def _added_up(parts: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    columns = np.concatenate(parts, axis=1)
    columns = columns[:, np.argsort(columns[0], kind="stable")]
    if not columns.size:
        return columns
    starts = np.flatnonzero(np.diff(columns[0], prepend=columns[0][0] - 1))
    hows = (np.minimum, np.add, np.add, np.minimum, np.maximum)
    return np.stack([how.reduceat(column, starts) for how, column in zip(hows, columns)])


def _columns(kind: str) -> list[str]:
    return ["process", "stamp", *(name for name in KINDS[kind] if name != "process")]


def _run(high: int, low: int) -> str:
    """Empty: none."""
    return f"{high:016x}{low:016x}" if high or low else ""


def _options(text: str) -> dict[str, str]:
    pairs = (line.partition("=") for line in text.splitlines())
    return {name: value for name, equals, value in pairs if equals}
