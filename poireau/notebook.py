"""`heap.flame()` and `heap.stream()`, in a notebook: the pages of the commands of these names, in a frame of their own.

    heap = poireau.open(path)
    heap.flame()                                    # what is in use, and all other views
    heap.flame("allocated", since="60s", focus="parse")
    heap.flame(base=poireau.open(other))            # what has changed
    heap.stream(by="thread").save("threads.html")

A page runs its own script and no other, sees nothing of the notebook, and asks nobody for anything.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from html import escape
from typing import Any

from poireau.model import Heap
from poireau.report import picture_pages, picture_stream
from poireau.report.picture_data import MOST
from poireau.selection import Selection, moment

_HEIGHT = 720  # pixels


@dataclass(frozen=True)
class Page:
    html: str = field(repr=False)
    height: int = _HEIGHT

    def save(self, path: str | os.PathLike[str]) -> None:
        """As a file that any browser shows, without a network."""
        with open(path, "w", encoding="utf-8") as file:
            file.write(self.html)

    def _repr_html_(self) -> str:
        style = f"width:100%;height:{self.height}px;border:0;border-radius:6px"
        allowed = "allow-scripts allow-downloads"  # and nothing of the notebook's origin
        return f'<iframe sandbox="{allowed}" style="{style}" srcdoc="{escape(self.html)}"></iframe>'


def flame(
    heap: Heap,
    what: str = "in-use",
    *,
    base: Heap | None = None,
    inverted: bool = False,
    limit: int = MOST,
    height: int = _HEIGHT,
    **selection: Any,
) -> Page:
    """`what`: the view to begin with. `base`: what has changed since that heap. `selection`: fields of Selection; times
    may be text, as on the command line: since="60s"."""
    chosen = _selection(heap, selection)
    if base is None:
        page = picture_pages.flame(heap, chosen, what, limit, inverted)
    else:
        page = picture_pages.changed(base, heap, (_selection(base, selection), chosen), what, limit)
    return Page(page.decode(), height)


def stream(
    heap: Heap,
    by: str = "line",
    *,
    bands: int = picture_stream.BANDS,
    wiggle: bool = True,
    height: int = _HEIGHT,
    **selection: Any,
) -> Page:
    """`by`: how bands are told apart at first. `wiggle`: they lie on a baseline that makes them level, rather than on
    zero."""
    page = picture_pages.stream(heap, _selection(heap, selection), by, bands, wiggle)
    return Page(page.decode(), height)


def attach() -> None:
    """To all heaps."""
    Heap.flame, Heap.stream = flame, stream


def _selection(heap: Heap, given: dict[str, Any]) -> Selection:
    times = {
        name: moment(given[name], heap.begin, heap.end)
        for name in ("since", "until")
        if isinstance(given.get(name), str)
    }
    return Selection(**{**given, **times})
