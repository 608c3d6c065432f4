"""Drawings as SVG: text stays text, and tooltips are titles, so that no script is needed to read one."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from poireau.report.colours import LIGHT
from poireau.report.pictures import FONT, SIZE, Box, Drawing, Shape

_RULES = (
    f"text{{font:{SIZE}px {FONT};fill:var(--ink);white-space:pre;unicode-bidi:isolate}}"
    ".h1{fill:url(#h1)}.h2{fill:url(#h2)}.b text,.h1,.h2{pointer-events:none}"
    ".b:hover>rect:first-of-type{filter:brightness(.9)}"
)
_HATCH = (
    '<pattern id="h{number}" width="{apart}" height="{apart}" patternUnits="userSpaceOnUse" '
    'patternTransform="rotate(45)"><rect width="{wide}" height="{apart}" class="paper" opacity=".5"/></pattern>'
)


def lines(drawing: Drawing) -> Iterator[str]:
    width, height = _number(drawing.width), _number(drawing.height)
    name = escape(drawing.name)
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img" aria-label="{name}">\n<title>{name}</title>\n<style>{_style(drawing)}</style>\n'
    )
    yield "<defs>" + _HATCH.format(number=1, apart=7, wide=2) + _HATCH.format(number=2, apart=5, wide=3) + "</defs>\n"
    yield f'<rect width="{width}" height="{height}" class="paper"/>\n'
    for shape in drawing.shapes:
        yield _shape(shape)
    yield "</svg>\n"


def _style(drawing: Drawing) -> str:
    used = {shape.fill if isinstance(shape, Box) else shape.colour for shape in drawing.shapes}
    names = sorted({"paper", "ink", "faint", "rule", *used})
    colours = ";".join(f"--{name}:{LIGHT[name]}" for name in names)
    return f":root{{{colours}}}{_RULES}" + "".join(f".{name}{{fill:var(--{name})}}" for name in names)


def _shape(shape: Shape) -> str:
    if isinstance(shape, Box):
        return _box(shape)
    given = {
        "class": "" if shape.colour == "ink" else shape.colour,
        "text-anchor": "" if shape.anchor == "start" else shape.anchor,
        "style": ";".join(
            [f"font-size:{_number(shape.size)}px"] * (shape.size != SIZE) + ["font-weight:bold"] * shape.bold
        ),
    }
    said = "".join(f' {name}="{value}"' for name, value in given.items() if value)
    at = f'x="{_number(shape.x)}" y="{_number(shape.y)}"'
    return f"<text {at}{said}>{escape(shape.text, False)}</text>\n"


def _box(box: Box) -> str:
    at = f'x="{_number(box.x)}" y="{_number(box.y)}" width="{_number(box.width)}" height="{_number(box.height)}"'
    rects = f'<rect class="{box.fill}" {at}/>' + (f'<rect class="h{box.doubt}" {at}/>' if box.doubt else "")
    label = ""
    if box.label:
        label = (
            f'<text x="{_number(box.x + 4)}" y="{_number(box.y + box.height - 5)}">{escape(box.label, False)}</text>'
        )
    group = "<g>" if box.parent is None else '<g class="b">'
    return f"{group}{_title(box.title)}{rects}{label}</g>\n"


def _title(text: str) -> str:
    return f"<title>{escape(text, False)}</title>" if text else ""


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
