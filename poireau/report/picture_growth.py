"""How a streamgraph is laid out: bands, their legend, the total beneath them, and a clock."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from poireau.estimate import Estimate
from poireau.report import colours, words
from poireau.report.picture_stream import Stream, baseline
from poireau.report.pictures import (
    CELL,
    EDGE,
    SIZE,
    SMALL,
    WIDTH,
    Area,
    Box,
    Drawing,
    Line,
    Shape,
    Words,
    fitted,
    head,
    length,
    shortened,
)
from poireau.selection import clock
from poireau.text import as_size, plain

_STREAM, _TOTAL = 330, 110  # heights; what has many bands is higher
_LINE = 15  # a line of the legend
_LEGEND = 330  # its width
_AXIS = 64  # room for figures at the left
_GAP = 34
_STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200)
_MILLISECONDS = (1, 2, 5, 10, 20, 50, 100, 200, 500)
_DAY = 86400
Floats = NDArray[np.float64]


def draw(stream: Stream, title: str, lines: Sequence[str], wiggle: bool = True, width: float = WIDTH) -> Drawing:
    shapes, top = head(title, lines, width)
    top += 22
    left, right = EDGE + _AXIS, width - EDGE - _LEGEND
    if not len(stream.bytes) or float(stream.total.value.max(initial=0.0)) <= 0:
        shapes.append(Box(EDGE, top, width - 2 * EDGE, 90, "rule"))
        shapes.append(Words(width / 2, top + 50, "Nothing to draw: no sample is in this view.", 15, "faint", "middle"))
        return Drawing(title, width, top + 90 + EDGE, shapes)
    begin, end = int(stream.times[0]), max(int(stream.times[-1]), int(stream.times[0]) + 1)
    xs = left + (stream.times - begin) / (end - begin) * (right - left)
    high = max(_STREAM, _LINE * len(stream.names))
    low = top + high + _GAP
    for at, said in ticks(begin, end, right - left):
        x = left + (at - begin) / (end - begin) * (right - left)
        shapes.append(Line([(x, top), (x, low + _TOTAL)]))
        shapes.append(Words(x, low + _TOTAL + 16, said, SMALL, "faint", "middle"))
    shapes += _bands(stream, xs, top, high, right + 20, wiggle)
    shapes += _beneath(stream, xs, low)
    return Drawing(title, width, low + _TOTAL + 26 + EDGE, shapes)


def _bands(stream: Stream, xs: Floats, top: float, high: float, legend: float, wiggle: bool) -> Iterator[Shape]:
    values = stream.values
    edge = baseline(values, wiggle)
    edges = np.vstack([edge, edge + np.cumsum(values, axis=0)])
    highest, lowest = float(edges.max()), float(edges.min())
    scale = high / max(highest - lowest, 1e-300)
    ys = top + (highest - edges) * scale
    fills = colours.of_bands(stream.names)
    fills = [fill if key else "rest" for fill, key in zip(fills, stream.keys)]
    step = nice(high / 3 / scale)
    if wiggle:  # there is no zero to measure from
        x, y = xs[0] - 12, top + high
        yield Line([(x, y), (x, y - step * scale)], "faint", 2)
        yield Words(x - 6, y - step * scale / 2 + 4, as_size(step), SMALL, "faint", "end")
    else:
        yield from _scale(xs, top + high, step, scale, highest)
    for number, fill in enumerate(fills):
        upper, lower = ys[number + 1], ys[number]
        points = [*zip(xs.tolist(), upper.tolist()), *zip(xs[::-1].tolist(), lower[::-1].tolist())]
        yield Area(points, fill, _told(stream, number), number)
    for number, name in enumerate(stream.names):
        yield from _label(name, xs, ys[number + 1], ys[number], number)
    yield Words(legend + 20, top - 8, "in use at the end", SMALL, "faint")
    row = min(36.0, high / max(len(stream.names), 1))
    for place, number in enumerate(reversed(range(len(stream.names)))):
        y = top + place * row
        final, room = stream.bytes[number][-1], _LEGEND - 40
        key = stream.keys[number]
        title = _told(stream, number)
        square = [(legend, y), (legend + 12, y), (legend + 12, y + 12), (legend, y + 12)]
        yield Area(square, fills[number], title, number)
        cells = int(room / (SIZE * CELL))
        first = words.function(key["function"], cells) if "function" in key else stream.names[number]
        where = words.place(key["file"], key["line"]) if "file" in key else ""
        now = words.whole(final)
        if row < 28:
            yield Words(legend + 20, y + 10, fitted(plain(f"{where or first}  {now}"), room), band=number, title=title)
            continue
        yield Words(legend + 20, y + 10, fitted(plain(first), room), band=number, title=title)
        below = f"{where}  {now}" if where else now
        yield Words(legend + 20, y + 24, fitted(plain(below), room, SMALL), SMALL, "faint", band=number, title=title)


def _label(name: str, xs: Floats, upper: Floats, lower: Floats, band: int) -> Iterator[Shape]:
    """In the band itself, where it is thickest, if there is room."""
    thick = lower - upper
    at = int(np.argmax(thick))
    if thick[at] < SIZE + 6:
        return
    half = length(plain(name)) * SIZE * CELL / 2
    inside = (xs > xs[at] - half) & (xs < xs[at] + half)
    middle = float(np.clip(xs[at], xs[0] + half + 4, xs[-1] - half - 4))
    inside = (xs >= middle - half) & (xs <= middle + half)
    if 2 * half > xs[-1] - xs[0] - 8 or not inside.any():
        return
    ceiling, floor = float(upper[inside].max()), float(lower[inside].min())
    if floor - ceiling >= SIZE + 4:
        yield Words(middle, (floor + ceiling) / 2 + 4, plain(name), anchor="middle", band=band)


def _beneath(stream: Stream, xs: Floats, top: float) -> Iterator[Shape]:
    """The total, with its interval."""
    of = stream.total
    highest = float(of.high.max())
    scale = _TOTAL / highest
    floor = top + _TOTAL
    yield from _scale(xs, floor, nice(highest / 2), scale, highest)
    high, low, value = ((floor - each * scale).tolist() for each in (of.high, of.low, of.value))
    x = xs.tolist()
    certain = "the total is in this band with 95 % certainty"
    yield Area([*zip(x, high), *zip(x[::-1], low[::-1])], "b0", certain, opacity=0.45)
    yield Line(list(zip(x, value)), "ink", 1.5)
    when, peak = stream.peak()
    at = int(np.argmax(of.value))
    said = f"most: {words.whole(peak)} at {clock(when)}"
    wide = len(said) * SMALL * CELL
    yield Line([(x[at], value[at]), (x[at], top - 6)], "faint", 1, True)
    yield Words(min(max(x[at], x[0] + wide / 2), x[-1] - wide / 2), top - 10, said, SMALL, "faint", "middle")
    last = of[-1] if len(of) else Estimate(0.0, 0.0, 0.0, 0, 0.0)
    yield Words(x[-1] + 20, top + 10, "all", bold=True)
    yield Words(x[-1] + 20, top + 26, f"{words.whole(last)} at the end", SMALL, "faint")
    yield Words(x[-1] + 20, top + 42, "shaded: 95 % certain", SMALL, "faint")


def _scale(xs: Floats, floor: float, step: float, scale: float, highest: float) -> Iterator[Shape]:
    for number in range(int(highest / step) + 1):
        y = floor - number * step * scale
        yield Line([(float(xs[0]), y), (float(xs[-1]), y)])
        yield Words(float(xs[0]) - 8, y + 4, as_size(number * step) if number else "0", SMALL, "faint", "end")


def _told(stream: Stream, number: int) -> str:
    of = stream.bytes[number]
    most = int(np.argmax(of.value))
    when = clock(int(stream.times[most]))
    total = float(stream.total.value[-1])
    last = of[-1]
    share = f", {words.share(last.value, total)}" if total else ""
    return (
        f"{shortened(stream.names[number])}\nat the end {words.whole(last)}{share}, {last.samples:,} samples\n"
        f"most {words.whole(of[most])} at {when}"
    )


def nice(value: float) -> float:
    """1, 2 or 5 (or 16, 32, ... of a unit) that is at most that."""
    if value <= 1:
        return 1.0
    unit = 1024.0 ** int(np.log(value) / np.log(1024))
    within = value / unit
    return float(max(each for each in (1, 2, 5, 10, 20, 50, 100, 200, 500) if each <= within) * unit)


def ticks(begin: int, end: int, room: float) -> Iterator[tuple[int, str]]:
    """Round times of the clock between the two, and what they are called; as many as have room."""
    seconds = (end - begin) / 1e9
    most = max(int(room / 110), 2)
    if seconds < most:  # within seconds the clock says little
        pace = next((each for each in _MILLISECONDS if seconds * 1000 / each <= most), 1000) * 10**6
        for at in range(-(-begin // pace) * pace, end + 1, pace):
            yield at, clock(at) + (f".{at // 10**6 % 1000:03}" if pace < 10**9 else "")
        return
    step = next((each for each in _STEPS if seconds / each <= most), _DAY * -(-int(seconds) // (_DAY * most)))
    zone = time.localtime(begin // 10**9).tm_gmtoff
    first = -(-(-(-begin // 10**9) + zone) // step) * step - zone
    before = clock(begin, True)[:10]
    for at in range(first, end // 10**9 + 1, step):
        said, day = clock(at * 10**9), clock(at * 10**9, True)[:10]
        said = said[:5] if step % 60 == 0 else said
        yield at * 10**9, said if day == before and step < _DAY else f"{day[5:]} {said}"
        before = day
