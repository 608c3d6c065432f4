"""What an address is: a byte of a sampled block that is there or was, something near one, or what is mapped there."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from poireau import core_file, naming, scan, scan_areas, scan_dangling, scan_holders, scan_mapped
from poireau.errors import Failure
from poireau.model import ALIVE, FATES, Heap
from poireau.processes import REGION
from poireau.scan import Seen
from poireau.scan_holders import Place, Words
from poireau.scan_library import IN_KERNEL, IN_REGISTER, REACHED, Gone
from poireau.stacks import NOWHERE, Stacks
from poireau.text import as_size, duration, plain

NEAR = 64 << 10  # bytes
MOST_BEFORE = 3  # blocks that were there before the newest
CALLERS = 4
_WHOLE = {"in": "", "after": "behind", "before": "before"}


@dataclass(frozen=True)
class Answer:
    address: int
    lines: tuple[str, ...]  # the first says it all
    facts: Mapping[str, Any]  # for a program to read


@dataclass(frozen=True)
class Scene:
    """Where addresses are looked up."""

    heap: Heap | None
    process: int | None  # its number
    place: Place | None  # None: it has ended, or may not be read
    seen: Seen | None  # where holders were asked for
    now: int  # nanoseconds since 1970
    runs: bool
    complaint: str = ""


def of_process(heap: Heap | None, pid: int, process: int | None, held: bool, now: int) -> Scene:
    """A process that runs."""
    try:
        seen = scan.of_process(pid, scan.BUDGET) if held else None
        place = seen.place if seen is not None else scan_dangling.place(pid)
    except (Gone, OSError):
        return Scene(heap, process, None, None, now, False, f"process {pid} has ended")
    except Failure as failure:
        if held or heap is None:
            raise
        return Scene(heap, process, None, None, now, True, str(failure))
    return Scene(heap, process, place, seen, now, True)


def of_core(heap: Heap | None, path: str, now: int) -> Scene:
    seen, core = scan.of_core(path, None if heap is None else scan.thread_names(heap))
    process = None if heap is None else core_file.process_of(heap, core, seen.columns.blocks)
    return Scene(heap, process, seen.place, seen, now, False)


def answers(scene: Scene, addresses: Sequence[int], held: bool = False) -> list[Answer]:
    lives = _lives(scene, addresses)
    return [_answer(scene, address, table, held) for address, table in zip(addresses, lives)]


def _lives(scene: Scene, addresses: Sequence[int]) -> list[pd.DataFrame]:
    """Of each address, the lives it is in, the newest first; or the nearest one."""
    inside: list[list[pd.DataFrame]] = [[] for _ in addresses]
    near: list[list[pd.DataFrame]] = [[] for _ in addresses]
    if scene.heap is not None:
        for lives in scene.heap.lives():
            if scene.process is not None:
                lives = lives[lives["process"] == scene.process]
            begin, size = lives["address"].to_numpy(np.uint64), np.maximum(lives["size"].to_numpy(np.uint64), 1)
            for at, address in enumerate(addresses):
                if address not in REGION:
                    continue
                apart = _apart(begin, size, address)
                inside[at].append(_newest(lives[apart == 0]))
                if (apart <= NEAR).any():
                    near[at].append(_newest(lives[apart == apart.min()]))
    found = []
    for own, others, address in zip(inside, near, addresses):
        table = pd.concat(own) if own else pd.DataFrame()
        if table.empty and others:
            table = pd.concat(others)
            apart = _apart(table["address"].to_numpy(), np.maximum(table["size"].to_numpy(), 1), address)
            table = _newest(table[apart == apart.min()]).head(1)
        found.append(_newest(table))
    return found


def _newest(table: pd.DataFrame) -> pd.DataFrame:
    return table.sort_values("born", ascending=False, kind="stable").head(1 + MOST_BEFORE) if len(table) else table


def _apart(begin: NDArray[Any], size: NDArray[Any], address: int) -> NDArray[np.int64]:
    """Bytes from it to each block; 0: it is inside."""
    low = begin.astype(np.int64) - address
    high = address - (begin.astype(np.int64) + size.astype(np.int64)) + 1
    return np.maximum(np.maximum(low, high), 0)


def _answer(scene: Scene, address: int, lives: pd.DataFrame, held: bool) -> Answer:
    if lives.empty:
        return _elsewhere(scene, address)
    texts, objects = [], []
    for row in lives.to_dict("records"):
        text, facts = _life(scene, address, row)
        texts.append(text)
        objects.append(facts)
    lines = [texts[0], *(f"  before that {text}" for text in texts[1:])]
    lines[1:1] = [f"  {line}" for line in _stacks(scene, lives.iloc[0])]
    facts = {"kind": objects[0]["kind"], "objects": objects}
    if held and objects[0]["kind"] == "object":
        holders = _holders(scene, int(lives["id"].iloc[0]), bool(lives["fate"].iloc[0] == ALIVE))
        lines += [f"  {line}" for line in holders[1]]
        facts |= {"holders": holders[0]}
    return Answer(address, tuple(lines), {"address": address, **facts, "text": texts[0]})


def _life(scene: Scene, address: int, row: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    heap = scene.heap
    assert heap is not None
    begin, size = int(row["address"]), int(row["size"])
    offset = address - begin
    where = "in" if 0 <= offset < max(size, 1) else "after" if offset > 0 else "before"
    size_text = f"{size}-byte" if size < 10_000 else as_size(size)
    if where == "in":
        text = f"{_bytes(offset)} into a {size_text} object" if offset else f"the beginning of a {size_text} object"
    else:
        apart = offset - size if where == "after" else -offset
        text = f"{_bytes(apart)} {_WHOLE[where]} a {size_text} object" if apart else f"just behind a {size_text} object"
        if row["guarded"]:
            text += " (with guard pages)"
    stack = int(row["stack"])
    site, free_site = _sites(heap, [stack, int(row["free_stack"])])
    call, free_call = (str(each) for each in heap.text(np.array([row["function"], row["free_function"]])))
    process = int(row["process"])
    thread = _thread(heap, process, int(row["thread"]))
    text += f" from {site} ({plain(call)}), {thread}, allocated {_ago(scene, int(row['born']))}"
    fate = int(row["fate"])
    if fate != ALIVE:
        text += f"; {FATES[fate]} {_ago(scene, int(row['died']))}"
        if int(row["free_stack"]) or free_call:
            text += f" by {free_site} ({plain(free_call)}) on {_thread(heap, process, int(row['free_thread']))}"
    facts = {
        "kind": "object" if where == "in" else "near object",
        "offset": offset,
        "address": begin,
        "size": size,
        "id": int(row["id"]),
        "process": process,
        "site": site,
        "call": call,
        "thread": int(row["thread"]),
        "born": int(row["born"]),
        "fate": FATES[fate],
        "died": None if fate == ALIVE else int(row["died"]),
        "free_site": free_site if fate != ALIVE else None,
        "free_call": free_call if fate != ALIVE else None,
        "free_thread": int(row["free_thread"]) if fate != ALIVE else None,
    }
    return text, facts


def _bytes(count: int) -> str:
    return "1 byte" if count == 1 else f"{count:,} bytes" if count < 1 << 20 else as_size(count)


def _ago(scene: Scene, time: int) -> str:
    seconds = max(0.0, (scene.now - time) / 1e9)
    return f"{duration(seconds)} {'ago' if scene.runs else 'before the end'}"


def _thread(heap: Heap, process: int, thread: int) -> str:
    threads = heap.threads
    named = threads[(threads["process"] == process) & (threads["thread"] == thread)]["name"]
    return f'thread {thread} "{plain(str(named.iloc[-1]))}"' if len(named) else f"thread {thread}"


def _sites(heap: Heap, numbers: Sequence[int]) -> list[str]:
    return [text or "nobody knows where" for text in scan.places_of(heap, np.array(numbers, np.int64))]


def _stacks(scene: Scene, row: pd.Series) -> list[str]:
    """Who called whom, from where it was asked for outwards."""
    heap = scene.heap
    assert heap is not None
    numbers = [int(row["stack"]), *([int(row["free_stack"])] if row["fate"] != ALIVE else [])]
    stacks = naming.stacks_of(heap, np.array(numbers, np.int64))
    words = ("asked for in", "freed in")
    lines = [f"{word} {_calls(stacks, number)}" for word, number in zip(words, numbers)]
    return [line for line, number in zip(lines, numbers) if len(stacks.places_of(number))]


def _calls(stacks: Stacks, number: int) -> str:
    site = int(stacks.sites(stacks.wrappers())[number])
    begin = int(stacks.begins[number]) if site == NOWHERE else site
    place = np.arange(begin, int(stacks.ends[number]))
    functions = [plain(str(each)) for each in naming.places(stacks, place[:CALLERS])["function"]]
    return " < ".join(functions) + (" < ..." if len(place) > CALLERS else "")


def _holders(scene: Scene, id: int, alive: bool) -> tuple[list[str], list[str]]:
    seen = scene.seen
    if not alive:
        return [], ["held by: it is freed, nobody should hold it"]
    if seen is None or scene.heap is None:
        return [], ["held by: its memory can't be read"]
    row = int(scan.rows_of(seen.columns, np.array([id], np.uint64))[0])
    if row < 0:
        return [], ["held by: it has been freed meanwhile"]
    chosen = np.flatnonzero(seen.columns.hits["block"] == row)
    words = Words()
    heap, process = scene.heap, scene.process or 0
    _, numbers = scan_holders.of(seen.columns, chosen, seen.place, words, lambda ids: scan.sites(heap, process, ids))
    hits = seen.columns.hits[chosen]
    texts = [
        words.texts[number] + ("" if where in (IN_REGISTER, IN_KERNEL) else f", at {at:#x}")
        for number, at, where in zip(numbers.tolist(), hits["at"].tolist(), hits["from"].tolist())
    ]
    lines = [f"held by {text}" for text in dict.fromkeys(texts)] or ["held by nobody, in one look"]
    if texts and seen.columns.blocks["state"][row] != REACHED:
        lines.append("which nobody holds")
    return texts, lines


def _elsewhere(scene: Scene, address: int) -> Answer:
    if scene.place is None:
        why = scene.complaint or "its process has ended"
        text = f"in no object that was sampled; what else was there nobody can say: {why}"
        return Answer(address, (text,), {"address": address, "kind": "unknown", "text": text})
    area = scan_areas.at(scene.place.areas, address)
    if address in REGION:
        text = "where sampled objects live, in none of them" + ("" if area else ", and not mapped")
        return Answer(address, (text,), {"address": address, "kind": "home", "text": text})
    if area is None:
        text = f"not mapped{scan_mapped.neighbours(scene.place.areas, address)}"
        return Answer(address, (text,), {"address": address, "kind": "unmapped", "text": text})
    kind, what = scan_mapped.named(scene.place, area, address)
    text = f"{what} ({area.begin:x}-{area.end:x} {area.permissions}{f' {plain(area.path)}' if area.path else ''})"
    facts = {
        "address": address,
        "kind": kind,
        "text": text,
        "mapping": [area.begin, area.end],
        "path": plain(area.path),
    }
    return Answer(address, (text,), facts)


def parsed(text: str) -> int | None:
    return int(text, 16) if re.fullmatch(r"(0[xX])?[0-9a-fA-F]{1,16}", text) else None
