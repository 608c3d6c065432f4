"""Views and differences as tables and trees for terminals, and the same as JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from poireau.estimate import Estimate
from poireau.naming import places
from poireau.preamble import Preamble
from poireau.report import words
from poireau.report.style import Style as Style
from poireau.selection import Selection, clock
from poireau.stacks import NOWHERE, Stacks
from poireau.text import plain
from poireau.views import WHATS, View, estimate_of

Form = Callable[..., str]
FRAMES = 3
LIMIT = 20
_NARROW = 30  # the least that is left for names
GREY, RED, BLUE, BOLD = "2", "31", "34", "1"


@dataclass(frozen=True)
class Column:
    """Numbers, right-aligned, and how sure they are, beside them. A head that isn't wanted in a narrow place has
    `spare`, the higher the sooner it goes."""

    head: str
    cells: Sequence[str]
    margins: Sequence[str] = ()
    spare: int = 0

    @property
    def lines(self) -> list[str]:
        wide = max(map(len, [self.head, *self.cells]))
        beside = max(map(len, self.margins), default=0)
        lines = [self.head.rjust(wide), *(cell.rjust(wide) for cell in self.cells)]
        if not beside:
            return lines
        return [f"{line} {margin:<{beside}}" for line, margin in zip(lines, ["", *self.margins])]


def table(columns: Sequence[Column], head: str, rows: Sequence[Any], style: Style, said: Any) -> Iterator[str]:
    """Columns of numbers, and what they are of: `said(row, width)` gives a colour, a name and lines below it."""
    columns = [column for column in columns if any(column.cells)]
    while any(column.spare for column in columns) and _too_wide(columns, style, _NARROW):
        columns.remove(max(columns, key=lambda column: column.spare))
    if _too_wide(columns, style, _NARROW // 2):
        columns = [replace(column, margins=()) for column in columns]
    lines = ["  ".join(each) for each in zip(*(column.lines for column in columns))]
    margin = len(lines[0]) + 2
    width = None if style.width is None else max(style.width - margin, _NARROW // 2)
    yield style.paint(f"{lines[0]}  {head}", BOLD)
    for line, row in zip(lines[1:], rows):
        colour, name, below = said(row, width)
        yield style.paint(f"{line}  {name}", colour)
        for text in below:
            yield " " * margin + style.paint(text, GREY)


def _too_wide(columns: Sequence[Column], style: Style, name: int) -> bool:
    """With so much for names."""
    return style.width is not None and sum(len(column.lines[0]) + 2 for column in columns) + name > style.width


def top(
    view: View,
    preamble: Preamble,
    style: Style,
    limit: int = LIMIT,
    frames: int | None = FRAMES,
    by_through: bool = False,
) -> Iterator[str]:
    """`limit`: rows; 0: all. `frames`: callers shown below each; None: all. `by_through`: the largest is what most goes
    through."""
    yield from opening(view, preamble, style)
    there = ordered(view, by_through)
    rows = (there if limit == 0 else there.head(limit)).to_dict("records")
    if not rows:
        yield "nothing"
        return
    several = len(preamble.programs) > 1
    of_bytes = [estimate_of(row) for row in rows]
    of_count = [estimate_of(row, "count") for row in rows]
    through = [estimate_of(row, "through") for row in rows] if "through" in there else []
    size = form_of(view)
    total = view.total_bytes.value
    columns = [
        _column("BYTES", of_bytes, size),
        Column("SHARE", [words.share(each.value, total) for each in of_bytes]),
        _column("THROUGH", through, size, spare=0 if by_through else 3),
        _column("BLOCKS", of_count, words.number, spare=2),
        Column("SAMPLES", [f"{each.samples:,}" for each in of_bytes], spare=1),
    ]

    def said(row: Any, width: int | None) -> tuple[str, str, list[str]]:
        return "", words.key(row, view.by, several, width), list(callers_of(view.stacks, view.by, row, frames, width))

    yield from table(columns, view.by.upper(), rows, style, said)
    left = len(there) - len(rows)
    if left and not by_through:
        rest = total - sum(each.value for each in of_bytes)
        yield f"and {left:,} more, {size(max(rest, 0.0))} together (--limit 0 shows all)"


def ordered(view: View, by_through: bool = False) -> pd.DataFrame:
    """The rows that something is in, the largest first."""
    if by_through and "through" in view.table:
        return view.table.sort_values("through", ascending=False, kind="stable", ignore_index=True)
    return view.table[view.table["samples"] > 0]


def form_of(view: View) -> Form:
    return words.byte_seconds if view.unit == "byte-seconds" else words.size


def _column(head: str, figures: Sequence[Estimate], form: Form, spare: int = 0) -> Column:
    values = [form(each.value) for each in figures]
    return Column(head, values, [words.margin(each, form) for each in figures], spare)


def callers_of(stacks: Stacks | None, by: str, row: Any, frames: int | None, width: int | None) -> Iterator[str]:
    """Who called, from the row's own place outwards."""
    if stacks is None or "place" not in row or row["place"] == NOWHERE or frames == 0:
        return
    first = int(row["place"]) + (by not in ("file", "module"))
    end = int(stacks.ends[row["stack"]])
    columns = places(stacks, np.arange(first, end if frames is None else min(end, first + frames)))
    for name, file, line in zip(columns["function"], columns["file"], columns["line"].tolist()):
        place = {"function": name, "file": file, "line": line}
        yield "  " + words.key(place, "function", False, None if width is None else width - 2)


def opening(view: View, preamble: Preamble, style: Style) -> Iterator[str]:
    yield from style.wrapped(preamble.lines())
    yield ""
    blocks = words.blocks(view.total_count)
    yield from style.wrapped(
        [f"{told(view)}{chosen(view.selection)}: {words.whole(view.total_bytes, form_of(view))} in {blocks}"]
    )
    yield ""


def told(view: View) -> str:
    """What it is a view of, and when."""
    what = WHATS[view.what]
    if view.what == "in-use" and view.selection.until is None:
        return f"{what} at the end"
    if view.since == view.until:
        return f"{what} at {clock(view.until)}" if view.what == "in-use" else f"{what}, {clock(view.until)}"
    if view.what == "temporary":
        what = f"allocated and freed within {view.within}"
    return f"{what}, from {clock(view.since)} to {clock(view.until)}"


def chosen(selection: Selection) -> str:
    said = [f"{name} {plain(getattr(selection, name))}" for name in ("focus", "ignore") if getattr(selection, name)]
    said += [f"of threads {plain(', '.join(selection.threads))}"] if selection.threads else []
    return f" ({', '.join(said)})" if said else ""
