"""Heaps without files, for tests.

The short way: lives as they should come out, a dict each; what isn't given has a sensible value. Stacks are functions,
innermost first, in one text ("malloc;f;main"), each of which may be "module!function@file:line".

    heap = heap_of([{"size": 100, "stack": "f;main", "born": 5, "died": 9}, {"size": 7, "stack": "g;main"}])
    heap.live()

The long way: the events one by one, of any number of processes, in batches of any size.

    history = History()
    history.process(pid=12)
    history.alloc(1, size=100, time=5, stack="f;main")
    history.free(1, time=9)
    heap = history.heap(batch=2)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from poireau import events
from poireau.model import FREED, NEVER, RESIZED, Batch, Heap
from poireau.tables import Loss, Module, Names, Tables

SECOND = 1_000_000_000
BEGIN = 1_700_000_000 * SECOND  # times below it are nanoseconds since then


class History:
    """A Source. Event by event: `alloc`, `free`, `resize`, `live`, `event` for all others."""

    def __init__(self) -> None:
        self.strings = [""]
        self.stacks: list[tuple[int, ...]] = [()]
        self.frames: list[str] = []  # "module!function@file:line"
        self.modules = [Module("", "")]
        self.sources: list[str] = []
        self.process_ids: list[int] = []
        self.losses: list[Loss] = []
        self.rows: list[tuple[str, dict[str, int]]] = []
        self.batch = 1 << 16
        self.passes = 0
        self.following = False
        self._numbers: dict[str, dict[Any, int]] = {"string": {"": 0}, "stack": {(): 0}, "frame": {}}

    def text(self, text: str) -> int:
        return self._number("string", self.strings, text)

    def stack(self, functions: str | Sequence[str]) -> int:
        """The number of this stack, innermost first."""
        named = functions.split(";") if isinstance(functions, str) else functions
        frames = tuple(self._number("frame", self.frames, each) for each in named if each)
        return self._number("stack", self.stacks, frames)

    def _number(self, kind: str, table: list[Any], what: Any) -> int:
        numbers = self._numbers[kind]
        if what not in numbers:
            numbers[what] = len(table)
            table.append(what)
        return numbers[what]

    def process(self, pid: int = 0, time: int = 0, parent: int | None = None, **fields: Any) -> int:
        """Its number. `parent`: the number of the process it was forked from."""
        number = len(self.sources)
        pid = pid or 1000 + number
        self.sources.append(f"/traces/run/{pid}-{number}")
        self.process_ids.append(pid)
        given = {
            "run_id_high": 77,
            "run_id_low": number + 1,
            "parent_run_id_high": 77 if parent is not None else 0,
            "parent_run_id_low": parent + 1 if parent is not None else 0,
            "generation": 1 if parent is not None else 0,
            "start_time": 5000 + number,
            "executable": "/usr/bin/program",
            "host": "host",
            "version": "1.0",
            "allocator": "libc.so.6",
            "options": "sample_period=512KiB\n",
            "page_size": 4096,
            **fields,
        }
        self.event("process", number, time, pid=pid, **given)
        return number

    def alloc(self, id: int, process: int = 0, time: int = 0, *, kind: str = "alloc", **fields: Any) -> None:
        given = {
            "address": (1 << 45) + (id & 0xFFFF_FFFF) * 64,
            "size": 1,
            "alignment": 16,
            "function": "malloc",
            "period": 1,
            "thread": 1,
            **fields,
        }
        given.setdefault("since", given["size"])
        self.event(kind, process, time, id=id, **given)

    def live(self, id: int, process: int = 0, time: int = 0, **fields: Any) -> None:
        self.alloc(id, process, time, kind="live", **fields)

    def resize(self, id: int, process: int = 0, time: int = 0, **fields: Any) -> None:
        self.alloc(id, process, time, kind="resize", **{"function": "realloc", **fields})

    def free(self, id: int, process: int = 0, time: int = 0, **fields: Any) -> None:
        self.event("free", process, time, id=id, **{"function": "free", "thread": 1, **fields})

    def event(self, kind: str, process: int, time: int, stamp: int | None = None, **fields: Any) -> None:
        row = {}
        for name, what in (("pid", "u32"), *events.KINDS[kind].items()):
            value = fields.pop("stack", fields.pop("frames", 0)) if what == "frames" else fields.pop(name, 0)
            if what == "frames":
                value = value if isinstance(value, int) else self.stack(value)
            elif what in ("text", "bytes"):
                value = value if isinstance(value, int) and value else self.text(value or "")
            row[name] = value
        assert not fields, (kind, fields)
        row["time"] = _absolute(time)
        row |= {
            "process": process,
            "stamp": row["time"] if stamp is None else _absolute(stamp),
            "order": len(self.rows),
        }
        self.rows.append((kind, row))

    def batches(self) -> Iterator[Batch]:
        self.passes += 1
        begin = 0
        while True:
            while begin < len(self.rows):
                part = self.rows[begin : begin + self.batch]
                begin += len(part)
                yield _columns(part)
            if not self.following:
                return
            yield {}

    def tables(self) -> Tables:
        stack_ends = np.cumsum([len(stack) for stack in self.stacks])
        for frame in self.frames:
            module = Module(_split(frame)[0], "")
            if module not in self.modules:
                self.modules.append(module)
        modules = [self.modules.index(Module(_split(frame)[0], "")) for frame in self.frames]
        return Tables(
            strings=self.strings,
            modules=self.modules,
            frame_module=np.array(modules, np.uint32),
            frame_process=np.zeros(len(modules), np.uint32),
            frame_address=np.arange(0x1000, 0x1000 + 16 * len(modules), 16, np.uint64),
            stack_ends=stack_ends.astype(np.uint64),
            stack_frames=np.array([frame for stack in self.stacks for frame in stack], np.uint32),
            sources=self.sources,
            process_ids=self.process_ids,
            losses=self.losses,
        )

    def symbolize(self, tables: Tables, frames: Any = None) -> Names:
        wanted = np.ones(len(self.frames), np.int64)
        if frames is not None:
            wanted[:] = 0
            wanted[np.asarray(frames, np.int64)] = 1
        functions: dict[str, int] = {}
        files = {"": 0}
        rows = []
        for frame, there in zip(self.frames, wanted):
            if there:
                _, function, file, line = _split(frame)
                rows.append((functions.setdefault(function, len(functions)), files.setdefault(file, len(files)), line))
        columns = np.array(rows, np.uint32).reshape(-1, 3)
        return Names(
            ends=np.cumsum(wanted),
            function=columns[:, 0],
            file=columns[:, 1],
            line=columns[:, 2],
            inlined=np.zeros(len(rows), np.bool_),
            functions=list(functions),
            files=list(files),
        )

    def heap(self, batch: int = 1 << 16, **more: Any) -> Heap:
        self.batch = batch
        return Heap(self, symbolize=self.symbolize, **more)


def heap_of(
    lives: Iterable[Mapping[str, Any]],
    *,
    processes: Iterable[Mapping[str, Any]] = ({},),
    threads: Mapping[int, str] | None = None,
    batch: int = 1 << 16,
) -> Heap:
    """A heap that has these lives. `born` and `died` are nanoseconds since BEGIN, or since 1970; no `died`: it lives.
    `free_stack` too may be a text. `processes`: what History.process takes, each; `threads`: their names."""
    history = History()
    for each in processes:
        number = history.process(**each)
        for thread, name in (threads or {}).items():
            history.event("thread", number, 0, thread=thread, name=name)
    todo: list[tuple[int, int, str, dict[str, Any]]] = []
    for number, life in enumerate(lives):
        given = {"id": (number + 1) | 1 << 40, "born": number, "stack": "main", **life}
        died, fate = given.pop("died", NEVER), given.pop("fate", FREED)
        end = {"thread": given.pop("free_thread", given.get("thread", 1)), "stack": given.pop("free_stack", "main")}
        end |= {"function": given.pop("free_function", "free"), "id": given["id"], "process": given.get("process", 0)}
        kind = "live" if given.pop("late", False) else "alloc"
        born = given.pop("born")
        todo.append((_absolute(born), number, kind, given))
        if died != NEVER:
            assert fate in (FREED, RESIZED), "an end that can be written"
            todo.append((_absolute(died), number, "free" if fate == FREED else "resize", {**end}))
    for time, _, kind, fields in sorted(todo, key=lambda each: each[:2]):
        getattr(history, kind)(time=time, **fields)
    return history.heap(batch=batch)


def _absolute(time: int) -> int:
    return time if time >= BEGIN else BEGIN + time


def _split(frame: str) -> tuple[str, str, str, int]:
    module, _, rest = frame.rpartition("!")
    function, _, place = rest.partition("@")
    file, _, line = place.rpartition(":")
    return module or "program", function, file, int(line or 0)


def _columns(rows: Sequence[tuple[str, dict[str, int]]]) -> Batch:
    batch = {}
    for kind in {kind for kind, _ in rows}:
        of_kind = [row for each, row in rows if each == kind]
        types = {**events.COLUMNS[kind], "pid": "u4", "order": "u8", "process": "u4", "stamp": "i8", "time": "i8"}
        batch[kind] = {
            name: np.array(
                [row[name] for row in of_kind],
                "u4" if types[name] in ("O",) or name in ("frames", "build_id") else types[name],
            )
            for name in of_kind[0]
        }
    return batch
