"""What was in use over time as the stream's page gets it: in bands by whatever can be asked, and the picture to look
into. flamegraph/src/picture.ts says what all of it is."""

from __future__ import annotations

from typing import Any

from poireau.estimates import Estimates
from poireau.model import Heap
from poireau.preamble import Preamble
from poireau.report import colours, picture_stream
from poireau.report.picture_data import Document, Drawn, drawn, picture, title
from poireau.report.picture_stream import Stream
from poireau.report.picture_sums import VIEWS, gather
from poireau.report.picture_text import doubtful, figures, milliseconds, shown
from poireau.selection import Selection

BYS = ("line", "function", "module", "thread", "size", "stack")
_NODES = 10_000  # of the picture
_NOTHING = ["no sample is in this selection: there is nothing to draw"]


def of(
    heap: Heap,
    selection: Selection | None = None,
    by: str = "line",
    bands: int = picture_stream.BANDS,
    wiggle: bool = True,
) -> Document:
    """`by`: how bands are told apart at first."""
    bys = list(dict.fromkeys([by, *BYS, *["process"] * (len(heap.processes) > 1)]))
    gathered = gather(heap, selection or Selection(), "in-use", VIEWS, ("stack", *bys))
    tree = drawn(gathered, _NODES)
    streams = [picture_stream.bands_of(heap, gathered, each, bands) for each in bys]
    preamble = Preamble.of(heap, gathered.selection, gathered.periods, gathered.stacks)
    total = streams[0].total
    return {
        "schema": "poireau.streams",
        "version": 1,
        "title": title(preamble, gathered),
        "lines": [*preamble.lines(), *(doubtful(gathered.samples) or _NOTHING * (not gathered.samples))],
        "times": milliseconds(streams[0].times),
        "total": figures(total),
        "by": [_by(each, tree) for each in streams],
        "wiggle": wiggle,
        "picture": picture(heap, tree) if gathered.samples else None,
    }


def _by(stream: Stream, drawn: Drawn) -> Document:
    bands = [
        _band(key, name, coloured, of, drawn)
        for key, name, coloured, of in zip(stream.keys, stream.names, stream.coloured, stream.bytes)
    ]
    return {"key": stream.by, "name": stream.by, "bands": bands, "others": stream.others}


def _band(key: dict[str, Any], name: str, coloured: str, of: Estimates, drawn: Drawn) -> Document:
    stack = key.get("stack")
    return {
        "name": shown(name),
        **{part: shown(str(key.get(part, ""))) for part in ("function", "file", "module")},
        "line": int(key.get("line", 0)),
        "colour": colours.index(coloured) if coloured else -1,
        "node": int(drawn.tree.nodes.node[stack]) if stack is not None else -1,
        "bytes": figures(of),
    }
