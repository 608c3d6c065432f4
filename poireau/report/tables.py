"""Everything that is known of a heap as tables, for spreadsheets, notebooks and databases: CSV, JSON, JSON lines and
Parquet. They come in parts, so that memory doesn't grow with their rows.

Times are nanoseconds since 1970. A stack is a number, of a row of `stacks` for each frame, innermost first; a frame is
one of `frames`, which has a row for each function inlined there, innermost first.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, BinaryIO

import numpy as np
import pandas as pd

from poireau.errors import Failure
from poireau.model import ALIVE, FATES, NEVER, Heap
from poireau.model_lives import printable
from poireau.naming import addresses
from poireau.report.exports import Asked
from poireau.stacks import begins_of
from poireau.views import view
from poireau.windows import Within, chosen, lives_of, window_of

Parts = Iterator[pd.DataFrame]
_POINTS = 1000
_PART = 1 << 16  # rows at a time


def parts_of(heap: Heap, asked: Asked) -> Parts:
    """At least one, which may be empty."""
    return TABLES[asked.table](heap, asked)


def _view(heap: Heap, asked: Asked) -> Parts:
    yield view(heap, asked.view, asked.by, asked.selection).table.drop(columns="place", errors="ignore")


def _lives(heap: Heap, asked: Asked) -> Parts:
    since, until = window_of(heap, asked.selection)
    yield from (_told(heap, lives) for lives in _some(lives_of(heap, asked.selection, since, until), heap))


def _live(heap: Heap, asked: Asked) -> Parts:
    in_use = chosen(heap, "in-use", asked.selection, Within())[2]
    yield from (_told(heap, lives) for lives in _some((part.lives for part in in_use), heap))


def _some(parts: Iterator[Any], heap: Heap) -> Parts:
    """An empty one first, since there may be none."""
    yield heap.live().head(0)
    yield from parts


def _told(heap: Heap, lives: pd.DataFrame) -> pd.DataFrame:
    """With words for numbers, and nothing where there is nothing."""
    lives = lives.reset_index(drop=True)
    over = lives["fate"] != ALIVE
    died = pd.array(lives["died"].where(lives["died"] != NEVER, 0), "Int64")
    died[~over] = pd.NA
    words = {
        "function": heap.text(lives["function"]),
        "free_function": heap.text(lives["free_function"]),
        "fate": np.array(FATES, object)[lives["fate"]],
    }
    return lives.assign(died=died, **words)


def _stacks(heap: Heap, asked: Asked) -> Parts:
    ends = np.asarray(heap.tables.stack_ends, np.int64)
    depths = ends - begins_of(ends)
    stack = np.repeat(np.arange(len(ends)), depths)
    frame = np.asarray(heap.tables.stack_frames)
    for begin in range(0, max(len(stack), 1), _PART):
        part = slice(begin, begin + _PART)
        its = stack[part]
        depth = np.arange(begin, begin + len(its)) - begins_of(ends)[its]
        yield pd.DataFrame({"stack": its, "depth": depth, "frame": frame[part]})


def _frames(heap: Heap, asked: Asked) -> Parts:
    tables = heap.tables
    names = heap.names() or addresses(tables)
    ends = np.asarray(names.ends, np.int64)
    frame = np.repeat(np.arange(len(ends)), ends - begins_of(ends))
    for begin in range(0, max(len(frame), 1), _PART):
        part = slice(begin, begin + _PART)
        its = frame[part]
        module = np.asarray(tables.frame_module)[its].tolist()
        yield pd.DataFrame(
            {
                "frame": its,
                "module": [printable(tables.modules[each].path) for each in module],
                "build_id": [tables.modules[each].build_id for each in module],
                "address": np.asarray(tables.frame_address)[its],
                "function": [names.functions[each] for each in np.asarray(names.function)[part].tolist()],
                "file": [names.files[each] for each in np.asarray(names.file)[part].tolist()],
                "line": np.asarray(names.line)[part],
                "inlined": np.asarray(names.inlined)[part],
            }
        )


def _processes(heap: Heap, asked: Asked) -> Parts:
    table = heap.processes.reset_index()
    yield table.assign(options=[json.dumps(options) for options in table["options"]])


def _losses(heap: Heap, asked: Asked) -> Parts:
    rows = [(loss.process, loss.cause, loss.count) for loss in heap.losses]
    yield pd.DataFrame(rows, columns=["process", "cause", "count"])


def _over_time(heap: Heap, asked: Asked) -> Parts:
    since, until = window_of(heap, asked.selection)
    series = heap.over_time(_POINTS, since=since, until=until)
    columns: dict[str, Any] = {"time": series.times}
    for name, each in (("bytes", series.bytes), ("count", series.count)):
        columns |= {name: each.value, f"{name}_low": each.low, f"{name}_high": each.high, "samples": each.samples}
    yield pd.DataFrame(columns)


def _calls(heap: Heap, asked: Asked) -> Parts:
    from poireau.report import calls

    yield from calls.frames(heap, asked.selection)


def _of(name: str) -> Callable[[Heap, Asked], Parts]:
    return lambda heap, asked: iter([getattr(heap, name)])


TABLES: Mapping[str, Callable[[Heap, Asked], Parts]] = {
    "view": _view,
    "lives": _lives,
    "live": _live,
    "stacks": _stacks,
    "frames": _frames,
    "processes": _processes,
    "losses": _losses,
    "over_time": _over_time,
    "calls": _calls,
    **{name: _of(name) for name in ("threads", "modules", "drops", "costs", "options", "errors", "checkpoints")},
}


def _csv(parts: Parts, asked: Asked, out: BinaryIO) -> None:
    for number, part in enumerate(parts):
        out.write(part.to_csv(index=False, header=number == 0, lineterminator="\n").encode("utf-8", "replace"))


def _jsonl(parts: Parts, asked: Asked, out: BinaryIO) -> None:
    for part in parts:
        out.write(_lines(part))


def _json(parts: Parts, asked: Asked, out: BinaryIO) -> None:
    """One object; each of its `rows` is an object."""
    head = {"schema": f"poireau.{asked.table}", "version": 1}
    if asked.table == "view":
        head |= {"view": asked.view, "by": asked.by}
    out.write(json.dumps(head)[:-1].encode() + b', "rows": [')
    separator = b"\n"
    for part in parts:
        lines = _lines(part)[:-1].replace(b"\n", b",\n")
        if lines:
            out.write(separator + lines)
            separator = b",\n"
    out.write(b"\n]}\n")


def _lines(part: pd.DataFrame) -> bytes:
    """JSON has no line breaks in texts."""
    if not len(part):
        return b""
    return bytes(part.to_json(orient="records", lines=True, force_ascii=False).encode("utf-8", "replace"))


def _parquet(parts: Parts, asked: Asked, out: BinaryIO) -> None:
    try:
        import pyarrow as arrow
        from pyarrow import parquet
    except ImportError:
        raise Failure("Parquet needs pyarrow: python3 -m pip install pyarrow") from None
    writer = None
    for part in parts:
        texts = {name: part[name].astype(str) for name in part if part[name].dtype == object}
        table = arrow.Table.from_pandas(part.assign(**texts), preserve_index=False)
        if writer is None:
            writer = parquet.ParquetWriter(out, table.schema)
        writer.write_table(table.cast(writer.schema))
    if writer is not None:
        writer.close()


FORMS: Mapping[str, Callable[[Parts, Asked, BinaryIO], None]] = {
    "csv": _csv,
    "json": _json,
    "jsonl": _jsonl,
    "parquet": _parquet,
}
