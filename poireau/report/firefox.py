"""Firefox Profiler's processed profile: the birth and death of each sampled block with its stack, so that the views of
native allocations work, "retained in the selected range" among them; and a track of each process's memory.

A block weighs what it stands for, in bytes. A death is in the table of the thread that asked for the block, since only
there it finds its birth; `threadId` says who freed. Every block has a number of its own for an address, so that the
next block at an address is another one. Times are milliseconds from the beginning of the window.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from poireau import estimates
from poireau.model import ALIVE, Heap
from poireau.naming import stacks_of
from poireau.report.firefox_tables import Shared
from poireau.report.profile import comments, thread_names
from poireau.report.sums import whole
from poireau.selection import Selection, expression
from poireau.version import __version__
from poireau.windows import lives_of, window_of

VERSION, GECKO_VERSION = 58, 31  # of this format, and of Firefox's own that it was first made from
_MOST_POINTS = 1000  # of a track
_PART = 1 << 16  # numbers that are written at a time
_MARKER = ("data", "name", "startTime", "endTime", "phase", "category")
_COLUMNS = ["process", "thread", "stack", "born", "died", "fate", "free_thread", "free_stack"]


def write(heap: Heap, selection: Selection, out: BinaryIO) -> None:
    since, until = window_of(heap, selection)
    lives = _lives(heap, selection, since, until)
    stacks = stacks_of(heap, np.concatenate([lives["stack"], lives["free_stack"]]))
    lives = lives[stacks.chosen(selection.focus, selection.ignore)[lives["stack"]]].reset_index(drop=True)
    if selection.hide:
        stacks = stacks.without(stacks.found(expression(selection.hide, "hide")))
    pids = _pids(heap)
    shared = Shared(stacks)
    out.write(b'{"meta":' + _json(_meta(heap, since, until)) + b',"threads":[')
    names, main, separator = thread_names(heap), dict[int, int](), b""
    for index, ((process, thread), own) in enumerate(lives.groupby(["process", "thread"])):
        main.setdefault(int(process), index)
        row = heap.processes.loc[process]
        head = _thread_head(row, thread, names.get((process, thread), ""), pids[process], since)
        out.write(separator + _json(head)[:-1])
        events = _events(own, since, until)
        used, tables = shared.of(events["stack"].to_numpy())
        for name, table in tables.items():
            out.write(b"," + _json(name) + b":" + _json(table))
        out.write(b',"nativeAllocations":')
        for piece in _allocations(events, used, since):
            out.write(piece)
        out.write(b"}")
        separator = b","
    counters = [_counter(own, pids[process], main[process], since, until) for process, own in lives.groupby("process")]
    out.write(b'],"counters":' + _json(counters) + b',"libs":' + _json(shared.libraries) + b',"shared":')
    sources = shared.sources
    out.write(_json({"stringArray": list(shared.strings), "sources": sources}) + b"}\n")


def _lives(heap: Heap, selection: Selection, since: int, until: int) -> pd.DataFrame:
    """Those that were born in the window, or of whose birth it is only known that it was before. None without bytes: a
    weight of 0 is no birth."""
    parts = []
    for lives in lives_of(heap, selection, since, until):
        kept = lives[((lives["born"] >= since) | (selection.since is None)) & (lives["size"] > 0)]
        weight = kept["size"] / estimates.chance(kept["size"], kept["period"], kept["by_calls"])
        parts.append(kept[_COLUMNS].assign(weight=weight))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=[*_COLUMNS, "weight"], dtype=np.int64)


def _events(lives: pd.DataFrame, since: int, until: int) -> pd.DataFrame:
    """Births and deaths in the order of time: time, weight, stack, address, thread."""
    weight = whole(lives["weight"].to_numpy(np.float64))
    times = np.maximum(lives["born"].to_numpy(), since)
    births = lives[["stack", "thread"]].assign(time=times, weight=weight, address=lives.index + 1)
    died = ((lives["fate"] != ALIVE) & (lives["died"] < until)).to_numpy()
    gone = lives[died]
    times = np.maximum(gone["died"].to_numpy(), times[died])
    deaths = gone[["free_stack", "free_thread"]].set_axis(["stack", "thread"], axis=1)
    deaths = deaths.assign(time=times, weight=-weight[died], address=gone.index + 1)
    return pd.concat([births, deaths]).sort_values(
        "time", kind="stable", ignore_index=True
    )  # a birth stays before its death


def _allocations(events: pd.DataFrame, used: NDArray[np.int64], since: int) -> Iterator[bytes]:
    """`used`: of each stack, its number in the thread's own table; below 0: it has none."""
    yield b'{"weightType":"bytes","length":' + str(len(events)).encode() + b',"time":['
    yield from _joined(events["time"].to_numpy() - since, lambda time: f"{time / 1e6:.6f}")
    yield b'],"stack":['
    yield from _joined(used[events["stack"].to_numpy()], lambda stack: "null" if stack < 0 else str(stack))
    for name, column in (("weight", "weight"), ("memoryAddress", "address"), ("threadId", "thread")):
        yield f'],"{name}":['.encode()
        yield from _joined(events[column].to_numpy(), str)
    yield b"]}"


