"""Whole pages: of a heap, of how it differs from another one, of folded stacks, and of what was in use over time."""

from __future__ import annotations

from poireau.model import Heap
from poireau.report import page, picture_change, picture_data, picture_data_stream, picture_folded
from poireau.report.picture_data import MOST
from poireau.report.picture_stream import BANDS
from poireau.selection import Selection


def flame(
    heap: Heap, selection: Selection | None = None, shown: str = "in-use", limit: int = MOST, inverted: bool = False
) -> bytes:
    about = picture_data.of(heap, selection, shown, limit, inverted)
    return page.of("flame", f"{about['title']}: flamegraph", about)


def moments(heap: Heap, before: int, selection: Selection | None = None, limit: int = MOST) -> bytes:
    """What has changed since that time."""
    about = picture_change.of_moments(heap, before, selection, limit)
    return page.of("flame", f"{about['title']}: what has changed", about)


def changed(
    before: Heap,
    after: Heap,
    selections: tuple[Selection, Selection] = (Selection(), Selection()),
    what: str = "in-use",
    limit: int = MOST,
    names: tuple[str, str] | None = None,
) -> bytes:
    about = picture_change.of_heaps(before, after, selections, what, limit, names)
    return page.of("flame", f"{about['title']}: what has changed", about)


def folded(read: picture_folded.Folded, limit: int = MOST, inverted: bool = False) -> bytes:
    about = picture_folded.data(read, limit, inverted)
    return page.of("flame", f"{about['title']}: flamegraph", about)


def stream(
    heap: Heap, selection: Selection | None = None, by: str = "line", bands: int = BANDS, wiggle: bool = True
) -> bytes:
    about = picture_data_stream.of(heap, selection, by, bands, wiggle)
    return page.of("stream", f"{about['title']}: in use over time", about)
