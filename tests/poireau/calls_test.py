"""Every call of a program, in order, from its trace: as rows, as tables, as a file of calls."""

from __future__ import annotations

import io
import resource
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet
import pytest

import poireau
from poireau import layout
from poireau.commands import run
from poireau.report import calls, tables
from poireau.report.exports import Asked
from poireau.selection import Selection
from tests.conftest import ROOT

EVERY_CALL = {"POIREAU_" + name.upper(): value for name, value in run.EVERY_CALL}
MALLOC, FREE, REALLOC = 1, 2, 3
STRINGS = ["", "malloc", "free", "realloc"]
Row = tuple[str, str, int, int]  # kind, function, size, which block: the number of its birth


@pytest.fixture
def record(run_preloaded: Callable[..., Any], tmp_path: Path) -> Callable[..., poireau.model.Heap]:
    def run(command: Sequence[str | Path], traces: Path = tmp_path / "traces", **more: Any) -> Any:
        done = run_preloaded(command, {**EVERY_CALL, "POIREAU_TRACE": str(traces)}, **more)
        assert done.returncode == 0, done.stderr
        return poireau.open(traces)

    return run


@pytest.fixture(scope="session")
def program(compile_c: Callable[..., Path]) -> Path:
    source = (ROOT / "tests" / "programs" / "calls.c").read_text()
    return compile_c(source, ["-O0", "-fno-builtin", "-pthread"])


def all_calls(heap: Any, process: int | None = None) -> tuple[Any, list[str], calls.Told]:
    """The rows, the functions' names by number, and what else was told."""
    told = calls.Told()
    parts = [part.copy() for part in calls.calls(heap, calls.busiest(heap) if process is None else process, told)]
    strings = heap.source.tables().strings
    return np.concatenate(parts), [strings[each] for each in told.functions], told


def rows_of(heap: Any) -> list[Row]:
    """In order, with blocks numbered by their births."""
    rows, names, _ = all_calls(heap)
    blocks: dict[int, int] = {}
    out = []
    for _, id, old, size, _, function, kind, _ in rows.tolist():
        block = blocks.pop(old if kind == calls.RESIZE else id, len(out)) if kind != calls.BIRTH else len(out)
        if kind != calls.RELEASE:
            blocks[id] = block
        out.append((calls.KINDS[kind], names[function], size, block))
    return out


def test_calls_of_a_known_program_are_all_there_in_order(record, program):
    expected: list[Row] = [
        ("birth", "malloc", 1000, 0),
        ("birth", "calloc", 21, 1),
        ("birth", "aligned_alloc", 640, 2),
        ("birth", "memalign", 50, 3),
        ("birth", "malloc", 0, 4),
        ("birth", "posix_memalign", 300, 5),
        ("resize", "realloc", 200000, 0),
        ("resize", "realloc", 100, 0),
        ("release", "free", 0, 1),
        ("birth", "realloc", 77, 9),
        ("resize", "reallocarray", 90, 9),
        ("release", "free", 0, 5),
        ("release", "realloc", 0, 2),
        ("release", "free", 0, 3),
        ("release", "free", 0, 4),
        ("release", "free", 0, 0),
    ]
    for size in range(1000):
        expected += [("birth", "malloc", size, len(expected)), ("release", "free", 0, len(expected))]
    expected += [("release", "free", 0, 9), ("birth", "malloc", 123, len(expected) + 1)]
    heap = record([program, "alone"])
    assert rows_of(heap) == expected
    rows, names, told = all_calls(heap)
    aligned = {names[f]: 1 << int(a) for f, k, a in zip(rows["function"], rows["kind"], rows["alignment"]) if k == 0}
    assert (aligned["aligned_alloc"], aligned["memalign"], aligned["posix_memalign"]) == (64, 4096, 256)
    assert (told.missing, told.of_a_sample) == (0, 0)
    assert (np.diff(rows["time"]) >= 0).all()


def test_calls_of_threads_that_hand_blocks_on_are_all_there(record, program):
    rows, names, told = all_calls(record([program, "handed"]))
    assert (told.missing, told.births) == (0, told.samples)
    counted = Counter((calls.KINDS[kind], names[function]) for kind, function in zip(rows["kind"], rows["function"]))
    made = [i for _ in range(2) for i in range(3000)]
    threads = counted.pop(("birth", "calloc")) - sum(i % 3 == 0 for i in made)
    assert threads == 4  # which pthread_create asks for
    assert counted == {
        ("birth", "malloc"): sum(i % 3 != 0 for i in made),
        ("resize", "realloc"): len(made) + sum(i % 7 == 0 for i in made),
        ("release", "free"): len(made),
    }
    born, gone = {}, {}
    for _, id, old, _, thread, _, kind, _ in rows.tolist():
        if kind == calls.RELEASE:
            gone[id] = thread
        else:
            assert kind == calls.BIRTH or old in born
            born[id] = thread
    assert set(gone) <= set(born)
    assert len(set(gone.values())) <= 2


