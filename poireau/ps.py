"""Which instrumented processes there are, and how each of them is: what `ps` shows."""

from __future__ import annotations

import os
import resource
import threading
from collections.abc import Container, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from poireau import figures, processes, sockets
from poireau.control import Answer, Exchange, Request, talk
from poireau.errors import Failure
from poireau.estimate import Estimate
from poireau.processes import Process
from poireau.reach import silence, state, user_name
from poireau.text import as_size, plain, table

SCHEMA = "poireau.ps"
SCHEMA_VERSION = 1
SECONDS = 0.3
SPARE = 64  # descriptors that are not connections
_FEWEST = 8  # connections at once
MOST_WAITING = 4  # a program that takes no turn keeps what waits; `ctl` is to find room among it
HEADS = ("PID", "USER", "PROGRAM", "RSS", "LIVE", "PERIOD", "SAMPLES", "DROPS", "COST", "ERRORS", "STATE")
NUMBERS = ("PID", "RSS", "LIVE", "SAMPLES", "DROPS", "COST", "ERRORS")


@dataclass(frozen=True)
class Row:
    process: Process
    state: str  # "answers", or why there are no figures
    trace: str | None  # as the process itself calls it
    stats: Answer | None = None

    @property
    def live(self) -> Estimate | None:
        return None if self.stats is None else figures.live(self.stats)


@dataclass(frozen=True)
class Survey:
    rows: Sequence[Row]
    complaints: Sequence[str]


def survey(seconds: float = SECONDS, spare: int = SPARE) -> Survey:
    """All that this user may speak to, by pid."""
    complaints: list[str] = []
    rows: dict[int, Row] = {}
    everywhere = (listener for network in sockets.networks() for listener in sockets.listeners(network))
    found = [listener for listener in everywhere if _may_be_ours(listener.name)]
    crowded = [listener for listener in found if listener.waiting >= MOST_WAITING]
    open_ones = [listener for listener in found if listener.waiting < MOST_WAITING]
    at_once = max(_FEWEST, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - spare)
    for begin in range(0, len(open_ones), at_once):
        for row in _ask(open_ones[begin : begin + at_once], seconds, complaints):
            rows.setdefault(row.process.pid, row)
    for process in filter(_is_ours, _all(rows)):
        if any(listener.name.is_of(process) for listener in crowded):
            trace = processes.trace_of(process.pid)
            rows[process.pid] = Row(process, f"idle: {silence(process, trace)}", _place(trace))
        else:
            unheard = state(process)
            if unheard is not None and unheard.looked:
                rows[process.pid] = Row(process, unheard.text, _place(processes.trace_of(process.pid)))
    return Survey([rows[pid] for pid in sorted(rows)], complaints)


def _all(but: Container[int]) -> Iterator[Process]:
    for pid in processes.pids():
        if pid in but:
            continue
        try:
            process = processes.look(pid)
        except Failure:
            continue
        if process is not None:
            yield process


def _is_ours(process: Process) -> bool:
    return os.geteuid() in (0, process.user)


def _may_be_ours(name: sockets.Name) -> bool:
    """Those of others would only hang up."""
    try:
        process = processes.look(name.pid)
    except Failure:
        return True
    return process is None or not name.is_of(process) or _is_ours(process)


def _ask(listeners: Sequence[sockets.Listener], seconds: float, complaints: list[str]) -> Iterator[Row]:
    exchanges: list[tuple[Process, Exchange]] = []
    with ExitStack() as opened:
        for listener in listeners:
            try:
                connection = opened.enter_context(sockets.connect(listener))
                process = sockets.server_of(connection, listener.name)
            except sockets.Squatted as failure:
                complaints.append(f"{failure}: left alone")
                continue
            except Failure:
                continue  # it has just ended, or its network is closed to us
            if process is not None and _is_ours(process):
                exchanges.append((process, Exchange(connection, [Request("stats")])))
        # To find their traces takes about as long as they take to answer.
        traces: dict[int, Path | None] = {}
        search = threading.Thread(target=_find, args=([process.pid for process, _ in exchanges], traces), daemon=True)
        search.start()
        talk([exchange for _, exchange in exchanges], seconds)
        search.join()
    for process, exchange in exchanges:
        yield _row(process, exchange, traces.get(process.pid))


def _find(pids: Iterable[int], traces: dict[int, Path | None]) -> None:
    for pid in pids:
        traces[pid] = processes.trace_of(pid)


def _row(process: Process, exchange: Exchange, trace: Path | None) -> Row:
    place = _place(trace)
    if exchange.failure is not None:
        return Row(process, plain(str(exchange.failure)), place)
    if not exchange.answers:
        return Row(process, f"idle: {silence(process, trace)}", place)
    answer = exchange.answers[0]
    if answer["ok"] is not True:
        return Row(process, plain(str(answer.get("error"))), place)
    return Row(process, "answers", place, answer)


def _place(trace: Path | None) -> str | None:
    return None if trace is None else processes.place(trace)


def as_text(rows: Sequence[Row]) -> str:
    return "".join(f"{line}\n" for line in table(HEADS, [_cells(row) for row in rows], NUMBERS)) if rows else ""


def _cells(row: Row) -> list[str]:
    process, stats = row.process, row.stats
    who = [str(process.pid), user_name(process.user), plain(process.program), as_size(_resident(row))]
    if stats is None:
        return [*who, *"-" * 6, row.state]
    protection = figures.group(stats, "protection")
    return [
        *who,
        figures.live_text(stats),
        figures.period(stats),
        str(figures.number(stats, "samples")),
        str(sum(count for count in figures.group(stats, "drops").values() if type(count) is int)),
        f"{figures.number(figures.group(stats, 'governor'), 'cost_ppm') / 1e4:.2f}%",
        str(figures.number(stats, "errors")),
        row.state + (f", every block protected ({plain(str(protection['engine']))})" if protection else ""),
    ]


def _resident(row: Row) -> int:
    """Where blocks have aliases, each counts in RSS; PSS has them once."""
    protected = row.stats is not None and figures.group(row.stats, "protection")
    memory = processes.memory(row.process.pid) if protected else None
    return row.process.resident if memory is None else memory.proportional


def as_json(rows: Sequence[Row]) -> dict[str, Any]:
    return {"schema": SCHEMA, "version": SCHEMA_VERSION, "processes": [_described(row) for row in rows]}


def _described(row: Row) -> dict[str, Any]:
    process, live = row.process, row.live
    return {
        "pid": process.pid,
        "user": process.user,
        "program": process.program,
        "state": row.state,
        "trace": row.trace,
        "rss_bytes": _resident(row),
        "live": None if live is None else live.as_json(),
        "stats": None if row.stats is None else {k: v for k, v in row.stats.items() if k not in ("ok", "do")},
    }
