"""A streamgraph for papers and terminals, by matplotlib: bands on a baseline that makes them as level as can be
(weighted wiggle: Byron and Wattenberg, 2008) or on zero, their legend, the total with its interval beneath them, and a
clock."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from poireau.report import words
from poireau.report.colours import LIGHT, of_name
from poireau.report.picture_raster import NAMELESS, SETTINGS
from poireau.report.picture_stream import Stream
from poireau.report.pictures import EDGE, SIZE, SMALL, WIDTH, fitted, length, wrapped
from poireau.selection import clock
from poireau.text import as_size, plain

_PER_INCH = 100  # pixels
_POINT = 72 / _PER_INCH
_STREAM, _TOTAL, _GAP = 330, 110, 34  # heights
_LEGEND, _AXIS = 330, 64  # widths
_ROW = 36  # of the legend, if there is room
_STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200)
_MILLISECONDS = (1, 2, 5, 10, 20, 50, 100, 200, 500)
_DAY = 86400
Floats = NDArray[np.float64]


def write(stream: Stream, title: str, lines: Sequence[str], wiggle: bool, form: str, out: BinaryIO) -> None:
    """`form`: svg, png or pdf. The same picture is the same bytes."""
    with rc_context(SETTINGS), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # a box in its place says as much
        figure = draw(stream, title, lines, wiggle)
        figure.savefig(out, format=form, dpi=2 * _PER_INCH, metadata=NAMELESS[form])


def draw(stream: Stream, title: str, lines: Sequence[str], wiggle: bool = True) -> Figure:
    heads = wrapped(title, WIDTH, 15)
    below = [part for line in lines for part in wrapped(line, WIDTH, SMALL)]
    top = EDGE + 20 * len(heads) + 15 * len(below) + 24
    there = len(stream.bytes) > 0 and float(stream.total.value.max(initial=0.0)) > 0
    high = max(_STREAM, 15 * len(stream.names))
    height = top + (high + _GAP + _TOTAL if there else 90) + 26 + EDGE
    figure = Figure((WIDTH / _PER_INCH, height / _PER_INCH), facecolor=LIGHT["paper"])
    FigureCanvasAgg(figure)

    def say(x: float, y: float, text: str, size: float = SIZE, colour: str = "ink", **more: Any) -> None:
        font: Any = {"fontsize": size * _POINT, "color": LIGHT[colour], "parse_math": False, **more}
        figure.text(x / WIDTH, 1 - y / height, text, **font)

    for number, line in enumerate(heads):
        say(EDGE, EDGE + 15 + 20 * number, line, 15, weight="bold")
    for number, line in enumerate(below):
        say(EDGE, EDGE + 13 + 20 * len(heads) + 15 * number, line, SMALL, "faint")
    if not there:
        say(WIDTH / 2, top + 45, "Nothing to draw: no sample is in this view.", 15, "faint", ha="center")
        return figure

    def part(y: float, tall: float) -> Axes:
        wide = WIDTH - 2 * EDGE - _AXIS - _LEGEND
        axes = figure.add_axes(((EDGE + _AXIS) / WIDTH, 1 - (y + tall) / height, wide / WIDTH, tall / height))
        axes.set_frame_on(False)
        axes.tick_params(length=0, labelsize=SMALL * _POINT, labelcolor=LIGHT["faint"])
        axes.grid(color=LIGHT["rule"])
        axes.set_axisbelow(True)
        axes.set_xlim(0, max(int(stream.times[-1] - stream.times[0]), 1))
        return axes

    legend = WIDTH - EDGE - _LEGEND + 20
    _bands(part(top, high), stream, wiggle, high)
    _total(part(top + high + _GAP, _TOTAL), stream)
    say(legend + 20, top - 8, "in use at the end", SMALL, "faint")
    row = min(_ROW, high / len(stream.names))
    for place, number in enumerate(reversed(range(len(stream.names)))):
        y = top + place * row
        say(legend, y + 11, "■", SIZE + 3, _fill(stream, number))
        first, second = _told(stream, number)
        if row < 28:
            say(legend + 20, y + 10, fitted(f"{second}  {first}", _LEGEND - 40))
            continue
        say(legend + 20, y + 10, fitted(first, _LEGEND - 40))
        say(legend + 20, y + 24, fitted(second, _LEGEND - 40, SMALL), SMALL, "faint")
    beneath = top + high + _GAP
    say(legend, beneath + 10, "all", weight="bold")
    say(legend, beneath + 26, f"{words.whole(stream.total[-1])} at the end", SMALL, "faint")
    say(legend, beneath + 42, "shaded: 95 % certain", SMALL, "faint")
    return figure


def _bands(axes: Axes, stream: Stream, wiggle: bool, high: float) -> None:
    xs, values = stream.times - stream.times[0], stream.values
    fills = [LIGHT[_fill(stream, number)] for number in range(len(values))]
    # A thin line of paper, so that neighbours of one colour are two.
    style: Any = {"colors": fills, "edgecolor": LIGHT["paper"], "linewidth": 0.4}
    bands = axes.stackplot(xs, values, baseline="weighted_wiggle" if wiggle else "zero", **style)
    lowest = _edge(bands[0], len(xs))
    edges = np.vstack([lowest, lowest + np.cumsum(values, axis=0)])
    low, most = float(edges.min()), float(edges.max())
    axes.set_ylim(low, most)
    _clock(axes, stream, labels=False)
    if wiggle:  # there is no zero to measure from
        step = nice((most - low) / 3)
        axes.set_yticks([])
        axes.plot(
            [-0.012] * 2, [low, low + step], color=LIGHT["faint"], transform=axes.get_yaxis_transform(), clip_on=False
        )
        _say(axes, -0.02, low + step / 2, as_size(step), transform=axes.get_yaxis_transform(), ha="right", va="center")
    else:
        _scale(axes, nice(most / 3), most)
    for number, name in enumerate(stream.names):
        _label(axes, plain(name), xs, edges[number], edges[number + 1], (most - low) / high)


def _edge(band: Any, points: int) -> Floats:
    """The lower edge of that band: matplotlib's vertices go along it, and back along the upper one."""
    vertices = np.asarray(band.get_paths()[0].vertices)
    return np.asarray(vertices[1 : points + 1, 1], np.float64)