def _joined(column: NDArray[Any], shown: Callable[[int], str]) -> Iterator[bytes]:
    for begin in range(0, len(column), _PART):
        part = ",".join(map(shown, column[begin : begin + _PART].tolist()))
        yield (f",{part}" if begin else part).encode()


def _counter(lives: pd.DataFrame, pid: str, thread: int, since: int, until: int) -> dict[str, Any]:
    events = _events(lives, since, until)
    last = np.flatnonzero(np.diff(events["time"].to_numpy(), append=until + 1))  # of what happened at one time
    last = last[np.unique(np.linspace(0, len(last) - 1, min(len(last), _MOST_POINTS)).astype(np.int64))]
    total = np.cumsum(events["weight"].to_numpy())[last]
    times = (events["time"].to_numpy()[last] - since) / 1e6
    samples = {"time": times.tolist(), "count": np.diff(total, prepend=0).tolist(), "length": len(last)}
    said = {"name": "malloc", "category": "Memory", "description": "Estimated bytes of what is alive", "pid": pid}
    return {**said, "mainThreadIndex": thread, "samples": samples}


def _pids(heap: Heap) -> dict[int, str]:
    """Each process has its own, also where one pid was used twice."""
    numbers = heap.processes["pid"]
    first = ~numbers.duplicated()
    return {process: str(pid) if first[process] else f"{pid}.{process}" for process, pid in numbers.items()}


def _thread_head(process: Any, thread: int, name: str, pid: str, since: int) -> dict[str, Any]:
    nothing: list[Any] = []
    return {
        "name": name or str(thread),
        "isMainThread": int(process["pid"]) == thread,
        "processType": "default",
        "processName": os.path.basename(str(process["executable"])),
        "processStartupTime": max(0, int(process["begin"]) - since) / 1e6,
        "processShutdownTime": None,
        "registerTime": 0,
        "unregisterTime": None,
        "pausedRanges": nothing,
        "pid": pid,
        "tid": thread,
        "samples": {"stack": nothing, "time": nothing, "weight": None, "weightType": "samples", "length": 0},
        "markers": {**dict.fromkeys(_MARKER, nothing), "length": 0},
    }


def _meta(heap: Heap, since: int, until: int) -> dict[str, Any]:
    programs = [os.path.basename(str(path)) for path in heap.processes["executable"]]
    return {
        "version": GECKO_VERSION,
        "preprocessedProfileVersion": VERSION,
        "product": next(filter(None, programs), "poireau"),
        "importedFrom": f"poireau {__version__}",
        "interval": 1,
        "startTime": since / 1e6,
        "profilingStartTime": 0,
        "profilingEndTime": (until - since) / 1e6,
        "processType": 0,
        "stackwalk": 1,
        "debug": False,
        "platform": "Linux",
        "symbolicated": True,
        "sourceCodeIsNotOnSearchfox": True,
        "usesOnlyOneStackType": True,
        "categories": [{"name": "Other", "color": "grey", "subcategories": ["Other"]}],
        "markerSchema": [],
        "extra": [
            {
                "label": "Recording",
                "entries": [{"label": "", "format": "string", "value": comment} for comment in comments(heap)],
            }
        ],
    }


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
