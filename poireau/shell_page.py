"""A watched heap as a page of text: what it is, how it goes, and the table of who has most or grows most."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from poireau.estimate import Estimate
from poireau.model import Heap
from poireau.naming import places, stacks_of
from poireau.preamble import Preamble
from poireau.report import words
from poireau.report.text import GREY, RED, Column, Style, callers_of, table
from poireau.selection import clock
from poireau.shell_growth import Growth, Watched
from poireau.text import as_size, duration, plain

SORTS = {"in use": "bytes", "growth": "growth", "rate": "rate"}
BARS, PLAIN_BARS = "▁▂▃▄▅▆▇█", "_.-=+*#@"
ERRORS = 3  # of the last ones


@dataclass(frozen=True)
class Asked:
    """What is to be shown, and how."""

    sort: str = "in use"
    rows: int = 20
    frames: int = 0  # callers of each row
    at: int | None = None  # the row that a cursor is on
    open: bool = False  # whether that one's stack is shown whole
    head: int = 0  # lines of what the figures are of, at most; 0: all


def lines(
    watched: Watched, growth: Growth, preamble: Preamble, style: Style, asked: Asked, rss: int = 0, bars: str = BARS
) -> Iterator[str]:
    yield from _head(list(style.wrapped(preamble.lines())), asked.head)
    yield ""
    yield from _summary(watched, growth, rss, style, bars)
    for line in errors(watched.heap):
        yield style.paint(line, RED)
    yield ""
    rows = ordered(growth, asked.sort).head(asked.rows)
    if not len(rows):
        yield "nothing is in use"
        return
    yield from _table(growth, rows, preamble, style, asked)
    left = len(growth.table) - len(rows)
    if left > 0:
        yield style.paint(f"and {left:,} more", GREY)


def _head(lines: list[str], most: int) -> list[str]:
    if not most or len(lines) <= most:
        return lines
    return [*lines[: most - 1], f"{lines[most - 1][:-2]} …"]


def ordered(growth: Growth, sort: str) -> pd.DataFrame:
    keys = [growth.table["bytes"], growth.table[SORTS[sort]]]
    return growth.table.iloc[np.lexsort([-key for key in keys])].reset_index(drop=True)


def _summary(watched: Watched, growth: Growth, rss: int, style: Style, bars: str) -> Iterator[str]:
    resident = f"; RSS {as_size(rss)}" if rss else ""
    asked = f"; asked for a second: {words.whole(growth.rate)}" if growth.rate.samples else ""
    for line in style.wrapped([f"in use {words.whole(growth.total)}{asked}{resident}"]):
        yield style.paint(line, "1")
    over = duration(max((watched.now.time - watched.first.time) / 1e9, 0.001))
    lately = f"; {signed(growth.lately)} since {clock(watched.since_lately)}"
    yield (
        f"{signed(growth.growth)} since {clock(watched.first.time)} ({over})"
        f"{lately if watched.since_lately > watched.first.time else ''}"
    )
    wide = min((style.width or 80) - 1, 100)
    points = list(watched.points)[-wide:]
    if points:
        yield f"{sparkline(points, bars)}"


def _table(growth: Growth, rows: pd.DataFrame, preamble: Preamble, style: Style, asked: Asked) -> Iterator[str]:
    several = len(preamble.programs) > 1
    records = rows.to_dict("records")
    # Growth that may be chance has a ~.
    sure = [row["grows"] or row["growth"] == row["growth_low"] == row["growth_high"] for row in records]
    grown = [("" if yes or not row["growth"] else "~") + _plus(row["growth"]) for yes, row in zip(sure, records)]
    columns = [
        _column("IN USE", records, "bytes", words.size),
        Column("GROWTH", grown, [_margin(row, "growth") for row in records]),
        Column("LAST MIN", [_plus(row["lately"]) for row in records], spare=3),
        Column("PER S", [words.size(row["rate"]) if row["rate"] else "" for row in records], spare=2),
        Column("SAMPLES", [f"{row['samples']:,}" for row in records], spare=1),
    ]

    def said(number: int, width: int | None) -> tuple[str, str, list[str]]:
        row, here = records[number], number == asked.at
        frames = None if here and asked.open else asked.frames
        name = words.key(row, growth.by, several, None if width is None else width - 2 * (asked.at is not None))
        below = list(callers_of(growth.stacks, growth.by, row, frames, width)) if frames != 0 else []
        colour = "7" if here else RED if row["grows"] and row["growth"] > 0 else ""
        return colour, f"{'> ' if here else '  '}{name}" if asked.at is not None else name, below

    yield from table(columns, growth.by.upper(), list(range(len(records))), style, said)


def _column(head: str, records: Sequence[Any], name: str, form: Any) -> Column:
    return Column(head, [form(row[name]) for row in records], [_margin(row, name) for row in records])


def _margin(row: Any, name: str) -> str:
    if row[name] == 0 and row[f"{name}_low"] < 0:
        return f"± {words.size(max(row[f'{name}_high'], -row[f'{name}_low']))}"
    return words.between(row[name], row[f"{name}_low"], row[f"{name}_high"])


def _plus(value: float) -> str:
    return ("+" if value > 0 else "") + words.size(value) if value else "0"


def signed(change: Estimate) -> str:
    margin = _margin({"x": change.value, "x_low": change.low, "x_high": change.high}, "x")
    return f"{_plus(change.value)} {margin if margin.startswith('±') or not margin else f'({margin})'}".rstrip()


def sparkline(points: Sequence[float], bars: str = BARS) -> str:
    """From nothing to the most."""
    most = max(points, default=0.0)
    if most <= 0:
        return bars[0] * len(points)
    return "".join(bars[min(int(max(point, 0.0) / most * len(bars)), len(bars) - 1)] for point in points)


def errors(heap: Heap, most: int = ERRORS) -> list[str]:
    table = heap.errors
    last = table.tail(most)
    if not len(last):
        return []
    numbers = last["frames"].to_numpy(np.int64)
    stacks = stacks_of(heap, numbers)
    at = places(stacks, stacks.sites(stacks.wrappers())[numbers])
    where = [words.key(dict(zip(at, row)), "function", False) for row in zip(*at.values())]
    said = [f"{clock(row.stamp)} {plain(row.error)} in {place}" for row, place in zip(last.itertuples(), where)]
    return [f"{len(table):,} memory error{'s; the last:' if len(table) > 1 else ':'}", *said]
