"""Lives for people to read, in a notebook or a debugger."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from poireau.model_lives import ALIVE, FATES, printable
from poireau.tables import Names

if TYPE_CHECKING:
    from poireau.model import Heap

# Who asks for memory on behalf of others.
_BETWEEN = re.compile(
    r"(std::|__gnu_cxx::|void\* operator new|operator new|(__libc_|__)?(malloc|calloc|realloc|memalign|posix_memalign|"
    r"aligned_alloc|valloc|pvalloc|reallocarray|strdup|strndup|asprintf|vasprintf)\b|x(m|c|re)alloc\b|xstrdup\b|g_malloc|"
    r"g_realloc|g_slice_alloc|zmalloc|zcalloc|zrealloc)"
)


def texts(strings: Sequence[str], numbers: NDArray[Any]) -> NDArray[np.object_]:
    distinct, inverse = np.unique(numbers, return_inverse=True)
    found = np.empty(len(distinct), object)
    found[:] = [printable(strings[number]) for number in distinct.tolist()]
    return found[inverse]


def printed(names: Names | None) -> Names | None:
    """As columns may hold them, whoever has told them."""
    if names is None:
        return None
    functions, files = (list(map(printable, each)) for each in (names.functions, names.files))
    return replace(names, functions=functions, files=files)


def readable(heap: Heap, lives: pd.DataFrame) -> pd.DataFrame:
    """The process's program, where the block was asked for, by whom and when; the largest first."""
    tables = heap.tables
    stacks, inverse = np.unique(lives["stack"].to_numpy(), return_inverse=True)
    frames = [tables.frames_of(stack) for stack in stacks.tolist()]
    wanted = np.unique(np.concatenate(frames)) if frames else np.empty(0, np.int64)
    names = heap.names(wanted)
    places = [_place(names, each.tolist()) for each in frames] if names else [("", "")] * len(frames)
    functions, lines = (np.array([place[i] for place in places], object)[inverse] for i in (0, 1))
    known = {(process, thread): name for process, thread, name in heap.threads.itertuples(index=False)}
    who = zip(lives["process"].tolist(), lives["thread"].tolist())
    executables = np.array([os.path.basename(path) for path in heap.processes["executable"]], object)
    died = lives["died"].where(lives["fate"] != ALIVE)
    return pd.DataFrame(
        {
            "program": executables[lives["process"].to_numpy()],
            "pid": heap.processes["pid"].to_numpy()[lives["process"].to_numpy()],
            "thread": [known.get(each) or str(each[1]) for each in who],
            "size": lives["size"],
            "call": heap.text(lives["function"]),
            "function": functions,
            "line": lines,
            "born": pd.to_datetime(lives["born"]),
            "died": pd.to_datetime(died),
            "fate": pd.Categorical.from_codes(lives["fate"].to_numpy().astype(np.int8), FATES),
            "address": [f"{address:#x}" for address in lives["address"].tolist()],
            "stack": lives["stack"],
        }
    ).sort_values("size", ascending=False, ignore_index=True, kind="stable")


def _place(names: Names, frames: list[int]) -> tuple[str, str]:
    """Of a stack: the innermost function that is not there to allocate, and its line."""
    innermost = None
    for frame in frames:
        for row in range(int(names.ends[frame - 1]) if frame else 0, int(names.ends[frame])):
            function = names.functions[names.function[row]]
            file = os.path.basename(names.files[names.file[row]])
            line = f"{file}:{names.line[row]}" if file and names.line[row] else file
            place = printable(function), printable(line)
            if not _BETWEEN.match(function):
                return place
            innermost = innermost or place
    return innermost or ("", "")


def summary(heap: Heap) -> str:
    processes = heap.processes
    programs = [f"{os.path.basename(row.executable) or '?'} {row.pid or '?'}" for row in processes.head(3).itertuples()]
    more = len(processes) - len(programs)
    whose = ", ".join(programs) + (f" and {more} more processes" if more > 0 else "")
    seconds = (heap.end - heap.begin) / 1e9
    losses = sorted(heap.losses, key=lambda loss: -loss.count)
    missing = ", ".join(f"{loss.cause} {loss.count:,}" for loss in losses[:2]) + (", ..." if len(losses) > 2 else "")
    began = pd.Timestamp(heap.begin).strftime("%Y-%m-%d %H:%M:%S")
    return (
        f"<Heap of {whose or 'no process'}: {len(heap.live()):,} sampled blocks alive of "
        f"{int(heap.counted()['samples'].sum()):,}, {began} + {seconds:.3g} s; "
        f"{f'incomplete: {missing}' if losses else 'complete'}>"
    )
