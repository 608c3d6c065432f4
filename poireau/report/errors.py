"""Memory errors as text and as JSON: what was done, where, to which block, who asked for it and who freed it, and what
that line has allocated besides."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

from poireau.misuse import LATE, RELEASES, Misuse
from poireau.model import Heap
from poireau.preamble import Preamble
from poireau.report import problems, words
from poireau.report.objects import VERSION
from poireau.report.problems import Frames, Problem
from poireau.report.text import LIMIT, Style, chosen
from poireau.selection import clock
from poireau.suppressions import kind_of
from poireau.text import plain

SCHEMA = "poireau.errors"
Row = Mapping[str, Any]


def problems_of(heap: Heap, misuse: Misuse, limit: int = 0) -> list[Problem]:
    """Of those that are not suppressed, so many at the most; 0: all."""
    names, news = Names(heap), misuse.news
    news = news.head(limit) if limit else news
    frames = Frames(misuse.stacks, misuse.selection.wrappers)
    return [
        _problem(row, frames, names, misuse.beside.get(number, {}))
        for number, row in zip(news.index.tolist(), news.to_dict("records"))
    ]


def text(
    heap: Heap,
    misuse: Misuse,
    preamble: Preamble,
    style: Style,
    limit: int = LIMIT,
    frames: int | None = problems.FRAMES,
) -> Iterator[str]:
    yield from style.wrapped(preamble.lines())
    yield ""
    yield from summary(misuse)
    yield ""
    shown = problems_of(heap, misuse, limit)
    yield from problems.all_of(shown, style, frames)
    if len(misuse.news) > len(shown):
        yield f"and {len(misuse.news) - len(shown):,} more (--limit 0 shows all)"


def summary(misuse: Misuse) -> Iterator[str]:
    news = misuse.news
    samples = sum(misuse.periods.values())
    of = f"{misuse.guarded:,} of {samples:,} sampled blocks had guards" if samples else "nothing was sampled"
    if len(news):
        reports = int(news["reports"].sum())
        places = f", reported from {reports:,} places" if reports > len(news) else ""
        yield f"{_several(len(news), 'memory error')}{chosen(misuse.selection)}{places}; {of}"
    else:
        yield f"no memory errors{chosen(misuse.selection)}; {of}"
    suppressed = len(misuse.table) - len(news)
    if suppressed:
        yield f"{_several(suppressed, 'known one')}, suppressed"


def as_json(heap: Heap, misuse: Misuse, preamble: Preamble, limit: int = LIMIT) -> dict[str, Any]:
    shown = problems_of(heap, misuse, limit)
    return {
        "schema": SCHEMA,
        "version": VERSION,
        "of": [preamble.as_json()],
        "samples": sum(misuse.periods.values()),
        "guarded": misuse.guarded,
        "errors": [problems.as_json(problem) for problem in shown],
        "more": len(misuse.news) - len(shown),
        "suppressed": len(misuse.table) - len(misuse.news),
    }


class Names:
    """Of processes and threads."""

    def __init__(self, heap: Heap) -> None:
        table, threads = heap.processes, heap.threads
        names = [os.path.basename(str(path)) or "?" for path in table["executable"]]
        self._processes = {
            number: f"{name}[{pid}]" for number, name, pid in zip(table.index, names, table["pid"].tolist())
        }
        who = zip(threads["process"].tolist(), threads["thread"].tolist())
        self._threads = dict(zip(who, threads["name"].tolist()))

    def process(self, number: int) -> str:
        return self._processes.get(number, "?")

    def thread(self, process: int, thread: int) -> str:
        name = self._threads.get((process, thread), "")
        return f"thread {thread}" + (f' "{name}"' if name else "")


def _problem(row: Row, frames: Frames, names: Names, beside: Mapping[str, Any]) -> Problem:
    error, process = row["error"], row["process"]
    done = "found" if error in LATE else "released" if error in RELEASES else "accessed"
    function = f", in {row['function']}" if row["function"] and error not in (*RELEASES, *LATE) else ""
    by = f" by {row['function']}" if row["function"] and not function else ""
    happened = [frames.stack(f"{done}{by} by {names.thread(process, row['thread'])}", row["stack"])]
    if row["freed"]:
        freed = f"freed {_before(row, 'freed_at')} by {names.thread(process, row['freer'])}"
        happened.append(frames.stack(freed, row["freed_stack"]))
    if row["there"]:
        made = f"allocated {_before(row, 'made_at')} by {names.thread(process, row['maker'])}"
        happened.append(frames.stack(made, row["made_stack"]))
    if error in LATE and row["there"]:  # who found it is nobody special
        happened = happened[::-1]
    return Problem(
        kind_of(error),
        f"{error}: {_place(row)}{function}",
        tuple(happened),
        tuple(_notes(row, names, beside)),
        {
            "error": error,
            "address": f"{row['address']:#x}",
            "size": int(row["size"]),
            "offset": int(row["address"]) - int(row["block"]) if row["there"] else None,
            "function": row["function"],
            "made_by": row["made_by"],
            "freed_by": row["freed_by"],
            "reports": int(row["reports"]),
            "first": int(row["time"]),
            "last": int(row["last"]),
            "processes": [names.process(each) for each in row["processes"]],
            "threads": [int(each) for each in row["threads"]],
            "chance": float(row["chance"]),
            "profile": {name: estimate.as_json() for name, estimate in beside.items()},
        },
    )


def _place(row: Row) -> str:
    size = int(row["size"])
    if not row["there"]:
        if not row["id"] and not size:
            return f"{row['address']:#x}, where no block is"
        if not row["id"]:
            return f"{row['address']:#x}, of a block of {_several(size, 'byte')} that was not sampled"
        return f"{row['address']:#x}, of a block of {_several(size, 'byte')} whose allocation is not in the trace"
    offset = int(row["address"]) - int(row["block"])
    where = (
        f"{_several(-offset, 'byte')} before"
        if offset < 0
        else f"{_several(offset - size, 'byte')} after"
        if offset >= size
        else f"{_several(offset, 'byte')} into"
        if offset or row["error"] not in RELEASES
        else ""
    )
    what = f"a {'freed ' if row['freed'] else ''}{size}-byte block from {row['made_by']}"
    return f"{where} {what}".strip()


def _notes(row: Row, names: Names, beside: Mapping[str, Any]) -> Iterator[str]:
    whose = [names.process(each) for each in row["processes"]]
    processes = ", ".join(whose[:3]) + (f" and {len(whose) - 3} more" if len(whose) > 3 else "")
    threads = f", {len(row['threads'])} threads" if len(row["threads"]) > 1 else ""
    first, last = clock(row["time"]), clock(row["last"])
    when = f"at {first}" if first == last else f"from {first} to {last}"
    yield f"{processes}{threads}, {when}" + (f", from {row['reports']:,} places" if row["reports"] > 1 else "")
    if "allocated" in beside:
        allocated = words.whole(beside["allocated"])
        in_use = f"{words.whole(beside['in_use'])} in use" if "in_use" in beside else "nothing in use"
        yield f"blocks of the line that allocated it: {in_use}, {allocated} allocated in all"
    if row["size"] and not row["there"] and not row["id"]:
        yield "allocated and freed: not sampled; the report on standard error says what is known of it"
    if row["there"] and row["chance"] < 0.67:
        yield f"of such blocks 1 in {1 / row['chance']:,.0f} is watched: it happens about that much more often"


def _before(row: Row, name: str) -> str:
    seconds = max(0, int(row["time"]) - int(row[name])) / 1e9
    return f"{seconds * 1000:.1f} ms before" if seconds < 1 else f"{seconds:,.1f} s before"


def _several(count: int, what: str) -> str:
    return f"{count:,} {plain(what)}{'s' * (count != 1)}"