def _label(axes: Axes, name: str, xs: Floats, lower: Floats, upper: Floats, pixel: float) -> None:
    """In the band itself, where it is thickest, if there is room."""
    at = int(np.argmax(upper - lower))
    half = length(name) * SIZE * 0.602 / 2 * float(xs[-1]) / (WIDTH - 2 * EDGE - _AXIS - _LEGEND)
    if 2 * half > 0.98 * float(xs[-1]):
        return
    middle = float(np.clip(xs[at], 1.02 * half, float(xs[-1]) - 1.02 * half))
    inside = (xs >= middle - half) & (xs <= middle + half)
    if not inside.any():
        return
    floor, ceiling = float(lower[inside].max()), float(upper[inside].min())
    if ceiling - floor >= (SIZE + 4) * pixel:
        _say(axes, middle, (floor + ceiling) / 2, name, SIZE, "ink", ha="center", va="center")


def _total(axes: Axes, stream: Stream) -> None:
    """With its interval."""
    of, xs = stream.total, stream.times - stream.times[0]
    most = float(of.high.max())
    axes.fill_between(xs, of.low, of.high, color=LIGHT["f0"], alpha=0.45, linewidth=0)
    axes.plot(xs, of.value, color=LIGHT["ink"], linewidth=1.2)
    axes.set_ylim(0, most)
    _scale(axes, nice(most / 2), most)
    _clock(axes, stream, labels=True)
    when, peak = stream.peak()
    at = int(np.argmax(of.value))
    axes.plot([xs[at]] * 2, [of.value[at], 1.06 * most], ":", color=LIGHT["faint"], linewidth=1, clip_on=False)
    said = f"most: {words.whole(peak)} at {clock(when)}"
    half = len(said) * SMALL * 0.602 / 2 * float(xs[-1]) / (WIDTH - 2 * EDGE - _AXIS - _LEGEND)
    x = float(np.clip(xs[at], half, max(float(xs[-1]) - half, half)))
    _say(axes, x, 1.08 * most, said, ha="center", va="bottom")


def _say(axes: Axes, x: float, y: float, text: str, size: float = SMALL, colour: str = "faint", **more: Any) -> None:
    axes.text(x, y, text, fontsize=size * _POINT, color=LIGHT[colour], parse_math=False, **more)


def _scale(axes: Axes, step: float, most: float) -> None:
    ticks = [number * step for number in range(int(most / step) + 1)]
    axes.set_yticks(ticks, [as_size(tick) if tick else "0" for tick in ticks])


def _clock(axes: Axes, stream: Stream, labels: bool) -> None:
    begin = int(stream.times[0])
    wide = WIDTH - 2 * EDGE - _AXIS - _LEGEND
    found = list(ticks(begin, max(int(stream.times[-1]), begin + 1), wide))
    axes.set_xticks([at - begin for at, _ in found], [said if labels else "" for _, said in found])


def _fill(stream: Stream, number: int) -> str:
    of = stream.coloured[number]
    return of_name(of) if of else "rest"


def _told(stream: Stream, number: int) -> tuple[str, str]:
    """What a band is called, and where it is and how large at the end."""
    key, now = stream.keys[number], words.whole(stream.bytes[number][-1])
    where = words.place(key["file"], key["line"]) if "file" in key else ""
    name = words.function(key["function"]) if "function" in key else plain(stream.names[number])
    return name, f"{where}  {now}" if where else now


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
