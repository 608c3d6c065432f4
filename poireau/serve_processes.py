"""The processes that a daemon serves, as they come and go: those that run under the library, and for a while those that
have ended.

To find them takes a look at every process of the machine, so it takes a share of a processor at the most: with many of
them it is done more seldom.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from poireau import figures, processes, ps, reach
from poireau.control import Answer
from poireau.ps import Row

SHARE = 0.02  # of a processor
SPARE = 256  # descriptors for all else that is open here
LEAST, LONGEST = 1.0, 30.0  # seconds between two looks
KEPT, MOST_ENDED = 600.0, 50  # seconds that who has ended is kept for, and how many of them
MOST = 1000  # are told of
POINTS = 600  # of each one's history
_COMMAND = 300  # characters of it
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Seen:
    """A process, as it was last seen."""

    id: str
    pid: int
    start: int  # ticks since boot; 0: not known
    name: str
    command: str
    user: str
    since: int  # milliseconds since 1970
    trace: str  # a path that is good for as long as there is a trace; "" there is none
    state: str = "silent"
    why_not: str = ""
    rss: int | None = None
    stats: Answer | None = None
    number: int | None = None  # in its trace, where that has several
    ended: float | None = None  # when; monotonic
    leaks: int = 0
    history: list[tuple[int, int, int]] = field(default_factory=list)  # time, bytes in use, resident

    @property
    def tunable(self) -> bool:
        """Who does nothing now is told what it is to do when it goes on."""
        return self.state in ("armed", "dormant") or (self.state == "silent" and self.why_not.startswith("idle"))

    @property
    def errors(self) -> int:
        return figures.number(self.stats or {}, "errors")

    def remember(self, now: int) -> None:
        live = None if self.stats is None else figures.live(self.stats)
        if live is not None:
            self.history.append((now, round(live.value), self.rss or 0))
        if len(self.history) > POINTS:
            self.history[: POINTS // 2] = self.history[: POINTS // 2 : 2]

    def as_json(self) -> dict[str, Any]:
        stats: Answer = self.stats or {}
        live = None if self.stats is None else figures.live(self.stats)
        governor = figures.group(stats, "governor")
        cost = governor.get("cost_ppm")
        return {
            "id": self.id,
            "pid": self.pid,
            "name": self.name,
            "command": self.command,
            "user": self.user,
            "since": self.since,
            "state": self.state,
            "period": figures.number(stats, "period"),
            "governed": stats.get("sample_period") == "auto" or governor.get("period") == "governed",
            "live": None if live is None else live.as_json(),
            "rss": self.rss,
            "drops": sum(drops(stats).values()),
            "lost": figures.number(stats, "trace_lost"),
            "overhead": cost / 1e6 if type(cost) is int else None,
            "errors": self.errors,
            "leaks": self.leaks,
            "tunable": self.tunable,
            "why_not": self.why_not,
        }


class Found(Protocol):
    """A census, or that of some traces."""

    @property
    def seen(self) -> Mapping[str, Seen]: ...
    @property
    def every(self) -> float: ...
    def look(self) -> bool: ...
    def told(self) -> dict[str, Any]: ...


def drops(stats: Answer) -> dict[str, int]:
    return {cause: count for cause, count in figures.group(stats, "drops").items() if type(count) is int and count}


def health(seen: Seen) -> dict[str, Any]:
    row, stats = seen.as_json(), seen.stats or {}
    return {
        **{name: row[name] for name in ("id", "period", "governed", "lost", "overhead", "rss")},
        "samples": stats.get("samples", 0),
        "drops": drops(stats),
        "trace_bytes": stats.get("trace_bytes", 0),
        "written": row["why_not"],
    }


class Census:
    """Not for several threads at once, but what it gives may be read by others."""

    def __init__(self) -> None:
        """Times are real ones here, at whatever pace others go."""
        self.seen: Mapping[str, Seen] = {}
        self.every = LEAST

    def look(self) -> bool:
        """Whether anything is new."""
        began = time.thread_time(), time.monotonic()
        rows = ps.survey(spare=SPARE).rows
        now = time.time_ns() // 1_000_000
        found: dict[str, Seen] = {}
        for row in rows:
            id = f"{row.process.pid}-{row.process.start}"
            found[id] = _seen(id, row, self.seen.get(id))
            found[id].remember(now)
        changed = self._merge(found)
        spent = time.thread_time() - began[0]
        # A second thread of ps.py looks for their traces.
        self.every = min(max(LEAST, 2 * spent / SHARE), LONGEST)
        return changed

    def _merge(self, found: dict[str, Seen]) -> bool:
        now = time.monotonic()
        gone = [each for id, each in self.seen.items() if id not in found]
        for each in gone:
            if each.ended is None:
                each = replace(each, state="ended", why_not="it has ended", ended=now)
            if now - (each.ended or now) < KEPT and (not each.trace or os.path.isdir(each.trace)):
                found[each.id] = each
        ended = sorted((each for each in found.values() if each.ended is not None), key=lambda each: -(each.ended or 0))
        for each in ended[MOST_ENDED:]:
            del found[each.id]
        before = [each.as_json() for each in self.seen.values()]
        self.seen = found
        return before != [each.as_json() for each in found.values()]

    def told(self) -> dict[str, Any]:
        """The running ones first, and the largest."""
        every = sorted(self.seen.values(), key=lambda each: (each.ended is not None, -(each.rss or 0)))
        return {"processes": [each.as_json() for each in every[:MOST]], "more": max(len(every) - MOST, 0)}


def _seen(id: str, row: Row, before: Seen | None) -> Seen:
    process, stats = row.process, row.stats
    state, why = ("dormant" if row.state.startswith("idle: dormant") else "silent"), row.state
    if stats is not None:
        state, why = ("armed" if stats.get("armed") is True and figures.number(stats, "period") else "dormant"), ""
    if before is None:
        return Seen(
            id, process.pid, process.start, process.program, " ".join(processes.command(process.pid))[:_COMMAND],
            reach.user_name(process.user), _since(process.start), _trace(process.pid), state, why, process.resident,
            stats,
        )  # fmt: skip
    # Who executes another program has another trace.
    moved = stats is not None and before.stats is not None and stats.get("trace") != before.stats.get("trace")
    anew = moved or not before.trace or process.program != before.name
    return replace(
        before,
        name=process.program,
        command=" ".join(processes.command(process.pid))[:_COMMAND] if anew else before.command,
        trace=(_trace(process.pid) or before.trace) if anew else before.trace,
        state=state,
        why_not=why,
        rss=process.resident,
        stats=stats if stats is not None else before.stats,
    )


def _trace(pid: int) -> str:
    found = processes.trace_of(pid)
    return "" if found is None else lasting(found)


def lasting(trace: Path) -> str:
    """As anybody calls it, where that is the same as through the root of its process, which goes with it."""
    place = processes.place(trace)
    try:
        return place if not trace.exists() or os.path.samefile(place, trace) else str(trace)
    except OSError:
        return str(trace)


def _since(start: int) -> int:
    ago = time.clock_gettime(time.CLOCK_BOOTTIME) - start / _TICKS
    return round((time.time() - ago) * 1000)
