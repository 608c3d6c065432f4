"""Drawings as SVG: text stays text, and tooltips are titles, so that no script is needed to read one.

A box that can be looked at closer is a group of class `b`, with the number of its parent; a band and what belongs to it
have `data-b`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape

from poireau.report import colours
from poireau.report.pictures import CELL, FONT, SIZE, Area, Box, Drawing, Line, Shape

_RULES = (
    f"text{{font:{SIZE}px {FONT};fill:var(--ink);white-space:pre;unicode-bidi:isolate}}"
    ".h1{fill:url(#h1)}.h2{fill:url(#h2)}.b text,.h1,.h2{pointer-events:none}"
    ".b:hover>rect:first-of-type,[data-b]:hover{filter:brightness(.9)}"
)
_HATCH = (
    '<pattern id="h{number}" width="{apart}" height="{apart}" patternUnits="userSpaceOnUse" '
    'patternTransform="rotate(45)"><rect width="{wide}" height="{apart}" class="paper" opacity=".5"/></pattern>'
)


def style(drawing: Drawing, dark: bool) -> str:
    """`dark`: for who prefers that."""
    names = _colours_of(drawing)
    rules = f"{_variables(names, colours.LIGHT)}" + (
        f"@media(prefers-color-scheme:dark){{{_variables(names, colours.DARK)}}}" if dark else ""
    )
    return rules + _RULES + "".join(f".{name}{{fill:var(--{name})}}" for name in names)


def lines(drawing: Drawing, page: bool = False) -> Iterator[str]:
    """`page`: to be in one, which has the style."""
    width, height = _number(drawing.width), _number(drawing.height)
    name = escape(drawing.name)
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img" aria-label="{name}" data-cell="{SIZE * CELL:.3f}" data-total="{drawing.total:.0f}">\n'
    )
    if not page:
        yield f"<title>{name}</title>\n<style>{style(drawing, False)}</style>\n"
    yield "<defs>" + _HATCH.format(number=1, apart=7, wide=2) + _HATCH.format(number=2, apart=5, wide=3) + "</defs>\n"
    yield f'<rect width="{width}" height="{height}" class="paper"/>\n'
    for shape in drawing.shapes:
        yield _shape(shape)
    yield "</svg>\n"


def _shape(shape: Shape) -> str:
    if isinstance(shape, Box):
        return _box(shape)
    if isinstance(shape, Area):
        band = "" if shape.band is None else f' data-b="{shape.band}"'
        faint = "" if shape.opacity == 1 else f' opacity="{shape.opacity}"'
        return f'<path class="{shape.fill}"{band}{faint} d="M{_points(shape)}Z">{_title(shape.title)}</path>\n'
    if isinstance(shape, Line):
        dashes = ' stroke-dasharray="3 3"' if shape.dashed else ""
        stroke = f'stroke="var(--{shape.colour})" stroke-width="{_number(shape.width)}"'
        return f'<path fill="none" {stroke}{dashes} d="M{_points(shape)}"/>\n'
    given = {
        "class": "" if shape.colour == "ink" else shape.colour,
        "text-anchor": "" if shape.anchor == "start" else shape.anchor,
        "data-b": "" if shape.band is None else str(shape.band),
        "style": ";".join(
            [f"font-size:{_number(shape.size)}px"] * (shape.size != SIZE) + ["font-weight:bold"] * shape.bold
        ),
    }
    said = "".join(f' {name}="{value}"' for name, value in given.items() if value)
    at = f'x="{_number(shape.x)}" y="{_number(shape.y)}"'
    return f"<text {at}{said}>{_title(shape.title)}{escape(shape.text, False)}</text>\n"


def _box(box: Box) -> str:
    at = f'x="{_number(box.x)}" y="{_number(box.y)}" width="{_number(box.width)}" height="{_number(box.height)}"'
    rects = f'<rect class="{box.fill}" {at}/>' + (f'<rect class="h{box.doubt}" {at}/>' if box.doubt else "")
    label = ""
    if box.label:
        label = (
            f'<text x="{_number(box.x + 4)}" y="{_number(box.y + box.height - 5)}">{escape(box.label, False)}</text>'
        )
    group = "<g>" if box.parent is None else f'<g class="b" data-p="{box.parent}">'
    return f"{group}{_title(box.title)}{rects}{label}</g>\n"


def _title(text: str) -> str:
    return f"<title>{escape(text, False)}</title>" if text else ""


def _points(shape: Area | Line) -> str:
    return "L".join(f"{_number(x)} {_number(y)}" for x, y in shape.points)


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _variables(names: list[str], scheme: Mapping[str, str]) -> str:
    return ":root{" + ";".join(f"--{name}:{scheme[name]}" for name in names) + "}"


def _colours_of(drawing: Drawing) -> list[str]:
    used = {"paper", "ink", "faint", "rule"}
    for shape in drawing.shapes:
        used.add(shape.fill if isinstance(shape, (Box, Area)) else shape.colour)
    return sorted(used)
