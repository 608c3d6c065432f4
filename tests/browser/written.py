"""Pages as the commands write them, of heaps that have no files."""

from __future__ import annotations

from pathlib import Path

from poireau.model import Heap
from poireau.report import picture_folded, picture_pages


def flame(heap: Heap, path: Path) -> Path:
    return _written(path, picture_pages.flame(heap))


def flame_diff(before: Heap, after: Heap, path: Path) -> Path:
    return _written(path, picture_pages.changed(before, after))


def flame_folded(folded: Path, path: Path) -> Path:
    return _written(path, picture_pages.folded(picture_folded.read(str(folded))))


def stream(heap: Heap, path: Path) -> Path:
    return _written(path, picture_pages.stream(heap))


def _written(path: Path, page: bytes) -> Path:
    path.write_bytes(page)
    return path
