"""Heaps that stay open between commands, so that the second `top` is instant. What still goes on is read on at each
command. Only so many are kept, the last used ones."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from poireau.model import Heap
    from poireau.symbols import Settings

MOST_HEAPS = 4
MOST_SAMPLES = 8_000_000  # of all heaps but the last one
_PID = re.compile(r"-(\d+)-[0-9a-f]+-[0-9a-f]+-[0-9a-f]+")  # at the end of a process's directory: traces.py

Key = tuple[tuple[str, ...], object]
Signature = tuple[tuple[int, int, int], ...]


@dataclass
class _Kept:
    heap: Heap
    follows: bool
    signature: Signature
    samples: int


class Kept:
    def __init__(self) -> None:
        self._heaps: dict[Key, _Kept] = {}  # the last used one is the last
        self.last: Heap | None = None

    def __call__(self, paths: Sequence[str], settings: Settings) -> Heap:
        """What asking.opened gives while a shell runs."""
        key = (tuple(paths), (settings.sysroot, *settings.debug_directories, settings.debuginfod))
        kept = self._heaps.pop(key, None)
        signature = _signature(paths)
        if kept is not None and not kept.follows and kept.signature != signature:
            kept = None
        try:
            if kept is not None and kept.follows:
                kept = self._read_on(kept)
            if kept is None:
                kept = self._open(paths, settings, signature)
        except BaseException:  # who is interrupted has read half of it
            self.last = None
            raise
        kept.samples = int(kept.heap.counted()["samples"].sum())
        self._heaps[key] = kept
        self.last = kept.heap
        self._forget()
        return kept.heap

    def forget(self) -> None:
        """All: a command that was interrupted may have been in the middle of one."""
        self._heaps.clear()
        self.last = None

    def _read_on(self, kept: _Kept) -> _Kept | None:
        from poireau import resident

        kept.heap.extend()
        running = resident.pids(kept.heap.processes)
        kept.heap.running = dict.fromkeys(running, True)
        # What has ended is read once more, as it was left.
        return kept if running else None

    def _open(self, paths: Sequence[str], settings: Settings, signature: Signature) -> _Kept:
        from poireau import opening

        follows = any(_may_go_on(path) for path in paths)
        heap = opening.open(paths, follow=follows, settings=settings)
        if not follows and any(heap.running.values()) and not any("://" in path for path in paths):
            follows = True
            heap = opening.open(paths, follow=True, settings=settings)
        elif follows and not heap.running:
            follows = False
            heap = opening.open(paths, settings=settings)
        return _Kept(heap, follows, signature, 0)

    def _forget(self) -> None:
        others = list(self._heaps.items())[:-1]
        samples = sum(kept.samples for _, kept in others)
        for key, kept in others:
            if len(self._heaps) <= MOST_HEAPS and samples <= MOST_SAMPLES:
                break
            samples -= kept.samples
            del self._heaps[key]


def _may_go_on(path: str) -> bool:
    """By the pids in the names of directories, which may be others' by now: whoever follows one that has ended only
    reads it twice."""
    try:
        names = [os.path.basename(os.path.realpath(path)), *os.listdir(path)]
    except OSError:
        return False
    found = (_PID.search(name) for name in names)
    return any(match is not None and os.path.exists(f"/proc/{match[1]}") for match in found)


def _signature(paths: Sequence[str]) -> Signature:
    """What changes if something is added to a directory, or a file is another."""
    found = []
    for path in paths:
        try:
            info = os.stat(path)
            found.append((info.st_dev, info.st_ino, info.st_mtime_ns))
        except OSError:
            found.append((0, 0, 0))
    return tuple(found)
