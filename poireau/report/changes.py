"""Differences as tables for terminals: what grew is red, what shrank blue, what may be noise grey and marked with ~."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from poireau.diff import Diff
from poireau.estimate import Estimate
from poireau.preamble import Preamble
from poireau.report import words
from poireau.report.text import BLUE, FRAMES, GREY, LIMIT, RED, Column, Style, callers_of, chosen, table
from poireau.views import UNITS, WHATS

NOISE = "~"


def lines(
    diff: Diff, preambles: tuple[Preamble, ...], style: Style, limit: int = LIMIT, frames: int | None = FRAMES
) -> Iterator[str]:
    for preamble, moment in zip(preambles, diff.moments):
        first, *others = preamble.lines()
        yield from style.wrapped([first if len(preambles) == 1 else f"{moment}: {first}", *others])
    size = words.byte_seconds if diff.what in UNITS else words.size
    yield ""
    sums = f"{words.whole(diff.before, size)} before, {words.whole(diff.after, size)} after"
    when = f", {diff.moments[0]} to {diff.moments[1]}" if len(preambles) == 1 else ""
    yield f"{WHATS[diff.what]}{when}{chosen(diff.selection)}: {_signed(diff.change, size)} ({sums})"
    yield ""
    moved = diff.table[diff.table["change"] != 0]
    rows = (moved if limit == 0 else moved.head(limit)).to_dict("records")
    if not rows:
        yield "no change"
        return
    changes = [Estimate(row["change"], row["change_low"], row["change_high"], 1, 0.0) for row in rows]
    columns = [
        Column("", [" " if row["significant"] else NOISE for row in rows]),
        Column(
            "CHANGE", [_value(each.value, size) for each in changes], [words.margin(each, size) for each in changes]
        ),
        Column("BEFORE", [_end(row, "before", size) for row in rows], spare=1),
        Column("AFTER", [_end(row, "after", size) for row in rows], spare=1),
        Column("CHANCE", [_chance(row["chance"]) for row in rows], spare=3),
        Column("SAMPLES", [f"{row['samples_before']:,} {row['samples_after']:,}" for row in rows], spare=2),
    ]
    several = any(len(preamble.programs) > 1 for preamble in preambles)

    def said(row: Any, width: int | None) -> tuple[str, str, list[str]]:
        colour = GREY if not row["significant"] else RED if row["change"] > 0 else BLUE
        name = words.key(row, diff.by, several, width)
        return colour, name, list(callers_of(diff.stacks[row["side"]], diff.by, row, frames, width))

    yield from table(columns, diff.by.upper(), rows, style, said)
    if len(moved) > len(rows):
        yield f"and {len(moved) - len(rows):,} smaller ones (--limit 0 shows all)"
    if not all(row["significant"] for row in rows):
        yield f"{NOISE} may be noise: of the others, one in twenty at most is"


def _value(value: float, size: Any) -> str:
    return ("+" if value > 0 else "") + str(size(value))


def _signed(change: Estimate, size: Any) -> str:
    within = words.margin(change, size)
    return f"{_value(change.value, size)} {within if within.startswith('±') or not within else f'({within})'}".rstrip()


def _end(row: Any, which: str, size: Any) -> str:
    return words.whole(Estimate(row[which], row[f"{which}_low"], row[f"{which}_high"], 1, 0.0), size)


def _chance(chance: float) -> str:
    return f"{chance:.2g}" if chance >= 1e-4 else "< 0.0001"
