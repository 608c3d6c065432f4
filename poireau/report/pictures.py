"""Pictures as lists of shapes: laid out once, then written as SVG, as PNG or as PDF.

Lengths are pixels; a colour is a name of colours.py. Whatever anybody has called a function is text here, and nothing
else: control characters are spelled out, names that are too long lose their middle. Text is set in a monospaced font,
so that how long it is can be told without a browser.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO
from unicodedata import combining, east_asian_width

from poireau.text import plain

FORMS = ("html", "svg", "png", "pdf")
FONT = 'ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace'
WIDTH, EDGE, ROW = 1200, 16, 18
SIZE, SMALL = 12, 11
CELL = 0.602  # how wide a character is, of its size
LONGEST = 300  # characters of a name in a tooltip
DOUBTFUL, DOUBTED = 0.5, 1.0  # half an interval, of the value: where it shows; flame_paint.ts has the same


@dataclass(frozen=True)
class Box:
    x: float
    y: float
    width: float
    height: float
    fill: str
    label: str = ""
    title: str = ""  # its first line is its name
    doubt: int = 0  # 1, 2: hatched
    parent: int | None = None  # which box it is in; None: it only tells something


@dataclass(frozen=True)
class Words:
    x: float
    y: float
    text: str
    size: float = SIZE
    colour: str = "ink"
    anchor: str = "start"  # or middle, end
    bold: bool = False


Shape = Box | Words


@dataclass(frozen=True)
class Drawing:
    name: str
    width: float
    height: float
    shapes: Sequence[Shape] = field(repr=False)

    @property
    def boxes(self) -> int:
        return sum(isinstance(shape, Box) and shape.parent is not None for shape in self.shapes)


def write(drawing: Drawing, form: str, out: BinaryIO) -> None:
    if form == "svg":
        from poireau.report import picture_svg

        out.write("".join(picture_svg.lines(drawing)).encode())
    else:
        from poireau.report import picture_raster

        picture_raster.write(drawing, form, out)


def head(title: str, lines: Iterable[str], width: float) -> tuple[list[Shape], float]:
    """What a picture opens with, and where it goes on."""
    shapes: list[Shape] = []
    y = EDGE + 15.0
    for line in wrapped(title, width, 15):
        shapes.append(Words(EDGE, y, line, 15, bold=True))
        y += 20
    for line in lines:
        for part in wrapped(line, width, SMALL):
            shapes.append(Words(EDGE, y, part, SMALL, "faint"))
            y += 15
    return shapes, y - 3


def wrapped(text: str, width: float, size: float) -> list[str]:
    return textwrap.wrap(plain(text), max(int((width - 2 * EDGE) / (size * CELL)), 20))


def length(text: str) -> int:
    """In cells."""
    if text.isascii():
        return len(text)
    return sum(0 if combining(each) else 2 if east_asian_width(each) in "WF" else 1 for each in text)


def fitted(text: str, room: float, size: float = SIZE) -> str:
    """As much of it as has room; empty: none that would say something."""
    cells = int(room / (size * CELL))
    if cells < 3:
        return ""
    if length(text) <= cells:
        return text
    kept, used = [], 1
    for each in text:
        used += length(each)
        if used > cells:
            break
        kept.append(each)
    return "".join(kept) + "…"


def shortened(name: str) -> str:
    """Fit for a tooltip."""
    name = plain(name)
    return name if len(name) <= LONGEST else f"{name[: LONGEST // 2]}…{name[-LONGEST // 2 :]}"


def doubt(value: float, low: float, high: float) -> int:
    """How uncertain a box looks."""
    apart = (high - low) / 2 / value if value > 0 else 0.0
    return (apart > DOUBTFUL) + (apart > DOUBTED)


def doubts(x: float, y: float) -> Iterator[Shape]:
    """What hatching means."""
    said = ((1, f"± {DOUBTFUL:.0%} or more"), (2, f"± {DOUBTED:.0%} or more"))
    for number, text in said:
        yield Box(x, y, 24, 12, "f0", doubt=number)
        yield Words(x + 30, y + 10, text.replace("%", " %"), SMALL, "faint")
        x += 30 + (len(text) + 4) * SMALL * CELL
