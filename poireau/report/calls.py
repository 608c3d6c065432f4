"""Every call of one process to its allocator, in order, as far as its trace holds them: as a table, or as the file that
`poireau replay` reads (poireau/native/replay_calls.h).

A call is a row of CALL. A trace tells of a realloc that moved its block as a birth and then, by the same thread, the
release of the old block by the same function; that is one call here, of `old`, which is `id` from then on. Two calls
may look like that as well: realloc(nullptr, n) and, nothing between them on that thread, realloc(other, 0).

Calls come in the order in which they were written. It is that in which blocks were handed on: a block's birth is
written before anybody has its address, its release before its home can be another's. Nothing grows with their number.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import IO, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from poireau import layout
from poireau.errors import Failure
from poireau.model import Batch, Heap
from poireau.selection import Selection

BIRTH, RESIZE, RELEASE, LATE, NAME, FACTS = range(6)  # native/replay_encode.h's Record::Kind
KINDS = ("birth", "resize", "release", "late")
CALL = np.dtype(
    [
        ("time", "i8"),  # nanoseconds since 1970
        ("id", "u8"),
        ("old", "u8"),  # of a resize
        ("size", "u8"),
        ("thread", "u4"),
        ("function", "u2"),  # number, see Function
        ("kind", "u1"),
        ("alignment", "u1"),  # logarithm
    ]
)
Calls = NDArray[Any]
_SOURCES = {"alloc": BIRTH, "resize": RESIZE, "free": RELEASE, "live": LATE}
_PATIENCE = 100_000_000  # nanoseconds that the second half of a realloc may come after the first
EVERYTHING = Selection()
_COUNTED_APART = ("before the options were known", "overrun by a signal handler")


@dataclass
class Told:
    """What a trace says besides its calls, as far as it has been read."""

    functions: dict[int, int] = field(default_factory=dict)  # number of a string -> ours, in the order of appearance
    births: int = 0
    of_a_sample: int = 0  # births that stand for more than themselves
    samples: int = 0  # births that there were, by the library's own count
    drops: dict[str, int] = field(default_factory=dict)

    @property
    def missing(self) -> int:
        """Births that are not in the trace; of who was killed, without those of his last second."""
        return max(0, self.samples - self.births) + sum(self.drops.get(cause, 0) for cause in _COUNTED_APART)


def calls(heap: Heap, process: int, told: Told, selection: Selection = EVERYTHING) -> Iterator[Calls]:
    """In parts. `told` is complete when they are through."""
    held = np.empty(0, CALL)
    threads = _threads_of(heap, process, selection)
    for batch in heap.source.batches():
        fresh, now = _rows_of(batch, process, told, heap.source)
        rows, held = _paired(np.concatenate([held, fresh]), told, heap.source, now)
        yield rows[_selected(rows, selection, threads)]
    rows, _ = _paired(held, told, heap.source, None)
    yield rows[_selected(rows, selection, threads)]


def busiest(heap: Heap) -> int:
    """The number of the process with the most calls."""
    if len(heap.processes) == 1:
        return int(heap.processes.index[0])
    seen = np.zeros(1, np.int64)
    for batch in heap.source.batches():
        for kind in ("alloc", "resize", "free"):
            counts = np.bincount(batch[kind]["process"]) if kind in batch else np.zeros(0, np.int64)
            seen = np.pad(seen, (0, max(0, len(counts) - len(seen))))
            seen[: len(counts)] += counts
    if not seen.any():
        raise Failure("there is not one call in it")
    return int(seen.argmax())


def process_of(heap: Heap, selection: Selection) -> int:
    if len(selection.processes) > 1:
        raise Failure("calls are those of one process: which?")
    return selection.processes[0] if selection.processes else busiest(heap)


def _rows_of(batch: Batch, process: int, told: Told, source: Any) -> tuple[Calls, int | None]:
    """The calls of a batch, in order, and when the last of them was written."""
    parts, orders, now = [], [], None
    for event, kind in _SOURCES.items():
        columns = batch.get(event)
        if columns is None or not len(columns["order"]):
            continue
        mine = columns["process"] == process
        part = np.zeros(int(mine.sum()), CALL)
        part["kind"] = kind
        for name in ("time", "id", "thread"):
            part[name] = columns[name][mine]
        if kind != RELEASE:
            part["size"] = columns["size"][mine]
            part["alignment"] = _logarithm(columns["alignment"][mine])
        if kind == RESIZE:
            part["old"] = part["id"]
        part["function"] = _numbered(columns["function"][mine], told.functions)
        if kind in (BIRTH, RESIZE):
            told.births += len(part)
            told.of_a_sample += int((columns["period"][mine] != 1).sum())
        if len(part):
            now = max(now or 0, int(columns["stamp"][mine].max()))
        parts.append(part)
        orders.append(columns["order"][mine])
    _listen(batch, process, told, source)
    if not parts:
        return np.empty(0, CALL), now
    order = np.argsort(np.concatenate(orders), kind="stable")
    return np.concatenate(parts)[order], now


def _listen(batch: Batch, process: int, told: Told, source: Any) -> None:
    cost = batch.get("cost")
    if cost is not None:
        told.samples = max([told.samples, *map(int, cost["samples"][cost["process"] == process])])
    drops = batch.get("drops")
    if drops is not None and len(drops["order"]):
        strings = source.tables().strings
        mine = drops["process"] == process
        for cause, count in zip(drops["cause"][mine], drops["count"][mine]):
            told.drops[strings[int(cause)]] = int(count)


def _numbered(strings: NDArray[Any], known: dict[int, int]) -> NDArray[Any]:
    which, inverse = np.unique(strings, return_inverse=True)
    numbers: NDArray[Any] = np.array([known.setdefault(int(each), len(known)) for each in which], "u2")
    return numbers[inverse]


def _logarithm(alignment: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(np.log2(np.maximum(alignment, 1).astype("f8")), "u1")


def _paired(rows: Calls, told: Told, source: Any, now: int | None) -> tuple[Calls, Calls]:
    """With each realloc in one row, and what is to wait for its second half, with all that follows. `now`: when what
    comes next is written; None: nothing comes."""
    if not len(rows):
        return rows, rows
    by_thread = np.argsort(rows["thread"], kind="stable")
    first, second = by_thread[:-1], by_thread[1:]
    halves = rows["kind"] == BIRTH
    halves &= np.isin(rows["function"], _resizing(told, source))
    pair = halves[first] & (rows["kind"][second] == RELEASE) & (rows["thread"][first] == rows["thread"][second])
    pair &= rows["function"][first] == rows["function"][second]
    last = np.append(rows["thread"][first] != rows["thread"][second], True)  # of its thread's
    waiting = by_thread[last & halves[by_thread]]
    if now is not None:
        waiting = waiting[rows["time"][waiting] > now - _PATIENCE]
    end = int(waiting.min()) if now is not None and len(waiting) else len(rows)
    rows["old"][first[pair]] = rows["id"][second[pair]]
    rows["kind"][first[pair]] = RESIZE
    whole = np.ones(len(rows), bool)
    whole[second[pair]] = False
    # A second half that lies behind `end` has been taken already with its first one.
    ready, held = np.arange(len(rows)) < end, np.arange(len(rows)) >= end
    return rows[whole & ready], rows[whole & held]


def _resizing(told: Told, source: Any) -> list[int]:
    strings = source.tables().strings
    return [number for string, number in told.functions.items() if _resizes(strings[string])]


def _resizes(function: str) -> bool:
    return "realloc" in function or function in ("rallocx", "mi_rezalloc", "mi_recalloc")


def _threads_of(heap: Heap, process: int, selection: Selection) -> NDArray[Any] | None:
    if not selection.threads:
        return None
    table = heap.threads[heap.threads["process"] == process]
    named = table["name"].astype(str).isin(selection.threads) | table["thread"].astype(str).isin(selection.threads)
    return np.asarray(table["thread"][named])


def _selected(rows: Calls, selection: Selection, threads: NDArray[Any] | None) -> NDArray[np.bool_]:
    chosen = np.ones(len(rows), bool)
    if selection.since is not None:
        chosen &= rows["time"] >= selection.since
    if selection.until is not None:
        chosen &= rows["time"] < selection.until
    if threads is not None:
        chosen &= np.isin(rows["thread"], threads)
    return chosen


# As files.


def write(heap: Heap, selection: Selection, out: IO[bytes]) -> None:
    """What `poireau replay` reads."""
    process = process_of(heap, selection)
    told = Told()
    with tempfile.TemporaryFile() as errors, tempfile.TemporaryFile() as aside:
        direct = _descriptor(out)
        command = [str(layout.native("poireau-replay")), "--encode"]
        encoder = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=aside if direct is None else direct, stderr=errors
        )
        try:
            with encoder.stdin or aside as pipe:
                _feed(pipe, heap, process, told, selection)
        except BrokenPipeError:
            pass
        except BaseException:
            encoder.kill()
            raise
        finally:
            encoder.wait()
        if encoder.returncode != 0:
            errors.seek(0)
            said = errors.read().decode(errors="replace").strip().removeprefix("poireau-replay: ")
            raise Failure(f"the calls could not be written: {said or f'status {encoder.returncode}'}")
        if direct is None:
            aside.seek(0)
            shutil.copyfileobj(aside, out)


def _descriptor(out: IO[bytes]) -> int | None:
    try:
        out.flush()
        return out.fileno()
    except OSError:  # it is in memory
        return None


def _feed(pipe: IO[bytes], heap: Heap, process: int, told: Told, selection: Selection) -> None:
    named = 0
    for rows in calls(heap, process, told, selection):
        for string, number in list(told.functions.items())[named:]:
            _put(pipe, NAME, heap.source.tables().strings[string], number)
        named = len(told.functions)
        pipe.write(rows.tobytes())
    facts = _facts(heap, process, told)
    _put(pipe, FACTS, "".join(" ".join(f"{name}={value}".splitlines()) + "\n" for name, value in facts))


def _put(pipe: IO[bytes], kind: int, text: str, number: int = 0) -> None:
    content = text.encode("utf-8", "surrogateescape")
    record = np.zeros(1, CALL)
    record["kind"], record["size"], record["function"] = kind, len(content), number
    pipe.write(record.tobytes() + content)


def _facts(heap: Heap, process: int, told: Told) -> Iterator[tuple[str, object]]:
    row = heap.processes.loc[process] if process in heap.processes.index else {}
    known: Mapping[str, Any] = dict(row)
    for name in ("pid", "executable", "allocator", "host", "start_time"):
        if name in known:
            yield name, known[name]
    yield "births", told.births
    yield "of_a_sample", told.of_a_sample
    yield "missing", told.missing
    for cause, count in told.drops.items():
        yield f"drops {cause}", count


def frames(heap: Heap, selection: Selection) -> Iterator[pd.DataFrame]:
    """The table, in parts."""
    told = Told()
    for rows in calls(heap, process_of(heap, selection), told, selection):
        strings = heap.source.tables().strings
        names = np.array([strings[each] for each in told.functions], object)
        asks, resizes = rows["kind"] != RELEASE, rows["kind"] == RESIZE
        yield pd.DataFrame(
            {
                "time": rows["time"],
                "thread": rows["thread"],
                "call": np.array(KINDS, object)[rows["kind"]],
                "function": names[rows["function"]],
                "id": rows["id"],
                "old": _where(rows["old"], resizes),
                "size": _where(rows["size"], asks),
                "alignment": _where(np.uint64(1) << rows["alignment"].astype("u8"), asks),
            }
        )


def _where(values: NDArray[Any], there: NDArray[np.bool_]) -> Any:
    return pd.arrays.IntegerArray(values.astype("u8"), ~there)
