"""Heaps for tests of exports: one with everything that is awkward in it, and one that is large."""

from __future__ import annotations

from typing import Any

import numpy as np

from poireau.events import COLUMNS
from poireau.model import Heap
from poireau.tables import Module, Names, Tables
from tests.poireau.histories import SECOND, History

PROGRAM, LIBRARY = "/opt/acme/bin/secretd", "/opt/acme/lib/libplans.so.2"
BUILD_IDS = {PROGRAM: "aa" * 20, LIBRARY: "bb" * 20}
THREADS = {1: "secretd", 2: "merger;io"}
# Everything of the program that people could read. A module is also named without its directory.
NAMES = [
    *("acme::Plan::load", "acme::Plan::parse<int, char>", "acme::Cache::put", "operator new[](unsigned long)"),
    *("évaluer", "plan.cc", "cache.h", "secretd", "libplans", "merger", "/opt/acme", "forge17", "/traces/run", "hush"),
]
_INLINED = "|"


class Awkward(History):
    """Where functions are inlined their names are joined, innermost first: `inner@f.h:3|outer@f.cc:9`."""

    def tables(self) -> Tables:
        tables = super().tables()
        modules = [Module(each.path, BUILD_IDS.get(each.path, "")) for each in tables.modules]
        return Tables(**{**vars(tables), "modules": modules})

    def symbolize(self, tables: Tables, frames: Any = None) -> Names:
        wanted = set(range(len(self.frames)) if frames is None else np.asarray(frames).tolist())
        functions: dict[str, int] = {}
        files = {"": 0}
        rows, ends = [], []
        for number, frame in enumerate(self.frames):
            places = frame.rpartition("!")[2].split(_INLINED) if number in wanted else []
            for at, place in enumerate(places):
                function, _, where = place.partition("@")
                file, _, line = where.rpartition(":")
                inlined = at + 1 < len(places)
                number_of = functions.setdefault(function, len(functions))
                rows.append((number_of, files.setdefault(file, len(files)), int(line or 0), inlined))
            ends.append(len(rows))
        columns = np.array(rows, np.uint32).reshape(-1, 4)
        return Names(
            ends=np.array(ends, np.uint64),
            function=columns[:, 0],
            file=columns[:, 1],
            line=columns[:, 2],
            inlined=columns[:, 3].astype(bool),
            functions=list(functions),
            files=list(files),
        )


def awkward() -> Heap:
    """Two processes, two threads, inlined functions, names with separators, a stack of nothing, frames that recur."""
    history = Awkward()
    options = "sample_period=64KiB\nonly=hush\n"
    parent = history.process(12, executable=PROGRAM, host="forge17", options=options, arguments=0x1234)
    child = history.process(13, time=2 * SECOND, parent=parent, executable=PROGRAM, host="forge17", options=options)
    for process in (parent, child):
        for thread, name in THREADS.items():
            history.event("thread", process, 0, thread=thread, name=name)
    program = f"{PROGRAM}!main@/opt/acme/src/plan.cc:7"
    inlined = f"{LIBRARY}!acme::Cache::put@/opt/acme/src/cache.h:31{_INLINED}acme::Plan::load@/opt/acme/src/plan.cc:90"
    stacks = {
        "load": [f"{LIBRARY}!operator new[](unsigned long)", inlined, program],
        "parse": [f"{LIBRARY}!acme::Plan::parse<int, char>@/opt/acme/src/plan.cc:12", program],
        "twice": [inlined, inlined, f"{PROGRAM}!évaluer;\nnow", program],
        "none": [],
    }
    numbers = {name: history.stack(frames) for name, frames in stacks.items()}
    for path, begin in ((PROGRAM, 0x5555_0000_0000), (LIBRARY, 0x7F00_0000_0000)):
        build_id = BUILD_IDS[path]
        history.event("module", parent, 0, base=begin, begin=begin, size=1 << 20, path=path, build_id=build_id)
    births = [
        # stack, size, period, thread, born, died
        ("load", 100, 65536, 1, 1, None),
        ("load", 100, 65536, 1, 2, 5),
        ("load", 5000, 65536, 2, 3, None),
        ("parse", 1 << 20, 65536, 2, 4, None),
        ("parse", 64, 1, 1, 5, 6),
        ("twice", 3000, 4096, 1, 6, None),
        ("none", 0, 65536, 1, 7, None),
    ]
    for number, (stack, size, period, thread, born, died) in enumerate(births, 1):
        given = {"size": size, "period": period, "thread": thread, "stack": numbers[stack]}
        history.alloc(number, parent, born * SECOND, **given)
        if died is not None:
            history.free(number, parent, died * SECOND, thread=2, stack=numbers["parse"])
    history.alloc(100, child, 3 * SECOND, size=700, period=4096, stack=numbers["parse"])
    history.event("drops", parent, 8 * SECOND, cause="no room in the trace", count=3)
    return history.heap()


def large(lives: int, stacks: int, frames: int = 20_000, seed: int = 1) -> Heap:
    """So many lives, of so many stacks."""
    random = np.random.default_rng(seed)
    ends = np.cumsum(np.concatenate([[0], random.integers(5, 40, stacks)]))
    tables = Tables(
        strings=["", "malloc"],
        modules=[Module("", ""), *(Module(f"/lib/lib{i}.so", f"{i:040x}") for i in range(30))],
        frame_module=(np.arange(frames) % 30 + 1).astype(np.uint32),
        frame_process=np.zeros(frames, np.uint32),
        frame_address=np.arange(frames).astype(np.uint64) * 16 + 4096,
        stack_ends=ends.astype(np.uint64),
        stack_frames=random.integers(0, frames, ends[-1]).astype(np.uint32),
        sources=["/traces"],
        process_ids=[7],
        losses=[],
    )
    names = Names(
        ends=np.arange(1, frames + 1).astype(np.uint64),
        function=np.arange(frames).astype(np.uint32),
        file=np.zeros(frames, np.uint32),
        line=np.zeros(frames, np.uint32),
        inlined=np.zeros(frames, bool),
        functions=[f"space::Class{i}::function<int>({i})" for i in range(frames)],
        files=[""],
    )
    stack = random.integers(1, stacks + 1, lives)
    born = 1_700_000_000 * SECOND + np.arange(lives) * 1000
    columns = {name: np.zeros(lives, np.int64) for name in COLUMNS["alloc"]} | {
        "order": np.arange(lives),
        "process": np.zeros(lives, np.int64),
        "stamp": born,
        "time": born,
        "id": np.arange(1, lives + 1),
        "size": stack * 7919 % 9000 + 1,
        "period": np.full(lives, 1 << 19),
        "function": np.ones(lives, np.int64),
        "thread": stack % 4,
        "frames": stack,
    }

    class Source:
        def tables(self) -> Tables:
            return tables

        def batches(self) -> Any:
            yield {"alloc": columns}

    return Heap(Source(), lambda tables, frames: names)
