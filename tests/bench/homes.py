"""What a block in a home of its own costs, through tracked_alloc alone: no sampler, no stacks.

homes_bench, a program built with the library, interleaves the ways and prints their rounds. A guarded home is held
against the system calls of its mechanism on pages that are used in turn; it itself draws one of many thousand slots,
because a freed address is not to be seen again soon. A plain home is held against malloc.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import measure
from measure import BARE, Spread, Verdict, noise_of, ratios, spread

MECHANISMS = ("markers", "userfaultfd", "mprotect")
GUARDED_SIZE = 64
PLAIN_SIZES = (64, 1000, 4000)
GUARDED_BLOCKS, PLAIN_BLOCKS = 2000, 20_000  # a round
RUNS = 3  # each finds other pages, and so other cache lines
# By threads that have homes, and threads that make the system calls they are held against. Two that flip guards at once
# interrupt each other: where interrupts are dear (in a VM), the system calls alone may take several times as long then.
LIMITS = {(1, 1): 1.3, (2, 1): 1.6, (2, 2): 1.6}
PLAIN_LIMIT_US = 0.15

Columns = dict[str, list[float]]


@dataclass(frozen=True)
class Figures:
    """Nanoseconds a block, by way and round."""

    guarded: dict[str, Columns | None]  # by mechanism; None: not on this kernel
    plain: dict[int, Columns]  # by size


def _run(program: Path, *arguments: object) -> Columns | None:
    command = [str(program), *map(str, arguments)]
    process = measure.run(BARE, command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    out, err = process.communicate()
    if process.returncode == 3:
        return None
    if process.returncode != 0:
        sys.exit(f"{' '.join(command)}: status {process.returncode}\n{err}")
    names, *rows = (line.split(",") for line in out.splitlines())
    return {name: [float(row[i]) for row in rows] for i, name in enumerate(names)}


def _runs(program: Path, *arguments: object) -> Columns | None:
    runs = [run for run in (_run(program, *arguments) for _ in range(RUNS)) if run is not None]
    return {name: [ns for run in runs for ns in run[name]] for name in runs[0]} if runs else None


def measure_all(program: Path, rounds: int, scale: float) -> Figures:
    guarded: dict[str, Columns | None] = {}
    for mechanism in MECHANISMS:
        measure.step(f"homes: {mechanism}")
        guarded[mechanism] = _runs(program, "guarded", mechanism, GUARDED_SIZE, rounds, int(GUARDED_BLOCKS * scale))
    plain = {}
    for size in PLAIN_SIZES:
        measure.step(f"homes: plain, {size} B")
        plain[size] = _runs(program, "plain", size, rounds, int(PLAIN_BLOCKS * scale)) or {}
    return Figures(guarded, plain)


def _over_malloc(columns: Columns, way: str) -> Spread:
    return spread(ours - base for ours, base in zip(columns[way], columns["malloc"]))


def _to_raw(columns: Columns, way: str, threads: int = 1) -> Spread:
    return spread(ratios(columns[way], columns[f"raw x {threads}"]))


def verdicts(figures: Figures) -> list[Verdict]:
    found = []
    for mechanism, columns in figures.guarded.items():
        if columns is None:
            continue
        noise = noise_of(_to_raw(columns, "raw x 1 again"))
        for (threads, calls), limit in LIMITS.items():
            ratio = _to_raw(columns, f"home x {threads}", calls).median
            what = f"guarded home x {threads} / system calls x {calls}, {mechanism}"
            found.append(Verdict(what, ratio, limit, noise=noise))
    for size, columns in figures.plain.items():
        same = _over_malloc(columns, "malloc again")
        noise = max(abs(same.low), abs(same.high)) / 1000
        added = _over_malloc(columns, "home").median / 1000
        found.append(Verdict(f"plain home over malloc, {size} B", added, PLAIN_LIMIT_US, "us", noise))
    return found


def report(figures: Figures) -> str:
    return f"{_guarded_table(figures)}\n{_plain_table(figures)}"


def _guarded_table(figures: Figures) -> str:
    rows: list[tuple[object, ...]] = []
    for mechanism, columns in figures.guarded.items():
        if columns is None:
            rows.append((mechanism, "not here"))
            continue
        ns = f"{statistics.median(columns['raw x 1']):.0f}"
        ways = ("raw x 1 again", "raw x 2", "home x 1", "home x 2")
        rows.append((mechanism, ns, *(_to_raw(columns, way) for way in ways), _to_raw(columns, "home x 2", 2)))
    header = ("", "raw x 1, ns", "raw again", "raw x 2", "home x 1", "home x 2", "home / raw x 2")
    title = "Allocate, touch, free a guarded block: CPU time / the mechanism's system calls on one thread"
    return measure.table(title, header, rows)


def _plain_table(figures: Figures) -> str:
    rows = []
    for size, columns in figures.plain.items():
        malloc = f"{statistics.median(columns['malloc']):.1f}"
        again, home = _over_malloc(columns, "malloc again"), _over_malloc(columns, "home")
        rows.append((f"{size} B", malloc, again, home, f"[{home.low:.1f}, {home.high:.1f}]"))
    header = ("", "malloc, ns", "malloc again adds", "home adds", "95 % interval")
    return measure.table("The same in a plain home: ns", header, rows)


def record(figures: Figures) -> dict[str, Any]:
    return {
        "guarded": {name: columns and _guarded_record(columns) for name, columns in figures.guarded.items()},
        "plain": {size: _plain_record(columns) for size, columns in figures.plain.items()},
    }


def _medians(columns: Columns) -> dict[str, float]:
    return {way: statistics.median(values) for way, values in columns.items()}


def _guarded_record(columns: Columns) -> dict[str, Any]:
    return {
        "ns": _medians(columns),
        "to system calls x 1": {way: asdict(_to_raw(columns, way)) for way in columns},
        "home x 2 to system calls x 2": asdict(_to_raw(columns, "home x 2", 2)),
    }


def _plain_record(columns: Columns) -> dict[str, Any]:
    added = {way: asdict(_over_malloc(columns, way)) for way in columns if way != "malloc"}
    return {"ns": _medians(columns), "over malloc, ns": added}
