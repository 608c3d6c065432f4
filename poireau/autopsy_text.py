"""An autopsy in words, and as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from poireau import autopsy_rss
from poireau.autopsy import WINDOWS, Autopsy, Growth
from poireau.autopsy_rss import KINDS, Rss
from poireau.estimate import Estimate
from poireau.misuse import Misuse
from poireau.naming import places
from poireau.report import objects, words
from poireau.report.text import BOLD, GREY, RED, Column, Style, table
from poireau.selection import clock
from poireau.text import duration, plain
from poireau.views import estimate_of

ROWS, GROWN, LEAKS, ERRORS = 10, 5, 5, 5
_BAR = 60
_MARKS = dict(zip(KINDS, "█▓▒░=·"))
_COLOURS = dict(zip(KINDS, ("34", "36", "33", "35", "32", "90")))
_FEW = 20  # samples
_SECOND = 10**9


def lines(of: Autopsy, style: Style) -> Iterator[str]:
    yield from style.wrapped(of.preamble.lines())
    if of.others:
        others = f"the one with most in use of {of.others + 1} processes; --process PID is for another"
        yield style.paint(others, GREY)
    if of.homeless:
        count, missing = of.homeless
        lost = f"{count:,} samples had no room (limits, memory)"
        yield style.paint(f"{lost}: some {words.size(missing)} asked for is in no figure here", RED)
    yield ""
    yield from ended(of, style)
    yield ""
    yield from bar(of.rss, style)
    yield ""
    yield from _used(of, style)
    for growth in of.grown:
        yield ""
        yield from _grown(of, growth, style)
    yield ""
    yield from _leaks(of, style)
    yield ""
    yield from _errors(of, style)


def ended(of: Autopsy, style: Style) -> Iterator[str]:
    end = of.end
    when = f"{clock(end.time, True)}: " if end.time is not None else ""
    yield style.paint(f"{when}{end.said}", BOLD)
    lasted = duration(max(end.last - of.begin, 0) / _SECOND)
    quiet = (end.time - end.last) / _SECOND if end.time is not None else 0.0
    silence = f", {duration(quiet)} before that" if quiet > 0.05 else ""
    last = f"{clock(end.last, True)}.{end.last % _SECOND // 10**6:03}"
    yield f"  its last event was at {last}{silence}, {lasted} after its first"
    for said in (*end.evidence, *of.group):
        yield f"  {said}"


def bar(rss: Rss, style: Style) -> Iterator[str]:
    """Where did RSS go."""
    if rss.total is None:
        yield style.paint("where RSS went: only the heap is known, by estimate", BOLD)
    else:
        yield style.paint(f"where RSS went: {words.size(rss.total)}, says {plain(rss.source)}", BOLD)
    parts = [part for part in rss.parts if part.bytes.high > 0]
    total = max(rss.total or 0.0, sum(part.bytes.value for part in parts), 1.0)
    if rss.total is not None:
        yield "  " + "".join(
            style.paint(_MARKS[part.kind] * width, _COLOURS[part.kind])
            for part, width in zip(parts, _widths([part.bytes.value / total for part in parts]))
        )
    shares = [words.share(part.bytes.value, rss.total or 0.0) for part in parts]
    sizes = [words.size(part.bytes.value) for part in parts]
    margins = [words.margin(part.bytes) for part in parts]
    wide = [max(map(len, each), default=0) for each in (shares, sizes, margins)]
    for part, share, size, margin in zip(parts, shares, sizes, margins):
        mark = style.paint(_MARKS[part.kind], _COLOURS[part.kind])
        yield f"  {mark} {share:>{wide[0]}}  {size:>{wide[1]}} {margin:<{wide[2]}}  {part.said}"
    for part in rss.beside:
        yield style.paint(f"  beside it {words.whole(part.bytes)} {part.said}", GREY)


def _widths(shares: list[float]) -> list[int]:
    """Cells of each, so that all are a bar; what is there at all has one."""
    ends = [0.0]
    for share in shares:
        ends.append(ends[-1] + share)
    widths = [max(round(b * _BAR) - round(a * _BAR), int(b > a)) for a, b in zip(ends, ends[1:])]
    while sum(widths) > _BAR and max(widths) > 1:
        widths[widths.index(max(widths))] -= 1
    return widths


def _used(of: Autopsy, style: Style) -> Iterator[str]:
    view = of.used
    now = "now" if of.end.how == "runs" else "at the end"
    blocks = words.blocks(view.total_count)
    yield style.paint(f"in use {now}: {words.whole(view.total_bytes)} in {blocks}", BOLD)
    yield f"  most ever {words.whole(of.peak)} at {clock(of.peak_at)}"
    if 0 < view.samples < _FEW:
        samples = f"{view.samples} sample{'s' * (view.samples != 1)}"
        yield f"  {samples} of it: that says little; a shorter sample_period says more"
    rows = view.table[view.table["samples"] > 0].head(ROWS).to_dict("records")
    if not rows:
        return
    of_bytes = [estimate_of(row) for row in rows]
    of_count = [estimate_of(row, "count") for row in rows]
    total = view.total_bytes.value
    columns = [
        _figures("BYTES", of_bytes),
        Column("SHARE", [words.share(each.value, total) for each in of_bytes]),
        Column("BLOCKS", [words.number(each.value) for each in of_count], spare=2),
        Column("SAMPLES", [f"{each.samples:,}" for each in of_bytes], spare=1),
    ]
    yield from table(columns, "LINE", rows, style, _named)
    more = int((view.table["samples"] > 0).sum()) - len(rows)
    if more > 0:
        yield f"and {more:,} more: poireau top --by line"


def _grown(of: Autopsy, growth: Growth, style: Style) -> Iterator[str]:
    change = growth.diff.change
    within = words.margin(change)
    within = f" {within if within.startswith('±') else f'({within})'}" if within else ""
    sign = "+" if change.value > 0 else ""
    when = "now" if of.end.how == "runs" else "the end"
    yield style.paint(f"in the {_window(growth.seconds)} before {when}: {sign}{words.size(change.value)}{within}", BOLD)
    there = growth.diff.table
    rows = there[there["significant"] & (there["change"] > 0)].head(GROWN).to_dict("records")
    if not rows:
        yield "  no line of it grew by more than chance explains"
        return
    changes = [Estimate(row["change"], row["change_low"], row["change_high"], 1, 0.0) for row in rows]
    yield from table([_figures("GREW BY", changes)], "LINE", rows, style, _named)


def _leaks(of: Autopsy, style: Style) -> Iterator[str]:
    found = of.leaks.found
    if not len(found) and of.leaks.too_early:
        yield f"leaks: {of.leaks.too_early}"
        return
    if not len(found):
        yield "leaks: none is evident" + ("" if of.end.how != "runs" else "; `poireau leaks` looks closer")
        return
    yield style.paint(f"leaks: {len(found)}", BOLD)
    rows = found.head(LEAKS).to_dict("records")
    rates = [Estimate(row["rate"], row["rate_low"], row["rate_high"], 1, 0.0) for row in rows]
    columns = [Column("VERDICT", [row["verdict"] for row in rows]), _figures("PER HOUR", rates)]

    def said(row: Any, width: int | None) -> tuple[str, str, list[str]]:
        return RED, words.key(row, "line", False, width), [words.cut(row["reason"], None)]

    yield from table(columns, "LINE", rows, style, said)


def _errors(of: Autopsy, style: Style) -> Iterator[str]:
    there = _placed(of.errors)
    if not len(there):
        yield "memory errors: none was seen"
        return
    yield style.paint(f"memory errors: {int(there['reports'].sum()):,} (poireau errors)", BOLD)
    for row in there.sort_values("last").tail(ERRORS).to_dict("records"):
        apart = max(of.end.last - int(row["last"]), 0) / _SECOND
        when = f"{duration(apart)} before the last event"
        yield style.paint(f"  {plain(row['error'])}, {when}  {words.key(row, 'line', False)}", RED)


def _placed(errors: Misuse) -> pd.DataFrame:
    """Each with the place where it was made."""
    stacks, table = errors.stacks, errors.table
    if stacks is None or not len(table):
        return table.iloc[:0]
    sites = stacks.sites(stacks.wrappers(errors.selection.wrappers))[table["stack"].to_numpy(np.int64)]
    return table.assign(**places(stacks, sites))


def _figures(head: str, figures: list[Estimate]) -> Column:
    return Column(head, [words.size(each.value) for each in figures], [words.margin(each) for each in figures])


def _named(row: Any, width: int | None) -> tuple[str, str, list[str]]:
    return "", words.key(row, "line", False, width), []


def _window(seconds: float) -> str:
    return next((name for known, name in WINDOWS if known == seconds), duration(seconds))


def as_json(of: Autopsy) -> dict[str, Any]:
    end = of.end
    line = ("function", "file", "line", "module")

    def figures(row: Any, name: str) -> dict[str, object]:
        return Estimate(row[name], row[f"{name}_low"], row[f"{name}_high"], int(row.get("samples", 0)), 0.0).as_json()

    used = of.used.table[of.used.table["samples"] > 0].to_dict("records")
    return {
        "schema": "poireau.autopsy",
        "version": 1,
        "of": [of.preamble.as_json()],
        "others": of.others,
        "end": {"how": end.how, "said": end.said, "time": end.time, "last": end.last, "evidence": list(end.evidence)},
        "group": list(of.group),
        "rss": autopsy_rss.as_json(of.rss),
        "in_use": {
            "bytes": of.used.total_bytes.as_json(),
            "count": of.used.total_count.as_json(),
            "rows": [{**{name: row[name] for name in line}, "bytes": figures(row, "bytes")} for row in used],
        },
        "peak": {"time": of.peak_at, "bytes": of.peak.as_json()},
        "grown": [
            {
                "seconds": growth.seconds,
                "bytes": growth.diff.change.as_json(),
                "rows": [
                    {**{name: row[name] for name in line}, "bytes": figures(row, "change"), "chance": row["chance"]}
                    for row in growth.diff.table[growth.diff.table["significant"]].to_dict("records")
                ],
            }
            for growth in of.grown
        ],
        "leaks": [
            {**{name: row[name] for name in (*line, "verdict", "reason")}, "rate": figures(row, "rate")}
            for row in of.leaks.found.to_dict("records")
        ],
        "errors": [
            {name: row[name] for name in ("error", *line, "address", "size", "reports", "time", "last")}
            for row in _placed(of.errors).to_dict("records")
        ],
    }


def text_of(of: Autopsy) -> str:
    return objects.text_of(as_json(of))