@dataclass
class Source:
    """Batches of events as a reader gives them."""

    parts: list[list[tuple[str, int, int, int]]]  # event, id, function, thread; written in this order
    late: dict[int, int] = field(default_factory=dict)  # number of an event -> when it was written

    def batches(self) -> Iterator[Any]:
        number = 0
        for part in self.parts:
            batch: dict[str, dict[str, Any]] = {}
            for name in ("alloc", "live", "resize", "free"):
                mine = [(number + at, *row[1:]) for at, row in enumerate(part) if row[0] == name]
                order, ids, functions, threads = (
                    (np.array(column, "u8") for column in zip(*mine) or [[]] * 4) if (mine) else [np.empty(0, "u8")] * 4
                )
                batch[name] = {
                    "order": order,
                    "process": np.zeros(len(mine), "u4"),
                    "stamp": np.array([self.late.get(int(each), int(each)) for each in order], "i8"),
                    "id": ids,
                    "thread": threads.astype("u4"),
                    "function": functions.astype("u4"),
                    "time": order,
                }
                if name != "free":
                    ones = np.ones(len(mine), "u8")
                    batch[name] |= {"size": 10 * ids, "alignment": 16 * ones, "period": ones}
            number += len(part)
            yield batch

    def tables(self) -> Any:
        return type("Tables", (), {"strings": STRINGS})


@dataclass
class Heap:
    source: Source
    processes: pd.DataFrame = field(default_factory=lambda: pd.DataFrame({"pid": [7]}))


def kinds_of(*parts: list[tuple[str, int, int, int]]) -> list[tuple[str, int, int]]:
    rows, _, _ = all_calls(Heap(Source(list(parts))), 0)
    return [(calls.KINDS[kind], int(old), int(id)) for kind, old, id in zip(rows["kind"], rows["old"], rows["id"])]


BORN, MOVED, GONE = ("alloc", 1, MALLOC, 5), ("alloc", 2, REALLOC, 5), ("free", 1, REALLOC, 5)


def test_a_realloc_that_moves_is_one_call_wherever_batches_end():
    other = ("alloc", 9, MALLOC, 6)
    events = [BORN, other, MOVED, ("free", 9, FREE, 6), GONE, ("free", 2, FREE, 5)]
    expected = [("birth", 0, 1), ("birth", 0, 9), ("resize", 1, 2), ("release", 0, 9), ("release", 0, 2)]
    for end in range(len(events) + 1):
        assert kinds_of(events[:end], events[end:]) == expected
        assert kinds_of(*([event] for event in events)) == expected


def test_what_is_no_pair_stays_two_calls():
    assert kinds_of([BORN, MOVED, ("alloc", 3, MALLOC, 5), GONE])[-1] == ("release", 0, 1)
    assert kinds_of([BORN, MOVED, ("free", 1, REALLOC, 6)])[-1] == ("release", 0, 1)  # another thread's
    assert kinds_of([BORN, MOVED, ("free", 1, FREE, 5)])[1:] == [("birth", 0, 2), ("release", 0, 1)]
    assert kinds_of([MOVED]) == [("birth", 0, 2)]


def test_half_a_realloc_is_not_waited_for_for_ever():
    heap = Heap(Source([[MOVED], [("free", 7, FREE, 6)], [("free", 8, FREE, 6)]], late={1: 1 << 40, 2: 1 << 41}))
    parts = [len(part) for part in calls.calls(heap, 0, calls.Told())]
    assert parts == [0, 2, 1, 0]


def test_tables_hold_the_same_calls(record, program):
    heap = record([program, "alone"])
    rows, names, _ = all_calls(heap)
    csv, parquet = io.BytesIO(), io.BytesIO()
    asked = Asked(table="calls")
    tables.FORMS["csv"](tables.parts_of(heap, asked), asked, csv)
    tables.FORMS["parquet"](tables.parts_of(heap, asked), asked, parquet)
    read = pd.read_csv(io.BytesIO(csv.getvalue()))
    typed = pyarrow.parquet.read_table(parquet).to_pandas()
    for table in (read, typed):
        assert list(table["id"]) == list(rows["id"])
        assert list(table["time"]) == list(rows["time"])
        assert list(table["function"]) == [names[each] for each in rows["function"]]
        assert list(table["call"]) == [calls.KINDS[each] for each in rows["kind"]]
        released = table["call"] == "release"
        assert table["size"].isna().equals(released)
        assert list(table["size"].dropna()) == list(rows["size"][~released.to_numpy()])
        assert table["old"].notna().equals(table["call"] == "resize")


def test_a_selection_of_time_is_kept(record, program):
    heap = record([program, "alone"])
    rows, _, _ = all_calls(heap)
    since, until = int(rows["time"][100]), int(rows["time"][200])
    kept = pd.concat(calls.frames(heap, Selection(since=since, until=until)))
    chosen = (rows["time"] >= since) & (rows["time"] < until)
    assert len(kept) == chosen.sum() >= 100


def test_the_file_of_calls_needs_no_more_memory_for_more_calls(seed, tmp_path):
    """Live blocks alone take memory."""
    draw = np.random.default_rng(seed)
    batch = np.zeros(200_000, calls.CALL)
    batch["id"][0::2] = np.arange(len(batch) // 2)
    batch["id"][1::2] = np.arange(len(batch) // 2)
    batch["kind"][1::2] = calls.RELEASE
    batch["size"] = draw.integers(0, 1000, len(batch))
    batch["alignment"] = 4
    batch["thread"] = np.repeat(draw.integers(0, 50, len(batch) // 2), 2)
    limit = 64 << 20
    with open(tmp_path / "calls", "wb") as out:
        encoder = subprocess.Popen(
            [layout.native("poireau-replay"), "--encode"],
            stdin=subprocess.PIPE,
            stdout=out,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
        )
        for number in range(20):  # 4 M calls; a word for each would be half of the limit
            batch["time"] = number * len(batch) + np.arange(len(batch))
            encoder.stdin.write(batch.tobytes())
        calls._put(encoder.stdin, calls.FACTS, "")
        encoder.stdin.close()
        assert encoder.wait(60) == 0
    assert (tmp_path / "calls").stat().st_size < 4_000_000 * 8
