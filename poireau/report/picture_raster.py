"""Drawings as PNG and PDF, by matplotlib, which is imported here and in picture_growth.py alone."""

from __future__ import annotations

import warnings
from typing import Any, BinaryIO

from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure

from poireau.report.colours import LIGHT
from poireau.report.pictures import Box, Drawing, Words

_PER_INCH = 100  # pixels of a drawing
_SHARP = 2  # pixels of a PNG for each
_MOST = 60_000  # that matplotlib can draw, on a side
_POINT = 72 / _PER_INCH
_ANCHORS = {"start": "left", "middle": "center", "end": "right"}
SETTINGS: Any = {
    "pdf.fonttype": 42,
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "poireau",
    "hatch.linewidth": 1.0,
    "font.family": "monospace",
    "path.simplify": False,
}
NAMELESS: dict[str, dict[str, Any]] = {  # by form: the same picture is the same bytes
    "png": {"Software": "Poireau"},
    "pdf": {"CreationDate": None, "Producer": "Poireau"},
    "svg": {"Date": None, "Creator": "Poireau"},
}


def write(drawing: Drawing, form: str, out: BinaryIO) -> None:
    with rc_context(SETTINGS), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # a box in its place says as much
        figure = _figure(drawing)
        sharp = min(_SHARP, _MOST / max(drawing.width, drawing.height))
        figure.savefig(out, format=form, dpi=_PER_INCH * sharp, metadata=NAMELESS[form])


def _figure(drawing: Drawing) -> Figure:
    figure = Figure((drawing.width / _PER_INCH, drawing.height / _PER_INCH), facecolor=LIGHT["paper"])
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set_xlim(0, drawing.width)
    axes.set_ylim(drawing.height, 0)
    boxes = [shape for shape in drawing.shapes if isinstance(shape, Box)]
    _fill(axes, boxes)
    for number, shape in enumerate(drawing.shapes, 2):  # what comes later lies above
        if isinstance(shape, Box) and shape.label:
            _say(axes, Words(shape.x + 4, shape.y + shape.height - 5, shape.label), number)
        elif isinstance(shape, Words):
            _say(axes, shape, number)
    return figure


def _fill(axes: Any, boxes: list[Box]) -> None:
    def corners(box: Box) -> list[tuple[float, float]]:
        right, low = box.x + box.width, box.y + box.height
        return [(box.x, box.y), (right, box.y), (right, low), (box.x, low)]

    colours = [LIGHT[box.fill] for box in boxes]
    axes.add_collection(
        PolyCollection([corners(box) for box in boxes], facecolors=colours, linewidths=0), autolim=False
    )
    for doubt, hatch in ((1, "///"), (2, "//////")):
        some = [corners(box) for box in boxes if box.doubt == doubt]
        style: Any = {"facecolor": "none", "edgecolor": LIGHT["paper"], "alpha": 0.6, "linewidth": 0, "hatch": hatch}
        if some:
            axes.add_collection(PolyCollection(some, **style), autolim=False)


def _say(axes: Any, words: Words, above: int) -> None:
    axes.text(
        words.x, words.y, words.text, fontsize=words.size * _POINT, color=LIGHT[words.colour],
        ha=_ANCHORS[words.anchor], va="baseline", weight="bold" if words.bold else "normal", parse_math=False,
        zorder=above,
    )  # fmt: skip
